//! Pipes through which splice(2) moves the bytes of a stream without copying them to user space.
//!
//! Only Linux has this call. On other systems the pool is empty and every stream copies.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Stream, sys};

/// The maximum number of pipes in a pool, and so of streams whose bulk waits in a pipe at once.
/// Each takes two descriptors, so together they take half of the descriptors that a program
/// reserves for other things than connections. A stream that gets no pipe copies.
const PIPES_MAX: usize = 8;

/// The capacity of a pipe, which pipe(7) counts in pages: it holds 256 pieces of a stream, of up to
/// 32 KiB on loopback and of one segment on a wire. It is the largest that an unprivileged user may
/// request (`pipe-max-size`). A full pool takes an eighth of the pages that all pipes of the user
/// may have (`pipe-user-pages-soft`).
const PIPE_BYTES: usize = 1 << 20;

/// A stream that can exchange bytes with a pipe inside the kernel.
pub(crate) trait Splice {
    /// Moves received bytes to the pipe, which must be empty. `WouldBlock` then means that the
    /// stream is empty or at an out-of-band mark. Zero means the peer's FIN. A short count means
    /// nothing: each piece of the stream takes a slot of the pipe, however small the piece is.
    ///
    /// # Errors
    ///
    /// Those of a read, and those that mean that the stream does not support the call.
    fn splice_in(&mut self, pipe: &Pipe, bytes_max: usize) -> io::Result<usize>;

    /// Sends the content of the pipe, which must be exactly `bytes` long. `WouldBlock` then means
    /// that the send buffer is full, and the kernel delays no byte to wait for more.
    ///
    /// # Errors
    ///
    /// Those of a write, and those that mean that the stream does not support the call.
    fn splice_out(&mut self, pipe: &Pipe, bytes: usize) -> io::Result<usize>;
}

/// The empty pipes that no stream uses.
#[derive(Debug)]
pub(crate) struct PipePool {
    free: Vec<Pipe>,
    /// Counts the pipes: each has a clone, lent or not.
    token: Arc<()>,
    /// True if the pool lends no pipes: the options forbid it, or the system has refused to splice.
    is_off: bool,
}

impl PipePool {
    /// Creates an empty pool. It never creates a pipe if `on` is false.
    pub(crate) fn new(on: bool) -> PipePool {
        PipePool { free: Vec::new(), token: Arc::new(()), is_off: !on }
    }

    /// Returns an empty pipe, or `None` if all are lent or the system creates no more now. The
    /// caller may drop a pipe instead of giving it back. The pool can then create another.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if self.is_off {
            return None;
        }
        self.free.pop().or_else(|| {
            let pipes = Arc::strong_count(&self.token) - 1;
            (pipes < PIPES_MAX).then(|| Pipe::new(Arc::clone(&self.token)).ok())?
        })
    }

    /// Takes back a pipe, which must be empty.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if !self.is_off {
            self.free.push(pipe);
        }
    }

    /// Closes the free pipes and lends none from now on.
    pub(crate) fn switch_off(&mut self) {
        self.is_off = true;
        self.free.clear();
    }
}

/// A pipe(7).
#[derive(Debug)]
pub(crate) struct Pipe {
    read_end: File,
    write_end: File,
    _token: Arc<()>,
}

impl Pipe {
    fn new(token: Arc<()>) -> io::Result<Pipe> {
        let (read_end, write_end) = sys::pipe()?;
        // The kernel refuses if the user has many pipes. The pipe then keeps its size.
        let _ = sys::set_pipe_size(write_end.as_fd(), PIPE_BYTES);
        Ok(Pipe { read_end: read_end.into(), write_end: write_end.into(), _token: token })
    }

    /// Fills `buf` from the pipe.
    ///
    /// # Errors
    ///
    /// If the pipe holds fewer bytes than `buf`.
    pub(crate) fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        (&self.read_end).read_exact(buf)
    }

    /// Writes all bytes to the pipe, for tests.
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
