//! A trace in Chrome's trace event format, which Perfetto and speedscope read.
//!
//! Each loop is a thread. Its slices nest: a turn contains *wait*, *mark* and *run*; *mark*
//! contains an event for each mark, and *run* a slice for each source that ran, which contains the
//! system calls that it made. An arrow (a flow) leads from each mark to the slice that it caused.
//! Times are microseconds since the first turn in the trace.
//!
//! Readers add `ts` and `dur` as floating-point numbers. So that a rounded sum never ends behind
//! the next span or behind the span around it, each span is written a little shorter than it was:
//! by a tenth of a nanosecond for each level of nesting.
//!
//! A record becomes one to eight trace events, and readers hold all of them in memory. So a file
//! has the last turns that fit into [`EVENTS_MAX`], which can be fewer than the rings hold.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::Shared;
use super::names::{end_name, mark_name, readiness_words, result_name, wait_name};
use super::ring::{Call, Mark, NO_TIMEOUT, Record, Ring, Slice, Turn};
use crate::reactor::Key;

/// The number of trace events that a file holds, those of all loops and their names included: about
/// 40 MB. A round trip on one connection takes 12.
pub(super) const EVENTS_MAX: usize = 300_000;

/// A turn of a loop: its number, itself, and its records.
type Recorded<'a> = (u64, Turn, &'a [Record]);

/// Writes the last turns of the latest ring of each loop.
pub(super) fn write(
    out: &mut impl Write,
    shared: &Shared,
    rings: &[Option<Arc<Ring>>],
) -> io::Result<()> {
    let process = std::process::id();
    let loops = last_turns(rings);
    // The last turns of a server that runs for months would have times too large for nanoseconds.
    let first = |turns: &Vec<Recorded<'_>>| turns.first().map(|(_, turn, _)| turn.begun_ns);
    let zero_ns = loops.iter().filter_map(first).min().unwrap_or(0);
    let begun_ns = shared.begun.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let begun_ns = begun_ns + u128::from(zero_ns);
    let (command, version) = (shared.command, env!("CARGO_PKG_VERSION"));
    write!(
        out,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"program\":\"resound {command}\",\
         \"version\":\"{version}\",\"begun_at_unix_ns\":\"{begun_ns}\"}},\n\"traceEvents\":[\n\
         {{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{process},\"tid\":1,\
         \"args\":{{\"name\":\"resound {command}\"}}}}"
    )?;
    let mut flows = 0;
    for (index, turns) in loops.iter().enumerate() {
        let thread = index + 1;
        for (name, value) in [
            ("thread_name", format!("{{\"name\":\"loop {thread}\"}}")),
            ("thread_sort_index", format!("{{\"sort_index\":{thread}}}")),
        ] {
            write!(
                out,
                ",\n{{\"ph\":\"M\",\"name\":\"{name}\",\"pid\":{process},\"tid\":{thread},\
                 \"args\":{value}}}"
            )?;
        }
        let mut events =
            Events { process, thread, zero_ns, events: Vec::new(), sources: None, flows };
        for (number, turn, records) in turns {
            events.add_turn(*number, turn, records);
            events.write(out)?;
        }
        flows = events.flows;
    }
    out.write_all(b"\n]}\n")
}

/// Returns the last turns of each loop, oldest first, that together fit into a file.
fn last_turns(rings: &[Option<Arc<Ring>>]) -> Vec<Vec<Recorded<'_>>> {
    let turns = rings.iter().map(|ring| ring.as_ref().map_or_else(Vec::new, |ring| ring.turns()));
    let mut loops: Vec<Vec<Recorded<'_>>> = turns.collect();
    // The name of the process; of each loop its name, its place, and the first value of a counter.
    let mut room = EVENTS_MAX.saturating_sub(1 + 3 * loops.len());
    // The turns from these on fit.
    let mut firsts: Vec<usize> = loops.iter().map(Vec::len).collect();
    let newest = |firsts: &[usize]| {
        let lasts = loops.iter().zip(firsts).map(|(turns, first)| turns[..*first].last());
        let ends = lasts.enumerate().filter_map(|(index, turn)| Some((turn?.1.ended_ns, index)));
        ends.max().map(|(_, index)| index)
    };
    while let Some(index) = newest(&firsts) {
        let own = firsts[index] - 1;
        let before = own.checked_sub(1).map(|place| &loops[index][place]);
        let Some(rest) = room.checked_sub(event_count(&loops[index][own], before)) else { break };
        (room, firsts[index]) = (rest, own);
    }
    for (turns, first) in loops.iter_mut().zip(firsts) {
        turns.drain(..first);
    }
    loops
}

