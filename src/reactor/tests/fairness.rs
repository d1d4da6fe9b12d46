//! Tests of which source gets a slice when, and of when the loop may sleep.

use super::*;

/// case L2: a slice may come with nothing ready, and its read finds nothing.
#[test]
fn a_slice_without_readiness_is_not_an_error() {
    let (idle, _far_idle) = End::pair(1);
    let (busy, _far_busy) = End::ready(2);
    let mut reactor = reactor();
    let idle = reactor.insert(idle).unwrap();
    reactor.insert(busy).unwrap();
    let mut seen = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        if end.name == 2 {
            context.wake(idle);
        } else {
            let error = end.stream.read(&mut [0]).unwrap_err();
            seen.push((*readiness, error.kind()));
            context.stop();
        }
        end.drain(readiness);
        Next::Wait
    });
    reactor.run(&mut script).unwrap();
    assert!(script.fates.is_empty());
    drop(script);
    assert_eq!(seen, [(Readiness::NONE, io::ErrorKind::WouldBlock)]);
    assert_eq!(reactor.sources().len(), 2);
}

/// case L2: a poll that ends at its deadline brings no event.
#[test]
fn a_turn_without_an_event_is_an_ordinary_turn() {
    let (end, _far) = End::pair(1);
    let mut script = Script::new(|_: &mut End, _, _| panic!("nothing is ready"));
    script.deadlines = vec![Instant::now(); 3];
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    for turns in 1..=3 {
        turn(&mut reactor, &mut script);
        assert_eq!((reactor.counts().turns, script.ticks as u64), (turns, turns));
    }
    assert_eq!(reactor.counts().events, 0);
}

/// case L5: no deadline is set, so a poll that slept would never return.
#[test]
fn a_source_whose_slice_is_used_up_runs_again_after_the_others_without_a_sleep() {
    let ends: Vec<_> = (0..3).map(End::ready).collect();
    let mut reactor = reactor();
    let mut fars = Vec::new();
    for (end, far) in ends {
        reactor.insert(end).unwrap();
        fars.push(far);
    }
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, _, _| {
        ran.push(end.name);
        Next::Again
    });
    for _ in 0..4 {
        turn(&mut reactor, &mut script);
    }
    drop(script);
    let first_turn = ran[..3].to_vec();
    assert_eq!(ran, first_turn.repeat(4), "each runs once per turn, in the same order");
    let counts = reactor.counts();
    assert_eq!((counts.slices, counts.slices_used_up), (12, 12));
}

/// Without memory between slices it would wait for an event that has come already.
#[test]
fn a_source_finds_in_its_next_slice_the_readiness_that_the_last_one_left() {
    let (end, _far) = End::ready(1);
    let mut found = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness, _| {
        found.push(readiness.is_readable());
        match found.len() {
            1 | 2 => Next::Again,
            3 => {
                end.drain(readiness);
                Next::Again
            }
            _ => Next::Wait,
        }
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    for _ in 0..4 {
        turn(&mut reactor, &mut script);
    }
    drop(script);
    assert_eq!(found, [true, true, true, false]);
}

#[test]
fn a_wake_up_takes_nothing_from_the_remembered_readiness() {
    let (end, _far) = End::ready(1);
    let mut found = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness, _| {
        found.push(readiness.is_readable());
        if found.len() == 2 {
            end.drain(readiness);
        }
        Next::Wait
    });
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    turn(&mut reactor, &mut script);
    reactor.wake(key);
    turn(&mut reactor, &mut script);
    drop(script);
    assert_eq!(found, [true, true], "the first slice left the bytes");
}

/// case L5: an event, a wake-up and `Next::Again` all mark the same place on the list.
#[test]
fn a_source_gets_one_slice_per_turn_however_often_it_is_marked() {
    let (end, far) = End::ready(1);
    let mut slices = 0;
    let mut script = Script::new(|_: &mut End, _, context| {
        slices += 1;
        (0..5).for_each(|_| context.wake(context.key()));
        // This also causes a new event for the next poll.
        (&far).write_all(b"x").unwrap();
        Next::Again
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    for _ in 0..10 {
        turn(&mut reactor, &mut script);
    }
    drop(script);
    assert_eq!(slices, 10);
}

/// case L6: by count. A flooding peer gets one slice per turn, as each other peer does.
#[test]
fn a_flooding_source_gets_as_many_slices_as_each_other_source() {
    const OTHERS: usize = 50;
    const TURNS: usize = 20;
    let mut reactor = reactor();
    let (mut fars, mut slices) = (Vec::new(), [0; OTHERS + 1]);
    for name in 0..=OTHERS {
        let (end, far) = End::ready(name);
        reactor.insert(end).unwrap();
        fars.push(far);
    }
    let mut script = Script::new(|end: &mut End, readiness, _| {
        slices[end.name] += 1;
        if end.name == 0 {
            return Next::Again;
        }
        end.drain(readiness);
        Next::Wait
    });
    for _ in 0..TURNS {
        turn(&mut reactor, &mut script);
        fars[1..].iter().for_each(|mut far| far.write_all(b"ping").unwrap());
    }
    drop(script);
    assert_eq!(slices, [TURNS; OTHERS + 1]);
}

#[test]
fn a_source_woken_by_a_slice_runs_in_the_next_turn_without_a_sleep() {
    let (busy, _far_busy) = End::ready(1);
    let (idle, _far_idle) = End::pair(2);
    let mut reactor = reactor();
    reactor.insert(busy).unwrap();
    let idle = reactor.insert(idle).unwrap();
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness, context| {
        ran.push(end.name);
        end.drain(readiness);
        if end.name == 1 {
            context.wake(idle);
        }
        Next::Wait
    });
    turn(&mut reactor, &mut script);
    turn(&mut reactor, &mut script);
    drop(script);
    assert_eq!(ran, [1, 2]);
}

#[test]
fn the_loop_counts_turns_events_and_slices() {
    let (end, far) = End::ready(1);
    let mut slices = 0;
    let mut script = Script::new(|end: &mut End, readiness, _| {
        slices += 1;
        if slices == 1 {
            return Next::Again;
        }
        end.drain(readiness);
        Next::Wait
    });
    let mut reactor = reactor();
    assert_eq!(reactor.counts(), LoopCounts::default());
    reactor.insert(end).unwrap();
    turn(&mut reactor, &mut script);
    turn(&mut reactor, &mut script);
    (&far).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    let expected = LoopCounts {
        turns: 3,
        polls: 3,
        events: 2,
        slices: 3,
        slices_used_up: 1,
        ..LoopCounts::default()
    };
    assert_eq!(reactor.counts(), expected);
}
