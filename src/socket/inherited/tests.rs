use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::*;
use crate::socket::{Datagram, Listener, SocketOptions};

fn wrong(fd: impl Into<OwnedFd>) -> String {
    let fd = fd.into();
    let number = fd.as_raw_fd();
    let message = take_over(fd).unwrap_err().to_string();
    let expected = format!(" ({EXPECTED})");
    let rest = message.strip_prefix(&format!("cannot serve descriptor {number}: it is "));
    rest.and_then(|rest| rest.strip_suffix(&expected)).expect(&message).to_owned()
}

/// case P2
#[test]
fn the_error_for_an_unsuitable_socket_names_what_it_is() {
    let unbound = |domain, kind| Socket::new(domain, kind, None).unwrap();
    let bound_only = unbound(Domain::IPV4, Type::STREAM);
    bound_only.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect("127.0.0.1:9").unwrap();
    assert_eq!(wrong(File::open("/dev/null").unwrap()), "not a socket");
    assert_eq!(wrong(io::pipe().unwrap().0), "not a socket");
    assert_eq!(wrong(bound_only), "a TCP socket that does not listen");
    assert_eq!(wrong(connected), "a TCP socket that is connected");
    assert_eq!(wrong(udp), "a UDP socket that is connected");
    assert_eq!(wrong(unbound(Domain::IPV6, Type::DGRAM)), "a UDP socket that is not bound");
    assert_eq!(wrong(UnixStream::pair().unwrap().0), "a Unix stream socket that is connected");
    assert_eq!(wrong(UnixDatagram::pair().unwrap().0), "a Unix datagram socket that is connected");
    assert_eq!(wrong(UnixDatagram::unbound().unwrap()), "a Unix datagram socket that is not bound");
    assert_eq!(wrong(unbound(Domain::UNIX, Type::SEQPACKET)), "a Unix SOCK_SEQPACKET socket");
}

#[cfg(target_os = "linux")]
#[test]
fn the_error_for_another_family_or_protocol_names_it() {
    let netlink = Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, None).unwrap();
    assert_eq!(wrong(netlink), "an address family 16 datagram socket of another protocol");
    // Not every system has MPTCP.
    if let Ok(mptcp) = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        assert_eq!(wrong(mptcp), "an IPv4 stream socket of another protocol");
    }
}

#[test]
fn a_listener_takes_no_datagram_socket_and_a_datagram_no_stream_socket() {
    let options = SocketOptions::default();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = Listener::from_fd(udp.into(), &options).unwrap_err().to_string();
    assert!(error.contains(": it is a datagram socket ("), "{error}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Datagram::from_fd(listener.into(), &options).unwrap_err().to_string();
    assert!(error.contains(": it is a stream socket ("), "{error}");
}

#[test]
fn the_endpoint_of_a_socket_is_written_as_on_the_command_line() {
    let named = |transport, socket: &dyn std::os::fd::AsFd| {
        endpoint(transport, &SockRef::from(&socket.as_fd())).to_string()
    };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    assert_eq!(named(Transport::Tcp, &tcp), format!("tcp://{addr}"));
    // The endpoint does not say whether the socket also receives IPv4.
    for only_v6 in [false, true] {
        let udp = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        udp.set_only_v6(only_v6).unwrap();
        udp.bind(&SocketAddr::from(([0_u16; 8], 0)).into()).unwrap();
        let port = udp.local_addr().unwrap().as_socket().unwrap().port();
        assert_eq!(named(Transport::Udp, &udp), format!("udp://[::]:{port}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    assert_eq!(named(Transport::Unix, &unix), format!("unix:{}", path.display()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_with_control_characters_or_invalid_utf8_is_escaped() {
    let named = |name: &[u8]| {
        use std::os::linux::net::SocketAddrExt;
        let mut unique = std::process::id().to_string().into_bytes();
        unique.extend_from_slice(name);
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(&unique).unwrap();
        let socket = UnixDatagram::bind_addr(&addr).unwrap();
        endpoint(Transport::Unixgram, &SockRef::from(&socket)).to_string()
    };
    let prefix = format!("unixgram:@{}", std::process::id());
    assert_eq!(named(b"plain"), format!("{prefix}plain"));
    assert_eq!(named(b"two\nlines"), format!(r"{prefix}two\nlines"));
    assert_eq!(named(b"\xff\0"), format!(r"{prefix}\xff\x00"));
}
