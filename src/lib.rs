//! A readable single-threaded reactor on mio, and what runs on it: an echo server that can run
//! unattended, and (in the program) a load generator and two small clients.
//!
//! A [`Reactor`](reactor::Reactor) owns every source and asks one statically known
//! [`Handler`](reactor::Handler) what to do with each. The [echo server](echo::Server) and the load
//! generator (`load::Generator`) are two such handlers. [`echo::Service`] runs an echo server on a
//! thread of its own.
//!
//! ```
//! use resound::echo::{Options, Server};
//! use resound::reactor::Reactor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut reactor = Reactor::new()?;
//! let mut server = Server::new(Options::default());
//! let bound = server.listen(&mut reactor, &"udp://127.0.0.1:0".parse()?)?;
//! let stop = reactor.handle(); // for another thread
//! let client = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! client.send_to(b"hello", bound.addrs[0])?;
//! while server.counters().total_messages_out() < 1 {
//!     reactor.turn(&mut server)?; // or reactor.run(&mut server)?
//! }
//! let mut buf = [0; 16];
//! assert_eq!(client.recv(&mut buf)?, 5);
//! # stop.stop();
//! # Ok(())
//! # }
//! ```
//!
//! # Where to read on
//!
//! `docs/architecture.md` has the layout of the modules, the glossary, the loop, the way of a
//! datagram and of a latency sample through the code, the invariants and the fast paths. A good
//! order of reading: the README, that page, [`reactor`] from top to bottom, [`echo`], and the
//! streams of the echo server.
//!
//! # Features
//!
//! The default feature `program` adds everything that only the program needs. Without default
//! features the crate depends on mio, slab, socket2, dns-lookup, ipnet and libc. The feature
//! `signals` alone adds signals as events of the loop.
//!
//! The crate is measured and tested on Linux. On other Unix systems one call moves one datagram
//! ([`PortableBatch`](socket::batch::PortableBatch), which is tested on Linux), and replies leave
//! from the address that routing picks.

#[cfg(not(unix))]
compile_error!("resound needs a Unix system: Unix sockets, and descriptors that poll");

#[cfg(feature = "program")]
mod client;
#[cfg(feature = "program")]
pub mod daemon;
pub mod echo;
pub mod endpoint;
mod error;
#[cfg(feature = "program")]
pub mod escape;
#[cfg(feature = "program")]
pub mod experiment;
#[cfg(feature = "program")]
pub mod load;
#[cfg(feature = "program")]
pub mod measured;
#[cfg(feature = "program")]
mod metrics;
#[cfg(feature = "program")]
pub mod ping;
#[cfg(feature = "program")]
pub mod prober;
pub mod process;
pub mod reactor;
mod readiness;
#[cfg(feature = "program")]
pub mod report;
#[cfg(feature = "program")]
pub mod send;
pub mod socket;
#[cfg(feature = "program")]
pub mod stats;
#[cfg(test)]
mod testing;
#[cfg(feature = "program")]
pub mod trace;
pub mod units;

pub use error::{Error, reason};
/// The version of mio whose [`Interest`](mio::Interest) a [`Source`](reactor::Source) returns.
pub use mio;
pub use readiness::Readiness;

/// Makes rustdoc test the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
