//! Pipes that a stream's bytes go through without entering user space, by splice(2).
//!
//! Linux alone can: elsewhere the pool has none to lend, and every stream copies.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Stream, sys};

/// Pipes of one pool: as many streams can be owed bulk at once. Two descriptors each, which is half
/// of what a program keeps back for other things than connections. Whoever finds none copies.
const PIPES_MAX: usize = 8;

/// What a pipe has room for, in the reckoning of pipe(7), which is by pages: 256 pieces of a
/// stream, of up to 32 KiB on loopback and of one segment on a wire. The most that an ordinary user
/// may ask for (`pipe-max-size`); a pool of these takes an eighth of what his pipes may have in all
/// (`pipe-user-pages-soft`).
const PIPE_BYTES: usize = 1 << 20;

/// A stream whose bytes can go to and from a pipe in the kernel.
pub(crate) trait Splice {
    /// Moves what has arrived to the pipe, which must be empty: `WouldBlock` is then about the
    /// stream, which is empty or at an out-of-band mark. Zero is the peer's FIN. A short count
    /// tells nothing: a pipe has a slot for each piece of the stream, be it as small as it may.
    ///
    /// # Errors
    ///
    /// As of a read, and what says that there is no such call for this stream.
    fn splice_in(&mut self, pipe: &Pipe, bytes_max: usize) -> io::Result<usize>;

    /// Sends `bytes` that the pipe holds, all that it holds: `WouldBlock` then means that the
    /// stream takes no more, and no byte is held back to wait for more.
    ///
    /// # Errors
    ///
    /// As of a write, and what says that there is no such call for this stream.
    fn splice_out(&mut self, pipe: &Pipe, bytes: usize) -> io::Result<usize>;
}

/// Empty pipes for who has bulk to move.
#[derive(Debug)]
pub(crate) struct PipePool {
    free: Vec<Pipe>,
    /// Each pipe has one of these, lent or not: with it goes its place in the pool.
    place: Arc<()>,
    /// None is lent, ever: it is not wanted, or the system has refused to splice.
    is_off: bool,
}

impl PipePool {
    /// A pool of no pipe yet, which never has any if it is not `on`.
    pub(crate) fn new(on: bool) -> PipePool {
        PipePool { free: Vec::new(), place: Arc::new(()), is_off: !on }
    }

    /// An empty pipe; none when all are lent, or no more can be made now. One that is closed
    /// in place of being given back makes room for another.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if self.is_off {
            return None;
        }
        self.free.pop().or_else(|| {
            let made = Arc::strong_count(&self.place) - 1;
            (made < PIPES_MAX).then(|| Pipe::new(Arc::clone(&self.place)).ok())?
        })
    }

    /// Takes back a pipe that is empty again.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if !self.is_off {
            self.free.push(pipe);
        }
    }

    /// Lends none from now on.
    pub(crate) fn switch_off(&mut self) {
        self.is_off = true;
        self.free.clear();
    }
}

/// A pipe of the kernel's.
#[derive(Debug)]
pub(crate) struct Pipe {
    read_end: File,
    write_end: File,
    _place: Arc<()>,
}

impl Pipe {
    fn new(place: Arc<()>) -> io::Result<Pipe> {
        let (read_end, write_end) = sys::pipe()?;
        // Refused when the user has many pipes: then it keeps the size that it has.
        let _ = sys::set_pipe_size(write_end.as_fd(), PIPE_BYTES);
        Ok(Pipe { read_end: read_end.into(), write_end: write_end.into(), _place: place })
    }

    /// Copies out what it holds.
    ///
    /// # Errors
    ///
    /// When it holds fewer bytes.
    pub(crate) fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        (&self.read_end).read_exact(buf)
    }

    /// Copies in, for tests.
    #[cfg(test)]
    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut &self.write_end, bytes)
    }
}

impl Splice for Stream {
    fn splice_in(&mut self, pipe: &Pipe, bytes_max: usize) -> io::Result<usize> {
        sys::splice(self.as_fd(), pipe.write_end.as_fd(), bytes_max)
    }

    fn splice_out(&mut self, pipe: &Pipe, bytes: usize) -> io::Result<usize> {
        let splice = || sys::splice(pipe.read_end.as_fd(), self.as_fd(), bytes);
        sys::without_sigpipe(splice)
    }
}
