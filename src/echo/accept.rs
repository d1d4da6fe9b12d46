//! Accepts connections in bounded slices and within the connection limit. Every error of accept(2)
//! is counted, and accepting goes on after it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, PoisonError, RwLock};

use super::cause::{Cause, accept_cause};
use super::counters::TransportCounters;
use super::guard::{ClientKey, Guard};
use super::permits::Permits;
use crate::reactor::Calls;
use crate::readiness::Readiness;
use crate::socket::{Listener, Stream};

/// A listener that connections are accepted from. Tests use a script.
pub(super) trait Accept {
    type Stream;

    /// Accepts one connection without blocking, as accept(2) does. The peer of a Unix socket has
    /// no address.
    fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;
}

/// A listener, and where its calls are reported.
pub(super) struct Accepting<'a, C> {
    pub(super) listener: &'a Listener,
    pub(super) calls: C,
}

impl<C: Calls> Accept for Accepting<'_, C> {
    type Stream = Stream;

    fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        let descriptor = |(stream, _): &(Stream, _)| {
            // A descriptor is never negative.
            usize::try_from(stream.as_fd().as_raw_fd()).unwrap_or(0)
        };
        self.calls.make("accept4", descriptor, || self.listener.accept())
    }
}

/// A descriptor kept in reserve. When no other descriptor is left, the server closes it, accepts
/// one connection, closes that connection and opens the spare descriptor again. So the client
/// learns at once that it is not served, instead of waiting in the queue.
#[derive(Debug, Default)]
pub(super) struct SpareDescriptor {
    held: Option<OwnedFd>,
    spare_lock: SpareLock,
}

/// Serialises use of the spare descriptor among the loops of a process, so that no other loop takes
/// the descriptor that one loop has closed for a moment. Clones are the same lock. An accept takes
/// the lock shared, at the cost of two atomic operations. A shed takes it exclusively for its three
/// system calls, and happens only when no descriptor is left.
#[derive(Clone, Debug, Default)]
pub(super) struct SpareLock(Arc<RwLock<()>>);

impl SpareDescriptor {
    /// Uses `spare_lock` for every later accept and shed.
    pub(super) fn share(&mut self, spare_lock: &SpareLock) {
        self.spare_lock = spare_lock.clone();
    }

    /// Opens the spare descriptor if it is not open and a descriptor is free.
    pub(super) fn refill(&mut self) {
        let _shared = self.spare_lock.0.read().unwrap_or_else(PoisonError::into_inner);
        self.held = self.held.take().or_else(any_descriptor);
    }

    fn accept<A: Accept>(&self, listener: &A) -> io::Result<(A::Stream, Option<SocketAddr>)> {
        let _shared = self.spare_lock.0.read().unwrap_or_else(PoisonError::into_inner);
        listener.accept()
    }

    /// Accepts the first queued connection and closes it. Returns `WouldBlock` when none is queued.
    fn shed<A: Accept>(&mut self, listener: &A) -> io::Result<()> {
        let _exclusive = self.spare_lock.0.write().unwrap_or_else(PoisonError::into_inner);
        if self.held.take().is_none() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        // The connection closes here, so that its descriptor is free for the spare one again.
        let shed = listener.accept().map(|_| ());
        self.held = any_descriptor();
        shed
    }
}

fn any_descriptor() -> Option<OwnedFd> {
    let null = File::open("/dev/null").map(OwnedFd::from);
    // An empty root directory, as in a container, has no /dev/null.
    let socket = || UnixDatagram::unbound().map(OwnedFd::from);
    null.or_else(|_| socket()).ok()
}

/// The reason why a slice of accepting ended.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Nothing is queued.
    Drained,
    /// The slice is used up.
    Again,
    /// No permit is free.
    Full,
    /// accept(2) failed. Try again after [`ACCEPT_RETRY`].
    Paused(io::Error),
}

/// What a slice of accepting needs besides its listener.
pub(super) struct AcceptWork<'a> {
    /// The most connections to accept in this slice. Connections that are turned away count.
    pub(super) accepts_max: usize,
    pub(super) permits: &'a Permits,
    pub(super) guard: &'a Guard,
    pub(super) spare: &'a mut SpareDescriptor,
    pub(super) counters: &'a mut TransportCounters,
}

