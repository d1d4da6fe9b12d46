//! The handler on its reactor, asking a loop that the test turns or does not.

use std::net::TcpStream;
use std::thread;

use super::*;
use crate::echo;
use crate::reactor::Reactor;
use crate::socket::SocketOptions;
use crate::testing::WAIT_MAX;

/// What a client is answered that sends this request to a server whose loop never turns.
fn answer_beside_a_silent_loop(request: &str) -> String {
    let silent: Reactor<echo::Source, echo::Request> = Reactor::new().unwrap();
    let handles = Handles::new(vec![silent.handle()]);
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &SocketOptions::default());
    let listener = listener.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(Source::from(listener)).unwrap();
    let timeout = Duration::from_millis(1);
    let setting = Setting {
        started_at: std::time::SystemTime::now(),
        transports: Vec::new(),
        connections_max: 1,
    };
    let mut server = Server::new(handles, timeout, reactor.handle(), setting);
    let stop = reactor.handle();
    let thread = thread::spawn(move || reactor.run(&mut server).map(|()| server));

    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    drop(client);
    stop.stop();
    thread.join().unwrap().unwrap();
    answer
}

#[test]
fn both_pages_say_when_a_loop_does_not_answer() {
    for page in ["/metrics", "/healthz"] {
        let answer = answer_beside_a_silent_loop(&format!("GET {page} HTTP/1.1\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\na loop does not answer\n"), "{answer}");
    }
}

#[test]
fn what_takes_no_loop_is_answered_beside_a_silent_one() {
    let answer = answer_beside_a_silent_loop("GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
}
