//! Peeking and splicing for a scripted stream. The pipes are real ones of the system.

use std::io::{self, ErrorKind};

use super::stream::{Input, ScriptedStream};
use crate::socket::{Peek, Pipe, Splice};

impl Peek for ScriptedStream {
    const CAN_PEEK: bool = true;

    fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.peeks += 1;
        match self.inputs.front() {
            Some(Input::Bytes(bytes)) => {
                let count = bytes.len().min(buf.len());
                buf[..count].copy_from_slice(&bytes[..count]);
                Ok(count)
            }
            #[cfg(feature = "program")]
            Some(Input::Echo(_)) => panic!("an echo can only be read"),
            Some(Input::Fin) => Ok(0),
            Some(Input::Fails(number)) => Err(io::Error::from_raw_os_error(*number)),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

/// Uses the same scripted inputs and outputs as reads and writes.
impl Splice for ScriptedStream {
    fn splice_in(&mut self, pipe: &Pipe, bytes_max: usize) -> io::Result<usize> {
        self.splices += 1;
        match self.take_bytes(bytes_max)? {
            Some(bytes) => {
                pipe.write_all(bytes)?;
                Ok(bytes.len())
            }
            None => {
                self.inputs.push_front(Input::Fin);
                Ok(0)
            }
        }
    }

    fn splice_out(&mut self, pipe: &Pipe, bytes: usize) -> io::Result<usize> {
        self.splices += 1;
        let count = self.take_output(bytes)?;
        let start = self.written.len();
        self.written.resize(start + count, 0);
        pipe.read_exact(&mut self.written[start..])?;
        Ok(count)
    }
}
