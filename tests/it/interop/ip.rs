//! TCP and UDP: sizes, addresses, ports.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use crate::interop::{ask, python_prints};
use crate::support::{Daemon, Ended, resound, run};

/// Returns true if `127.0.0.2` is local. Some systems have only 127.0.0.1 of 127.0.0.0/8.
fn has_second_loopback() -> bool {
    let found = UdpSocket::bind("127.0.0.2:0").is_ok();
    if !found {
        crate::support::skip("this system has no 127.0.0.2");
    }
    found
}

fn has_ipv6() -> bool {
    let found = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !found {
        crate::support::skip("this system has no ::1");
    }
    found
}

/// cases U1, U2: and X5 for UDP: the client's send of one byte too many fails.
#[test]
fn datagrams_of_every_size_come_back_whole() {
    let mut families = vec![("udp://127.0.0.1:0", 65_507)];
    if has_ipv6() {
        families.push(("udp://[::1]:0", 65_527));
    }
    for (endpoint, most) in families {
        let daemon = Daemon::start(&[endpoint]);
        let sizes = ["0", "1", "0", "1472", "1473", "9000", "65000"].map(str::to_owned);
        let mut arguments = vec![daemon.endpoints[0].clone()];
        arguments.extend(sizes.clone());
        arguments.extend([most.to_string(), (most + 1).to_string(), "5".to_owned()]);
        let printed = python_prints("sizes.py", &arguments);
        let mut expected: Vec<String> = sizes.iter().map(|size| format!("{size} whole")).collect();
        expected.push(format!("{most} whole"));
        expected.push(format!("{} too big", most + 1));
        expected.push("5 whole".to_owned());
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{endpoint}");
        assert_eq!(daemon.counters().get("truncated"), 0);
    }
}

/// case U10: a connected socket receives only from the address to which it sent.
#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let clients = tempfile::tempdir().unwrap();
    for endpoint in ["udp://0.0.0.0:0", "udp://:0"] {
        let daemon = Daemon::start(&[endpoint]);
        let (_, port) = daemon.endpoints[0].rsplit_once(':').unwrap();
        let mut hosts = vec!["127.0.0.1"];
        if has_second_loopback() {
            hosts.extend(["127.0.0.2", "127.1.2.3"]);
        }
        if endpoint == "udp://:0" && has_ipv6() {
            hosts.push("[::1]");
        }
        for host in hosts {
            let asked = format!("udp://{host}:{port}");
            assert_eq!(ask(&asked, "from there", clients.path()), "from there", "{asked}");
        }
    }
}

#[test]
fn only_a_udp_endpoint_that_other_hosts_can_reach_causes_a_warning() {
    let warns = |endpoint: &str| Daemon::start(&[endpoint]).stop().stderr.contains("reflects");
    assert!(warns("udp://0.0.0.0:0"));
    assert!(!warns("udp://127.0.0.1:0"));
    assert!(!warns("tcp://0.0.0.0:0"));
}

/// case U18
#[test]
fn an_empty_host_serves_both_families_on_one_port() {
    let clients = tempfile::tempdir().unwrap();
    for scheme in ["tcp", "udp"] {
        let daemon = Daemon::start(&[format!("{scheme}://:0")]);
        assert_eq!(daemon.endpoints.len(), 1);
        let (_, port) = daemon.endpoints[0].rsplit_once(':').unwrap();
        let mut hosts = vec!["127.0.0.1"];
        hosts.extend(has_ipv6().then_some("[::1]"));
        for host in hosts {
            let asked = format!("{scheme}://{host}:{port}");
            assert_eq!(ask(&asked, "hello", clients.path()), "hello", "{asked}");
        }
    }
}

