//! The observers: a well-behaved peer on TCP and one on UDP, and a thread that records the server's
//! memory and descriptors.

use std::thread;
use std::time::{Duration, Instant};

use crate::datagrams::Asker;
use crate::streams::{Kind, Peer};
use crate::support::wait_until;
use crate::world::{World, descriptors, is_socket_file, resident_kib};

/// The loop must answer within this time, which is far more than a busy machine needs.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The interval between two pings of a peer.
pub const PING_INTERVAL: Duration = Duration::from_millis(10);

/// The interval between two records of the server.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The descriptors of the free pipes that one loop may keep for later bulk.
const PIPE_DESCRIPTORS_MAX: usize = 16;

/// The socket files of Unix datagram senders that a server may hold open after their last reply.
const PATH_DESCRIPTORS_MAX: usize = 64;

/// The durations of the answers, in microseconds.
#[derive(Debug, Default)]
pub struct Pings(Vec<u64>);

impl Pings {
    pub fn note(&mut self, elapsed: Duration) {
        assert!(elapsed < SILENCE_MAX, "silent for {elapsed:?}");
        self.0.push(u64::try_from(elapsed.as_micros()).unwrap());
    }

    /// Returns the number of pings, and in milliseconds the 50th and the 99th percentile and the
    /// longest.
    pub fn summary(&mut self) -> String {
        self.0.sort_unstable();
        if self.0.is_empty() {
            return "none".to_owned();
        }
        let rank = |percent: usize| (self.0.len() * percent).div_ceil(100).max(1);
        let at = |percent: usize| self.0[rank(percent) - 1] as f64 / 1e3;
        format!(
            "{} pings, p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            self.0.len(),
            at(50),
            at(99),
            at(100)
        )
    }
}

/// Sends a message, waits for its echo, and repeats.
pub fn ping_tcp(world: &World) -> Pings {
    let _guard = world.guard();
    let (mut pings, mut rng) = (Pings::default(), fastrand::Rng::with_seed(world.plan.seed));
    let peer = Peer::connect(world, Kind::Tcp, &mut rng).expect("it is the first");
    peer.link.set_timeouts(SILENCE_MAX);
    while !world.is_over() {
        let begun = Instant::now();
        peer.send(rng.usize(1..=64), &mut rng).expect("served within the bound");
        peer.receive_all().expect("served within the bound");
        pings.note(begun.elapsed());
        thread::sleep(PING_INTERVAL);
    }
    pings
}

/// Like [`ping_tcp`], but a ping may meet a full buffer of the server. Then another follows, and
/// the time up to the first answer counts.
pub fn ping_udp(world: &World) -> Pings {
    let _guard = world.guard();
    let (mut pings, mut rng) = (Pings::default(), fastrand::Rng::with_seed(!world.plan.seed));
    let mut asker = Asker::udp(world);
    while !world.is_over() {
        let begun = Instant::now();
        asker.send(rng.usize(16..=64));
        while !asker.receive() {
            pings.note(begun.elapsed());
            pings.0.pop();
            asker.send(rng.usize(16..=64));
        }
        pings.note(begun.elapsed());
        thread::sleep(PING_INTERVAL);
    }
    asker.settle();
    pings
}

/// The server's memory over time, and the largest number of its descriptors.
#[derive(Debug, Default)]
pub struct Looks {
    resident: Vec<(Instant, u64)>,
    pub descriptors_max: usize,
}

impl Looks {
    pub fn take(world: &World) -> Looks {
        let _guard = world.guard();
        let mut looks = Looks::default();
        while !world.is_over() {
            looks.resident.push((Instant::now(), resident_kib(world.pid())));
            looks.descriptors_max = looks.descriptors_max.max(descriptors(world.pid()).len());
            thread::sleep(LOOK_INTERVAL);
        }
        looks
    }

    /// Returns the mean of resident KiB in each quarter of the run, without the first tenth, which
    /// is the warm-up.
    pub fn resident_kib_by_quarter(&self, world: &World) -> [u64; 4] {
        let warm_up = world.plan.duration / 10;
        let quarter = (world.plan.duration - warm_up) / 4;
        let mean = |index: u32| {
            let from = world.started_at + warm_up + quarter * index;
            let within = |at: Instant| at >= from && at < from + quarter;
            let looks = self.resident.iter().filter(|(at, _)| within(*at)).map(|(_, kib)| kib);
            looks.clone().sum::<u64>() / looks.count().max(1) as u64
        };
        [0, 1, 2, 3].map(mean)
    }
}

/// The open descriptors of a server: pipes, socket files of senders, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub pipes: usize,
    pub paths: usize,
    pub others: usize,
}

impl Open {
    pub fn by(world: &World) -> Open {
        let all = descriptors(world.pid());
        let pipes = all.iter().filter(|(_, target)| target.starts_with("pipe:")).count();
        let paths = all.iter().filter(|(_, target)| is_socket_file(target)).count();
        Open { pipes, paths, others: all.len() - pipes - paths }
    }

    /// Waits until the server has only the open descriptors of its start, the free pipes of bulk,
    /// and the socket files of the latest senders. Each loop opens its spare descriptor again with
    /// its next accept.
    pub fn wait_for_return(self, world: &World) -> Open {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut now = self;
        let pipes_max = self.pipes + PIPE_DESCRIPTORS_MAX * usize::try_from(world.loops()).unwrap();
        let paths_max = self.paths + PATH_DESCRIPTORS_MAX;
        wait_until(&format!("what is open beyond {self:?} to be closed"), || {
            for kind in [Kind::Tcp, Kind::Unix] {
                Peer::connect(world, kind, &mut rng).expect("it is served");
            }
            thread::sleep(Duration::from_millis(20));
            now = Open::by(world);
            now.others == self.others && now.pipes <= pipes_max && now.paths <= paths_max
        });
        now
    }
}
