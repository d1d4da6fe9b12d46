//! Output that never blocks the loop: a bounded buffer and a thread that writes it out.
//!
//! The thread is there while there is something to write, and for a moment after. In a process of
//! one thread Linux need not count who uses a descriptor in each system call: of an echo's CPU on
//! loopback a hundredth and a half.
//!
//! The crates that offer this bound the lines, not the bytes (128,000 printed datagrams are
//! gigabytes), and keep a closed pipe to themselves, which for stdout has to end the program.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Bytes that wait or are being written, both together. A reader that is this far behind loses
/// lines, and is told. A line that begins below the bound may end beyond it.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// What the buffer for the next batch keeps of its memory. More would be held twice: each of the
/// two buffers grows to the bound once.
const BATCH_BYTES_KEPT: usize = 64 << 10;

/// How long the thread waits for more. A line a second, as of `--stats 1s`, starts one each time,
/// which takes some tens of microseconds.
const LINGER: Duration = Duration::from_millis(100);

/// A line-wise output in the background. Clones share it.
#[derive(Clone)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    /// Where the thread may run. Whoever starts it may be pinned by then, and threads inherit that.
    cpus: Option<CpuSet>,
}

/// What the thread does: writes a batch, and tells whether its lines are lost.
type Writer = dyn FnMut(&[u8]) -> bool + Send;

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
    /// What the thread took out of `pending` and is writing.
    writing_bytes: usize,
    writing_lines: u64,
    /// Lines that found no room, or whose write failed.
    lines_lost: u64,
    /// The thread is there, and will look once more.
    has_thread: bool,
    /// Lines wait, and no thread is to start.
    is_held: bool,
}

impl Outlet {
    /// Writes to `target`, on a thread that is started for it, and calls `on_error` there for each
    /// failed write (the lines of its batch count as lost).
    pub(super) fn new(
        mut target: impl Write + Send + 'static,
        mut on_error: impl FnMut(io::Error) + Send + 'static,
    ) -> Outlet {
        let writer = move |batch: &[u8]| {
            let written = target.write_all(batch).and_then(|()| target.flush());
            // Nobody misses the lines of a reader that has left.
            let lost = written.as_ref().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
            if let Err(error) = written {
                on_error(error);
            }
            lost
        };
        let cpus = sched_getaffinity(None).ok();
        Outlet { shared: Arc::default(), writer: Arc::new(Mutex::new(writer)), cpus }
    }

    /// Starts the thread. Without one the lines wait for the next that begins it.
    fn start(&self) {
        let Outlet { shared, writer, cpus } = self.clone();
        let write_out = move || {
            if let Some(cpus) = cpus {
                let _ = sched_setaffinity(None, &cpus);
            }
            // The thread before is at its end, if it is there at all.
            let mut write = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Vec::new();
            while shared.take_batch(&mut batch) {
                let lost = write(&batch);
                batch.clear();
                batch.shrink_to(BATCH_BYTES_KEPT);
                shared.end_batch(lost);
            }
        };
        if thread::Builder::new().name("outlet".to_owned()).spawn(write_out).is_err() {
            self.shared.lock().has_thread = false;
        }
    }

