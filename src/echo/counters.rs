//! The server's counters: traffic by transport, and everything else by transport and cause.

use std::fmt;
use std::iter::Sum;
use std::ops::{AddAssign, Index, IndexMut};

use super::cause::{Cause, Effect};
use crate::endpoint::Transport;
use crate::reactor::Moved;

/// Messages and bytes of one transport. A message is a datagram, or a chunk read from a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub messages_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Replies sent: datagrams, or writes by which a stream took bytes.
    pub messages_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes sent by splice(2), which never entered user space. Only streams in bulk have them.
    pub bytes_spliced: u64,
}

/// The counts of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportCounters {
    /// Messages and bytes.
    pub traffic: Traffic,
    causes: [u64; Cause::ALL.len()],
    /// The sum of `causes`. Counts only grow, so two states of one server's counters differ in a
    /// cause only if they differ here.
    causes_total: u64,
}

impl Default for TransportCounters {
    fn default() -> TransportCounters {
        TransportCounters {
            traffic: Traffic::default(),
            causes: [0; Cause::ALL.len()],
            causes_total: 0,
        }
    }
}

impl TransportCounters {
    /// Returns how often this happened.
    pub fn count(&self, cause: Cause) -> u64 {
        self.causes[cause as usize]
    }

    /// Returns the sum of the counts of all causes.
    pub(super) fn causes_total(&self) -> u64 {
        debug_assert_eq!(self.causes_total, self.causes.iter().sum::<u64>());
        self.causes_total
    }

    /// Returns how many datagrams the access list, the loop guard or a limit has turned away.
    pub(super) fn turned_away(&self) -> u64 {
        let of_guard = [
            Cause::Denied,
            Cause::LoopPort,
            Cause::LoopOwnPort,
            Cause::LoopSource,
            Cause::LoopGroup,
            Cause::LoopOwnPath,
            Cause::LoopPath,
            Cause::ControlTruncated,
            Cause::RateLimited,
            Cause::AmplificationLimited,
        ];
        of_guard.into_iter().map(|cause| self.count(cause)).sum()
    }

    pub(super) fn add(&mut self, cause: Cause, times: u64) {
        self.causes[cause as usize] += times;
        self.causes_total += times;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.received_many(1, bytes);
    }

    /// Counts received messages. `bytes` is the sum of their lengths.
    pub(super) fn received_many(&mut self, messages: usize, bytes: usize) {
        self.traffic.messages_in += messages as u64;
        self.traffic.bytes_in += bytes as u64;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_many(1, bytes);
    }

    /// Counts sent messages. `bytes` is the sum of their lengths.
    pub(super) fn sent_many(&mut self, messages: usize, bytes: usize) {
        self.traffic.messages_out += messages as u64;
        self.traffic.bytes_out += bytes as u64;
    }

    /// Counts bytes that went by splice(2). They also count as [`sent`](TransportCounters::sent).
    pub(super) fn spliced(&mut self, bytes: usize) {
        self.traffic.bytes_spliced += bytes as u64;
    }
}

/// The counts of a server: one [`TransportCounters`] for each [`Transport`].
///
/// Displays as one line of `name=value` words: the traffic of each transport that saw any, and
/// every cause that occurred, summed over its transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    transports: [TransportCounters; Transport::ALL.len()],
    /// Connections open now.
    pub connections_open: u64,
}

impl Counters {
    /// Returns the number of replies sent, on all transports.
    pub fn total_messages_out(&self) -> u64 {
        self.transports.iter().map(|counters| counters.traffic.messages_out).sum()
    }

    /// Returns the traffic of all transports.
    pub(super) fn moved(&self) -> Moved {
        let mut moved = Moved::default();
        for TransportCounters { traffic, .. } in &self.transports {
            moved.bytes_in += traffic.bytes_in;
            moved.bytes_out += traffic.bytes_out;
            moved.messages_in += traffic.messages_in;
            moved.messages_out += traffic.messages_out;
        }
        moved
    }

