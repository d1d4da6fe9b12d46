//! `resound ping` with several endpoints, and its metrics. The servers are sockets of the standard
//! library, so that each side's counts check the other's.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::metrics::{Metrics, get};
use crate::ping::{Faulty, PATIENT, assert_messages, count, document, every_endpoint, ping};
use crate::support::{
    Daemon, Ended, Process, UnservedPorts, WAIT_MAX, resound, run, tool, unshare_network,
    wait_until,
};

/// A running `ping --metrics`.
pub struct Prober {
    pub process: Process,
    pub addr: SocketAddr,
}

impl Prober {
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Prober {
        Prober::start_command(ping(arguments))
    }

    #[track_caller]
    fn start_command(mut command: Command) -> Prober {
        command.args(["--metrics", "127.0.0.1:0"]);
        let mut process = Process::start(command);
        let mut addr = None;
        wait_until("the address of the metrics", || {
            assert!(process.is_running(), "{}", process.stderr_text());
            let text = process.stderr_text();
            let url = text.split_once("metrics at http://");
            addr = url.and_then(|(_, rest)| rest.split_once("/metrics")?.0.parse().ok());
            addr.is_some()
        });
        Prober { process, addr: addr.expect("the wait above returns after a match") }
    }

    /// Returns a counter of a target.
    #[track_caller]
    fn count(&self, name: &str, endpoint: &str) -> f64 {
        let page = Metrics::of(&get(self.addr, "/metrics").body);
        page.get(&format!("resound_ping_{name}_total{{target=\"{endpoint}\"}}"))
    }

    /// Returns the lost probes of a target that have this cause.
    #[track_caller]
    fn lost(&self, endpoint: &str, cause: &str) -> f64 {
        let page = Metrics::of(&get(self.addr, "/metrics").body);
        let labels = format!("target=\"{endpoint}\",cause=\"{cause}\"");
        page.get(&format!("resound_ping_lost_probes_total{{{labels}}}"))
    }

    #[track_caller]
    fn wait_for(&self, name: &str, endpoint: &str, expected: f64) {
        wait_until(name, || self.count(name, endpoint) >= expected);
    }

    /// Interrupts it, and returns its document and exit code.
    #[track_caller]
    pub fn interrupt(self) -> (Value, i32) {
        self.process.signal(Signal::INT);
        let ended = self.process.wait();
        (document(&ended), ended.code())
    }
}

/// Echoes this many probes of 64 bytes, then reads one more. Returns the connection.
fn echo_probes(listener: &TcpListener, probes: usize) -> TcpStream {
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut probe = [0; 64];
    for _ in 0..probes {
        peer.read_exact(&mut probe).unwrap();
        peer.write_all(&probe).unwrap();
    }
    peer.read_exact(&mut probe).unwrap();
    peer
}

/// A UDP server that echoes the datagrams for which `is_echoed` returns true by their number from
/// 1 on, until one of a single byte comes.
fn echo_datagrams(server: UdpSocket, is_echoed: fn(u64) -> bool) -> thread::JoinHandle<u64> {
    server.set_read_timeout(Some(WAIT_MAX)).unwrap();
    thread::spawn(move || {
        let (mut buf, mut echoed) = ([0; 100], 0);
        for number in 1.. {
            let (length, peer) = server.recv_from(&mut buf).unwrap();
            if length == 1 {
                break;
            }
            if is_echoed(number) {
                server.send_to(&buf[..length], peer).unwrap();
                echoed += 1;
            }
        }
        echoed
    })
}

fn end_datagrams(addr: SocketAddr) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", addr).unwrap();
}

