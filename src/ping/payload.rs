//! The bytes of a probe: its number, then bytes derived from the number and from a key of the run.
//! So every byte of an echo can be verified, and foreign bytes are recognised.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The size of the number. A shorter payload contains only its low bytes.
const NUMBER_BYTES: usize = 8;

/// The number of bytes of a damaged echo that are compared with each probe it may belong to.
const COMPARED_BYTES_MAX: usize = 256;

/// Makes and verifies the payloads of one run.
#[derive(Debug)]
pub(super) struct Payload {
    /// Differs in each run, so that an echo of an earlier run from the same port is not taken for
    /// one of this run.
    key: u64,
    length: usize,
}

impl Payload {
    pub(super) fn new(length: usize) -> Payload {
        Payload { key: RandomState::new().build_hasher().finish(), length }
    }

    /// Returns how many consecutive numbers can be told apart.
    pub(super) fn numbers(&self) -> u64 {
        match self.length {
            0..NUMBER_BYTES => 1 << (8 * self.length),
            _ => u64::MAX,
        }
    }

    /// Replaces the contents of `target` with a probe's payload.
    pub(super) fn write(&self, number: u64, target: &mut Vec<u8>) {
        target.clear();
        target.extend(self.bytes(number));
    }

    /// Returns the number at the start of the bytes, modulo [`Payload::numbers`].
    pub(super) fn number(&self, bytes: &[u8]) -> Option<u64> {
        let length = self.length.min(NUMBER_BYTES);
        let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        bytes.get(..length).map(|bytes| bytes.iter().fold(0, shift))
    }

    /// Returns the offset of the first byte that differs from a probe's payload. If one is a prefix
    /// of the other, this is the length of the shorter.
    pub(super) fn first_difference(&self, number: u64, bytes: &[u8]) -> Option<usize> {
        let different = bytes.iter().zip(self.bytes(number)).position(|(is, was)| *is != was);
        let shorter = bytes.len().min(self.length);
        different.or_else(|| (bytes.len() != self.length).then_some(shorter))
    }

    /// Counts the bytes that equal a probe's payload, among the first [`COMPARED_BYTES_MAX`].
    pub(super) fn likeness(&self, number: u64, bytes: &[u8]) -> usize {
        let pairs = bytes.iter().zip(self.bytes(number)).take(COMPARED_BYTES_MAX);
        pairs.filter(|(is, was)| **is == *was).count()
    }

    /// Returns the least likeness with which damaged bytes count as a probe's echo. Among unrelated
    /// bytes, one in 256 agrees.
    pub(super) fn likeness_min(&self) -> usize {
        self.length.min(COMPARED_BYTES_MAX).div_ceil(2)
    }

    fn bytes(&self, number: u64) -> impl Iterator<Item = u8> + use<> {
        let seed = self.key ^ mixed(number);
        let fill = (0_u64..).flat_map(move |word| mixed(seed.wrapping_add(word)).to_be_bytes());
        let skipped = NUMBER_BYTES.saturating_sub(self.length);
        number.to_be_bytes().into_iter().skip(skipped).chain(fill).take(self.length)
    }
}

/// Mixes a value with the output function of SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payload: &Payload, number: u64) -> Vec<u8> {
        let mut bytes = vec![b'x'; 3];
        payload.write(number, &mut bytes);
        bytes
    }

    #[test]
    fn two_runs_differ_in_all_but_the_numbers() {
        let payloads = [Payload::new(64), Payload::new(64)];
        let [first, second] = payloads.each_ref().map(|payload| written(payload, 7));
        assert_eq!(first[..8], second[..8]);
        assert!(payloads[0].likeness(7, &second) < payloads[0].likeness_min());
    }

    #[test]
    fn bytes_too_few_or_too_many_differ_at_the_shorter_end() {
        let payload = Payload::new(10);
        let mut bytes = written(&payload, 1);
        bytes.push(0);
        assert_eq!(payload.first_difference(1, &bytes), Some(10));
        assert_eq!(payload.first_difference(1, &bytes[..9]), Some(9));
        assert_eq!(payload.first_difference(1, &[]), Some(0));
        assert_eq!(payload.number(&bytes[..7]), None);
    }

    proptest! {
        #[test]
        fn a_payload_has_its_length_and_its_number(number: u64, length in 1_usize..100) {
            let payload = Payload::new(length);
            let bytes = written(&payload, number);
            prop_assert_eq!(bytes.len(), length);
            let expected = if length < 8 { number % payload.numbers() } else { number };
            prop_assert_eq!(payload.number(&bytes), Some(expected));
            prop_assert_eq!(payload.first_difference(number, &bytes), None);
            prop_assert_eq!(payload.likeness(number, &bytes), length);
        }

        /// case B7
        #[test]
        fn any_flipped_byte_is_found(
            number: u64,
            length in 1_usize..100,
            at: prop::sample::Index,
            flip in 1_u8..,
        ) {
            let payload = Payload::new(length);
            let mut bytes = written(&payload, number);
            let at = at.index(length);
            bytes[at] ^= flip;
            prop_assert_eq!(payload.first_difference(number, &bytes), Some(at));
        }
    }
}