    /// Returns each cause by which datagrams or replies were dropped, and how often, if at all.
    pub fn dropped(&self) -> impl Iterator<Item = (Cause, u64)> {
        let count = |cause: Cause| -> u64 {
            let drops = |transport: &Transport| cause.effect(*transport) == Some(Effect::Dropped);
            let transports = Transport::ALL.iter().filter(|transport| drops(transport));
            transports.map(|transport| self[*transport].count(cause)).sum()
        };
        let counts = Cause::ALL.iter().map(move |(cause, _)| (*cause, count(*cause)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Returns how often this happened, on all transports.
    pub fn total(&self, cause: Cause) -> u64 {
        self.transports.iter().map(|counters| counters.count(cause)).sum()
    }
}

impl AddAssign<&Counters> for Counters {
    /// Adds the counts of another server.
    fn add_assign(&mut self, other: &Counters) {
        // Destructured, so that the compiler rejects a new field that is not added here.
        let Counters { transports, connections_open } = self;
        *connections_open += other.connections_open;
        for (counters, other) in transports.iter_mut().zip(&other.transports) {
            let TransportCounters { traffic, causes, causes_total } = counters;
            *causes_total += other.causes_total;
            let Traffic { messages_in, bytes_in, messages_out, bytes_out, bytes_spliced } = traffic;
            *messages_in += other.traffic.messages_in;
            *bytes_in += other.traffic.bytes_in;
            *messages_out += other.traffic.messages_out;
            *bytes_out += other.traffic.bytes_out;
            *bytes_spliced += other.traffic.bytes_spliced;
            causes.iter_mut().zip(other.causes).for_each(|(count, other)| *count += other);
        }
    }
}

impl<'a> Sum<&'a Counters> for Counters {
    fn sum<I: Iterator<Item = &'a Counters>>(counters: I) -> Counters {
        let mut sum = Counters::default();
        counters.for_each(|counters| sum += counters);
        sum
    }
}

impl Index<Transport> for Counters {
    type Output = TransportCounters;

    fn index(&self, transport: Transport) -> &TransportCounters {
        &self.transports[transport as usize]
    }
}

impl IndexMut<Transport> for Counters {
    fn index_mut(&mut self, transport: Transport) -> &mut TransportCounters {
        &mut self.transports[transport as usize]
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "connections_open={}", self.connections_open)?;
        for transport in Transport::ALL {
            let traffic = self[transport].traffic;
            if traffic == Traffic::default() {
                continue;
            }
            let name = transport.name();
            write!(
                formatter,
                " {name}_messages_in={} {name}_bytes_in={} {name}_messages_out={} \
                 {name}_bytes_out={}",
                traffic.messages_in, traffic.bytes_in, traffic.messages_out, traffic.bytes_out
            )?;
            if traffic.bytes_spliced > 0 {
                write!(formatter, " {name}_bytes_spliced={}", traffic.bytes_spliced)?;
            }
        }
        for &(cause, name) in Cause::ALL {
            let total = self.total(cause);
            if total > 0 {
                write!(formatter, " {name}={total}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_adds_the_counts_of_each_transport() {
        let mut first = Counters { connections_open: 2, ..Counters::default() };
        first[Transport::Tcp].received(5);
        first[Transport::Tcp].add(Cause::Reset, 1);
        let mut second = Counters { connections_open: 3, ..Counters::default() };
        second[Transport::Tcp].sent(7);
        second[Transport::Udp].received(11);
        second[Transport::Udp].add(Cause::Reset, 2);
        let sum: Counters = [first, second].iter().sum();
        assert_eq!(sum.connections_open, 5);
        let tcp = Traffic {
            messages_in: 1,
            bytes_in: 5,
            messages_out: 1,
            bytes_out: 7,
            ..Traffic::default()
        };
        assert_eq!(sum[Transport::Tcp].traffic, tcp);
        assert_eq!(sum[Transport::Udp].traffic, second[Transport::Udp].traffic);
        assert_eq!((sum[Transport::Tcp].count(Cause::Reset), sum.total(Cause::Reset)), (1, 3));
        assert_eq!([].iter().sum::<Counters>(), Counters::default());
    }

    #[test]
    fn a_line_names_only_what_happened() {
        let mut counters = Counters::default();
        assert_eq!(counters.to_string(), "connections_open=0");
        counters[Transport::Udp].received(5);
        counters[Transport::Udp].add(Cause::Truncated, 2);
        counters[Transport::Unixgram].add(Cause::Truncated, 1);
        assert_eq!(
            counters.to_string(),
            "connections_open=0 udp_messages_in=1 udp_bytes_in=5 udp_messages_out=0 \
             udp_bytes_out=0 truncated=3"
        );
    }
}
