//! Accepting: in slices, within the limit, and on through every error.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::counters::{Cause, Tally};
use super::places::Places;
use crate::readiness::Readiness;
use crate::socket::{Listener, Stream};

/// Connections accepted in one slice. A burst longer than that takes turns with the echo of those
/// that were accepted.
pub(super) const ACCEPTS_PER_SLICE: usize = 64;

/// How long accepting pauses after an error that only time can mend. The listener is edge-triggered
/// and still has connections queued: no event will come for them.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What connections are accepted from; a script in tests.
pub(super) trait Accept {
    type Stream;

    /// As accept(2), non-blocking.
    fn accept(&self) -> io::Result<Self::Stream>;
}

impl Accept for Listener {
    type Stream = Stream;

    fn accept(&self) -> io::Result<Stream> {
        Listener::accept(self)
    }
}

/// A descriptor kept in reserve. When there is no other left, it is given up for as long as it
/// takes to accept one connection and close it: that client is told, rather than left to wait.
#[derive(Debug, Default)]
pub(super) struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    /// Takes a descriptor into reserve, if there is one to be had.
    pub(super) fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Closes the first queued connection; `WouldBlock` when none is queued.
    fn shed<A: Accept>(&mut self, listener: &A) -> io::Result<()> {
        if self.0.take().is_none() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let shed = listener.accept().map(|_| ());
        self.refill();
        shed
    }
}

/// What a slice of accepting ended with.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Nothing is queued.
    Drained,
    /// The slice is used up.
    Again,
    /// No room for more connections.
    Full,
    /// To be tried again after [`ACCEPT_RETRY`].
    Paused(io::Error),
}

/// Accepts up to so many connections, and no more than there are places for.
pub(super) fn accept_slice<A: Accept>(
    listener: &A,
    accepts_max: usize,
    readiness: &mut Readiness,
    places: &Places,
    spare: &mut SpareDescriptor,
    tally: &mut Tally,
    mut on_stream: impl FnMut(A::Stream),
) -> Accepted {
    // It may have been given up when there was none to be had in its place.
    spare.refill();
    for _ in 0..accepts_max {
        if !places.take() {
            return Accepted::Full;
        }
        match accept_one(listener, readiness, spare, tally) {
            Ok(Some(stream)) => {
                on_stream(stream);
                continue;
            }
            Ok(None) => places.give_back(),
            Err(outcome) => {
                places.give_back();
                return outcome;
            }
        }
    }
    Accepted::Again
}

/// The next connection; none when it is gone, or when accept was interrupted.
fn accept_one<A: Accept>(
    listener: &A,
    readiness: &mut Readiness,
    spare: &mut SpareDescriptor,
    tally: &mut Tally,
) -> Result<Option<A::Stream>, Accepted> {
    let error = match listener.accept() {
        Ok(stream) => {
            tally.add(Cause::Accepted, 1);
            return Ok(Some(stream));
        }
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::Interrupted => return Ok(None),
        ErrorKind::WouldBlock => {
            readiness.clear_readable();
            return Err(Accepted::Drained);
        }
        _ => {}
    }
    let cause = accept_cause(&error);
    tally.add(cause, 1);
    if cause == Cause::AcceptAborted {
        return Ok(None);
    }
    if cause == Cause::AcceptNoDescriptor {
        match spare.shed(listener) {
            Ok(()) => tally.add(Cause::Shed, 1),
            // Linux looks for a descriptor before it looks at the queue.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readiness.clear_readable();
                return Err(Accepted::Drained);
            }
            Err(_) => {}
        }
    }
    Err(Accepted::Paused(error))
}

