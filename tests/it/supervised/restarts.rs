//! Services that follow one another on the same passed sockets: a restart loses nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::passed;
use super::sockets::{addr, ask_stream, listening, unix_client};
use crate::support::{Counters, Process, WAIT_MAX, echo, wait_until};

/// A manager that keeps its sockets and starts the service on them repeatedly.
struct Manager {
    process: Process,
    starts: usize,
}

impl Manager {
    fn new(sockets: &[&str], arguments: &[&str]) -> Manager {
        let command = passed(&[&["--hold"], sockets].concat(), arguments);
        Manager { process: Process::start_with_stdin(command, Stdio::piped()), starts: 0 }
    }

    /// Starts the service, and returns its process and the last `listening` lines.
    #[track_caller]
    fn start(&mut self, endpoints: usize) -> (Pid, Vec<String>) {
        self.starts += 1;
        self.process.stdin_mut().write_all(b"start\n").unwrap();
        let all = listening(&mut self.process, self.starts * endpoints);
        let stdout = self.process.stdout_text();
        let pid = stdout.lines().rev().find_map(|line| line.strip_prefix("pid ")).unwrap();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        (pid, all[(self.starts - 1) * endpoints..].to_vec())
    }

    /// Waits for the end of the last service.
    #[track_caller]
    fn wait_for_end(&self) {
        let ends = || self.process.stdout_text().matches("ended 0\n").count();
        wait_until("the end of the service", || ends() == self.starts);
    }
}

/// case P2: connections and datagrams that arrive while no service runs are not lost.
#[test]
fn the_next_service_on_the_same_sockets_serves_what_was_queued_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let unix = format!("unix={}", path("stream").display());
    let unixgram = format!("unixgram={}", path("packets").display());
    let sockets = ["tcp=127.0.0.1", "udp=127.0.0.1", &unix, &unixgram];
    let mut manager = Manager::new(&sockets, &["--drain-timeout", "10m"]);
    let mut endpoints = Vec::<String>::new();
    for _ in 0..3 {
        let (tcp, udp) = (endpoints.first(), endpoints.get(1));
        let queued = tcp.map(|tcp| queue(addr(tcp), addr(udp.unwrap()), folder.path()));
        let (pid, listening) = manager.start(sockets.len());
        assert!(endpoints.is_empty() || endpoints == listening, "the same as before");
        endpoints = listening;
        queued.into_iter().for_each(|answers| answers());
        let mut open = TcpStream::connect(addr(&endpoints[0])).unwrap();
        open.set_read_timeout(Some(WAIT_MAX)).unwrap();
        echo(&mut open);
        kill_process(pid, Signal::TERM).unwrap();
        // During the drain the peers are served, and the manager keeps the sockets.
        echo(&mut open);
        drop(open);
        manager.wait_for_end();
        assert!(path("stream").exists() && path("packets").exists());
    }
}

/// Sends from clients while no service runs. Returns a function that waits for their answers.
fn queue(tcp: SocketAddr, udp: SocketAddr, folder: &Path) -> impl FnOnce() + use<> {
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.write_all(b"pi").unwrap();
    let mut unix = UnixStream::connect(folder.join("stream")).unwrap();
    unix.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagram.set_read_timeout(Some(WAIT_MAX)).unwrap();
    for message in [b"one", b"two"] {
        datagram.send_to(message, udp).unwrap();
    }
    let packets = unix_client();
    packets.send_to(b"ping", folder.join("packets")).unwrap();
    move || {
        let mut buf = [0; 16];
        stream.write_all(b"ng").unwrap();
        stream.read_exact(&mut buf[..4]).unwrap();
        assert_eq!(&buf[..4], b"ping");
        echo(&mut unix);
        for message in [b"one", b"two"] {
            let length = datagram.recv(&mut buf).unwrap();
            assert_eq!(&buf[..length], message);
        }
        assert_eq!(packets.recv(&mut buf).unwrap(), 4);
    }
}

#[test]
fn one_off_serves_one_queued_client_and_leaves_the_others() {
    let mut manager = Manager::new(&["tcp=127.0.0.1", "udp=127.0.0.1"], &["-1"]);
    let (_, endpoints) = manager.start(2);
    ask_stream(addr(&endpoints[0]));
    manager.wait_for_end();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    for message in [b"1", b"2"] {
        client.send_to(message, addr(&endpoints[1])).unwrap();
    }
    for expected in [b"1", b"2"] {
        manager.start(2);
        let mut buf = [0; 4];
        assert_eq!(client.recv(&mut buf).unwrap(), 1);
        assert_eq!(&buf[..1], expected);
        manager.wait_for_end();
    }
}

const RESTARTS: u64 = 5;

/// How many messages of each kind are served while a peer holds up the drain.
const DURING_DRAIN: u64 = 30;

/// Longer than the buffer of a connection, so that a message is owed in parts.
const STREAM_BYTES: usize = 300_000;

/// Clients that ask until they are told to stop, and fail at the first byte that is missing.
#[derive(Default)]
struct Clients {
    is_over: AtomicBool,
    datagrams: AtomicU64,
    streams: AtomicU64,
    /// Asks for no further connection to be opened.
    pauses: AtomicBool,
    is_paused: AtomicBool,
}

