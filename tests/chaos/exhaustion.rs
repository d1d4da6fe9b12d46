//! More connections than the server may have, at once or for long, and descriptors taken away.

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::streams::{Kind, Peer};
use crate::support::WAIT_MAX;
use crate::world::{
    Excused, SERVER_DESCRIPTORS, World, descriptors, is_socket_file, set_descriptor_limit,
};

/// Connections of a storm.
const STORM_MAX: usize = 300;

/// Beyond the limit: so many wait.
const WAITING: usize = 40;

/// Hundreds of connects at once: some leave at once, some never send, the others are served.
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
    // Each leaves when it is served: those behind may be waiting for its place.
    for peer in served {
        peer.receive_all()?;
    }
    world.tally.storms.add(1);
    Ok(())
}

/// More connections than there are places, held for a while; whoever waits is served when others
/// leave, with no new connect.
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

/// No descriptor left in the process, for real: its limit is lowered to what it has open, or far
/// below, and raised again. Each client is served then, or was told at once by a close.
pub fn no_descriptors(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    // Nobody else connects meanwhile.
    let _gate = world.close_gate();
    let pid = world.pid();
    let hard = getrlimit(Resource::Nofile).maximum.map(|_| SERVER_DESCRIPTORS);
    let lowest = 4;
    let targets = descriptors(pid);
    let open = targets.len() as u64;
    let soft = if rng.u8(..3) == 0 { lowest } else { open + rng.u64(..8) };
    let soft = soft.min(SERVER_DESCRIPTORS);
    // The limit is on numbers: for each descriptor above it a number below it is free. The server
    // also closes the socket files of senders when it has no other descriptor left.
    let is_free = |(number, target): &&(u64, String)| *number >= soft || is_socket_file(target);
    let free = targets.iter().filter(is_free).count();
    set_descriptor_limit(pid, soft, hard);
    let mut clients = Vec::new();
    for _ in 0..rng.usize(20..60) + free {
        let peer = Peer::open(world, Kind::choose(rng));
        // One that was told already has nobody to send to.
        let _ = peer.try_send(rng.usize(1..100));
        clients.push(peer);
    }
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
