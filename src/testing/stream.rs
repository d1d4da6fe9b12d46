//! A stream that follows a script for every read and write.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

/// The result of the next read.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Bytes that the peer sends. The next read returns what does not fit the buffer.
    Bytes(&'static [u8]),
    /// At most this many bytes of the echo.
    #[cfg(feature = "program")]
    Echo(usize),
    Fin,
    /// An error with this number.
    Fails(i32),
}

/// The result of the next write. After the last one, every write takes all bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    Takes(usize),
    Fails(i32),
}

#[derive(Debug, Default)]
pub(crate) struct ScriptedStream {
    pub(crate) inputs: VecDeque<Input>,
    pub(crate) outputs: VecDeque<Output>,
    /// After the last input, reads return what was written. If false, they would block.
    pub(crate) echoes: bool,
    pub(crate) written: Vec<u8>,
    /// Bytes of `written` that reads have returned.
    pub(crate) echoed: usize,
    /// The position in the whole echo of a byte that reads return corrupted.
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

    /// Returns how many of `bytes` bytes the next write takes.
    pub(crate) fn take_output(&mut self, bytes: usize) -> io::Result<usize> {
        match self.outputs.pop_front() {
            Some(Output::Takes(count)) => Ok(count.min(bytes)),
            Some(Output::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
            None => Ok(bytes),
        }
    }

    /// Takes the next bytes that the peer sends, at most `bytes_max`. Returns `None` at the FIN.
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
            #[cfg(feature = "program")]
            Some(Input::Echo(_)) => panic!("an echo can only be read"),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for ScriptedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.inputs.front() {
            #[cfg(feature = "program")]
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
