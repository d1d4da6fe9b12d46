//! What a source can do now, as far as the loop knows: state that is remembered between turns.

use std::fmt;
use std::io::{self, ErrorKind};

use mio::event::Event;

/// The remembered readiness of one source.
///
/// epoll is used edge-triggered: an event is delivered once, when something changes. So an event
/// *sets* a bit here and only `WouldBlock`, seen by whoever did the I/O, *clears* it. Between the
/// two the source is taken to be ready, in this turn or a later one.
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
    /// Nothing is known to be possible.
    pub const NONE: Readiness = Readiness(0);
    /// A read, receive or accept is worth trying.
    pub const READABLE: Readiness = Readiness(1);
    /// A write or send is worth trying.
    pub const WRITABLE: Readiness = Readiness(1 << 1);
    /// The peer sends no more: a read that returns 0 is still to come. Never cleared.
    pub const READ_CLOSED: Readiness = Readiness(1 << 2);
    /// Out-of-band data is about, at whose mark a read stops short although more is queued.
    pub const URGENT: Readiness = Readiness(1 << 3);

    /// Reads the readiness out of an event.
    ///
    /// Errors and hang-ups set both directions: the system call that follows tells the cause (an
    /// event with nothing but an error on a UDP socket has `is_readable() == false`).
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

    /// Adds what `other` has to what is known already.
    pub fn merge(&mut self, other: Readiness) {
        self.0 |= other.0;
    }

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a read, receive or accept is worth trying.
    pub fn is_readable(self) -> bool {
        self.contains(Readiness::READABLE)
    }

    /// Whether a write or send is worth trying.
    pub fn is_writable(self) -> bool {
        self.contains(Readiness::WRITABLE)
    }

    /// Tries a read, receive or accept if it is worth trying. `None` when nothing is there, which
    /// `WouldBlock` says, and which clears the bit. An interrupted call is tried again.
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
    /// Any other error of the call.
    pub fn try_read<T>(&mut self, call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
        let tried = if self.is_readable() { until_blocked(call)? } else { None };
        if tried.is_none() {
            self.clear_readable();
        }
        Ok(tried)
    }

    /// Tries a write or send if it is worth trying, as [`try_read`](Readiness::try_read) a read.
    ///
    /// # Errors
    ///
    /// Any error of the call but `WouldBlock` and `Interrupted`.
    pub fn try_write<T>(&mut self, call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
        let tried = if self.is_writable() { until_blocked(call)? } else { None };
        if tried.is_none() {
            self.clear_writable();
        }
        Ok(tried)
    }

    /// To be called after `WouldBlock` from a read, and after a short read that
    /// [drained](Readiness::short_read_drains) the source.
    pub fn clear_readable(&mut self) {
        self.0 &= !(Readiness::READABLE.0 | Readiness::URGENT.0);
    }

    /// To be called after `WouldBlock` from a write.
    pub fn clear_writable(&mut self) {
        self.0 &= !Readiness::WRITABLE.0;
    }

    /// Whether a stream's read that did not fill its buffer has emptied the socket, so that the
    /// next thing to arrive makes a new event and the read that would say `WouldBlock` can be
    /// saved (epoll(7), question 9).
    ///
    /// Not so when the peer has closed (the data and the FIN were one edge, and the read of 0 is
    /// still to come), nor around an out-of-band mark, nor on systems where nobody promises it.
    pub fn short_read_drains(self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android"))
            && !self.contains(Readiness::READ_CLOSED)
            && !self.contains(Readiness::URGENT)
    }
}

fn until_blocked<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
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
    fn a_call_is_tried_while_it_is_worth_it_and_until_it_blocks() {
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
        assert_eq!(failed.kind(), ErrorKind::BrokenPipe, "behind the interrupted one");
        assert!(readiness.is_readable());
        assert_eq!(readiness.try_read(&mut call).unwrap(), None);
        assert_eq!(readiness, Readiness::NONE);
        readiness.merge(Readiness::WRITABLE);
        assert_eq!(readiness.try_write(&mut call).unwrap(), Some(()));
        assert!(readiness.is_writable());
        assert_eq!(calls, 4);
    }

    /// case S4: data and FIN in one edge, so a short read is not the end of it.
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

    /// case S13: a read stops at the out-of-band mark although more is queued behind it.
    #[test]
    fn a_short_read_at_an_out_of_band_mark_does_not_drain() {
        let mut readiness = Readiness::READABLE;
        readiness.merge(Readiness::URGENT);
        assert!(!readiness.short_read_drains());
        readiness.clear_readable();
        assert!(!readiness.contains(Readiness::URGENT));
    }
}
