//! The generator as a whole, on a reactor of its own, against servers that a test has in hand.

pub(super) mod rig;

use super::run::Run;
use super::*;
use crate::endpoint::{ResolvedEndpoint, Transport, UnixName};
use crate::measured::Messages;

/// Long for a test that sets the clock itself.
pub(super) const TIMEOUT_NS: u64 = 1_000_000;

/// Options of a run that is fed by hand and has no target.
pub(super) fn of_no_target(transport: Transport, length_bytes: usize, depth: usize) -> Options {
    let addr = ([127, 0, 0, 1], 9).into();
    let name = UnixName::Abstract("nobody".to_owned());
    let target = match transport {
        Transport::Tcp => ResolvedEndpoint::Tcp(addr),
        Transport::Udp => ResolvedEndpoint::Udp(addr),
        Transport::Unix => ResolvedEndpoint::Unix(name),
        Transport::Unixgram => ResolvedEndpoint::Unixgram(name),
    };
    let timeout = std::time::Duration::from_nanos(TIMEOUT_NS);
    let closed = Options::closed_loop(target, 1);
    Options { length_bytes, in_flight_max: depth, timeout, ..closed }
}

/// A run of one flow whose clock stands at 0, where all is measured.
pub(super) fn run_of(options: &Options) -> Run {
    let mut run = Run::new(options, Clock::stopped_at(0), duration_ns(options.timeout));
    run.start(0, 0, &[0], 1);
    run
}

/// The counts that a test speaks of, the others 0: what is sent and neither come nor lost is in
/// flight.
pub(super) fn messages(sent: u64, received: u64, lost: u64) -> Messages {
    Messages { sent, received, lost, ..Messages::default() }
}

/// case B4: the connection was in the backlog of a listener that closed before this side had looked
/// at it.
#[test]
fn who_is_reset_before_he_knows_that_he_is_connected_was_connected() {
    let (listener, options) = rig::tcp(1);
    let mut rig = rig::Rig::new(options);
    rig.turn_until("the connection is begun", |rig| !rig.reactor.sources().is_empty());
    assert_eq!(rig.generator().run.recorder.flows.opened, 0, "nobody has looked yet");
    drop(listener);
    let (findings, _) = rig.finish();
    let flows = findings.flows;
    assert_eq!((flows.opened, flows.reset, flows.refused, flows.failed_locally), (1, 1, 0, 0));
}
