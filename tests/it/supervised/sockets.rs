//! Sockets passed by `LISTEN_FDS`.

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream};
use std::process::Command;

use rustix::process::{Signal, geteuid};

use super::passed;
use crate::support::{
    Daemon, Ended, Process, WAIT_MAX, abstract_name, echo, python, resound, run, tool, wait_until,
};

/// Starts a daemon with these passed sockets, and waits for this number of `listening` lines.
#[track_caller]
fn start(sockets: &[&str], arguments: &[&str], endpoints: usize) -> Daemon {
    let mut process = Process::start(passed(sockets, arguments));
    let endpoints = listening(&mut process, endpoints);
    Daemon { process, endpoints }
}

/// Returns the endpoints in its last `listening` lines once all expected lines are printed.
#[track_caller]
pub(super) fn listening(process: &mut Process, expected: usize) -> Vec<String> {
    let mut endpoints = Vec::new();
    wait_until("the listening lines", || {
        let stdout = process.stdout_text();
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.strip_prefix("listening "));
        endpoints = lines.map(str::to_owned).collect();
        if endpoints.len() < expected && !process.is_running() {
            panic!("it ended: stdout {stdout:?}, stderr {:?}", process.stderr_text());
        }
        endpoints.len() >= expected
    });
    assert_eq!(endpoints.len(), expected, "{endpoints:?}");
    endpoints
}

pub(super) fn addr(endpoint: &str) -> SocketAddr {
    endpoint.split_once("://").expect(endpoint).1.parse().unwrap()
}

pub(super) fn ask_stream(to: impl Into<SocketAddr>) {
    let mut peer = TcpStream::connect_timeout(&to.into(), WAIT_MAX).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
}

fn ask_datagram(to: impl Into<SocketAddr>) {
    let to = to.into();
    let own = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(own).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket.connect(to).unwrap();
    socket.send(b"ping").unwrap();
    let mut buf = [0; 8];
    assert_eq!(socket.recv(&mut buf).unwrap(), 4);
}

/// Returns a client's socket that is bound to a name, so that it can be answered.
pub(super) fn unix_client() -> UnixDatagram {
    let name = abstract_name("client");
    let own = UnixAddr::from_abstract_name(&name[1..]).unwrap();
    let socket = UnixDatagram::bind_addr(&own).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket
}

fn ask_unixgram(to: &UnixAddr) {
    let client = unix_client();
    client.send_to_addr(b"ping", to).unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
}

fn ask_unix(to: &UnixAddr) {
    let mut peer = UnixStream::connect_addr(to).unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
}

/// Returns whether this descriptor of the process is non-blocking, and whether it is close-on-exec.
fn flags(daemon: &Daemon, number: usize) -> (bool, bool) {
    let pid = daemon.process.pid().as_raw_nonzero();
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    let flags = u32::from_str_radix(flags, 8).unwrap();
    (flags & 0o4000 != 0, flags & 0o2_000_000 != 0)
}

/// case P2: all kinds at once.
#[test]
fn streams_and_datagrams_of_ip_and_unix_are_served_and_their_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = [abstract_name("passed"), abstract_name("passed")];
    let sockets = [
        "tcp=127.0.0.1".to_owned(),
        "tcp=::".to_owned(),
        "udp=127.0.0.1".to_owned(),
        "udp6=::1".to_owned(),
        format!("unix={}", path("stream").display()),
        format!("unixgram={}", path("packets").display()),
        format!("unix={}", names[0]),
        format!("unixgram={}", names[1]),
    ];
    let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
    let daemon = start(&sockets, &[], sockets.len());
    let listening = &daemon.endpoints;
    assert!(listening[0].starts_with("tcp://127.0.0.1:"), "{listening:?}");
    assert!(listening[1].starts_with("tcp://[::]:"), "{listening:?}");
    assert!(listening[2].starts_with("udp://127.0.0.1:"), "{listening:?}");
    assert!(listening[3].starts_with("udp://[::1]:"), "{listening:?}");
    assert_eq!(listening[4], format!("unix:{}", path("stream").display()));
    assert_eq!(listening[5], format!("unixgram:{}", path("packets").display()));
    assert_eq!(listening[6..], [format!("unix:{}", names[0]), format!("unixgram:{}", names[1])]);

    ask_stream(addr(&listening[0]));
    let port = addr(&listening[1]).port();
    ask_stream(([127, 0, 0, 1], port));
    ask_stream(([0, 0, 0, 0, 0, 0, 0, 1], port));
    ask_datagram(addr(&listening[2]));
    ask_datagram(addr(&listening[3]));
    ask_unix(&UnixAddr::from_pathname(path("stream")).unwrap());
    ask_unix(&UnixAddr::from_abstract_name(&names[0][1..]).unwrap());
    ask_unixgram(&UnixAddr::from_pathname(path("packets")).unwrap());
    ask_unixgram(&UnixAddr::from_abstract_name(&names[1][1..]).unwrap());

    for number in 3..3 + sockets.len() {
        assert_eq!(flags(&daemon, number), (true, true), "non-blocking, close-on-exec: {number}");
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(path("stream").exists() && path("packets").exists(), "the files are the manager's");
}

