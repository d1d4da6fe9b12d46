//! Output that never blocks the loop: a bounded buffer, and a thread that writes it.
//!
//! The thread exists while there is something to write, and for a moment after. While a process has
//! one thread, Linux need not count references to a descriptor in each system call, which saves
//! 1.5% of an echo's CPU time on loopback.
//!
//! If the system grants no thread, the thread that adds a line writes it, but only as far as
//! poll(2) reports room.
//!
//! Crates with this purpose bound the lines, not the bytes (128,000 printed datagrams are
//! gigabytes), and hide a closed pipe, which must end the program if it is stdout.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::process::cpus::{CpuSet, sched_getaffinity, sched_setaffinity};
use crate::process::standard::Output;
use crate::process::{has_memory, spawn_thread};

/// The limit of bytes that wait or are being written, together. A reader that is further behind
/// loses lines, and the log says so. A line that begins below the limit may end beyond it.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// The limit of waiting bytes without a thread. They are removed from the front of the buffer 4 KiB
/// at a time and the rest moves up each time, which is cheap only for a small buffer.
const PENDING_BYTES_WITHOUT_THREAD_MAX: usize = 64 << 10;

/// The capacity that the buffer of a batch keeps. Each of the two buffers grows to the limit once;
/// keeping more would hold that memory twice.
const BATCH_BYTES_KEPT: usize = 64 << 10;

/// The memory that must be free for a thread to start: its stack of 2 MiB, and the 64 MiB that the
/// loops may give to their peers until it runs. The standard library aborts the process if a new
/// thread finds no memory for its signal stack.
const THREAD_START_BYTES: usize = 66 << 20;

/// How long the thread waits for more lines. One line per second, as with `--stats 1s`, starts a
/// thread each time, which takes some tens of microseconds.
const LINGER: Duration = Duration::from_millis(100);

/// An output of lines in the background. Clones share it.
#[derive(Clone)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
    writer: Arc<Mutex<dyn Writer>>,
    /// The CPUs of the thread. The thread that starts it may be pinned by then, and threads inherit
    /// that.
    cpus: Option<CpuSet>,
}

/// The target of an outlet.
pub(super) trait Target: Write + Send + 'static {
    /// Waits up to `timeout` for room. Returns how many bytes one write takes without blocking; 0
    /// if there is no room.
    fn room(&self, timeout: Duration) -> usize;
}

impl<T: AsFd + Send + 'static> Target for Output<T> {
    fn room(&self, timeout: Duration) -> usize {
        Output::room(self, timeout)
    }
}

/// A target, and the handler of its errors.
trait Writer: Send {
    /// Writes all bytes. Returns true if their lines are lost.
    fn write_out(&mut self, bytes: &[u8]) -> bool;

    /// Like [`Target::room`].
    fn room(&self, timeout: Duration) -> usize;
}

struct TargetWriter<T, F> {
    target: T,
    on_error: F,
}

impl<T: Target, F: FnMut(io::Error) + Send> Writer for TargetWriter<T, F> {
    fn write_out(&mut self, bytes: &[u8]) -> bool {
        let written = self.target.write_all(bytes).and_then(|()| self.target.flush());
        // A reader that has closed its end misses no lines.
        let is_lost = written.as_ref().is_err_and(|error| error.kind() != ErrorKind::BrokenPipe);
        if let Err(error) = written {
            (self.on_error)(error);
        }
        is_lost
    }

    fn room(&self, timeout: Duration) -> usize {
        self.target.room(timeout)
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Outlet").field(&self.shared).finish()
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    pending_lines: u64,
    /// The bytes that the thread took out of `pending` and is writing.
    writing_bytes: usize,
    writing_lines: u64,
    /// Lines that found no room, and lines whose write failed.
    lines_lost: u64,
    /// The thread exists, and will check for lines once more.
    has_thread: bool,
    /// The system granted no thread at the last attempt.
    lacks_thread: bool,
    /// Lines wait, and no thread may start.
    is_held: bool,
}

impl Outlet {
    /// Creates an outlet that writes to `target` on a thread that starts when needed. The thread
    /// calls `on_error` for each failed write, whose lines count as lost.
    pub(super) fn new(
        target: impl Target,
        on_error: impl FnMut(io::Error) + Send + 'static,
    ) -> Outlet {
        let writer = Arc::new(Mutex::new(TargetWriter { target, on_error }));
        Outlet { shared: Arc::default(), writer, cpus: sched_getaffinity(None).ok() }
    }

