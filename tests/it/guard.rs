//! The guard and the access lists, tested from outside. Where a test needs forged packets or many
//! addresses, it makes its own host.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

use rustix::process::Pid;

use crate::support::{
    Counters, Daemon, WAIT_MAX, echo, python, resound, run, unshare_network, wait_until,
};

/// A shell script that prepares a host with a loopback interface that takes multicast, and with an
/// interface that takes IPv6 multicast, whose other end does not receive it. Then it becomes the
/// server.
const HOST: &str = r#"
set -eu
ip link set lo up multicast on
ip route add 224.0.0.0/4 dev lo
ip link add v0 type veth peer name v1
echo 1 >/proc/sys/net/ipv6/conf/v1/disable_ipv6
ip addr add fe80::a/64 dev v0 nodad
ip link set v0 up
ip link set v1 up
for address in fd00:0:0:1::1 fd00:0:0:1::2 fd00:0:0:2::1; do
  ip addr add "$address/128" dev lo nodad
done
exec "$0" serve "$@"
"#;

/// Starts the server on its own host. Returns `None` if rights or tools are missing.
fn on_a_host(arguments: &[&str]) -> Option<Daemon> {
    let mut command = Command::new(unshare_network()?);
    command.args(["-n", "sh", "-c", HOST]).arg(resound().get_program()).args(arguments);
    Some(Daemon::start_command(command))
}

/// Starts another server on the host of the first.
fn start_on_the_host_of(first: &Daemon, arguments: &[&str]) -> Daemon {
    let mut command = on_the_host_of(first.process.pid());
    command.arg(resound().get_program()).arg("serve").args(arguments);
    Daemon::start_command(command)
}

fn on_the_host_of(pid: Pid) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.as_raw_nonzero().to_string(), "-n"]);
    command
}

/// Runs a client on the host of a server, and returns its output.
#[track_caller]
fn client(daemon: &Daemon, script: &str, arguments: &[&str]) -> String {
    let mut command = on_the_host_of(daemon.process.pid());
    let script = python(script);
    command.arg(script.get_program()).args(script.get_args()).args(arguments);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout_text(), ended.stderr);
    ended.stdout_text()
}

/// case U11: real datagrams, from sockets on these ports and addresses.
#[test]
fn datagrams_that_no_client_sends_are_answered_only_if_loops_are_allowed() {
    let refused = [
        ("echo", "127.0.0.1#7>127.0.0.1"),
        ("chargen6", "::1#19>::1"),
        ("last_of_services", "127.0.0.1#1023>127.0.0.1"),
        ("ssdp", "127.0.0.1#1900>127.0.0.1"),
        ("mdns6", "::1#5353>::1"),
        ("memcached", "127.0.0.1#11211>127.0.0.1"),
        ("own", "127.0.0.2#9000>127.0.0.1"),
        ("own_elsewhere", "127.0.0.1#9001>127.0.0.1"),
        ("broadcast", "127.0.0.1>127.255.255.255"),
        ("multicast", "127.0.0.1>224.0.0.1"),
        ("multicast6", "fe80::a%v0>ff02::1%v0"),
    ];
    let answered = [("plain", "127.0.0.1>127.0.0.1"), ("plain6", "::1>::1")];
    let probes: Vec<_> =
        refused.iter().chain(&answered).map(|(name, path)| format!("{name}={path}")).collect();
    for loops in [false, true] {
        // Port 9000 on each single address, so that a client can have it on another address.
        let endpoints =
            ["udp://127.0.0.1:9000", "udp://[::1]:9000", "udp://:9010", "udp://127.0.0.3:9001"];
        let flags: &[&str] = if loops { &["--allow-loops"] } else { &[] };
        let Some(daemon) = on_a_host(&[&endpoints[..], flags].concat()) else { return };
        for port in ["9000", "9010"] {
            // Only a wildcard socket receives broadcast and multicast.
            let to_many = |probe: &&String| probe.contains("cast");
            let own = |probe: &&String| probe.starts_with("own");
            let probes: Vec<&String> = probes
                .iter()
                .filter(|probe| if port == "9010" { !own(probe) } else { !to_many(probe) })
                .collect();
            let mut arguments = vec![port];
            arguments.extend(probes.iter().map(|probe| probe.as_str()));
            for line in client(&daemon, "guard.py", &arguments).lines() {
                let (name, verdict) = line.split_once(' ').unwrap();
                let is_plain = name.starts_with("plain");
                let expected = if loops || is_plain { "yes" } else { "no" };
                assert_eq!(verdict, expected, "{name} at {port}, loops {loops}");
            }
        }
        let counters = daemon.counters();
        let of_guard = ["loop_port", "loop_own_port", "loop_group"].map(|name| counters.get(name));
        assert_eq!(of_guard, if loops { [0; 3] } else { [12, 2, 3] }, "{counters:?}");
        assert_eq!(daemon.stop().code(), 0);
    }
}

