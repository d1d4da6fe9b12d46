//! What a service manager is told of the service (sd_notify(3)): that it is ready, how it fares,
//! that it ends; and, for its watchdog, that every loop turns.
//!
//! All by a thread of its own, and by sends that do not block: a manager that does not read holds
//! up neither a loop nor the end. Without a manager there is no thread.

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

/// How often the status is brought up to date, if it has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long the loops may take to answer before they are asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon a message that found the manager's queue full is tried again: no event tells.
const RETRY: Duration = Duration::from_millis(100);

/// How often a watchdog is told at the most, however little it allows.
const PING_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What the manager needs beyond the drain's own time to see the end.
const END_SLACK: Duration = Duration::from_secs(5);

/// Endpoints that the status names; a manager takes 4 KiB.
const ENDPOINTS_NAMED_MAX: usize = 4;

/// What the supervisor is told.
#[derive(Debug)]
pub(super) enum Event {
    /// A loop has begun to drain, which may take so long.
    Draining(Duration),
    /// No loop runs any more.
    Ended,
}

/// Keeps the manager informed until it is dropped, which tells of the end.
#[derive(Debug)]
pub(super) struct Supervisor {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Tells the manager that the service is ready, and goes on in the background; `None` where
    /// there is no manager, or none that takes it, which is said.
    pub(super) fn start(
        (events, heard): (Sender<Event>, Receiver<Event>),
        bound: &[Bound],
        handles: Handles,
    ) -> Option<Supervisor> {
        let wanted = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let started = Line::new(&wanted).and_then(|line| {
            let watchdog = sd_notify::watchdog_enabled().filter(|usec| !usec.is_zero());
            let mut reporter = Reporter::new(line, handles, serving(bound), watchdog);
            reporter.tell_ready()?;
            spawn_thread("supervisor", move || reporter.run(&heard))
        });
        match started {
            Ok(thread) => Some(Supervisor { events, thread: Some(thread) }),
            Err(error) => {
                let reason = crate::error::reason(&error);
                warn!("NOTIFY_SOCKET is ignored: nobody is told at {}: {reason}", wanted.display());
                None
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Ended);
        // It waits for nothing but loops that still turn, and for them not long.
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

/// The way to the manager.
#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// Said with each message rather than connected to: a manager may come back.
    addr: SocketAddr,
}

impl Line {
    /// `name` is an absolute path, or an abstract name behind `@`.
    fn new(name: &OsStr) -> io::Result<Line> {
        let addr = match name.as_encoded_bytes() {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither path nor @name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Line { socket, addr })
    }

    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        self.socket.send_to_addr(lines.as_bytes(), &self.addr).map(|_| ())
    }
}

/// What the thread has.
#[derive(Debug)]
struct Reporter {
    line: Line,
    handles: Handles,
    /// What the service does, as the status begins.
    doing: String,
    status_told: String,
    status_at: Instant,
    /// How often the watchdog is told, and when next.
    ping: Option<(Duration, Instant)>,
    /// Changes of state that found no room, in order; other messages are as good as the next.
    owed: VecDeque<Vec<NotifyState<'static>>>,
    is_ending: bool,
    has_failed: bool,
    was_silent: bool,
}

impl Reporter {
    fn new(line: Line, handles: Handles, doing: String, watchdog: Option<Duration>) -> Reporter {
        let now = Instant::now();
        // Half of what is allowed, as sd_watchdog_enabled(3) has it.
        let interval = watchdog.map(|allowed| (allowed / 2).max(PING_INTERVAL_MIN));
        Reporter {
            line,
            handles,
            doing,
            status_told: String::new(),
            status_at: now,
            ping: interval.map(|interval| (interval, now + interval)),
            owed: VecDeque::new(),
            is_ending: false,
            has_failed: false,
            was_silent: false,
        }
    }

    /// Fails when the manager is nowhere to be found; when it has no room, that is owed.
    fn tell_ready(&mut self) -> io::Result<()> {
        match self.line.send(&[NotifyState::Ready]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.owed.push_back(vec![NotifyState::Ready]);
                Ok(())
            }
            other => other,
        }
    }

