//! Adds plain counts.

use std::ops::AddAssign;

use crate::measured::{Bytes, Flows, Losses, Messages, Trains, Udp};

impl AddAssign for Messages {
    fn add_assign(&mut self, other: Messages) {
        let Messages {
            sent,
            received,
            lost,
            late,
            duplicated,
            reordered,
            corrupted,
            in_flight_at_end,
        } = other;
        self.sent = self.sent.saturating_add(sent);
        self.received += received;
        self.lost = self.lost.saturating_add(lost);
        self.late += late;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.corrupted += corrupted;
        self.in_flight_at_end += in_flight_at_end;
    }
}

impl AddAssign for Losses {
    fn add_assign(&mut self, other: Losses) {
        let Losses {
            timed_out,
            refused,
            disconnected,
            network_unreachable,
            host_unreachable,
            network_down,
            not_permitted,
            access_denied,
            message_too_long,
            no_buffers,
            other,
        } = other;
        self.timed_out += timed_out;
        self.refused += refused;
        self.disconnected = self.disconnected.saturating_add(disconnected);
        self.network_unreachable += network_unreachable;
        self.host_unreachable += host_unreachable;
        self.network_down += network_down;
        self.not_permitted += not_permitted;
        self.access_denied += access_denied;
        self.message_too_long += message_too_long;
        self.no_buffers += no_buffers;
        self.other += other;
    }
}

impl AddAssign for Flows {
    fn add_assign(&mut self, other: Flows) {
        let Flows {
            opened,
            refused,
            reset,
            closed,
            timed_out,
            failed_locally,
            unreachable,
            reconnected,
        } = other;
        self.opened += opened;
        self.refused += refused;
        self.reset += reset;
        self.closed += closed;
        self.timed_out += timed_out;
        self.failed_locally += failed_locally;
        self.unreachable += unreachable;
        self.reconnected += reconnected;
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Bytes) {
        let Bytes { sent, received } = other;
        self.sent += sent;
        self.received += received;
    }
}

impl AddAssign for Trains {
    fn add_assign(&mut self, other: Trains) {
        let Trains { asked, refused, sends, sent, receives, received } = other;
        self.asked |= asked;
        self.refused |= refused;
        self.sends += sends;
        self.sent += sent;
        self.receives += receives;
        self.received += received;
    }
}

impl AddAssign for Udp {
    fn add_assign(&mut self, other: Udp) {
        let Udp { receive_drops } = other;
        self.receive_drops += receive_drops;
    }
}
