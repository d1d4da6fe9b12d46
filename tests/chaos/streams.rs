//! Peers on TCP and Unix streams. Each must get every byte back, however it behaves.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;

use crate::pattern;
use crate::support::WAIT_MAX;
use crate::world::{Excused, STALL_TIMEOUT, World, pause};

/// The bytes that a peer sends before it reads any of them. Both directions hold that much, so that
/// no deadlock occurs.
const HELD_BYTES_MAX: usize = 32 << 10;

const MIB: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Unix,
}

impl Kind {
    pub fn choose(rng: &mut fastrand::Rng) -> Kind {
        if rng.u8(..3) == 0 { Kind::Unix } else { Kind::Tcp }
    }
}

#[derive(Debug)]
pub enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Link {
    pub fn connect(world: &World, kind: Kind) -> Link {
        let link = match kind {
            Kind::Tcp => Link::Tcp(TcpStream::connect(world.tcp).unwrap()),
            Kind::Unix => Link::Unix(UnixStream::connect(&world.unix).unwrap()),
        };
        world.tally.connections.add(1);
        link.set_timeouts(WAIT_MAX);
        link
    }

    pub fn set_timeouts(&self, timeout: Duration) {
        let socket = self.socket();
        socket.set_read_timeout(Some(timeout)).unwrap();
        socket.set_write_timeout(Some(timeout)).unwrap();
    }

    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Link::Tcp(stream) => stream.as_fd(),
            Link::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for &Link {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => (&mut &*stream).read(buf),
            Link::Unix(stream) => (&mut &*stream).read(buf),
        }
    }
}

impl Write for &Link {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => (&mut &*stream).write(buf),
            Link::Unix(stream) => (&mut &*stream).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection and its progress. One thread may send while another receives.
#[derive(Debug)]
pub struct Peer<'a> {
    world: &'a World,
    pub link: Link,
    number: u64,
    sent: AtomicU64,
    received: AtomicU64,
    /// When it last received bytes.
    read_at: Mutex<Instant>,
    /// The longest time between two reads, without the time in the reads.
    gap_max_ms: AtomicU64,
}

