use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use super::*;
use crate::endpoint::UnixName;
use crate::socket::Datagram;
use crate::testing::wait_for;

fn connect(target: &ResolvedEndpoint) -> Result<Stream, Error> {
    Stream::connect(target, &SocketOptions::default())
}

/// Waits until the connect has succeeded or failed.
#[track_caller]
fn outcome(stream: &Stream) -> io::Result<()> {
    wait_for("a connection or its refusal", || match stream.connected() {
        Ok(is_connected) => is_connected.then_some(Ok(())),
        Err(error) => Some(Err(error)),
    })
}

/// Returns the path "s" in a new folder.
fn unix_target() -> (TempDir, ResolvedEndpoint) {
    let folder = tempfile::tempdir().unwrap();
    let target = ResolvedEndpoint::Unix(UnixName::Path(folder.path().join("s")));
    (folder, target)
}

/// Creates a listener whose queue has room for one connection.
fn narrow_listener(target: &ResolvedEndpoint) -> UnixListener {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&target.sock_addr().unwrap()).unwrap();
    socket.listen(0).unwrap();
    socket.into()
}

/// Waits for bytes and returns them.
fn read(stream: &mut Stream) -> Vec<u8> {
    let mut buf = [0; 64];
    let count = wait_for("bytes", || match stream.read(&mut buf) {
        Ok(count) => Some(count),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            None
        }
    });
    buf[..count].to_vec()
}

#[test]
fn a_tcp_stream_connects_without_waiting_and_moves_bytes_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut stream = connect(&ResolvedEndpoint::Tcp(addr)).unwrap();
    outcome(&stream).unwrap();
    assert_eq!((stream.transport(), stream.peer()), (Transport::Tcp, Peer::Ip(addr)));
    assert!(stream.connected().unwrap(), "a second call returns the same");
    let mut buf = [0; 5];
    assert_eq!(stream.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(stream.write(b"hello").unwrap(), 5);
    accepted.read_exact(&mut buf).unwrap();
    accepted.write_all(b"back").unwrap();
    assert_eq!((&buf, read(&mut stream)), (b"hello", b"back".to_vec()));
}

#[test]
fn a_tcp_port_without_a_listener_refuses() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Systems refuse at once or later.
    let kind = match connect(&ResolvedEndpoint::Tcp(addr)) {
        Err(error) => error.kind(),
        Ok(stream) => outcome(&stream).unwrap_err().kind(),
    };
    assert_eq!(kind, io::ErrorKind::ConnectionRefused);
}

/// case S12
#[test]
fn a_connecting_stream_has_the_settings_of_an_accepted_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = ResolvedEndpoint::Tcp(listener.local_addr().unwrap());
    for nodelay in [true, false] {
        let options = SocketOptions { nodelay, ..SocketOptions::default() };
        let stream = Stream::connect(&target, &options).unwrap();
        assert_eq!(SockRef::from(&stream).tcp_nodelay().unwrap(), nodelay);
    }
}

#[test]
fn a_unix_stream_is_connected_at_once() {
    let (_folder, target) = unix_target();
    let listener = narrow_listener(&target);
    let mut stream = connect(&target).unwrap();
    assert!(stream.connected().unwrap());
    assert_eq!(stream.transport(), Transport::Unix);
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    assert_eq!(read(&mut stream), b"hello");
}

#[cfg(target_os = "linux")]
#[test]
fn a_unix_stream_connects_to_an_abstract_name() {
    let name = format!("resound-stream-test-{}", std::process::id());
    let target = ResolvedEndpoint::Unix(UnixName::Abstract(name));
    let _listener = narrow_listener(&target);
    assert!(connect(&target).unwrap().connected().unwrap());
}

/// No event reports when there is room, so the caller must try again.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_listener_whose_backlog_is_full_would_block() {
    let (_folder, target) = unix_target();
    let listener = narrow_listener(&target);
    let _first = connect(&target).unwrap();
    assert_eq!(connect(&target).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    listener.accept().unwrap();
    assert!(connect(&target).unwrap().connected().unwrap());
}

#[test]
fn a_unix_path_without_a_listener_is_a_clear_error() {
    let (folder, target) = unix_target();
    let missing = connect(&target).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let path = folder.path().join("s").display().to_string();
    assert!(missing.to_string().contains(&format!("cannot connect to unix:{path}")), "{missing}");
    drop(narrow_listener(&target));
    assert_eq!(connect(&target).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// case X9
#[test]
fn a_unix_path_that_is_too_long_is_a_clear_error() {
    let target = ResolvedEndpoint::Unix(UnixName::Path("x".repeat(200).into()));
    assert!(connect(&target).unwrap_err().to_string().contains("cannot connect to"));
    assert!(SockAddr::unix("x".repeat(200)).is_err());
}

/// case S7: it raises no signal.
#[test]
fn a_write_to_a_closed_peer_is_an_error() {
    let (_folder, target) = unix_target();
    let listener = narrow_listener(&target);
    let mut stream = connect(&target).unwrap();
    drop(listener.accept().unwrap());
    assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_stream_refuses_datagram_endpoints_and_a_datagram_refuses_stream_endpoints() {
    let addr = "127.0.0.1:9".parse().unwrap();
    let name = UnixName::Abstract("unused".to_owned());
    for target in [ResolvedEndpoint::Udp(addr), ResolvedEndpoint::Unixgram(name.clone())] {
        assert_eq!(connect(&target).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{target}");
    }
    for target in [ResolvedEndpoint::Tcp(addr), ResolvedEndpoint::Unix(name)] {
        let error = Datagram::connect(&target, None, &SocketOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{target}");
    }
}
