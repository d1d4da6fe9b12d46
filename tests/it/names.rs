//! Names and addresses: a failed lookup, a missing family, a missing interface, a port that is
//! still in use. Every command names the actual cause.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;

use crate::support::{Ended, Process, python, resound, run, unshare_network, wait_until};

/// The commands that look up an endpoint, with arguments before and after the endpoint with which
/// each ends soon.
const COMMANDS: [(&str, &[&str]); 4] = [
    ("send", &["x"]),
    ("ping", &["-c1"]),
    ("bench", &["-n1", "-c1", "--warmup=0"]),
    ("serve", &["--drain-timeout=1s"]),
];

/// Returns a command that runs the program where names cannot be looked up.
fn without_names(unshare: &Path, behaviour: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(unshare);
    let script = python("name_server.py");
    command.arg("-nm").arg(script.get_program()).args(script.get_args());
    command.arg(behaviour).arg(resound().get_program()).args(arguments);
    command
}

/// Asserts exit code 1, and a last line of stderr that ends with the endpoint and the reason.
#[track_caller]
fn assert_reason(ended: &Ended, endpoint: &str, reason: &str) {
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("resound: cannot "), "{line}");
    assert!(line.ends_with(&format!("{endpoint}: {reason}")), "{line:?} lacks {reason:?}");
}

/// The resolver's own limits are minutes here, so the limit of the command must end the lookup.
#[test]
fn the_timeout_of_a_command_covers_the_lookup_of_a_name() {
    let Some(unshare) = unshare_network() else { return };
    let reason = "the look-up timed out: the name server did not answer";
    for endpoint in ["tcp://nowhere.example:7", "udp://nowhere.example:7"] {
        for arguments in [
            &["send", "--timeout=300ms", endpoint, "x"][..],
            &["send", "--timeout=300ms", "--no-reply", endpoint, "x"],
            &["ping", "-c1", "-W300ms", endpoint],
            &["ping", "-c1", "-W300ms", "-J", endpoint],
            &["bench", "-n1", "--timeout=300ms", endpoint],
            &["bench", "-n1", "--timeout=300ms", "-J", endpoint],
        ] {
            let ended = run(without_names(&unshare, "silent", arguments));
            assert_reason(&ended, endpoint, reason);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            if arguments.contains(&"-J") {
                let document: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
                assert!(document["error"].as_str().unwrap().ends_with(reason), "{document}");
            }
        }
    }
}

/// The error does not claim that the name does not exist.
#[test]
fn a_failed_lookup_differs_from_a_name_that_does_not_exist() {
    let Some(unshare) = unshare_network() else { return };
    let reason = "the look-up failed: the name server did not answer";
    for endpoint in ["tcp://nowhere.example:7", "udp://nowhere.example:7"] {
        for (name, others) in COMMANDS {
            let arguments = [&[name, endpoint], others].concat();
            let ended = run(without_names(&unshare, "absent", &arguments));
            assert_reason(&ended, endpoint, reason);
        }
        let metrics = &endpoint["tcp://".len()..];
        let arguments = ["serve", "tcp://127.0.0.1:0", "--metrics", metrics];
        let ended = run(without_names(&unshare, "absent", &arguments));
        assert_reason(&ended, metrics, reason);
    }
}

#[test]
fn a_signal_ends_a_lookup_at_once() {
    let Some(unshare) = unshare_network() else { return };
    let program = fs::canonicalize(resound().get_program()).unwrap();
    for (name, others) in COMMANDS {
        for signal in [Signal::INT, Signal::TERM] {
            let timeout: &[&str] = if name == "serve" { &[] } else { &["--timeout=50m"] };
            let endpoint = "udp://nowhere.example:7";
            let arguments = [&[name, endpoint], others, timeout].concat();
            let process = Process::start(without_names(&unshare, "silent", &arguments));
            let executable = format!("/proc/{}/exe", process.pid().as_raw_nonzero());
            wait_until("the program", || fs::read_link(&executable).is_ok_and(|is| is == program));
            process.signal(signal);
            // Much earlier than the resolver's own limit.
            process.wait();
        }
    }
}

#[test]
fn a_link_local_address_with_a_missing_or_wrong_interface_is_refused_with_the_cause() {
    let needed = "a link-local address needs its interface, as in [fe80::1%eth0]";
    for (host, reason) in [
        ("fe80::1", needed),
        ("fe80::1%nosuch", "no interface nosuch"),
        ("fe80::1%999999", "no interface 999999"),
    ] {
        for scheme in ["tcp", "udp"] {
            let endpoint = format!("{scheme}://[{host}]:7444");
            for (name, others) in COMMANDS {
                let mut command = resound();
                command.args([name, &endpoint]).args(others);
                assert_reason(&run(command), &endpoint, reason);
            }
        }
        let mut command = resound();
        command.args(["serve", "tcp://127.0.0.1:0", "--metrics", &format!("[{host}]:7444")]);
        assert_reason(&run(command), &format!("[{host}]:7444"), reason);
    }
}

