//! The bytes of a message. They name the flow and the message, and differ from the bytes of any
//! other message.
//!
//! ```text
//! 0        8       12                                  length
//! | number |  flow | random bytes, from a position in the table that both decide …
//! ```
//!
//! The number comes first, in little-endian order, so a short datagram still carries the low bytes
//! of its number. Filling or comparing a message copies or compares a slice of the table, at the
//! speed of memory.

/// The length of the table of random bytes. One in so many pairs of messages has the same body.
const TABLE_BYTES: usize = 1 << 16;

/// The length of the number.
pub(super) const NUMBER_BYTES: usize = 8;

/// The length of the number and the flow.
const HEADER_BYTES: usize = NUMBER_BYTES + 4;

/// The table is the same in every run, so that runs can be compared.
const SEED: u64 = 0x7265_736f_756e_6421;

/// Fills messages, and compares received bytes with what was sent.
#[derive(Debug)]
pub(super) struct Pattern {
    table: Box<[u8]>,
}

/// A message: its flow, and its number within the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageId {
    pub(super) flow: u32,
    pub(super) number: u64,
}

impl Pattern {
    /// Creates the bytes of one of several generators, which have flows of the same numbers. The
    /// bodies of their messages differ, so an echo that reaches another generator is found.
    pub(super) fn new(generator: u64) -> Pattern {
        let mut table = vec![0; TABLE_BYTES].into_boxed_slice();
        fastrand::Rng::with_seed(SEED ^ generator).fill(&mut table);
        Pattern { table }
    }

    /// Writes the bytes of a message from `offset` on.
    pub(super) fn fill(&self, id: MessageId, mut offset: usize, mut target: &mut [u8]) {
        // The common case: a short message, filled whole.
        if offset == 0 && target.len() >= HEADER_BYTES {
            let (start, behind) = target.split_at_mut(HEADER_BYTES);
            start.copy_from_slice(&header(id));
            (offset, target) = (HEADER_BYTES, behind);
        }
        while !target.is_empty() {
            let mut header = [0; HEADER_BYTES];
            let source = self.run(id, offset, &mut header);
            let count = source.len().min(target.len());
            let (now, later) = target.split_at_mut(count);
            now.copy_from_slice(&source[..count]);
            offset += count;
            target = later;
        }
    }

    /// Returns where received bytes first differ from those of a message from `offset` on, counted
    /// from the start of the message.
    pub(super) fn difference(
        &self,
        id: MessageId,
        mut offset: usize,
        mut received: &[u8],
    ) -> Option<usize> {
        if offset == 0
            && let Some((start, behind)) = received.split_first_chunk()
            && *start == header(id)
        {
            (offset, received) = (HEADER_BYTES, behind);
        }
        while !received.is_empty() {
            let mut header = [0; HEADER_BYTES];
            let source = self.run(id, offset, &mut header);
            let count = source.len().min(received.len());
            if source[..count] != received[..count] {
                let same =
                    source.iter().zip(received).take_while(|(sent, received)| sent == received);
                return Some(offset + same.count());
            }
            offset += count;
            received = &received[count..];
        }
        None
    }

    /// Returns one byte of a message.
    pub(super) fn byte(&self, id: MessageId, offset: usize) -> u8 {
        let mut byte = [0];
        self.fill(id, offset, &mut byte);
        byte[0]
    }

    /// Returns the bytes of a message from `offset` to the end of its header or of the table.
    fn run<'a>(
        &'a self,
        id: MessageId,
        offset: usize,
        header: &'a mut [u8; HEADER_BYTES],
    ) -> &'a [u8] {
        if offset < HEADER_BYTES {
            *header = self::header(id);
            return &header[offset..];
        }
        &self.table[(body_start(id) + offset - HEADER_BYTES) % TABLE_BYTES..]
    }
}

fn header(id: MessageId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..NUMBER_BYTES].copy_from_slice(&id.number.to_le_bytes());
    header[NUMBER_BYTES..].copy_from_slice(&id.flow.to_le_bytes());
    header
}

