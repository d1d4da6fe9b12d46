//! Tests of measured turns. They compare a time only with a bound that holds on any machine.

use super::*;

fn drain(end: &mut End, readiness: &mut Readiness, _: &mut SourceContext<'_, End>) -> Next {
    end.drain(readiness);
    Next::Wait
}

#[test]
fn turns_are_not_measured_by_default() {
    let (end, _far) = End::ready(1);
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    turn(&mut reactor, &mut Script::new(drain));
    assert_eq!(reactor.counts().events, 1);
    assert_eq!(reactor.counts().measures, TurnMeasures::default());
}

#[test]
fn each_turn_is_measured_once_while_measuring_is_on() {
    let mut reactor = reactor();
    let mut fars = Vec::new();
    for number in 0..5 {
        let (end, far) = End::pair(number);
        reactor.insert(end).unwrap();
        fars.push(far);
    }
    let write = |count| fars.iter().take(count).for_each(|far| (&*far).write_all(b"x").unwrap());
    reactor.set_spin(Spin::For(WAIT_MAX));
    let mut script = Script::new(drain);
    write(3);
    turn(&mut reactor, &mut script);
    reactor.measure_turns(true);
    for count in [0, 5, 3] {
        write(count);
        turn(&mut reactor, &mut script);
    }
    let LoopCounts { turns, events, measures, .. } = reactor.counts();
    assert_eq!((turns, events), (4, 11));
    assert_eq!((measures.events.count(), measures.events.sum()), (3, 8));
    assert_eq!(measures.busy_ns.count(), 3);
    let seen: Vec<_> = measures.events.buckets().filter(|(_, count)| *count > 0).collect();
    assert_eq!(seen, [(0, 1), (4, 1), (8, 1)]);
    reactor.measure_turns(false);
    turn(&mut reactor, &mut script);
    assert_eq!(reactor.counts().measures, measures, "kept but not extended");
}

#[test]
fn a_turn_is_busy_while_slices_run_and_not_while_it_sleeps() {
    const SLICE: Duration = Duration::from_millis(5);
    const SLEEP: Duration = Duration::from_millis(30);
    let (end, far) = End::ready(1);
    let mut reactor = reactor();
    reactor.measure_turns(true);
    reactor.insert(end).unwrap();
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, _| {
        end.drain(readiness);
        thread::sleep(SLICE);
        Next::Wait
    });
    script.deadlines = vec![Instant::now() + WAIT_MAX];
    turn(&mut reactor, &mut script);
    let after_slice = reactor.counts().measures.busy_ns.sum();
    assert!(u128::from(after_slice) >= SLICE.as_nanos(), "{after_slice}");

    let begun_at = Instant::now();
    let writer = thread::spawn(move || {
        thread::sleep(SLEEP);
        (&far).write_all(b"x").unwrap();
        far
    });
    turn(&mut reactor, &mut script);
    let elapsed = begun_at.elapsed();
    let busy_ns = reactor.counts().measures.busy_ns.sum() - after_slice;
    assert!(u128::from(busy_ns) >= SLICE.as_nanos(), "{busy_ns}");
    assert!(u128::from(busy_ns) <= (elapsed - SLEEP).as_nanos(), "{busy_ns} of {elapsed:?}");
    writer.join().unwrap();
}

#[test]
fn a_message_sees_its_turn_counted_but_not_yet_measured() {
    struct Counts(Vec<(u64, u64)>);
    impl Handler for Counts {
        type Source = End;
        type Message = u32;

        fn ready(
            &mut self,
            _: &mut End,
            _: &mut Readiness,
            _: &mut SourceContext<'_, End>,
        ) -> Next {
            Next::Wait
        }

        fn message(&mut self, _: u32, _: &Sources<End>, context: &mut Context<'_, End>) {
            let LoopCounts { turns, measures, .. } = context.counts();
            self.0.push((*turns, measures.busy_ns.count()));
        }
    }
    let mut reactor = reactor();
    reactor.measure_turns(true);
    let mut counts = Counts(Vec::new());
    for _ in 0..2 {
        reactor.handle().send(0).unwrap();
        assert_eq!(reactor.turn(&mut counts).unwrap(), LoopState::Running);
    }
    assert_eq!(counts.0, [(1, 0), (2, 1)]);
}
