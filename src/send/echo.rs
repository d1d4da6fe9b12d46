//! Compares a reply with what was sent, while both are still in progress.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::units::counted;

/// The number of bytes that are kept until their echo comes, if the caller expects an echo. A
/// server that answers only after a longer input cannot be checked.
pub(super) const EXPECTED_BYTES_MAX: usize = 1 << 30;

/// The same if the caller does not expect an echo. It is enough to notice an echo that ends early,
/// and it bounds the memory for a long input to a server that never answers.
pub(super) const UNEXPECTED_BYTES_MAX: usize = 16 << 20;

/// The comparison of a reply with what was sent.
#[derive(Debug)]
pub(super) struct EchoCheck {
    /// The bytes that were sent and not yet echoed.
    awaited: VecDeque<u8>,
    awaited_max: usize,
    sent_bytes: u64,
    received_bytes: u64,
    /// The first difference, which ends the comparison.
    mismatch: Option<Mismatch>,
}

/// How a reply is not an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// This byte of the reply differs from the byte that was sent.
    Differs { offset: u64, sent: u8, received: u8 },
    /// This byte of the reply came although no byte was sent for it.
    Unasked { offset: u64, received: u8 },
    /// The reply ends too early.
    Missing { received_bytes: u64, sent_bytes: u64 },
    /// More than `awaited_max` bytes were sent and not yet echoed.
    TooFarBehind { awaited_max: usize },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Differs { offset, sent, received } => {
                write!(formatter, "byte {offset}: sent 0x{sent:02x}, received 0x{received:02x}")
            }
            Mismatch::Unasked { offset, received } => {
                write!(formatter, "byte {offset}: sent nothing there, received 0x{received:02x}")
            }
            Mismatch::Missing { received_bytes, sent_bytes } => {
                let missing = sent_bytes - received_bytes;
                write!(
                    formatter,
                    "missing at the end: {missing} of {}",
                    counted(*sent_bytes, "byte")
                )
            }
            Mismatch::TooFarBehind { awaited_max } => {
                write!(formatter, "more than {awaited_max} bytes wait for their echo")
            }
        }
    }
}

impl Mismatch {
    /// Builds the error for a caller that expects an echo.
    pub(super) fn failure(&self, endpoint: &Endpoint) -> Error {
        let differs = io::Error::new(io::ErrorKind::InvalidData, self.to_string());
        Error::new("get an echo from", endpoint, differs)
    }
}

impl EchoCheck {
    pub(super) fn new(awaited_max: usize) -> EchoCheck {
        let awaited = VecDeque::new();
        EchoCheck { awaited, awaited_max, sent_bytes: 0, received_bytes: 0, mismatch: None }
    }

    /// Compares a whole message with its whole reply.
    pub(super) fn of_message(sent: &[u8], received: &[u8]) -> Option<Mismatch> {
        let mut check = EchoCheck::new(sent.len());
        check.sent(sent);
        check.received(received);
        check.end()
    }

    /// Records bytes that are about to be sent. Call it before the send, because their echo may
    /// come at once.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.sent_bytes += bytes.len() as u64;
        if self.mismatch.is_some() {
            return;
        }
        if self.awaited.len() + bytes.len() > self.awaited_max {
            self.give_up(Mismatch::TooFarBehind { awaited_max: self.awaited_max });
            return;
        }
        self.awaited.extend(bytes);
    }

    /// Compares the next bytes of the reply.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        let offset = self.received_bytes;
        self.received_bytes += bytes.len() as u64;
        if self.mismatch.is_some() {
            return;
        }
        let mut pairs = (offset..).zip(self.awaited.iter().zip(bytes));
        if let Some((offset, (sent, received))) = pairs.find(|(_, (sent, byte))| sent != byte) {
            let (sent, received) = (*sent, *received);
            return self.give_up(Mismatch::Differs { offset, sent, received });
        }
        let compared = bytes.len().min(self.awaited.len());
        self.awaited.drain(..compared);
        if let Some(received) = bytes.get(compared).copied() {
            let offset = offset + compared as u64;
            self.give_up(Mismatch::Unasked { offset, received });
        }
    }

    /// Returns how the reply, which has ended, differs from an echo.
    pub(super) fn end(&self) -> Option<Mismatch> {
        self.mismatch.or_else(|| self.missing())
    }

    /// Returns the number of missing bytes, if the reply equals the beginning of what was sent.
    pub(super) fn missing(&self) -> Option<Mismatch> {
        let EchoCheck { received_bytes, sent_bytes, .. } = *self;
        let is_cut = self.mismatch.is_none() && received_bytes < sent_bytes;
        is_cut.then_some(Mismatch::Missing { received_bytes, sent_bytes })
    }

    fn give_up(&mut self, mismatch: Mismatch) {
        self.mismatch = Some(mismatch);
        self.awaited = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_mismatch_is_named_with_its_offset() {
        for (received, text) in [
            ("abxd", Some("byte 2: sent 0x63, received 0x78")),
            ("ab", Some("missing at the end: 2 of 4 bytes")),
            ("", Some("missing at the end: 4 of 4 bytes")),
            ("abcd!", Some("byte 4: sent nothing there, received 0x21")),
            ("abcd", None),
        ] {
            let mismatch = EchoCheck::of_message(b"abcd", received.as_bytes());
            assert_eq!(mismatch.map(|m| m.to_string()).as_deref(), text, "{received}");
        }
        assert_eq!(EchoCheck::of_message(b"", b""), None);
    }

    #[test]
    fn the_bytes_kept_until_their_echo_are_bounded() {
        let mut check = EchoCheck::new(4);
        check.sent(b"abcd");
        check.received(b"ab");
        check.sent(b"ef");
        assert_eq!(check.end(), Some(Mismatch::Missing { received_bytes: 2, sent_bytes: 6 }));
        check.sent(b"g");
        assert_eq!(check.end(), Some(Mismatch::TooFarBehind { awaited_max: 4 }));
        assert_eq!(check.missing(), None, "the comparison has ended");
    }

    proptest! {
        /// case B9: for `send`: the sizes of the reads and writes do not matter.
        #[test]
        fn the_first_difference_is_found_in_pieces_of_any_size(
            message in prop::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            flip in 0_u8..3,
            sizes in prop::collection::vec(1_usize..20, 1..50),
        ) {
            let at = at.index(message.len());
            let mut reply = message.clone();
            reply[at] ^= flip;
            let mut check = EchoCheck::new(message.len());
            let (mut sent, mut received) = (0, 0);
            for size in sizes.iter().copied().cycle() {
                let next = message.len().min(sent + size);
                check.sent(&message[sent..next]);
                sent = next;
                let next = sent.min(received + size / 2 + 1);
                check.received(&reply[received..next]);
                received = next;
                if received == message.len() {
                    break;
                }
            }
            let expected = (flip != 0).then(|| Mismatch::Differs {
                offset: at as u64,
                sent: message[at],
                received: reply[at],
            });
            prop_assert_eq!(check.end(), expected);
        }
    }
}
