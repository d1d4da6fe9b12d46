//! Reports to a service manager (sd_notify(3)): that the service is ready, its status, that it
//! ends, and, for the watchdog, that every loop turns.
//!
//! A thread of its own does this, with sends that do not block: a manager that does not read delays
//! neither a loop nor the end. Without a manager there is no thread.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::warn;

use super::handles::Handles;
use crate::echo::Bound;
use crate::process::spawn_thread;
use crate::units::counted;

/// How often the status is updated, if it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long the loops may take to reply before they are asked again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// When to send again after the manager's queue was full. No event says that it has room.
const RETRY: Duration = Duration::from_millis(100);

/// The shortest interval between two watchdog messages, however short the watchdog's own time is.
const PING_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The time beyond the drain that the manager grants for the service to end.
const END_MARGIN: Duration = Duration::from_secs(5);

/// The number of endpoints that the status names. A manager reads at most 4 KiB.
const ENDPOINTS_NAMED_MAX: usize = 4;

/// An event for the supervisor.
#[derive(Debug)]
pub(super) enum Event {
    /// A loop has begun to drain, for up to this time.
    Draining(Duration),
    /// All loops have ended.
    Ended,
}

/// Reports to the manager until it is dropped, which reports the end.
#[derive(Debug)]
pub(super) struct Supervisor {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Reports that the service is ready, and continues in the background. Returns `None` without a
    /// manager, and logs a warning if the manager cannot be reached.
    pub(super) fn start(
        (events, receiver): (Sender<Event>, Receiver<Event>),
        bound: &[Bound],
        handles: Handles,
    ) -> Option<Supervisor> {
        let wanted = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let started = NotifySocket::new(&wanted).and_then(|socket| {
            let watchdog = sd_notify::watchdog_enabled().filter(|time| !time.is_zero());
            let mut notifier = Notifier::new(socket, handles, serving(bound), watchdog);
            notifier.send_ready()?;
            spawn_thread("supervisor", move || notifier.run(&receiver))
        });
        match started {
            Ok(thread) => Some(Supervisor { events, thread: Some(thread) }),
            Err(error) => {
                let reason = crate::error::reason(&error);
                warn!("NOTIFY_SOCKET is ignored: cannot send to {}: {reason}", wanted.display());
                None
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Ended);
        // The thread waits only for loops that still turn, and not for long.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serving(bound: &[Bound]) -> String {
    let named = bound.iter().take(ENDPOINTS_NAMED_MAX);
    let mut serving = named
        .fold("serving".to_owned(), |text, Bound { endpoint, .. }| format!("{text} {endpoint}"));
    if bound.len() > ENDPOINTS_NAMED_MAX {
        serving += &format!(" and {} more", bound.len() - ENDPOINTS_NAMED_MAX);
    }
    serving
}

/// The socket to the manager.
#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    /// The address of each message. The socket is not connected, because a manager may come back.
    addr: SocketAddr,
}

impl NotifySocket {
    /// Opens a socket. `name` is an absolute path, or `@` and an abstract name.
    fn new(name: &OsStr) -> io::Result<NotifySocket> {
        let addr = match name.as_encoded_bytes() {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "expected a path or @name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(NotifySocket { socket, addr })
    }

    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        self.socket.send_to_addr(lines.as_bytes(), &self.addr).map(|_| ())
    }
}

/// The state of the thread.
#[derive(Debug)]
struct Notifier {
    socket: NotifySocket,
    handles: Handles,
    /// What the service does: the beginning of the status.
    doing: String,
    status_sent: String,
    status_at: Instant,
    /// The interval of watchdog messages, and the time of the next one.
    ping: Option<(Duration, Instant)>,
    /// Changes of state that found no room, in order. Other messages are not repeated, because a
    /// later one replaces them.
    owed: VecDeque<Vec<NotifyState<'static>>>,
    is_ending: bool,
    has_failed: bool,
    was_silent: bool,
}

impl Notifier {
    fn new(
        socket: NotifySocket,
        handles: Handles,
        doing: String,
        watchdog: Option<Duration>,
    ) -> Notifier {
        let now = Instant::now();
        // Half of the watchdog's time, as sd_watchdog_enabled(3) recommends.
        let interval = watchdog.map(|allowed| (allowed / 2).max(PING_INTERVAL_MIN));
        Notifier {
            socket,
            handles,
            doing,
            status_sent: String::new(),
            status_at: now,
            ping: interval.map(|interval| (interval, now + interval)),
            owed: VecDeque::new(),
            is_ending: false,
            has_failed: false,
            was_silent: false,
        }
    }

    /// Sends that the service is ready. Fails if the manager cannot be reached; if its queue is
    /// full, the message is sent later.
    fn send_ready(&mut self) -> io::Result<()> {
        match self.socket.send(&[NotifyState::Ready]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.owed.push_back(vec![NotifyState::Ready]);
                Ok(())
            }
            other => other,
        }
    }

    fn run(mut self, receiver: &Receiver<Event>) {
        loop {
            match receiver.recv_timeout(self.next_at().saturating_duration_since(Instant::now())) {
                Ok(Event::Draining(timeout)) => self.send_end(Some(timeout)),
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    self.send_end(None);
                    // A last attempt: the end does not wait for the manager.
                    self.send_owed();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.run_due(),
            }
        }
    }

