//! Tests of the examples. Each runs on its own loop, with clients and servers of the standard
//! library.

// A failed unwrap is a failed test. The tests do not call the examples' `main`.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../examples/chat.rs"]
mod chat;
#[path = "../examples/median_interval.rs"]
mod median_interval;
#[path = "../examples/proxy.rs"]
mod proxy;
#[path = "../src/testing/wait.rs"]
mod wait;
#[path = "../examples/worker.rs"]
mod worker;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use resound::endpoint::ResolvedEndpoint;
use resound::reactor::{Handle, Handler, Reactor};
use resound::socket::{Listener, SocketOptions};

use self::wait::WAIT_MAX;

/// A loop on a thread. Dropping it ends the loop.
struct Running<M> {
    handle: Handle<M>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl<M: Send + 'static> Running<M> {
    fn start<H>(mut reactor: Reactor<H::Source, M>, mut handler: H) -> Running<M>
    where
        H: Handler<Message = M> + Send + 'static,
        H::Source: Send,
    {
        let handle = reactor.handle();
        let thread = Some(thread::spawn(move || reactor.run(&mut handler)));
        Running { handle, thread }
    }
}

impl<M> Drop for Running<M> {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok_and(|ran| ran.is_ok()) || thread::panicking());
    }
}

fn listener() -> (Listener, SocketAddr) {
    let options = SocketOptions::default();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
    stream
}

fn proxy_to(server: SocketAddr) -> (Running<std::convert::Infallible>, SocketAddr) {
    let (listener, addr) = listener();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(proxy::Source::Listener(listener)).unwrap();
    let server = ResolvedEndpoint::Tcp(server);
    let handler = proxy::Proxy { server, directions: HashMap::new() };
    (Running::start(reactor, handler), addr)
}

/// The server writes nothing before it has read everything, and the client reads nothing before it
/// has sent everything. Each direction must pass all bytes and then the end.
#[test]
fn the_proxy_passes_megabytes_and_the_end_in_both_directions() {
    const BYTES: usize = 8 << 20;
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_proxy, addr) = proxy_to(server.local_addr().unwrap());
    let sent: Vec<u8> = (0..251).cycle().take(BYTES).collect();
    let echo = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
        received
    });
    let mut client = connect(addr);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let received = echo.join().unwrap();
    assert_eq!((received.len(), answer.len()), (BYTES, BYTES));
    assert!(received == sent && answer == sent);
}

#[test]
fn a_receiver_that_does_not_read_stops_the_sender_through_the_proxy() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_proxy, addr) = proxy_to(server.local_addr().unwrap());
    let mut client = connect(addr);
    let (mut far, _) = server.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut sent, mut full_since, chunk) = (0, Instant::now(), vec![7; 64 << 10]);
    // More than the buffers of four sockets hold. Only back pressure stops the proxy before that.
    const BYTES_MAX: usize = 1 << 30;
    while sent < BYTES_MAX && full_since.elapsed() < Duration::from_millis(500) {
        match client.write(&chunk) {
            Ok(count) => (sent, full_since) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < BYTES_MAX, "the proxy holds a gigabyte");
    drop(client);
    far.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let received = io::copy(&mut far, &mut io::sink()).unwrap();
    assert_eq!(received, sent as u64, "no byte is lost");
}

#[test]
fn a_proxy_without_a_server_closes_each_client() {
    let unserved = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_proxy, addr) = proxy_to(unserved);
    for _ in 0..3 {
        let ended = connect(addr).read(&mut [0; 1]);
        assert!(
            matches!(ended, Ok(0))
                || ended.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
        );
    }
}

/// Reads the next line of another member, and skips the room's own lines.
fn line_from_others(member: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(member.read_line(&mut line).unwrap() > 0, "the room closed the connection");
        if !line.starts_with('*') {
            return line;
        }
    }
}

#[test]
fn members_of_the_chat_receive_lines_in_order_and_the_timer_sends_their_number() {
    let (listener, addr) = listener();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(chat::Source::Listener(listener)).unwrap();
    reactor.set_timer(Instant::now());
    let room = chat::Room { interval: Duration::from_millis(5), members: HashMap::new() };
    let _chat = Running::start(reactor, room);
    let mut members: Vec<_> = (0..3).map(|_| BufReader::new(connect(addr))).collect();
    let wait_for = |member: &mut BufReader<TcpStream>, expected: &str| {
        let mut line = String::new();
        while line != expected {
            line.clear();
            assert!(member.read_line(&mut line).unwrap() > 0);
        }
    };
    members.iter_mut().for_each(|member| wait_for(member, "* 3 here\n"));
    // A second time, because the handler sets the timer again.
    members.iter_mut().for_each(|member| wait_for(member, "* 3 here\n"));
    for number in 0..100 {
        // In two pieces, because the room must pass on only complete lines.
        write!(members[0].get_mut(), "line ").unwrap();
        writeln!(members[0].get_mut(), "{number}").unwrap();
    }
    for number in 0..100 {
        for member in &mut members[1..] {
            assert_eq!(line_from_others(member), format!("line {number}\n"));
        }
    }
    drop(members.pop());
    wait_for(&mut members[0], "* 2 here\n");
}

#[test]
fn the_worker_does_jobs_of_many_threads_and_ends_a_job_that_takes_too_long() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).unwrap();
            request.reverse();
            stream.write_all(&request).unwrap();
        }
    });
    // The backlog accepts connections, but nothing answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_addr = silent.local_addr().unwrap();
    let worker = Running::start(Reactor::new().unwrap(), worker::Worker);
    let ask = |handle: &Handle<worker::Job>, server, request: &str, timeout| {
        let (reply, response) = channel();
        let request = request.as_bytes().to_vec();
        handle.send(worker::Job { server, request, timeout, reply }).unwrap();
        response
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            let (handle, ask) = (worker.handle.clone(), &ask);
            scope.spawn(move || {
                for number in 0..10 {
                    let request = format!("thread {thread}, job {number}");
                    let response = ask(&handle, addr, &request, WAIT_MAX);
                    let response = response.recv_timeout(WAIT_MAX).unwrap().unwrap();
                    let expected: String = request.chars().rev().collect();
                    assert_eq!(response, expected.as_bytes());
                }
            });
        }
        let late = ask(&worker.handle, silent_addr, "no answer", Duration::from_millis(20));
        let error = late.recv_timeout(WAIT_MAX).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_line_of_numbers_has_a_median_and_its_interval() {
    let summary = |line| median_interval::summary(line).unwrap();
    assert_eq!(summary("1.02 0.99 1.04 1.03 1.01 1.05 1.03"), "1.03 0.99 1.05");
    assert_eq!(summary("3 1 2"), "2");
    assert_eq!(summary(""), "");
    assert!(median_interval::summary("1 x").is_err());
}
