//! The system calls of a slice, for a probe that records them.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::time::Instant;

/// Calls that are kept of one slice: more than a slice of this crate makes in ordinary life. A
/// generator's slice makes the most, 64 receives and 64 sends of datagrams.
const CALLS_PER_SLICE_MAX: usize = 256;

/// Where a handler reports the system calls of a slice: a [`CallLog`], or `()`, which records
/// nothing. The probe chooses the type, so a loop whose probe records nothing contains no code for
/// it.
pub trait Calls: Copy {
    /// Returns the log, or `None` if nothing is recorded.
    fn log(&self) -> Option<&CallLog>;

    /// Makes a call, and records it by its name. `amount` is the number that the call returns.
    ///
    /// # Errors
    ///
    /// The error of the call.
    #[inline]
    fn make<T>(
        self,
        name: &'static str,
        amount: impl FnOnce(&T) -> usize,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self.log() {
            Some(log) => log.record(name, amount, call),
            None => call(),
        }
    }
}

impl Calls for () {
    #[inline(always)]
    fn log(&self) -> Option<&CallLog> {
        None
    }
}

impl Calls for &CallLog {
    #[inline(always)]
    fn log(&self) -> Option<&CallLog> {
        Some(self)
    }
}

/// A system call that a slice has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name of the call.
    pub name: &'static str,
    /// The time before the call.
    pub from: Instant,
    /// The time after the call.
    pub to: Instant,
    /// The number that the call returned: of bytes, of messages, or a descriptor. Or the number of
    /// its error, 0 for an error without a number.
    pub result: Result<usize, i32>,
}

/// The system calls of the current slice. Only the first calls of a slice are kept, up to a bound.
#[derive(Debug)]
pub struct CallLog {
    calls: RefCell<Vec<Call>>,
    /// Calls of the slice that are not kept.
    lost: Cell<u32>,
}

impl Default for CallLog {
    fn default() -> CallLog {
        let calls = RefCell::new(Vec::with_capacity(CALLS_PER_SLICE_MAX));
        CallLog { calls, lost: Cell::new(0) }
    }
}

impl CallLog {
    /// Makes a call and records it.
    fn record<T>(
        &self,
        name: &'static str,
        amount: impl FnOnce(&T) -> usize,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let from = Instant::now();
        let outcome = call();
        let to = Instant::now();
        let result = match &outcome {
            Ok(value) => Ok(amount(value)),
            Err(error) => Err(error.raw_os_error().unwrap_or(0)),
        };
        let mut calls = self.calls.borrow_mut();
        if calls.len() < CALLS_PER_SLICE_MAX {
            calls.push(Call { name, from, to, result });
        } else {
            self.lost.set(self.lost.get().saturating_add(1));
        }
        outcome
    }

    /// Passes each call of the slice to `each`, forgets all, and returns how many calls were not
    /// kept.
    pub fn take(&self, each: impl FnMut(Call)) -> u32 {
        self.calls.borrow_mut().drain(..).for_each(each);
        self.lost.replace(0)
    }
}

/// A socket whose calls are recorded. It reads and writes as the socket inside does.
#[derive(Debug)]
pub struct Logged<'a, T> {
    /// The socket.
    pub inner: &'a mut T,
    /// Where its calls are recorded.
    pub log: &'a CallLog,
    /// The names of the calls that a read and a write make.
    pub names: (&'static str, &'static str),
}

impl<T: Read> Read for Logged<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Logged { inner, log, names } = self;
        log.record(names.0, |count| *count, || inner.read(buf))
    }
}

impl<T: Write> Write for Logged<'_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Logged { inner, log, names } = self;
        log.record(names.1, |count| *count, || inner.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_the_name_the_order_and_the_result_of_each_call_once() {
        let log = CallLog::default();
        let mut source: &[u8] = b"four";
        let mut logged = Logged { inner: &mut source, log: &log, names: ("recvfrom", "sendto") };
        assert_eq!(logged.read(&mut [0; 64]).unwrap(), 4);
        let refused = || Err::<usize, _>(io::Error::from_raw_os_error(libc::EAGAIN));
        (&log).make("accept4", |count| *count, refused).unwrap_err();
        let mut calls = Vec::new();
        assert_eq!(log.take(|call| calls.push(call)), 0);
        let kept: Vec<_> = calls.iter().map(|call| (call.name, call.result)).collect();
        assert_eq!(kept, [("recvfrom", Ok(4)), ("accept4", Err(libc::EAGAIN))]);
        assert!(calls[0].from <= calls[0].to && calls[0].to <= calls[1].from);
        assert_eq!(log.take(|call| panic!("{call:?} again")), 0);
    }

    #[test]
    fn a_log_is_bounded_and_counts_what_it_does_not_keep() {
        let log = CallLog::default();
        for _ in 0..CALLS_PER_SLICE_MAX + 5 {
            (&log).make("recvfrom", |count| *count, || Ok(1)).unwrap();
        }
        let mut kept = 0;
        assert_eq!(log.take(|_| kept += 1), 5);
        assert_eq!(kept, CALLS_PER_SLICE_MAX);
    }

    #[test]
    fn without_a_log_a_call_is_only_made() {
        assert_eq!(().make("recvfrom", |count| *count, || Ok(7)).unwrap(), 7);
        assert!(().log().is_none());
    }
}
