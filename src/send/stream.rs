//! All of the input out, all of the answer in, both at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::connect::failure;
use super::{Event, Input, Options};
use crate::error::Error;

/// Read and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// How long the writer may take to say how far it got, once the connection is reset. It waits for
/// the peer no more, only for a processor, or for input that may never come.
const RESET_GRACE: Duration = Duration::from_millis(500);

/// What the writing thread and the reading one know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// How the writing ended, and when.
    written: OnceLock<(Instant, Result<(), WriteError>)>,
    /// Grows whenever a piece of the answer arrives or has been handed on. Odd while the reader
    /// hands it on, which may take as long as whoever reads our output likes.
    reads: AtomicU64,
}

#[derive(Debug)]
enum WriteError {
    Input(io::Error),
    Socket(io::Error),
}

/// Sends the message or the input, and hands on the answer until the peer closes or is silent for
/// the timeout after all was sent.
pub(super) fn exchange(
    options: &Options,
    socket: &Socket,
    input: Option<Input>,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error| failure("send to", &options.endpoint, error);
    let shared = Arc::new(Shared::default());
    let input = match &options.message {
        Some(message) => Box::new(io::Cursor::new(message.clone())),
        None => input.unwrap_or_else(|| Box::new(io::empty())),
    };
    socket.set_write_timeout(Some(options.timeout)).map_err(failed)?;
    let (is_writing, writer_ended) = mpsc::channel();
    let writer = Writer {
        socket: socket.try_clone().map_err(failed)?,
        shared: Arc::clone(&shared),
        shutdown: options.shutdown,
        _is_writing: is_writing,
    };
    // Not joined on every path: a peer that closes first ends the program, although stdin may
    // never end.
    let thread = thread::Builder::new().name("writer".to_owned());
    let thread = thread.spawn(move || writer.run(input)).map_err(failed)?;
    if !options.reply {
        let _ = thread.join();
        return written(options, &shared);
    }
    let received = read_answer(options, socket, &shared, &writer_ended, on_event)?;
    if received {
        on_event(Event::AnswerEnded)?;
    }
    // A peer need not take all the input before it closes, as with any program in a pipe; what
    // could not be read of the input is a failure of ours.
    match shared.written.get() {
        Some((_, Err(WriteError::Input(_)))) => written(options, &shared),
        _ => Ok(()),
    }
}

/// How the writing ended.
fn written(options: &Options, shared: &Shared) -> Result<(), Error> {
    match shared.written.get() {
        Some((_, Err(WriteError::Input(error)))) => {
            Err(Error::new("read", "stdin", copy_of(error)))
        }
        Some((_, Err(WriteError::Socket(error)))) => {
            Err(failure("send to", &options.endpoint, copy_of(error)))
        }
        _ => Ok(()),
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Hands on the answer to its end; whether there was any.
fn read_answer(
    options: &Options,
    mut socket: &Socket,
    shared: &Shared,
    writer_ended: &Receiver<()>,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let failed = |error| failure("get an answer from", &options.endpoint, error);
    let mut buf = vec![0; CHUNK_BYTES];
    let mut bytes_received = 0;
    let mut last_byte_at = Instant::now();
    let mut wait = options.timeout;
    loop {
        socket.set_read_timeout(Some(wait)).map_err(failed)?;
        wait = options.timeout;
        match socket.read(&mut buf) {
            Ok(0) => return Ok(bytes_received > 0),
            Ok(count) => {
                shared.reads.fetch_add(1, Ordering::Relaxed);
                bytes_received += count;
                on_event(Event::Answer(&buf[..count]))?;
                last_byte_at = Instant::now();
                shared.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                // Silence counts from the last byte in either direction.
                let Some((written_at, _)) = shared.written.get() else { continue };
                let silent_since = last_byte_at.max(*written_at);
                let left = options.timeout.saturating_sub(silent_since.elapsed());
                if !left.is_zero() {
                    // Not below a microsecond, which would mean no timeout at all.
                    wait = left.max(Duration::from_micros(1));
                    continue;
                }
                // What could not be sent tells more than the silence that followed.
                written(options, shared)?;
                if bytes_received == 0 {
                    return Err(failed(ErrorKind::TimedOut.into()));
                }
                return Ok(true);
            }
            Err(error) => {
                if error.kind() != ErrorKind::ConnectionReset || bytes_received == 0 {
                    return Err(failed(error));
                }
                // A server that answers without reading what it was sent resets when it closes,
                // maybe before the writer could note that it had sent all.
                let _ = writer_ended.recv_timeout(options.timeout.min(RESET_GRACE));
                if !matches!(shared.written.get(), Some((_, Ok(())))) {
                    return Err(failed(error));
                }
                let endpoint = &options.endpoint;
                on_event(Event::Warning(format!(
                    "{endpoint} reset the connection after {bytes_received} bytes"
                )))?;
                return Ok(true);
            }
        }
    }
}

struct Writer {
    socket: Socket,
    shared: Arc<Shared>,
    shutdown: bool,
    /// Nothing is sent; the receiving end hears of its drop, which follows `written`.
    _is_writing: Sender<()>,
}

impl Writer {
    fn run(mut self, input: Input) {
        let outcome = self.write_all(input);
        if self.shutdown && !matches!(outcome, Err(WriteError::Input(_))) {
            // Fails when the peer is gone, which the reader will find out as well.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        let _ = self.shared.written.set((Instant::now(), outcome));
    }

    fn write_all(&mut self, mut input: Input) -> Result<(), WriteError> {
        let mut buf = vec![0; CHUNK_BYTES];
        loop {
            let count = match input.read(&mut buf) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Input(error)),
            };
            self.write_chunk(&buf[..count]).map_err(WriteError::Socket)?;
        }
    }

    /// A write that timed out is tried again as long as the answer moves: an echo that we are slow
    /// to hand on holds up its own input.
    fn write_chunk(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let reads_before = self.shared.reads.load(Ordering::Relaxed);
            match (&self.socket).write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let reads = self.shared.reads.load(Ordering::Relaxed);
                    let is_handing_on = reads % 2 == 1;
                    if reads == reads_before && !is_handing_on {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
