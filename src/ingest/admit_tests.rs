use super::*;
use crate::event::{Realm, View};
use crate::ingest::settings::Rate;

/// A token an hour and one at once, of so many users.
fn buckets(max_users: usize) -> Buckets {
    Buckets::new(&Limits {
        events_per_user: Some(Rate { rate: 1, per: Duration::from_hours(1), burst: 1 }),
        max_users,
        max_lanes: 1,
        max_seen: 1,
        max_lane_events: 1,
        max_dead_letters: 1,
        max_body: 1,
        max_context_bytes: 1,
        max_body_memory: 1,
    })
}

fn take(buckets: &Buckets, number: u64, is_stranger: bool) -> Result<(), Dry> {
    let principal = Principal(u128::from(number).to_le_bytes());
    let owner = Owner { principal, realm: Realm(0), view: View([0; 16]), claimed: false };
    buckets.take(&UserId::try_new("u").unwrap(), &owner, is_stranger)
}

#[test]
fn no_number_of_strangers_takes_the_buckets_of_the_good() {
    let buckets = buckets(600);
    let taken = (0..1_000).filter(|number| take(&buckets, *number, true).is_ok()).count();
    // Counted now and then: not at once beyond 300.
    assert!((300..600).contains(&taken), "{taken}");
    assert_eq!(take(&buckets, 1_000, true), Err(Dry::TooManyUsers));
    assert!((0..500).all(|number| take(&buckets, 2_000 + number, false).is_ok()));
    buckets.sweep();
    assert_eq!(take(&buckets, 1_001, true), Err(Dry::TooManyUsers), "theirs aren't full again");
    assert_eq!(take(&buckets, 3_000, false), Ok(()));
    assert!(matches!(take(&buckets, 3_000, false), Err(Dry::Limited(_))));
}
