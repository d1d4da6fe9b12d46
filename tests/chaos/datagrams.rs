//! Datagrams on UDP and Unix sockets. Each contains a number, and its answer must equal it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::pattern;
use crate::world::{Excused, STALL_TIMEOUT, World, pause, udp_drops};

/// The largest UDP payload over IPv4.
const UDP_BYTES_MAX: usize = 65_507;

/// Less than the default buffer of a Unix socket takes.
const UNIX_BYTES_MAX: usize = 100_000;

/// The number of pending answers of a Unix peer. Its queue holds more (`net.unix.max_dgram_qlen`).
const UNIX_WINDOW: usize = 8;

/// The number of the socket and the number of the datagram.
const HEADER_BYTES: usize = 16;

/// An answer that takes longer counts as missing, even on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long to wait for an answer before another datagram is sent.
const LOSS_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// A client's socket and its unanswered datagrams.
#[derive(Debug)]
pub struct Asker<'a> {
    world: &'a World,
    socket: Socket,
    number: u64,
    next: u64,
    /// The lowest number that may still come. An earlier answer has been overtaken, which does not
    /// happen with one server on one host.
    next_answer: u64,
    /// The lengths of the unanswered datagrams by number.
    unanswered: BTreeMap<u64, usize>,
    drops_before: u64,
    buf: Vec<u8>,
}

impl<'a> Asker<'a> {
    pub fn udp(world: &'a World) -> Asker<'a> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(world.udp).unwrap();
        socket.set_read_timeout(Some(LOSS_AFTER / 4)).unwrap();
        Asker::new(world, Socket::Udp(socket))
    }

