//! Compares an answer with what was sent, while both are still on their way.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use crate::endpoint::Endpoint;
use crate::error::Error;

/// Bytes that are kept until their echo comes, when the caller expects an echo. A server that
/// answers only at the end of a longer input cannot be checked.
pub(super) const EXPECTED_BYTES_MAX: usize = 1 << 30;

/// The same when the caller does not: enough to notice an echo that ends early, and little enough
/// for a long input to a server that never answers.
pub(super) const UNEXPECTED_BYTES_MAX: usize = 16 << 20;

/// An answer that is an echo so far, or what it is instead.
#[derive(Debug)]
pub(super) struct EchoCheck {
    /// Bytes that were sent and not answered yet.
    awaited: VecDeque<u8>,
    awaited_max: usize,
    sent_bytes: u64,
    received_bytes: u64,
    /// What ended the comparison.
    mismatch: Option<Mismatch>,
}

/// How an answer is not an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// This byte of the answer is another one than was sent.
    Differs { offset: u64, sent: u8, received: u8 },
    /// This byte of the answer came although no more had been sent.
    Unasked { offset: u64, received: u8 },
    /// The answer ends too early.
    Missing { received_bytes: u64, sent_bytes: u64 },
    /// More than the bound was sent before it was answered.
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
                write!(formatter, "{missing} of {sent_bytes} bytes are missing at the end")
            }
            Mismatch::TooFarBehind { awaited_max } => {
                write!(formatter, "more than {awaited_max} bytes wait for their echo")
            }
        }
    }
}

impl Mismatch {
    /// The failure of a caller that expects an echo.
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

    /// Compares a whole message with its whole answer.
    pub(super) fn of_message(sent: &[u8], received: &[u8]) -> Option<Mismatch> {
        let mut check = EchoCheck::new(sent.len());
        check.sent(sent);
        check.received(received);
        check.end()
    }

    /// Notes bytes that are about to be sent. The caller notes them before it sends them, because
    /// their echo may come at once.
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

    /// Compares the next bytes of the answer.
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

    /// How the answer, which has ended, is not an echo.
    pub(super) fn end(&self) -> Option<Mismatch> {
        self.mismatch.or_else(|| self.missing())
    }

    /// Whether the answer was an echo as far as it came, and how much of it did not come.
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
    fn each_way_of_not_being_an_echo_is_named_with_its_place() {
        for (received, text) in [
            ("abxd", Some("byte 2: sent 0x63, received 0x78")),
            ("ab", Some("2 of 4 bytes are missing at the end")),
            ("", Some("4 of 4 bytes are missing at the end")),
            ("abcd!", Some("byte 4: sent nothing there, received 0x21")),
            ("abcd", None),
        ] {
            let mismatch = EchoCheck::of_message(b"abcd", received.as_bytes());
            assert_eq!(mismatch.map(|m| m.to_string()).as_deref(), text, "{received}");
        }
        assert_eq!(EchoCheck::of_message(b"", b""), None);
    }

    #[test]
    fn what_waits_for_its_echo_is_bounded() {
        let mut check = EchoCheck::new(4);
        check.sent(b"abcd");
        check.received(b"ab");
        check.sent(b"ef");
        assert_eq!(check.end(), Some(Mismatch::Missing { received_bytes: 2, sent_bytes: 6 }));
        check.sent(b"g");
        assert_eq!(check.end(), Some(Mismatch::TooFarBehind { awaited_max: 4 }));
        assert_eq!(check.missing(), None, "nothing is known of it");
    }

    proptest! {
        /// case B9: for `send`: the pieces of either direction do not matter.
        #[test]
        fn the_first_difference_is_found_in_pieces_of_any_size(
            message in prop::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            flip in 0_u8..3,
            sizes in prop::collection::vec(1_usize..20, 1..50),
        ) {
            let at = at.index(message.len());
            let mut answer = message.clone();
            answer[at] ^= flip;
            let mut check = EchoCheck::new(message.len());
            let (mut sent, mut received) = (0, 0);
            for size in sizes.iter().copied().cycle() {
                let next = message.len().min(sent + size);
                check.sent(&message[sent..next]);
                sent = next;
                let next = sent.min(received + size / 2 + 1);
                check.received(&answer[received..next]);
                received = next;
                if received == message.len() {
                    break;
                }
            }
            let expected = (flip != 0).then(|| Mismatch::Differs {
                offset: at as u64,
                sent: message[at],
                received: answer[at],
            });
            prop_assert_eq!(check.end(), expected);
        }
    }
}
