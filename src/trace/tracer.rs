//! The probe that records the turns of one loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::ring::{Call, Mark, NO_TIMEOUT, Record, Ring, Slice, SliceEnd, Turn};
use crate::reactor::{self, CallLog, Handler, Key, MarkedBy, Moved, Next, Probe, Source, Waited};
use crate::readiness::Readiness;
use crate::units::duration_ns;

/// The kind of a source that is gone, or that was there before the trace.
const UNKNOWN: &str = "source";

/// Records the turns of one loop. Hands them over when it is dropped, and when the loop receives
/// [`WRITE_SIGNAL`](super::WRITE_SIGNAL).
#[derive(Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
    /// The number of the loop, from 0.
    index: usize,
    ring: Ring,
    turn: Turn,
    /// The last time that was read. Records begin where the one before ended.
    last_ns: u64,
    slice_from_ns: u64,
    /// What the handler had moved before the slice.
    before: Moved,
    /// The system calls of the slice.
    calls: CallLog,
    /// The kind of each source by its slot.
    kinds: Vec<&'static str>,
    is_write_due: bool,
}

impl Tracer {
    pub(super) fn new(shared: Arc<Shared>, index: usize, capacity: usize) -> Tracer {
        let turn = Turn {
            begun_ns: 0,
            waited_ns: 0,
            run_ns: 0,
            ended_ns: 0,
            timeout_ns: 0,
            waited: Waited::Polled,
            ready_before: 0,
            ready: 0,
            ready_after: 0,
            sources: 0,
            idle_before: 0,
            lost: 0,
        };
        Tracer {
            shared,
            index,
            ring: Ring::new(capacity),
            turn,
            last_ns: 0,
            slice_from_ns: 0,
            before: Moved::default(),
            calls: CallLog::default(),
            kinds: Vec::new(),
            is_write_due: false,
        }
    }

    fn read_clock(&mut self) -> u64 {
        self.last_ns = self.shared.since_begun(Instant::now());
        self.last_ns
    }

    fn push(&mut self, record: Record) {
        if !self.ring.push(record) {
            self.turn.lost = self.turn.lost.saturating_add(1);
        }
    }

    /// Adds the system calls of the slice that has ended.
    fn push_calls(&mut self) {
        let Tracer { shared, ring, turn, calls, .. } = self;
        let mut lost = 0;
        let not_kept = calls.take(|call| {
            let (from_ns, to_ns) = (shared.since_begun(call.from), shared.since_begun(call.to));
            let (name, result) = (call.name, call.result.map(short));
            let record = Record::Call(Call { from_ns, to_ns, name, result });
            lost += u32::from(!ring.push(record));
        });
        turn.lost = turn.lost.saturating_add(lost + not_kept);
    }

    fn kind(&self, key: Key) -> &'static str {
        self.kinds.get(key.index()).copied().unwrap_or(UNKNOWN)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // An empty ring takes its place.
        let ring = std::mem::replace(&mut self.ring, Ring::new(0));
        self.shared.keep(self.index, ring);
    }
}

impl Probe for Tracer {
    type Calls<'a> = &'a CallLog;

    fn calls(&self) -> &CallLog {
        &self.calls
    }

    fn turn_begins(&mut self, ready: usize, sources: usize) {
        let idle_before = self.turn.idle_before;
        let begun_ns = self.read_clock();
        self.turn = Turn {
            begun_ns,
            waited_ns: begun_ns,
            run_ns: begun_ns,
            ended_ns: begun_ns,
            timeout_ns: 0,
            waited: Waited::Polled,
            ready_before: short(ready),
            ready: short(ready),
            ready_after: 0,
            sources: short(sources),
            idle_before,
            lost: 0,
        };
    }

    fn wait_begins(&mut self, timeout: Option<Duration>) {
        self.turn.timeout_ns = timeout.map_or(NO_TIMEOUT, duration_ns);
    }

    fn wait_ends(&mut self, waited: Waited) {
        self.turn.waited = waited;
        self.turn.waited_ns = self.read_clock();
    }

    fn marked(&mut self, mark: reactor::Mark) {
        let reactor::Mark { key, by, readiness, is_stale } = mark;
        if is_stale && by == MarkedBy::Spin {
            // A spinning loop tries a source that has closed until the next event, in each turn.
            return;
        }
        let kind = if is_stale { UNKNOWN } else { self.kind(key) };
        let (from_ns, to_ns) = (self.last_ns, self.read_clock());
        self.push(Record::Mark(Mark { from_ns, to_ns, key, kind, readiness, by, is_stale }));
    }

    fn run_begins(&mut self, ready: usize) {
        self.turn.ready = short(ready);
        self.turn.run_ns = self.read_clock();
    }

    fn signalled(&mut self, signal: i32) {
        self.is_write_due |= signal == super::WRITE_SIGNAL;
        let at_ns = self.read_clock();
        self.push(Record::Signal { at_ns, signal });
    }

    fn slice_begins<H: Handler>(&mut self, handler: &H) {
        self.before = handler.moved();
        self.slice_from_ns = self.read_clock();
    }

    fn slice_ends<H: Handler>(
        &mut self,
        (key, source): (Key, &H::Source),
        next: Next,
        readiness: Readiness,
        handler: &H,
    ) {
        let to_ns = self.read_clock();
        let (before, after) = (self.before, handler.moved());
        let interest = source.interest();
        let end = match next {
            Next::Close => SliceEnd::Closed,
            Next::Again => SliceEnd::UsedUp,
            Next::Wait if interest.is_writable() && !readiness.is_writable() => SliceEnd::Owing,
            Next::Wait if readiness.is_readable() => SliceEnd::Resting,
            Next::Wait => SliceEnd::Drained,
        };
        let more = |before: u64, after: u64| {
            u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX)
        };
        self.push(Record::Slice(Slice {
            from_ns: self.slice_from_ns,
            to_ns,
            key,
            kind: source.kind(),
            bytes_in: more(before.bytes_in, after.bytes_in),
            bytes_out: more(before.bytes_out, after.bytes_out),
            messages_in: more(before.messages_in, after.messages_in),
            messages_out: more(before.messages_out, after.messages_out),
            end,
        }));
        self.push_calls();
    }

    fn opened<S: Source>(&mut self, key: Key, source: &S) {
        let kind = source.kind();
        if self.kinds.len() <= key.index() {
            self.kinds.resize(key.index() + 1, UNKNOWN);
        }
        self.kinds[key.index()] = kind;
        let at_ns = self.read_clock();
        self.push(Record::Opened { at_ns, key, kind });
    }

    fn closed(&mut self, key: Key) {
        let (at_ns, kind) = (self.read_clock(), self.kind(key));
        self.push(Record::Closed { at_ns, key, kind });
    }

    fn turn_ends(&mut self, ready: usize, sources: usize) {
        // A spinning loop makes millions of turns that find nothing, which would fill the ring.
        let is_idle = self.turn.timeout_ns == 0 && ready == 0 && self.ring.is_turn_empty();
        if is_idle {
            self.turn.idle_before = self.turn.idle_before.saturating_add(1);
            return;
        }
        self.turn.ended_ns = self.read_clock();
        (self.turn.ready_after, self.turn.sources) = (short(ready), short(sources));
        self.ring.end_turn(self.turn);
        self.turn.idle_before = 0;
        if std::mem::take(&mut self.is_write_due) {
            self.shared.keep_copy(self.index, &self.ring);
            Shared::write_beside(&self.shared);
        }
    }
}

/// Returns a length as a record holds it.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