/// case U11: no socket can be bound to port 0, so a raw socket sends it.
#[test]
fn a_forged_datagram_from_port_0_is_counted_and_not_answered() {
    let Some(daemon) = on_a_host(&["udp://127.0.0.1:9000"]) else { return };
    client(&daemon, "forge.py", &["127.0.0.1", "0", "127.0.0.1", "9000", "3"]);
    wait_until("the datagrams", || daemon.counters().get("udp_messages_in") == 3);
    let counters = daemon.counters();
    assert_eq!((counters.get("loop_port"), counters.get("udp_messages_out")), (3, 0));
    assert_eq!(client(&daemon, "guard.py", &["9000", "plain=127.0.0.1>127.0.0.1"]), "plain yes\n");
}

/// case U12: caused by one forged datagram. With the guard off, the two servers answer each other,
/// which shows that the datagram would cause a loop.
#[test]
fn two_servers_pointed_at_each_other_fall_silent_within_one_round() {
    // The same port on two addresses, and the default port with any other.
    let cases = [(["9000"; 2], false), (["7007", "9000"], false), (["9000"; 2], true)];
    for (ports, loops) in cases {
        let flags: &[&str] = if loops { &["--allow-loops"] } else { &[] };
        let first = format!("udp://127.0.0.1:{}", ports[0]);
        let second = format!("udp://127.0.0.2:{}", ports[1]);
        let Some(one) = on_a_host(&[&[first.as_str()][..], flags].concat()) else { return };
        let other = start_on_the_host_of(&one, &[&[second.as_str()][..], flags].concat());
        client(&one, "forge.py", &["127.0.0.2", ports[1], "127.0.0.1", ports[0]]);
        if loops {
            wait_until("a loop", || one.counters().get("udp_messages_in") > 100);
            continue;
        }
        wait_until("the datagram", || one.counters().get("udp_messages_in") > 0);
        // The client's datagram is after all others in each server's queue.
        let [one_again, other_one] = [("127.0.0.1", ports[0]), ("127.0.0.2", ports[1])];
        for (server, port) in [one_again, other_one, one_again] {
            let path = format!("plain={server}>{server}");
            assert_eq!(client(&one, "guard.py", &[port, &path]), "plain yes\n");
        }
        let total = |name| one.counters().get(name) + other.counters().get(name);
        let guarded = total("loop_port") + total("loop_own_port");
        assert_eq!((guarded, total("udp_messages_in") <= 8), (1, true), "{ports:?}");
    }
}

/// case A6: IPv6 by the first 64 bits, IPv4 by the address.
#[test]
fn connections_are_counted_by_address() {
    let arguments = ["tcp://:9000", "--max-connections-per-ip", "2"];
    let Some(daemon) = on_a_host(&arguments) else { return };
    let paths = [
        ("fd00:0:0:1::1>fd00:0:0:1::1", "kept"),
        ("fd00:0:0:1::2>fd00:0:0:1::1", "kept"),
        ("fd00:0:0:1::2>fd00:0:0:1::1", "closed"),
        ("fd00:0:0:1::1>fd00:0:0:1::1", "closed"),
        ("fd00:0:0:2::1>fd00:0:0:1::1", "kept"),
        ("127.0.0.1>127.0.0.1", "kept"),
        ("127.0.0.1>127.0.0.1", "kept"),
        ("127.0.0.1>127.0.0.1", "closed"),
        ("127.0.0.2>127.0.0.1", "kept"),
    ];
    let mut arguments = vec!["9000"];
    arguments.extend(paths.map(|(path, _)| path));
    let expected: String = paths.iter().map(|(_, fate)| format!("{fate}\n")).collect();
    assert_eq!(client(&daemon, "quota.py", &arguments), expected);
    // The connections end with the client, so there is room again.
    wait_until("the end of all", || daemon.counters().get("connections_open") == 0);
    assert_eq!(client(&daemon, "quota.py", &arguments), expected);
    let ended = daemon.stop();
    assert!(ended.stderr.contains("tcp: address_limit"), "{}", ended.stderr);
}

fn udp_client(from: &str) -> UdpSocket {
    let client = UdpSocket::bind(from).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client
}

