//! The state that all actors share: the server, the time, the seed, and the counts.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::support::{Counters, Daemon, Ended, resound, wait_until};

/// The descriptor limit of the server, so low that a storm of connects reaches it.
pub const SERVER_DESCRIPTORS: u64 = 300;

/// Short enough for stalls to end within a run of seconds. The pauses of peers that read in time
/// are far shorter.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than any pause of a peer that must be served.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How to run the server, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub duration: Duration,
    pub flags: Vec<String>,
}

/// A shorter run says nothing about memory, because the server's buffers are still growing.
const MEMORY_DURATION_MIN: Duration = Duration::from_secs(120);

impl Plan {
    /// Returns true if the run is long enough to compare the memory at its beginning and its end.
    pub fn is_long_enough_for_memory(&self) -> bool {
        self.duration >= MEMORY_DURATION_MIN
    }
}

macro_rules! tally {
    ($($name:ident $words:literal)*) => {
        /// The counts of what the actors have done.
        #[derive(Debug, Default)]
        pub struct Tally { $(pub $name: Count,)* }

        impl Tally {
            /// Returns each count with its description.
            pub fn lines(&self) -> Vec<(&'static str, u64)> {
                vec![$(($words, self.$name.get()),)*]
            }
        }
    };
}

tally! {
    connections "connections made"
    bytes "bytes checked on streams"
    bulk "transfers of a MiB and more"
    half_closes "half-closes"
    resets "resets made"
    closed_unread "closed with unread input"
    urgent "out-of-band bytes"
    stalls_ended "stalls made and ended"
    stalls_survived "stalls that read on in time"
    idle_ended "idle peers reaped"
    storms "connect storms"
    limits "connection limits reached"
    no_descriptors "times without descriptors"
    shed_seen "clients shed"
    excused "excused: a thread of the test paused too long"
    datagrams "datagrams checked"
    lost "datagrams lost to full buffers"
    client_drops "of these, in the receive buffers of the test"
    unnamed "datagrams without a sender's name"
    deaf "datagram receivers that do not read"
    gone "senders gone before their answer"
}

#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The server ended a peer rightly, because the peer's own thread paused too long.
#[derive(Debug)]
pub struct Excused;

#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub daemon: Daemon,
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    pub unix: PathBuf,
    pub unixgram: PathBuf,
    pub folder: tempfile::TempDir,
    pub started_at: Instant,
    pub tally: Tally,
    /// Held for reading from a connect to its first echo. A thread that takes away the server's
    /// last descriptors holds it for writing, so that no client that must be served is shed.
    gate: RwLock<()>,
    numbers: AtomicU64,
    failed: AtomicBool,
}

impl World {
    /// Starts the server. The run begins with [`begin`](World::begin).
    pub fn start(plan: Plan) -> World {
        raise_own_limit();
        let folder = tempfile::tempdir().unwrap();
        let (unix, unixgram) = (folder.path().join("stream"), folder.path().join("datagram"));
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {SERVER_DESCRIPTORS} && exec \"$0\" serve \"$@\"");
        command.args(["-c", &script]).arg(resound().get_program());
        command.args(["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]);
        command.arg(format!("unix:{}", unix.display()));
        command.arg(format!("unixgram:{}", unixgram.display()));
        command.arg("--stall-timeout").arg(format!("{}ms", STALL_TIMEOUT.as_millis()));
        command.arg("--idle-timeout").arg(format!("{}ms", IDLE_TIMEOUT.as_millis()));
        command.args(&plan.flags).env_remove("RUST_LOG");
        let daemon = Daemon::start_command(command);
        World {
            tcp: daemon.addr(0),
            udp: daemon.addr(1),
            daemon,
            unix,
            unixgram,
            folder,
            plan,
            started_at: Instant::now(),
            tally: Tally::default(),
            gate: RwLock::new(()),
            numbers: AtomicU64::new(1),
            failed: AtomicBool::new(false),
        }
    }

    pub fn begin(&mut self) {
        self.started_at = Instant::now();
    }

    pub fn is_over(&self) -> bool {
        self.started_at.elapsed() >= self.plan.duration || self.failed.load(Ordering::Relaxed)
    }

    /// Returns the number of the server's loops.
    pub fn loops(&self) -> u64 {
        let mut flags = self.plan.flags.iter();
        let given = flags.find(|flag| *flag == "--threads").and_then(|_| flags.next());
        given.map_or(1, |count| count.parse().unwrap())
    }

    /// Returns a number that no other stream or socket has.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn pid(&self) -> Pid {
        self.daemon.process.pid()
    }

