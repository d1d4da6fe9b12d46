//! Sends all of the input and receives all of the reply, both at the same time.

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
use crate::units::counted;

/// The size of one read or write.
const CHUNK_BYTES: usize = 64 << 10;

/// A call on the socket waits for this fraction of the timeout, then checks how long the silence
/// lasts. If a write times out after a part of its bytes, the socket took them up to this long ago.
const TIMEOUT_PARTS: u32 = 8;

/// The state that the writing thread and the reading thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    writer_ended: Condvar,
}

#[derive(Debug)]
struct State {
    /// When the last byte moved: received from the peer, sent to the peer, or read from the input.
    moved_at: Instant,
    /// The reading thread is passing on a part of the reply. That takes as long as the consumer of
    /// the output needs, and does not count as silence of the peer.
    is_passing_on: bool,
    /// The result of the writing, once it has ended.
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
            is_passing_on: false,
            written: None,
            echo: EchoCheck::new(awaited_max),
        };
        Shared { state: Mutex::new(state), writer_ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the writer ends, or until `time_left` returns zero.
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
    /// Returns how much of the timeout is left.
    fn time_left(&self, timeout: Duration) -> Duration {
        if self.is_passing_on {
            return timeout;
        }
        timeout.saturating_sub(self.moved_at.elapsed())
    }

    /// Returns the error of the writing as the error of the exchange.
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

/// Sends the message or the input. Passes on the reply until the peer closes, or until it is
/// silent for the timeout after all is sent.
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
    // The thread is not joined on every path: if the peer closes first, the program ends although
    // stdin may never end.
    let thread = spawn_thread("writer", move || writer.run(input)).map_err(failed)?;
    if !options.reply {
        let _ = thread.join();
        return shared.lock().write_outcome(options);
    }
    let (ended, bytes_received) = read_reply(options, socket, &shared, on_event)?;
    if bytes_received > 0 {
        on_event(Event::ReplyEnded)?;
    }
    judge(options, &shared.lock(), ended, bytes_received, on_event)
}

/// How the reply ended, if no read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The peer closed its direction.
    Closed,
    /// The peer was silent for the timeout, after at least one byte.
    Silent,
}

/// Returns whether the exchange succeeded, once the reply has ended.
fn judge(
    options: &Options,
    state: &State,
    ended: Ended,
    bytes_received: u64,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    match &state.written {
        // The client failed to read its own input.
        Some(Err(WriteError::Input(_))) => return state.write_outcome(options),
        // The kernel reports a reset only once. The writer received it, so the reader saw a normal
        // end.
        Some(Err(WriteError::Socket(error))) if error.kind() == ErrorKind::ConnectionReset => {
            return Err(reset_failure(options, copy_of(error), bytes_received));
        }
        // A peer may close before it reads all the input, as any program in a pipe may.
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
        _ => {
            let sent = counted(sent_bytes, "byte");
            format!("{endpoint} {ended} after {received_bytes} of {sent} sent")
        }
    }))
}

/// Builds the error for a reset. The client cannot tell whether the reply before it is complete.
fn reset_failure(options: &Options, error: io::Error, bytes_received: u64) -> Error {
    let failed = failure("get an answer from", &options.endpoint, error);
    match bytes_received {
        0 => failed,
        _ => failed
            .hint(format!("after {}, which may be a part of it", counted(bytes_received, "byte"))),
    }
}

/// Passes on the reply until its end. Returns the number of its bytes.
fn read_reply(
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
                // The peer closed its sending direction but may still read, so the writer
                // continues. The wait ends if neither the input nor the peer makes progress for the
                // timeout.
                shared.wait_for_writer(|state| state.time_left(options.timeout));
                return Ok((Ended::Closed, bytes_received));
            }
            Ok(count) => {
                bytes_received += count as u64;
                let mut state = shared.lock();
                state.echo.received(&buf[..count]);
                state.is_passing_on = true;
                drop(state);
                let passed_on = on_event(Event::Reply(&buf[..count]));
                let mut state = shared.lock();
                state.is_passing_on = false;
                state.moved_at = Instant::now();
                passed_on?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let state = shared.lock();
                // More input may come, and then a reply to it.
                if state.written.is_none() || !state.time_left(options.timeout).is_zero() {
                    continue;
                }
                // A failed write says more than the silence after it.
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
            // This fails if the peer is gone, which the reader notices as well.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.shared.lock().written = Some(outcome);
        self.shared.writer_ended.notify_all();
    }

    fn write_all(&self, mut input: Input) -> Result<(), WriteError> {
        let mut buf = vec![0; CHUNK_BYTES];
        loop {
            let read = input.read(&mut buf);
            // This includes the end of the input: from then on only the peer's silence counts.
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

    /// Continues to write while bytes move in either direction: an echo that the client passes on
    /// slowly delays its own input.
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
