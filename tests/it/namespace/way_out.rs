//! What leaves a socket, captured on its way: code points, hop limits, addresses, ports and options
//! from the first packet on.

use std::process::Stdio;

use serde_json::Value;

use super::{ClientHost, on, two_hosts};
use crate::support::{
    Daemon, Ended, Process, has_multipath_tcp, python, resound, run, unshare_network,
};

/// Both transports over both families. The client's interface is the link of the server's IPv6.
const ENDPOINTS: [&str; 4] =
    ["tcp://10.9.0.1:0", "udp://10.9.0.1:0", "tcp://[fe80::a%v0]:0", "udp://[fe80::a%v0]:0"];

/// The endpoint as the client host names it.
fn target(daemon: &Daemon, index: usize) -> String {
    let endpoint = &daemon.endpoints[index];
    let (scheme, rest) = endpoint.split_once("://").unwrap();
    let port = port(daemon, index);
    if rest.starts_with('[') {
        format!("{scheme}://[fe80::a%v1]:{port}")
    } else {
        format!("{scheme}://10.9.0.1:{port}")
    }
}

fn port(daemon: &Daemon, index: usize) -> &str {
    daemon.endpoints[index].rsplit(':').next().unwrap()
}

/// Runs the program on the client host.
fn client(host: &ClientHost, arguments: &[&str]) -> Ended {
    let mut command = on(host);
    command.arg(resound().get_program()).args(arguments);
    run(command)
}

/// Runs a shell command on the client host.
fn shell(host: &ClientHost, script: &str) {
    let mut command = on(host);
    command.args(["sh", "-euc", script]);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{script}: {}", ended.stderr);
}

/// A packet of a captured port.
#[derive(Debug)]
struct Packet {
    /// It goes to the port, and not from there.
    is_out: bool,
    source: String,
    source_port: u64,
    dscp: u64,
    ttl: u64,
    is_syn: bool,
    bytes: u64,
    is_multipath: bool,
    mss: Option<u64>,
}

impl Packet {
    fn of(value: &Value) -> Packet {
        let number = |name: &str| value[name].as_u64().unwrap();
        Packet {
            is_out: value["out"].as_bool().unwrap(),
            source: value["source"].as_str().unwrap().to_owned(),
            source_port: number("source_port"),
            dscp: number("dscp"),
            ttl: number("ttl"),
            is_syn: value["syn"].as_bool().unwrap(),
            bytes: number("bytes"),
            is_multipath: value["mptcp"].as_bool().unwrap_or(false),
            mss: value["mss"].as_u64(),
        }
    }

    /// The packets of a socket that was closed are the kernel's own.
    fn is_of_a_socket(&self) -> bool {
        self.is_syn || self.bytes > 0
    }
}

/// What passes the client's interface, from or to this port, while `act` runs.
fn captured<T>(host: &ClientHost, port: &str, act: impl FnOnce() -> T) -> (T, Vec<Packet>) {
    let script = python("capture.py");
    let mut command = on(host);
    command.arg(script.get_program()).args(script.get_args()).args(["v1", port]);
    let mut capture = Process::start_with_stdin(command, Stdio::piped());
    capture.wait_for_line("capturing");
    let result = act();
    drop(capture.stdin());
    let ended = capture.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let stdout = ended.stdout_text();
    let packets: Vec<Value> = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let packets = packets.iter().map(Packet::of).filter(Packet::is_of_a_socket);
    (result, packets.collect())
}

/// Runs bench on the client host against an endpoint, and returns its document with the packets.
#[track_caller]
fn bench(
    (daemon, host): (&Daemon, &ClientHost),
    index: usize,
    arguments: &[&str],
) -> (Value, Vec<Packet>) {
    let target = target(daemon, index);
    let all = [&["bench", "-J", "--warmup=0", "--timeout=50s", &target], arguments].concat();
    let (ended, packets) = captured(host, port(daemon, index), || client(host, &all));
    assert_eq!(ended.code(), 0, "{arguments:?}: {}", ended.stderr);
    (serde_json::from_slice(&ended.stdout).unwrap(), packets)
}

#[test]
fn a_client_marks_every_packet_from_its_syn_on_in_both_families() {
    let Some((daemon, host)) = two_hosts(&ENDPOINTS) else { return };
    for index in 0..ENDPOINTS.len() {
        let marks = ["--dscp=ef", "--ttl=7"];
        let (found, of_bench) =
            bench((&daemon, &host), index, &[&["-c2", "-n20"][..], &marks].concat());
        assert_eq!((&found["sockets"]["dscp"], &found["sockets"]["ttl"]), (&46.into(), &7.into()));
        let target = target(&daemon, index);
        let ping = [&["ping", "-c2", "-i10ms", &target][..], &marks].concat();
        let (ended, of_ping) = captured(&host, port(&daemon, index), || client(&host, &ping));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        for packets in [of_bench, of_ping] {
            let sent: Vec<_> = packets.iter().filter(|packet| packet.is_out).collect();
            let syns = sent.iter().filter(|packet| packet.is_syn).count();
            assert_eq!(syns > 0, target.starts_with("tcp"), "{target}: {sent:?}");
            assert!(sent.len() > syns, "{target}: {sent:?}");
            let marked = sent.iter().all(|packet| (packet.dscp, packet.ttl) == (46, 7));
            assert!(marked, "{target}: {sent:?}");
        }
    }
}

