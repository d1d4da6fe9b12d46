//! Peers that are silent for too long, and one that is not: stalled and idle ones.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use crate::streams::{Kind, Peer};
use crate::support::WAIT_MAX;
use crate::world::{Excused, IDLE_TIMEOUT, STALL_TIMEOUT, World};

/// The peers of one scene. One of them reads in time.
const PEERS: usize = 4;

/// Plays peers that send until the server takes no more, and do not read.
pub fn stall(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        peers.push(Peer::connect(world, Kind::choose(rng), rng)?);
    }
    // The peer that reads comes last, because its pause must not include the starting of the
    // others.
    let mut outcome = Ok(());
    for peer in &peers {
        outcome = send_until_stuck(peer, rng);
    }
    let survivor = peers.pop().unwrap();
    if outcome.is_ok() {
        survivor.link.set_timeouts(WAIT_MAX);
        survivor.link.socket().set_nonblocking(false).unwrap();
        thread::sleep((STALL_TIMEOUT / 8).mul_f64(rng.f64()));
        outcome = survivor.half_close(rng);
        world.tally.stalls_survived.add(u64::from(outcome.is_ok()));
    }
    drop(survivor);

    let deadline = Instant::now() + WAIT_MAX;
    for peer in peers {
        let end = loop {
            // On a busy machine it may have seemed stuck too early.
            match peer.try_send(64 << 10) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => break error,
                Ok(_) => {}
            }
            assert!(Instant::now() < deadline, "a peer that does not read is not ended");
            thread::sleep(Duration::from_millis(10));
        };
        let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(expected.contains(&end.kind()), "{end}");
        world.tally.stalls_ended.add(1);
    }
    outcome
}

/// Sends until the server takes no more. On a busy machine this may take so long that the server
/// ends the peer.
fn send_until_stuck(peer: &Peer<'_>, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    peer.link.socket().set_nonblocking(true).unwrap();
    let mut refusals = 0;
    while refusals < 3 {
        match peer.try_send(rng.usize(1..=256 << 10)) {
            Ok(_) => refusals = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                // The server may still take the bytes that are on their way.
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(peer.excuse_unread("send", &error)),
        }
    }
    Ok(())
}

/// Plays peers that send nothing for the idle timeout, which the server closes by FIN.
pub fn idle(world: &World, rng: &mut fastrand::Rng) -> Result<(), Excused> {
    if world.started_at.elapsed() + 2 * IDLE_TIMEOUT > world.plan.duration {
        // It is too late, because the scene would prolong the run.
        thread::sleep(Duration::from_millis(20));
        return Ok(());
    }
    let peer = Peer::connect(world, Kind::choose(rng), rng)?;
    let begun = Instant::now();
    let end = peer.try_receive(&mut [0; 16]).expect("FIN");
    assert_eq!(end, 0, "nothing was sent");
    // The server measures from when it moved the last byte, which is before the peer received it.
    assert!(begun.elapsed() > IDLE_TIMEOUT / 2, "closed after {:?}", begun.elapsed());
    world.tally.idle_ended.add(1);
    Ok(())
}
