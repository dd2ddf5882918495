//! Who takes part in a staged rollout (design §8): a sticky share of the users.

use crate::event::UserId;

/// Whether a user is among the first `percent` of a hundred. Sticky, and monotone: raising the
/// percentage keeps everyone who was in.
#[must_use]
pub fn included(user: &UserId, percent: u8) -> bool {
    if percent >= 100 {
        return true;
    }
    let digest = blake3::hash(user.as_str().as_bytes());
    let number = digest
        .as_bytes()
        .iter()
        .take(8)
        .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    number % 100 < u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_sticky_monotone_and_about_as_large_as_asked() {
        let users: Vec<_> = (0..2_000)
            .map(|n| UserId::try_new(&format!("user-{n}")).unwrap())
            .collect();
        let share = |percent| users.iter().filter(|user| included(user, percent)).count();
        assert_eq!((share(0), share(100)), (0, 2_000));
        assert!((800..1_200).contains(&share(50)), "{}", share(50));
        for user in &users {
            let first = (0..=100).find(|percent| included(user, *percent)).unwrap();
            assert!((first..=100).all(|percent| included(user, percent)));
        }
    }
}