#[test]
fn a_server_marks_every_packet_of_its_connections_in_both_families() {
    let marks = ["--dscp=af41", "--ttl=5"];
    let Some((daemon, host)) = two_hosts(&[&ENDPOINTS[..], &marks].concat()) else { return };
    for index in 0..ENDPOINTS.len() {
        let (_, packets) = bench((&daemon, &host), index, &["-c2", "-n20"]);
        let received: Vec<_> = packets.iter().filter(|packet| !packet.is_out).collect();
        let syns = received.iter().filter(|packet| packet.is_syn).count();
        assert_eq!(syns > 0, daemon.endpoints[index].starts_with("tcp"), "{received:?}");
        assert!(received.len() > syns, "{received:?}");
        let is_marked = |packet: &&Packet| (packet.dscp, packet.ttl) == (34, 5);
        assert!(received.iter().all(is_marked), "{received:?}");
    }
    let log = daemon.process.stderr_text();
    assert_eq!(log.matches("dscp=34 ttl=5").count(), ENDPOINTS.len(), "{log}");
}

#[test]
fn sockets_leave_from_the_addresses_ports_and_interface_of_bind() {
    let Some((daemon, host)) = two_hosts(&ENDPOINTS) else { return };
    shell(&host, "ip addr add 10.9.0.10/24 dev v1");
    for index in 0..2 {
        let binds = ["--bind=10.9.0.9:6000-6010", "--bind=10.9.0.10%v1"];
        let (found, packets) =
            bench((&daemon, &host), index, &[&["-c6", "-n60"][..], &binds].concat());
        let expected = serde_json::json!([
            {"address": "10.9.0.9:6000-6010", "opened": 3},
            {"address": "10.9.0.10%v1", "opened": 3},
        ]);
        assert_eq!(found["sockets"]["bind"], expected);
        let mut from: Vec<_> = packets.iter().filter(|packet| packet.is_out).collect();
        from.sort_by_key(|packet| packet.source_port);
        from.dedup_by_key(|packet| packet.source_port);
        let ports = from.iter().filter(|packet| packet.source == "10.9.0.9");
        let ports: Vec<_> = ports.map(|packet| packet.source_port).collect();
        assert_eq!(ports, [6000, 6001, 6002], "{from:?}");
        let others = from.iter().filter(|packet| packet.source == "10.9.0.10").count();
        assert_eq!((others, from.len()), (3, 6), "{from:?}");
    }
    for index in 0..ENDPOINTS.len() {
        let bind = if index < 2 {
            "--bind=10.9.0.9%v1:7000-7999"
        } else {
            "--bind=[fe80::b%v1]:7000-7999"
        };
        let target = target(&daemon, index);
        for command in [&["ping", "-c1", bind, &target][..], &["send", bind, &target, "x"]] {
            let (ended, packets) = captured(&host, port(&daemon, index), || client(&host, command));
            assert_eq!(ended.code(), 0, "{command:?}: {}", ended.stderr);
            let sent: Vec<_> = packets.iter().filter(|packet| packet.is_out).collect();
            assert!(!sent.is_empty());
            let is_bound = |packet: &&Packet| {
                ["10.9.0.9", "fe80::b"].contains(&packet.source.as_str())
                    && (7000..8000).contains(&packet.source_port)
            };
            assert!(sent.iter().all(is_bound), "{command:?}: {sent:?}");
        }
    }
}

/// Returns the addresses and ports that the captured sockets left from, in order.
fn sources(packets: &[Packet]) -> Vec<(String, u64)> {
    let sent = packets.iter().filter(|packet| packet.is_out);
    let mut sources: Vec<_> = sent.map(|sent| (sent.source.clone(), sent.source_port)).collect();
    sources.sort();
    sources.dedup();
    sources
}