    pub fn unix(world: &'a World) -> Asker<'a> {
        let socket = UnixDatagram::bind(own_path(world)).unwrap();
        socket.connect(&world.unixgram).unwrap();
        socket.set_read_timeout(Some(LOSS_AFTER / 4)).unwrap();
        socket.set_write_timeout(Some(ANSWER_MAX)).unwrap();
        Asker::new(world, Socket::Unix(socket))
    }

    fn new(world: &'a World, socket: Socket) -> Asker<'a> {
        let (number, drops_before) = (world.number(), udp_drops(world.udp, world.loops()));
        let (unanswered, buf) = (BTreeMap::new(), vec![0; 1 << 17]);
        Asker { world, socket, number, next: 0, next_answer: 0, unanswered, drops_before, buf }
    }

    fn contents(&self, datagram: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        pattern::fill(self.world.plan.seed, self.number, datagram << 20, &mut bytes);
        let header = [self.number.to_le_bytes(), datagram.to_le_bytes()].concat();
        if length >= HEADER_BYTES {
            bytes[..HEADER_BYTES].copy_from_slice(&header);
        }
        bytes
    }

    /// Sends one datagram. A datagram too short for a number must be the only unanswered one.
    pub fn send(&mut self, length: usize) {
        assert!(length >= HEADER_BYTES || self.unanswered.is_empty());
        let (datagram, bytes) = (self.next, self.contents(self.next, length));
        self.next += 1;
        let sent = match &self.socket {
            Socket::Udp(socket) => socket.send(&bytes),
            Socket::Unix(socket) => socket.send(&bytes),
        };
        assert_eq!(sent.unwrap(), length);
        self.unanswered.insert(datagram, length);
    }

    /// Receives one answer and checks it. Returns false if none comes for some time.
    pub fn receive(&mut self) -> bool {
        let received = match &self.socket {
            Socket::Udp(socket) => socket.recv(&mut self.buf),
            Socket::Unix(socket) => socket.recv(&mut self.buf),
        };
        let length = match received {
            Ok(length) => length,
            Err(error) if is_timeout(&error) => return false,
            Err(error) => panic!("{error}"),
        };
        let bytes = &self.buf[..length];
        let datagram = match bytes.first_chunk::<HEADER_BYTES>() {
            Some(header) => u64::from_le_bytes(header[8..].try_into().unwrap()),
            None => *self.unanswered.keys().next().expect("an answer to nothing"),
        };
        let expected = self.unanswered.remove(&datagram);
        let what = format!("datagram {datagram} of socket {}", self.number);
        assert_eq!(
            expected,
            Some(length),
            "{what}: the length of a datagram that was sent and is unanswered"
        );
        assert!(bytes == self.contents(datagram, length), "{what} came back changed: {bytes:02x?}");
        assert!(datagram >= self.next_answer, "{what} was overtaken");
        self.next_answer = datagram + 1;
        self.world.tally.datagrams.add(1);
        true
    }

    /// Receives all pending answers. Counts answers that full buffers dropped as lost. Panics if an
    /// answer is missing without an explanation. Returns false if any was lost.
    ///
    /// However slow the machine is, an answer is lost once a later one has come. So this sends
    /// further datagrams over UDP when no answer comes.
    pub fn settle(&mut self) -> bool {
        let (mut quiet_since, mut probes) = (Instant::now(), 0);
        let mut lost = self.take_overtaken();
        while !self.unanswered.is_empty() {
            if self.receive() {
                quiet_since = Instant::now();
                probes = 0;
                lost += self.take_overtaken();
                continue;
            }
            let quiet_for = quiet_since.elapsed();
            assert!(
                quiet_for < ANSWER_MAX,
                "{:?}: no answer to {} datagrams",
                self.socket,
                self.unanswered.len()
            );
            let is_udp = matches!(self.socket, Socket::Udp(_));
            if is_udp && quiet_for >= LOSS_AFTER * (probes + 1) {
                self.send(HEADER_BYTES);
                probes += 1;
            }
        }
        let dropped = self.drops();
        assert!(
            lost <= dropped,
            "{:?}: {lost} answers are missing, and {dropped} datagrams were dropped because a \
             receive buffer was full",
            self.socket,
        );
        self.world.tally.lost.add(lost);
        lost == 0
    }

    /// Forgets the datagrams whose answer was overtaken, and returns how many those are.
    fn take_overtaken(&mut self) -> u64 {
        let pending = self.unanswered.split_off(&self.next_answer);
        let overtaken = std::mem::replace(&mut self.unanswered, pending);
        overtaken.len() as u64
    }

    /// Returns the number of datagrams that full buffers, of the server or of this client, have
    /// dropped since this socket exists.
    fn drops(&self) -> u64 {
        match &self.socket {
            Socket::Udp(_) => {
                udp_drops(self.world.udp, self.world.loops()) - self.drops_before + self.own_drops()
            }
            Socket::Unix(_) => 0,
        }
    }

    fn own_drops(&self) -> u64 {
        match &self.socket {
            Socket::Udp(socket) => udp_drops(socket.local_addr().unwrap(), 1),
            Socket::Unix(_) => 0,
        }
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.world.tally.client_drops.add(self.own_drops());
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn own_path(world: &World) -> std::path::PathBuf {
    world.folder.path().join(format!("client-{}", world.number()))
}

/// Fills every slot of the server's batches with a datagram of the largest size. The system
/// allocates this memory page by page, and a later allocation would look like growth. A batch is
/// what is queued while the server is stopped. (A Unix queue is a few datagrams shorter than a
/// batch.)
pub fn fill_batches(world: &World) {
    const UDP_SLOTS: usize = 64;
    const UNIX_QUEUE: usize = 11;
    let ask = |mut asker: Asker<'_>, places: usize, length: usize| {
        world.daemon.process.signal(Signal::STOP);
        (1..places).for_each(|_| asker.send(HEADER_BYTES));
        asker.send(length);
        world.daemon.process.signal(Signal::CONT);
        asker.settle();
    };
    // The system chooses the loop that receives a datagram.
    let rounds = if world.loops() == 1 { 1 } else { 4 * world.loops() };
    for places in (1..=UDP_SLOTS).rev() {
        (0..rounds).for_each(|_| ask(Asker::udp(world), places, UDP_BYTES_MAX));
    }
    for places in (1..=UNIX_QUEUE).rev() {
        ask(Asker::unix(world), places, UNIX_BYTES_MAX);
    }
}

/// Plays a UDP client: single datagrams, bursts, huge and tiny ones.
pub fn udp(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let mut asker = Asker::udp(world);
    for _ in 0..rng.usize(1..20) {
        match rng.u8(..16) {
            0 => asker.send(rng.usize(60_000..=UDP_BYTES_MAX)),
            1 => asker.send(UDP_BYTES_MAX),
            2 => asker.send(0),
            3 => asker.send(rng.usize(1..HEADER_BYTES)),
            4..8 => {
                // All have the same size, as in a train, or different sizes.
                let length = rng.usize(HEADER_BYTES..=1472);
                let is_uniform = rng.bool();
                for _ in 0..rng.usize(2..200) {
                    asker.send(if is_uniform { length } else { rng.usize(HEADER_BYTES..=length) });
                }
            }
            _ => asker.send(rng.usize(HEADER_BYTES..=4096)),
        }
        if !asker.settle() {
            // A late answer must not be taken for another's.
            return Ok(());
        }
        pause(rng);
    }
    Ok(())
}

/// Plays senders that are gone when their answer comes.
pub fn gone(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    for _ in 0..rng.usize(1..10) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&vec![0; rng.usize(..1000)], world.udp).unwrap();
        world.tally.gone.add(1);
    }
    pause(rng);
    Ok(())
}

/// Plays a Unix client with fewer pending answers than its queue holds, so that none is lost.
pub fn unix(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let mut asker = Asker::unix(world);
    for _ in 0..rng.usize(1..20) {
        match rng.u8(..8) {
            0 => asker.send(rng.usize(60_000..=UNIX_BYTES_MAX)),
            1 => asker.send(0),
            2 => asker.send(rng.usize(1..HEADER_BYTES)),
            3..5 => (0..UNIX_WINDOW).for_each(|_| asker.send(rng.usize(HEADER_BYTES..=2000))),
            _ => asker.send(rng.usize(HEADER_BYTES..=4096)),
        }
        assert!(asker.settle(), "nothing drops datagrams of a Unix socket");
        pause(rng);
    }
    if let Socket::Unix(socket) = &asker.socket {
        let addr = socket.local_addr().unwrap();
        std::fs::remove_file(addr.as_pathname().unwrap()).unwrap();
    }
    Ok(())
}

/// Plays senders without a name, which cannot be answered.
pub fn unnamed(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let socket = UnixDatagram::unbound().unwrap();
    for _ in 0..rng.usize(1..10) {
        socket.send_to(&vec![7; rng.usize(..1000)], &world.unixgram).unwrap();
        world.tally.unnamed.add(1);
    }
    pause(rng);
    Ok(())
}

/// Plays a receiver that sends many requests and reads nothing for longer than its answers are
/// held.
pub fn deaf(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let path = own_path(world);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    for _ in 0..rng.usize(11..120) {
        socket.send_to(&vec![7; rng.usize(..8000)], &world.unixgram).unwrap();
    }
    world.tally.deaf.add(1);
    let hold_max = if rng.bool() { 2 * STALL_TIMEOUT } else { STALL_TIMEOUT / 5 };
    thread::sleep(hold_max.mul_f64(rng.f64()));
    drop(socket);
    std::fs::remove_file(path).unwrap();
    Ok(())
}