/// Accepts up to `accepts_max` connections, each with a permit, and passes them to `on_stream`.
pub(super) fn accept_slice<A: Accept>(
    listener: &A,
    readiness: &mut Readiness,
    work: &mut AcceptWork<'_>,
    mut on_stream: impl FnMut(A::Stream, ClientKey, Option<SocketAddr>),
) -> Accepted {
    // An earlier shed may have found no free descriptor for the spare one.
    work.spare.refill();
    for _ in 0..work.accepts_max {
        if !work.permits.acquire() {
            return Accepted::Full;
        }
        match accept_one(listener, readiness, work) {
            Ok(Some((stream, client, addr))) => {
                on_stream(stream, client, addr);
                continue;
            }
            Ok(None) => work.permits.release(),
            Err(outcome) => {
                work.permits.release();
                return outcome;
            }
        }
    }
    Accepted::Again
}

/// Accepts the next connection. Returns `None` when it is gone or turned away, or when a signal
/// interrupted accept(2).
fn accept_one<A: Accept>(
    listener: &A,
    readiness: &mut Readiness,
    work: &mut AcceptWork<'_>,
) -> Result<Option<Admitted<A::Stream>>, Accepted> {
    let AcceptWork { guard, spare, counters, .. } = work;
    let error = match spare.accept(listener) {
        Ok((stream, addr)) => return Ok(admit(stream, addr, guard, counters)),
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
    counters.add(cause, 1);
    if cause == Cause::AcceptAborted {
        return Ok(None);
    }
    if cause == Cause::AcceptNoDescriptor {
        match spare.shed(listener) {
            Ok(()) => counters.add(Cause::Shed, 1),
            // Linux looks for a free descriptor before it looks at the queue, so the queue may be
            // empty.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                readiness.clear_readable();
                return Err(Accepted::Drained);
            }
            Err(_) => {}
        }
    }
    Err(Accepted::Paused(error))
}

/// A connection that may stay, with the key of its client and its address, which a Unix socket does
/// not have.
type Admitted<T> = (T, ClientKey, Option<SocketAddr>);

