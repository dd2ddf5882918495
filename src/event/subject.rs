//! What events tell the state of, so that a newer one can stand for an older one.

use std::num::NonZeroU64;

/// What an event tells the state of, as a hash of its group's `key`: of two events of one lane and
/// one subject, the newer can make the older needless. 64 bits, unkeyed: whoever makes two of their
/// own subjects collide loses an older state of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(NonZeroU64);

impl Subject {
    /// Of these values, in their order; one that is absent differs from every one that is there.
    #[must_use]
    pub fn of<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for value in values {
            hasher.update(
                &value
                    .map_or(0, |value| value.len() as u64 + 1)
                    .to_le_bytes(),
            );
            hasher.update(value.unwrap_or_default());
        }
        let mut short = [0; 8];
        hasher.finalize_xof().fill(&mut short);
        Self::from_number(u64::from_le_bytes(short)).unwrap_or(Self(NonZeroU64::MIN))
    }

    /// As the journal keeps it; 0 is none.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// For the journal.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}