/// Returns the greatest number of events that a turn becomes after the turn `before`.
fn event_count((_, turn, records): &Recorded<'_>, before: Option<&Recorded<'_>>) -> usize {
    let has_counter = before.is_none_or(|(_, before, _)| before.sources != turn.sources);
    let of_record = |record: &Record| match record {
        // A span, and both ends of an arrow.
        Record::Mark(mark) if !mark.is_stale => 3,
        // A span and an instant.
        Record::Mark(_) => 2,
        _ => 1,
    };
    // The four spans of the turn, and the length of the ready list twice.
    6 + usize::from(has_counter)
        + usize::from(turn.lost > 0)
        + records.iter().map(of_record).sum::<usize>()
}

/// The events of one turn.
struct Events {
    process: u32,
    thread: usize,
    /// The time of the first turn.
    zero_ns: u64,
    /// Each with its time.
    events: Vec<(u64, String)>,
    /// The latest value of the counter of open sources, if it has one.
    sources: Option<u32>,
    /// Arrows so far, over all loops. Each has its own number.
    flows: u64,
}

impl Events {
    fn add_turn(&mut self, number: u64, turn: &Turn, records: &[Record]) {
        let Turn { begun_ns, waited_ns, run_ns, ended_ns, ready, lost, .. } = *turn;
        self.span((begun_ns, ended_ns), "turn", "turn", &turn_facts(number, turn));
        self.span((begun_ns, waited_ns), "wait", "phase", &wait_facts(turn));
        self.span((waited_ns, run_ns), "mark", "phase", "");
        self.counter(run_ns, ("ready list", "keys", ready));
        self.span((run_ns, ended_ns), "run", "phase", &format!("\"ready\":{ready}"));
        let ran = |record: &Record| match record {
            Record::Slice(slice) => Some((slice.key, Vec::new())),
            _ => None,
        };
        // For each source that ran in this turn: the arrows that lead to its slice.
        let mut caused: HashMap<Key, Vec<u64>> = records.iter().filter_map(ran).collect();
        for (at, record) in records.iter().enumerate() {
            match record {
                Record::Mark(mark) => self.add_mark(mark, &mut caused),
                Record::Slice(slice) => {
                    self.add_slice(slice, &records[at + 1..], &mut caused);
                }
                Record::Call(call) => self.add_call(call),
                Record::Opened { at_ns, key, kind } => {
                    self.instant(*at_ns, &format_args!("opened {}", Named(*key, kind)));
                }
                Record::Closed { at_ns, key, kind } => {
                    self.instant(*at_ns, &format_args!("closed {}", Named(*key, kind)));
                }
                Record::Signal { at_ns, signal } => {
                    self.instant(*at_ns, &format_args!("signal {signal}"));
                }
                Record::Turn(_) => {}
            }
        }
        if lost > 0 {
            self.instant(ended_ns, &format_args!("{lost} records did not fit"));
        }
        self.counter(ended_ns, ("ready list", "keys", turn.ready_after));
        if self.sources.replace(turn.sources) != Some(turn.sources) {
            self.counter(ended_ns, ("open sources", "sources", turn.sources));
        }
    }

    fn add_mark(&mut self, mark: &Mark, caused: &mut HashMap<Key, Vec<u64>>) {
        let Mark { from_ns, to_ns, key, kind, readiness, by, is_stale } = *mark;
        let by = mark_name(by);
        if is_stale {
            self.instant(from_ns, &format_args!("stale {by} of {}", Named(key, kind)));
        }
        let facts = format!(
            "\"generation\":{},\"readiness\":\"{}\",\"stale\":{is_stale}",
            key.generation(),
            readiness_words(readiness)
        );
        self.span((from_ns, to_ns), &format!("{by}: {}", Named(key, kind)), "mark", &facts);
        if let Some(arrows) = caused.get_mut(&key)
            && !is_stale
        {
            self.flows += 1;
            arrows.push(self.flows);
            self.arrow(from_ns, "s", self.flows);
        }
    }

