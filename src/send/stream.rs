//! All of the input out, all of the answer in, both at once.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::echo::{EXPECTED_BYTES_MAX, EchoCheck, Mismatch, UNEXPECTED_BYTES_MAX};
use super::{Event, Input, Options, TIMEOUT_MIN};
use crate::client::connect::{self, failure};
use crate::error::Error;
use crate::process::spawn_thread;
use crate::socket::SEND_FLAGS;

/// Read and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A call on the socket waits for this part of the timeout, then looks how long the silence is. A
/// write that is cut short so had its bytes taken up to such a part earlier.
const TIMEOUT_PARTS: u32 = 8;

/// What the writing thread and the reading one know of each other.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    writer_ended: Condvar,
}

#[derive(Debug)]
struct State {
    /// When the last byte came or went: of the answer, to the peer, or from the input.
    moved_at: Instant,
    /// The reader hands a piece of the answer on, which may take as long as whoever reads our
    /// output likes: no silence of the peer's.
    is_handing_on: bool,
    /// How the writing ended.
    written: Option<Result<(), WriteError>>,
    echo: EchoCheck,
}

#[derive(Debug)]
enum WriteError {
    Input(io::Error),
    Socket(io::Error),
}

impl Shared {
    fn new(options: &Options) -> Shared {
        let awaited_max =
            if options.expect_echo { EXPECTED_BYTES_MAX } else { UNEXPECTED_BYTES_MAX };
        let state = State {
            moved_at: Instant::now(),
            is_handing_on: false,
            written: None,
            echo: EchoCheck::new(awaited_max),
        };
        Shared { state: Mutex::new(state), writer_ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the writer to end, as long as `time_left` says that there is time.
    fn wait_for_writer(&self, time_left: impl Fn(&State) -> Duration) {
        let mut state = self.lock();
        while state.written.is_none() {
            let left = time_left(&state);
            if left.is_zero() {
                return;
            }
            let waited = self.writer_ended.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// How much of the timeout is left before the silence is too long.
    fn time_left(&self, timeout: Duration) -> Duration {
        if self.is_handing_on {
            return timeout;
        }
        timeout.saturating_sub(self.moved_at.elapsed())
    }

    /// How the writing ended, as a failure of the whole.
    fn write_outcome(&self, options: &Options) -> Result<(), Error> {
        match &self.written {
            Some(Err(WriteError::Input(error))) => Err(Error::new("read", "stdin", copy_of(error))),
            Some(Err(WriteError::Socket(error))) => {
                Err(failure("send to", &options.endpoint, copy_of(error)))
            }
            _ => Ok(()),
        }
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
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
    on_event(Event::Connected(connect::peer(socket)))?;
    let input = match &options.message {
        Some(message) => Box::new(io::Cursor::new(message.clone())),
        None => input.unwrap_or_else(|| Box::new(io::empty())),
    };
    let part = (options.timeout / TIMEOUT_PARTS).max(TIMEOUT_MIN);
    socket.set_write_timeout(Some(part)).map_err(failed)?;
    socket.set_read_timeout(Some(part)).map_err(failed)?;
    let shared = Arc::new(Shared::new(options));
    let writer = Writer {
        socket: socket.try_clone().map_err(failed)?,
        shared: Arc::clone(&shared),
        timeout: options.timeout,
        shutdown: options.shutdown,
    };
    // Not joined on every path: a peer that closes first ends the program, although stdin may
    // never end.
    let thread = spawn_thread("writer", move || writer.run(input)).map_err(failed)?;
    if !options.reply {
        let _ = thread.join();
        return shared.lock().write_outcome(options);
    }
    let (ended, bytes_received) = read_answer(options, socket, &shared, on_event)?;
    if bytes_received > 0 {
        on_event(Event::AnswerEnded)?;
    }
    judge(options, &shared.lock(), ended, bytes_received, on_event)
}

/// How the answer ended without an error of the reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The peer closed its direction.
    Closed,
    /// The peer was silent for the timeout, after at least one byte.
    Silent,
}

/// Whether the whole was a success, once the answer has ended.
fn judge(
    options: &Options,
    state: &State,
    ended: Ended,
    bytes_received: u64,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    match &state.written {
        // What could not be read of the input is a failure of ours.
        Some(Err(WriteError::Input(_))) => return state.write_outcome(options),
        // The kernel reports a reset once. The writer met it, so the reader saw a plain end.
        Some(Err(WriteError::Socket(error))) if error.kind() == ErrorKind::ConnectionReset => {
            return Err(reset_failure(options, copy_of(error), bytes_received));
        }
        // A peer may close before it takes all the input, like any program in a pipe.
        _ => {}
    }
    if options.expect_echo {
        let mismatch = state.echo.end();
        return mismatch.map_or(Ok(()), |mismatch| Err(mismatch.failure(&options.endpoint)));
    }
    let Some(Mismatch::Missing { received_bytes, sent_bytes }) = state.echo.missing() else {
        return Ok(());
    };
    let endpoint = &options.endpoint;
    let ended = match ended {
        Ended::Closed => "closed the connection",
        Ended::Silent => "fell silent",
    };
    on_event(Event::Warning(match received_bytes {
        0 => format!("{endpoint} {ended} without an answer"),
        _ => format!("{endpoint} {ended} after {received_bytes} of the {sent_bytes} bytes sent"),
    }))
}

/// A reset may cut the answer, or follow one that is whole: the client cannot tell.
fn reset_failure(options: &Options, error: io::Error, bytes_received: u64) -> Error {
    let failed = failure("get an answer from", &options.endpoint, error);
    match bytes_received {
        0 => failed,
        _ => failed.hint(format!("after {bytes_received} bytes, which may be a part of it")),
    }
}

/// Hands on the answer to its end, and counts its bytes.
fn read_answer(
    options: &Options,
    mut socket: &Socket,
    shared: &Shared,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(Ended, u64), Error> {
    let failed = |error| failure("get an answer from", &options.endpoint, error);
    let mut buf = vec![0; CHUNK_BYTES];
    let mut bytes_received = 0;
    loop {
        match socket.read(&mut buf) {
            Ok(0) => {
                // The end of the peer's own direction: it may still read. Unless input that never
                // ends, or the peer, stands still.
                shared.wait_for_writer(|state| state.time_left(options.timeout));
                return Ok((Ended::Closed, bytes_received));
            }
            Ok(count) => {
                bytes_received += count as u64;
                let mut state = shared.lock();
                state.echo.received(&buf[..count]);
                state.is_handing_on = true;
                drop(state);
                let handed_on = on_event(Event::Answer(&buf[..count]));
                let mut state = shared.lock();
                state.is_handing_on = false;
                state.moved_at = Instant::now();
                handed_on?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let state = shared.lock();
                // As long as there may be input, an answer to it may come.
                if state.written.is_none() || !state.time_left(options.timeout).is_zero() {
                    continue;
                }
                // What could not be sent tells more than the silence that followed.
                state.write_outcome(options)?;
                if bytes_received == 0 {
                    return Err(failed(ErrorKind::TimedOut.into()));
                }
                return Ok((Ended::Silent, bytes_received));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(reset_failure(options, error, bytes_received));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

struct Writer {
    socket: Socket,
    shared: Arc<Shared>,
    timeout: Duration,
    shutdown: bool,
}

impl Writer {
    fn run(self, input: Input) {
        let outcome = self.write_all(input);
        if self.shutdown && !matches!(outcome, Err(WriteError::Input(_))) {
            // Fails when the peer is gone, which the reader will find out as well.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.shared.lock().written = Some(outcome);
        self.shared.writer_ended.notify_all();
    }

    fn write_all(&self, mut input: Input) -> Result<(), WriteError> {
        let mut buf = vec![0; CHUNK_BYTES];
        loop {
            let read = input.read(&mut buf);
            // The end of the input, too: the silence behind it is the peer's.
            self.shared.lock().moved_at = Instant::now();
            let count = match read {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::Input(error)),
            };
            self.shared.lock().echo.sent(&buf[..count]);
            self.write_chunk(&buf[..count]).map_err(WriteError::Socket)?;
        }
    }

    /// Writes on as long as bytes move in either direction: an echo that we are slow to hand on
    /// holds up its own input.
    fn write_chunk(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.send_with_flags(bytes, SEND_FLAGS) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.shared.lock().moved_at = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.shared.lock().time_left(self.timeout).is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