    /// Starts the thread. If the system grants none, writes as much as there is room for.
    fn start(&self) {
        let Outlet { shared, writer, cpus } = self.clone();
        let write_out = move || {
            if let Some(cpus) = cpus {
                let _ = sched_setaffinity(None, &cpus);
            }
            // The previous thread, if it still exists, is about to end and release the lock.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Vec::new();
            while shared.take_batch(&mut batch) {
                let lost = writer.write_out(&batch);
                batch.clear();
                batch.shrink_to(BATCH_BYTES_KEPT);
                shared.end_batch(lost);
            }
        };
        let is_started =
            has_memory(THREAD_START_BYTES) && spawn_thread("outlet", write_out).is_ok();
        let mut state = self.shared.lock();
        state.lacks_thread = !is_started;
        if is_started {
            return;
        }
        // The order matters: the thread that adds a line from here on writes the line itself.
        state.has_thread = false;
        drop(state);
        self.write_directly(Instant::now());
    }

    /// Writes the waiting lines on this thread, as far as there is room by the deadline.
    fn write_directly(&self, deadline: Instant) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = Vec::new();
        while !self.shared.lock().pending.is_empty() {
            let room = writer.room(deadline.saturating_duration_since(Instant::now()));
            if room == 0 {
                return;
            }
            self.shared.take_piece(&mut piece, room);
            let lost = writer.write_out(&piece);
            self.shared.end_batch(lost);
        }
    }

    /// Adds one line, which `push` appends to the buffer, or counts it as lost.
    pub(super) fn line(&self, push: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        let bytes_max =
            if state.lacks_thread { PENDING_BYTES_WITHOUT_THREAD_MAX } else { PENDING_BYTES_MAX };
        if state.pending.len() + state.writing_bytes >= bytes_max {
            state.lines_lost += 1;
            return;
        }
        let was_empty = state.pending.is_empty();
        push(&mut state.pending);
        state.pending.push(b'\n');
        state.pending_lines += 1;
        if state.is_held {
            return;
        }
        let had_thread = std::mem::replace(&mut state.has_thread, true);
        drop(state);
        if !had_thread {
            self.start();
        } else if was_empty {
            self.shared.changed.notify_all();
        }
    }

    /// Keeps all lines waiting, and starts no thread for them, until they are released.
    pub(super) fn hold(&self) {
        self.shared.lock().is_held = true;
    }

    /// Releases the held lines, if there are any.
    pub(super) fn release(&self) {
        let mut state = self.shared.lock();
        state.is_held = false;
        let is_wanted = !state.pending.is_empty() && !state.has_thread;
        state.has_thread |= is_wanted;
        drop(state);
        if is_wanted {
            self.start();
        }
    }

    /// Waits until everything is written, or until the deadline, because a full pipe must not keep
    /// the program from ending. Returns how many lines are lost if the program ends now: lines
    /// without room, lines of failed writes, and unwritten lines. A partly written batch counts as
    /// a whole.
    pub(super) fn flush(&self, deadline: Instant) -> u64 {
        let mut state = self.shared.lock();
        if state.lacks_thread && !state.has_thread && !state.is_held {
            drop(state);
            self.write_directly(deadline);
            state = self.shared.lock();
        }
        loop {
            let unwritten_lines = state.pending_lines + state.writing_lines;
            let left = deadline.saturating_duration_since(Instant::now());
            if unwritten_lines == 0 || left.is_zero() {
                return state.lines_lost + unwritten_lines;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and takes all of them. Returns false if none came for a while; the thread
    /// then counts as ended.
    fn take_batch(&self, batch: &mut Vec<u8>) -> bool {
        let waited =
            self.changed.wait_timeout_while(self.lock(), LINGER, |state| state.pending.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.pending.is_empty() {
            state.has_thread = false;
            return false;
        }
        std::mem::swap(&mut state.pending, batch);
        state.writing_bytes = batch.len();
        state.writing_lines = std::mem::take(&mut state.pending_lines);
        true
    }

    /// Takes up to `bytes_max` bytes from the front. A line that the piece cuts counts with the
    /// piece that ends it.
    fn take_piece(&self, piece: &mut Vec<u8>, bytes_max: usize) {
        let mut state = self.lock();
        let bytes = state.pending.len().min(bytes_max);
        piece.clear();
        piece.extend(state.pending.drain(..bytes));
        let lines = piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        state.pending_lines -= lines;
        state.writing_lines = lines;
        state.writing_bytes = bytes;
    }

    fn end_batch(&self, lost: bool) {
        let mut state = self.lock();
        state.writing_bytes = 0;
        let lines = std::mem::take(&mut state.writing_lines);
        state.lines_lost += if lost { lines } else { 0 };
        drop(state);
        self.changed.notify_all();
    }
}

/// For the log, which writes one complete line, including its end, at a time.
impl Write for Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(|buf| buf.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
