//! A sticky share of the users.

use crate::event::UserId;

/// Draws a share of the users by a keyed hash (BLAKE3) of their names: who is in at 10 percent is
/// in at 20, at every start and at every replica with the same salt.
#[derive(Debug, Clone)]
pub struct Draw {
    key: [u8; 32],
}

impl Draw {
    /// Another salt draws other users.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        Self {
            key: blake3::derive_key("tidegate 2026 rollout", salt.as_bytes()),
        }
    }

    /// Whether a user is among the first `percent` of a hundred.
    #[must_use]
    pub fn includes(&self, user: &UserId, percent: u8) -> bool {
        percent >= 100 || self.bucket(user) < percent
    }

    /// The user's place in the order in which users are drawn, 0 to 99.
    #[must_use]
    pub fn bucket(&self, user: &UserId) -> u8 {
        let digest = blake3::keyed_hash(&self.key, user.as_str().as_bytes());
        let number = digest
            .as_bytes()
            .iter()
            .take(8)
            .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        u8::try_from(number % 100).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<UserId> {
        (0..2_000)
            .map(|n| UserId::try_new(&format!("user-{n}")).unwrap())
            .collect()
    }

    #[test]
    fn the_share_is_sticky_monotone_and_about_as_large_as_asked() {
        let (users, draw) = (users(), Draw::new(""));
        let share = |percent| {
            users
                .iter()
                .filter(|user| draw.includes(user, percent))
                .count()
        };
        assert_eq!((share(0), share(100)), (0, 2_000));
        assert!((800..1_200).contains(&share(50)), "{}", share(50));
        for user in &users {
            let first = (0..=100).find(|percent| draw.includes(user, *percent));
            assert!((first.unwrap()..=100).all(|percent| draw.includes(user, percent)));
        }
    }

    #[test]
    fn another_salt_draws_other_users() {
        let (users, one, other) = (users(), Draw::new("one"), Draw::new("other"));
        let both = users
            .iter()
            .filter(|user| one.includes(user, 50) && other.includes(user, 50));
        // A quarter of 2,000, where the two have nothing to do with one another.
        let both = both.count();
        assert!((400..600).contains(&both), "{both}");
    }
}
