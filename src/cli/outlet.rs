//! Output that never blocks the loop: a bounded buffer and a thread that writes it out.
//!
//! The crates that offer this bound the lines, not the bytes (128,000 printed datagrams are
//! gigabytes), and keep a closed pipe to themselves, which for stdout has to end the program.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that wait to be written. A reader that is this far behind loses lines, and is told.
const PENDING_BYTES_MAX: usize = 16 << 20;

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
    /// The thread is writing what it took out of `pending`.
    is_writing: bool,
    /// Lines that found no room.
    lines_lost: u64,
}

impl Outlet {
    /// Starts the thread that writes to `target`, and calls `on_error` there for each failed write
    /// (whose bytes are lost).
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
                let mut state = writer.lock();
                state.is_writing = false;
                writer.changed.notify_all();
                while state.pending.is_empty() {
                    state = writer.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut state.pending, &mut batch);
                state.is_writing = true;
                drop(state);
                if let Err(error) = target.write_all(&batch).and_then(|()| target.flush()) {
                    on_error(error);
                }
                batch.clear();
            }
        };
        thread::Builder::new().name("outlet".to_owned()).spawn(write_out)?;
        Ok(Outlet { shared })
    }

    /// Adds one line, made by `push` in the buffer itself, or counts it as lost.
    pub(super) fn line(&self, push: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        if state.pending.len() >= PENDING_BYTES_MAX {
            state.lines_lost += 1;
            return;
        }
        let was_empty = state.pending.is_empty();
        push(&mut state.pending);
        state.pending.push(b'\n');
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
        }
    }

    /// How many lines were lost, the reader being too slow.
    pub(super) fn lines_lost(&self) -> u64 {
        self.shared.lock().lines_lost
    }

    /// Waits until all is written, or until `timeout` has passed: a full pipe must not keep the
    /// program from ending.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        while !state.pending.is_empty() || state.is_writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
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
        let outlet = Outlet::spawn(sink.clone(), |error| panic!("{error}")).unwrap();
        for number in 0..1000 {
            outlet.line(|buf| buf.extend_from_slice(number.to_string().as_bytes()));
        }
        outlet.flush(WAIT_MAX);
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(*sink.0.lock().unwrap(), expected.as_bytes());
    }

    /// case P4: nobody reads, and whoever writes is not held up.
    #[test]
    fn a_full_pipe_holds_up_nobody_and_loses_are_counted() {
        let (near, far) = UnixStream::pair().unwrap();
        let outlet = Outlet::spawn(near, |_| {}).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            outlet.line(|buf| buf.extend_from_slice(&line));
        }
        assert!(outlet.lines_lost() > 0);
        outlet.flush(Duration::ZERO);
        drop(far);
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
        assert_eq!(errors.recv_timeout(WAIT_MAX), Ok(io::ErrorKind::BrokenPipe));
    }
}