    fn next_at(&self) -> Instant {
        let retry_at = (!self.owed.is_empty()).then(|| Instant::now() + RETRY);
        let ping_at = self.ping.map(|(_, at)| at);
        [retry_at, ping_at].into_iter().flatten().fold(self.status_at, Instant::min)
    }

    /// Does everything that is due.
    fn run_due(&mut self) {
        self.send_owed();
        let now = Instant::now();
        let is_due = |at: Instant| at <= now;
        if !is_due(self.status_at) && !self.ping.is_some_and(|(_, at)| is_due(at)) {
            return;
        }
        let Some(replies) = self.handles.ask_and_wait(REPLY_TIMEOUT) else {
            // The loops are asked again at once, so that the watchdog may still be notified in
            // time.
            return self.note_silence();
        };
        self.was_silent = false;
        let now = Instant::now();
        if let Some((interval, at)) = &mut self.ping
            && *at <= now
        {
            *at = now + *interval;
            self.send(&[NotifyState::Watchdog]);
        }
        if self.status_at <= now {
            self.status_at = now + STATUS_INTERVAL;
            let replies = replies.iter().flatten();
            let open: u64 = replies.map(|reply| reply.counters.connections_open).sum();
            self.send_status(&format!("{}: {}", self.doing, counted(open, "connection")));
        }
    }

    fn note_silence(&mut self) {
        // Without a watchdog the status can wait.
        if self.ping.is_none() {
            self.status_at = Instant::now() + STATUS_INTERVAL;
        } else if !self.was_silent {
            self.was_silent = true;
            warn!("a loop has not replied for {REPLY_TIMEOUT:?}: the watchdog is not notified");
        }
    }

    fn send_status(&mut self, status: &str) {
        if status != self.status_sent {
            status.clone_into(&mut self.status_sent);
            self.send(&[NotifyState::Status(status)]);
        }
    }

    /// Reports once that the service ends. Asks for more time if the drain may take longer than the
    /// manager waits.
    fn send_end(&mut self, drain_timeout: Option<Duration>) {
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        "draining".clone_into(&mut self.doing);
        let mut states = vec![NotifyState::Stopping, NotifyState::Status("draining")];
        if let Some(timeout) = drain_timeout {
            let needed = timeout.saturating_add(END_MARGIN).as_micros();
            states.push(NotifyState::ExtendTimeoutUsec(needed.try_into().unwrap_or(u32::MAX)));
        }
        self.owed.push_back(states);
        self.send_owed();
    }

    /// Sends the owed changes of state, as far as the manager has room.
    fn send_owed(&mut self) {
        while let Some(states) = self.owed.front() {
            match self.socket.send(states) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                outcome => {
                    self.owed.pop_front();
                    self.warn_once(outcome);
                }
            }
        }
    }

    /// Sends a message that may be lost.
    fn send(&mut self, states: &[NotifyState<'_>]) {
        if self.owed.is_empty() {
            let outcome = self.socket.send(states);
            self.warn_once(outcome);
        }
    }

    fn warn_once(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && !self.has_failed => {
                self.has_failed = true;
                warn!("cannot notify the service manager: {}", crate::error::reason(&error));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::echo::{Options, Server};
    use crate::reactor::Reactor;
    use crate::testing::WAIT_MAX;

    #[test]
    fn the_watchdog_is_not_notified_while_a_loop_does_not_turn() {
        let mut reactor = Reactor::new().unwrap();
        let handles = Handles::new(vec![reactor.handle()]);
        let mut server = Server::new(Options::default());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let socket = NotifySocket::new(path.as_os_str()).unwrap();
        let watchdog = Some(Duration::from_millis(20));
        let notifier = Notifier::new(socket, handles, "serving".to_owned(), watchdog);
        let (events, receiver) = mpsc::channel();
        let thread = thread::spawn(move || notifier.run(&receiver));

        // Many times the watchdog's time.
        manager.set_nonblocking(true).unwrap();
        let silent_until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < silent_until {
            let received = manager.recv(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(received, Err(io::ErrorKind::WouldBlock));
            thread::sleep(Duration::from_millis(5));
        }
        manager.set_nonblocking(false).unwrap();
        let stop = reactor.handle();
        let turning = thread::spawn(move || reactor.run(&mut server));
        let mut buf = [0; 64];
        let length = manager.recv(&mut buf).unwrap();
        assert_eq!(&buf[..length], b"WATCHDOG=1\n");
        stop.stop();
        turning.join().unwrap().unwrap();
        events.send(Event::Ended).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn the_status_names_some_endpoints_and_counts_the_others() {
        let bound = |port| Bound {
            datagram_bytes_max: None,
            endpoint: format!("tcp://127.0.0.1:{port}").parse().unwrap(),
            addrs: Vec::new(),
            granted: Vec::new(),
        };
        let all: Vec<Bound> = (1..=6).map(bound).collect();
        assert_eq!(serving(&all[..1]), "serving tcp://127.0.0.1:1");
        let text = serving(&all);
        assert!(text.ends_with(" tcp://127.0.0.1:4 and 2 more"), "{text}");
    }
}