/// Returns a command: a shell on its own host with IPv6 disabled, as in some containers. Returns
/// `None` if tools are missing.
fn without_ipv6(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(unshare_network()?);
    let script = "ip link set lo up; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; exec \"$@\"";
    command.args(["-n", "sh", "-ec", script, "sh"]).arg(resound().get_program()).args(arguments);
    Some(command)
}

#[test]
fn a_machine_without_ipv6_is_not_reported_as_out_of_ports() {
    for scheme in ["tcp", "udp"] {
        for host in ["[::1]:7305", "[2001:db8::1]:7305"] {
            let endpoint = format!("{scheme}://{host}");
            for (name, others) in COMMANDS {
                let arguments = [&[name, endpoint.as_str()], others].concat();
                let Some(command) = without_ipv6(&arguments) else { return };
                let ended = run(command);
                let output = ended.stdout_text() + &ended.stderr;
                assert_eq!(ended.code(), 1, "{output}");
                assert!(output.contains("this machine has no IPv6 address"), "{output}");
                assert!(!output.contains("ephemeral"), "{output}");
                if name == "bench" {
                    let why = "this machine has no IPv6 address";
                    assert_eq!(output, format!("resound: cannot connect to {endpoint}: {why}\n"));
                }
            }
        }
    }
}

/// The error of the other address says more than the missing IPv6.
#[test]
fn a_name_of_both_families_is_refused_if_one_family_is_missing_and_nothing_listens() {
    for scheme in ["tcp", "udp"] {
        let endpoint = format!("{scheme}://localhost:7305");
        for (name, others) in COMMANDS.into_iter().filter(|(name, _)| *name != "serve") {
            let arguments = [&[name, endpoint.as_str()], others].concat();
            let Some(command) = without_ipv6(&arguments) else { return };
            let ended = run(command);
            let output = ended.stdout_text() + &ended.stderr;
            assert_eq!(ended.code(), 1, "{output}");
            assert!(output.contains("refused") && !output.contains("IPv6"), "{output}");
        }
    }
}

/// A shell script for a host with four ephemeral ports, which one client uses, and then one more
/// client.
const FEW_PORTS: &str = r#"
ip link set lo up
echo 50000 50003 >/proc/sys/net/ipv4/ip_local_port_range
"$0" serve "$1://127.0.0.1:7" --allow-loops >/dev/null 2>&1 &
server=$!
trap 'kill $server' EXIT
tries=0
until "$0" send "$1://127.0.0.1:7" x >/dev/null 2>&1; do
  tries=$((tries + 1)); [ $tries -lt 1000 ]; sleep 0.01
done
"$0" bench "$1://127.0.0.1:7" -c 8 -n 1000 --warmup 0
"#;

/// case B6: over UDP, Linux fails with EAGAIN ("would block").
#[test]
fn too_few_ports_are_named_over_tcp_and_udp() {
    let Some(unshare) = unshare_network() else { return };
    for scheme in ["tcp", "udp"] {
        let mut command = Command::new(&unshare);
        command.args(["-n", "sh", "-ec", FEW_PORTS]).arg(resound().get_program()).arg(scheme);
        let ended = run(command);
        let output = ended.stdout_text() + &ended.stderr;
        assert!(output.contains("this client is out of ephemeral ports"), "{output}");
        assert!(!output.contains("no IPv4 address") && !output.contains("would block"), "{output}");
    }
}

/// Returns a port that only a connection in TIME_WAIT uses: its server closed first and had not set
/// SO_REUSEADDR.
fn port_in_time_wait() -> SocketAddr {
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let addr = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    drop(rustix::net::accept(&listener).unwrap());
    drop(listener);
    // The server sends FIN first, then the client.
    assert_eq!(std::io::Read::read(&mut client, &mut [0]).unwrap(), 0);
    drop(client);
    addr
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_used_only_by_old_connections_is_reported_as_such() {
    let addr = port_in_time_wait();
    let mut command = resound();
    command.args(["serve", &format!("tcp://{addr}")]);
    let ended = run(command);
    let reason = "address in use (only old connections in TIME_WAIT have this port; the kernel \
                  frees it within a minute)";
    assert_reason(&ended, &format!("tcp://{addr}"), reason);

    // A listener on the port is a different cause, even with such connections.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut command = resound();
    command.args(["serve", &format!("tcp://{addr}")]);
    let reason = "address in use (another socket has this port; pick another, or 0 to let the \
                  system pick)";
    assert_reason(&run(command), &format!("tcp://{addr}"), reason);
}