    /// Adds one line, made by `push` in the buffer itself, or counts it as lost.
    pub(super) fn line(&self, push: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        if state.pending.len() + state.writing_bytes >= PENDING_BYTES_MAX {
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

    /// Has all lines wait, and no thread start for them, until they are released.
    pub(super) fn hold(&self) {
        self.shared.lock().is_held = true;
    }

    /// Lets those out that were held back, if any were.
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

    /// Waits until all is written, or until the deadline: a full pipe must not keep the program
    /// from ending. Returns how many lines are lost should it end now: for want of room, by failed
    /// writes, and those that are unwritten still. A batch counts as a whole, though a part of it
    /// may have come out.
    pub(super) fn flush(&self, deadline: Instant) -> u64 {
        let mut state = self.shared.lock();
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

    /// Waits for lines, and takes all there are. False when none came for a while: the thread
    /// counts as gone then.
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

    fn end_batch(&self, lost: bool) {
        let mut state = self.lock();
        state.writing_bytes = 0;
        let lines = std::mem::take(&mut state.writing_lines);
        state.lines_lost += if lost { lines } else { 0 };
        drop(state);
        self.changed.notify_all();
    }
}

/// For the log, which hands over one whole line, its end included, at a time.
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
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(30);

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order() {
        let sink = Sink::default();
        let outlet = Outlet::new(sink.clone(), |error| panic!("{error}"));
        for number in 0..1000 {
            outlet.line(|buf| buf.extend_from_slice(number.to_string().as_bytes()));
        }
        assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(*sink.0.lock().unwrap(), expected.as_bytes());
    }

    #[test]
    fn lines_that_are_held_wait_without_a_thread_and_come_out_in_order() {
        let sink = Sink::default();
        let outlet = Outlet::new(sink.clone(), |error| panic!("{error}"));
        outlet.hold();
        outlet.line(|buf| buf.push(b'1'));
        outlet.line(|buf| buf.push(b'2'));
        assert!(!outlet.shared.lock().has_thread);
        assert_eq!(outlet.flush(Instant::now()), 2, "none is written");
        outlet.release();
        outlet.line(|buf| buf.push(b'3'));
        outlet.release();
        assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
        assert_eq!(*sink.0.lock().unwrap(), b"1\n2\n3\n");
    }

    /// case P4: nobody reads, and whoever writes is not held up.
    #[test]
    fn a_full_pipe_holds_up_nobody_and_every_line_is_counted_as_lost() {
        // No line fits the pipe: whenever the thread takes its batch, the sum is the same.
        const LINE_BYTES: usize = 1 << 20;
        let (near, far) = UnixStream::pair().unwrap();
        let outlet = Outlet::new(near, |_| {});
        let line = vec![b'x'; LINE_BYTES];
        for _ in 0..64 {
            outlet.line(|buf| buf.extend_from_slice(&line));
            thread::yield_now();
        }
        let kept = PENDING_BYTES_MAX / LINE_BYTES;
        assert_eq!(outlet.shared.lock().lines_lost, 64 - kept as u64);
        assert_eq!(outlet.flush(Instant::now()), 64, "what is unwritten is lost as well");
        drop(far);
    }

    #[test]
    fn the_lines_of_a_failed_write_are_counted_and_those_of_a_reader_that_left_are_not() {
        struct Failing(ErrorKind);

        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        for (kind, lost) in [(ErrorKind::StorageFull, 3), (ErrorKind::BrokenPipe, 0)] {
            let outlet = Outlet::new(Failing(kind), |_| {});
            for _ in 0..3 {
                outlet.line(|buf| buf.extend_from_slice(b"line"));
            }
            assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), lost, "{kind}");
        }
    }

    /// case P4
    #[test]
    fn a_closed_pipe_is_reported() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let (sender, errors) = mpsc::channel();
        let outlet = Outlet::new(near, move |error| {
            let _ = sender.send(error.kind());
        });
        outlet.line(|buf| buf.extend_from_slice(b"lost"));
        assert_eq!(errors.recv_timeout(WAIT_MAX), Ok(ErrorKind::BrokenPipe));
    }

    /// Notes which processors its writer may use, for each batch.
    #[derive(Clone, Default)]
    struct Cpus(Arc<Mutex<Vec<usize>>>);

    impl Write for Cpus {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = sched_getaffinity(None).unwrap().count();
            self.0.lock().unwrap().push(usize::try_from(count).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_thread_that_is_started_runs_where_the_outlet_was_made() {
        let cpus = Cpus::default();
        let outlet = Outlet::new(cpus.clone(), |_| {});
        let before = sched_getaffinity(None).unwrap();
        crate::cli::cpus::pin(crate::cli::cpus::allowed()[0]).unwrap();
        for _ in 0..2 {
            outlet.line(|buf| buf.extend_from_slice(b"line"));
            assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
            let deadline = Instant::now() + WAIT_MAX;
            while outlet.shared.lock().has_thread {
                assert!(Instant::now() < deadline, "the thread stays");
                thread::yield_now();
            }
        }
        sched_setaffinity(None, &before).unwrap();
        let count = usize::try_from(before.count()).unwrap();
        assert_eq!(*cpus.0.lock().unwrap(), [count; 2]);
    }
}
