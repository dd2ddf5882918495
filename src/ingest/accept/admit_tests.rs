use super::*;

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