#[test]
fn each_of_several_endpoints_has_its_lines_and_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&every_endpoint(folder.path()));
    let endpoints: Vec<&str> = daemon.endpoints.iter().map(String::as_str).collect();
    let ended = run(ping(&[&["-c", "3", "-i", "1ms", PATIENT], &endpoints[..]].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let stdout = ended.stdout_text();
    for endpoint in endpoints {
        assert!(stdout.contains(&format!("PING {endpoint}: 64 bytes\n")), "{stdout}");
        for number in 1..=3 {
            let line = format!("\n64 bytes from {endpoint}: seq={number} time=");
            assert!(stdout.contains(&line), "{line} in {stdout}");
        }
        let summary = format!(
            "\n\n--- {endpoint} ping statistics ---\n3 probes sent, 3 received, 0% loss, time "
        );
        assert!(stdout.contains(&summary), "{stdout}");
    }
}

#[test]
fn one_document_has_the_document_of_each_endpoint_in_order() {
    let good = Faulty::start("udp://127.0.0.1:0", &[]);
    let double = Faulty::start("udp://127.0.0.1:0", &["duplicate:2"]);
    let wrong = Faulty::start("udp://127.0.0.1:0", &["corrupt:3:20"]);
    let unserved = UnservedPorts::new();
    let refusing = format!("tcp://{}", unserved.tcp);
    let answering = [&*good.endpoint, &*double.endpoint, &*wrong.endpoint];
    let arguments = ["-J", "-c", "5", "-i", "5ms", PATIENT];
    let ended = run(ping(&[&arguments[..], &answering].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let whole = document(&ended);
    assert_eq!((&whole["status"], &whole["error"]), (&Value::from("ok"), &Value::Null));
    let targets = whole["targets"].as_array().unwrap();
    let all = [("sent", 5), ("received", 5)];
    assert_messages(&targets[0], &all);
    assert_messages(&targets[1], &[&all[..], &[("duplicated", 1)]].concat());
    assert_messages(&targets[2], &[&all[..], &[("corrupted", 1)]].concat());
    for (target, endpoint) in targets.iter().zip(answering) {
        assert_eq!(target["endpoint"], endpoint);
        // The same keys as in the document of one endpoint.
        let one = document(&run(ping(&["-J", "-c", "1", PATIENT, endpoint])));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(target), keys(&one));
    }

    // Something came back.
    let ended = run(ping(&[&arguments[..], &[&good.endpoint, &refusing]].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let whole = document(&ended);
    assert_eq!(whole["status"], "error");
    assert_eq!(whole["error"], format!("{refusing}: nothing came back: refused"));
    assert_eq!(whole["targets"][0]["status"], "ok");
    assert_messages(&whole["targets"][1], &[("sent", 5), ("lost", 5)]);
    assert_eq!(whole["targets"][1]["losses"]["refused"], 5);
}

#[test]
fn a_target_that_stalls_delays_no_other() {
    let mute = Faulty::start("tcp://127.0.0.1:0", &["mute"]);
    let good = Faulty::start("tcp://127.0.0.1:0", &[]);
    let mut process = Process::start(ping(&["-i", "5ms", PATIENT, &mute.endpoint, &good.endpoint]));
    for number in 1..=20 {
        process.wait_for_line(&format!("64 bytes from {}: seq={number} ", good.endpoint));
    }
    process.signal(Signal::QUIT);
    wait_until("the figures of both", || {
        let text = process.stderr_text();
        [&mute, &good].iter().all(|server| text.contains(&format!("{}: ", server.endpoint)))
    });
    process.signal(Signal::INT);
    let ended = process.wait();
    assert_eq!(ended.code(), 0, "something came back");
    let stdout = ended.stdout_text();
    assert!(!stdout.contains(&format!("from {}", mute.endpoint)), "{stdout}");
    assert!(stdout.contains(" in flight at the end, loss not known yet, time "), "{stdout}");
}

#[test]
fn lines_about_losses_name_their_target() {
    let mute = Faulty::start("udp://127.0.0.1:0", &["mute"]);
    let unserved = UnservedPorts::new();
    let refusing = format!("tcp://{}", unserved.tcp);
    let ended = run(ping(&["-c", "2", "-i", "1ms", "-W", "50ms", &mute.endpoint, &refusing]));
    assert_eq!((ended.code(), ended.stderr.as_str()), (1, ""));
    let stdout = ended.stdout_text();
    for number in 1..=2 {
        let line = format!("\n{}: seq={number} no answer within 50ms\n", mute.endpoint);
        assert!(stdout.contains(&line), "{stdout}");
        assert!(stdout.contains(&format!("\n{refusing}: seq={number} ")), "{stdout}");
    }
}

/// The other targets do not wait for their next probe.
#[test]
fn the_run_ends_when_the_reader_of_its_lines_leaves() {
    let mute = Faulty::start("udp://127.0.0.1:0", &["mute"]);
    let good = Faulty::start("udp://127.0.0.1:0", &[]);
    let (mut reader, writer) = io::pipe().unwrap();
    let command = ping(&["-i", "5ms", PATIENT, &mute.endpoint, &good.endpoint]);
    let process = Process::start_with(command, Stdio::null(), Stdio::from(writer));
    reader.read_exact(&mut [0; 5]).unwrap();
    drop(reader);
    let ended = process.wait();
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_descriptor_limit_that_is_too_low_is_named_with_its_remedy() {
    let Some(prlimit) = tool("prlimit") else { return };
    let mut command = Command::new(prlimit);
    command.arg("--nofile=40").arg(resound().get_program()).args(["ping", "-c1"]);
    let ended = run_with(command, (1..=50).map(|port| format!("udp://127.0.0.1:{port}")));
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains("raise ulimit -n"), "{}", ended.stderr);
}

fn run_with(mut command: Command, arguments: impl Iterator<Item = String>) -> Ended {
    command.args(arguments);
    run(command)
}

#[test]
fn more_endpoints_than_the_limit_are_refused() {
    let endpoints = (1..=1_001).map(|port| format!("udp://127.0.0.1:{port}"));
    let ended = run_with(ping(&["-c1"]), endpoints);
    assert_eq!(ended.code(), 2);
    let expected = "1001 endpoints are too many: expected at most 1000";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
}

/// The split of each probe, as with a single endpoint.
#[test]
fn timestamps_split_the_time_of_every_target() {
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let endpoints: Vec<&str> = daemon.endpoints.iter().map(String::as_str).collect();
    let arguments = ["-J", "-c", "5", "-i", "5ms", "--timestamps", PATIENT];
    let ended = run(ping(&[&arguments[..], &endpoints].concat()));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for target in document(&ended)["targets"].as_array().unwrap() {
        assert!(target["split"]["away_ns"].is_object(), "{target}");
    }
}

#[test]
fn an_endpoint_that_is_given_twice_is_refused() {
    let ended = run(ping(&["udp://127.0.0.1:7", "tcp://127.0.0.1:7", "udp://127.0.0.1:7"]));
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("'udp://127.0.0.1:7' is given twice: expected "), "{ended:?}");
}

/// Exact counts on both sides: three echoes, a probe that the server read before it closed, refused
/// ones, and five echoes of the server that came back.
#[test]
fn a_server_that_restarts_is_found_again_and_every_probe_is_accounted_for() {
    // No other test uses this address, so the port stays free while no server uses it.
    let listener = TcpListener::bind("127.7.7.11:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let endpoint = format!("tcp://{addr}");
    let prober = Prober::start(&["-J", "-i", "5ms", PATIENT, &endpoint]);
    drop((echo_probes(&listener, 3), listener));
    wait_until("refused probes", || prober.lost(&endpoint, "refused") >= 2.0);
    let listener = TcpListener::bind(addr).unwrap();
    let silent = echo_probes(&listener, 5);
    prober.wait_for("received_probes", &endpoint, 8.0);
    assert_eq!(prober.count("reconnects", &endpoint), 1.0);
    assert_eq!(get(prober.addr, "/healthz").body, "ok\n");

    let (document, code) = prober.interrupt();
    drop(silent);
    assert_eq!(code, 0);
    let [sent, received, lost, in_flight] =
        ["sent", "received", "lost", "in_flight_at_end"].map(|name| count(&document, name));
    assert_eq!((received, sent), (8, received + lost + in_flight), "{document}");
    // The kernel resets the connection instead of closing it if more probes had come by then.
    let losses = document["losses"].as_object().unwrap();
    let refused = losses["refused"].as_u64().unwrap();
    let ended: u64 = ["closed by the peer", "reset"]
        .iter()
        .filter_map(|cause| losses.get(*cause)?.as_u64())
        .sum();
    assert!(ended >= 1 && refused + ended == lost, "{document}");
    assert_eq!(document["reconnects"], 1);
    assert_eq!(document["latency_ns"]["count"], 8);
}

#[test]
fn lost_packets_are_counted_exactly_on_the_page_and_in_the_document() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let endpoint = format!("udp://{addr}");
    let server = echo_datagrams(server, |number| number % 3 != 0);
    let prober = Prober::start(&["-J", "-c", "30", "-i", "1ms", PATIENT, &endpoint]);
    prober.wait_for("sent_probes", &endpoint, 30.0);
    prober.wait_for("received_probes", &endpoint, 20.0);
    let page = Metrics::of(&get(prober.addr, "/metrics").body);
    let label = format!("{{target=\"{endpoint}\"}}");
    assert_eq!(page.get(&format!("resound_ping_in_flight_probes{label}")), 10.0);
    assert_eq!(page.get(&format!("resound_ping_rtt_seconds_count{label}")), 20.0);
    let (document, code) = prober.interrupt();
    end_datagrams(addr);
    assert_eq!((server.join().unwrap(), code), (20, 0));
    assert_messages(&document, &[("sent", 30), ("received", 20), ("in_flight_at_end", 10)]);
}

/// However slow the machine is, an unanswered probe is lost.
#[test]
fn every_unanswered_probe_is_lost_once() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let endpoint = format!("udp://{addr}");
    let server = echo_datagrams(server, |_| false);
    let ended = run(ping(&["-J", "-c", "10", "-i", "1ms", "-W", "50ms", &endpoint, "unix:/none"]));
    end_datagrams(addr);
    assert_eq!((server.join().unwrap(), ended.code()), (0, 1));
    let whole = document(&ended);
    for target in whole["targets"].as_array().unwrap() {
        assert_messages(target, &[("sent", 10), ("lost", 10)]);
    }
    assert_eq!(whole["targets"][0]["losses"]["no answer"], 10);
}

/// A host may vanish without a word, and its connection then stays open on this side.
#[test]
fn a_connection_without_any_answer_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (silent, _) = listener.accept().unwrap();
        for peer in listener.incoming() {
            let mut peer = peer.unwrap();
            let mut probe = [0; 64];
            while peer.read_exact(&mut probe).is_ok() {
                if peer.write_all(&probe).is_err() {
                    break;
                }
                if probe[0] == 0xff {
                    drop(silent);
                    return;
                }
            }
        }
    });
    let prober = Prober::start(&["-J", "-i", "5ms", "-W", "500ms", &endpoint]);
    prober.wait_for("received_probes", &endpoint, 1.0);
    assert!(prober.count("reconnects", &endpoint) >= 1.0);
    assert!(prober.lost(&endpoint, "no_answer") >= 1.0);
    prober.interrupt();
    let mut last = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
    last.write_all(&[0xff; 64]).unwrap();
    server.join().unwrap();
}

