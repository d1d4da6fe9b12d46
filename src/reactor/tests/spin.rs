//! Polling without sleeping. A reactor that sleeps where it should not never ends its turn: no
//! event comes, and no deadline is near.

use super::*;

const TURNS: u64 = 100;

fn never(_: &mut End, _: &mut Readiness, _: &mut Context<'_, End>) -> Next {
    panic!("nothing is ready")
}

/// A reactor that waits for an event which does not come; the far end is kept open.
fn waiting(spin: Spin) -> (Reactor<End>, UnixStream) {
    let (end, far) = End::pair(1);
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    reactor.set_spin(spin);
    (reactor, far)
}

#[test]
fn a_reactor_that_always_spins_never_sleeps() {
    let (mut reactor, _far) = waiting(Spin::Always);
    let mut script = Script::new(never);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!(reactor.counts(), LoopCounts { turns: TURNS, ..LoopCounts::default() });
    assert_eq!(script.ticks as u64, TURNS);
}

#[test]
fn a_reactor_that_spins_for_a_time_does_not_sleep_before_it_is_over() {
    let (mut reactor, _far) = waiting(Spin::For(10 * WAIT_MAX));
    let mut script = Script::new(never);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!(reactor.counts().turns, TURNS);
}

#[test]
fn a_reactor_that_spins_for_a_time_sleeps_after_it_until_the_deadline_as_ever() {
    let (mut reactor, _far) = waiting(Spin::For(Duration::from_millis(1)));
    let mut script = Script::new(never);
    let deadline = Instant::now() + Duration::from_millis(30);
    script.deadlines = vec![deadline; 2];
    turn(&mut reactor, &mut script);
    // As if that long ago.
    reactor.event_at = reactor.now.checked_sub(Duration::from_millis(1)).unwrap();
    turn(&mut reactor, &mut script);
    assert!(reactor.now >= deadline, "it has slept");
}

#[test]
fn an_event_begins_the_time_of_spinning_anew() {
    let (mut reactor, far) = waiting(Spin::For(10 * WAIT_MAX));
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        end.drain(readiness);
        Next::Wait
    });
    reactor.event_at = reactor.now.checked_sub(10 * WAIT_MAX).unwrap_or(reactor.now);
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    assert_eq!(reactor.event_at, reactor.now);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!((reactor.counts().turns, reactor.counts().events), (TURNS + 1, 1));
}

#[test]
fn a_reactor_that_spins_does_not_call_before_there_is_something_to_do() {
    let (mut reactor, far) = waiting(Spin::Always);
    let mut slices = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        slices += 1;
        end.drain(readiness);
        Next::Wait
    });
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    (&far).write_all(b"x").unwrap();
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    drop(script);
    assert_eq!((slices, reactor.counts().slices), (1, 1));
}
