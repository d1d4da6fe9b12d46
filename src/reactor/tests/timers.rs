//! Tests of the timers of sources and of the handler. They check whether, how often and for which
//! source a timer fires, not how punctual it is, because that depends on the machine.

use super::*;

/// Returns a slice that reads everything and records the name of its source.
fn recording(
    ran: &mut Vec<usize>,
) -> impl FnMut(&mut End, &mut Readiness, &mut SourceContext<'_, End>) -> Next {
    |end, readiness, _| {
        ran.push(end.name);
        end.drain(readiness);
        Next::Wait
    }
}

#[test]
fn a_timer_ends_the_sleep_of_the_loop_and_wakes_its_source_once() {
    let (end, _far) = End::pair(1);
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    // Later than the first turn, also on a busy machine.
    let at = Instant::now() + Duration::from_millis(500);
    reactor.wake_at(key, at);
    let mut ran = Vec::new();
    let mut script = Script::new(recording(&mut ran));
    // The first turn does not sleep, the second sleeps until the timer. No event comes.
    turn(&mut reactor, &mut script);
    assert!(reactor.next_timeout().is_some_and(|timeout| timeout <= at - reactor.core.now));
    turn(&mut reactor, &mut script);
    assert!(reactor.core.now >= at, "the loop slept until then");
    assert_eq!(reactor.next_timeout(), None);
    drop(script);
    assert_eq!(ran, [1]);
    assert_eq!(reactor.counts().events, 0);
}

/// Spends the time until a timer is due, which the slice sets for its own source.
fn run_until_own_timer(context: &mut SourceContext<'_, End>) {
    let at = context.now() + Duration::from_millis(20);
    context.wake_at(context.key(), at);
    while Instant::now() < at {
        thread::yield_now();
    }
}

/// Otherwise the timer would be late by the length of the slices.
#[test]
fn the_loop_does_not_sleep_for_the_time_that_its_slices_have_used() {
    let (first, _far_first) = End::ready(1);
    let (second, _far_second) = End::ready(2);
    let mut reactor = reactor().with_probe(Seen::default());
    reactor.insert(first).unwrap();
    reactor.insert(second).unwrap();
    let mut slices = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        end.drain(readiness);
        slices += 1;
        match slices {
            1 => run_until_own_timer(context),
            2 => {}
            _ => context.stop(),
        }
        Next::Wait
    });
    reactor.run(&mut script).unwrap();
    drop(script);
    assert_eq!((slices, &*reactor.probe.timeouts), (3, &[Some(Duration::ZERO); 2][..]));
}

/// The caller may have done anything since the last turn.
#[test]
fn a_turn_of_another_loop_sleeps_from_its_own_beginning() {
    let (end, _far) = End::ready(1);
    let mut reactor = reactor().with_probe(Seen::default());
    reactor.insert(end).unwrap();
    let mut slices = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        end.drain(readiness);
        slices += 1;
        if slices == 1 {
            run_until_own_timer(context);
        }
        Next::Wait
    });
    for _ in 0..2 {
        reactor.turn(&mut script).unwrap();
    }
    drop(script);
    assert_eq!((slices, &*reactor.probe.timeouts), (2, &[Some(Duration::ZERO); 2][..]));
}

/// case L9
#[test]
fn a_timer_that_is_set_again_fires_once_at_the_later_or_the_earlier_time() {
    let (end, _far) = End::pair(1);
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    let now = Instant::now();
    let mut ran = Vec::new();
    let mut script = Script::new(recording(&mut ran));
    // Due already, then postponed before a turn could see it.
    reactor.wake_at(key, now);
    reactor.wake_at(key, now + WAIT_MAX);
    turn(&mut reactor, &mut script);
    assert!(reactor.next_timeout().is_some_and(|timeout| timeout > Duration::ZERO));
    // Brought forward, twice to the same time.
    reactor.wake_at(key, now);
    reactor.wake_at(key, now);
    for _ in 0..3 {
        reactor.turn_timeout(&mut script, Duration::ZERO).unwrap();
    }
    drop(script);
    assert_eq!(ran, [1]);
}

