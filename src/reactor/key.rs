//! The name of a source: its slot, and which of the slot's tenants is meant.

use std::fmt;

use mio::Token;

/// The bits of a token that hold the slot; the rest hold the generation. A reactor of 2^20 sources
/// is beyond any descriptor limit a 32-bit system has.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: usize = usize::MAX >> INDEX_BITS;

/// Names one source for as long as it lives, and nothing after that.
///
/// slab hands out the slot that was freed last first, so a slot alone does not name a source: the
/// hang-up of a connection that is gone would reach the one that took its place. A key therefore
/// carries a generation, a counter of insertions that wraps (after 2^32 of them on 64-bit
/// systems, where a late event lives for one turn).
///
/// It is packed from the start: keys stand in lists, one a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(usize);

impl Key {
    /// One above the highest slot a key can name. The last index of all is left to the tokens
    /// that the reactor keeps for itself.
    pub(crate) const INDEX_LIMIT: usize = INDEX_MASK;

    pub(crate) fn new(index: usize, generation: usize) -> Key {
        assert!(index < Key::INDEX_LIMIT, "slot {index} does not fit a key");
        Key((generation & GENERATION_MASK) << INDEX_BITS | index)
    }

    pub(crate) fn from_token(token: Token) -> Key {
        Key(token.0)
    }

    pub(crate) fn token(self) -> Token {
        Token(self.0)
    }

    pub(crate) fn index(self) -> usize {
        self.0 & INDEX_MASK
    }

    pub(crate) fn generation(self) -> usize {
        self.0 >> INDEX_BITS
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({}, generation {})", self.index(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[should_panic(expected = "does not fit a key")]
    fn the_last_index_is_not_a_key() {
        Key::new(Key::INDEX_LIMIT, 0);
    }

    proptest! {
        #[test]
        fn a_key_survives_its_token(index in 0..Key::INDEX_LIMIT, generation: usize) {
            let key = Key::new(index, generation);
            prop_assert_eq!(Key::from_token(key.token()), key);
            prop_assert_eq!(key.index(), index);
            prop_assert_eq!(key.generation(), generation & GENERATION_MASK);
        }
    }
}
