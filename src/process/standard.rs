//! The standard streams of this process.
//!
//! A standard stream shares its open file with other programs, and one of them may have set
//! `O_NONBLOCK` on it. A call that would block then fails with `EAGAIN`. The types here wait by
//! poll(2) in that case, so a caller sees the same stream either way.
//!
//! Writing to a stdout that was closed at the start fails with `EBADF`, so that a result is not
//! lost silently. Reading from a stdin that was closed at the start fails in the same way.

use std::io::{self, IsTerminal, PipeWriter, Read, Stderr, Stdin, Stdout, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::error::Error;
use crate::socket::{was_stdin_closed, was_stdout_closed};

/// The bytes that a pipe takes without blocking when poll(2) reports it as writable (`PIPE_BUF`,
/// pipe(7)).
const PIPE_ROOM_BYTES: usize = 4096;

/// Returns standard input.
pub fn stdin() -> Input {
    Input(io::stdin())
}

/// Returns standard output. Nothing is buffered: each write is a system call.
pub fn stdout() -> Output<Stdout> {
    Output(io::stdout())
}

/// Returns standard error. Nothing is buffered: each write is a system call.
pub fn stderr() -> Output<Stderr> {
    Output(io::stderr())
}

/// Checks that stdout can take a result. Call it before the work that produces the result.
///
/// # Errors
///
/// stdout was closed at the start.
pub fn check_stdout() -> Result<(), Error> {
    match is_stdout_closed() {
        true => Err(Error::new("write to", "stdout", Errno::BADF)),
        false => Ok(()),
    }
}

/// Returns true if stdout was closed at the start (`>&-` in a shell). The standard library opens
/// /dev/null instead, which takes everything. Known on Linux only.
pub fn is_stdout_closed() -> bool {
    was_stdout_closed()
}

/// Prints text to stdout.
///
/// # Errors
///
/// The errors of write(2). `BrokenPipe` means that the reader has closed its end.
pub fn print(text: &str) -> io::Result<()> {
    stdout().write_all(text.as_bytes())
}

/// Stdout of several threads, until a write to it fails.
#[derive(Debug)]
pub struct SharedStdout {
    error: Mutex<Option<io::Error>>,
    stopper: PipeWriter,
}

impl SharedStdout {
    /// Creates an output that writes a byte to `stopper` when a write to stdout has failed.
    pub fn new(stopper: PipeWriter) -> SharedStdout {
        SharedStdout { error: Mutex::new(None), stopper }
    }

    /// Prints text. Breaks once a write has failed, and then prints nothing more.
    pub fn print(&self, text: &str) -> ControlFlow<()> {
        let mut failed = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some() {
            return ControlFlow::Break(());
        }
        match print(text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                *failed = Some(error);
                let _ = (&self.stopper).write(&[0]);
                ControlFlow::Break(())
            }
        }
    }

    /// Returns the error of the write that failed.
    ///
    /// # Errors
    ///
    /// A write failed, as of [`print()`].
    pub fn into_result(self) -> io::Result<()> {
        let error = self.error.into_inner().unwrap_or_else(PoisonError::into_inner);
        error.map_or(Ok(()), Err)
    }
}

/// An input stream that waits for bytes even if the file is non-blocking.
#[derive(Debug)]
pub struct Input(Stdin);

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if was_stdin_closed() {
            return Err(Errno::BADF.into());
        }
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.0.as_fd(), PollFlags::IN, None)?;
                }
                other => return other,
            }
        }
    }
}

/// An output stream that waits for room even if the file is non-blocking.
#[derive(Debug)]
pub struct Output<T>(T);

impl<T: AsFd> Output<T> {
    /// Waits up to `timeout` for room. Returns how many bytes one write takes without blocking; 0
    /// if there is no room.
    pub fn room(&self, timeout: Duration) -> usize {
        match wait(self.0.as_fd(), PollFlags::OUT, Some(timeout)) {
            Ok(false) => 0,
            // The write reports an error.
            Ok(true) | Err(_) => PIPE_ROOM_BYTES,
        }
    }
}

impl<T: IsTerminal> Output<T> {
    /// Returns true if the stream leads to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl<T: AsFd> Write for Output<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if was_stdout_closed() && self.0.as_fd().as_raw_fd() == libc::STDOUT_FILENO {
            return Err(Errno::BADF.into());
        }
        loop {
            match rustix::io::write(&self.0, buf) {
                Err(Errno::AGAIN) => _ = wait(self.0.as_fd(), PollFlags::OUT, None)?,
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<T: AsFd> AsFd for Output<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for an event, an error or a hang-up of a descriptor. Returns true if one came within
/// `timeout`; `None` waits without a limit.
fn wait(fd: BorrowedFd<'_>, events: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or_default());
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], timeout.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;
    use crate::testing::WAIT_MAX;

    /// Returns a pipe whose writing end is non-blocking.
    fn pipe() -> (io::PipeReader, Output<OwnedFd>) {
        let (reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::WRONLY | OFlags::NONBLOCK).unwrap();
        (reader, Output(writer.into()))
    }

    #[test]
    fn a_write_to_a_full_pipe_that_does_not_block_waits_for_its_reader() {
        let (mut reader, mut output) = pipe();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let sent = bytes.clone();
        let writer = thread::spawn(move || output.write_all(&sent));
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        writer.join().unwrap().unwrap();
        assert!(received == bytes, "{} bytes came", received.len());
    }

    #[test]
    fn a_waiting_write_fails_when_the_reader_closes_its_end() {
        let (reader, mut output) = pipe();
        let writer = thread::spawn(move || output.write_all(&[0; 1 << 20]));
        drop(reader);
        assert_eq!(writer.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_pipe_has_no_room_and_an_emptied_one_has() {
        let (mut reader, mut output) = pipe();
        let mut bytes = 0;
        while output.room(Duration::ZERO) > 0 {
            bytes += output.write(&[0; 4096]).unwrap();
        }
        assert!(bytes > 0);
        reader.read_exact(&mut vec![0; bytes]).unwrap();
        assert_eq!(output.room(WAIT_MAX), 4096);
    }

    #[test]
    fn a_stream_whose_reader_left_has_room_so_that_the_write_reports_it() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        assert_eq!(Output(near).room(Duration::ZERO), 4096);
    }
}
