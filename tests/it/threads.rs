//! Several loops on the same ports: which loop serves, what the loops share, how they end.

mod processors;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Counters, Daemon, Guarded, WAIT_MAX, echo, resound, run, wait_until};

/// So many that each of two loops gets some. The chance that one gets none is one in two thousand
/// million.
const CLIENTS: usize = 32;

fn start(arguments: &[&str]) -> Daemon {
    let mut command = resound();
    command.args(["serve", "--threads", "2"]).args(arguments).env_remove("RUST_LOG");
    Daemon::start_command(command)
}

/// Returns the addresses for an endpoint. An empty host means loopback in both families.
fn targets(endpoint: &str) -> Vec<SocketAddr> {
    let (_, addr) = endpoint.split_once("://").unwrap();
    match addr.strip_prefix(':') {
        Some(port) => {
            ["127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}").parse().unwrap()).to_vec()
        }
        None => {
            vec![addr.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]").parse().unwrap()]
        }
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&addr, WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

fn udp_client(addr: SocketAddr) -> UdpSocket {
    let own = if addr.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let client = UdpSocket::bind(own).unwrap();
    client.connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

fn served_clients(daemon: &Daemon, count: usize) -> Vec<TcpStream> {
    let mut clients: Vec<_> = (0..count).map(|_| connect(daemon.addr(0))).collect();
    clients.iter_mut().for_each(echo);
    clients
}

/// Requests the counters of both loops by SIGUSR1.
#[track_caller]
fn loop_counters(daemon: &Daemon) -> [Counters; 2] {
    let labels = ["stats loop=0 ", "stats loop=1 "];
    let count = |label: &str| daemon.process.stderr_text().matches(label).count();
    let before = labels.map(count);
    daemon.process.signal(Signal::USR1);
    wait_until("the counters of both loops", || {
        let has_new = |(label, before): (&&str, &usize)| count(label) > *before;
        labels.iter().zip(&before).all(has_new) && daemon.process.stderr_text().ends_with('\n')
    });
    let log = daemon.process.stderr_text();
    labels.map(|label| {
        let line = log.lines().rev().find(|line| line.starts_with(label)).unwrap();
        Counters::last_of(line)
    })
}

/// Connects a client that the loop with this number serves.
fn client_of(daemon: &Daemon, number: usize) -> TcpStream {
    let open = || loop_counters(daemon)[number].get("connections_open");
    let mut others = Vec::new();
    loop {
        let before = open();
        let mut client = connect(daemon.addr(0));
        echo(&mut client);
        if open() > before {
            return client;
        }
        // The other clients stay connected until then, because their closes would be counted.
        others.push(client);
    }
}

fn task_names(daemon: &Daemon) -> BTreeMap<String, String> {
    let folder = format!("/proc/{}/task", daemon.process.pid().as_raw_nonzero());
    let mut names = BTreeMap::new();
    for task in fs::read_dir(folder).unwrap() {
        let path = task.unwrap().path();
        // A thread that is ending has no name.
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        names.insert(name.trim().to_owned(), cpus.unwrap_or_default().trim().to_owned());
    }
    names
}

/// case U18: among others
#[test]
fn both_loops_serve_every_tcp_and_udp_endpoint() {
    for host in ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", ""] {
        let daemon = start(&[&format!("tcp://{host}:0"), &format!("udp://{host}:0")]);
        assert_eq!(daemon.process.stdout_text().lines().count(), 2, "one line an endpoint");
        let addrs = targets(&daemon.endpoints[0]);
        let mut streams: Vec<_> =
            addrs.iter().cycle().take(CLIENTS).map(|addr| connect(*addr)).collect();
        streams.iter_mut().for_each(echo);
        let addrs = targets(&daemon.endpoints[1]);
        let datagrams: Vec<_> =
            addrs.iter().cycle().take(CLIENTS).map(|addr| udp_client(*addr)).collect();
        for client in &datagrams {
            client.send(b"ping").unwrap();
            let mut answer = [0; 8];
            assert_eq!(client.recv(&mut answer).unwrap(), 4);
        }
        let counters = loop_counters(&daemon);
        for name in ["connections_open", "udp_messages_in"] {
            let each = [counters[0].get(name), counters[1].get(name)];
            assert_eq!(each[0] + each[1], CLIENTS as u64, "{host} {name} {each:?}");
            assert!(each[0] > 0 && each[1] > 0, "{host} {name} {each:?}");
        }
        drop(streams);
        let ended = daemon.stop();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("2 loops share each TCP and UDP port (SO_REUSEPORT)"));
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("stats uptime_s="), "the sum, without a label: {last}");
        let sum = Counters::last_of(&ended.stderr);
        let clients = CLIENTS as u64;
        assert_eq!((sum.get("accepted"), sum.get("udp_messages_out")), (clients, clients));
    }
}

