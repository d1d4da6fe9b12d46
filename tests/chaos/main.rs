//! Chaos: the built program serves peers on all transports that do everything that peers do, at the
//! same time, for a set time. The test checks every echoed byte, and that the server releases all
//! that it took.
//!
//! By default this is a short run for each of the server's paths. `RESOUND_CHAOS_SECONDS`,
//! `RESOUND_CHAOS_SEED` and `RESOUND_CHAOS_FLAGS` (flags of `resound serve`) make it one run;
//! `scripts/soak.sh` does this for long runs. The choices follow from the seed; their timing does
//! not.

// Helpers are shared among the files of this crate. A failed unwrap is a failed test.
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

/// A time that suits `cargo test`, once for each path.
const SHORT: Duration = Duration::from_secs(2);

/// The paths of the server: with and without the fast paths, sleeping and spinning, one loop and
/// several.
const PATHS: [&str; 4] = ["", "--no-splice --no-offload", "--spin 1ms", "--threads 2"];

/// The scenes of peers that connect and leave. The number of entries is the frequency.
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

/// Reaches the limits of the server from time to time.
fn exhausted(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    thread::sleep(Duration::from_millis(rng.u64(..400)));
    let scene = if rng.bool() { exhaustion::connection_limit } else { exhaustion::no_descriptors };
    scene(world, rng)
}

/// The actors that run all the time, each on its own thread.
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
fn every_byte_comes_back_unchanged_whatever_the_peers_do() {
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
    if world.plan.is_long_enough_for_memory() {
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

/// Starts a script that sends trains, because the standard library has no API for them.
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
    let printed = ended.stdout_text();
    let mut numbers = printed.split_whitespace().skip(1).step_by(2).map(|n| n.parse().unwrap());
    [(); 3].map(|()| numbers.next().expect("datagrams N lost N trains N"))
}

/// Waits until the server's count of lost datagrams equals the kernel's. The kernel reports a loss
/// with the next datagram of that socket, so this sends some.
fn wait_for_overflow_count(world: &World) -> u64 {
    let drops = udp_drops(world.udp, world.loops());
    wait_until(&format!("{drops} lost datagrams to be counted"), || {
        // A new socket each time, which may reach another loop.
        let mut asker = Asker::udp(world);
        asker.send(16);
        assert!(asker.settle(), "no other thread uses the world");
        let counted: u64 = world.counted("overflowed");
        counted == drops
    });
    drops
}