/// case P2: with systemd's own tool as the manager.
#[test]
fn a_socket_passed_by_systemds_tool_is_served() {
    let Some(activate) = tool("systemd-socket-activate") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let mut command = Command::new(activate);
    command.arg("--fdname=its-name").arg("-l").arg(&path);
    command.arg(resound().get_program()).args(["serve", "--drain-timeout", "10m"]);
    let mut process = Process::start(command);
    let mut peer = None;
    wait_until("the socket", || {
        peer = UnixStream::connect(&path).ok();
        peer.is_some()
    });
    // The tool becomes the service when a client connects.
    let mut peer = peer.unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    echo(&mut peer);
    assert_eq!(listening(&mut process, 1), [format!("unix:{}", path.display())]);
    drop(peer);
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains(" was passed as descriptor 3 (its-name)\n"), "{}", ended.stderr);
    assert!(path.exists());
}

/// cases P2, U10: on a socket of both families that is bound to every interface.
#[test]
fn a_socket_of_both_families_answers_from_the_address_of_the_request() {
    let daemon = start(&["udp=::"], &[], 1);
    let port = addr(&daemon.endpoints[0]).port().to_string();
    assert_eq!(daemon.endpoints[0], format!("udp://[::]:{port}"));
    let mut command = python("ask_connected.py");
    command.args([&port, "127.0.0.1", "127.0.0.2", "127.9.8.7", "::1"]);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout_text(), ended.stderr);
    // This also holds for trains of both families.
    let pid = daemon.process.pid().as_raw_nonzero().to_string();
    for host in ["127.0.0.3", "::1"] {
        let mut command = python("trains.py");
        command.args([host, &port, &pid, "1"]);
        let ended = run(command);
        assert_eq!(ended.code(), 0, "{host}: {}{}", ended.stdout_text(), ended.stderr);
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("can be reached from other hosts"), "{}", ended.stderr);
}

