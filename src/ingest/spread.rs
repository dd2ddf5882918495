//! Which shard a user's lanes are in.

use crate::event::UserId;
use crate::keyed::spread;
use std::hash::{BuildHasher as _, RandomState};

/// A user's shard: by user alone, so that all of the user's lanes are in one place; keyed anew with
/// each start, so that no names can be chosen that meet in one.
#[derive(Debug)]
pub(super) struct Spread {
    shards: usize,
    key: u64,
}

impl Spread {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: shards.max(1),
            key: RandomState::new().hash_one(0),
        }
    }

    pub(super) fn shard_of(&self, user: &UserId) -> usize {
        // Mixed, so that the names of one shard are told apart by all of their bits still.
        let mixed = spread(user.keyed() ^ self.key) >> 40;
        usize::try_from(mixed % self.shards as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_names_can_be_chosen_that_meet_in_one_shard() {
        let places = || {
            let spread = Spread::new(16);
            let users = (0..64).map(|number| UserId::try_new(&format!("u{number}")).unwrap());
            users.map(|user| spread.shard_of(&user)).collect::<Vec<_>>()
        };
        let (one, other) = (places(), places());
        assert!(one.iter().chain(&other).all(|place| *place < 16));
        assert_ne!(one, other, "each start has its own");
    }
}
