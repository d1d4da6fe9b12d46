//! The generator as a whole, on its own reactor, against servers that a test controls.

pub(super) mod rig;

use std::io::{Read, Write};

use socket2::SockRef;

use super::run::Run;
use super::*;
use crate::endpoint::{ResolvedEndpoint, Transport, UnixName};
use crate::measured::Messages;
use crate::testing::WAIT_MAX;

/// The timeout of messages: long, because a test sets the clock itself.
pub(super) const TIMEOUT_NS: u64 = 1_000_000;

/// Returns the options of a run that a test feeds by hand; its target does not exist.
pub(super) fn options_without_target(
    transport: Transport,
    length_bytes: usize,
    depth: usize,
) -> Options {
    let addr = ([127, 0, 0, 1], 9).into();
    let name = UnixName::Abstract("absent".to_owned());
    let target = match transport {
        Transport::Tcp => ResolvedEndpoint::Tcp(addr),
        Transport::Udp => ResolvedEndpoint::Udp(addr),
        Transport::Unix => ResolvedEndpoint::Unix(name),
        Transport::Unixgram => ResolvedEndpoint::Unixgram(name),
    };
    let timeout = std::time::Duration::from_nanos(TIMEOUT_NS);
    let closed = Options::closed_loop(target, 1);
    Options { lengths: length_bytes.into(), in_flight_max: depth, timeout, ..closed }
}

/// Creates a run of one flow whose clock stands at 0 and in which every message is measured.
pub(super) fn run_of(options: &Options) -> Run {
    let mut run = Run::new(options, Clock::stopped_at(0), duration_ns(options.timeout));
    run.start(0, 0, &[0], 1);
    run
}

/// Returns counts in which all but these are 0. A message that is sent and neither received nor
/// lost is in flight.
pub(super) fn messages(sent: u64, received: u64, lost: u64) -> Messages {
    Messages { sent, received, lost, ..Messages::default() }
}

/// case B4: the connection was in the backlog of a listener, which closed before the generator had
/// checked the connection.
#[test]
fn a_connection_that_is_reset_before_the_generator_checks_it_counts_as_opened() {
    let (listener, options) = rig::tcp(1);
    let mut rig = rig::Rig::new(options);
    rig.turn_until("the connection is begun", |rig| !rig.reactor.sources().is_empty());
    assert_eq!(rig.generator().run.recorder.flows.opened, 0, "not checked yet");
    drop(listener);
    let (result, _) = rig.finish();
    let flows = result.flows;
    assert_eq!((flows.opened, flows.reset, flows.refused, flows.failed_locally), (1, 1, 0, 0));
}

/// case S13: a read stops at the mark, and no event comes for the bytes behind it.
#[test]
fn an_echo_with_an_out_of_band_byte_in_the_middle_is_received_whole() {
    let (listener, options) = rig::tcp(1);
    let mut rig = rig::Rig::new(Options { count: Some(1), ..options });
    rig.turn_until("the message is sent", |rig| rig.generator().run.recorder.measured.sent == 1);
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut message = [0; 64];
    server.read_exact(&mut message).unwrap();
    // The generator does not run between these calls.
    server.write_all(&message[..10]).unwrap();
    assert_eq!(SockRef::from(&server).send_out_of_band(b"!").unwrap(), 1);
    server.write_all(&message[10..]).unwrap();
    let (result, _) = rig.finish();
    assert_eq!(result.messages, messages(1, 1, 0));
}
