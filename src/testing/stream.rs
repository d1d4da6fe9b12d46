//! A stream whose every read and write is scripted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

/// What the next read gives.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Bytes of the peer's own. What does not fit the buffer is left for the next read.
    Bytes(&'static [u8]),
    /// At most this many bytes of the echo.
    Echo(usize),
    Fin,
    Fails(i32),
}

/// What the next write gives. At the end of the script every write takes all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Takes(usize),
    Fails(i32),
}

#[derive(Debug, Default)]
pub(crate) struct ScriptedStream {
    pub(crate) inputs: VecDeque<Input>,
    pub(crate) outputs: VecDeque<Output>,
    /// At the end of the inputs, reads give what was written; without this they would block.
    pub(crate) echoes: bool,
    pub(crate) written: Vec<u8>,
    /// Bytes of `written` that have been echoed.
    pub(crate) echoed: usize,
    /// This byte of the whole echo is wrong.
    pub(crate) corrupted: Option<usize>,
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    pub(crate) peeks: usize,
    pub(crate) splices: usize,
}

impl ScriptedStream {
    fn echo(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = &self.written[self.echoed..];
        let count = left.len().min(buf.len());
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        buf[..count].copy_from_slice(&left[..count]);
        if let Some(at) = self.corrupted.and_then(|at| at.checked_sub(self.echoed)) {
            buf[..count].iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x10);
        }
        self.echoed += count;
        Ok(count)
    }

    /// How much of at most `bytes` bytes the next write takes.
    pub(crate) fn take_output(&mut self, bytes: usize) -> io::Result<usize> {
        match self.outputs.pop_front() {
            Some(Output::Takes(count)) => Ok(count.min(bytes)),
            Some(Output::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
            None => Ok(bytes),
        }
    }

    /// The next bytes of the peer's own, at most so many. `None` at the FIN.
    pub(crate) fn take_bytes(&mut self, bytes_max: usize) -> io::Result<Option<&'static [u8]>> {
        match self.inputs.pop_front() {
            Some(Input::Bytes(bytes)) => {
                let (taken, rest) = bytes.split_at(bytes.len().min(bytes_max));
                if !rest.is_empty() {
                    self.inputs.push_front(Input::Bytes(rest));
                }
                Ok(Some(taken))
            }
            Some(Input::Fin) => Ok(None),
            Some(Input::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
            Some(Input::Echo(_)) => panic!("an echo is only read"),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for ScriptedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.inputs.front() {
            Some(Input::Echo(count)) => {
                let count = buf.len().min(*count);
                self.inputs.pop_front();
                self.echo(&mut buf[..count])
            }
            None if self.echoes => self.echo(buf),
            _ => {
                let bytes = self.take_bytes(buf.len())?.unwrap_or_default();
                buf[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Write for ScriptedStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        let count = self.take_output(buf.len())?;
        self.written.extend_from_slice(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        panic!("a socket has nothing to flush")
    }
}
