//! Flags of `serve` that set options, the log lines about them, and flags without effect.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{
    Counters, Daemon, Process, WAIT_MAX, abstract_name, resound, run, tool, wait_until,
};

fn echo(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect_timeout(&daemon.addr(0), WAIT_MAX).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    client
}

/// Starts a daemon whose log level does not depend on the environment of the tests.
fn start(arguments: &[&str], rust_log: Option<&str>) -> Daemon {
    let mut command = resound();
    command.arg("serve").args(arguments).env_remove("RUST_LOG");
    if let Some(rust_log) = rust_log {
        command.env("RUST_LOG", rust_log);
    }
    Daemon::start_command(command)
}

/// Returns the log of a daemon that had one client, which reset its connection, and was then
/// stopped.
fn whole_log(arguments: &[&str], rust_log: Option<&str>) -> String {
    let mut with_endpoint = vec!["tcp://127.0.0.1:0"];
    with_endpoint.extend(arguments);
    let daemon = start(&with_endpoint, rust_log);
    let client = echo(&daemon);
    let mut other = echo(&daemon);
    SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    // The reset precedes this client's messages, so when the server has ended this client it has
    // seen the reset.
    other.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0);
    assert_eq!(ended.stdout_text().lines().count(), 1, "nothing but the listening line");
    ended.stderr
}

#[test]
fn the_counters_are_printed_at_exit() {
    let counters = Counters::last_of(&whole_log(&[], None));
    assert_eq!((counters.get("accepted"), counters.get("reset")), (2, 1));
    assert_eq!((counters.get("tcp_bytes_in"), counters.get("tcp_bytes_out")), (8, 8));
}

#[test]
fn quiet_omits_the_information_but_not_the_counters() {
    for flags in [&["-q"][..], &["-qq"], &["-q", "--stats", "1h"]] {
        let log = whole_log(flags, None);
        assert_eq!(log.lines().count(), 1, "{flags:?}: {log}");
        assert_eq!(Counters::last_of(&log).get("accepted"), 2);
    }
}

#[test]
fn the_log_level_is_info_and_each_v_adds_to_it() {
    let closed = "tcp: connection closed: reset";
    let log = whole_log(&[], None);
    assert!(log.contains("INFO") && log.contains("draining") && !log.contains(closed), "{log}");
    for (flag, has_all) in [("-v", false), ("-vv", true)] {
        let log = whole_log(&[flag], None);
        assert!(log.contains("draining") && log.contains(closed), "{flag}: {log}");
        for line in ["tcp: accepted (1 at once)", "tcp: connection closed: finished"] {
            assert_eq!(log.contains(line), has_all, "{flag}: {log}");
        }
    }
}

#[test]
fn rust_log_overrides_the_flags() {
    let log = whole_log(&["-q"], Some("debug"));
    assert!(log.contains("tcp: connection closed: reset"), "{log}");
    let log = whole_log(&["-v"], Some("error"));
    assert!(log.lines().all(|line| line.starts_with("stats ")), "{log}");
}

