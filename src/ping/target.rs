//! Where the probes go: looked up once, connected to as often as needed, with nobody held up.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use super::link::Link;
use crate::client::OnSignal;
use crate::client::connect::{self, failure};
use crate::endpoint::{Endpoint, HostPort, UnixName};
use crate::error::Error;
use crate::process::spawn_thread;

/// The shortest time to connect in: the system rounds what is far below it down to none, which
/// would mean to wait for ever.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// An endpoint whose host is looked up.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Tcp(Vec<SocketAddr>),
    Udp(Vec<SocketAddr>),
    Unix(UnixName),
    Unixgram(UnixName),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) error: Error,
    /// It will be the same the next time.
    pub(super) is_lasting: bool,
}

impl Target {
    /// Blocks while a name is looked up.
    pub(super) fn look_up(endpoint: &Endpoint) -> Result<Target, Error> {
        let failed = |error| failure("connect to", endpoint, error);
        let addrs = |host_port: &HostPort| host_port.connect_addrs().map_err(failed);
        Ok(match endpoint {
            Endpoint::Tcp(host_port) => Target::Tcp(addrs(host_port)?),
            Endpoint::Udp(host_port) => Target::Udp(addrs(host_port)?),
            Endpoint::Unix(name) => Target::Unix(name.clone()),
            Endpoint::Unixgram(name) => Target::Unixgram(name.clone()),
        })
    }

    /// Whether connecting may block.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Target::Tcp(_) | Target::Unix(_))
    }

    /// Connects. A stream's end may take the whole time, for each of its addresses.
    pub(super) fn connect(
        self,
        endpoint: &Endpoint,
        timeout: Duration,
        length: usize,
    ) -> Result<Link, ConnectError> {
        let timeout = timeout.max(CONNECT_TIMEOUT_MIN);
        let failed = |error| ConnectError::from(failure("connect to", endpoint, error));
        match self {
            Target::Tcp(addrs) => {
                let socket = connect::tcp(endpoint, &addrs, timeout)?;
                Link::stream(socket, length).map_err(failed)
            }
            Target::Unix(name) => {
                let socket = connect::unix(endpoint, &name, timeout)?;
                Link::stream(socket, length).map_err(failed)
            }
            Target::Udp(mut addrs) => {
                let socket = connect::udp_next(&mut addrs).map_err(failed)?;
                Ok(Link::datagram(socket, length).map_err(failed)?.with_untried(addrs))
            }
            Target::Unixgram(name) => {
                let socket = connect::unixgram(endpoint, &name)?;
                let path = connect::name_unixgram(&socket, &name, OnSignal::LeaveToCaller)
                    .map_err(|error| ConnectError { error, is_lasting: true })?;
                Ok(Link::datagram(socket, length).map_err(failed)?.with_path(path))
            }
        }
    }
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> ConnectError {
        let is_lasting = error.raw_os_error() == Some(libc::EPROTOTYPE);
        ConnectError { error, is_lasting }
    }
}

/// Work that blocks, on a thread of its own, and a descriptor that is readable when it is done.
#[derive(Debug)]
pub(super) struct Background<T> {
    done: UnixStream,
    result: Receiver<T>,
}

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Background<T>> {
        let (done, at_work) = UnixStream::pair()?;
        let (sender, result) = mpsc::channel();
        // Not joined: whoever waits for the result no longer need not wait for the thread.
        spawn_thread("connect", move || {
            // Nobody waits any more when it fails.
            let _ = sender.send(work());
            drop(at_work);
        })?;
        Ok(Background { done, result })
    }

    /// The result, once it is there.
    pub(super) fn take(&self) -> Option<io::Result<T>> {
        match self.result.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("a thread has died"))),
        }
    }
}

impl<T> AsFd for Background<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}
