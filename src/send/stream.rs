//! All of the input out, all of the answer in, both at once.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::{Event, Input, Options, TIMEOUT_MIN};
use crate::client::connect::{self, failure};
use crate::error::Error;
use crate::socket::SEND_FLAGS;

/// Read and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A call on the socket waits for this part of the timeout, then looks how long the silence is. A
/// write that is cut short so had its bytes taken up to such a part earlier.
const TIMEOUT_PARTS: u32 = 8;

/// How long the writer may take to say how far it got, once the connection is reset. It waits for
/// the peer no more, only for a processor, or for input that may never come.
const RESET_GRACE: Duration = Duration::from_millis(500);

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
}

#[derive(Debug)]
enum WriteError {
    Input(io::Error),
    Socket(io::Error),
}

impl Shared {
    fn new() -> Shared {
        let state = State { moved_at: Instant::now(), is_handing_on: false, written: None };
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
    let shared = Arc::new(Shared::new());
    let writer = Writer {
        socket: socket.try_clone().map_err(failed)?,
        shared: Arc::clone(&shared),
        timeout: options.timeout,
        shutdown: options.shutdown,
    };
    // Not joined on every path: a peer that closes first ends the program, although stdin may
    // never end.
    let thread = thread::Builder::new().name("writer".to_owned());
    let thread = thread.spawn(move || writer.run(input)).map_err(failed)?;
    if !options.reply {
        let _ = thread.join();
        return shared.lock().write_outcome(options);
    }
    let received = read_answer(options, socket, &shared, on_event)?;
    if received {
        on_event(Event::AnswerEnded)?;
    }
    // A peer need not take all the input before it closes, as with any program in a pipe; what
    // could not be read of the input is a failure of ours.
    let state = shared.lock();
    match state.written {
        Some(Err(WriteError::Input(_))) => state.write_outcome(options),
        _ => Ok(()),
    }
}

/// Hands on the answer to its end; whether there was any.
fn read_answer(
    options: &Options,
    mut socket: &Socket,
    shared: &Shared,
    on_event: &mut impl FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let failed = |error| failure("get an answer from", &options.endpoint, error);
    let mut buf = vec![0; CHUNK_BYTES];
    let mut bytes_received = 0;
    loop {
        match socket.read(&mut buf) {
            Ok(0) => {
                // The end of the peer's own direction: it may still read. Unless input that never
                // ends, or the peer, stands still.
                shared.wait_for_writer(|state| state.time_left(options.timeout));
                return Ok(bytes_received > 0);
            }
            Ok(count) => {
                bytes_received += count;
                shared.lock().is_handing_on = true;
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
                return Ok(true);
            }
            Err(error) => {
                if error.kind() != ErrorKind::ConnectionReset || bytes_received == 0 {
                    return Err(failed(error));
                }
                // A server that answers without reading what it was sent resets when it closes,
                // maybe before the writer could note that it had sent all.
                let reset_at = Instant::now();
                let grace = options.timeout.min(RESET_GRACE);
                shared.wait_for_writer(|_| grace.saturating_sub(reset_at.elapsed()));
                if !matches!(shared.lock().written, Some(Ok(()))) {
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
