//! The handler on its reactor, with figures that never come.

use std::net::TcpStream;
use std::thread;

use super::*;
use crate::metrics::Format;
use crate::reactor::Reactor;
use crate::socket::SocketOptions;
use crate::testing::WAIT_MAX;

/// Figures that never come.
struct Silent;

impl Figures for Silent {
    type Snapshot = ();

    const LATE: &'static str = "no figures";

    fn ask(&self, _: impl Fn(()) + Send + Sync + 'static) {}

    fn health((): &()) -> Result<(), &'static str> {
        Ok(())
    }

    fn page(&self, (): &(), _: Format) -> String {
        String::new()
    }

    fn warn(&self, line: &str) {
        panic!("{line}");
    }
}

/// Returns the response to this request from a server without figures.
fn response_without_figures(request: &str) -> String {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &SocketOptions::default());
    let listener = listener.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.insert(Source::from(listener)).unwrap();
    let timeout = Duration::from_millis(1);
    let mut server = Server::new(Silent, timeout, reactor.handle());
    let stop = reactor.handle();
    let thread = thread::spawn(move || reactor.run(&mut server));

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
fn both_pages_report_figures_that_do_not_come() {
    for page in ["/metrics", "/healthz"] {
        let response = response_without_figures(&format!("GET {page} HTTP/1.1\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{response}");
        assert!(response.ends_with("\r\n\r\nno figures\n"), "{response}");
    }
}

#[test]
fn a_request_that_needs_no_figures_is_answered_without_them() {
    let response = response_without_figures("GET / HTTP/1.1\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 404 Not Found\r\n"), "{response}");
}
