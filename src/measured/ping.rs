//! The facts of a run of `ping`: what happens to each probe, and the counts and times of all.

use std::fmt;
use std::io;
use std::time::Duration;

use super::{Distribution, Messages, SplitValues, Stretches};

/// What was probed, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The endpoint, as the user gave it.
    pub endpoint: String,
    /// The bytes of a probe.
    pub length: usize,
    /// The time from one probe to the next.
    pub interval: Duration,
    /// The time after which a probe without a reply is lost.
    pub timeout: Duration,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The system has no timestamps, for this reason, so that no reply has a split. Reported once,
    /// before [`Event::Started`].
    NoTimestamps(&'a io::Error),
    /// The endpoint is resolved, and the first probe is about to be sent.
    Started,
    /// An echo came back.
    Reply(Reply),
    /// A probe is lost.
    Lost {
        /// The probe's number.
        number: u64,
        /// Why it is lost.
        loss: &'a Loss,
    },
    /// This many bytes came that belong to no probe. Reported at most once between two probes.
    Unasked(usize),
    /// The connection ended while no reply was awaited.
    Disconnected(&'a Loss),
    /// The figures so far, because a signal or another thread requested them.
    Figures(&'a Figures),
    /// The counts so far. Reported each time before the run waits.
    Counts(Counts<'a>),
}

/// The counts of a run so far.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    /// The counts of probes. A probe that is neither answered nor lost yet counts as in flight.
    pub messages: Messages,
    /// As in [`Results::losses`].
    pub losses: &'a [(Loss, u64)],
    /// As in [`Results::reconnects`].
    pub reconnects: u64,
}

/// The counts and times of the probes so far.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The counts of probes. A probe that is neither answered nor lost yet counts as in flight.
    pub messages: Messages,
    /// The time of each reply that came in time.
    pub latency: Distribution,
}

/// The echo of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The probe's number, from 1 on.
    pub number: u64,
    /// The bytes received.
    pub length: usize,
    /// The time since just before the probe was sent.
    pub time: Duration,
    /// How the echo counts for its probe.
    pub kind: ReplyKind,
    /// Whether it came after the reply to a later probe.
    pub is_reordered: bool,
    /// The offset of the first byte that differs from the probe.
    pub difference: Option<usize>,
    /// Where the time went, if it is the first echo and has all timestamps
    /// (`--timestamps`). The sum is at most `time`.
    pub stretches: Option<Stretches>,
}

/// How an echo counts for its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// It counts: it is the first echo, and it came in time.
    InTime,
    /// Its probe was lost before it came.
    Late,
    /// Its probe was answered before it came.
    Duplicate,
}

/// Why a probe is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No reply came in time.
    NoReply,
    /// No connection was made in time.
    NoConnection,
    /// The socket had no room for the probe in time.
    NoRoom,
    /// The peer closed the connection.
    Closed,
    /// The peer omitted or inserted bytes in a stream. No probe is lost by this, but the client
    /// replaces the connection.
    OutOfStep,
    /// The reason that the system gives, such as "refused" or "reset".
    Error(String),
}

impl Loss {
    /// Returns true if the probe was lost because its time was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Loss::NoReply | Loss::NoConnection | Loss::NoRoom)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Loss::NoReply => "no answer",
            Loss::NoConnection => "no connection",
            Loss::NoRoom => "not taken",
            Loss::Closed => "closed by the peer",
            Loss::OutOfStep => "out of step",
            Loss::Error(reason) => reason,
        })
    }
}

/// The counts and times of all probes of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// The counts of probes. A probe that could not be sent counts as `sent` and as lost.
    pub messages: Messages,
    /// The time of each reply that came in time, including damaged ones.
    pub latency: Distribution,
    /// Where the time of these replies went, if timestamps were requested.
    pub split: Option<SplitValues>,
    /// The number of lost probes for each reason, in the order in which the reasons first occurred.
    pub losses: Vec<(Loss, u64)>,
    /// The number of connections of a stream after the first.
    pub reconnects: u64,
    /// The number of echoes that equal their probe, including late ones and duplicates.
    pub intact: u64,
    /// The time from the first probe to the end.
    pub elapsed: Duration,
    /// Whether the run ended before all requested probes were sent and then answered or lost.
    pub is_cut_short: bool,
}

impl Results {
    /// Returns true if an intact echo came back, even a late one. A damaged reply does not count,
    /// because the peer may be another kind of service.
    pub fn has_come_back(&self) -> bool {
        self.intact > 0
    }

    /// Returns true if replies came and none of them was an intact echo.
    pub fn is_all_corrupted(&self) -> bool {
        self.intact == 0 && self.messages.corrupted > 0
    }
}
