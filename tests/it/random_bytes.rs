//! Sends random bytes to the running program, as streams, datagrams and arguments. It must echo
//! them or print a clear error.
//!
//! The default is a few megabytes of each. `RESOUND_FUZZ_MIB` sets the total, and
//! `PROPTEST_RNG_SEED` the seed.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;

use crate::support::{Daemon, WAIT_MAX, resound, run};

/// The default total.
const MIB_DEFAULT: usize = 10;

/// The largest single write or read.
const CHUNK_BYTES_MAX: usize = 100_000;

/// The largest UDP payload over IPv4.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// The datagrams in flight at once, and their bytes: the smallest usual buffers hold them.
const WINDOW_MAX: usize = 8;
const WINDOW_BYTES_MAX: usize = DATAGRAM_BYTES_MAX;

/// The longest argument, below the system's limit of 128 KiB.
const ARGUMENT_BYTES_MAX: usize = 100_000;

/// Returns the bytes of a share of the total, in hundredths.
fn share_bytes(hundredths: usize) -> usize {
    let mib = std::env::var("RESOUND_FUZZ_MIB").ok().map(|text| text.parse().expect("a number"));
    (mib.unwrap_or(MIB_DEFAULT) << 20) * hundredths / 100
}

/// xorshift64, seeded with the environment's seed and the test's own.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new(stream: u64) -> Random {
        let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|text| text.parse().ok());
        let seed: u64 = seed.unwrap_or(0x2545_f491_4f6c_dd1d);
        // The state must not be 0, because xorshift64 then stays at 0.
        Random((seed ^ stream).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Returns a length from 0 to `max`, small ones as often as large ones.
    fn length(&mut self, max: usize) -> usize {
        let bits = self.below(usize::BITS as usize - max.leading_zeros() as usize + 1);
        self.below(1 << bits).min(max)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// Writes chunks of random bytes and compares the echo with the same bytes, generated again.
/// Returns the number of chunks.
fn feed_stream<T: Read + Write + Send>(
    mut reader: T,
    mut writer: T,
    shut_down: impl FnOnce(&T) + Send,
    mut random: Random,
    bytes: usize,
) -> usize {
    let mut expected = random.clone();
    let next_chunk = move |random: &mut Random| {
        let length = 1 + random.length(CHUNK_BYTES_MAX);
        random.bytes(length)
    };
    let chunks = thread::scope(|scope| {
        let write = scope.spawn(move || {
            let (mut chunks, mut left) = (0, bytes);
            while left > 0 {
                let chunk = next_chunk(&mut random);
                writer.write_all(&chunk).unwrap();
                left = left.saturating_sub(chunk.len());
                chunks += 1;
            }
            shut_down(&writer);
            chunks
        });
        let (mut left, mut at) = (bytes, 0);
        while left > 0 {
            let chunk = next_chunk(&mut expected);
            let mut came = vec![0; chunk.len()];
            reader.read_exact(&mut came).unwrap();
            assert!(came == chunk, "the {} bytes from {at} on differ", chunk.len());
            left = left.saturating_sub(chunk.len());
            at += chunk.len();
        }
        write.join().unwrap()
    });
    assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "the stream ends after the echo");
    chunks
}

/// Sends datagrams of any length, a few at a time, and compares each answer with its datagram.
fn feed_datagrams(
    send: impl Fn(&[u8]),
    receive: impl Fn(&mut [u8]) -> usize,
    mut random: Random,
    bytes: usize,
) -> usize {
    let mut buf = vec![0; DATAGRAM_BYTES_MAX + 1];
    let (mut datagrams, mut left) = (0, bytes);
    while left > 0 {
        let (mut window, mut window_bytes) = (Vec::new(), 0);
        for _ in 0..=random.below(WINDOW_MAX) {
            let length = random.length(DATAGRAM_BYTES_MAX);
            if window_bytes + length <= WINDOW_BYTES_MAX {
                window_bytes += length;
                window.push(random.bytes(length));
            }
        }
        window.iter().for_each(|datagram| send(datagram));
        for datagram in &window {
            let count = receive(&mut buf);
            assert!(buf[..count] == *datagram, "{count} bytes for {}", datagram.len());
        }
        datagrams += window.len();
        left = left.saturating_sub(window_bytes);
    }
    datagrams
}

/// Prints counts for the script that runs these tests with many bytes.
fn print_counts(what: &str, cases: usize, bytes: usize) {
    println!("\n{what}: {cases} cases, {} MiB", bytes >> 20);
}

fn assert_unharmed(daemon: Daemon) {
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// cases P6 S15
#[test]
fn random_bytes_on_streams_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unix = format!("unix:{}", path.display());
    let daemon = Daemon::start(&["tcp://127.0.0.1:0", &unix]);
    let bytes = share_bytes(20);

    let tcp = TcpStream::connect(daemon.addr(0)).unwrap();
    tcp.set_read_timeout(Some(WAIT_MAX)).unwrap();
    tcp.set_write_timeout(Some(WAIT_MAX)).unwrap();
    let shut_down = |stream: &TcpStream| stream.shutdown(Shutdown::Write).unwrap();
    let mut chunks = feed_stream(tcp.try_clone().unwrap(), tcp, shut_down, Random::new(1), bytes);

    let unix = UnixStream::connect(&path).unwrap();
    unix.set_read_timeout(Some(WAIT_MAX)).unwrap();
    unix.set_write_timeout(Some(WAIT_MAX)).unwrap();
    let shut_down = |stream: &UnixStream| stream.shutdown(Shutdown::Write).unwrap();
    chunks += feed_stream(unix.try_clone().unwrap(), unix, shut_down, Random::new(2), bytes);
    assert_unharmed(daemon);
    print_counts("streams", chunks, 2 * bytes);
}

/// cases P6 U1 U2
#[test]
fn random_datagrams_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let unixgram = format!("unixgram:{}", path.display());
    let daemon = Daemon::start(&["udp://127.0.0.1:0", &unixgram]);
    let bytes = share_bytes(20);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(daemon.addr(0)).unwrap();
    udp.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let send = |datagram: &[u8]| assert_eq!(udp.send(datagram).unwrap(), datagram.len());
    let mut datagrams = feed_datagrams(send, |buf| udp.recv(buf).unwrap(), Random::new(3), bytes);

    let unix = UnixDatagram::bind(folder.path().join("client")).unwrap();
    unix.connect(&path).unwrap();
    unix.set_read_timeout(Some(WAIT_MAX)).unwrap();
    unix.set_write_timeout(Some(WAIT_MAX)).unwrap();
    let send = |datagram: &[u8]| assert_eq!(unix.send(datagram).unwrap(), datagram.len());
    datagrams += feed_datagrams(send, |buf| unix.recv(buf).unwrap(), Random::new(4), bytes);
    assert_unharmed(daemon);
    print_counts("datagrams", datagrams, 2 * bytes);
}

