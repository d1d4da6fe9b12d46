//! A readable single-threaded reactor on mio, and what runs on it: an echo server that can be left
//! running, and (in the program) a load generator and two small clients.
//!
//! One sentence: a [`Reactor`](reactor::Reactor) owns every source and asks one statically known
//! [`Handler`](reactor::Handler) what to do with each; the [echo server](echo::Server) and the load
//! generator (`load::Generator`) are two such handlers.
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
//! # How the code is laid out
//!
//! Arrows say who may import whom; nothing points up, and siblings never meet (a test holds it).
//!
//! ```text
//! main.rs  cli/                       flags, text, exit codes (the program alone)
//!    │
//! daemon/                             an echo server as a service: loops, metrics, sandbox
//!    │
//! echo/        load/    report/       two handlers of one reactor │ facts of a run in words
//!    │           └──┬──┘
//!    │          measured/             the facts of a run, as plain data
//!    │
//! process/                            threads, CPUs, signals, standard streams
//!                 │
//! reactor/     socket/                when a source may run │ how bytes move
//!    │           │
//! readiness  endpoint  error  escape  units      leaves: no layer is below them
//! ```
//!
//! Beside these, on blocking sockets and without a reactor, by another road on purpose: ping/
//! (which counts into measured/) and send/, both on client/.
//!
//! Ten minutes of reading: the README → this page → [`reactor`] top to bottom → [`echo`] →
//! `echo/stream.rs`. After that, of the server: a closed socket's late event is in
//! `reactor/key.rs`, a slow reader and a half-close in `echo/stream.rs`, bulk that goes by pipes in
//! `echo/stream/bulk.rs`, a full receiver in `echo/datagram/held_replies.rs`, a full send buffer in
//! `echo/datagram/pressure.rs`, what an error means in `echo/cause/errors.rs`, which datagrams get
//! no reply in `echo/guard.rs`, what a peer can cost in `echo/bounds.rs`, the drain in
//! `echo/stage.rs`, a socket that a service manager passed in `socket/adopt.rs`. Of the daemon
//! around it: that manager in `daemon/passed.rs` and `daemon/supervisor.rs`, what a sandboxed
//! server may still do in `daemon/sandbox/`, and in `daemon/metrics/` a third handler of the
//! reactor, which speaks HTTP. Of the generator: from when latency counts is
//! in `load/pacing.rs`, which message may be sent in `load/run.rs`, what an echo is taken for in
//! `load/window.rs` and `load/stream.rs`, the phases of a run in `load/course.rs`, who was the
//! limit in `measured/health.rs`. Of both: how UDP and Unix datagrams differ is in
//! `socket/datagram.rs`, recvmmsg in `socket/sys.rs`, splice in `socket/pipe.rs`, what a loop
//! measures of its turns in `reactor/meter.rs`, flags in `cli/`.
//!
//! # Fast paths
//!
//! Each stands apart, so that it may be skipped at the first reading; each gives way by itself
//! where the system refuses it, and can be switched off. `echo/stream.rs`, `echo/datagram.rs` and
//! the loop are right without any of them.
//!
//! - *Trains*: UDP answers to one peer leave by one call, and trains are received whole (GSO,
//!   GRO). Order and bounds are in `socket/batch/line.rs`, the calls in `socket/sys.rs`, what
//!   follows a refusal in `echo/datagram.rs`. Off by [`Options::trains`](echo::Options::trains),
//!   `serve --no-offload`.
//! - *Trains of the generator*: `load/datagram/sending.rs`. Off by `bench --no-offload`.
//! - *Splices*: bulk goes through a pipe and not through user space: `echo/stream/bulk.rs`,
//!   `socket/pipe.rs`. Off by [`Options::splice`](echo::Options::splice), `serve --no-splice`.
//! - *Spared polls*: a spinning loop tries one or two hot sources first: `reactor/spin.rs`. Off by
//!   [`Spin::Never`](reactor::Spin::Never), which is the default.
//! - *Several loops*, each whole, on one port: `echo/listen.rs`, `echo/permits.rs`,
//!   `daemon/loops.rs`. One is the default.
//!
//! # Invariants
//!
//! Mostly absences:
//!
//! 1. Only `reactor/sources.rs` registers a source; only [`Reactor::turn`](reactor::Reactor::turn)
//!    polls.
//! 2. No source is touched while events are read.
//! 3. [`Handler::ready`](reactor::Handler::ready) never blocks, never sleeps, and never allocates
//!    for a message that can be answered at once (`tests/allocations.rs`).
//! 4. A handler that answers [`Next::Wait`](reactor::Next::Wait) has seen `WouldBlock`, or a short
//!    read that [drains](Readiness::short_read_drains), for all that the source still wants, or
//!    will wake it: by a timer, or when a connection closes.
//! 5. Every slice, list and buffer has a named bound with its reason beside it.
//! 6. One source's error never leaves the loop: it closes that source and adds to a counter.
//! 7. Nothing below `cli/` and `daemon/` prints or exits.
//! 8. `unsafe` lives in `socket/sys.rs`.
//!
//! # Features
//!
//! `program` (default) brings all that the program needs. Without default features the crate
//! depends on mio, slab, socket2, dns-lookup, ipnet and libc; `signals` alone adds signals as
//! events of the loop.
//!
//! Linux is what it is measured and tested on. Elsewhere on Unix datagrams go one a call
//! ([`PortableBatch`](socket::batch::PortableBatch), tested on Linux) and their answers leave from
//! the address that routing picks.

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
#[cfg(test)]
mod testing;
pub mod units;

pub use error::{Error, reason};
/// The version of mio whose [`Interest`](mio::Interest) a [`Source`](reactor::Source) names.
pub use mio;
pub use readiness::Readiness;

/// Runs the examples of the README with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