/// case L9: the timer gives the next tenant of the slot no slice.
#[test]
fn a_timer_of_a_closed_source_does_not_wake_the_next_tenant_of_its_slot() {
    let (gone, _far_gone) = End::ready(1);
    let (tenant, _far_tenant) = End::pair(2);
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, _, context| {
        ran.push(end.name);
        context.wake_at(context.key(), context.now());
        Next::Close
    });
    script.successors.push(tenant);
    let mut reactor = reactor();
    let gone = reactor.insert(gone).unwrap();
    turn(&mut reactor, &mut script);
    let (tenant, _) = reactor.sources().iter().next().unwrap();
    assert_eq!(tenant.index(), gone.index(), "the slot is reused");
    assert!(!reactor.has_timer());
    reactor.wake_at(gone, Instant::now());
    for _ in 0..3 {
        reactor.turn_timeout(&mut script, Duration::ZERO).unwrap();
    }
    drop(script);
    assert_eq!(ran, [1]);
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    let (end, _far) = End::pair(1);
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    reactor.wake_at(key, Instant::now());
    reactor.set_timer(Instant::now());
    reactor.core.context().cancel_wake(key);
    reactor.core.context().cancel_timer();
    let mut script = Script::new(|_: &mut End, _: &mut Readiness, _| panic!("nothing is due"));
    turn(&mut reactor, &mut script);
    assert_eq!((script.timers, reactor.next_timeout()), (0, None));
}

/// case L8
#[test]
fn timers_that_are_long_overdue_wake_each_source_once_in_one_turn() {
    const SOURCES: usize = 20;
    let mut reactor = reactor();
    let (mut fars, mut ran) = (Vec::new(), Vec::new());
    let now = Instant::now();
    for name in 0..SOURCES {
        let (end, far) = End::pair(name);
        let key = reactor.insert(end).unwrap();
        reactor.wake_at(key, now - Duration::from_millis(name as u64));
        fars.push(far);
    }
    let mut script = Script::new(recording(&mut ran));
    reactor.set_timer(now);
    for _ in 0..3 {
        reactor.turn_timeout(&mut script, Duration::ZERO).unwrap();
    }
    assert_eq!(script.timers, 1);
    drop(script);
    let latest_first: Vec<usize> = (0..SOURCES).rev().collect();
    assert_eq!(ran, latest_first, "in the order of their times");
}

#[test]
fn a_timer_that_a_slice_sets_to_now_fires_in_the_next_turn_and_lets_the_others_run() {
    let (busy, _far_busy) = End::ready(1);
    let (other, _far_other) = End::ready(2);
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        ran.push(end.name);
        end.drain(readiness);
        if end.name == 1 {
            context.wake_at(context.key(), context.now());
        }
        Next::Wait
    });
    let mut reactor = reactor();
    reactor.insert(busy).unwrap();
    reactor.insert(other).unwrap();
    (0..3).for_each(|_| turn(&mut reactor, &mut script));
    drop(script);
    assert_eq!(ran.iter().filter(|name| **name == 1).count(), 3);
    assert_eq!(ran.iter().filter(|name| **name == 2).count(), 1);
}

#[test]
fn setting_a_timer_again_does_not_allocate() {
    let mut reactor = reactor();
    let (mut fars, mut keys) = (Vec::new(), Vec::new());
    for name in 0..10 {
        let (end, far) = End::pair(name);
        keys.push(reactor.insert(end).unwrap());
        fars.push(far);
    }
    let now = Instant::now();
    let mut set_all = |offset| {
        let at = now + Duration::from_nanos(offset);
        keys.iter().for_each(|key| reactor.wake_at(*key, at));
    };
    set_all(0);
    let allocations = allocation_counter::measure(|| (0..100).for_each(&mut set_all));
    assert_eq!(allocations.count_total, 0);
}
