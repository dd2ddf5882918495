use super::*;
use crate::event::{Realm, View};
use crate::ingest::settings::Rate;

const HOURLY_OF_TWO: Rate = Rate {
    rate: 1,
    per: Duration::from_hours(1),
    burst: 2,
};

/// A token an hour and one at once, of so many users.
fn buckets(max_users: usize) -> Buckets {
    Buckets::new(&limits(max_users))
}

fn limits(max_users: usize) -> Limits {
    Limits {
        events_per_user: Some(Rate {
            rate: 1,
            per: Duration::from_hours(1),
            burst: 1,
        }),
        max_users,
        max_lanes: 1,
        max_seen: 1,
        max_lane_events: 1,
        max_dead_letters: 1,
        dead_letter_age: Duration::from_hours(1),
        max_body: 1,
        max_context_bytes: 1,
        max_body_memory: 1,
    }
}

fn good(number: u64) -> Payer {
    Payer::Name(principal(number), 0)
}

fn principal(number: u64) -> Principal {
    Principal(u128::from(number).to_le_bytes())
}

fn stranger(number: u64) -> Payer {
    Payer::Stranger(principal(number))
}

#[tokio::test(start_paused = true)]
async fn no_number_of_strangers_takes_the_buckets_of_the_good() {
    let buckets = buckets(600);
    let taken = (0..1_000)
        .filter(|number| buckets.take(stranger(*number), 1).is_ok())
        .count();
    assert_eq!(taken, 300);
    assert_eq!(buckets.take(stranger(1_000), 1), Err(NoToken::TooManyUsers));
    assert!((0..500).all(|number| buckets.take(good(2_000 + number), 1).is_ok()));
    buckets.sweep();
    assert_eq!(
        buckets.take(stranger(1_001), 1),
        Err(NoToken::TooManyUsers),
        "theirs aren't full again"
    );
    assert_eq!(buckets.take(good(3_000), 1), Ok(()));
    assert!(matches!(
        buckets.take(good(3_000), 1),
        Err(NoToken::Limited(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_buckets_than_users_may_have_and_who_has_one_keeps_it() {
    let buckets = Buckets::new(&Limits {
        events_per_user: Some(HOURLY_OF_TWO),
        ..limits(1_000)
    });
    assert_eq!(buckets.take(good(0), 1), Ok(()));
    for number in 1..100_000 {
        assert_eq!(
            buckets.take(good(number), 1).is_ok(),
            number < 1_000,
            "{number}"
        );
    }
    let held = || {
        buckets
            .good
            .slots
            .iter()
            .map(|slot| slot.lock().len())
            .sum::<usize>()
    };
    assert_eq!(
        (held(), buckets.good.count.load(Ordering::Relaxed)),
        (1_000, 1_000)
    );
    assert_eq!(
        buckets.take(good(0), 1),
        Ok(()),
        "its second token, while others find no room"
    );
    assert_eq!(
        buckets.take(good(0), 1),
        Err(NoToken::Limited(Duration::from_hours(1)))
    );
    tokio::time::advance(Duration::from_hours(1)).await;
    buckets.sweep();
    assert_eq!(
        (held(), buckets.good.count.load(Ordering::Relaxed)),
        (1, 1),
        "one isn't full again"
    );
    assert_eq!(
        (buckets.take(good(0), 1), buckets.take(good(5_000), 1)),
        (Ok(()), Ok(()))
    );
}

#[tokio::test(start_paused = true)]
async fn the_names_that_one_principal_uses_take_an_eighth_of_the_buckets_and_come_back() {
    let buckets = buckets(80);
    let named = |name| buckets.take(Payer::Name(principal(1), name), 1);
    assert_eq!((0..100).filter(|name| named(*name).is_ok()).count(), 10);
    assert_eq!(named(200), Err(NoToken::TooManyUsers));
    assert!(matches!(named(0), Err(NoToken::Limited(_))), "it has one");
    assert!((2..60).all(|number| buckets.take(good(number), 1).is_ok()));
    buckets.sweep();
    assert_eq!(named(200), Err(NoToken::TooManyUsers), "none is full again");
    tokio::time::advance(Duration::from_hours(1)).await;
    buckets.sweep();
    let kept = |buckets: &Buckets| -> usize {
        let names = buckets.good.names.iter();
        names.map(|names| names.lock().len()).sum()
    };
    assert_eq!(kept(&buckets), 0, "and what counts them is gone too");
    assert_eq!((200..300).filter(|name| named(*name).is_ok()).count(), 10);
    assert_eq!(kept(&buckets), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_gives_its_burst_at_once_and_its_rate_after_that() {
    let rate = Rate {
        rate: 2,
        per: Duration::from_secs(1),
        burst: 3,
    };
    let buckets = Buckets::new(&Limits {
        events_per_user: Some(rate),
        ..limits(10)
    });
    assert_eq!(
        (0..10).filter(|_| buckets.take(good(1), 1).is_ok()).count(),
        3
    );
    for _ in 0..5 {
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(
            (0..3).filter(|_| buckets.take(good(1), 1).is_ok()).count(),
            1
        );
    }
    tokio::time::advance(Duration::from_mins(1)).await;
    assert_eq!(
        (0..10).filter(|_| buckets.take(good(1), 1).is_ok()).count(),
        3,
        "and no more, however long it was full"
    );
}

#[tokio::test(start_paused = true)]
async fn several_tokens_are_taken_together_or_not_at_all() {
    let rate = Rate {
        rate: 1,
        per: Duration::from_secs(1),
        burst: 5,
    };
    let buckets = Buckets::new(&Limits {
        events_per_user: Some(rate),
        ..limits(10)
    });
    assert_eq!(buckets.take(good(1), 3), Ok(()));
    let one_more = Err(NoToken::Limited(Duration::from_secs(1)));
    assert_eq!(buckets.take(good(1), 3), one_more);
    assert_eq!(buckets.take(good(1), 2), Ok(()));
    // More than a bucket holds: a full one, which owes the rest.
    assert_eq!(buckets.take(good(2), 9), Ok(()));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(buckets.take(good(2), 1), one_more);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(buckets.take(good(2), 1), Ok(()));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(buckets.take(good(2), 9), one_more);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(buckets.take(good(2), 9), Ok(()));
}

#[test]
fn a_name_that_is_no_claim_of_a_good_caller_takes_nobody_elses_tokens() {
    let (user, other) = (UserId::try_new("u").unwrap(), UserId::try_new("v").unwrap());
    let owner = |principal, claimed| {
        let (principal, realm, view) = (Principal([principal; 16]), Realm(0), View([0; 16]));
        Owner {
            principal,
            realm,
            view,
            claimed,
        }
    };
    let of = |user, principal, claimed, is_stranger, is_good| {
        Payer::of(user, &owner(principal, claimed), None, is_stranger, is_good)
    };
    assert_eq!(
        of(&user, 1, true, false, true),
        of(&user, 2, true, false, true),
        "two devices of one user"
    );
    assert_ne!(
        of(&user, 1, true, false, true),
        of(&user, 3, false, false, true),
        "a name in a body"
    );
    assert_ne!(
        of(&user, 1, true, false, true),
        of(&user, 3, true, false, false),
        "good elsewhere only"
    );
    assert_ne!(
        of(&user, 1, true, false, true),
        of(&user, 3, true, true, false),
        "a forged claim"
    );
    assert_eq!(
        of(&user, 3, true, true, false),
        of(&other, 3, false, true, false),
        "which has one bucket for all names"
    );
}