/// case U18
#[test]
fn the_two_wildcards_share_a_port_without_either_taking_the_others_clients() {
    if !has_ipv6() {
        return;
    }
    let clients = tempfile::tempdir().unwrap();
    for scheme in ["tcp", "udp"] {
        // The second port is not free to choose: another process may have it in that family.
        let started = (0..50).find_map(|_| {
            let four = Daemon::start(&["--reply", "four", &format!("{scheme}://0.0.0.0:0")]);
            let (_, port) = four.endpoints[0].rsplit_once(':').unwrap();
            let port = port.to_owned();
            let mut command = resound();
            command.args(["serve", "--reply", "six", &format!("{scheme}://[::]:{port}")]);
            match Daemon::try_start(command) {
                Ok(six) => Some((four, six, port)),
                Err(ended) => {
                    assert!(ended.stderr.contains("address in use"), "{}", ended.stderr);
                    None
                }
            }
        });
        let (_four, _six, port) = started.expect("a port that is free in both families");
        let ask = |host: &str| ask(&format!("{scheme}://{host}:{port}"), "who?", clients.path());
        assert_eq!((ask("127.0.0.1"), ask("[::1]")), ("four".to_owned(), "six".to_owned()));
    }
}

/// case U18: both in one process.
#[test]
fn the_two_wildcards_share_a_port_in_one_process() {
    if !has_ipv6() {
        return;
    }
    let clients = tempfile::tempdir().unwrap();
    let started = (0..50).find_map(|_| {
        // The port was free in both families a moment ago. Without SO_REUSEADDR, none is left in
        // TIME_WAIT.
        let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let every = ["tcp://0.0.0.0", "tcp://[::]", "udp://0.0.0.0", "udp://[::]"];
        let mut command = resound();
        command.arg("serve").args(every.map(|endpoint| format!("{endpoint}:{port}")));
        Daemon::try_start(command).ok().map(|daemon| (daemon, port))
    });
    let (daemon, port) = started.expect("a port that is free in both families");
    assert_eq!(daemon.endpoints.len(), 4);
    for host in ["tcp://127.0.0.1", "tcp://[::1]", "udp://127.0.0.1", "udp://[::1]"] {
        assert_eq!(ask(&format!("{host}:{port}"), "hello", clients.path()), "hello", "{host}");
    }
}

#[track_caller]
fn assert_port_in_use(ended: &Ended, endpoint: &str) {
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert_eq!(ended.stdout_text(), "", "nothing listens");
    let expected = format!(
        "resound: cannot bind {endpoint}: address in use (another socket has this port; pick \
         another, or 0 to let the system pick)"
    );
    assert_eq!(ended.stderr.lines().last(), Some(expected.as_str()));
}

/// case U17
#[test]
fn a_second_server_on_a_port_is_refused_and_the_first_continues() {
    let clients = tempfile::tempdir().unwrap();
    for scheme in ["tcp", "udp"] {
        let first = Daemon::start(&[format!("{scheme}://127.0.0.1:0")]);
        let port = first.addr(0).port();
        let second = |host: &str| {
            let endpoint = format!("{scheme}://{host}:{port}");
            let mut command = resound();
            command.args(["serve", &endpoint]);
            assert_port_in_use(&run(command), &endpoint);
        };
        second("127.0.0.1");
        second("0.0.0.0");
        for _ in 0..10 {
            assert_eq!(ask(&first.endpoints[0], "still me", clients.path()), "still me");
        }
    }
}

/// case U17: the server does not share a port that its owner offers to others. Otherwise it would
/// silently take half of the owner's datagrams.
#[test]
fn a_port_that_its_owner_would_share_is_refused() {
    use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

    let kinds = [("tcp", SocketType::STREAM), ("udp", SocketType::DGRAM)];
    for (scheme, kind) in kinds {
        let owner = socket(AddressFamily::INET, kind, None).unwrap();
        sockopt::set_socket_reuseport(&owner, true).unwrap();
        sockopt::set_socket_reuseaddr(&owner, kind == SocketType::DGRAM).unwrap();
        bind(&owner, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        if kind == SocketType::STREAM {
            rustix::net::listen(&owner, 1).unwrap();
        }
        let addr = rustix::net::getsockname(&owner).unwrap();
        let addr = std::net::SocketAddr::try_from(addr).unwrap();
        let endpoint = format!("{scheme}://{addr}");
        let mut command = resound();
        command.args(["serve", &endpoint]);
        assert_port_in_use(&run(command), &endpoint);
    }
}