impl Clients {
    /// Sends one datagram after the other, and expects each echo once.
    fn ask_datagrams(&self, to: SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        socket.connect(to).unwrap();
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.datagrams.load(Ordering::Relaxed);
            socket.send(&number.to_be_bytes()).unwrap();
            let mut buf = [0; 9];
            assert_eq!(socket.recv(&mut buf).expect("an echo"), 8, "datagram {number}");
            assert_eq!(buf[..8], number.to_be_bytes());
            self.datagrams.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens one connection after the other, and expects all of its bytes back.
    fn ask_streams(&self, to: SocketAddr) {
        let message: Vec<u8> = (0..=250).cycle().take(STREAM_BYTES).collect();
        while !self.is_over.load(Ordering::Relaxed) {
            self.is_paused.store(self.pauses.load(Ordering::SeqCst), Ordering::SeqCst);
            if self.is_paused.load(Ordering::SeqCst) {
                thread::yield_now();
                continue;
            }
            let mut stream = TcpStream::connect(to).expect("the connection is not refused");
            stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
            thread::scope(|scope| {
                let mut sending = stream.try_clone().unwrap();
                let message = &message;
                scope.spawn(move || {
                    sending.write_all(message).unwrap();
                    sending.shutdown(Shutdown::Write).unwrap();
                });
                let mut echoed = Vec::new();
                stream.read_to_end(&mut echoed).expect("the connection is not reset");
                assert!(echoed == *message, "{} of {STREAM_BYTES} bytes", echoed.len());
            });
            self.streams.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until both kinds of clients have been served further.
    #[track_caller]
    fn wait_for_more(&self, what: &str) {
        let counts = || [&self.datagrams, &self.streams].map(|count| count.load(Ordering::Relaxed));
        let before = counts();
        wait_until(what, || {
            counts().iter().zip(before).all(|(now, before)| *now >= before + DURING_DRAIN)
        });
    }
}

/// cases P1, P2: a peer that stays open holds up the end of the old service, but no other client.
#[test]
fn a_restart_under_load_loses_no_byte_and_refuses_no_connection() {
    let sockets = ["tcp=127.0.0.1", "udp=127.0.0.1"];
    let mut manager = Manager::new(&sockets, &["--drain-timeout", "10m"]);
    let (mut pid, endpoints) = manager.start(sockets.len());
    let (tcp, udp) = (addr(&endpoints[0]), addr(&endpoints[1]));
    let clients = Clients::default();
    // Connections beside those of `ask_streams`.
    let mut others = 0;
    thread::scope(|scope| {
        let _over = Over(&clients);
        scope.spawn(|| clients.ask_datagrams(udp));
        scope.spawn(|| clients.ask_streams(tcp));
        for restart in 1..=RESTARTS {
            let mut holder = TcpStream::connect(tcp).unwrap();
            holder.set_read_timeout(Some(WAIT_MAX)).unwrap();
            echo(&mut holder);
            kill_process(pid, Signal::TERM).unwrap();
            let drains = || manager.process.stderr_text().matches("draining: ").count();
            wait_until("the drain", || drains() as u64 == restart);
            clients.wait_for_more("clients that are served during the drain");
            echo(&mut holder);
            // The drain ends when no connection is open, so the clients leave it such a moment.
            clients.pauses.store(true, Ordering::SeqCst);
            wait_until("the pause", || clients.is_paused.load(Ordering::SeqCst));
            drop(holder);
            manager.wait_for_end();
            let mut queued = TcpStream::connect(tcp).expect("no service runs, but one listens");
            queued.set_read_timeout(Some(WAIT_MAX)).unwrap();
            queued.write_all(b"queued").unwrap();
            clients.pauses.store(false, Ordering::SeqCst);
            pid = manager.start(sockets.len()).0;
            let mut buf = [0; 6];
            queued.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"queued");
            others += 2;
            clients.wait_for_more("clients that the next service serves");
        }
    });
    kill_process(pid, Signal::TERM).unwrap();
    manager.wait_for_end();
    let log = manager.process.stderr_text();
    let lines = log.lines().filter(|line| line.starts_with("stats "));
    let services: Vec<Counters> = lines.map(Counters::last_of).collect();
    assert_eq!(services.len() as u64, RESTARTS + 1, "{log}");
    let sum = |name: &str| services.iter().map(|counters| counters.get(name)).sum::<u64>();
    let (datagrams, streams) = (clients.datagrams.into_inner(), clients.streams.into_inner());
    assert_eq!((sum("udp_messages_in"), sum("udp_messages_out")), (datagrams, datagrams));
    assert_eq!((sum("accepted"), sum("finished")), (streams + others, streams + others));
    let bytes = streams * STREAM_BYTES as u64 + RESTARTS * (4 + 4 + 6);
    assert_eq!((sum("tcp_bytes_in"), sum("tcp_bytes_out")), (bytes, bytes));
}

/// Ends the clients when it is dropped, so that a failed assertion does not leave them running.
struct Over<'a>(&'a Clients);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}