    fn run(mut self, heard: &Receiver<Event>) {
        loop {
            match heard.recv_timeout(self.next_at().saturating_duration_since(Instant::now())) {
                Ok(Event::Draining(timeout)) => self.tell_end(Some(timeout)),
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    self.tell_end(None);
                    // A last try: nobody waits for the manager.
                    self.pay();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.see_to_it(),
            }
        }
    }

    fn next_at(&self) -> Instant {
        let retry_at = (!self.owed.is_empty()).then(|| Instant::now() + RETRY);
        let ping_at = self.ping.map(|(_, at)| at);
        [retry_at, ping_at].into_iter().flatten().fold(self.status_at, Instant::min)
    }

    /// What is due.
    fn see_to_it(&mut self) {
        self.pay();
        let now = Instant::now();
        let is_due = |at: Instant| at <= now;
        if !is_due(self.status_at) && !self.ping.is_some_and(|(_, at)| is_due(at)) {
            return;
        }
        let Some(answers) = self.handles.ask_and_wait(ANSWER_TIMEOUT) else {
            // The next question comes at once, so that the watchdog may yet be told in time.
            return self.note_silence();
        };
        self.was_silent = false;
        let now = Instant::now();
        if let Some((interval, at)) = &mut self.ping
            && *at <= now
        {
            *at = now + *interval;
            self.tell(&[NotifyState::Watchdog]);
        }
        if self.status_at <= now {
            self.status_at = now + STATUS_INTERVAL;
            let answers = answers.iter().flatten();
            let open: u64 = answers.map(|answer| answer.counters.connections_open).sum();
            self.tell_status(&format!("{}: {open} connections", self.doing));
        }
    }

    fn note_silence(&mut self) {
        // Without a watchdog nobody waits for the answer.
        if self.ping.is_none() {
            self.status_at = Instant::now() + STATUS_INTERVAL;
        } else if !self.was_silent {
            self.was_silent = true;
            warn!("a loop has not answered for {ANSWER_TIMEOUT:?}: the watchdog is not told");
        }
    }

    fn tell_status(&mut self, status: &str) {
        if status != self.status_told {
            status.clone_into(&mut self.status_told);
            self.tell(&[NotifyState::Status(status)]);
        }
    }

    /// Tells that the service ends, once. Whoever drains longer than the manager would wait asks
    /// it for the time.
    fn tell_end(&mut self, drain_timeout: Option<Duration>) {
        if std::mem::replace(&mut self.is_ending, true) {
            return;
        }
        "draining".clone_into(&mut self.doing);
        let mut states = vec![NotifyState::Stopping, NotifyState::Status("draining")];
        if let Some(timeout) = drain_timeout {
            let needed = timeout.saturating_add(END_SLACK).as_micros();
            states.push(NotifyState::ExtendTimeoutUsec(needed.try_into().unwrap_or(u32::MAX)));
        }
        self.owed.push_back(states);
        self.pay();
    }

    /// Sends the changes of state that are owed, as far as there is room for them.
    fn pay(&mut self) {
        while let Some(states) = self.owed.front() {
            match self.line.send(states) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                outcome => {
                    self.owed.pop_front();
                    self.note(outcome);
                }
            }
        }
    }

    /// Sends what may be lost.
    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if self.owed.is_empty() {
            let outcome = self.line.send(states);
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && !self.has_failed => {
                self.has_failed = true;
                warn!("the service manager is not told: {}", crate::error::reason(&error));
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
    fn a_loop_that_does_not_turn_keeps_the_watchdog_from_being_told() {
        let mut reactor = Reactor::new().unwrap();
        let handles = Handles::new(vec![reactor.handle()]);
        let mut server = Server::new(Options::default());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let line = Line::new(path.as_os_str()).unwrap();
        let watchdog = Some(Duration::from_millis(20));
        let reporter = Reporter::new(line, handles, "serving".to_owned(), watchdog);
        let (events, heard) = mpsc::channel();
        let thread = thread::spawn(move || reporter.run(&heard));

        // Many times what the watchdog allows.
        manager.set_nonblocking(true).unwrap();
        let silent_until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < silent_until {
            let heard = manager.recv(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(heard, Err(io::ErrorKind::WouldBlock));
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
