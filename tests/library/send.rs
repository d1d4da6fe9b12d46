//! Lines as datagrams: what comes late for one, or refuses it, does not touch the next.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use resound::send::{Event, Options, send};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// One line a read. The client reads the next only when it is done with the one before, and so
/// what happens first, in `before_line`, happens between the two.
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

/// The answers to the lines, and how it ended.
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
    };
    let lines = Lines { lines: lines.iter().copied().collect(), before_line };
    let mut answers = Vec::new();
    let outcome = send(&options, Some(Box::new(lines)), |event| {
        if let Event::Answer(answer) = event {
            answers.push(String::from_utf8_lossy(answer).into_owned());
        }
        Ok(())
    });
    (answers, outcome)
}

/// Answers the next datagram with itself.
fn answer_next(server: &UdpSocket) {
    let mut message = [0; 64];
    let (length, peer) = server.recv_from(&mut message).unwrap();
    server.send_to(&message[..length], peer).unwrap();
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_the_next_lines() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let (answers, outcome) = ask(addr, timeout, &["one\n", "two\n"], move |line| {
        if line == "two\n" {
            // The first line was given up.
            answer_next(&server);
        }
    });
    assert_eq!(answers, [""; 0], "the second is not answered");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
}

/// case U8
#[test]
fn a_refused_line_does_not_hold_up_the_next() {
    // An address that no other test uses, so that the port stays free while nobody has it.
    let server = UdpSocket::bind("127.8.8.8:0").unwrap();
    let addr = server.local_addr().unwrap();
    drop(server);
    let timeout = Duration::from_secs(50);
    let (answers, outcome) = ask(addr, timeout, &["one\n", "two\n", "three\n"], move |line| {
        if line == "two\n" {
            let server = UdpSocket::bind(addr).unwrap();
            thread::spawn(move || (0..2).for_each(|_| answer_next(&server)));
        }
    });
    assert_eq!(answers, ["two", "three"]);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// The program refuses so short a timeout; the library accepts it.
#[test]
fn a_library_call_without_time_ends_too() {
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
        };
        // Connecting may take longer than the millisecond that is waited at least.
        let error = send(&options, None, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
}
