//! Tests of lines as datagrams: a late answer or a refusal of one line does not affect the next.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use resound::send::{Event, Options, send};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// An input that gives one line per read. The client reads a line only after it has finished the
/// previous one, so `before_line` runs between the two.
struct Lines<F> {
    lines: VecDeque<&'static str>,
    before_line: F,
}

impl<F: FnMut(&str)> Read for Lines<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(line) = self.lines.pop_front() else { return Ok(0) };
        (self.before_line)(line);
        line.as_bytes().read(buf)
    }
}

/// Sends the lines. Returns the replies and the outcome.
fn ask(
    server: SocketAddr,
    timeout: Duration,
    lines: &[&'static str],
    before_line: impl FnMut(&str) + Send + 'static,
) -> (Vec<String>, Result<(), resound::Error>) {
    let options = Options {
        endpoint: format!("udp://{server}").parse().unwrap(),
        message: None,
        timeout,
        shutdown: true,
        reply: true,
        expect_echo: false,
        socket: resound::socket::SocketOptions::default(),
        bind: Vec::new(),
    };
    let lines = Lines { lines: lines.iter().copied().collect(), before_line };
    let mut replies = Vec::new();
    let outcome = send(&options, Some(Box::new(lines)), |event| {
        if let Event::Reply(reply) = event {
            replies.push(String::from_utf8_lossy(reply).into_owned());
        }
        Ok(())
    });
    (replies, outcome)
}

/// Echoes the next datagram.
fn answer_next(server: &UdpSocket) {
    let mut message = [0; 64];
    let (length, peer) = server.recv_from(&mut message).unwrap();
    server.send_to(&message[..length], peer).unwrap();
}

#[test]
fn a_late_answer_does_not_count_as_the_answer_to_the_next_line() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let (replies, outcome) = ask(addr, timeout, &["one\n", "two\n"], move |line| {
        if line == "two\n" {
            // The client has timed out on the first line. This replies it.
            answer_next(&server);
        }
    });
    assert_eq!(replies, [""; 0], "the server never replies the second line");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
}

/// case U8
#[test]
fn a_refused_line_does_not_delay_the_next() {
    // No other test uses this address, so no other socket takes the port while it is free.
    let server = UdpSocket::bind("127.8.8.8:0").unwrap();
    let addr = server.local_addr().unwrap();
    drop(server);
    let timeout = Duration::from_secs(50);
    let (replies, outcome) = ask(addr, timeout, &["one\n", "two\n", "three\n"], move |line| {
        if line == "two\n" {
            let server = UdpSocket::bind(addr).unwrap();
            thread::spawn(move || (0..2).for_each(|_| answer_next(&server)));
        }
    });
    assert_eq!(replies, ["two", "three"]);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// The program refuses such a short timeout, but the library accepts it.
#[test]
fn a_call_with_a_timeout_of_a_nanosecond_ends() {
    for (scheme, kind) in [("tcp", SocketType::STREAM), ("udp", SocketType::DGRAM)] {
        let silent = socket(AddressFamily::INET, kind, None).unwrap();
        bind(&silent, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        if kind == SocketType::STREAM {
            listen(&silent, 1).unwrap();
        }
        let addr = SocketAddr::try_from(getsockname(&silent).unwrap()).unwrap();
        let options = Options {
            endpoint: format!("{scheme}://{addr}").parse().unwrap(),
            message: Some(b"x".to_vec()),
            timeout: Duration::from_nanos(1),
            shutdown: true,
            reply: true,
            expect_echo: false,
            socket: resound::socket::SocketOptions::default(),
            bind: Vec::new(),
        };
        // Connecting may take longer than one millisecond, the shortest wait.
        let error = send(&options, None, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
}