/// The name belongs to another address from the moment when the first server goes away.
#[test]
fn a_name_is_looked_up_again_when_the_connection_has_ended() {
    if unshare_network().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "127.7.7.12 moving.example\n").unwrap();
    let first = TcpListener::bind("127.7.7.12:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.7.7.13", port)).unwrap();
    let endpoint = format!("tcp://moving.example:{port}");
    let arguments = ["-J", "-i", "5ms", PATIENT, &endpoint];
    let prober = Prober::start_command(with_hosts(&hosts, &arguments));
    let peer = echo_probes(&first, 3);
    fs::write(&hosts, "127.7.7.13 moving.example\n").unwrap();
    drop((peer, first));
    let silent = echo_probes(&second, 3);
    prober.wait_for("received_probes", &endpoint, 6.0);
    assert_eq!(prober.count("reconnects", &endpoint), 1.0);
    let (document, code) = prober.interrupt();
    drop(silent);
    assert_eq!((count(&document, "received"), code), (6, 0));
}

/// Returns a `ping` that looks up names in this file.
fn with_hosts(hosts: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(hosts);
    command.arg(resound().get_program()).arg("ping").args(arguments);
    command
}

/// The tool of the Prometheus project that checks names, types and help texts.
#[test]
fn the_pages_of_ping_and_serve_pass_promtool() {
    let Some(promtool) = tool("promtool") else { return };
    let daemon = Daemon::start(&["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]);
    let endpoints: Vec<&str> = daemon.endpoints.iter().map(String::as_str).collect();
    let prober = Prober::start(&[&["-J", "-i", "5ms", PATIENT], &endpoints[..]].concat());
    prober.wait_for("received_probes", endpoints[0], 2.0);
    let (_served, served_addr) = super::dashboards::serve();
    for addr in [prober.addr, served_addr] {
        let page = get(addr, "/metrics").body;
        let mut command = Command::new(&promtool);
        command.args(["check", "metrics"]);
        let checked = Process::start_with_input(command, page.as_bytes()).wait();
        assert_eq!((checked.code(), checked.stderr.as_str()), (0, ""), "{page}");
    }
    assert_eq!(prober.interrupt().1, 0);
}

/// What cannot be bound is named, before any probe.
#[test]
fn an_address_of_the_metrics_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let ended = run(ping(&["-J", "-c1", "udp://127.0.0.1:7", "--metrics", &addr]));
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr.contains(&addr), "{}", ended.stderr);
    assert_eq!(document(&ended)["status"], "error");
    taken.set_nonblocking(true).unwrap();
    assert_eq!(taken.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}
