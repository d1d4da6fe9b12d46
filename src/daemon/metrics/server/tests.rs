//! The handler on its reactor, with a loop that does not turn.

use std::net::TcpStream;
use std::thread;

use super::*;
use crate::echo;
use crate::reactor::Reactor;
use crate::socket::SocketOptions;
use crate::testing::WAIT_MAX;

/// Returns the response to this request from a server whose loop never turns.
fn response_despite_a_silent_loop(request: &str) -> String {
    let silent: Reactor<echo::Source, echo::Request> = Reactor::new().unwrap();
    let handles = Handles::new(vec![silent.handle()]);
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &SocketOptions::default());
    let listener = listener.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(Source::from(listener)).unwrap();
    let timeout = Duration::from_millis(1);
    let constants = Constants {
        started_at: std::time::SystemTime::now(),
        transports: Vec::new(),
        connections_max: 1,
    };
    let mut server = Server::new(handles, timeout, reactor.handle(), constants);
    let stop = reactor.handle();
    let thread = thread::spawn(move || reactor.run(&mut server).map(|()| server));

    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    drop(client);
    stop.stop();
    thread.join().unwrap().unwrap();
    response
}

#[test]
fn both_pages_report_a_loop_that_does_not_reply() {
    for page in ["/metrics", "/healthz"] {
        let response = response_despite_a_silent_loop(&format!("GET {page} HTTP/1.1\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\na loop does not answer\n"), "{response}");
    }
}

#[test]
fn a_request_that_needs_no_loop_is_answered_despite_a_silent_loop() {
    let response = response_despite_a_silent_loop("GET / HTTP/1.1\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 404 Not Found\r\n"), "{response}");
}