/// case P2
#[test]
fn endpoints_in_the_arguments_are_served_with_passed_sockets() {
    let mut command = passed(&["tcp=127.0.0.1", "udp=127.0.0.1"], &["udp://127.0.0.1:0"]);
    command.env("LISTEN_FDNAMES", "web:");
    let mut process = Process::start(command);
    let endpoints = listening(&mut process, 3);
    ask_stream(addr(&endpoints[0]));
    ask_datagram(addr(&endpoints[1]));
    ask_datagram(addr(&endpoints[2]));
    let ended = Daemon { process, endpoints }.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains(" was passed as descriptor 3 (web)\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains(" was passed as descriptor 4\n"), "{}", ended.stderr);
}

#[track_caller]
/// case U19
#[test]
fn a_reply_on_a_passed_socket_that_other_hosts_can_reach_causes_a_warning() {
    for (socket, is_warned) in [("udp=0.0.0.0", true), ("udp=127.0.0.1", false)] {
        let ended = start(&[socket], &["--reply", "a long reply"], 1).stop();
        assert_eq!(ended.stderr.contains("amplifies"), is_warned, "{}", ended.stderr);
    }
}

/// Returns the single error line about sockets that cannot be served.
fn refused(sockets: &[&str]) -> String {
    let Ended { status, stdout, stderr } = run(passed(sockets, &["-q", "udp://127.0.0.1:0"]));
    assert_eq!((status.code(), stdout), (Some(1), Vec::new()), "{sockets:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().strip_prefix("resound: cannot ").expect(&stderr).to_owned()
}

/// case P2
#[test]
fn a_socket_of_a_wrong_kind_is_refused_with_its_number_and_kind() {
    const EXPECTED: &str =
        " (expected a listening TCP or Unix socket, or a bound UDP or Unix datagram socket)";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let seqpacket = format!("seqpacket={}", path.display());
    let mut sockets = vec![
        ("unlistened=127.0.0.1", "a TCP socket that does not listen"),
        ("connected=127.0.0.1", "a TCP socket that is connected"),
        (&seqpacket, "a Unix SOCK_SEQPACKET socket"),
    ];
    if geteuid().is_root() {
        sockets.push(("raw=127.0.0.1", "an IPv4 SOCK_RAW socket"));
    }
    for (socket, what) in sockets {
        let message = refused(&["tcp=127.0.0.1", socket]);
        assert_eq!(message, format!("serve descriptor 4: it is {what}{EXPECTED}"));
    }
    assert!(path.exists());
}

/// case P2
#[test]
fn a_descriptor_that_is_not_a_socket_is_refused_with_its_number_and_kind() {
    let expected = "serve descriptor 4: it is /dev/null, and not a socket";
    assert_eq!(refused(&["tcp=127.0.0.1", "file=/dev/null"]), expected);
    let message = refused(&["tcp=127.0.0.1", "pipe="]);
    assert!(message.starts_with("serve descriptor 4: it is pipe:["), "{message}");
    let not_open = "serve descriptor 4: it is not open";
    assert_eq!(refused(&["tcp=127.0.0.1", "closed=", "udp=127.0.0.1"]), not_open);
    // A count that exceeds the passed descriptors.
    assert_eq!(refused(&["--count", "2", "tcp=127.0.0.1"]), not_open);
    assert_eq!(refused(&["--count", "1000000", "tcp=127.0.0.1"]), not_open);
    for count in ["-1", "x", "1x", "0x1", "2000000", "99999999999999999999"] {
        let message = refused(&["--count", count, "tcp=127.0.0.1"]);
        let expected =
            format!("take sockets by LISTEN_FDS: it is {count}, and no count of descriptors");
        assert_eq!(message, expected);
    }
}

/// case P2
#[test]
fn sockets_for_another_process_are_ignored_with_a_log_line() {
    for (pid, whose) in [
        ("1", "LISTEN_PID is 1, "),
        ("x", "LISTEN_PID is x, "),
        ("none", "LISTEN_PID is not set, "),
    ] {
        let daemon = start(&["--pid", pid, "tcp=127.0.0.1"], &["udp://127.0.0.1:0"], 1);
        assert!(daemon.endpoints[0].starts_with("udp://"), "{:?}", daemon.endpoints);
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let warning = format!("LISTEN_FDS is ignored: {whose}and this is ");
        assert_eq!(ended.stderr.matches(&warning).count(), 1, "{}", ended.stderr);
    }
    let daemon = start(&["--count", "0"], &["udp://127.0.0.1:0"], 1);
    let ended = daemon.stop();
    assert!(!ended.stderr.contains("LISTEN_FDS"), "{}", ended.stderr);
}

#[test]
fn with_several_loops_the_first_serves_the_passed_sockets_with_a_warning() {
    let daemon =
        start(&["tcp=127.0.0.1", "udp=127.0.0.1"], &["--threads", "2", "tcp://127.0.0.1:0"], 3);
    // So many that the system's distribution would give some to a second loop.
    (0..8).for_each(|_| ask_stream(addr(&daemon.endpoints[0])));
    (0..8).for_each(|_| ask_datagram(addr(&daemon.endpoints[1])));
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("passed sockets live on the first loop"), "{}", ended.stderr);
    let ended = start(&["tcp=127.0.0.1"], &["--threads", "2"], 1).stop();
    assert!(ended.stderr.contains("--threads 2 without effect"), "{}", ended.stderr);
}

/// case P1: a prober's datagrams are answered while the process has peers on any loop. The first
/// loop has the sockets.
#[test]
fn passed_datagram_sockets_answer_until_the_last_stream_of_a_drain_is_done() {
    const PEERS: usize = 12;
    let name = abstract_name("drained");
    let sockets = ["udp=127.0.0.1", &format!("unixgram={name}")];
    for threads in [1, 2] {
        let count = threads.to_string();
        let arguments = ["--threads", &count, "--drain-timeout", "10m", "tcp://127.0.0.1:0"];
        let daemon = start(&sockets, &arguments, 3);
        let addr_of = |scheme: &str| {
            let endpoint = daemon.endpoints.iter().find(|endpoint| endpoint.starts_with(scheme));
            addr(endpoint.unwrap())
        };
        let unixgram = UnixAddr::from_abstract_name(&name[1..]).unwrap();
        let mut peers: Vec<TcpStream> = Vec::new();
        for _ in 0..PEERS {
            let mut peer = TcpStream::connect_timeout(&addr_of("tcp://"), WAIT_MAX).unwrap();
            peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
            echo(&mut peer);
            peers.push(peer);
        }
        daemon.process.signal(Signal::TERM);
        let drains = || daemon.process.stderr_text().matches("draining: ").count();
        wait_until("the drain", || drains() == threads);
        while let Some(mut peer) = peers.pop() {
            for _ in 0..5 {
                ask_datagram(addr_of("udp://"));
                ask_unixgram(&unixgram);
            }
            echo(&mut peer);
            drop(peer);
        }
        let ended = daemon.process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}
