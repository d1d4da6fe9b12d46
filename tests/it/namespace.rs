//! Two hosts on one machine: the test makes two network namespaces and connects them by a veth
//! pair.

mod many_hosts;
mod way_out;

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Daemon, Process, python, resound, run, tool, unshare_network, wait_until};

/// A shell script that prepares the server's end (`v0`) in its own namespace, and the client's end
/// (`v1`) in the namespace of a sleeping process, whose number it prints. Then it becomes the
/// server.
const SERVER: &str = r#"
set -eu
if [ -n "${KEEPALIVE_SECONDS-}" ]; then
  echo "$KEEPALIVE_SECONDS" >/proc/sys/net/ipv4/tcp_keepalive_time
  echo "$KEEPALIVE_SECONDS" >/proc/sys/net/ipv4/tcp_keepalive_intvl
  echo 1 >/proc/sys/net/ipv4/tcp_keepalive_probes
fi
ip link set lo up
ip link add v0 type veth peer name v1
unshare -n sleep 300 </dev/null >/dev/null 2>&1 &
peer=$!
tries=0
while [ "$(readlink /proc/$peer/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do
  tries=$((tries + 1)); [ $tries -lt 1000 ]; sleep 0.01
done
ip link set v1 netns $peer
ip addr add 10.9.0.1/24 dev v0
ip addr add 10.9.0.2/24 dev v0
ip addr add fe80::a/64 dev v0 nodad
ip link set v0 up
nsenter -t $peer -n sh -c '
  ip link set lo up
  ip addr add 10.9.0.9/24 dev v1
  ip addr add fe80::b/64 dev v1 nodad
  ip link set v1 up'
echo "peer $peer"
exec "$0" serve "$@"
"#;

/// A client host. Its namespace ends with its process.
struct ClientHost(Pid);

impl Drop for ClientHost {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Starts the server with these arguments on its own host. Returns `None` if rights or tools are
/// missing.
fn two_hosts(arguments: &[&str]) -> Option<(Daemon, ClientHost)> {
    two_hosts_with(arguments, "")
}

/// Like [`two_hosts`]. Sets the keepalive times of the server's system to this many seconds, unless
/// it is empty.
fn two_hosts_with(arguments: &[&str], keepalive_seconds: &str) -> Option<(Daemon, ClientHost)> {
    let unshare = unshare_network()?;
    tool("nsenter")?;
    let mut command = Command::new(unshare);
    command.args(["-n", "sh", "-c", SERVER]).arg(resound().get_program()).args(arguments);
    command.env("KEEPALIVE_SECONDS", keepalive_seconds);
    let mut daemon = Daemon::start_command(command);
    let peer = daemon.process.wait_for_line("peer ").parse().unwrap();
    Some((daemon, ClientHost(Pid::from_raw(peer).expect("a process"))))
}

/// Returns a command that runs a program on a client host.
fn on(host: &ClientHost) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &host.0.as_raw_nonzero().to_string(), "-n"]);
    command
}

/// Sends from connected UDP sockets of a client host to each address, and asserts that the answers
/// arrive.
fn ask(host: &ClientHost, port: &str, addresses: &[&str]) {
    let mut command = on(host);
    let client = python("ask_connected.py");
    command.arg(client.get_program()).args(client.get_args()).arg(port).args(addresses);
    let ended = run(command);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout_text(), ended.stderr);
}

/// case U10: the second address of an interface, and link-local IPv6 with its scope.
#[test]
fn a_host_with_several_addresses_answers_from_the_address_of_the_request() {
    let Some((daemon, client)) = two_hosts(&["udp://:0"]) else { return };
    let port = daemon.endpoints[0].rsplit(':').next().unwrap();
    ask(&client, port, &["10.9.0.1", "10.9.0.2", "fe80::a%v1"]);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("can be reached from other hosts"), "{}", ended.stderr);
}

/// Runs a load on a client host. Returns the document, and how much a counter of that host's kernel
/// in /proc/net/snmp has grown.
fn counted_load(host: &ClientHost, counter: (&str, &str), flags: &[&str]) -> (Value, u64) {
    let read = || -> u64 {
        let mut command = on(host);
        command.args(["cat", "/proc/net/snmp"]);
        let text = run(command).stdout_text();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(counter.0));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let place = names.split_whitespace().position(|name| name == counter.1).unwrap();
        values.split_whitespace().nth(place).unwrap().parse().unwrap()
    };
    let before = read();
    let mut command = on(host);
    command.arg(resound().get_program()).args(["bench", "-J", "--warmup=0"]).args(flags);
    let ended = run(command);
    let document = serde_json::from_slice(&ended.stdout).expect(&ended.stderr);
    (document, read() - before)
}

