use std::net::TcpListener;

use super::*;
use crate::socket::{Datagram, Stream};

fn bind(text: &str) -> BindAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_documented_form_is_understood_and_shown_again() {
    for text in [
        "127.0.0.2",
        "127.0.0.2%lo",
        "127.0.0.2:5000",
        "127.0.0.2%lo:5000-5999",
        "::1",
        "fe80::1%eth0",
        "[::1]:5000",
        "[fe80::1%eth0]:5000-65535",
    ] {
        assert_eq!(bind(text).to_string(), text);
    }
    assert_eq!(bind("[::1]"), bind("::1"));
    assert_eq!(bind("127.0.0.1:7-7"), bind("127.0.0.1:7"));
    assert_eq!((bind("127.0.0.1:0"), bind("[::1]:0")), (bind("127.0.0.1"), bind("::1")));
}

#[test]
fn anything_else_is_told_what_was_expected() {
    for text in [
        "",
        ":5000",
        "%lo",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:0-9",
        "127.0.0.1:+7",
        "127.0.0.1:9-8",
        "127.0.0.1:1-65536",
        "127.0.0.1:1-",
        "127.0.0.1%:7",
        "127.0.0.1%a%b",
        "127.0.0.1%sixteen-bytes-ok",
        "[127.0.0.1]:7",
        "[::1",
        "[::1]7",
        "::1:7:x",
    ] {
        let error = text.parse::<BindAddr>().expect_err(text);
        assert!(error.contains("such as 10.0.0.2"), "{text}: {error}");
    }
}

fn listener() -> (TcpListener, ResolvedEndpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    (listener, target)
}

#[cfg(target_os = "linux")]
#[test]
fn addresses_take_turns() {
    let (listener, target) = listener();
    let binds = ["127.0.0.2", "127.0.0.3", "::1"].map(bind);
    let mut locals = LocalAddrs::new(&binds, &target).unwrap();
    let mut options = SocketOptions::default();
    for ip in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
        let _stream = locals.open(&mut options, |options| Stream::connect(&target, options));
        assert_eq!(listener.accept().unwrap().1.ip().to_string(), ip);
    }
    let used: Vec<_> = locals.used().iter().map(|local| local.opened).collect();
    assert_eq!(used, [2, 1], "the IPv6 address has no part in it");
}

/// Four addresses and two loops: each loop has two of the addresses. Three loops share all.
#[cfg(target_os = "linux")]
#[test]
fn the_sockets_of_all_loops_together_take_turns() {
    let (_listener, target) = listener();
    let ips = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    let locals = LocalAddrs::new(&ips.map(bind), &target).unwrap();
    for loops in [1, 2, 3, 4, 6] {
        for index in 0..loops {
            let mut locals = locals.of_loop(index, loops);
            for place in 0..5 {
                let mut options = SocketOptions::default();
                let ip = locals.open(&mut options, |options| Ok(options.local.unwrap().ip()));
                let expected = ips[(index + place * loops) % ips.len()];
                assert_eq!(ip.unwrap().to_string(), expected, "loop {index} of {loops}");
            }
        }
    }
    LocalAddrs::default().of_loop(1, 2).open(&mut SocketOptions::default(), |_| Ok(())).unwrap();
}

/// Two free ports in a row.
fn two_ports(ip: &str) -> u16 {
    for _ in 0..100 {
        let first = std::net::UdpSocket::bind((ip, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && std::net::UdpSocket::bind((ip, port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports in a row");
}

/// case B6: a port range that is used up is named as a limit of this client.
#[cfg(target_os = "linux")]
#[test]
fn a_used_up_range_is_an_error_until_a_port_is_free_again() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Udp(server.local_addr().unwrap());
    let port = two_ports("127.0.0.6");
    let binds = [bind(&format!("127.0.0.6:{port}-{}", port + 1))];
    let mut locals = LocalAddrs::new(&binds, &target).unwrap();
    let mut options = SocketOptions::default();
    let mut connect =
        || locals.open(&mut options, |options| Datagram::connect(&target, None, options));
    let (first, second) = (connect().unwrap(), connect().unwrap());
    assert_eq!(first.local_addr().unwrap().port(), port);
    assert_eq!(second.local_addr().unwrap().port(), port + 1);
    let error = connect().unwrap_err();
    assert!(error.to_string().contains("out of the ports of --bind"), "{error}");
    drop(second);
    assert_eq!(connect().unwrap().local_addr().unwrap().port(), port + 1);
}

#[test]
fn an_address_that_is_not_there_and_a_family_that_is_not_named_are_told() {
    let (_listener, target) = listener();
    let mut locals = LocalAddrs::new(&[bind("192.0.2.1")], &target).unwrap();
    let error = locals.check(&SocketOptions::default(), &target).unwrap_err().to_string();
    assert_eq!(error, "cannot bind 192.0.2.1:0 (--bind): not an address of this machine");
    let error = LocalAddrs::new(&[bind("::1")], &target).unwrap_err().to_string();
    assert!(error.contains("has an IPv4 address, and --bind names none"), "{error}");
    let error = LocalAddrs::new(&[bind("::1")], &target).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let unix = ResolvedEndpoint::Unix(crate::endpoint::UnixName::Path("/a".into()));
    assert_eq!(LocalAddrs::new(&[bind("::1")], &unix).unwrap().used(), []);
}
