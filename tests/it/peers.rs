//! Peers that vanish, stall, reset or close. Each ends without an effect on the others.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;
use socket2::SockRef;

use crate::accept::cpu_time;
use crate::support::{Daemon, WAIT_MAX, python, resound, run, tool, wait_until};

fn client(daemon: &Daemon) -> TcpStream {
    let client = TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

#[track_caller]
fn echo(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// case S10: the peer keeps its socket open and sends nothing, like one that vanished.
#[test]
fn the_idle_timeout_reaps_a_silent_peer() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--idle-timeout", "200ms"]);
    let mut peer = client(&daemon);
    // On a busy machine the peer may be reaped before its first message, which is also correct.
    let _ = peer.write_all(b"ping");
    let mut rest = Vec::new();
    let end = peer.read_to_end(&mut rest);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let counters = daemon.counters();
    assert_eq!((counters.get("idle"), counters.get("connections_open")), (1, 0));
}

/// case S2
#[test]
fn the_stall_timeout_ends_a_peer_that_never_reads_and_no_other() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--stall-timeout", "500ms", "-v"]);
    let mut other = client(&daemon);
    echo(&mut other);
    let mut stalled = client(&daemon);
    stalled.set_nonblocking(true).unwrap();
    let chunk = [0; 65_536];
    wait_until("the stall", || {
        // The peer sends until both directions are full, then waits for the close.
        while stalled.write(&chunk).is_ok() {}
        daemon.process.stderr_text().contains("tcp: connection closed: stalled")
    });
    echo(&mut other);
    let counters = daemon.counters();
    assert_eq!((counters.get("stalled"), counters.get("connections_open")), (1, 1));
}

/// case S6
#[test]
fn a_reset_is_counted_and_leaves_the_other_peers_untouched() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut others: Vec<_> = (0..3).map(|_| client(&daemon)).collect();
    others.iter_mut().for_each(echo);
    let peers = 5;
    for _ in 0..peers {
        let mut peer = client(&daemon);
        echo(&mut peer);
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    }
    wait_until("the resets", || daemon.counters().get("reset") == peers);
    others.iter_mut().for_each(echo);
    assert_eq!(daemon.counters().get("connections_open"), 3);
}

/// case S6: the peer resets during an echo, with more of it pending.
#[test]
fn a_reset_in_the_middle_of_an_echo_leaves_the_other_peers_untouched() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut other = client(&daemon);
    for peers in 1..=10 {
        let mut peer = client(&daemon);
        peer.set_nonblocking(true).unwrap();
        while peer.write(&[0; 65_536]).is_ok() {}
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        wait_until("the reset", || {
            let counters = daemon.counters();
            counters.get("reset") + counters.get("broken_pipe") == peers
        });
        echo(&mut other);
    }
    assert_eq!(daemon.counters().get("stream_failed"), 0);
}

/// case S5
#[test]
fn a_peer_that_has_sent_fin_gets_all_of_its_echo() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0"]);
    let mut peer = client(&daemon);
    peer.write_all(b"last words").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "last words");
    assert_eq!(daemon.counters().get("finished"), 1);
}

fn udp_echo(client: &UdpSocket, server: SocketAddr) {
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.send_to(b"ping", server).unwrap();
    let mut buf = [0; 16];
    assert_eq!(client.recv(&mut buf).unwrap(), 4);
}

/// cases U8, U9: the clients are gone when the server answers, and the system refuses the answers
/// by ICMP. The unconnected socket of the server never reports the error. Library tests check a
/// connected one.
#[test]
fn udp_clients_that_are_gone_before_their_answer_do_not_disturb_others() {
    let mut daemon = Daemon::start(&["udp://127.0.0.1:0"]);
    let server = daemon.addr(0);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp_echo(&other, server);
    daemon.process.signal(Signal::STOP);
    for _ in 0..30 {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"gone", server).unwrap();
    }
    daemon.process.signal(Signal::CONT);
    udp_echo(&other, server);
    let counters = daemon.counters();
    assert_eq!(counters.get("udp_messages_in"), 32);
    assert_eq!((counters.get("receive_failed"), counters.get("answer_failed")), (0, 0));
    assert!(daemon.process.is_running());
}

/// case U16: the server is stopped while more datagrams come than its buffer holds. The kernel
/// reports the loss with the next datagram that the server receives.
#[test]
fn the_losses_of_a_full_receive_buffer_are_counted() {
    const SENT: u64 = 500;
    let daemon = Daemon::start(&["udp://127.0.0.1:0", "--rcvbuf", "4k", "--discard"]);
    let server = daemon.addr(0);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.process.signal(Signal::STOP);
    (0..SENT).for_each(|_| assert_eq!(client.send_to(&[0; 1000], server).unwrap(), 1000));
    daemon.process.signal(Signal::CONT);
    wait_until("what the buffer held", || daemon.counters().get("udp_messages_in") > 0);
    let last = b"one more";
    wait_until("the count of what was lost", || {
        client.send_to(last, server).unwrap();
        daemon.counters().get("overflowed") > 0
    });
    let counters = daemon.counters();
    let short = counters.get("udp_bytes_in") % 1000 / last.len() as u64;
    let long = counters.get("udp_messages_in") - short;
    assert!(long < SENT);
    assert_eq!(counters.get("overflowed"), SENT - long);
}