/// The server's host loses every 20th segment that carries payload. It loses no FIN, because the
/// kernel counts a FIN that is sent again after the generator has closed its socket.
#[test]
fn the_retransmits_of_a_lossy_path_equal_the_kernels_count() {
    if tool("nft").is_none() {
        return;
    }
    let Some((daemon, client)) = two_hosts(&["tcp://10.9.0.1:0"]) else { return };
    let loss = "add table ip loss
        add chain ip loss in { type filter hook input priority 0; }
        add rule ip loss in ip protocol tcp ip length > 100 numgen inc mod 20 == 0 drop";
    let mut command = Command::new("nsenter");
    command.args(["-t", &daemon.process.pid().as_raw_nonzero().to_string(), "-n", "nft", loss]);
    let ended = run(command);
    if ended.code() != 0 {
        crate::support::skip(format_args!("nft cannot drop segments: {}", ended.stderr));
        return;
    }
    let flags = ["-c4", "-d8", "-n1000", "--timeout=50s", &daemon.endpoints[0]];
    let (document, retransmitted) = counted_load(&client, ("Tcp:", "RetransSegs"), &flags);
    let tcp = &document["tcp"];
    println!("{retransmitted} segments: {tcp}");
    assert!(retransmitted > 0, "{tcp}");
    assert_eq!(tcp["retransmits"], retransmitted);
    assert!(tcp["bytes_retransmitted"].as_u64().unwrap() >= 64 * retransmitted / 2, "{tcp}");
    assert_eq!((&tcp["connections"], &tcp["mss"]), (&4.into(), &1448.into()));
    assert!(tcp["min_rtt_ns"].as_u64() <= tcp["rtt_ns"]["max"].as_u64(), "{tcp}");
    assert_eq!(document["messages"]["received"], 1_000);
}

/// 64 answers at once do not fit a receive buffer of 4 KiB. Each comes alone: a train is one drop.
#[test]
fn the_drops_of_a_small_receive_buffer_equal_the_kernels_count() {
    let Some((daemon, client)) = two_hosts(&["udp://10.9.0.1:0"]) else { return };
    let load = ["-c1", "-d64", "-n300", "-l1200", "--no-offload", "--rcvbuf=4k", "--timeout=200ms"];
    let flags = [&load[..], &[&daemon.endpoints[0]]].concat();
    let (document, dropped) = counted_load(&client, ("Udp:", "RcvbufErrors"), &flags);
    println!("{dropped} datagrams: {}", document["udp"]);
    assert!(dropped > 0, "{document:#}");
    assert_eq!(document["udp"]["receive_drops"], dropped);
    assert_eq!(document["tcp"], Value::Null);
}

/// case U14: the kernel refuses trains of datagrams that must be fragmented on this path (EINVAL,
/// the MTU of the device is 1,500). Datagrams of at most 1,200 bytes can go in trains.
#[test]
fn answers_longer_than_the_mtu_leave_one_by_one_and_shorter_ones_in_trains() {
    let Some((daemon, client)) = two_hosts(&["udp://10.9.0.1:0"]) else { return };
    let port = daemon.endpoints[0].rsplit(':').next().unwrap();
    let pid = daemon.process.pid().as_raw_nonzero().to_string();
    for seed in ["1", "2"] {
        let mut command = on(&client);
        let script = python("trains.py");
        command.arg(script.get_program()).args(script.get_args());
        command.args(["10.9.0.1", port, &pid, seed]);
        let ended = run(command);
        assert_eq!(ended.code(), 0, "{}{}", ended.stdout_text(), ended.stderr);
        let trains = ended.stdout_text().trim().strip_prefix("trains ").unwrap().parse::<u32>();
        assert!(trains.unwrap() > 5, "{}", ended.stdout_text());
    }
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0);
    let refused = ended.stderr.split("train_refused=").nth(1).expect("a count of refusals");
    let refused: u32 = refused.split_whitespace().next().unwrap().parse().unwrap();
    // The kernel refuses only trains of the first burst, before the server has learned the limit,
    // not trains of every burst.
    assert!((1..=10).contains(&refused), "{}", ended.stderr);
}

/// Makes the only peer of a server with these flags vanish: the cable and the peer's host are
/// removed, so neither FIN nor reset ever comes. Asserts that the connection ends by `cause`.
#[track_caller]
fn vanishes(flags: &[&str], system_keepalive_seconds: &str, cause: &str) {
    let arguments = [&["tcp://10.9.0.1:0"], flags].concat();
    let started = two_hosts_with(&arguments, system_keepalive_seconds);
    let Some((daemon, host)) = started else { return };
    let mut command = on(&host);
    let script = python("vanish.py");
    command.arg(script.get_program()).args(script.get_args());
    command.args(["10.9.0.1", &daemon.addr(0).port().to_string()]);
    let mut client = Process::start_with_stdin(command, Stdio::piped());
    client.wait_for_line("served");
    let mut cut = on(&host);
    cut.args(["ip", "link", "delete", "v1"]);
    let ended = run(cut);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    wait_until("the peer to be reaped", || daemon.counters().get("connections_open") == 0);
    let counters = daemon.counters();
    assert_eq!((counters.get("accepted"), counters.get(cause)), (1, 1));
    assert!(client.is_running(), "it never closed");
    assert_eq!(daemon.stop().code(), 0);
}

/// case S10
#[test]
fn a_peer_whose_host_vanished_is_reaped_by_the_idle_timeout() {
    vanishes(&["--idle-timeout", "1s"], "", "idle");
}

/// case S10: also if none of the server's own timeouts ends it.
#[test]
fn a_peer_whose_host_vanished_is_reaped_by_keepalive() {
    vanishes(&["--keepalive", "1s"], "", "timed_out");
}

/// case S10: the default uses the times of the system if they find the loss sooner.
#[test]
fn a_peer_whose_host_vanished_is_reaped_by_shorter_keepalive_times_of_the_system() {
    vanishes(&[], "1", "timed_out");
}
