//! Many bytes, in parts of any size, sent and received at the same time: all come back in order.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::support::{Counters, Daemon, WAIT_MAX};

/// The largest single write or read.
const CHUNK_BYTES_MAX: usize = 128 << 10;

/// xorshift64: the same seed gives the same numbers.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        // Mixes the seed, so that neighbouring seeds give unrelated numbers. The state must not be
        // 0, because xorshift64 then stays at 0.
        Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns a size from 1 to `max`, small ones as often as large ones.
    fn chunk_bytes(&mut self, max: usize) -> usize {
        let bits = self.below(u64::from(max.ilog2()) + 1);
        let bytes = 1 + self.below(1 << bits);
        usize::try_from(bytes).unwrap().min(max)
    }
}

/// The bytes of one connection, generated again to check the echo. This is stricter than a
/// checksum, because a wrong byte is found with its offset, and it stores nothing.
struct Pattern {
    random: Random,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    fn new(seed: u64) -> Pattern {
        Pattern { random: Random::new(seed ^ 1 << 40), word: [0; 8], used: 8 }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == self.word.len() {
                self.word = self.random.next().to_le_bytes();
                self.used = 0;
            }
            let count = bytes.len().min(self.word.len() - self.used);
            bytes[..count].copy_from_slice(&self.word[self.used..self.used + count]);
            self.used += count;
            bytes = &mut bytes[count..];
        }
    }
}

/// A connected blocking stream, TCP or Unix.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The address to connect to.
#[derive(Clone, Debug)]
enum Target {
    Tcp(SocketAddr),
    Unix(String),
}

impl Target {
    fn connect(&self) -> Stream {
        match self {
            Target::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, WAIT_MAX).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
                stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
                Stream::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
                stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
                Stream::Unix(stream)
            }
        }
    }
}

impl Stream {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buf),
            Stream::Unix(stream) => (&mut &*stream).read(buf),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write_all(bytes),
            Stream::Unix(stream) => (&mut &*stream).write_all(bytes),
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// The behaviour of one connection. Its random choices come from the seed.
#[derive(Clone, Copy, Debug)]
struct Load {
    seed: u64,
    bytes: usize,
    /// After one chunk in this many there is a pause of up to 2 ms; 0 for no pauses.
    pauses: u64,
    /// Whether it reads only after it has shut down its sending direction.
    reads_late: bool,
}

impl Load {
    fn pause(self, random: &mut Random) {
        // This sleep shapes the load and waits for no condition.
        if self.pauses > 0 && random.below(self.pauses) == 0 {
            thread::sleep(Duration::from_micros(random.below(2_000)));
        }
    }

    fn send(self, stream: &Stream) {
        let mut random = Random::new(self.seed);
        let mut pattern = Pattern::new(self.seed);
        let mut buf = vec![0; CHUNK_BYTES_MAX.min(self.bytes.max(1))];
        let mut left = self.bytes;
        while left > 0 {
            let chunk = random.chunk_bytes(buf.len()).min(left);
            let chunk = &mut buf[..chunk];
            pattern.fill(chunk);
            stream.write_all(chunk).unwrap_or_else(|error| panic!("{self:?}: write: {error}"));
            left -= chunk.len();
            self.pause(&mut random);
        }
        stream.shutdown_write().unwrap();
    }

    /// Reads to the end of the stream, in chunks of other sizes than were written. Returns the
    /// number of bytes.
    fn receive(self, stream: &Stream) -> usize {
        let mut random = Random::new(self.seed ^ 0xffff_0000);
        let (mut pattern, mut received) = (Pattern::new(self.seed), 0);
        let mut expected = vec![0; CHUNK_BYTES_MAX];
        let mut buf = vec![0; CHUNK_BYTES_MAX];
        loop {
            let wanted = random.chunk_bytes(buf.len());
            let count = stream
                .read(&mut buf[..wanted])
                .unwrap_or_else(|error| panic!("{self:?}: read: {error}"));
            if count == 0 {
                return received;
            }
            pattern.fill(&mut expected[..count]);
            if buf[..count] != expected[..count] {
                let place = (0..count).find(|&place| buf[place] != expected[place]).unwrap();
                let offset = received + place;
                panic!("{self:?}: a wrong byte came back at {offset}");
            }
            received += count;
            self.pause(&mut random);
        }
    }

