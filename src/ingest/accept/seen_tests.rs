use super::*;
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_an_undecided_event_waits_for_its_originals_fate() {
    let seen = Arc::new(Seen::new(64, &[0; 32]));
    let (kept, gone) = (SeenKey([1; 16]), SeenKey([2; 16]));
    for key in [kept, gone] {
        assert_eq!(seen.claim(key).await, Claim::New);
        let waits = tokio::time::timeout(Duration::from_hours(1), seen.claim(key)).await;
        assert!(
            waits.is_err(),
            "nobody knows yet whether its original is kept"
        );
    }
    let claim = |key| {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move { seen.claim(key).await })
    };
    let (second, third) = (claim(kept), claim(gone));
    tokio::task::yield_now().await;
    seen.confirm(kept);
    seen.end(gone, None, Instant::now());
    assert_eq!(
        (second.await.unwrap(), third.await.unwrap()),
        (Claim::Known, Claim::New)
    );
}

#[tokio::test(start_paused = true)]
async fn who_asks_of_an_undecided_id_hears_what_became_of_it_and_takes_nothing() {
    let seen = Arc::new(Seen::new(64, &[0; 32]));
    let (kept, gone) = (SeenKey([1; 16]), SeenKey([2; 16]));
    let asks = [kept, gone].map(|key| {
        assert_eq!(seen.begin(key, Instant::now()), Known::No);
        let seen = Arc::clone(&seen);
        tokio::spawn(async move { seen.known_when_decided(key).await })
    });
    tokio::task::yield_now().await;
    assert!(asks.iter().all(|ask| !ask.is_finished()));
    seen.confirm(kept);
    seen.end(gone, None, Instant::now());
    let [first, second] = asks;
    assert_eq!(
        (first.await.unwrap(), second.await.unwrap()),
        (Known::Yes, Known::No)
    );
    // Nobody holds it: the next one may have it.
    assert_eq!(seen.begin(gone, Instant::now()), Known::No);
}

#[tokio::test(start_paused = true)]
async fn each_id_is_known_as_long_as_its_own_group_says_whatever_stands_before_it() {
    let seen = Seen::new(64 * 64, &[0; 32]);
    // Of one slot, with other ids.
    let key = |id: u8| {
        SeenKey(std::array::from_fn(
            |place| if place == 1 { id } else { 64 },
        ))
    };
    let (long, short) = (key(1), key(2));
    let settle = |key, keep| {
        seen.confirm(key);
        seen.end(key, Some(keep), Instant::now());
    };
    settle(long, Duration::from_hours(24));
    settle(short, Duration::from_mins(10));
    tokio::time::advance(Duration::from_mins(10)).await;
    assert_eq!(seen.look(short, Instant::now()), Known::Yes);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(seen.look(long, Instant::now()), Known::Yes);
    // It comes again: what is left of its first time takes nothing from the second.
    assert_eq!(seen.begin(short, Instant::now()), Known::No);
    settle(short, Duration::from_hours(48));
    tokio::time::advance(Duration::from_hours(25)).await;
    assert_eq!(seen.look(long, Instant::now()), Known::No);
    assert_eq!(seen.look(short, Instant::now()), Known::Yes);
    tokio::time::advance(Duration::from_hours(24)).await;
    assert_eq!(seen.look(short, Instant::now()), Known::No);
    assert!(
        seen.slots
            .iter()
            .all(|slot| slot.shard.lock().ids.is_empty())
    );
}
