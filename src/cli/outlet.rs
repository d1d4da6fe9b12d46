//! Output that never blocks the loop: a bounded buffer and a thread that writes it out.
//!
//! The crates that offer this bound the lines, not the bytes (128,000 printed datagrams are
//! gigabytes), and keep a closed pipe to themselves, which for stdout has to end the program.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Bytes that wait or are being written, both together. A reader that is this far behind loses
/// lines, and is told. A line that begins below the bound may end beyond it.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// What the buffer for the next batch keeps of its memory. More would be held twice: each of the
/// two buffers grows to the bound once.
const BATCH_BYTES_KEPT: usize = 64 << 10;

/// A line-wise output in the background. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    shared: Arc<Shared>,
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
}

impl Outlet {
    /// Starts the thread that writes to `target`, and calls `on_error` there for each failed write
    /// (the lines of its batch count as lost).
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    pub(super) fn spawn(
        mut target: impl Write + Send + 'static,
        mut on_error: impl FnMut(io::Error) + Send + 'static,
    ) -> io::Result<Outlet> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let write_out = move || {
            let mut batch = Vec::new();
            loop {
                writer.take_batch(&mut batch);
                let written = target.write_all(&batch).and_then(|()| target.flush());
                batch.clear();
                batch.shrink_to(BATCH_BYTES_KEPT);
                // Nobody misses the lines of a reader that has left.
                let lost = written.as_ref().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
                writer.end_batch(lost);
                if let Err(error) = written {
                    on_error(error);
                }
            }
        };
        thread::Builder::new().name("outlet".to_owned()).spawn(write_out)?;
        Ok(Outlet { shared })
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
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
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

    /// Waits for lines, and takes all there are.
    fn take_batch(&self, batch: &mut Vec<u8>) {
        let mut state = self.lock();
        while state.pending.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.pending, batch);
        state.writing_bytes = batch.len();
        state.writing_lines = std::mem::take(&mut state.pending_lines);
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
    use std::time::Duration;

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
        let outlet = Outlet::spawn(sink.clone(), |error| panic!("{error}")).unwrap();
        for number in 0..1000 {
            outlet.line(|buf| buf.extend_from_slice(number.to_string().as_bytes()));
        }
        assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(*sink.0.lock().unwrap(), expected.as_bytes());
    }

    /// case P4: nobody reads, and whoever writes is not held up.
    #[test]
    fn a_full_pipe_holds_up_nobody_and_every_line_is_counted_as_lost() {
        // No line fits the pipe: whenever the thread takes its batch, the sum is the same.
        const LINE_BYTES: usize = 1 << 20;
        let (near, far) = UnixStream::pair().unwrap();
        let outlet = Outlet::spawn(near, |_| {}).unwrap();
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
            let outlet = Outlet::spawn(Failing(kind), |_| {}).unwrap();
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
        let outlet = Outlet::spawn(near, move |error| {
            let _ = sender.send(error.kind());
        })
        .unwrap();
        outlet.line(|buf| buf.extend_from_slice(b"lost"));
        assert_eq!(errors.recv_timeout(WAIT_MAX), Ok(ErrorKind::BrokenPipe));
    }
}
