//! Whose events are worked on. All users' at first; where there are too many, the half of them whose
//! hashes fall into it, and so on. Who is in a smaller sample was in every larger one, so that the
//! windows of those who stay are whole.

use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Lanes of the widest run beyond which the sample is halved. A lane takes about a kilobyte in each
/// run.
pub(super) const MOST_LANES: usize = 2_000;
/// Events a second, over [`STRETCH`], beyond which it is halved.
pub(super) const MOST_EVENTS: u32 = 1_000;
/// Users that are counted; beyond it only "at least so many" is known.
pub(super) const MOST_USERS: usize = 10_000;
const STRETCH: Duration = Duration::from_secs(10);

/// A share of the users, and what it costs.
#[derive(Debug)]
pub(super) struct Sample {
    /// How often it was halved.
    halvings: u32,
    users: HashSet<u64>,
    /// Since when events are counted, and how many were taken.
    stretch: Option<(Instant, u32)>,
}

impl Sample {
    pub(super) fn new() -> Self {
        Self {
            halvings: 0,
            users: HashSet::new(),
            stretch: None,
        }
    }

    /// Whether this user's event is worked on. Halves the sample first where too many came.
    pub(super) fn takes(&mut self, user: u64, now: Instant) -> bool {
        if !self.includes(user) {
            return false;
        }
        if self.users.len() < MOST_USERS {
            self.users.insert(user);
        }
        let (since, count) = self.stretch.get_or_insert((now, 0));
        *count += 1;
        let is_over = now.saturating_duration_since(*since) >= STRETCH;
        if *count > MOST_EVENTS * STRETCH.as_secs() as u32 {
            self.halve();
        } else if is_over {
            self.stretch = None;
        }
        true
    }

    /// Half of the users leave.
    pub(super) fn halve(&mut self) {
        self.halvings = (self.halvings + 1).min(62);
        let halvings = self.halvings;
        self.users.retain(|user| is_in(*user, halvings));
        self.stretch = None;
    }

    fn includes(&self, user: u64) -> bool {
        is_in(user, self.halvings)
    }

    /// One user in so many.
    pub(super) const fn one_in(&self) -> u64 {
        1 << self.halvings
    }

    /// Users that were worked on, at most [`MOST_USERS`].
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// Percent by which a saving may be off, 19 times in 20, if users differ in their calls as much
    /// as they have on average: two standard errors. 0: everybody is worked on.
    pub(super) fn error_percent(&self) -> f64 {
        if self.halvings == 0 {
            return 0.0;
        }
        let users = u32::try_from(self.users.len().max(1)).unwrap_or(u32::MAX);
        200.0 / f64::from(users).sqrt()
    }
}

const fn is_in(user: u64, halvings: u32) -> bool {
    halvings == 0 || user >> (u64::BITS - halvings) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher as _, RandomState};

    #[test]
    fn who_is_in_a_smaller_sample_was_in_every_larger_one_and_each_is_half() {
        let hasher = RandomState::new();
        let users: Vec<u64> = (0..20_000).map(|user| hasher.hash_one(user)).collect();
        let mut before = users.len();
        for halvings in 1..5 {
            let now = users.iter().filter(|user| is_in(**user, halvings)).count();
            assert!(
                now * 10 > before * 4 && now * 10 < before * 6,
                "{now} of {before}"
            );
            let stays = |user: &&u64| is_in(**user, halvings) && !is_in(**user, halvings - 1);
            assert_eq!(users.iter().filter(stays).count(), 0);
            before = now;
        }
    }

    #[test]
    fn too_many_events_halve_it_and_the_error_is_told() {
        let (mut sample, now) = (Sample::new(), Instant::now());
        assert_eq!((sample.one_in(), sample.error_percent()), (1, 0.0));
        for _ in 0..=MOST_EVENTS * 10 {
            assert!(sample.takes(0, now));
        }
        assert_eq!(sample.one_in(), 2);
        assert!(!sample.takes(u64::MAX, now));
        assert!((sample.error_percent() - 200.0).abs() < 0.1);
    }

    #[test]
    fn a_steady_rate_below_the_cap_halves_nothing() {
        let (mut sample, start) = (Sample::new(), Instant::now());
        for tick in 0..100_000u32 {
            sample.takes(1, start + Duration::from_millis(2) * tick);
        }
        assert_eq!(sample.one_in(), 1);
    }
}