/// Returns where in the table the body of a message starts (Fibonacci hashing: the high bits).
fn body_start(id: MessageId) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (id.number ^ (u64::from(id.flow) << 40)).wrapping_mul(ODD);
    usize::from((mixed >> 48) as u16)
}

/// Returns the number that these bytes of a message carry, and how many bits of it fit into them.
pub(super) fn carried_number(bytes: &[u8]) -> (u64, u32) {
    let count = bytes.len().min(NUMBER_BYTES);
    let mut number = [0; NUMBER_BYTES];
    number[..count].copy_from_slice(&bytes[..count]);
    (u64::from_le_bytes(number), 8 * u32::try_from(count).unwrap_or(0))
}

/// Returns the latest number below `next` that ends in these low bits, if there is one.
pub(super) fn full_number(low: u64, bits: u32, next: u64) -> Option<u64> {
    if bits >= u64::BITS {
        return (low < next).then_some(low);
    }
    let period = 1_u64 << bits;
    let last = next.checked_sub(1)?;
    // The distance from the last number down to the one with these low bits.
    let below = last.wrapping_sub(low) & (period - 1);
    last.checked_sub(below)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(pattern: &Pattern, flow: u32, number: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        pattern.fill(MessageId { flow, number }, 0, &mut bytes);
        bytes
    }

    #[test]
    fn the_number_comes_first_in_little_endian_order() {
        let pattern = Pattern::new(0);
        let bytes = message(&pattern, 0x0102_0304, 0x1122, 13);
        assert_eq!(bytes[..12], [0x22, 0x11, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1]);
    }

    #[test]
    fn consecutive_messages_have_different_bodies() {
        let pattern = Pattern::new(0);
        let body = |flow, number| message(&pattern, flow, number, 64)[HEADER_BYTES..].to_vec();
        assert_ne!(body(0, 0), body(0, 1));
        assert_ne!(body(0, 0), body(1, 0));
    }

    #[test]
    fn a_truncated_number_means_the_latest_that_ends_in_its_bits() {
        assert_eq!(full_number(0xff, 8, 0x1_00), Some(0xff));
        assert_eq!(full_number(0x00, 8, 0x1_01), Some(0x100));
        assert_eq!(full_number(0x01, 8, 0x1_01), Some(0x01));
        assert_eq!(full_number(0x05, 8, 0x03), None, "no such number was sent");
        assert_eq!(full_number(0, 8, 0), None, "no message was sent");
        assert_eq!(full_number(7, 64, 8), Some(7));
        assert_eq!(full_number(8, 64, 8), None);
    }

    proptest! {
        #[test]
        fn a_message_filled_in_pieces_equals_the_whole(
            flow: u32,
            number: u64,
            length in 1_usize..200_000,
            cut: prop::sample::Index,
        ) {
            let pattern = Pattern::new(0);
            let whole = message(&pattern, flow, number, length);
            let cut = cut.index(length);
            let id = MessageId { flow, number };
            let mut pieces = vec![0; length];
            let (first, second) = pieces.split_at_mut(cut);
            pattern.fill(id, cut, second);
            pattern.fill(id, 0, first);
            prop_assert!(pieces == whole);
            prop_assert_eq!(pattern.difference(id, cut, &whole[cut..]), None);
        }

        /// case B7
        #[test]
        fn one_wrong_byte_is_found_at_its_offset(
            flow: u32,
            number: u64,
            length in 1_usize..100_000,
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let pattern = Pattern::new(0);
            let mut bytes = message(&pattern, flow, number, length);
            let at = at.index(length);
            bytes[at] ^= flip;
            let id = MessageId { flow, number };
            prop_assert_eq!(pattern.difference(id, 0, &bytes), Some(at));
            prop_assert_eq!(pattern.byte(id, at), bytes[at] ^ flip);
        }

        #[test]
        fn a_message_of_any_length_carries_its_number(
            next in 1_u64..1_000_000,
            back in 0_u64..256,
            length in 1_usize..20,
        ) {
            let number = (next - 1).saturating_sub(back);
            let bytes = message(&Pattern::new(0), 3, number, length);
            let (low, bits) = carried_number(&bytes);
            prop_assert_eq!(full_number(low, bits, next), Some(number));
        }
    }
}