    /// Adds a slice. `behind` are the records behind it, which begin with its system calls.
    fn add_slice(&mut self, slice: &Slice, behind: &[Record], caused: &mut HashMap<Key, Vec<u64>>) {
        let Slice { from_ns, to_ns, key, kind, end, .. } = *slice;
        let facts = format!(
            "\"generation\":{},\"bytes_in\":{},\"bytes_out\":{},\"messages_in\":{},\
             \"messages_out\":{},\"calls\":{{{}}},\"end\":\"{}\"",
            key.generation(),
            slice.bytes_in,
            slice.bytes_out,
            slice.messages_in,
            slice.messages_out,
            call_counts(behind),
            end_name(end)
        );
        self.span((from_ns, to_ns), &Named(key, kind).to_string(), "slice", &facts);
        for number in caused.remove(&key).unwrap_or_default() {
            self.arrow(from_ns, "f", number);
        }
    }

    fn add_call(&mut self, call: &Call) {
        let Call { from_ns, to_ns, name, result } = *call;
        let facts = match result {
            Ok(amount) => format!("\"result\":{amount}"),
            Err(_) => format!("\"error\":\"{}\"", result_name(result)),
        };
        self.span((from_ns, to_ns), name, "call", &facts);
    }

    /// Adds an event with the fields that all have. `rest` starts with a comma, or is empty.
    fn add(&mut self, at_ns: u64, phase: &str, name: &dyn fmt::Display, rest: &str) {
        let Events { process, thread, zero_ns, .. } = self;
        let event = format!(
            "{{\"ph\":\"{phase}\",\"name\":\"{name}\",\"pid\":{process},\"tid\":{thread},\
             \"ts\":{}{rest}}}",
            Micros(at_ns.saturating_sub(*zero_ns))
        );
        self.events.push((at_ns, event));
    }

    fn span(&mut self, (from_ns, to_ns): (u64, u64), name: &str, category: &str, facts: &str) {
        let depth = match category {
            "turn" => 1,
            "phase" => 2,
            "mark" | "slice" => 3,
            _ => 4,
        };
        let tenths = (10 * to_ns.saturating_sub(from_ns)).saturating_sub(depth);
        let duration = format!("{}.{:04}", tenths / 10_000, tenths % 10_000);
        let rest = format!(",\"dur\":{duration},\"cat\":\"{category}\",\"args\":{{{facts}}}");
        self.add(from_ns, "X", &name, &rest);
    }

    fn instant(&mut self, at_ns: u64, name: &fmt::Arguments<'_>) {
        self.add(at_ns, "i", name, ",\"s\":\"t\"");
    }

    fn counter(&mut self, at_ns: u64, (name, key, value): (&str, &str, u32)) {
        let rest = format!(",\"id\":{},\"args\":{{\"{key}\":{value}}}", self.thread);
        self.add(at_ns, "C", &name, &rest);
    }

    /// Adds the start ("s") or the end ("f") of an arrow. It binds to the slice that encloses it.
    fn arrow(&mut self, at_ns: u64, phase: &str, number: u64) {
        let rest = format!(",\"cat\":\"mark\",\"id\":{number},\"bp\":\"e\"");
        self.add(at_ns, phase, &"marks", &rest);
    }

    /// Writes the events of the turn in the order of their times, and forgets them.
    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        // The sort is stable: of two spans that begin at once, the outer comes first.
        self.events.sort_by_key(|(at_ns, _)| *at_ns);
        self.events.drain(..).try_for_each(|(_, event)| write!(out, ",\n{event}"))
    }
}

/// Returns how often a slice made each system call, in the order of their first calls. `behind` are
/// the records behind the slice.
fn call_counts(behind: &[Record]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let names = behind.iter().map_while(|record| match record {
        Record::Call(call) => Some(call.name),
        _ => None,
    });
    for name in names {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
    counts.join(",")
}

fn turn_facts(number: u64, turn: &Turn) -> String {
    let Turn { ready_before, ready, ready_after, sources, idle_before, .. } = turn;
    format!(
        "\"number\":{number},\"ready_before\":{ready_before},\"ready\":{ready},\
         \"ready_after\":{ready_after},\"sources\":{sources},\"idle_before\":{idle_before}"
    )
}

fn wait_facts(turn: &Turn) -> String {
    let mut facts = format!("\"outcome\":\"{}\"", wait_name(turn.waited));
    if turn.timeout_ns != NO_TIMEOUT {
        write!(facts, ",\"timeout_ns\":{}", turn.timeout_ns).expect("a string takes everything");
    }
    facts
}

/// A source by its kind and its slot.
struct Named(Key, &'static str);

impl fmt::Display for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Named(key, kind) = self;
        write!(formatter, "{kind} {}", key.index())
    }
}

/// Nanoseconds, displayed as microseconds.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
pub(super) mod tests;