/// Returns true if a connection from this host is served, and false if it is closed.
fn is_served(to: SocketAddr) -> bool {
    let mut client = TcpStream::connect(to).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    match client.read(&mut [0]) {
        Ok(0) => false,
        Ok(_) => panic!("there were no datagrams"),
        Err(error) => error.kind() != std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn networks_that_are_denied_or_not_allowed_are_not_served() {
    let endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"];
    for flags in [&["--deny", "127.0.0.0/30"][..], &["--allow=10.0.0.0/8", "--allow=127.0.0.9"]] {
        let daemon = Daemon::start(&[&endpoints[..], flags].concat());
        assert!(!is_served(daemon.addr(0)));
        let (denied, allowed) = (udp_client("127.0.0.1:0"), udp_client("127.0.0.9:0"));
        denied.send_to(b"denied", daemon.addr(1)).unwrap();
        allowed.send_to(b"allowed", daemon.addr(1)).unwrap();
        let mut buf = [0; 16];
        assert_eq!(allowed.recv(&mut buf).unwrap(), 7);
        denied.set_nonblocking(true).unwrap();
        assert!(denied.recv(&mut buf).is_err());
        let counters = daemon.counters();
        assert_eq!((counters.get("denied"), counters.get("accepted")), (2, 0), "{flags:?}");
    }
    // Denial takes precedence, and allowed clients are served on both transports.
    let flags = ["--allow=127.0.0.0/8", "--deny=127.0.0.2"];
    let daemon = Daemon::start(&[&endpoints[..], &flags].concat());
    echo(&mut TcpStream::connect(daemon.addr(0)).unwrap());
    let (denied, allowed) = (udp_client("127.0.0.2:0"), udp_client("127.0.0.1:0"));
    denied.send_to(b"denied", daemon.addr(1)).unwrap();
    allowed.send_to(b"allowed", daemon.addr(1)).unwrap();
    assert_eq!(allowed.recv(&mut [0; 16]).unwrap(), 7);
    let counters = daemon.counters();
    assert_eq!((counters.get("denied"), counters.get("udp_messages_out")), (1, 1));
}

#[test]
fn the_rate_limit_of_a_source_covers_all_loops_together() {
    const SENT: u64 = 50;
    for threads in ["1", "2"] {
        let arguments = ["udp://127.0.0.1:0", "--rate-limit-per-ip=5", "--threads", threads];
        let daemon = Daemon::start(&arguments);
        // Several sockets of one address, so that several loops receive from it. A single socket
        // would belong to one loop.
        let clients: Vec<_> = (0..SENT).map(|_| udp_client("127.0.0.1:0")).collect();
        let started_at = std::time::Instant::now();
        for client in &clients {
            client.send_to(b"ping", daemon.addr(0)).unwrap();
        }
        // The server handles queued datagrams before it ends.
        let ended = daemon.stop();
        let counters = Counters::last_of(&ended.stderr);
        // At most a full bucket and what refilled it in this time, however long that is. One bucket
        // per loop would allow twice as much.
        let refilled = 5 * started_at.elapsed().as_millis() / 1000;
        let allowed = 5 + u64::try_from(refilled).unwrap();
        let answered = counters.get("udp_messages_out");
        assert!((5..=allowed).contains(&answered), "{answered} of {allowed}");
        let refused = counters.get("rate_limited");
        assert_eq!((counters.get("udp_messages_in"), answered + refused), (SENT, SENT));
    }
}

#[test]
fn guard_flags_without_effect_cause_a_warning() {
    let name = crate::support::abstract_name("guard");
    let flags = [
        "--allow=::1",
        "--deny=10.0.0.0/8",
        "--allow-loops",
        "--rate-limit-per-ip=5",
        "--max-connections-per-ip=1",
    ];
    let endpoint = format!("unix:{name}");
    let daemon = Daemon::start(&[&[endpoint.as_str()][..], &flags].concat());
    let ended = daemon.stop();
    for warning in [
        "--allow and --deny without effect: no endpoint is tcp:// or udp://",
        "--rate-limit-per-ip without effect: no endpoint is udp://",
        "--allow-loops without effect: no endpoint is udp:// or unixgram:",
        "--max-connections-per-ip without effect: no endpoint is tcp://",
    ] {
        assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    }
}

#[test]
fn malformed_networks_and_limits_are_refused_with_an_example() {
    let wrong = [
        ("--allow=10.0.0.0/33", "192.0.2.0/24"),
        ("--allow=localhost", "192.0.2.0/24"),
        ("--deny=", "192.0.2.0/24"),
        ("--deny=fe80::1%lo", "192.0.2.0/24"),
        ("--rate-limit-per-ip=0", "such as"),
        ("--max-connections-per-ip=-1", "such as"),
    ];
    for (flag, example) in wrong {
        let mut command = resound();
        command.args(["serve", "tcp://127.0.0.1:0", flag]);
        let ended = run(command);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains(example), "{}", ended.stderr);
    }
}
