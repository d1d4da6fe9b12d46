//! An outlet with a thread, without one, and with readers of every kind.

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::testing::{WAIT_MAX, wait_until};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Target for Sink {
    fn room(&self, _: Duration) -> usize {
        usize::MAX
    }
}

impl Target for UnixStream {
    fn room(&self, _: Duration) -> usize {
        usize::MAX
    }
}

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
fn lines_are_written_in_order() {
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
fn held_lines_wait_without_a_thread_and_are_written_in_order() {
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

/// case P4: a missing reader does not block the writer.
#[test]
fn a_full_pipe_blocks_no_caller_and_every_line_is_counted_as_lost() {
    // No line fits the pipe, so the sum is the same whenever the thread takes its batch.
    const LINE_BYTES: usize = 1 << 20;
    let (near, far) = UnixStream::pair().unwrap();
    let outlet = Outlet::new(near, |_| {});
    let line = vec![b'x'; LINE_BYTES];
    for _ in 0..64 {
        outlet.line(|buf| buf.extend_from_slice(&line));
        thread::yield_now();
    }
    let kept = (16 << 20) / LINE_BYTES;
    assert_eq!(outlet.shared.lock().lines_lost, 64 - kept as u64);
    assert_eq!(outlet.flush(Instant::now()), 64, "unwritten lines count as lost");
    drop(far);
}

#[test]
fn lines_of_a_failed_write_are_counted_and_lines_for_a_closed_pipe_are_not() {
    struct Failing(ErrorKind);

    impl Target for Failing {
        fn room(&self, _: Duration) -> usize {
            usize::MAX
        }
    }

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

/// Records how many CPUs its writer may use, for each batch.
impl Target for Cpus {
    fn room(&self, _: Duration) -> usize {
        usize::MAX
    }
}

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
fn each_thread_runs_on_the_cpus_of_the_thread_that_made_the_outlet() {
    let cpus = Cpus::default();
    let outlet = Outlet::new(cpus.clone(), |_| {});
    let before = sched_getaffinity(None).unwrap();
    crate::process::cpus::pin(crate::process::cpus::allowed()[0]).unwrap();
    for _ in 0..2 {
        outlet.line(|buf| buf.extend_from_slice(b"line"));
        assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
        wait_until("the end of the thread", || !outlet.shared.lock().has_thread);
    }
    sched_setaffinity(None, &before).unwrap();
    let count = usize::try_from(before.count()).unwrap();
    assert_eq!(*cpus.0.lock().unwrap(), [count; 2]);
}

/// A target that takes a few bytes at a time, until its room is used up.
struct Narrow {
    sink: Sink,
    room_bytes: Arc<Mutex<usize>>,
}

impl Narrow {
    const PIECE_BYTES: usize = 7;
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room_bytes.lock().unwrap();
        *room = room.checked_sub(bytes.len()).expect("no write exceeds the room");
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Narrow {
    fn room(&self, _: Duration) -> usize {
        Narrow::PIECE_BYTES.min(*self.room_bytes.lock().unwrap())
    }
}

#[test]
fn without_a_thread_lines_are_written_while_there_is_room_and_the_rest_is_counted() {
    let (sink, room_bytes) = (Sink::default(), Arc::new(Mutex::new(25)));
    let target = Narrow { sink: sink.clone(), room_bytes: Arc::clone(&room_bytes) };
    let outlet = Outlet::new(target, |error| panic!("{error}"));
    outlet.hold();
    (0..5).for_each(|_| outlet.line(|buf| buf.extend_from_slice(b"123456789")));
    *outlet.shared.lock() = State { lacks_thread: true, is_held: false, ..take(&outlet) };
    assert_eq!(outlet.flush(Instant::now()), 3, "the third line is partly written");
    assert_eq!(sink.0.lock().unwrap().len(), 25);
    *room_bytes.lock().unwrap() = usize::MAX;
    assert_eq!(outlet.flush(Instant::now() + WAIT_MAX), 0);
    assert_eq!(*sink.0.lock().unwrap(), b"123456789\n".repeat(5));
}

fn take(outlet: &Outlet) -> State {
    std::mem::take(&mut *outlet.shared.lock())
}

/// case P4: the reader is behind, and there is no thread.
#[test]
fn without_a_thread_the_waiting_lines_are_bounded() {
    let target = Narrow { sink: Sink::default(), room_bytes: Arc::default() };
    let outlet = Outlet::new(target, |error| panic!("{error}"));
    outlet.hold();
    outlet.shared.lock().lacks_thread = true;
    let line = [b'x'; 1 << 10];
    for _ in 0..200 {
        outlet.line(|buf| buf.extend_from_slice(&line));
    }
    let state = outlet.shared.lock();
    assert!(state.pending.len() <= (64 << 10) + line.len() + 1);
    assert_eq!(state.pending_lines + state.lines_lost, 200);
}
