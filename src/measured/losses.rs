//! The causes of lost messages.

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

/// The cause of a lost message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// Its echo did not come within the timeout.
    TimedOut,
    /// Nothing listened: ICMP port unreachable, or no such socket.
    Refused,
    /// The connection was closed or reset, or the message was due while there was no connection.
    Disconnected,
    /// `ENETUNREACH`: this host or a router (by ICMP) has no route.
    NetworkUnreachable,
    /// `EHOSTUNREACH`: the host does not answer, or a firewall rejects.
    HostUnreachable,
    /// `ENETDOWN`: the interface is down.
    NetworkDown,
    /// `EPERM`: a firewall on this host rejects.
    NotPermitted,
    /// `EACCES`: a firewall on the path rejects, or the socket file does not permit writing.
    AccessDenied,
    /// `EMSGSIZE`: the message is longer than the path takes.
    MessageTooLong,
    /// `ENOBUFS` or `ENOMEM`: this host has no memory for the message.
    NoBuffers,
    /// Any other error of the socket.
    Other,
}

impl LossCause {
    /// Returns the cause that a socket error stands for.
    pub fn of(error: &io::Error) -> LossCause {
        match error.raw_os_error() {
            Some(libc::ENETUNREACH) => LossCause::NetworkUnreachable,
            Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => LossCause::HostUnreachable,
            Some(libc::ENETDOWN) => LossCause::NetworkDown,
            Some(libc::EPERM) => LossCause::NotPermitted,
            Some(libc::EACCES) => LossCause::AccessDenied,
            Some(libc::EMSGSIZE) => LossCause::MessageTooLong,
            Some(libc::ENOBUFS | libc::ENOMEM) => LossCause::NoBuffers,
            _ => match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::NotFound | ErrorKind::NotConnected => {
                    LossCause::Refused
                }
                ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted => LossCause::Disconnected,
                ErrorKind::TimedOut => LossCause::TimedOut,
                _ => LossCause::Other,
            },
        }
    }
}

/// The lost messages by cause. The sum is [`Messages::lost`](super::Messages::lost).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Losses {
    /// [`LossCause::TimedOut`].
    pub timed_out: u64,
    /// [`LossCause::Refused`].
    pub refused: u64,
    /// [`LossCause::Disconnected`].
    pub disconnected: u64,
    /// [`LossCause::NetworkUnreachable`].
    pub network_unreachable: u64,
    /// [`LossCause::HostUnreachable`].
    pub host_unreachable: u64,
    /// [`LossCause::NetworkDown`].
    pub network_down: u64,
    /// [`LossCause::NotPermitted`].
    pub not_permitted: u64,
    /// [`LossCause::AccessDenied`].
    pub access_denied: u64,
    /// [`LossCause::MessageTooLong`].
    pub message_too_long: u64,
    /// [`LossCause::NoBuffers`].
    pub no_buffers: u64,
    /// [`LossCause::Other`].
    pub other: u64,
}

impl Losses {
    /// Returns the count of a cause.
    pub fn of_mut(&mut self, cause: LossCause) -> &mut u64 {
        match cause {
            LossCause::TimedOut => &mut self.timed_out,
            LossCause::Refused => &mut self.refused,
            LossCause::Disconnected => &mut self.disconnected,
            LossCause::NetworkUnreachable => &mut self.network_unreachable,
            LossCause::HostUnreachable => &mut self.host_unreachable,
            LossCause::NetworkDown => &mut self.network_down,
            LossCause::NotPermitted => &mut self.not_permitted,
            LossCause::AccessDenied => &mut self.access_denied,
            LossCause::MessageTooLong => &mut self.message_too_long,
            LossCause::NoBuffers => &mut self.no_buffers,
            LossCause::Other => &mut self.other,
        }
    }

    /// Returns the causes with a count above 0, each in words with its count.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = [
            ("timed out", self.timed_out),
            ("refused", self.refused),
            ("connection gone", self.disconnected),
            ("network unreachable", self.network_unreachable),
            ("host unreachable", self.host_unreachable),
            ("network down", self.network_down),
            ("operation not permitted", self.not_permitted),
            ("permission denied", self.access_denied),
            ("message too long", self.message_too_long),
            ("no buffer space", self.no_buffers),
            ("another error", self.other),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_error_has_its_count_and_name() {
        let cases = [
            (libc::ECONNREFUSED, "refused"),
            (libc::ENOENT, "refused"),
            (libc::ECONNRESET, "connection gone"),
            (libc::EPIPE, "connection gone"),
            (libc::ENETUNREACH, "network unreachable"),
            (libc::EHOSTUNREACH, "host unreachable"),
            (libc::ENETDOWN, "network down"),
            (libc::EPERM, "operation not permitted"),
            (libc::EACCES, "permission denied"),
            (libc::EMSGSIZE, "message too long"),
            (libc::ENOBUFS, "no buffer space"),
            (libc::ETIMEDOUT, "timed out"),
            (libc::EIO, "another error"),
        ];
        for (number, name) in cases {
            let mut losses = Losses::default();
            *losses.of_mut(LossCause::of(&io::Error::from_raw_os_error(number))) += 3;
            assert_eq!(losses.named().collect::<Vec<_>>(), [(name, 3)]);
        }
    }
}
