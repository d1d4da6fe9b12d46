//! Chaos: the built program, all its transports and peers that do to it all that peers do, at once,
//! for a set time; every echoed byte is checked, and everything that was taken is given back.
//!
//! By default a short run for each of the server's paths. `RESOUND_CHAOS_SECONDS`,
//! `RESOUND_CHAOS_SEED` and `RESOUND_CHAOS_FLAGS` (flags of `resound serve`) make one run of it,
//! which `scripts/soak.sh` does for long. Choices follow from the seed; what they meet does not.

// Helpers are shared among the files of this crate; a failed unwrap is a failed test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

mod datagrams;
mod deaf;
mod exhaustion;
mod flood;
mod pattern;
mod report;
mod silence;
mod streams;
#[path = "../it/support/mod.rs"]
mod support;
mod watch;
mod world;

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use self::datagrams::Asker;
use self::report::Outcome;
use self::support::{Process, python, wait_until};
use self::watch::{Looks, Open};
use self::world::{Excused, Plan, World, udp_drops};

const DEFAULT_SEED: u64 = 7007;

/// What `cargo test` has time for, once for each path.
const SHORT: Duration = Duration::from_secs(2);

/// Every path of the server: with the fast ones and without, asleep and awake, alone and not.
const PATHS: [&str; 4] = ["", "--no-splice --no-offload", "--spin 1ms", "--threads 2"];

/// Scenes of those who come and go, as often as they stand here.
const MIX: [Scene; 16] = [
    streams::chat,
    streams::chat,
    streams::chat,
    streams::chat,
    streams::chat,
    streams::chat,
    streams::transfer,
    streams::transfer,
    streams::reset,
    streams::reset,
    streams::reset,
    streams::urgent,
    exhaustion::storm,
    datagrams::gone,
    datagrams::unnamed,
    datagrams::unix,
];

type Scene = fn(&World, &mut fastrand::Rng) -> Result<(), Excused>;

fn mixed(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    MIX[rng.usize(..MIX.len())](world, rng)
}

/// The limits of the server are reached now and then, not all the time.
fn exhausted(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    thread::sleep(Duration::from_millis(rng.u64(..400)));
    let scene = if rng.bool() { exhaustion::connection_limit } else { exhaustion::no_descriptors };
    scene(world, rng)
}

/// Who is there all the time, each on a thread of its own.
const ACTORS: [Scene; 10] = [
    mixed,
    mixed,
    mixed,
    streams::transfer,
    silence::stall,
    silence::idle,
    exhausted,
    datagrams::udp,
    datagrams::udp,
    datagrams::deaf,
];

/// cases A1 A3 A5 A8 L5 S1 S2 S3 S4 S5 S6 S9 S10 S13 S15 S16 U1 U2 U5 U8 U13 U15 U16 X1 X3 X4 P1,
/// all at once.
#[test]
fn every_byte_comes_back_right_whatever_the_peers_do() {
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("RESOUND_CHAOS_SEED").unwrap_or(DEFAULT_SEED);
    let seconds = number("RESOUND_CHAOS_SECONDS").map(Duration::from_secs);
    let flags = variable("RESOUND_CHAOS_FLAGS");
    let plan = |seed, duration, flags: &str| {
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        Plan { seed, duration, flags }
    };
    match (seconds, flags) {
        (None, None) => {
            for (number, flags) in (0..).zip(PATHS) {
                run(plan(seed + number, SHORT, flags));
            }
        }
        (seconds, flags) => {
            run(plan(seed, seconds.unwrap_or(4 * SHORT), &flags.unwrap_or_default()));
        }
    }
}

fn run(plan: Plan) {
    let mut world = World::start(plan);
    let before = Open::by(&world);
    if world.plan.tells_of_memory() {
        datagrams::fill_batches(&world);
    }
    world.begin();
    let trains = start_trains(&world);
    let (tcp, udp, looks) = thread::scope(|scope| {
        let world = &world;
        let tcp = scope.spawn(|| watch::ping_tcp(world));
        let udp = scope.spawn(|| watch::ping_udp(world));
        let looks = scope.spawn(|| Looks::take(world));
        for (actor, scene) in (0..).zip(ACTORS) {
            scope.spawn(move || world.play(actor, scene));
        }
        (tcp.join().unwrap(), udp.join().unwrap(), looks.join().unwrap())
    });
    let script = trains.map(end_of_trains);
    let after = before.wait_for_return(&world);
    let server_drops = wait_for_overflow_count(&world);
    let resident_kib = looks.resident_kib_by_quarter(&world);
    let plan = world.plan.clone();
    let (ended, tally) = world.stop();
    let descriptors_max = looks.descriptors_max;
    let mut outcome = Outcome {
        plan,
        tally,
        tcp,
        udp,
        resident_kib,
        descriptors_max,
        before,
        after,
        server_drops,
        script,
        ended,
    };
    outcome.print();
    outcome.check();
}

/// Trains come from a script: the standard library has no name for them.
fn start_trains(world: &World) -> Option<Process> {
    if world.plan.flags.iter().any(|flag| flag == "--no-offload") {
        return None;
    }
    let mut script = python("chaos_trains.py");
    let (ip, port) = (world.udp.ip().to_string(), world.udp.port().to_string());
    script.args([ip, port, world.plan.seed.to_string()]);
    Some(Process::start_with_stdin(script, Stdio::piped()))
}

fn end_of_trains(mut script: Process) -> [u64; 3] {
    drop(script.stdin());
    let ended = script.wait();
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let said = ended.stdout_text();
    let mut numbers = said.split_whitespace().skip(1).step_by(2).map(|n| n.parse().unwrap());
    [(); 3].map(|()| numbers.next().expect("datagrams N lost N trains N"))
}

/// The system tells the server of a loss with the next datagram of that socket: it is asked until
/// its count is the kernel's.
fn wait_for_overflow_count(world: &World) -> u64 {
    let drops = udp_drops(world.udp, world.loops());
    wait_until(&format!("{drops} lost datagrams to be counted"), || {
        // From a socket of its own: another loop's, perhaps.
        let mut asker = Asker::udp(world);
        asker.send(16);
        assert!(asker.settle(), "nobody else is there");
        let counted: u64 = world.counted("overflowed");
        counted == drops
    });
    drops
}
