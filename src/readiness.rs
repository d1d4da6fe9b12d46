//! Remembered readiness: what the loop knows between turns about the I/O that a source can do.

use std::fmt;
use std::io::{self, ErrorKind};

use mio::event::Event;

/// The remembered readiness of one source.
///
/// epoll is used edge-triggered: it delivers an event once, when something changes. An event
/// therefore *sets* a bit, and only `WouldBlock` from the I/O call *clears* it. Until then the loop
/// treats the source as ready, in this turn and in later ones.
///
/// ```
/// use resound::Readiness;
///
/// let mut readiness = Readiness::NONE;
/// readiness.merge(Readiness::READABLE);
/// assert!(readiness.is_readable() && !readiness.is_writable());
/// readiness.clear_readable();
/// assert_eq!(readiness, Readiness::NONE);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness(u8);

impl Readiness {
    /// No call is known to be worth trying.
    pub const NONE: Readiness = Readiness(0);
    /// A read, receive or accept is worth trying.
    pub const READABLE: Readiness = Readiness(1);
    /// A write or send is worth trying.
    pub const WRITABLE: Readiness = Readiness(1 << 1);
    /// The peer sends no more. A read that returns 0 follows the last data. Never cleared.
    pub const READ_CLOSED: Readiness = Readiness(1 << 2);
    /// Out-of-band data is queued. A read stops short at its mark although more is queued.
    pub const URGENT: Readiness = Readiness(1 << 3);

    /// Returns the readiness that an event reports.
    ///
    /// Errors and hang-ups set both directions, because the next system call reports the cause. (An
    /// event on a UDP socket with only an error has `is_readable() == false`.)
    pub fn from_event(event: &Event) -> Readiness {
        let mut readiness = Readiness::NONE;
        if event.is_readable() {
            readiness.merge(Readiness::READABLE);
        }
        if event.is_writable() {
            readiness.merge(Readiness::WRITABLE);
        }
        if event.is_read_closed() {
            readiness.merge(Readiness::READABLE);
            readiness.merge(Readiness::READ_CLOSED);
        }
        if event.is_priority() {
            readiness.merge(Readiness::READABLE);
            readiness.merge(Readiness::URGENT);
        }
        if event.is_error() || event.is_write_closed() {
            readiness.merge(Readiness::READABLE);
            readiness.merge(Readiness::WRITABLE);
        }
        readiness
    }

    /// Sets the bits of `other`.
    pub fn merge(&mut self, other: Readiness) {
        self.0 |= other.0;
    }

    /// Returns true if every bit of `other` is set.
    pub fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns true if a read, receive or accept is worth trying.
    pub fn is_readable(self) -> bool {
        self.contains(Readiness::READABLE)
    }

    /// Returns true if a write or send is worth trying.
    pub fn is_writable(self) -> bool {
        self.contains(Readiness::WRITABLE)
    }

    /// Tries a read, receive or accept if it is worth trying. `WouldBlock` clears the bit and
    /// returns `None`. Retries an interrupted call.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// use resound::Readiness;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (mut stream, _peer) = std::os::unix::net::UnixStream::pair()?;
    /// stream.set_nonblocking(true)?;
    /// let mut readiness = Readiness::READABLE;
    /// assert_eq!(readiness.try_read(|| stream.read(&mut [0; 16]))?, None);
    /// assert!(!readiness.is_readable());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns any error of the call except `WouldBlock` and `Interrupted`.
    pub fn try_read<T>(&mut self, call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
        let tried = if self.is_readable() { retry_interrupted(call)? } else { None };
        if tried.is_none() {
            self.clear_readable();
        }
        Ok(tried)
    }

    /// Tries a write or send if it is worth trying, like [`try_read`](Readiness::try_read).
    ///
    /// # Errors
    ///
    /// Returns any error of the call except `WouldBlock` and `Interrupted`.
    pub fn try_write<T>(&mut self, call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
        let tried = if self.is_writable() { retry_interrupted(call)? } else { None };
        if tried.is_none() {
            self.clear_writable();
        }
        Ok(tried)
    }