    pub fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn close_gate(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection limit from the server's log.
    pub fn connections_max(&self) -> usize {
        let log = self.daemon.process.stderr_text();
        let (_, rest) = log.split_once("at most ").expect("the log contains the limit");
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// Plays a scene repeatedly until the time is over, with random choices of its own.
    pub fn play(
        &self,
        actor: u64,
        scene: impl Fn(&World, &mut fastrand::Rng) -> Result<(), Excused>,
    ) {
        let _guard = OnPanic(self);
        let seed = self.plan.seed.wrapping_mul(1_000_003).wrapping_add(actor);
        let mut rng = fastrand::Rng::with_seed(seed);
        while !self.is_over() {
            if scene(self, &mut rng).is_err() {
                self.tally.excused.add(1);
            }
        }
    }

    /// Returns a guard that ends the other threads if this one panics.
    pub fn guard(&self) -> OnPanic<'_> {
        OnPanic(self)
    }

    /// Returns the server's count of this name so far, summed over all loops.
    pub fn counted(&self, name: &str) -> u64 {
        if self.loops() == 1 {
            return self.daemon.counters().get(name);
        }
        let lines = || {
            let log = self.daemon.process.stderr_text();
            // The last line may be incomplete.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines = whole.lines().filter(|line| line.starts_with("stats loop="));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (before, loops) = (lines().len(), usize::try_from(self.loops()).unwrap());
        self.daemon.process.signal(Signal::USR1);
        wait_until("the counters of all loops", || lines().len() >= before + loops);
        lines()[before..].iter().map(|line| Counters::last_of(line).get(name)).sum()
    }

    pub fn stop(self) -> (Ended, Tally) {
        (self.daemon.stop(), self.tally)
    }
}

pub struct OnPanic<'a>(&'a World);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// Sleeps briefly, or often not at all.
pub fn pause(rng: &mut fastrand::Rng) {
    if rng.u8(..4) == 0 {
        thread::sleep(Duration::from_micros(rng.u64(..3_000)));
    }
}

/// Raises the descriptor limit of this process, for the clients' ends of the connections.
pub fn raise_own_limit() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: maximum, maximum };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

/// Sets the soft descriptor limit of the server, and returns the previous one.
pub fn set_descriptor_limit(pid: Pid, soft: u64, hard: Option<u64>) {
    let limit = Rlimit { current: Some(soft), maximum: hard };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
}

/// Returns the open descriptors of a process by number, with their targets.
pub fn descriptors(pid: Pid) -> Vec<(u64, String)> {
    let folder = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let of = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        // The descriptor may be closed by now.
        let target = fs::read_link(entry.path()).unwrap_or_default();
        (number, target.to_string_lossy().into_owned())
    };
    folder.map(|entry| of(entry.unwrap())).collect()
}

/// Returns true if a descriptor leads to the socket file of a Unix datagram sender.
pub fn is_socket_file(target: &str) -> bool {
    target.starts_with('/') && !target.starts_with("/dev/")
}

/// Returns the resident KiB of a process.
pub fn resident_kib(pid: Pid) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// Returns the resident KiB that a process has allocated, without the pages of its program, which
/// are loaded when they first run.
pub fn allocated_kib(pid: Pid) -> u64 {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: Pid, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let figure = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    figure.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Returns the number of datagrams that the kernel has dropped because of a full receive buffer, at
/// this number of UDP sockets on IPv4 loopback with this port. The kernel produces the table in
/// parts and may omit a socket while others are opened and closed, so this reads it again until it
/// is complete.
pub fn udp_drops(addr: SocketAddr, sockets: u64) -> u64 {
    let wanted = format!("0100007F:{:04X}", addr.port());
    let mut drops = Vec::new();
    wait_until("the sockets in /proc/net/udp", || {
        let table = fs::read_to_string("/proc/net/udp").unwrap();
        let rows = table.lines().skip(1);
        let matching = rows.filter(|row| row.split_whitespace().nth(1) == Some(&wanted));
        let last = |row: &str| row.split_whitespace().last().unwrap().parse::<u64>().unwrap();
        drops = matching.map(last).collect();
        drops.len() as u64 == sockets
    });
    drops.iter().sum()
}
