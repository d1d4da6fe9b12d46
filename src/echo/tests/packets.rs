//! Tests of datagrams over real sockets: full and vanished receivers, lost datagrams and failing
//! receives.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use socket2::{SockAddr, SockRef};

use super::*;
use crate::socket::SocketOptions;

/// A Unix datagram server and its peers, in a folder of their own.
struct UnixRig {
    rig: Rig,
    folder: tempfile::TempDir,
}

impl UnixRig {
    fn new(options: Options) -> UnixRig {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("unixgram:{}", folder.path().join("echo").display());
        UnixRig { rig: Rig::new(options, &[&endpoint]), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn peer(&self, name: &str) -> UnixDatagram {
        let peer = UnixDatagram::bind(self.path(name)).unwrap();
        peer.set_nonblocking(true).unwrap();
        peer
    }

    /// Sends numbered datagrams, and turns the server after each so that its queue never fills.
    fn send(&mut self, peer: &UnixDatagram, numbers: std::ops::Range<u8>) {
        let server = self.path("echo");
        for number in numbers {
            peer.send_to(&[number], &server).unwrap();
            let seen = self.received() + 1;
            self.rig.turn_until("a datagram", |rig| {
                rig.counters()[Transport::Unixgram].traffic.messages_in == seen
            });
        }
    }

    fn received(&self) -> u64 {
        self.rig.counters()[Transport::Unixgram].traffic.messages_in
    }

    fn held(&self) -> usize {
        let held = |source: &Source| match &source.0 {
            Kind::Udp(packets) => packets.mover.held(),
            Kind::Unixgram(packets) => packets.mover.held(),
            _ => 0,
        };
        self.rig.reactor.sources().iter().map(|(_, source)| held(source)).sum()
    }

    /// Turns the server until the peer has received `count` replies, and returns them.
    fn read(&mut self, peer: &UnixDatagram, count: usize) -> Vec<u8> {
        let mut replies = Vec::new();
        let mut buf = [0; 2];
        self.rig.turn_until("the replies", |_| {
            while let Ok(1) = peer.recv(&mut buf) {
                replies.push(buf[0]);
            }
            replies.len() >= count
        });
        replies
    }
}

/// case X3
#[test]
fn a_peer_that_does_not_read_delays_no_other_and_gets_its_replies_in_order() {
    let mut unix = UnixRig::new(Options::default());
    let (slow, quick) = (unix.peer("slow"), unix.peer("quick"));
    unix.send(&slow, 0..40);
    assert!(unix.held() > 0, "the peer's queue is longer than usual");
    unix.send(&quick, 0..5);
    assert_eq!(unix.read(&quick, 5), [0, 1, 2, 3, 4]);
    assert!(unix.held() > 0);

    // No client sends from here on: the held replies leave by the timer alone.
    assert_eq!(unix.read(&slow, 40), (0..40).collect::<Vec<u8>>());
    assert_eq!(unix.held(), 0);
    assert_eq!(unix.rig.count(Cause::ReplyBacklogFull), 0);
    unix.rig.turn_until("no more retries", |rig| !rig.reactor.has_timer());
}

/// case X3: new replies queue up behind held ones.
#[test]
fn a_peer_that_reads_again_gets_new_replies_after_held_ones() {
    let mut unix = UnixRig::new(Options::default());
    let slow = unix.peer("slow");
    unix.send(&slow, 0..30);
    let mut replies = unix.read(&slow, 5);
    unix.send(&slow, 30..40);
    replies.extend(unix.read(&slow, 40 - replies.len()));
    assert_eq!(replies, (0..40).collect::<Vec<u8>>());
}

/// case X3
#[test]
fn replies_beyond_the_bound_of_a_peer_are_dropped_and_counted() {
    let mut unix = UnixRig::new(Options::default());
    let slow = unix.peer("slow");
    unix.send(&slow, 0..200);
    assert_eq!(unix.held(), 64);
    let dropped = unix.rig.count(Cause::ReplyBacklogFull);
    assert!(unix.rig.notices("answer_backlog_full") > 0);
    let kept = u8::try_from(200 - dropped).unwrap();
    assert_eq!(unix.read(&slow, kept.into()), (0..kept).collect::<Vec<u8>>());
    unix.send(&slow, 200..201);
    assert_eq!(unix.read(&slow, 1), [200]);
}

/// case X3: the server gives up a peer that never reads again.
#[test]
fn replies_not_taken_for_the_stall_timeout_are_dropped_and_counted() {
    let stall_timeout = Duration::from_millis(100);
    let mut unix = UnixRig::new(Options { stall_timeout, ..Options::default() });
    let slow = unix.peer("slow");
    unix.send(&slow, 0..20);
    unix.rig.turn_until("the stall", |rig| rig.count(Cause::ReplyStalled) > 0);
    assert_eq!(unix.held(), 0);
    unix.rig.turn_until("no more retries", |rig| !rig.reactor.has_timer());
}

/// Returns options with the send buffer of an ordinary system, which soon fills up.
fn ordinary_send_buf() -> Options {
    let socket = SocketOptions { send_buf_bytes: Some(212_992), ..SocketOptions::default() };
    Options { socket, ..Options::default() }
}

/// case X3: the kernel charges unread replies to the server's send buffer, and the queue of a
/// connected peer has no limit of its own.
#[test]
fn a_connected_peer_that_never_reads_does_not_use_up_the_send_buffer() {
    let mut unix = UnixRig::new(ordinary_send_buf());
    let (deaf, quick) = (unix.peer("deaf"), unix.peer("quick"));
    deaf.connect(unix.path("echo")).unwrap();
    for _ in 0..20 {
        unix.send(&deaf, 0..100);
    }
    let unread = unix.rig.count(Cause::ReplyStalled) + unix.rig.count(Cause::ReplyBacklogFull);
    assert!(unread > 0, "replies to the deaf peer were dropped: {}", unix.rig.counters());
    for number in 0..100 {
        unix.send(&quick, number..number + 1);
        assert_eq!(unix.read(&quick, 1), [number]);
    }
    // When the deaf peer is gone, its bytes are free again.
    drop(deaf);
    let other = unix.peer("other");
    unix.send(&other, 0..50);
    assert_eq!(unix.read(&other, 50), (0..50).collect::<Vec<u8>>());
}

/// case X3: large replies fill the send buffer before the peer's queue is full.
#[test]
fn a_peer_that_reads_no_large_reply_delays_no_other() {
    let mut unix = UnixRig::new(ordinary_send_buf());
    let (deaf, quick) = (unix.peer("deaf"), unix.peer("quick"));
    for sent in 1..=8 {
        let large = vec![sent; 100_000];
        deaf.send_to(&large, unix.path("echo")).unwrap();
        unix.rig.turn_until("a datagram", |rig| {
            rig.counters()[Transport::Unixgram].traffic.messages_in == u64::from(sent)
        });
    }
    for number in 0..50 {
        unix.send(&quick, number..number + 1);
        assert_eq!(unix.read(&quick, 1), [number]);
    }
    // When the peer reads at last, it gets the replies that were kept, in order.
    let mut buf = vec![0; 200_000];
    let first = deaf.recv(&mut buf).unwrap();
    assert_eq!((first, buf[0]), (100_000, 1));
}

/// case X4: the socket is closed. Its file still exists, or does not.
#[test]
fn a_receiver_that_is_gone_is_counted_and_the_others_are_served() {
    let mut unix = UnixRig::new(Options::default());
    let other = unix.peer("other");
    for (times, is_unlinked) in [(1, false), (2, true)] {
        let name = format!("gone{times}");
        let gone = unix.peer(&name);
        gone.send_to(b"x", unix.path("echo")).unwrap();
        drop(gone);
        if is_unlinked {
            std::fs::remove_file(unix.path(&name)).unwrap();
        }
        unix.rig.turn_until_count(Cause::ReplyRefused, times);
        unix.send(&other, 0..1);
        assert_eq!(unix.read(&other, 1), [0]);
    }
    assert_eq!(unix.rig.notices("answer_refused"), 2);
}

/// case X4: the receiver closes while replies are held for it.
#[test]
fn replies_held_for_a_receiver_that_is_gone_are_dropped_and_counted() {
    let mut unix = UnixRig::new(Options::default());
    let slow = unix.peer("slow");
    unix.send(&slow, 0..30);
    let held = unix.held();
    assert!(held > 0);
    drop(slow);
    unix.rig.turn_until_count(Cause::ReplyRefused, held as u64);
    assert_eq!(unix.held(), 0);
}

/// case P1: a drain waits for receivers as it does for streams, up to its deadline.
#[test]
fn a_drain_sends_held_replies_before_it_ends() {
    let mut unix = UnixRig::new(Options::default());
    let slow = unix.peer("slow");
    unix.send(&slow, 0..30);
    assert_eq!(unix.rig.drain(), LoopState::Running);
    assert_eq!(unix.read(&slow, 30), (0..30).collect::<Vec<u8>>());
    unix.rig.turn_until_stopped();
    assert!(!Path::new(&unix.path("echo")).exists());
}

fn udp_client(rig: &Rig) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_nonblocking(true).unwrap();
    client.connect(rig.addr()).unwrap();
    client
}

fn udp_echo(rig: &mut Rig, client: &UdpSocket) {
    client.send(b"ping").unwrap();
    let mut buf = [0; 16];
    rig.turn_until("an echo", |_| client.recv(&mut buf).is_ok_and(|length| length == 4));
}

/// case U16
#[test]
#[cfg(target_os = "linux")]
fn datagrams_lost_because_the_buffer_was_full_are_counted() {
    let socket = SocketOptions { receive_buf_bytes: Some(4096), ..SocketOptions::default() };
    let options = Options { reply: Reply::Nothing, socket, ..Options::default() };
    let mut rig = Rig::new(options, &["udp://127.0.0.1:0"]);
    let client = udp_client(&rig);
    const SENT: u64 = 500;
    (0..SENT).for_each(|_| assert_eq!(client.send(&[0; 1000]).unwrap(), 1000));
    let received = |rig: &Rig| rig.counters()[Transport::Udp].traffic.messages_in;
    rig.turn();
    let kept = received(&rig);
    assert!(kept < SENT);
    // The kernel reports the loss with the next datagram that it queues.
    client.send(b"x").unwrap();
    rig.turn_until("one more", |rig| received(rig) == kept + 1);
    assert_eq!(rig.count(Cause::Overflowed), SENT - kept);
    assert!(rig.notices("overflowed") > 0);
}

/// case U16: no later datagram reports these losses.
#[test]
#[cfg(target_os = "linux")]
fn datagrams_lost_after_the_last_received_one_are_counted_at_the_end() {
    let socket = SocketOptions { receive_buf_bytes: Some(4096), ..SocketOptions::default() };
    let options = Options { reply: Reply::Nothing, socket, ..Options::default() };
    for cut in [false, true] {
        let mut rig = Rig::new(options.clone(), &["udp://127.0.0.1:0"]);
        let client = udp_client(&rig);
        const SENT: u64 = 500;
        (0..SENT).for_each(|_| assert_eq!(client.send(&[0; 1000]).unwrap(), 1000));
        if cut {
            rig.request(|server, sources, context| {
                server.drain(sources, context);
                server.drain(sources, context);
            });
        } else {
            rig.drain();
        }
        rig.turn_until_stopped();
        let received = rig.counters()[Transport::Udp].traffic.messages_in;
        assert_eq!(rig.count(Cause::Overflowed), SENT - received, "{cut}");
    }
}

/// cases U8, U9: an ICMP error causes an event that is only an error. Linux reports it only to
/// connected sockets, so the test connects the server's socket to the client that causes the error.
#[test]
#[cfg(target_os = "linux")]
fn a_pending_error_is_taken_off_the_socket_and_receiving_goes_on() {
    let mut rig = Rig::new(Options::default(), &["udp://127.0.0.1:0"]);
    let client = udp_client(&rig);
    let client_addr = client.local_addr().unwrap();
    for (_, source) in rig.reactor.sources().iter() {
        if let Kind::Udp(packets) = &source.0 {
            SockRef::from(&packets.socket).connect(&SockAddr::from(client_addr)).unwrap();
        }
    }
    udp_echo(&mut rig, &client);
    client.send(b"gone").unwrap();
    drop(client);
    rig.turn_until_count(Cause::ReceiveFailed, 1);
    let events = rig.reactor.counts().events;
    for _ in 0..5 {
        rig.turn();
    }
    assert_eq!(rig.reactor.counts().events, events, "the error is reported once");
    let client = UdpSocket::bind(client_addr).unwrap();
    client.set_nonblocking(true).unwrap();
    client.connect(rig.addr()).unwrap();
    udp_echo(&mut rig, &client);
}

/// case U8
#[test]
fn a_client_that_is_gone_before_its_reply_does_not_affect_others() {
    let mut rig = Rig::new(Options::default(), &["udp://127.0.0.1:0"]);
    let other = udp_client(&rig);
    for _ in 0..20 {
        udp_client(&rig).send(b"gone").unwrap();
    }
    udp_echo(&mut rig, &other);
    rig.turn_until("all are answered", |rig| {
        rig.counters()[Transport::Udp].traffic.messages_out == 21
    });
    udp_echo(&mut rig, &other);
}