    /// Clears the readable bit. Call it after `WouldBlock` from a read, and after a short read that
    /// [drained](Readiness::short_read_drains) the source.
    pub fn clear_readable(&mut self) {
        self.0 &= !(Readiness::READABLE.0 | Readiness::URGENT.0);
    }

    /// Clears the writable bit. Call it after `WouldBlock` from a write.
    pub fn clear_writable(&mut self) {
        self.0 &= !Readiness::WRITABLE.0;
    }

    /// Returns true if a stream's read that did not fill its buffer has emptied the socket. New
    /// data then causes a new event, so the read that would return `WouldBlock` is unnecessary
    /// (epoll(7), question 9).
    ///
    /// Returns false after the peer has closed: data and FIN may share one edge, and the read of 0
    /// is still to come. Returns false near an out-of-band mark, if the source asks for
    /// [`Interest::PRIORITY`](mio::Interest::PRIORITY). Without it, the system does not report the
    /// mark. Returns false on systems that do not guarantee this behaviour.
    pub fn short_read_drains(self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android"))
            && !self.contains(Readiness::READ_CLOSED)
            && !self.contains(Readiness::URGENT)
    }
}

/// Repeats the call while it is interrupted. Returns `None` for `WouldBlock`.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            done => return done.map(Some),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Readiness::READABLE, "readable"),
            (Readiness::WRITABLE, "writable"),
            (Readiness::READ_CLOSED, "read-closed"),
            (Readiness::URGENT, "urgent"),
        ];
        let set = names.iter().filter(|(bit, _)| self.contains(*bit));
        formatter.debug_list().entries(set.map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn would_block_clears_one_direction_only() {
        let mut readiness = Readiness::READABLE;
        readiness.merge(Readiness::WRITABLE);
        readiness.clear_readable();
        assert_eq!(readiness, Readiness::WRITABLE);
        readiness.clear_writable();
        assert_eq!(readiness, Readiness::NONE);
    }

    #[test]
    fn a_call_is_tried_until_it_blocks_and_not_again_before_an_event() {
        let mut results =
            vec![ErrorKind::WouldBlock, ErrorKind::BrokenPipe, ErrorKind::Interrupted];
        let mut calls = 0;
        let mut call = || -> io::Result<()> {
            calls += 1;
            results.pop().map_or(Ok(()), |kind| Err(kind.into()))
        };
        let mut readiness = Readiness::READABLE;
        assert!(readiness.try_write(&mut call).unwrap().is_none(), "it is not writable");
        let failed = readiness.try_read(&mut call).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::BrokenPipe, "the interrupted call is retried");
        assert!(readiness.is_readable());
        assert_eq!(readiness.try_read(&mut call).unwrap(), None);
        assert_eq!(readiness, Readiness::NONE);
        readiness.merge(Readiness::WRITABLE);
        assert_eq!(readiness.try_write(&mut call).unwrap(), Some(()));
        assert!(readiness.is_writable());
        assert_eq!(calls, 4);
    }

    /// case S4: data and FIN may share one edge, so a short read is not the last.
    #[test]
    fn a_short_read_drains_only_while_the_peer_may_still_send() {
        let linux = cfg!(any(target_os = "linux", target_os = "android"));
        let mut readiness = Readiness::READABLE;
        assert_eq!(readiness.short_read_drains(), linux);
        readiness.merge(Readiness::READ_CLOSED);
        assert!(!readiness.short_read_drains());
        readiness.clear_readable();
        assert!(readiness.contains(Readiness::READ_CLOSED));
    }

    /// case S13: a read stops at the out-of-band mark although more is queued after it.
    #[test]
    fn a_short_read_at_an_out_of_band_mark_does_not_drain() {
        let mut readiness = Readiness::READABLE;
        readiness.merge(Readiness::URGENT);
        assert!(!readiness.short_read_drains());
        readiness.clear_readable();
        assert!(!readiness.contains(Readiness::URGENT));
    }
}
