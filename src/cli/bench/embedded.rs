//! The echo server that `resound bench` brings along: in this process, on a thread of its own.

use std::thread::JoinHandle;

use resound::Error;
use resound::echo::{Options, Request, Server};
use resound::endpoint::{Endpoint, Transport};
use resound::process::cpus::leave;
use resound::process::spawn_thread;
use resound::reactor::{Handle, Reactor};
use resound::socket::SocketOptions;
use tempfile::TempDir;

/// A running server; stopped when dropped.
#[derive(Debug)]
pub(super) struct EmbeddedServer {
    endpoint: Endpoint,
    stop: Handle<Request>,
    thread: Option<JoinHandle<()>>,
    /// Where the socket file is.
    _folder: Option<TempDir>,
}

impl EmbeddedServer {
    /// Starts it on a free loopback port, or on a socket file of its own.
    /// It keeps off the generator's CPU, if that has one of its own.
    pub(super) fn start(
        transport: Transport,
        socket: SocketOptions,
        generator_cpu: Option<usize>,
    ) -> Result<EmbeddedServer, Error> {
        let failed = |error| Error::new("start", "a server in this process", error);
        let folder = match transport {
            Transport::Tcp | Transport::Udp => None,
            Transport::Unix | Transport::Unixgram => {
                let folder = tempfile::Builder::new().prefix("resound-").tempdir();
                Some(folder.map_err(failed)?)
            }
        };
        let name = transport.name();
        let asked = match &folder {
            Some(folder) => format!("{name}:{}", folder.path().join("echo.sock").display()),
            None => format!("{name}://127.0.0.1:0"),
        };
        let asked: Endpoint =
            asked.parse().map_err(|error| failed(std::io::Error::other(format!("{error}"))))?;
        let mut reactor = Reactor::new().map_err(failed)?;
        let options = Options { socket, ..Options::default() };
        let mut server = Server::new(options);
        let bound = server.listen(&mut reactor, &asked)?;
        let stop = reactor.handle();
        let serve = move || {
            if let Some(cpu) = generator_cpu {
                leave(cpu);
            }
            // A failed poll leaves the generator without echoes, which it reports.
            let _ = reactor.run(&mut server);
        };
        let thread = Some(spawn_thread("server", serve).map_err(failed)?);
        Ok(EmbeddedServer { endpoint: bound.endpoint, stop, thread, _folder: folder })
    }

    /// Where it listens.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and the report says what came of it.
            let _ = thread.join();
        }
    }
}