#[test]
fn an_empty_rust_log_counts_as_unset_and_a_wrong_one_is_ignored_with_a_warning() {
    let warning = "RUST_LOG is ignored";
    let log = whole_log(&[], Some(""));
    assert!(log.contains("INFO") && log.contains("draining") && !log.contains(warning), "{log}");
    let log = whole_log(&[], Some("resound=frobnicate"));
    assert!(log.contains("INFO") && log.contains("draining"), "{log}");
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn stats_are_printed_at_their_interval() {
    let daemon = start(&["tcp://127.0.0.1:0", "--stats", "20ms"], None);
    let _client = echo(&daemon);
    wait_until("some lines", || {
        daemon.process.stderr_text().matches("stats ").count() >= 5
            && Counters::last_of(&daemon.process.stderr_text()).get("accepted") == 1
    });
}

#[test]
fn a_signal_prints_the_counters_once() {
    let daemon = start(&["tcp://127.0.0.1:0"], None);
    for times in 1..=3 {
        let _client = echo(&daemon);
        assert_eq!(daemon.counters().get("accepted"), times);
        assert_eq!(daemon.process.stderr_text().matches("stats ").count() as u64, times);
    }
    // Counters requested by a signal are printed at every log level.
    let daemon = start(&["tcp://127.0.0.1:0", "-qq"], None);
    daemon.process.signal(Signal::USR1);
    wait_until("the counters", || daemon.process.stderr_text().contains("connections_open=0"));
}

#[test]
fn the_values_that_the_kernel_granted_are_logged() {
    let names = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    let name = names.split_whitespace().next().unwrap();
    let arguments = ["--backlog", "77", "--rcvbuf", "64KiB", "--sndbuf", "32k", "--congestion"];
    let mut arguments = arguments.to_vec();
    arguments.extend([name, "--nagle", "tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let daemon = start(&arguments, None);
    let _client = echo(&daemon);
    wait_until("the log", || daemon.process.stderr_text().matches("granted").count() == 2);
    let log = daemon.process.stderr_text();
    // Linux doubles the requested size.
    let sizes = "rcvbuf=131072 sndbuf=65536";
    assert!(log.contains(&format!("granted backlog=77 {sizes} congestion={name}\n")), "{log}");
    assert!(log.contains(&format!("granted {sizes}\n")), "{log}");
}

#[test]
fn options_of_tcp_are_not_logged_for_unix_sockets_and_cause_a_warning() {
    let names = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    let name = names.split_whitespace().next().unwrap();
    let endpoint = format!("unix:{}", abstract_name("congestion"));
    let log = |arguments: &[&str]| {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--congestion", name, &endpoint]);
        start(&arguments, None).stop().stderr
    };
    let log = log(&["tcp://127.0.0.1:0", "--nagle"]);
    assert_eq!(log.matches("congestion=").count(), 1, "{log}");
    let warning =
        format!("--nagle and --congestion used for tcp:// only, and not for {endpoint}\n");
    assert_eq!(log.matches(&warning).count(), 1, "{log}");
}

/// Settings that only TCP has, with the warning about them where no endpoint is TCP.
const OF_TCP: ([&str; 4], &str) = (
    ["--nagle", "--congestion=cubic", "--mss=1400", "--mptcp"],
    "--nagle and --congestion and --mss and --mptcp without effect: no endpoint is tcp://",
);

const NOT_IP: &str = "without effect: no endpoint is tcp:// or udp://";

/// One list of flags can serve every transport: the daemon, each client and each run go on.
#[test]
fn settings_that_no_endpoint_has_cause_a_warning_and_the_command_goes_on() {
    let names = [abstract_name("settings"), abstract_name("settings-packets")];
    let endpoints = [format!("unix:{}", names[0]), format!("unixgram:{}", names[1])];
    let of_ip = ["-4", "--dscp=ef", "--ttl=9", "--busy-poll=9us"];
    let places = [endpoints[0].as_str(), &endpoints[1]];
    let daemon = start(&[&places[..], &OF_TCP.0, &of_ip].concat(), None);
    for endpoint in places {
        let run_client = |words: &[&str]| {
            let mut command = resound();
            command.args(words).arg(endpoint);
            let ended = run(command);
            assert_eq!(ended.code(), 0, "{words:?}: {}", ended.stderr);
            (serde_json::from_slice::<Value>(&ended.stdout).unwrap(), ended.stderr)
        };
        let bench = ["bench", "-J", "-c2", "-n100", "--warmup=0", "--timeout=50s", "--timestamps"];
        let (document, stderr) = run_client(&[&bench[..], &OF_TCP.0, &of_ip].concat());
        let expected = format!("--dscp and --ttl and --busy-poll and -4 and --timestamps {NOT_IP}");
        assert_eq!(document["warnings"], json!([OF_TCP.1, expected]));
        assert_eq!((&document["status"], &document["split"]), (&json!("ok"), &Value::Null));
        assert_eq!((&document["messages"]["received"], stderr.as_str()), (&json!(100), ""));

        let ping = ["ping", "-J", "-c2", "-i0", "-W50s", "--timestamps", "-6", "--ttl=9"];
        let (document, stderr) = run_client(&ping);
        assert_eq!(stderr, format!("resound: --ttl and -6 and --timestamps {NOT_IP}\n"));
        assert_eq!((&document["messages"]["lost"], &document["split"]), (&json!(0), &Value::Null));

        let sweep = ["sweep", "-J", "-d1,2", "-c1", "-n100", "--warmup=0", "--timeout=50s"];
        let (document, stderr) = run_client(&[&sweep[..], &OF_TCP.0].concat());
        assert_eq!((&document["warnings"], stderr.as_str()), (&json!([OF_TCP.1]), ""));

        let mut send = resound();
        send.args(["send", "-4", "--timeout=50s", endpoint, "hello"]);
        let ended = run(send);
        assert_eq!((ended.code(), ended.stdout_text().as_str()), (0, "hello"));
        assert_eq!(ended.stderr, format!("resound: -4 {NOT_IP}\n"));
    }
    let log = daemon.stop().stderr;
    let of_ip = format!("--dscp and --ttl and --busy-poll and -4 {NOT_IP}");
    for warning in [OF_TCP.1, &of_ip] {
        assert_eq!(log.matches(&format!("WARN {warning}\n")).count(), 1, "{log}");
    }
}

#[test]
fn datagrams_without_a_use_for_settings_of_streams_are_measured_with_a_warning() {
    let mut command = resound();
    command.args(["bench", "-J", "--transport=udp", "--reconnect", "-c2", "-n100", "--warmup=0"]);
    command.arg("--timeout=50s").args(OF_TCP.0);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let warnings = document["warnings"].to_string();
    assert!(warnings.contains(OF_TCP.1), "{warnings}");
    assert!(warnings.contains("--reconnect without effect: datagram sockets stay open"));
}

#[test]
fn a_backlog_beyond_the_limit_of_the_system_is_reduced_with_a_log_line() {
    let daemon = start(&["tcp://127.0.0.1:0", "--backlog", "1m"], None);
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let granted = format!("granted backlog={}\n", somaxconn.trim());
    wait_until("the log", || daemon.process.stderr_text().contains(&granted));
}

#[test]
fn an_unknown_congestion_control_is_refused_by_name() {
    let mut command = resound();
    command.args(["serve", "tcp://127.0.0.1:0", "--congestion", "bogus"]);
    let ended = run(command);
    assert_eq!((ended.code(), ended.stdout.len()), (1, 0));
    assert!(ended.stderr.contains("bogus") && ended.stderr.contains("this system has"));
}

/// The umask does not change the mode.
#[test]
fn socket_files_have_the_requested_mode() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags, expected) in [
        ("default", &[][..], 0o600),
        ("group", &["--unix-mode", "0660"], 0o660),
        ("all", &["--unix-mode", "666"], 0o666),
    ] {
        let path = folder.path().join(name);
        let packets = folder.path().join(format!("{name}-packets"));
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077 && exec \"$0\" serve \"$@\""]).arg(resound().get_program());
        command.args(flags).arg(format!("unix:{}", path.display()));
        command.arg(format!("unixgram:{}", packets.display()));
        let _daemon = Daemon::start_command(command);
        for path in [&path, &packets] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected, "{path:?}");
        }
        UnixStream::connect(&path).unwrap();
    }
}

