//! Misbehaving clients of the metrics: none delays another client or the echo.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use super::{Observed, ask, connect, get, response_to};
use crate::accept::{cpu_time, serve_with_limit};
use crate::support::{WAIT_MAX, echo, wait_until};

/// The bound in `docs/operate.md`.
const CONNECTIONS_MAX: usize = 16;
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

#[track_caller]
fn assert_refused(observed: &Observed, request: &str, status: u16) {
    let shown = &request[..request.len().min(60)];
    let response = ask(observed.addr, request);
    assert_eq!(response.status, status, "{shown:?}: {response:?}");
    assert!(response.head.contains("\r\nConnection: close"), "{response:?}");
    let length = format!("\r\nContent-Length: {}\r\n", response.body.len());
    assert!(response.head.contains(&length) && !response.body.is_empty(), "{response:?}");
}

#[test]
fn wrong_requests_are_answered_with_their_status() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    for garbage in ["\0\n", "hello\r\n\r\n", "GET /metrics\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}"] {
        assert_refused(&observed, garbage, 400);
    }
    for path in ["/", "/metricss", "/metrics/", "/../metrics", "*"] {
        assert_refused(&observed, &format!("GET {path} HTTP/1.1\r\n\r\n"), 404);
    }
    // The request has a body, which the server does not read before it answers.
    let body = "x".repeat(2_000);
    let head = "POST /metrics HTTP/1.1\r\nContent-Length: 2000\r\n\r\n";
    assert_refused(&observed, &format!("{head}{body}"), 405);
    assert_refused(&observed, "DELETE /metrics HTTP/1.1\r\n\r\n", 405);
    assert_refused(&observed, &format!("GET /{}", "x".repeat(5_000)), 414);
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(5_000));
    assert_refused(&observed, &long, 431);
    let many = "A: b\r\n".repeat(100);
    assert_refused(&observed, &format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), 431);
    assert_refused(&observed, "GET /metrics HTTP/2.0\r\n\r\n", 505);
    observed.assert_healthy();
}

#[test]
fn http_1_0_and_head_requests_are_served() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    assert!(ask(observed.addr, "GET /metrics HTTP/1.0\r\n\r\n").body.contains("resound_"));
    assert_eq!(get(observed.addr, "/healthz?verbose").body, "ok\n");
    let whole = get(observed.addr, "/healthz");
    let head = ask(observed.addr, "HEAD /healthz HTTP/1.1\r\n\r\n");
    assert_eq!((head.head, head.body.as_str()), (whole.head, ""));
    let head = ask(observed.addr, "HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (404, ""));
    // The server answers one request per connection and ignores bytes after it.
    let twice = "GET /healthz HTTP/1.1\r\n\r\n".repeat(2);
    assert_eq!(ask(observed.addr, &twice).body, "ok\n");
    // The server also answers a client that has shut down its sending direction.
    let mut client = connect(observed.addr);
    client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(response_to(client).body, "ok\n");
}

/// Returns true if the server has ended this connection.
fn has_ended(mut client: &TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let mut buf = [0; 65_536];
    loop {
        match client.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn slow_and_silent_clients_are_closed_at_the_deadline_and_others_are_served_meanwhile() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let before = observed.descriptors();
    let begun_at = Instant::now();
    let silent = connect(observed.addr);
    let mut slow = connect(observed.addr);
    // This client never reads its answer and never closes.
    let mut deaf = connect(observed.addr);
    deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut request = b"GET /metrics HTTP/1.1\r\nA: ".iter().chain(std::iter::repeat(&b'x'));
    let mut served = 0;
    wait_until("the end of the slow one", || {
        observed.assert_healthy();
        served += 1;
        // A few hundred bytes in all, less than the bound of a request head.
        thread::sleep(Duration::from_millis(20));
        slow.write_all(&[*request.next().unwrap()]).is_err() || has_ended(&slow)
    });
    assert!(begun_at.elapsed() >= EXCHANGE_TIMEOUT, "{:?}", begun_at.elapsed());
    assert!(served > 1);
    wait_until("the end of the silent one", || has_ended(&silent));
    // The connection is still open at the client and closed at the server.
    wait_until("the end of the deaf one", || observed.descriptors() <= before);
    observed.assert_healthy();
}

#[test]
fn a_thousand_connections_at_once_take_no_more_places_than_exist() {
    const CONNECTIONS: usize = 1_000;
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let mut client = connect(observed.daemon.addr(0));
    echo(&mut client);
    let before = observed.descriptors();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(connect(observed.addr));
        open.retain(|client| !has_ended(client));
        let descriptors = observed.descriptors();
        // One connection waits for a place.
        assert!(descriptors <= before + CONNECTIONS_MAX + 1, "{before}, then {descriptors}");
    }
    echo(&mut client);
    // The other connections yielded one after the other.
    wait_until("no more than the number of places", || {
        open.retain(|client| !has_ended(client));
        open.len() <= CONNECTIONS_MAX
    });
    // The other connections stay open; their deadline frees their places.
    wait_until("a place", || {
        let mut client = connect(observed.addr);
        let mut answer = String::new();
        let asked = client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
        asked.is_ok() && client.read_to_string(&mut answer).is_ok() && answer.contains(" 200 OK")
    });
    echo(&mut client);
}