/// Returns a connection that may stay. Closes any other connection.
fn admit<T>(
    stream: T,
    addr: Option<SocketAddr>,
    guard: &Guard,
    counters: &mut TransportCounters,
) -> Option<Admitted<T>> {
    let client = addr.map_or(ClientKey::NONE, |addr| ClientKey::of(addr.ip()));
    let cause = if addr.is_some_and(|addr| guard.denies(addr)) {
        Cause::Denied
    } else if !guard.admits_connection(client) {
        Cause::AddressLimit
    } else {
        counters.add(Cause::Accepted, 1);
        return Some((stream, client, addr));
    };
    counters.add(cause, 1);
    None
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;
    use crate::echo::{Access, Limits, Options};

    // Written as a number, so that a changed bound fails a test.
    const ACCEPTS_PER_SLICE: usize = 64;

    /// The results of accept(2): 0 is a connection, any other number is that error. After the last
    /// one, nothing is queued.
    struct Script(RefCell<VecDeque<i32>>);

    impl Accept for Script {
        type Stream = ();

        fn accept(&self) -> io::Result<((), Option<SocketAddr>)> {
            match self.0.borrow_mut().pop_front() {
                Some(0) => Ok(((), Some(SocketAddr::from(([192, 0, 2, 1], 5000))))),
                Some(number) => Err(io::Error::from_raw_os_error(number)),
                None => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    fn script(results: &[i32]) -> Script {
        Script(RefCell::new(results.iter().copied().collect()))
    }

    fn run(listener: &Script, room: usize) -> (Accepted, usize, TransportCounters) {
        run_up_to(ACCEPTS_PER_SLICE, listener, room)
    }

    fn run_up_to(
        accepts_max: usize,
        listener: &Script,
        room: usize,
    ) -> (Accepted, usize, TransportCounters) {
        run_guarded(accepts_max, listener, room, &Options::default())
    }

    fn run_guarded(
        accepts_max: usize,
        listener: &Script,
        room: usize,
        options: &Options,
    ) -> (Accepted, usize, TransportCounters) {
        let (permits, mut guard) =
            (Permits::new(room), Guard::new(&options.access, options.loop_guard));
        let limits = Limits::new(options);
        guard.set_limits(limits.rate, limits.quota);
        let (mut readiness, mut counters) = (Readiness::READABLE, TransportCounters::default());
        let mut spare = SpareDescriptor::default();
        spare.refill();
        let mut streams = 0;
        let mut work = AcceptWork {
            accepts_max,
            permits: &permits,
            guard: &guard,
            spare: &mut spare,
            counters: &mut counters,
        };
        let outcome = accept_slice(listener, &mut readiness, &mut work, |(), _, _| streams += 1);
        assert_eq!(permits.free(), room - streams, "only accepted connections hold a permit");
        let drained = matches!(outcome, Accepted::Drained);
        assert_eq!(readiness.is_readable(), !drained, "only WouldBlock clears readiness");
        assert!(spare.held.is_some(), "the spare descriptor is back in reserve");
        (outcome, streams, counters)
    }

    /// case A2: scripted, because Linux gives most of these errors only with particular devices.
    #[test]
    fn a_connection_that_is_gone_is_counted_and_accepting_goes_on() {
        use libc::*;
        let gone = [ECONNABORTED, ECONNRESET, EPROTO, ENETUNREACH, EPERM, EHOSTUNREACH, EOPNOTSUPP];
        let mut results = vec![0];
        results.extend(gone);
        results.push(0);
        let (outcome, streams, counters) = run(&script(&results), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!(streams, 2);
        assert_eq!(counters.count(Cause::AcceptAborted), gone.len() as u64);
    }

    /// case A3
    #[test]
    fn without_descriptors_one_connection_is_shed_and_accepting_pauses() {
        for number in [libc::EMFILE, libc::ENFILE] {
            let listener = script(&[0, number, 0, 0]);
            let (outcome, streams, counters) = run(&listener, usize::MAX);
            assert!(matches!(outcome, Accepted::Paused(_)));
            assert_eq!((streams, counters.count(Cause::Shed)), (1, 1));
            assert_eq!(listener.0.borrow().len(), 1, "the others wait for the retry");
        }
    }

    /// case A3: no client has to be told, and none will wait for a retry.
    #[test]
    fn without_descriptors_and_with_an_empty_queue_the_listener_waits_for_an_event() {
        let (outcome, _, counters) = run(&script(&[0, libc::EMFILE]), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!(counters.count(Cause::Shed), 0);
    }

    /// case A4
    #[test]
    fn without_memory_accepting_pauses_and_nothing_is_shed() {
        for number in [libc::ENOBUFS, libc::ENOMEM] {
            let (outcome, _, counters) = run(&script(&[number, 0]), usize::MAX);
            assert!(matches!(outcome, Accepted::Paused(_)));
            assert_eq!(counters.count(Cause::AcceptNoMemory), 1);
            assert_eq!(counters.count(Cause::Shed), 0);
        }
    }

    #[test]
    fn an_unknown_error_pauses_accepting() {
        let (outcome, _, counters) = run(&script(&[libc::EINVAL, 0]), usize::MAX);
        assert!(matches!(outcome, Accepted::Paused(_)));
        assert_eq!(counters.count(Cause::AcceptFailed), 1);
    }

    /// case A1
    #[test]
    fn connections_beyond_a_slice_are_left_for_the_next_slice() {
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
    fn accepting_stops_when_no_permit_is_free() {
        let listener = script(&[0, 0, 0]);
        let (outcome, streams, _) = run(&listener, 2);
        assert!(matches!(outcome, Accepted::Full));
        assert_eq!((streams, listener.0.borrow().len()), (2, 1));
        assert!(matches!(run(&listener, 0).0, Accepted::Full));
    }

    #[test]
    fn a_slice_of_one_accepts_one_connection() {
        let listener = script(&[0, 0]);
        let (outcome, streams, _) = run_up_to(1, &listener, usize::MAX);
        assert!(matches!(outcome, Accepted::Again));
        assert_eq!((streams, listener.0.borrow().len()), (1, 1));
    }

    /// case A6
    #[test]
    fn a_client_at_its_connection_limit_is_turned_away_and_holds_no_permit() {
        let options = Options { connections_per_address_max: Some(2), ..Options::default() };
        let (outcome, streams, counters) =
            run_guarded(ACCEPTS_PER_SLICE, &script(&[0, 0, 0, 0, 0]), 3, &options);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!((streams, counters.count(Cause::AddressLimit)), (2, 3));
        assert_eq!(counters.count(Cause::Accepted), 2);
    }

    #[test]
    fn denied_clients_are_turned_away_in_bounded_slices() {
        let access = Access::new(&[], &["192.0.2.0/24".parse().unwrap()]);
        let options = Options { access, ..Options::default() };
        let listener = script(&[0; ACCEPTS_PER_SLICE + 1]);
        let (outcome, streams, counters) = run_guarded(ACCEPTS_PER_SLICE, &listener, 1, &options);
        assert!(matches!(outcome, Accepted::Again), "the slice ends, so that other sources run");
        assert_eq!((streams, counters.count(Cause::Accepted)), (0, 0));
        assert_eq!(counters.count(Cause::Denied), ACCEPTS_PER_SLICE as u64);
    }

    #[test]
    fn an_interrupted_accept_is_tried_again_in_the_same_slice() {
        let (outcome, streams, counters) = run(&script(&[libc::EINTR, 0]), usize::MAX);
        assert!(matches!(outcome, Accepted::Drained));
        assert_eq!((streams, counters.count(Cause::Accepted)), (1, 1));
    }
}
