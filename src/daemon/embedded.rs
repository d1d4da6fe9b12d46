//! An echo server on a thread of a process that measures it: what `resound bench` starts without an
//! endpoint.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::echo::{Options, Server, Service};
use crate::endpoint::{Endpoint, Family, Transport};
use crate::error::Error;
use crate::process::cpus::leave;
use crate::socket::SocketOptions;

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct EmbeddedServer {
    service: Service,
    /// The folder of the socket file.
    _folder: Option<TempDir>,
}

impl EmbeddedServer {
    /// Starts a server on a free loopback port, or on a socket file in a temporary folder. The
    /// server's thread avoids the CPUs of the generator's loops.
    ///
    /// # Errors
    ///
    /// The server, its thread or the folder could not be created.
    pub fn start(
        transport: Transport,
        socket: SocketOptions,
        loop_cpus: Vec<usize>,
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
            None if socket.family == Some(Family::V6) => format!("{name}://[::1]:0"),
            None => format!("{name}://127.0.0.1:0"),
        };
        let asked: Endpoint =
            asked.parse().map_err(|error| failed(std::io::Error::other(format!("{error}"))))?;
        let server = Server::new(Options { socket, ..Options::default() });
        let leave_cpus = move || loop_cpus.into_iter().for_each(leave);
        let service = Service::start_with(server, &[asked], leave_cpus)?;
        Ok(EmbeddedServer { service, _folder: folder })
    }

    /// Stops the server. Returns how often it dropped datagrams or replies, by cause.
    ///
    /// # Errors
    ///
    /// The loop of the server failed.
    pub fn stop(self) -> Result<BTreeMap<String, u64>, Error> {
        let failed = |error| Error::new("run", "the server in this process", error);
        let server = self.service.stop().map_err(failed)?;
        let drops = server.counters().dropped();
        Ok(drops.map(|(cause, count)| (cause.name().to_owned(), count)).collect())
    }

    /// Returns the endpoint that the server listens on.
    pub fn endpoint(&self) -> &Endpoint {
        &self.service.bound()[0].endpoint
    }
}
