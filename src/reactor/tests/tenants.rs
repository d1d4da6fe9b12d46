//! Tests of insertion, closing, the reuse of slots, and interest.

use super::*;

#[test]
fn a_source_inserted_by_a_slice_runs_in_a_later_turn() {
    let (first, _far_first) = End::ready(1);
    let (second, _far_second) = End::ready(2);
    let (mut second, mut ran) = (Some(second), Vec::new());
    let mut script = Script::new(|end: &mut End, readiness, context| {
        ran.push(end.name);
        end.drain(readiness);
        if let Some(second) = second.take() {
            context.insert(second);
        }
        if end.name == 2 {
            context.stop();
        }
        Next::Wait
    });
    let mut reactor = reactor();
    reactor.insert(first).unwrap();
    reactor.run(&mut script).unwrap();
    drop(script);
    assert_eq!(ran, [1, 2]);
    assert_eq!(reactor.sources().len(), 2);
}

/// case A7: the source comes back to its handler, and the loop continues.
#[test]
fn a_source_that_cannot_be_registered_comes_back() {
    let (first, _far_first) = End::ready(1);
    let (mut bad, _far_bad) = End::ready(2);
    bad.refuse();
    let (good, _far_good) = End::ready(3);
    let (mut bad, mut ran) = (Some(bad), Vec::new());
    let mut script = Script::new(|end: &mut End, readiness, context| {
        ran.push(end.name);
        end.drain(readiness);
        match bad.take() {
            Some(bad) => _ = context.insert(bad),
            None => context.stop(),
        }
        Next::Wait
    });
    // The loop also performs the requests that the handler makes in `closed`.
    script.successors.push(good);
    let mut reactor = reactor();
    reactor.insert(first).unwrap();
    reactor.run(&mut script).unwrap();
    assert_eq!(script.fates, [Fate::Unregistered(2, io::ErrorKind::PermissionDenied)]);
    drop(script);
    assert_eq!(ran, [1, 3]);
    assert_eq!(reactor.sources().len(), 2);
}

#[test]
fn a_source_that_cannot_be_registered_from_outside_is_an_error_and_is_not_kept() {
    let (mut bad, _far) = End::pair(1);
    bad.refuse();
    let mut reactor = reactor();
    assert_eq!(reactor.insert(bad).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert!(reactor.sources().is_empty());
}

/// cases L3, L4: within one batch the first source closes, a new one takes its slot, and the second
/// source wakes the key of the closed one. The new tenant gets no slice from any of this.
#[test]
fn the_new_tenant_of_a_slot_receives_nothing_meant_for_the_former_one() {
    let (first, _far_first) = End::ready(1);
    let (second, _far_second) = End::ready(2);
    let (tenant, far_tenant) = End::pair(3);
    let (mut gone, mut ran) = (None, Vec::new());
    let mut script = Script::new(|end: &mut End, readiness, context| {
        ran.push((end.name, *readiness));
        if ran.len() == 1 {
            gone = Some(context.key());
            return Next::Close;
        }
        end.drain(readiness);
        if let Some(gone) = gone.take() {
            context.wake(gone);
            context.wake(gone);
        }
        Next::Wait
    });
    script.successors.push(tenant);
    let mut reactor = reactor();
    let first = reactor.insert(first).unwrap();
    reactor.insert(second).unwrap();
    let soon = Instant::now();
    script.deadlines = vec![soon; 2];
    for _ in 0..2 {
        turn(&mut reactor, &mut script);
    }
    let (tenant, _) = reactor.sources().iter().find(|(_, end)| end.name == 3).unwrap();
    assert_eq!(tenant.index(), first.index(), "the slot is reused");
    assert!(reactor.sources().get(first).is_none());
    (&far_tenant).write_all(b"x").unwrap();
    turn(&mut reactor, &mut script);
    drop(script);
    let readable = Readiness::READABLE;
    let order = [(1, readable), (2, readable), (3, readable)];
    assert!(ran == order || ran[..2] == [order[1], order[0]] && ran[2] == order[2], "{ran:?}");
}

/// case L3: the loop counts an event that the system still delivers for a closed source, and does
/// not pass it to the new tenant of the slot.
#[test]
fn a_late_event_for_a_reused_slot_is_counted_as_stale() {
    let (gone, far_gone) = End::ready(1);
    let (tenant, _far_tenant) = End::pair(2);
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, _, _| {
        ran.push(end.name);
        // This makes the deregistration fail.
        end.refuse();
        Next::Close
    });
    script.successors.push(tenant);
    let mut reactor = reactor();
    let gone = reactor.insert(gone).unwrap();
    turn(&mut reactor, &mut script);
    let (tenant, _) = reactor.sources().iter().next().unwrap();
    assert_eq!(tenant.index(), gone.index(), "the slot is reused");

    // The handler keeps the socket open, and the selector still has it under its old key.
    (&far_gone).write_all(b"late").unwrap();
    turn(&mut reactor, &mut script);
    let counts = reactor.counts();
    assert_eq!((counts.events, counts.events_stale, counts.slices), (1, 1, 1));
    drop(script);
    assert_eq!(ran, [1]);
}

