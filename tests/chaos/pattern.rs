//! The contents of streams and datagrams. Each byte follows from the seed, the number of the stream
//! and the offset, so that a byte of another stream or from another offset is detected.

/// Returns the eight bytes at an offset that is a multiple of eight, by the mixing function of
/// SplitMix64.
fn word(seed: u64, number: u64, place: u64) -> [u8; 8] {
    let mut word = seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place.rotate_left(32);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (word ^ (word >> 31)).to_le_bytes()
}

/// Writes the bytes of a stream from `offset` on.
pub fn fill(seed: u64, number: u64, offset: u64, mut buf: &mut [u8]) {
    let mut at = offset;
    while !buf.is_empty() {
        let word = word(seed, number, at / 8);
        let from = usize::try_from(at % 8).unwrap();
        let count = buf.len().min(word.len() - from);
        buf[..count].copy_from_slice(&word[from..from + count]);
        buf = &mut buf[count..];
        at += count as u64;
    }
}

/// Compares bytes with those of a stream from `offset` on.
///
/// # Errors
///
/// Returns the place of the first difference, and whether the bytes are those of another offset of
/// the same stream.
pub fn check(seed: u64, number: u64, offset: u64, bytes: &[u8]) -> Result<(), String> {
    let mut expected = vec![0; bytes.len()];
    fill(seed, number, offset, &mut expected);
    if expected == bytes {
        return Ok(());
    }
    let at = expected.iter().zip(bytes).position(|(one, other)| one != other).unwrap();
    let (came, wanted) = (&bytes[at..bytes.len().min(at + 16)], &expected[at..]);
    let wanted = &wanted[..came.len()];
    Err(format!(
        "stream {number} differs at byte {}: {wanted:02x?} was sent, {came:02x?} came",
        offset + at as u64
    ))
}

#[test]
fn a_byte_of_another_stream_or_offset_is_detected() {
    let mut bytes = vec![0; 1000];
    fill(1, 2, 3, &mut bytes);
    assert_eq!(check(1, 2, 3, &bytes), Ok(()));
    assert_eq!(check(1, 2, 100, &bytes[97..]), Ok(()), "in any pieces");
    for (seed, number, offset) in [(2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 2, 11)] {
        assert!(check(seed, number, offset, &bytes).is_err());
    }
    bytes[500] ^= 1;
    let difference = check(1, 2, 3, &bytes).unwrap_err();
    assert!(difference.starts_with("stream 2 differs at byte 503: "), "{difference}");
}