/// case X3: a peer that does not read delays no other peer and uses no CPU time. When it reads, it
/// gets as many answers as were kept for it, in order.
#[test]
fn answers_for_a_unix_peer_that_does_not_read_are_bounded_and_delay_no_other_peer() {
    const SENT: u8 = 200;
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    let daemon = Daemon::start(&[format!("unixgram:{}", server.display())]);
    let client = |name: &str| {
        let client = UnixDatagram::bind(folder.path().join(name)).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        client.set_write_timeout(Some(WAIT_MAX)).unwrap();
        client
    };
    // The client is not connected, because the queue of a receiver that is connected to its sender
    // has no limit.
    let (deaf, other) = (client("deaf"), client("other"));
    for number in 0..SENT {
        deaf.send_to(&[number], &server).unwrap();
    }
    let mut buf = [0; 16];
    let cpu_before = cpu_time(daemon.process.pid());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        other.send_to(b"ping", &server).unwrap();
        assert_eq!(other.recv(&mut buf).unwrap(), 4);
        thread::sleep(Duration::from_millis(5));
    }
    let cpu = cpu_time(daemon.process.pid()) - cpu_before;
    assert!(
        cpu <= begun.elapsed() / 2,
        "{cpu:?} of CPU time in {:?}: the loop spins",
        begun.elapsed()
    );
    let dropped = daemon.counters().get("answer_backlog_full");
    assert!((1..u64::from(SENT)).contains(&dropped), "{:?}", daemon.counters());
    for number in 0..u64::from(SENT) - dropped {
        assert_eq!(deaf.recv(&mut buf).unwrap(), 1);
        assert_eq!(u64::from(buf[0]), number, "in order, from the first one on");
    }
    deaf.set_nonblocking(true).unwrap();
    assert_eq!(deaf.recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// case U3: the sender's buffer holds more than the default, and the server's does not.
#[test]
fn a_unix_datagram_beyond_the_buffer_is_counted_and_never_answered_short() {
    const TOO_LONG_BYTES: usize = 300 << 10;
    let folder = tempfile::tempdir().unwrap();
    let server = folder.path().join("server");
    let daemon = Daemon::start(&[format!("unixgram:{}", server.display())]);
    let client = UnixDatagram::bind(folder.path().join("client")).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    SockRef::from(&client).set_send_buffer_size(1 << 20).unwrap();
    match client.send_to(&vec![7; TOO_LONG_BYTES], &server) {
        Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
            crate::support::skip(format_args!(
                "this system sends no datagram of {TOO_LONG_BYTES} bytes"
            ));
            return;
        }
        sent => assert_eq!(sent.unwrap(), TOO_LONG_BYTES),
    }
    client.send_to(b"small", &server).unwrap();
    let mut answer = [0; 512];
    let count = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..count], b"small", "the first answer is for the second datagram");
    let counters = daemon.counters();
    assert_eq!((counters.get("truncated"), counters.get("unixgram_messages_out")), (1, 1));
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// case U5: the loopback of this network is slow, so the small send buffer of the server fills with
/// waiting answers.
#[test]
fn udp_answers_that_would_block_are_kept_in_order_and_none_is_sent_twice() {
    let tools = ["unshare", "nsenter", "ip", "tc"];
    if !tools.iter().all(|name| tool(name).is_some()) {
        return;
    }
    let slow = "ip link set lo up && tc qdisc add dev lo root tbf rate 2mbit burst 4k limit 10m";
    let mut probe = Command::new("unshare");
    probe.args(["-n", "sh", "-c", slow]);
    let probed = run(probe);
    if probed.code() != 0 {
        crate::support::skip(format_args!(
            "no network namespace with a slow loopback: {}",
            probed.stderr
        ));
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &format!("{slow} && exec \"$0\" serve \"$@\"")]);
    command.arg(resound().get_program()).args(["udp://127.0.0.1:7007", "--sndbuf", "4k"]);
    let daemon = Daemon::start_command(command);

    let client = python("udp_burst.py");
    let mut inside = Command::new("nsenter");
    inside.args(["-n", "-t", &daemon.process.pid().as_raw_nonzero().to_string()]);
    inside.arg(client.get_program()).args(client.get_args());
    // Together the answers fit in the receive buffer of a socket that does not read yet.
    let count = 60;
    inside.args(["127.0.0.1", "7007", &count.to_string(), "1000"]);
    let ended = run(inside);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = daemon.counters();
    assert!(counters.get("held") > 0, "no answer had to wait");
    assert_eq!((counters.get("udp_messages_in"), counters.get("udp_messages_out")), (count, count));
}