/// This runs in its own network namespace, where the default port is free.
#[test]
fn without_an_endpoint_it_serves_tcp_and_udp_on_loopback() {
    if tool("unshare").is_none() || tool("nsenter").is_none() || tool("ip").is_none() {
        return;
    }
    let inside = "ip link set lo up && exec \"$@\"";
    let mut probe = Command::new("unshare");
    probe.args(["-n", "sh", "-c", inside, "sh", "true"]);
    let probed = run(probe);
    if probed.code() != 0 {
        crate::support::skip(format_args!("no network namespace to be had: {}", probed.stderr));
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", inside, "sh"]).arg(resound().get_program()).arg("serve");
    let mut daemon = Process::start(command);
    let endpoints = ["tcp://127.0.0.1:7007", "udp://127.0.0.1:7007"];
    for endpoint in endpoints {
        assert_eq!(daemon.wait_for_line(&format!("listening {endpoint}")), "");
        let mut send = Command::new("nsenter");
        send.args(["-n", "-t", &daemon.pid().as_raw_nonzero().to_string()]);
        send.arg(resound().get_program()).args(["send", endpoint, "hello"]);
        let ended = run(send);
        assert_eq!((ended.code(), &*ended.stdout_text()), (0, "hello"), "{}", ended.stderr);
    }
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    let expected: String = endpoints.iter().map(|e| format!("listening {e}\n")).collect();
    assert_eq!((ended.code(), ended.stdout_text()), (0, expected));
}