/// case U17: SO_REUSEPORT lets the loops share a port and must not admit another process.
#[test]
fn a_second_daemon_with_threads_on_the_same_port_is_refused() {
    for endpoint in ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://:0", "udp://[::1]:0"] {
        let first = start(&[endpoint]);
        for threads in ["1", "2"] {
            let mut command = resound();
            command.args(["serve", "--threads", threads, &first.endpoints[0]]);
            let ended = run(command);
            assert_eq!((ended.code(), ended.stdout.len()), (1, 0), "{}", ended.stderr);
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.contains("cannot bind ") && last.contains(": address in use"), "{last}");
        }
        assert_eq!(first.stop().code(), 0);
    }
}

/// case A5: the limit covers all loops together, and no client waits while there is room.
#[test]
fn the_connection_limit_covers_all_loops_and_any_loop_takes_a_freed_place() {
    const LIMIT: u64 = 3;
    let daemon = start(&["tcp://127.0.0.1:0", "--max-connections", "3"]);
    let mut waiting: Vec<_> = (0..CLIENTS).map(|_| connect(daemon.addr(0))).collect();
    for client in &mut waiting {
        client.write_all(b"ping").unwrap();
        client.set_nonblocking(true).unwrap();
    }
    let mut served = Vec::new();
    while !(waiting.is_empty() && served.is_empty()) {
        let places = LIMIT.min((waiting.len() + served.len()) as u64);
        wait_until("all places to be taken", || {
            let (done, left): (Vec<_>, Vec<_>) = waiting
                .drain(..)
                .partition(|client: &TcpStream| matches!((&mut &*client).read(&mut [0; 8]), Ok(4)));
            waiting = left;
            served.extend(done);
            assert!(served.len() as u64 <= LIMIT, "{} are served", served.len());
            served.len() as u64 == places
        });
        // The last close may still be on its way if no client waits for it.
        wait_until("no more than the number of places", || {
            let open: u64 = loop_counters(&daemon).iter().map(|c| c.get("connections_open")).sum();
            assert!(open <= LIMIT, "{open} are open");
            open == places
        });
        drop(served.remove(0));
    }
    let counters = loop_counters(&daemon);
    let accepted = counters.each_ref().map(|counters| counters.get("accepted"));
    assert_eq!(accepted[0] + accepted[1], CLIENTS as u64);
    assert!(accepted[0] > 0 && accepted[1] > 0, "{accepted:?}");
}

/// case P1: all bytes that the peers of both loops sent have arrived before the signal.
#[test]
fn sigterm_drains_all_loops_and_every_byte_comes_back() {
    // Less than a socket takes even if its peer does not read.
    const OWED_BYTES: usize = 30_000;
    let daemon = start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
    let mut clients = served_clients(&daemon, CLIENTS);
    assert!(loop_counters(&daemon).iter().all(|counters| counters.get("connections_open") > 0));
    let message: Vec<u8> = (0..=250_u8).cycle().take(OWED_BYTES).collect();
    daemon.process.signal(Signal::STOP);
    for client in &mut clients {
        client.write_all(&message).unwrap();
    }
    // These are queued at either loop, and are served like the others.
    clients.extend((0..CLIENTS).map(|_| connect(daemon.addr(0))));
    clients[CLIENTS..].iter_mut().for_each(|client| client.write_all(&message).unwrap());
    daemon.process.signal(Signal::TERM);
    daemon.process.signal(Signal::CONT);
    wait_until("both drains", || {
        let log = daemon.process.stderr_text();
        ["loop=0 draining: ", "loop=1 draining: "].iter().all(|words| log.contains(words))
    });
    wait_until("a refusal", || {
        TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    for client in &mut clients {
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == message, "{} bytes", received.len());
    }
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!((counters.get("connections_open"), counters.get("drain_cut")), (0, 0));
    assert!(counters.get("accepted") >= 2 * CLIENTS as u64, "{}", ended.stderr);
    assert_eq!(counters.get("tcp_bytes_out"), (CLIENTS * (4 + 2 * OWED_BYTES)) as u64);
}

/// case P1: the main thread runs the first loop and waits for the others.
#[test]
fn a_loop_without_connections_ends_first_and_the_process_ends_after_all_loops() {
    for number in [0, 1] {
        let daemon = start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
        let mut client = client_of(&daemon, number);
        wait_until("the others to go", || {
            loop_counters(&daemon).iter().map(|c| c.get("connections_open")).sum::<u64>() == 1
        });
        daemon.process.signal(Signal::TERM);
        wait_until("the drain", || {
            let log = daemon.process.stderr_text();
            log.contains(&format!("loop={number} draining: 1 "))
                && log.contains(&format!("loop={} draining: 0 ", 1 - number))
        });
        if number == 0 {
            wait_until("the other's end", || !task_names(&daemon).contains_key("loop-1"));
        }
        echo(&mut client);
        drop(client);
        let ended = daemon.process.wait();
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}

/// case P1
#[test]
fn a_second_signal_ends_all_loops_at_once() {
    let daemon = start(&["tcp://127.0.0.1:0", "--drain-timeout", "10m"]);
    let _clients = [client_of(&daemon, 0), client_of(&daemon, 1)];
    daemon.process.signal(Signal::INT);
    wait_until("both drains", || daemon.process.stderr_text().matches(" draining: ").count() == 2);
    daemon.process.signal(Signal::TERM);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("second signal: "), "{}", ended.stderr);
    assert!(Counters::last_of(&ended.stderr).get("connections_open") >= 2);
}

/// case P1: the deadline applies to every loop.
#[test]
fn peers_that_never_finish_are_cut_in_every_loop_at_the_drain_timeout() {
    let daemon = start(&["tcp://127.0.0.1:0", "--drain-timeout", "300ms"]);
    let mut peers = [client_of(&daemon, 0), client_of(&daemon, 1)];
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("drain timed out: ").count(), 2, "{}", ended.stderr);
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "FIN, and not a reset");
    }
}