/// case P7
#[test]
fn the_oldest_silent_connection_yields_its_place_and_gets_a_response() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let before = observed.descriptors();
    let oldest = connect(observed.addr);
    wait_until("the first place to be taken", || observed.descriptors() == before + 1);
    let others: Vec<_> = (1..CONNECTIONS_MAX).map(|_| connect(observed.addr)).collect();
    wait_until("all places to be taken", || observed.descriptors() == before + CONNECTIONS_MAX);
    assert!(!has_ended(&oldest), "a connection yields only to a new one");
    observed.assert_healthy();
    oldest.set_nonblocking(false).unwrap();
    let response = response_to(oldest);
    assert_eq!((response.status, response.body.as_str()), (503, "too many connections\n"));
    assert!(others.iter().all(|other| !has_ended(other)), "one place was enough");
}

/// case P7: more silent clients than places. Each reconnects as soon as it is closed.
#[test]
fn every_probe_is_answered_while_silent_clients_keep_reconnecting() {
    const SILENT: usize = 3 * CONNECTIONS_MAX;
    const PROBES: usize = 50;
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let (addr, is_over) = (observed.addr, AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..SILENT {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = connect(addr);
                    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    let _ = client.write_all(b"G");
                    while !is_over.load(Ordering::Relaxed) && !has_ended(&client) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
        let is_healthy = || {
            let mut client = connect(addr);
            let mut answer = String::new();
            let asked = client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n");
            asked.is_ok() && client.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")
        };
        let healthy = (0..PROBES).filter(|_| is_healthy()).count();
        is_over.store(true, Ordering::Relaxed);
        // On a very busy machine a request may come long after its connection, which then yields
        // too.
        assert!(healthy > PROBES / 2, "{healthy} of {PROBES}");
    });
    observed.assert_healthy();
}

/// case P7: a client that continues to send after its answer.
#[test]
fn a_client_that_never_stops_sending_is_cut_off_after_a_bounded_number_of_bytes() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let mut client = connect(observed.addr);
    client.set_write_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    let begun_at = Instant::now();
    let mut sent_bytes = 0;
    while let Ok(count) = client.write(&[b'x'; 1 << 16]) {
        sent_bytes += count;
        assert!(sent_bytes < 1 << 30, "the server reads without limit");
    }
    // The bytes that the server read, and the bytes in both socket buffers.
    assert!(sent_bytes < 32 << 20, "{sent_bytes} bytes in {:?}", begun_at.elapsed());
    observed.assert_healthy();
}

