//! A file is bounded, and complete in what it has.

use std::collections::BTreeMap;

use super::*;
use crate::reactor::{MarkedBy, Waited};
use crate::readiness::Readiness;
use crate::trace::ring::{RECORDS_MAX, SliceEnd, TURN_RECORDS_MAX};
use crate::trace::{Trace, TraceFile};

const TURN_NS: u64 = 10_000;

fn key(index: u64) -> Key {
    Key::new(usize::try_from(index).unwrap(), 0)
}

fn mark(key: Key, from_ns: u64, is_stale: bool) -> Record {
    let (kind, readiness, by) = ("connection", Readiness::READABLE, MarkedBy::Event);
    Record::Mark(Mark { from_ns, to_ns: from_ns + 100, key, kind, readiness, by, is_stale })
}

fn slice(key: Key, from_ns: u64) -> Record {
    Record::Slice(Slice {
        from_ns,
        to_ns: from_ns + 3_000,
        key,
        kind: "connection",
        bytes_in: 64,
        bytes_out: 64,
        messages_in: 1,
        messages_out: 1,
        end: SliceEnd::Drained,
    })
}

/// Returns a turn that waits until 5 us after its begin, and runs from 5.5 us on.
fn turn(begun_ns: u64, sources: u32, lost: u32) -> Turn {
    Turn {
        begun_ns,
        waited_ns: begun_ns + 5_000,
        run_ns: begun_ns + 5_500,
        ended_ns: begun_ns + 9_500,
        timeout_ns: NO_TIMEOUT,
        waited: Waited::Polled,
        ready_before: 0,
        ready: 1,
        ready_after: 0,
        sources,
        idle_before: 0,
        lost,
    }
}

/// Fills a ring with round trips. Turn `number` begins at `number * TURN_NS`. Now and then a source
/// comes or goes, an event is stale, and a record is lost.
pub(in crate::trace) fn full_ring(capacity: usize) -> Ring {
    let mut ring = Ring::new(capacity);
    for number in 0..capacity as u64 / 4 {
        let at = |share_ns: u64| number * TURN_NS + share_ns;
        let call =
            |from_ns, to_ns, name| Record::Call(Call { from_ns, to_ns, name, result: Ok(64) });
        let key = key(number % 50);
        ring.push(mark(key, at(5_000), false));
        if number % 7 == 0 {
            ring.push(mark(key, at(5_200), true));
        }
        ring.push(slice(key, at(6_000)));
        ring.push(call(at(6_500), at(7_000), "recvfrom"));
        ring.push(call(at(7_500), at(8_900), "sendto"));
        if number % 11 == 0 {
            ring.push(Record::Opened { at_ns: at(9_100), key, kind: "connection" });
        }
        let sources = u32::try_from(number / 11).unwrap();
        ring.end_turn(turn(at(0), sources, u32::from(number % 13 == 0)));
    }
    ring.unroll();
    ring
}

/// Writes these rings, and returns the events, which are a line each.
fn written(rings: Vec<Ring>) -> Vec<String> {
    let mut out = Vec::new();
    write_rings(rings, |shared, rings| write(&mut out, shared, rings));
    let text = String::from_utf8(out).unwrap();
    let (_, events) = text.split_once("\"traceEvents\":[\n").unwrap();
    let events = events.strip_suffix("\n]}\n").unwrap();
    events.split(",\n").map(str::to_owned).collect()
}

/// Writes rings as those of a trace.
pub(in crate::trace) fn write_rings(
    rings: Vec<Ring>,
    write: impl FnOnce(&Shared, &[Option<Arc<Ring>>]) -> io::Result<()>,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let file: TraceFile = path.to_str().unwrap().parse().unwrap();
    let trace = Trace::open(&file, "serve").unwrap();
    let rings: Vec<_> = rings.into_iter().map(|ring| Some(Arc::new(ring))).collect();
    write(&trace.0, &rings).unwrap();
}

/// Returns what a field has, as text.
fn field<'a>(event: &'a str, name: &str) -> &'a str {
    let (_, rest) = event.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{event}"));
    rest.split([',', '}']).next().unwrap().trim_matches('"')
}

/// Returns a time in tenths of a nanosecond.
fn tenths(event: &str, name: &str) -> u64 {
    let (micros, decimals) = field(event, name).split_once('.').unwrap();
    micros.parse::<u64>().unwrap() * 10_000 + format!("{decimals:0<4}").parse::<u64>().unwrap()
}

#[test]
fn full_rings_become_the_last_whole_turns_that_fit_into_a_file() {
    let events = written(vec![full_ring(RECORDS_MAX / 2), full_ring(RECORDS_MAX / 2)]);
    let count = events.len();
    assert!((EVENTS_MAX - 40..=EVENTS_MAX).contains(&count), "{count} events");
    let (mut numbers, mut counters) = (BTreeMap::new(), BTreeMap::new());
    let (mut open, mut arrows) = (Vec::new(), BTreeMap::new());
    for event in &events {
        let thread = field(event, "tid");
        match field(event, "ph") {
            "X" => {
                let from = tenths(event, "ts");
                let to = from + tenths(event, "dur");
                open.retain(|(own, end)| *own == thread && *end >= from);
                let is_inside = open.last().is_none_or(|(_, end)| to <= *end);
                let is_turn = field(event, "cat") == "turn";
                assert!(is_inside && is_turn == open.is_empty(), "{event}");
                open.push((thread, to));
                if is_turn {
                    let number: u64 = field(event, "number").parse().unwrap();
                    numbers.entry(thread).or_insert_with(Vec::new).push(number);
                }
            }
            "s" => assert_eq!(arrows.insert(field(event, "id"), false), None, "{event}"),
            "f" => assert_eq!(arrows.insert(field(event, "id"), true), Some(false), "{event}"),
            "C" => *counters.entry((thread, field(event, "name"))).or_insert(0) += 1,
            _ => {}
        }
    }
    assert!(!arrows.is_empty() && arrows.values().all(|has_ended| *has_ended));
    let last = RECORDS_MAX as u64 / 8 - 1;
    for (thread, numbers) in &numbers {
        let expected: Vec<u64> = (last + 1 - numbers.len() as u64..=last).collect();
        assert_eq!(*numbers, expected, "the newest turns, without a gap");
        assert_eq!(counters[&(*thread, "ready list")], 2 * numbers.len());
        assert!(counters[&(*thread, "open sources")] >= numbers.len() / 11);
    }
    let lengths: Vec<_> = numbers.values().map(Vec::len).collect();
    assert_eq!(lengths.len(), 2);
    assert!(lengths[0].abs_diff(lengths[1]) <= 1, "{lengths:?}: from the same moment on");
    // The times begin with the first turn.
    assert!(
        events.iter().any(|event| event.contains("\"ts\":0.000,") && event.contains("\"turn\""))
    );
}

/// Each of many timers and events of one source has an arrow to its slice.
#[test]
fn the_largest_turn_fits_into_a_file() {
    let mut ring = Ring::new(RECORDS_MAX);
    (1..TURN_RECORDS_MAX).for_each(|_| assert!(ring.push(mark(key(0), 5_000, false))));
    assert!(ring.push(slice(key(0), 6_000)));
    assert!(!ring.push(slice(key(1), 6_000)));
    ring.end_turn(turn(0, 2, 1));
    ring.unroll();
    let events = written(vec![ring]);
    assert!((3 * TURN_RECORDS_MAX..=EVENTS_MAX).contains(&events.len()), "{}", events.len());
}
