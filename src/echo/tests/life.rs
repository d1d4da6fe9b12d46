//! Tests of a server's life: one-off servers, reports and drains.

use std::net::{Shutdown, UdpSocket};

use super::*;

#[test]
fn a_one_off_server_serves_one_connection_and_stops() {
    let options = Options { one_off: true, ..Options::default() };
    let mut rig = Rig::new(options, &["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    let mut first = rig.client();
    let mut second = rig.client();
    rig.turn_until_count(Cause::Accepted, 1);
    rig.echo(&mut first);
    rig.turn_until("the endpoints are closed", |rig| rig.reactor.sources().len() == 1);
    assert!(is_over(&mut second), "the second client is not served");
    assert!(TcpStream::connect(rig.addr()).is_err());
    first.shutdown(Shutdown::Write).unwrap();
    rig.turn_until_stopped();
    assert_eq!(rig.count(Cause::Finished), 1);
    assert_eq!(first.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_one_off_server_answers_one_datagram_and_stops() {
    let options = Options { one_off: true, ..Options::default() };
    let mut rig = Rig::new(options, &["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.connect(rig.addr()).unwrap();
    for message in [b"one", b"two"] {
        client.send(message).unwrap();
    }
    rig.turn_until_stopped();
    let mut buf = [0; 16];
    assert_eq!(client.recv(&mut buf).unwrap(), 3);
    assert_eq!(&buf[..3], b"one");
    assert_eq!(rig.counters()[Transport::Udp].traffic.messages_in, 1);
    assert!(rig.reactor.sources().is_empty());
}

/// case L8: the server does not make up for missed reports.
#[test]
fn a_long_overdue_report_comes_once() {
    let interval = Duration::from_millis(20);
    let options = Options { report_interval: Some(interval), ..Options::default() };
    let mut rig = Rig::tcp(options);
    // The server does not run for ten intervals.
    std::thread::sleep(10 * interval);
    let before = Instant::now();
    rig.turn();
    assert_eq!(rig.server().observer.reports.len(), 1);
    assert!(rig.handler.deadline.unwrap() >= before + interval, "the next is an interval away");
}

#[test]
fn reports_come_at_their_interval_and_show_what_is_open() {
    let report_interval = Some(Duration::from_millis(5));
    let mut rig = Rig::tcp(Options { report_interval, ..Options::default() });
    let _client = rig.served_client();
    let before = rig.server().observer.reports.len();
    rig.turn_until("reports", |rig| rig.server().observer.reports.len() >= before + 3);
    assert_eq!(rig.server().observer.reports.last().unwrap().connections_open, 1);
}

/// case P1
#[test]
fn a_drain_accepts_what_is_queued_and_ends_when_the_peers_have_finished() {
    let mut rig = Rig::tcp(Options::default());
    let mut open = rig.served_client();
    // More connections than one slice accepts. The loop has seen none of them.
    let mut queued = rig.clients(100);
    rig.drain();
    assert_eq!(rig.notices("draining"), 1);
    rig.turn_until_count(Cause::Accepted, 101);
    rig.turn_until("the listener is closed", |rig| rig.reactor.sources().len() == 101);
    assert!(TcpStream::connect(rig.addr()).is_err());
    rig.echo(&mut open);
    queued.iter_mut().for_each(|client| rig.echo(client));
    drop((open, queued));
    rig.turn_until_stopped();
    assert_eq!((rig.count(Cause::Finished), rig.count(Cause::DrainCut)), (101, 0));
}

/// case P1
#[test]
fn a_drain_without_peers_ends_at_once() {
    let mut rig = Rig::new(Options::default(), &["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
    rig.turn();
    rig.drain();
    rig.turn_until_stopped();
    assert!(rig.reactor.sources().is_empty());
    assert_eq!(rig.notices("drain_timed_out"), 0);
    // Without an endpoint the drain ends even before a turn.
    assert_eq!(Rig::new(Options::default(), &[]).drain(), LoopState::Stopped);
}

/// case P1
#[test]
fn a_drain_answers_queued_datagrams() {
    let mut rig = Rig::new(Options::default(), &["udp://127.0.0.1:0"]);
    rig.turn();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    for number in 0..50_u8 {
        client.send_to(&[number], rig.addr()).unwrap();
    }
    rig.drain();
    rig.turn_until_stopped();
    for number in 0..50_u8 {
        let mut buf = [0; 2];
        assert_eq!(client.recv(&mut buf).unwrap(), 1);
        assert_eq!(buf[0], number);
    }
}

/// case P1
#[test]
fn a_second_drain_stops_at_once() {
    let mut rig = Rig::tcp(Options::default());
    let _clients = [rig.served_client(), rig.served_client()];
    assert_eq!(rig.drain(), LoopState::Running);
    assert_eq!(rig.drain(), LoopState::Stopped);
    assert_eq!((rig.count(Cause::DrainCut), rig.notices("stopped_short")), (2, 1));
}

/// cases P1, S11: shortly before the deadline the server sends FIN, and waits for the peer's FIN.
#[test]
fn a_drain_ends_connections_by_fin_before_its_deadline() {
    // The server leaves half a second of it for the peer to receive FIN.
    let drain_timeout = Duration::from_secs(6);
    let mut rig = Rig::tcp(Options { drain_timeout, ..Options::default() });
    let mut polite = rig.served_client();
    let _silent = rig.served_client();
    rig.drain();
    polite.set_nonblocking(true).unwrap();
    let mut end = None;
    rig.turn_until("FIN", |_| {
        end = polite.read(&mut [0]).ok();
        end.is_some()
    });
    assert_eq!(end, Some(0));
    drop(polite);
    rig.turn_until_stopped();
    assert_eq!(rig.notices("drain_timed_out"), 1);
    assert!(rig.count(Cause::DrainCut) >= 1, "the silent client never finished");
}

/// cases P1, A5: a client that is queued at the limit counts as a peer.
#[test]
fn a_client_that_waits_at_the_connection_limit_is_served_in_a_drain() {
    let mut rig = Rig::tcp(Options { connections_max: 1, ..Options::default() });
    let first = rig.served_client();
    let mut waiting = rig.client();
    rig.turn_until("the limit", |rig| rig.notices("connection_limit") > 0);
    rig.drain();
    drop(first);
    rig.echo(&mut waiting);
    drop(waiting);
    rig.turn_until_stopped();
    assert_eq!((rig.count(Cause::Finished), rig.count(Cause::DrainCut)), (2, 0));
}

/// Returns a server with a listener that the test keeps, as a service manager does.
fn with_kept_listener() -> (Rig, std::net::TcpListener) {
    let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Options::default(), &[]);
    let passed = kept.try_clone().unwrap();
    let bound = rig.handler.inner.adopt(&mut rig.reactor, passed.into()).unwrap();
    rig.bound.push(bound);
    (rig, kept)
}

/// cases P1, P2: without the listener of a next process, new clients would wait for the peer.
#[test]
fn a_drain_accepts_on_a_passed_listener_while_a_peer_is_open() {
    let (mut rig, _kept) = with_kept_listener();
    let mut open = rig.served_client();
    rig.drain();
    for _ in 0..5 {
        drop(rig.served_client());
    }
    let mut last = rig.served_client();
    rig.echo(&mut open);
    drop(open);
    rig.echo(&mut last);
    drop(last);
    rig.turn_until_stopped();
    assert_eq!((rig.count(Cause::Finished), rig.count(Cause::DrainCut)), (7, 0));
    assert!(rig.reactor.sources().is_empty());
}

/// cases P1, P2
#[test]
fn a_drain_without_peers_leaves_the_queue_of_a_passed_listener_to_the_next_process() {
    let (mut rig, kept) = with_kept_listener();
    rig.turn();
    rig.drain();
    rig.turn_until_stopped();
    let mut queued = rig.client();
    queued.write_all(b"ping").unwrap();
    let (mut next, _) = kept.accept().unwrap();
    next.set_nonblocking(false).unwrap();
    next.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut buf = [0; 4];
    next.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"ping");
}