#[test]
fn resets_at_any_point_of_an_exchange_leave_nothing_behind() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let before = observed.descriptors();
    let request = b"GET /metrics HTTP/1.1\r\n\r\n";
    for round in 0..200 {
        let mut client = connect(observed.addr);
        // The client sends a part of the request, all of it, or nothing, and sometimes reads a part
        // of the answer.
        let _ = client.write_all(&request[..round % (request.len() + 1)]);
        if round % 3 == 0 && round % (request.len() + 1) == request.len() {
            let _ = client.read(&mut [0; 100]);
        }
        set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    wait_until("all to be gone", || observed.descriptors() <= before);
    observed.assert_healthy();
    let ended = observed.daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

/// case A3, for the metrics: no descriptor is left for some time.
#[test]
fn without_descriptors_accepting_pauses_and_comes_back_by_itself() {
    let observed = Observed::start(&["tcp://127.0.0.1:0"]);
    let pid = Some(observed.daemon.process.pid());
    let mut echoed = connect(observed.daemon.addr(0));
    echo(&mut echoed);
    // A new descriptor gets the lowest free number.
    let folder = format!("/proc/{}/fd", observed.daemon.process.pid().as_raw_nonzero());
    let free = (0..).find(|number| !Path::new(&format!("{folder}/{number}")).exists());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current: free, maximum }).unwrap();
    let mut client = connect(observed.addr);
    client.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let process = &observed.daemon.process;
    let warnings =
        || process.stderr_text().matches("metrics: cannot accept: too many open files").count();
    wait_until("a warning", || warnings() > 0);
    let (begun_at, cpu_before) = (Instant::now(), cpu_time(process.pid()));
    wait_until("the next warning, one second later", || warnings() > 1);
    let (elapsed, cpu) = (begun_at.elapsed(), cpu_time(process.pid()) - cpu_before);
    assert!(cpu <= elapsed / 2, "{cpu:?} of CPU time in {elapsed:?}: the thread spins");
    assert!(!has_ended(&client), "the client waits");
    prlimit(pid, Resource::Nofile, old).unwrap();
    client.set_nonblocking(false).unwrap();
    assert_eq!(response_to(client).body, "ok\n", "with no connection behind it");
    echo(&mut echoed);
}

/// case P5: of 100 descriptors the echo takes only up to its limit, which reserves those of the
/// metrics.
#[test]
fn with_all_connections_of_the_echo_open_there_are_descriptors_for_all_of_the_metrics() {
    let arguments = ["--metrics", "127.0.0.1:0", "tcp://127.0.0.1:0"];
    let observed = Observed::start_command(serve_with_limit("-n 100", &arguments));
    let most = observed.metrics().get("resound_connections_max");
    assert!((16.0..64.0).contains(&most), "{most}");
    let mut echoed: Vec<_> = (0..)
        .take_while(|open| f64::from(*open) < most)
        .map(|_| connect(observed.daemon.addr(0)))
        .collect();
    echoed.iter_mut().for_each(echo);
    let before = observed.descriptors();
    let _silent: Vec<_> = (1..CONNECTIONS_MAX).map(|_| connect(observed.addr)).collect();
    wait_until("all but one place to be taken", || {
        observed.descriptors() >= before + CONNECTIONS_MAX - 1
    });
    let metrics = observed.metrics();
    assert_eq!(metrics.get("resound_connections_open"), most);
    let open = metrics.get("process_open_fds");
    // For the pipes of bulk, the spare descriptor, and those that libraries open for a moment.
    assert!(open + 16.0 < 100.0, "{open} with {most} connections");
    let log = observed.daemon.process.stderr_text();
    assert!(!log.contains("cannot accept"), "{log}");
}

#[test]
fn the_echo_continues_under_load_while_it_is_scraped() {
    let observed = Observed::start(&["tcp://127.0.0.1:0", "--threads", "2"]);
    let addr = observed.daemon.addr(0);
    let scrapes = thread::scope(|scope| {
        let peers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = connect(addr);
                    (0..2_000).for_each(|_| echo(&mut client));
                })
            })
            .collect();
        let mut scrapes = 0;
        let mut bytes = 0.0;
        while !peers.iter().all(|peer| peer.is_finished()) {
            let now = observed.metrics().get("resound_sent_bytes_total{transport=\"tcp\"}");
            assert!(now >= bytes, "{now} after {bytes}");
            bytes = now;
            scrapes += 1;
        }
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        scrapes
    });
    let metrics = observed.metrics();
    assert_eq!(metrics.get("resound_sent_bytes_total{transport=\"tcp\"}"), 4.0 * 8_000.0);
    assert!(scrapes > 0);
}
