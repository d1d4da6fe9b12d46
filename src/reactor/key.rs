//! The key of a source: its slot, and the generation that tells the slot's tenants apart.

use std::fmt;

use mio::Token;

/// The bits of a token that hold the slot; the rest hold the generation. On a 32-bit system 2^20
/// sources exceed every descriptor limit.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: usize = usize::MAX >> INDEX_BITS;

/// Names one source until it is removed, and then no source until the generation wraps.
///
/// slab reuses the slot that was freed last, so a slot alone does not name a source: a new
/// connection would receive the hang-up of the closed one. A key therefore also holds a generation,
/// which counts insertions. The generation wraps after 2^32 insertions, on 32-bit systems after
/// 2^12. A key that is kept for longer than that may name a later source. A late event exists for
/// one turn only.
///
/// A key takes one word, because lists hold one key per connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(usize);

impl Key {
    /// One above the highest slot that a key can name. The highest index of all is reserved for the
    /// reactor's own tokens.
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
    fn the_highest_index_is_not_a_key() {
        Key::new(Key::INDEX_LIMIT, 0);
    }

    proptest! {
        #[test]
        fn a_key_converts_to_a_token_and_back(index in 0..Key::INDEX_LIMIT, generation: usize) {
            let key = Key::new(index, generation);
            prop_assert_eq!(Key::from_token(key.token()), key);
            prop_assert_eq!(key.index(), index);
            prop_assert_eq!(key.generation(), generation & GENERATION_MASK);
        }
    }
}