impl<'a> Peer<'a> {
    /// Connects a peer that has not sent yet. The caller must hold the gate.
    pub fn open(world: &'a World, kind: Kind) -> Peer<'a> {
        Peer {
            world,
            link: Link::connect(world, kind),
            number: world.number(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            read_at: Mutex::new(Instant::now()),
            gap_max_ms: AtomicU64::new(0),
        }
    }

    /// Connects a peer and waits until it is served.
    pub fn connect(
        world: &'a World,
        kind: Kind,
        rng: &mut fastrand::Rng,
    ) -> Result<Peer<'a>, Excused> {
        let _gate = world.enter();
        let peer = Peer::open(world, kind);
        peer.send(rng.usize(1..=16), rng)?;
        peer.receive_all()?;
        Ok(peer)
    }

    /// Sends the next bytes of its pattern. Returns how many the socket took.
    pub fn try_send(&self, count: usize) -> io::Result<usize> {
        let offset = self.sent.load(Ordering::Relaxed);
        let mut bytes = vec![0; count];
        pattern::fill(self.world.plan.seed, self.number, offset, &mut bytes);
        let count = (&self.link).write(&bytes)?;
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    /// Sends this many bytes in parts, with pauses.
    pub fn send(&self, count: usize, rng: &mut fastrand::Rng) -> Result<(), Excused> {
        let mut left = count;
        while left > 0 {
            let piece = if rng.bool() { left } else { rng.usize(1..=left) };
            left -= self.try_send(piece).map_err(|error| self.excuse("send", &error))?;
            if left > 0 {
                pause(rng);
            }
        }
        Ok(())
    }

    /// Receives some bytes and checks each. Returns 0 at the end of the stream.
    pub fn try_receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.note_gap();
        let read = (&self.link).read(buf);
        *self.read_at.lock().unwrap() = Instant::now();
        let count = read?;
        let offset = self.received.fetch_add(count as u64, Ordering::Relaxed);
        if let Err(wrong) = pattern::check(self.world.plan.seed, self.number, offset, &buf[..count])
        {
            panic!("{wrong}");
        }
        let sent = self.sent.load(Ordering::Relaxed);
        // A sending thread counts a part after the send, and its echo may come before that.
        let in_doubt = MIB as u64;
        assert!(offset + count as u64 <= sent + in_doubt, "more came than was sent");
        self.world.tally.bytes.add(count as u64);
        Ok(count)
    }

    /// Receives exactly what was sent so far.
    pub fn receive_all(&self) -> Result<(), Excused> {
        while self.received.load(Ordering::Relaxed) < self.sent.load(Ordering::Relaxed) {
            let mut buf = [0; 16 << 10];
            match self.try_receive(&mut buf) {
                Ok(0) => return Err(self.excuse("receive", &ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.excuse("receive", &error)),
            }
        }
        self.assert_all_came();
        Ok(())
    }

    /// Notes the time since the last read, as long as no other thread is in a read.
    fn note_gap(&self) {
        let gap = self.read_at.lock().unwrap().elapsed();
        let gap_ms = u64::try_from(gap.as_millis()).unwrap();
        self.gap_max_ms.fetch_max(gap_ms, Ordering::Relaxed);
    }

    /// Returns true if its own thread did not read for a large part of the stall timeout.
    fn has_paused(&self) -> bool {
        Duration::from_millis(self.gap_max_ms.load(Ordering::Relaxed)) >= STALL_TIMEOUT / 2
    }

    /// Like [`Peer::excuse`], for a peer of a single thread that was not reading.
    #[track_caller]
    pub fn excuse_unread(&self, what: &str, error: &io::Error) -> Excused {
        self.note_gap();
        self.excuse(what, error)
    }

    /// Returns true if bytes can be received.
    pub fn has_something(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.link, &mut [0_u8], flags) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Receives all that was sent. Returns false if the server closed instead.
    pub fn is_served(&self) -> bool {
        let mut buf = [0; 1024];
        while !self.has_all_back() || self.sent.load(Ordering::Relaxed) == 0 {
            match self.try_receive(&mut buf) {
                Ok(1..) => continue,
                Ok(0) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("neither served nor closed: {error}"),
            }
            assert_eq!(
                self.received.load(Ordering::Relaxed),
                0,
                "the peer is served until it ends"
            );
            return false;
        }
        true
    }

    /// Sends FIN, and receives up to the server's FIN.
    pub fn half_close(&self, rng: &mut fastrand::Rng) -> Result<(), Excused> {
        self.link.socket().shutdown(Shutdown::Write).unwrap();
        self.receive_to_end(rng)?;
        self.world.tally.half_closes.add(1);
        Ok(())
    }

    fn receive_to_end(&self, rng: &mut fastrand::Rng) -> Result<(), Excused> {
        let mut buf = vec![0; 256 << 10];
        loop {
            let limit = if rng.bool() { buf.len() } else { rng.usize(1..=buf.len()) };
            match self.try_receive(&mut buf[..limit]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.excuse("receive", &error)),
            }
            if rng.u8(..8) == 0 {
                pause(rng);
            }
        }
        let (sent, received) =
            (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        if received < sent {
            return Err(self.excuse("receive", &ErrorKind::UnexpectedEof.into()));
        }
        self.assert_all_came();
        Ok(())
    }

    /// Returns true if all that was sent has come back.
    fn has_all_back(&self) -> bool {
        self.received.load(Ordering::Relaxed) == self.sent.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn assert_all_came(&self) {
        let (sent, received) =
            (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        assert_eq!(received, sent, "stream {}", self.number);
    }

    /// Excuses the end of a peer if its own thread could not read for a large part of the stall
    /// timeout. Otherwise panics, because the server must not end a peer that behaves.
    #[track_caller]
    fn excuse(&self, what: &str, error: &io::Error) -> Excused {
        let unread = self.read_at.lock().unwrap().elapsed();
        let gap = Duration::from_millis(self.gap_max_ms.load(Ordering::Relaxed));
        let (sent, received) =
            (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        assert!(
            self.has_paused(),
            "cannot {what} on stream {} ({:?}): {error}; {sent} bytes sent, {received} received, \
             longest pause {gap:?}, {unread:?} since the last read",
            self.number,
            self.link,
        );
        Excused
    }
}

/// Sends messages and receives their echoes, one after the other.
pub fn chat(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let peer = Peer::connect(world, Kind::choose(rng), rng)?;
    for _ in 0..rng.usize(1..20) {
        let length_max = [64, 4096, HELD_BYTES_MAX][rng.usize(..3)];
        peer.send(rng.usize(1..=length_max), rng)?;
        peer.receive_all()?;
        pause(rng);
    }
    match rng.u8(..3) {
        // All bytes have arrived, so the peer sends FIN without waiting.
        0 => Ok(()),
        1 => {
            peer.send(rng.usize(1..=HELD_BYTES_MAX), rng)?;
            peer.half_close(rng)
        }
        _ => peer.half_close(rng),
    }
}

/// Sends bulk in both directions at once, long enough for the path through pipes, up to FIN.
pub fn transfer(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let peer = Peer::connect(world, Kind::choose(rng), rng)?;
    let total = rng.usize(MIB..=6 * MIB);
    let mut writer_rng = rng.fork();
    let outcome = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _guard = world.guard();
            let rng = &mut writer_rng;
            let mut left = total;
            while left > 0 {
                // Long sequences of large writes, then small ones, so that the server switches
                // between the paths.
                let piece_max = if rng.u8(..4) == 0 { 4096 } else { MIB };
                let run = rng.usize(1..=left.min(MIB));
                let mut left_of_run = run;
                while left_of_run > 0 {
                    let piece = rng.usize(1..=piece_max.min(left_of_run));
                    let sent = peer.try_send(piece).map_err(|error| peer.excuse("send", &error))?;
                    left_of_run -= sent;
                }
                left -= run;
                pause(rng);
            }
            peer.link.socket().shutdown(Shutdown::Write).unwrap();
            Ok(())
        });
        let received = peer.receive_to_end(rng);
        if received.is_err() {
            // The other thread must not wait for a peer that is gone.
            let _ = peer.link.socket().shutdown(Shutdown::Both);
        }
        let sent = writer.join().unwrap();
        received.and(sent)
    });
    outcome?;
    world.tally.bulk.add(1);
    world.tally.half_closes.add(1);
    Ok(())
}

/// Ends in the middle, by a reset or by closing with unread input, which also causes a reset.
pub fn reset(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let peer = Peer::connect(world, Kind::choose(rng), rng)?;
    peer.link.socket().set_nonblocking(true).unwrap();
    let mut left = rng.usize(1..=2 * MIB);
    while left > 0 {
        match peer.try_send(rng.usize(1..=left)) {
            Ok(count) => left -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(peer.excuse_unread("send", &error)),
        }
        if rng.bool() {
            match peer.try_receive(&mut vec![0; rng.usize(1..100_000)]) {
                Ok(0) => panic!("the server has closed"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(peer.excuse("receive", &error)),
            }
        }
    }
    peer.note_gap();
    if peer.has_paused() {
        // The server may have ended it already.
        return Err(Excused);
    }
    match (&peer.link, rng.bool()) {
        (Link::Tcp(_), true) => {
            peer.link.socket().set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            world.tally.resets.add(1);
        }
        _ => {
            // Waits for input and leaves it unread.
            peer.link.socket().set_nonblocking(false).unwrap();
            if peer.has_all_back() {
                peer.send(1, rng)?;
            }
            let peeked = peer.link.socket().peek(&mut [std::mem::MaybeUninit::uninit()]);
            peeked.map_err(|error| peer.excuse_unread("peek", &error))?;
            drop(peer);
            world.tally.closed_unread.add(1);
        }
    }
    Ok(())
}

/// Sends an out-of-band byte among the others. The server does not read it, so it is not echoed.
pub fn urgent(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let peer = Peer::connect(world, Kind::Tcp, rng)?;
    let Link::Tcp(stream) = &peer.link else { return Ok(()) };
    peer.send(rng.usize(1..HELD_BYTES_MAX / 2), rng)?;
    rustix::net::send(stream, b"!", SendFlags::OOB).unwrap();
    pause(rng);
    peer.send(rng.usize(1..HELD_BYTES_MAX / 2), rng)?;
    peer.half_close(rng)?;
    world.tally.urgent.add(1);
    Ok(())
}
