//! Tests of a reactor inside another loop, and of what a handler can do with keys.

use super::*;

/// Returns true if another loop would see the reactor's descriptor as readable now.
fn is_readable(reactor: &Reactor<End, u32>) -> bool {
    use mio::unix::SourceFd;
    use std::os::fd::AsRawFd;
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1));
    let fd = reactor.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    !events.is_empty()
}

#[test]
fn another_loop_watches_the_descriptor_and_the_timeout_and_turns_without_a_sleep() {
    let (end, far) = End::pair(1);
    let mut bytes = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        bytes += end.drain(readiness);
        Next::Wait
    });
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    let handle = reactor.handle();
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "the first turn calls the tick");
    let mut turn = |reactor: &mut Reactor<End, u32>| {
        assert_eq!(reactor.turn_timeout(&mut script, Duration::ZERO).unwrap(), LoopState::Running);
        (script.messages.len(), script.timers)
    };
    turn(&mut reactor);
    assert!(!is_readable(&reactor));
    assert_eq!(reactor.next_timeout(), None);

    (&far).write_all(b"x").unwrap();
    assert!(is_readable(&reactor));
    turn(&mut reactor);
    handle.send(7).unwrap();
    assert!(is_readable(&reactor));
    assert_eq!(turn(&mut reactor), (1, 0));
    assert!(!is_readable(&reactor));

    reactor.wake(key);
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO), "work is left");
    turn(&mut reactor);
    reactor.set_timer(Instant::now() + WAIT_MAX);
    assert!(reactor.next_timeout().is_some_and(|timeout| timeout <= WAIT_MAX));
    reactor.set_timer(Instant::now());
    assert_eq!(reactor.next_timeout(), Some(Duration::ZERO));
    assert_eq!(turn(&mut reactor), (1, 1));
    assert_eq!(bytes, 1);
}

#[test]
fn a_turn_with_a_timeout_ends_after_it_without_an_event() {
    let mut script = Script::new(|_: &mut End, _: &mut Readiness, _| panic!("nothing is ready"));
    let mut reactor = reactor();
    turn(&mut reactor, &mut script);
    let before = Instant::now();
    reactor.turn_timeout(&mut script, Duration::from_millis(10)).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(10), "the loop slept");
    assert_eq!(script.ticks, 2);
}

#[test]
fn the_key_of_an_inserted_source_is_valid_in_the_same_call() {
    let (first, _far_first) = End::ready(1);
    let (mut new, mut far_new) = (Vec::new(), Vec::new());
    for name in 2..=4 {
        let (end, far) = End::pair(name);
        new.push(end);
        far_new.push(far);
    }
    let (mut ran, mut keys) = (Vec::new(), Vec::new());
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        ran.push((end.name, context.key()));
        end.drain(readiness);
        if end.name == 1 {
            keys.extend(new.drain(..).map(|end| context.insert(end)));
            context.wake(keys[0]);
            context.wake_at(keys[1], context.now());
            context.close(keys[2]);
        }
        Next::Wait
    });
    let mut reactor = reactor();
    let first = reactor.insert(first).unwrap();
    turn(&mut reactor, &mut script);
    reactor.turn_timeout(&mut script, Duration::ZERO).unwrap();
    assert_eq!(script.fates, [Fate::Closed(4)]);
    drop(script);
    assert_eq!(ran, [(1, first), (2, keys[0]), (3, keys[1])]);
    assert_eq!(reactor.sources().len(), 3);
    assert_eq!(reactor.sources().get(keys[1]).unwrap().name, 3);
}

#[test]
fn a_source_closed_by_key_loses_its_place_on_the_list_and_comes_back_once() {
    let (first, _far_first) = End::ready(1);
    let (second, _far_second) = End::ready(2);
    let mut reactor = reactor();
    let keys = [first, second].map(|end| reactor.insert(end).unwrap());
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        ran.push(end.name);
        end.drain(readiness);
        // Closes the running source, which returns `Wait`, and the other one, each twice.
        keys.iter().chain(&keys).for_each(|key| context.close(*key));
        Next::Wait
    });
    turn(&mut reactor, &mut script);
    let mut fates: Vec<usize> = script
        .fates
        .iter()
        .map(|fate| match fate {
            Fate::Closed(name) => *name,
            other => panic!("{other:?}"),
        })
        .collect();
    fates.sort_unstable();
    drop(script);
    assert_eq!((fates, ran.len()), (vec![1, 2], 1));
    assert!(reactor.sources().is_empty());
}

#[test]
fn a_source_removed_from_outside_does_not_reach_the_handler() {
    let (end, _far) = End::ready(1);
    let mut script = Script::new(|_: &mut End, _: &mut Readiness, _| panic!("the source is gone"));
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    reactor.wake(key);
    reactor.wake_at(key, Instant::now());
    assert_eq!(reactor.remove(key).unwrap().name, 1);
    assert!(reactor.remove(key).is_none());
    turn(&mut reactor, &mut script);
    assert!(script.fates.is_empty() && reactor.sources().is_empty());
}

/// case L4
#[test]
fn a_probe_is_told_once_that_a_source_is_closed() {
    let (first, _far_first) = End::ready(1);
    let (second, _far_second) = End::pair(2);
    let mut reactor = reactor().with_probe(Seen::default());
    let keys = [first, second].map(|end| reactor.insert(end).unwrap());
    let mut script = Script::new(|_: &mut End, _: &mut Readiness, context| {
        keys.iter().for_each(|key| context.close(*key));
        Next::Close
    });
    reactor.turn(&mut script).unwrap();
    assert_eq!(script.fates.len(), 2);
    assert!(keys.iter().all(|key| reactor.remove(*key).is_none()));
    assert_eq!(reactor.probe.closed, keys);
}