/// case L4: a source that is closed while it is on the ready list loses its place there.
#[test]
fn the_new_tenant_of_a_slot_does_not_inherit_a_place_on_the_ready_list() {
    let (first, _far_first) = End::ready(1);
    let (tenant, _far_tenant) = End::pair(2);
    let mut ran = Vec::new();
    let mut script = Script::new(|end: &mut End, _, _| {
        ran.push(end.name);
        // `Again` puts it back on the list. Then it closes, because reregistering it fails.
        end.interest = Interest::READABLE.add(Interest::WRITABLE);
        end.refuse();
        Next::Again
    });
    script.successors.push(tenant);
    let mut reactor = reactor();
    let first = reactor.insert(first).unwrap();
    script.deadlines = vec![Instant::now(); 3];
    for _ in 0..3 {
        turn(&mut reactor, &mut script);
    }
    let (tenant, _) = reactor.sources().iter().next().unwrap();
    assert_eq!(tenant.index(), first.index(), "the slot is reused");
    assert_eq!(script.fates, [Fate::Unregistered(1, io::ErrorKind::PermissionDenied)]);
    drop(script);
    assert_eq!(ran, [1]);
}

#[test]
fn a_source_that_wakes_itself_and_closes_is_closed_once() {
    let (end, _far) = End::ready(1);
    let mut script = Script::new(|_: &mut End, _, context| {
        context.wake(context.key());
        Next::Close
    });
    script.deadlines = vec![Instant::now(); 2];
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    turn(&mut reactor, &mut script);
    turn(&mut reactor, &mut script);
    assert_eq!(script.fates, [Fate::Closed(1)]);
    assert_eq!(reactor.counts().slices, 1);
}

/// A changed registration reports at once what is already ready.
#[test]
fn a_change_of_interest_registers_the_source_again() {
    let (end, _far) = End::ready(1);
    let mut seen = Vec::new();
    let mut script = Script::new(|end: &mut End, readiness, context| {
        seen.push(*readiness);
        end.drain(readiness);
        if seen.len() == 2 {
            context.stop();
        }
        end.interest = Interest::READABLE.add(Interest::WRITABLE);
        Next::Wait
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    reactor.run(&mut script).unwrap();
    drop(script);
    // The first registration did not ask for writable events.
    assert!(!seen[0].is_writable() && seen[1].is_writable(), "{seen:?}");
}

#[test]
fn the_end_of_a_peer_arrives_as_read_closed() {
    let (end, far) = End::ready(1);
    drop(far);
    let mut seen = Vec::new();
    let mut script = Script::new(|_: &mut End, readiness: &mut Readiness, _| {
        seen.push(*readiness);
        Next::Close
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    turn(&mut reactor, &mut script);
    drop(script);
    assert!(seen[0].contains(Readiness::READ_CLOSED) && seen[0].is_readable(), "{seen:?}");
}
