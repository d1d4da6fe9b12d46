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
//! # Layout
//!
//! A module may import those below it. No module imports upwards, and siblings do not import each
//! other. A test checks this.
//!
//! ```text
//! main.rs  cli/                       flags, text, exit codes (only in the program)
//!    │
//! daemon/                             an echo server as a service: loops, metrics, sandbox
//!    │
//!    │      experiment/              series of runs: which run comes next
//! echo/        load/    report/       two handlers of one reactor │ facts → text and files
//!    │           └──┬──┘
//!    │          measured/             the facts of a run, as plain data
//!    │           stats/               intervals and tests, as pure functions
//!    │
//! process/                            threads, CPUs, signals, standard streams
//!    │
//! reactor/     socket/                when a source may run │ how bytes move
//!    │            │
//! readiness  endpoint  error  escape  units      leaves: they import nothing from this crate
//!
//! ping/  send/  → client/             blocking sockets, no reactor; ping/ counts into measured/
//! ```
//!
//! `docs/architecture.md` has the glossary, the way of a datagram through the code, and the file of
//! each mechanism. A good order of reading: the README, that page, [`reactor`] from top to bottom,
//! [`echo`], and the streams of the echo server.
//!
//! # Fast paths
//!
//! The loop, the streams and the datagrams are correct without any of these. Each can be skipped at
//! the first reading, gives way where the system refuses it, and can be switched off.
//!
//! - *Trains*: UDP replies to one peer leave in one call, and trains are received whole (GSO, GRO).
//!   Switched off by [`Options::trains`](echo::Options::trains), `serve --no-offload`.
//! - *Trains of the generator*: messages that may leave at the same moment leave in one call.
//!   Switched off by `bench --no-offload`.
//! - *Splice*: bulk goes through a pipe and never enters user space. Switched off by
//!   [`Options::splice`](echo::Options::splice), `serve --no-splice`.
//! - *Skipped polls*: a spinning loop skips polls and tries its last active sources instead.
//!   Switched off by [`Spin::Never`](reactor::Spin::Never), which is the default.
//! - *Several loops*: whole loops share each port. One loop is the default.
//!
//! # Invariants
//!
//! 1. Only `reactor/sources.rs` registers a source; only the wait
//!    phase of a [turn](reactor::Reactor::turn) polls.
//! 2. No source is touched while events are read.
//! 3. [`Handler::ready`](reactor::Handler::ready) never blocks, never sleeps, and never allocates
//!    for a message that can be answered at once (`tests/allocations.rs` checks it).
//! 4. A handler that returns [`Next::Wait`](reactor::Next::Wait) has seen `WouldBlock`, or a short
//!    read that [drains](Readiness::short_read_drains), for everything that the source wants, or
//!    will wake the source: by a timer, or when a connection closes.
//! 5. Every slice, list and buffer has a named bound with a reason.
//! 6. An error of one source never leaves the loop: it closes that source and adds to a counter.
//! 7. Nothing below `cli/` and `daemon/` prints or exits.
//! 8. `unsafe` lives in `socket/sys.rs` and below.
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
pub mod ping;
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
pub mod units;

pub use error::{Error, reason};
/// The version of mio whose [`Interest`](mio::Interest) a [`Source`](reactor::Source) returns.
pub use mio;
pub use readiness::Readiness;

/// Makes rustdoc test the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