#[test]
fn unix_endpoints_live_on_the_first_loop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let daemon = start(&["tcp://127.0.0.1:0", &unix]);
    let mut peers: Vec<_> = (0..4).map(|_| UnixStream::connect(&path).unwrap()).collect();
    peers.iter_mut().for_each(echo);
    assert_eq!(loop_counters(&daemon).map(|c| c.get("unix_messages_in")), [4, 0]);
    drop(peers);
    assert_eq!(daemon.stop().code(), 0);
    assert!(!path.exists());

    let daemon = start(&[&unix]);
    assert!(!task_names(&daemon).contains_key("loop-1"));
    echo(&mut UnixStream::connect(&path).unwrap());
    let ended = daemon.stop();
    assert!(
        ended.stderr.contains("--threads 2 without effect: Unix endpoints"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("loop="), "{}", ended.stderr);
}

#[test]
fn lines_printed_by_several_loops_are_whole() {
    const MESSAGES: usize = 100;
    let daemon = start(&["udp://127.0.0.1:0", "--print"]);
    let clients: Vec<_> = (0..CLIENTS).map(|_| udp_client(daemon.addr(0))).collect();
    let message = "x".repeat(300);
    for _ in 0..MESSAGES {
        clients.iter().for_each(|client| assert_eq!(client.send(message.as_bytes()).unwrap(), 300));
        clients.iter().for_each(|client| assert_eq!(client.recv(&mut [0; 400]).unwrap(), 300));
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let stdout = ended.stdout_text();
    let printed: Vec<_> = stdout.lines().skip(1).collect();
    assert_eq!(printed.len(), CLIENTS * MESSAGES);
    for line in printed {
        let words: Vec<_> = line.split(' ').collect();
        assert!(matches!(words[..], [_, "udp", _, text] if text == message), "{line}");
    }
}

/// case P4: whichever loop fails to print, all loops end.
#[test]
fn with_print_a_reader_that_closes_ends_all_loops() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = resound();
    command.args(["serve", "--threads", "2", "udp://127.0.0.1:0", "--print", "-q"]);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
    let child = Guarded::spawn(command);
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
        line.push(byte[0]);
    }
    drop(reader);
    let line = String::from_utf8(line).unwrap();
    let addr = line.trim().strip_prefix("listening udp://").unwrap();
    udp_client(addr.parse().unwrap()).send(b"after the close").unwrap();
    assert_eq!(child.wait().code(), Some(0));
}

#[test]
fn wrong_values_are_one_line_and_exit_code_2() {
    let wrong: &[(&[&str], &[&str])] = &[
        (&["--threads", "0"], &["'0' for '--threads <N>'", "a count from 1 to 1024, such as 2"]),
        (&["--threads", "1025"], &["'1025'", "a count from 1 to 1024, such as 2"]),
        (&["--threads", "two"], &["'two'", "a count from 1 to 1024, such as 2"]),
        (&["--threads", "-1"], &["'-1'", "a count from 1 to 1024, such as 2"]),
        (&["--threads", "2", "--one-off"], &["'--one-off' cannot be used with '--threads 2'"]),
        (&["-1", "--threads=7"], &["'--one-off' cannot be used with '--threads 7'"]),
        (&["--affinity", "0,"], &["'--affinity <CPU[,CPU]>'", "numbers of CPUs, such as 0,1"]),
        (&["--affinity", "0-1"], &["'0-1'", "numbers of CPUs, such as 0,1"]),
        (&["--spin", "often"], &["'--spin <T|always>'", "a time such as 50us, 0, or always"]),
    ];
    for (arguments, parts) in wrong {
        let mut command = resound();
        command.arg("serve").args(*arguments);
        let ended = run(command);
        assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        for part in parts.iter().chain(&["try 'resound serve --help'"]) {
            assert!(ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
        }
    }
}

#[test]
fn one_requested_loop_is_the_same_as_the_default() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "--threads", "1", "--one-off"]);
    let mut client = connect(daemon.addr(0));
    echo(&mut client);
    drop(client);
    let ended = daemon.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("loop"), "{}", ended.stderr);
}
