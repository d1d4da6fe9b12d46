//! More connections than the limit, briefly or for some time, and missing descriptors.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::streams::{Kind, Peer};
use crate::support::{WAIT_MAX, wait_until};
use crate::world::{
    Excused, SERVER_DESCRIPTORS, World, descriptors, is_socket_file, set_descriptor_limit,
};

/// The connections of a storm.
const STORM_MAX: usize = 300;

/// The number of waiting clients beyond the limit.
const WAITING: usize = 40;

/// Makes hundreds of connects at once: some clients close at once, some never send, the others are
/// served.
pub fn storm(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let _gate = world.enter();
    let mut served = Vec::new();
    let mut silent = Vec::new();
    for _ in 0..rng.usize(50..STORM_MAX) {
        let peer = Peer::open(world, Kind::choose(rng));
        match rng.u8(..8) {
            0 => drop(peer),
            1 => {
                peer.link.socket().set_linger(Some(Duration::ZERO)).unwrap();
                drop(peer);
            }
            2 => silent.push(peer),
            _ => {
                peer.send(rng.usize(1..100), rng)?;
                served.push(peer);
            }
        }
    }
    // Each client closes when it is served, because later ones may be waiting for its place.
    for peer in served {
        peer.receive_all()?;
    }
    world.tally.storms.add(1);
    Ok(())
}

/// Holds more connections than places for some time. The waiting clients are served when others
/// close, without another connect.
pub fn connection_limit(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let (mut served, mut waiting) = (VecDeque::new(), Vec::new());
    for _ in 0..world.connections_max() + WAITING {
        let peer = Peer::open(world, Kind::choose(rng));
        peer.send(rng.usize(1..100), rng)?;
        waiting.push(peer);
    }
    let begun = Instant::now();
    let mut is_held = false;
    loop {
        let (ready, others): (Vec<_>, _) = waiting.into_iter().partition(Peer::has_something);
        waiting = others;
        if waiting.is_empty() {
            break;
        }
        let nothing_came = ready.is_empty();
        for peer in ready {
            peer.receive_all()?;
            served.push_back(peer);
        }
        if nothing_came && !is_held {
            is_held = true;
            thread::sleep(Duration::from_millis(rng.u64(20..200)));
        } else if nothing_came && served.pop_front().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(begun.elapsed() < WAIT_MAX, "{} are never served", waiting.len());
    }
    world.tally.limits.add(1);
    Ok(())
}

/// Leaves the server without a descriptor: lowers its limit to the number of open descriptors, or
/// far below, and raises it again. Each client is then served, or was closed at once.
pub fn no_descriptors(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    // No other client connects meanwhile.
    let _gate = world.close_gate();
    let pid = world.pid();
    let hard = getrlimit(Resource::Nofile).maximum.map(|_| SERVER_DESCRIPTORS);
    let lowest = 4;
    let targets = descriptors(pid);
    let open = targets.len() as u64;
    let soft = if rng.u8(..3) == 0 { lowest } else { open + rng.u64(..8) };
    let soft = soft.min(SERVER_DESCRIPTORS);
    // The limit applies to descriptor numbers: for each open descriptor above it, a number below it
    // is free. The server also closes the socket files of senders when it has no other descriptor
    // left.
    let is_free = |(number, target): &&(u64, String)| *number >= soft || is_socket_file(target);
    let free = targets.iter().filter(is_free).count();
    let before = world.counted("accept_no_descriptor");
    set_descriptor_limit(pid, soft, hard);
    let mut clients = Vec::new();
    let mut open_client = |rng: &mut fastrand::Rng| {
        let peer = Peer::open(world, Kind::choose(rng));
        // A client that was closed cannot send.
        let _ = peer.try_send(rng.usize(1..100));
        clients.push(peer);
    };
    for _ in 0..rng.usize(20..60) + free {
        open_client(rng);
    }
    // A busy server accepts late, and connections that end meanwhile free descriptors for more
    // clients.
    wait_until("the server to lack a descriptor", || {
        let is_logged = world.daemon.process.stderr_text().contains("accepting pauses");
        let lacks = is_logged && world.counted("accept_no_descriptor") > before;
        if !lacks {
            open_client(rng);
        }
        lacks
    });
    thread::sleep(Duration::from_millis(rng.u64(150..400)));
    set_descriptor_limit(pid, SERVER_DESCRIPTORS, hard);
    for peer in clients {
        if !peer.is_served() {
            world.tally.shed_seen.add(1);
        }
    }
    world.tally.no_descriptors.add(1);
    Ok(())
}