/// case B16: the loops have the addresses in turn together, and share the ports of a range.
#[test]
fn the_sockets_of_several_loops_leave_from_the_addresses_and_ports_of_bind() {
    let Some((daemon, host)) = two_hosts(&ENDPOINTS) else { return };
    shell(&host, "ip addr add 10.9.0.10/24 dev v1");
    let binds = ["--bind=10.9.0.9:6000-6003", "--bind=10.9.0.10:7000-7003"];
    for index in 0..2 {
        let load = ["-c8", "-n80", "--threads=4"];
        let (found, packets) = bench((&daemon, &host), index, &[&load, &binds[..]].concat());
        let ports =
            |ip: &'static str, first| (first..first + 4).map(move |port| (ip.to_owned(), port));
        let expected = ports("10.9.0.10", 7000).chain(ports("10.9.0.9", 6000));
        assert_eq!(sources(&packets), expected.collect::<Vec<_>>());
        let used = found["sockets"]["bind"].as_array().unwrap();
        assert!(used.iter().all(|each| each["opened"] == 4), "{used:?}");
    }
    // With a connection per loop, each loop has its own address.
    let load = ["-c2", "-n20", "--threads=2", "--bind=10.9.0.9", "--bind=10.9.0.10"];
    let (_, packets) = bench((&daemon, &host), 0, &load);
    let ips: Vec<_> = sources(&packets).into_iter().map(|(ip, _)| ip).collect();
    assert_eq!(ips, ["10.9.0.10", "10.9.0.9"]);
}

/// The server ends each connection after a second without traffic. A message per connection is due
/// only every two seconds, so each is opened again, from an address and port of `--bind`.
#[test]
fn connections_that_are_opened_again_leave_from_the_addresses_and_ports_of_bind() {
    let flags = ["tcp://10.9.0.1:0", "--idle-timeout", "1s"];
    let Some((daemon, host)) = two_hosts(&flags) else { return };
    shell(&host, "ip addr add 10.9.0.10/24 dev v1");
    let load = ["bench", "-J", "--warmup=0", "--reconnect", "-r2", "-c4", "-t5s", "--threads=2"];
    let binds = ["--bind=10.9.0.9:6000-6003", "--bind=10.9.0.10:7000-7003"];
    let target = target(&daemon, 0);
    let all = [&load[..], &binds, &[&target]].concat();
    // The load of the pauses is not made, so the result may be partial.
    let (ended, packets) = captured(&host, port(&daemon, 0), || client(&host, &all));
    let found: Value = serde_json::from_slice(&ended.stdout).expect(&ended.stderr);
    let flows = &found["flows"];
    let again = flows["reconnected"].as_u64().unwrap();
    assert!(again >= 4, "{flows}");
    assert_eq!(flows["failed_locally"], 0, "{flows}");
    let is_bound = |(ip, port): &(String, u64)| match ip.as_str() {
        "10.9.0.9" => (6000..6004).contains(port),
        "10.9.0.10" => (7000..7004).contains(port),
        _ => false,
    };
    let sources = sources(&packets);
    assert!(sources.iter().all(is_bound), "{sources:?}");
    assert!(sources.len() > 4, "a new connection takes the next port: {sources:?}");
    let used = found["sockets"]["bind"].as_array().unwrap();
    let opened: u64 = used.iter().map(|each| each["opened"].as_u64().unwrap()).sum();
    assert_eq!(opened, 4 + again, "{used:?}");
}

/// case B6: four addresses have four times the ephemeral ports of one.
#[test]
fn each_address_of_bind_has_all_ephemeral_ports() {
    let Some((daemon, host)) = two_hosts(&["tcp://10.9.0.1:0"]) else { return };
    for last in ["10", "11", "12"] {
        shell(&host, &format!("ip addr add 10.9.0.{last}/24 dev v1"));
    }
    shell(&host, TEN_PORTS);
    let binds = ["--bind=10.9.0.9", "--bind=10.9.0.10", "--bind=10.9.0.11", "--bind=10.9.0.12"];
    let found = bench_of_40(&daemon, &host, &binds);
    assert_eq!(found["flows"]["opened"], 40, "{found:#}");
    assert_eq!(found["flows"]["failed_locally"], 0, "{found:#}");
    // On new hosts, because the ports of the first ones are in TIME_WAIT.
    let Some((daemon, host)) = two_hosts(&["tcp://10.9.0.1:0"]) else { return };
    shell(&host, TEN_PORTS);
    let found = bench_of_40(&daemon, &host, &["--bind=10.9.0.9"]);
    assert_eq!(found["flows"]["opened"], 10, "{found:#}");
    let warnings = found["warnings"].to_string();
    assert!(warnings.contains("a limit of this client"), "{warnings}");
    assert!(warnings.contains("ephemeral ports"), "{warnings}");
}

const TEN_PORTS: &str = "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range";

/// Runs bench with 40 connections, as far as they can be opened.
fn bench_of_40(daemon: &Daemon, host: &ClientHost, binds: &[&str]) -> Value {
    let target = target(daemon, 0);
    let all = [&["bench", "-J", "-c40", "-n200", "--warmup=0", &target], binds].concat();
    serde_json::from_slice(&client(host, &all).stdout).unwrap()
}