/// Sorts the errors of accept(2) into those of the one connection, which is gone, and those of
/// this host, which last. Linux passes on pending network errors of the new socket; its manual
/// page says to treat them like `EAGAIN`, EPERM being a firewall's.
fn accept_cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(
            libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ETIMEDOUT,
        ) => Cause::AcceptAborted,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::ENONET) => Cause::AcceptAborted,
        Some(libc::EMFILE | libc::ENFILE) => Cause::AcceptNoDescriptor,
        Some(libc::ENOBUFS | libc::ENOMEM) => Cause::AcceptNoMemory,
        _ => Cause::AcceptFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Errors by number; 0 is a connection. At its end, nothing is queued.
    struct Script(RefCell<VecDeque<i32>>);

    impl Accept for Script {
        type Stream = ();

        fn accept(&self) -> io::Result<()> {
            match self.0.borrow_mut().pop_front() {
                Some(0) => Ok(()),
                Some(number) => Err(io::Error::from_raw_os_error(number)),
                None => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    fn script(results: &[i32]) -> Script {
        Script(RefCell::new(results.iter().copied().collect()))
    }

    fn run(listener: &Script, room: usize) -> (Accepted, usize, Tally) {
        run_up_to(ACCEPTS_PER_SLICE, listener, room)
    }

    fn run_up_to(accepts_max: usize, listener: &Script, room: usize) -> (Accepted, usize, Tally) {
        let places = Places::new(room);
        let (mut readiness, mut tally) = (Readiness::READABLE, Tally::default());
        let mut spare = SpareDescriptor::default();
        spare.refill();
        let mut streams = 0;
        let on_stream = |()| streams += 1;
        let outcome = accept_slice(
            listener,
            accepts_max,
            &mut readiness,
            &places,
            &mut spare,
            &mut tally,
            on_stream,
        );
        assert_eq!(places.free(), room - streams, "what was not accepted holds no place");
        let drained = matches!(outcome, Accepted::Drained);
        assert_eq!(readiness.is_readable(), !drained, "only WouldBlock clears readiness");
        assert!(spare.0.is_some(), "the spare descriptor is back in reserve");
        (outcome, streams, tally)
    }

    /// case A2: scripted, since Linux gives most of these only with particular devices.
    #[test]
    fn a_connection_that_is_gone_is_counted_and_accepting_goes_on() {
        use libc::*;
        let gone = [ECONNABORTED, ECONNRESET, EPROTO, ENETUNREACH, EPERM, EHOSTUNREACH, EOPNOTSUPP];
        let mut results = vec![0];
        results.extend(gone);
        results.push(0);
        let (outcome, streams, tally) = run(&script(&results), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!(streams, 2);
        assert_eq!(tally.count(Cause::AcceptAborted), gone.len() as u64);
    }

    /// case A3
    #[test]
    fn without_descriptors_one_connection_is_shed_and_accepting_pauses() {
        for number in [libc::EMFILE, libc::ENFILE] {
            let listener = script(&[0, number, 0, 0]);
            let (outcome, streams, tally) = run(&listener, usize::MAX);
            assert!(matches!(outcome, Accepted::Paused(_)));
            assert_eq!((streams, tally.count(Cause::Shed)), (1, 1));
            assert_eq!(listener.0.borrow().len(), 1, "the others wait for the retry");
        }
    }

    /// case A3: there is nobody to be told, and nobody to come back for.
    #[test]
    fn without_descriptors_and_with_nobody_queued_the_listener_waits_for_an_event() {
        let (outcome, _, tally) = run(&script(&[0, libc::EMFILE]), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!(tally.count(Cause::Shed), 0);
    }

    /// case A4
    #[test]
    fn without_memory_accepting_pauses_and_nothing_is_shed() {
        for number in [libc::ENOBUFS, libc::ENOMEM] {
            let (outcome, _, tally) = run(&script(&[number, 0]), usize::MAX);
            assert!(matches!(outcome, Accepted::Paused(_)));
            assert_eq!(tally.count(Cause::AcceptNoMemory), 1);
            assert_eq!(tally.count(Cause::Shed), 0);
        }
    }

    #[test]
    fn an_error_that_no_manual_names_pauses_accepting() {
        let (outcome, _, tally) = run(&script(&[libc::EINVAL, 0]), usize::MAX);
        assert!(matches!(outcome, Accepted::Paused(_)));
        assert_eq!(tally.count(Cause::AcceptFailed), 1);
    }

    /// case A1
    #[test]
    fn more_than_a_slice_is_left_for_the_next_slice() {
        let listener = script(&[0; ACCEPTS_PER_SLICE + 5]);
        let (outcome, streams, _) = run(&listener, usize::MAX);
        assert!(matches!(outcome, Accepted::Again));
        assert_eq!(streams, ACCEPTS_PER_SLICE);
        let (outcome, streams, _) = run(&listener, usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!(streams, 5);
    }

    /// case A5
    #[test]
    fn no_more_are_accepted_than_there_is_room_for() {
        let listener = script(&[0, 0, 0]);
        let (outcome, streams, _) = run(&listener, 2);
        assert!(matches!(outcome, Accepted::Full));
        assert_eq!((streams, listener.0.borrow().len()), (2, 1));
        assert!(matches!(run(&listener, 0).0, Accepted::Full));
    }

    #[test]
    fn a_server_that_wants_one_takes_one() {
        let listener = script(&[0, 0]);
        let (outcome, streams, _) = run_up_to(1, &listener, usize::MAX);
        assert!(matches!(outcome, Accepted::Again));
        assert_eq!((streams, listener.0.borrow().len()), (1, 1));
    }

    #[test]
    fn an_interrupted_accept_is_tried_again_in_the_same_slice() {
        let (outcome, streams, tally) = run(&script(&[libc::EINTR, 0]), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!((streams, tally.count(Cause::Accepted)), (1, 1));
    }
}
