//! Tests of spinning. A reactor that sleeps by mistake never ends its turn, because no event comes
//! and no deadline is near.

use super::*;

const TURNS: u64 = 100;

fn never(_: &mut End, _: &mut Readiness, _: &mut SourceContext<'_, End>) -> Next {
    panic!("nothing is ready")
}

/// Returns a reactor with a source that gets no event, and the source's open far end.
fn waiting(spin: Spin) -> (Reactor<End, u32>, UnixStream) {
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
    assert_eq!(
        reactor.counts(),
        LoopCounts { turns: TURNS, polls: TURNS, ..LoopCounts::default() }
    );
    assert_eq!(script.ticks as u64, TURNS);
}

#[test]
fn a_reactor_that_spins_for_a_time_does_not_sleep_before_the_time_is_over() {
    let (mut reactor, _far) = waiting(Spin::For(10 * WAIT_MAX));
    let mut script = Script::new(never);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!(reactor.counts().turns, TURNS);
}

#[test]
fn a_reactor_that_spins_for_a_time_then_sleeps_until_the_deadline() {
    let (mut reactor, _far) = waiting(Spin::For(Duration::from_millis(1)));
    let mut script = Script::new(never);
    let deadline = Instant::now() + Duration::from_millis(30);
    script.deadlines = vec![deadline; 2];
    turn(&mut reactor, &mut script);
    // Pretends that the last event came that long ago.
    reactor.spinning.event_at = reactor.core.now.checked_sub(Duration::from_millis(1)).unwrap();
    turn(&mut reactor, &mut script);
    assert!(reactor.core.now >= deadline, "it has slept");
}

#[test]
fn an_event_restarts_the_spin_time() {
    let (mut reactor, far) = waiting(Spin::For(10 * WAIT_MAX));
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        end.drain(readiness);
        Next::Wait
    });
    reactor.spinning.event_at =
        reactor.core.now.checked_sub(10 * WAIT_MAX).unwrap_or(reactor.core.now);
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    assert_eq!(reactor.spinning.event_at, reactor.core.now);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!((reactor.counts().turns, reactor.counts().events), (TURNS + 1, 1));
}

#[test]
fn a_spinning_reactor_gives_no_slice_before_an_event() {
    let (mut reactor, _far) = waiting(Spin::Always);
    let mut script = Script::new(never);
    (0..TURNS).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!(reactor.counts().slices, 0);
}

/// Returns a reactor with two sources, and their far ends.
fn two(spin: Spin) -> (Reactor<End, u32>, [UnixStream; 2]) {
    let ((first, far_of_first), (second, far_of_second)) = (End::pair(1), End::pair(2));
    let mut reactor = reactor();
    reactor.insert(first).unwrap();
    reactor.insert(second).unwrap();
    reactor.set_spin(spin);
    (reactor, [far_of_first, far_of_second])
}

#[test]
fn data_of_a_hot_source_is_found_without_a_poll() {
    let (mut reactor, [far, _other]) = two(Spin::Always);
    let mut bytes = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        bytes += end.drain(readiness);
        Next::Wait
    });
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    let before = reactor.counts();
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    let after = reactor.counts();
    assert_eq!((after.polls - before.polls, after.events - before.events), (0, 0));
    assert_eq!(after.slices - before.slices, 1);
    drop(script);
    assert_eq!(bytes, 2);
}

#[test]
fn a_source_that_is_not_hot_waits_for_a_bounded_number_of_turns() {
    let (mut reactor, [far, other]) = two(Spin::Always);
    let mut bytes = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        bytes += end.drain(readiness);
        Next::Wait
    });
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    (&other).write_all(b"y").unwrap();
    (0..=16).for_each(|_| turn(&mut reactor, &mut script));
    drop(script);
    assert_eq!((bytes, reactor.counts().events), (2, 2));
}

#[test]
fn no_poll_is_skipped_with_many_hot_sources_or_without_spinning() {
    for (spin, sources) in [(Spin::Always, 3), (Spin::Never, 1)] {
        let mut reactor = reactor();
        reactor.set_spin(spin);
        let mut fars = Vec::new();
        for number in 0..sources {
            let (end, far) = End::pair(number);
            reactor.insert(end).unwrap();
            (&far).write_all(b"x").unwrap();
            fars.push(far);
        }
        let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
            end.drain(readiness);
            Next::Wait
        });
        script.deadlines = vec![Instant::now(); 10];
        (0..10).for_each(|_| turn(&mut reactor, &mut script));
        let LoopCounts { turns, polls, slices, .. } = reactor.counts();
        assert_eq!((turns, polls, slices), (10, 10, sources as u64), "{spin:?}");
    }
}

#[test]
fn a_hot_source_that_was_closed_is_not_tried() {
    let (mut reactor, [far, _other]) = two(Spin::Always);
    let mut script = Script::new(|_: &mut End, _: &mut Readiness, _| Next::Close);
    (&far).write_all(b"x").unwrap();
    (0..10).for_each(|_| turn(&mut reactor, &mut script));
    assert_eq!((reactor.counts().slices, reactor.sources().len()), (1, 1));
}

#[test]
fn a_spinning_reactor_tries_no_source_after_a_message() {
    let (reactor, _far) = waiting(Spin::Always);
    reactor.handle().send(7).unwrap();
    let mut reactor = reactor.with_probe(Seen::default());
    let mut script = Script::new(never);
    (0..TURNS).for_each(|_| {
        reactor.turn(&mut script).unwrap();
    });
    assert!(reactor.probe.marks.is_empty(), "{:?}", reactor.probe.marks);
    assert_eq!((script.messages.len(), reactor.counts().polls), (1, TURNS));
}