#[test]
fn an_endpoint_with_an_interface_is_reached_through_it_alone() {
    let endpoints = ["tcp://10.9.0.1%v0:0", "udp://%v0:0", "tcp://10.9.0.1%lo:0"];
    let Some((daemon, host)) = two_hosts(&endpoints) else { return };
    assert!(daemon.endpoints[0].starts_with("tcp://10.9.0.1%v0:"), "{:?}", daemon.endpoints);
    for index in 0..2 {
        let target = target(&daemon, index);
        assert_eq!(client(&host, &["send", "--expect-echo", &target, "x"]).stderr, "");
    }
    let refused = client(&host, &["send", &target(&daemon, 2), "x"]);
    assert_eq!(refused.code(), 1);
    assert!(refused.stderr.contains("refused"), "{}", refused.stderr);
}

#[test]
fn both_ends_ask_for_segments_of_the_size_of_mss() {
    let Some((daemon, host)) = two_hosts(&["tcp://10.9.0.1:0", "--mss=900"]) else { return };
    let (found, packets) = bench((&daemon, &host), 0, &["-c1", "-n5", "-l8KiB", "--mss=1000"]);
    let asked = |is_out| {
        let mut syns = packets.iter().filter(|packet| packet.is_syn && packet.is_out == is_out);
        syns.next().unwrap().mss
    };
    assert_eq!((asked(true), asked(false)), (Some(1000), Some(900)));
    let mss = found["sockets"]["mss"].as_u64().unwrap();
    assert!(mss <= 900, "{found:#}");
}

#[test]
fn with_mptcp_connections_are_of_multipath_tcp_or_fall_back() {
    if !has_multipath_tcp() {
        return;
    }
    for (flags, is_multipath) in [(&["--mptcp"][..], true), (&[], false)] {
        let Some((daemon, host)) = two_hosts(&[&["tcp://10.9.0.1:0"][..], flags].concat()) else {
            return;
        };
        let (found, packets) = bench((&daemon, &host), 0, &["-c2", "-n20", "--mptcp"]);
        assert_eq!(found["sockets"]["mptcp"], is_multipath, "{found:#}");
        let syns: Vec<_> = packets.iter().filter(|packet| packet.is_syn).collect();
        assert!(syns.iter().all(|packet| packet.is_multipath == (packet.is_out || is_multipath)));
        let fell_back = found["warnings"].to_string().contains("fell back to TCP");
        assert_eq!(fell_back, !is_multipath, "{found:#}");
        // Bulk goes through as well.
        let (found, _) = bench((&daemon, &host), 0, &["-c2", "-n40", "-l1MiB", "--mptcp"]);
        assert_eq!(found["messages"]["corrupted"], 0, "{found:#}");
    }
}

/// What the system refuses is one line that names the flag, the cause and what helps.
#[test]
fn a_setting_that_the_system_refuses_is_named_with_its_remedy() {
    for command in [&["bench", "-n1"][..], &["ping", "-c1"], &["send"]] {
        for (bind, parts) in [
            ("--bind=192.0.2.1", ["--bind", "not an address of this machine"]),
            ("--bind=127.0.0.1%nosuch", ["interface %nosuch", "no such interface"]),
            ("--bind=[fe80::1]:7", ["--bind", "needs its interface"]),
        ] {
            let is_ipv6 = bind.contains("fe80");
            let target = if is_ipv6 { "tcp://[::1]:1" } else { "tcp://127.0.0.1:1" };
            let mut resound = resound();
            resound.args(command).args([bind, target]);
            let ended = run(resound);
            assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
            assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{}", ended.stderr);
        }
    }
    for command in [&["ping", "-c1"][..], &["send"], &["serve"]] {
        let mut resound = resound();
        resound.args(command).args(["-4", "tcp://[::1]:1"]);
        let ended = run(resound);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (2, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("'-4' cannot be used with"), "{}", ended.stderr);
    }
}

#[test]
fn multipath_tcp_that_is_switched_off_is_named_with_its_remedy() {
    let Some(unshare) = unshare_network().filter(|_| has_multipath_tcp()) else { return };
    const OFF: &str = "ip link set lo up; echo 0 > /proc/sys/net/mptcp/enabled; exec \"$@\"";
    for arguments in [&["bench", "-n1"][..], &["serve", "tcp://127.0.0.1:0"]] {
        let mut command = std::process::Command::new(&unshare);
        command.args(["-n", "sh", "-euc", OFF, "sh"]).arg(resound().get_program());
        command.args(arguments).arg("--mptcp");
        let ended = run(command);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
        let parts = ["--mptcp", "protocol not available", "net.mptcp.enabled=1"];
        assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{}", ended.stderr);
    }
}