    /// Sends and receives, at the same time or, if the buffers hold all bytes, one after the other.
    /// Returns when every byte is back.
    fn run(self, target: &Target) {
        let stream = target.connect();
        let received = if self.reads_late {
            self.send(&stream);
            self.receive(&stream)
        } else {
            thread::scope(|scope| {
                scope.spawn(|| self.send(&stream));
                self.receive(&stream)
            })
        };
        assert_eq!(received, self.bytes, "{self:?}");
    }
}

/// Starts a server on TCP and on a Unix stream. Returns both addresses.
fn start(folder: &tempfile::TempDir, options: &[&str]) -> (Daemon, [Target; 2]) {
    let path = folder.path().join("echo").display().to_string();
    let mut arguments = vec!["tcp://127.0.0.1:0".to_owned(), format!("unix:{path}")];
    arguments.extend(options.iter().map(|&option| option.to_owned()));
    let daemon = Daemon::start(&arguments);
    let targets = [Target::Tcp(daemon.addr(0)), Target::Unix(path)];
    (daemon, targets)
}

/// Asserts that both sides count the same bytes, and that every connection finished normally.
#[track_caller]
fn assert_all_finished(daemon: Daemon, connections: u64, bytes: u64) {
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let counters = Counters::last_of(&ended.stderr);
    assert_eq!(counters.get("accepted"), connections);
    assert_eq!(counters.get("finished"), connections);
    let sum = |direction: &str| {
        counters.get(&format!("tcp_bytes_{direction}"))
            + counters.get(&format!("unix_bytes_{direction}"))
    };
    assert_eq!((sum("in"), sum("out")), (bytes, bytes));
}

/// The flags with the bulk path and without it.
const SPLICE_OPTIONS: [&[&str]; 2] = [&[], &["--no-splice"]];

/// cases S3, S15, S16
#[test]
fn sixty_four_mebibytes_come_back_through_one_half_closed_connection() {
    let folder = tempfile::tempdir().unwrap();
    for options in SPLICE_OPTIONS {
        let (daemon, targets) = start(&folder, options);
        let bytes = 64 << 20;
        for (seed, target) in (0..).zip(&targets) {
            Load { seed, bytes, pauses: 0, reads_late: false }.run(target);
        }
        assert_all_finished(daemon, 2, 2 * bytes as u64);
    }
}

/// cases S15, S16, S3: includes connections that send one byte or none.
#[test]
fn two_hundred_connections_at_once_get_every_byte_back() {
    const CONNECTIONS: u64 = 200;
    const BYTES_MAX: usize = 4 << 20;
    // Less than any buffer on the path holds.
    const LATE_BYTES_MAX: usize = 16 << 10;

    let folder = tempfile::tempdir().unwrap();
    let [with, without] = SPLICE_OPTIONS;
    for (number, seeds, options) in [(0, 1_000, with), (0, 3_000, without), (1, 2_000, with)] {
        let (daemon, targets) = start(&folder, options);
        let loads: Vec<Load> = (0..CONNECTIONS)
            .map(|seed| {
                let seed = seeds + seed;
                let mut random = Random::new(seed ^ 0xabcd);
                let bytes = random.chunk_bytes(BYTES_MAX) - 1;
                let reads_late = bytes <= LATE_BYTES_MAX && random.below(2) == 0;
                Load { seed, bytes, pauses: 1 + random.below(20), reads_late }
            })
            .collect();
        let sum = loads.iter().map(|load| load.bytes as u64).sum();
        assert!(loads.iter().any(|load| load.bytes == 0), "one connection sends nothing");
        thread::scope(|scope| {
            for load in &loads {
                scope.spawn(|| load.run(&targets[number]));
            }
        });
        assert_all_finished(daemon, CONNECTIONS, sum);
    }
}