/// case P6: many long arguments at once. `bad_input` has one at every place.
#[test]
fn random_arguments_are_refused_in_one_short_line() {
    let mut random = Random::new(5);
    let (mut runs, mut left) = (0, share_bytes(20));
    let bytes = left;
    while left > 0 {
        let mut command = resound();
        command.args(["serve", "bench", "ping", "send"].get(random.below(5)));
        for _ in 0..=random.below(10) {
            let length = 1 + random.length(ARGUMENT_BYTES_MAX);
            let mut argument = random.bytes(length);
            // An argument ends at a zero byte. Every second argument is text.
            let is_text = random.below(2) == 0;
            argument.retain(|byte| *byte != 0);
            argument.iter_mut().filter(|_| is_text).for_each(|byte| *byte = *byte & 0x7f | 1);
            // A short text that begins like an endpoint of this kind is a valid one.
            let prefix = ["", "tcp://", "udp://[", "-", "--", "p99<"][random.below(6)];
            argument.splice(..0, prefix.bytes());
            left = left.saturating_sub(argument.len());
            command.arg(OsString::from_vec(argument));
        }
        // Random letters may form a flag, but not a command line that starts a server.
        command.arg("--frobnicate");
        let ended = run(command);
        runs += 1;
        let Some(line) = ended.stderr.strip_prefix("resound: ") else {
            // The flag may be that of the help or of the version.
            assert!(ended.code() == 0 && ended.stderr.is_empty(), "{:?}", ended.stderr);
            continue;
        };
        assert_eq!(ended.code(), 2, "{line}");
        assert!(line.ends_with("--help'\n") && line.len() <= 2_500, "{line:?}");
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
    }
    print_counts("arguments", runs, bytes);
}
