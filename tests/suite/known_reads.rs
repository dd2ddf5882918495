//! Reads that ask the same again and again, which are examined once: `src/read/known.rs`. In a debug
//! build each is examined all the same, and must have been known for what it is.

use crate::support::upstream::answer;
use crate::support::{Answer, Sidecar};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tidegate::clock::Clock;

const PAGE: &str = "/progress?userId=u";
/// A head is remembered when it comes again, and a read once it is a hit under such a head.
const UNTIL_KNOWN: usize = 5;

/// Each answer of the application has another number.
fn numbered(sidecar: &Sidecar) {
    let count = AtomicU64::new(0);
    sidecar.upstream.answer_with(move |seen| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        (seen.path != "/batch").then(|| answer(200, json!({ "path": seen.path, "number": number })))
    });
}

/// Reads until the read is known; the last answer, which is a hit.
async fn make_known(sidecar: &Sidecar, token: &str, page: &str) -> Answer {
    for _ in 0..UNTIL_KNOWN {
        sidecar.get(token, page).await;
    }
    let known = sidecar.get(token, page).await;
    assert!(is_hit(&known), "{known:?}");
    known
}

fn is_hit(answer: &Answer) -> bool {
    answer.header("cache-status").starts_with("tidegate; hit")
}

#[tokio::test]
async fn a_known_read_shows_every_event_acknowledged_before_it() {
    let sidecar = Sidecar::start(&[]).await;
    numbered(&sidecar);
    let mut last = make_known(&sidecar, "t", PAGE).await.json();
    for id in ["a", "b", "c"] {
        sidecar.event("t", "u", id).await;
        let next = sidecar.get("t", PAGE).await;
        assert!(!is_hit(&next), "{next:?}");
        assert_ne!(next.json(), last);
        last = make_known(&sidecar, "t", PAGE).await.json();
        assert_eq!(last, next.json());
    }
}

#[tokio::test]
async fn a_known_read_is_answered_no_longer_than_its_token_holds() {
    const EXPIRES: u64 = 2_000_000_000;
    let now = Arc::new(AtomicU64::new(EXPIRES - 10));
    let clock = Arc::clone(&now);
    let clock = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
    let sidecar = Sidecar::start_at(&[], Clock::from_fn(clock)).await;
    numbered(&sidecar);
    let part = |claims: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let (head, claims) = (
        json!({ "alg": "HS256" }),
        json!({ "sub": "u", "exp": EXPIRES }),
    );
    let token = format!("Bearer {}.{}.c2ln", part(head), part(claims));
    make_known(&sidecar, &token, PAGE).await;
    now.store(EXPIRES, Ordering::SeqCst);
    let expired = sidecar.get(&token, PAGE).await;
    assert_eq!(
        expired.header("cache-status"),
        "tidegate; fwd=bypass; detail=expired_token"
    );
}

#[tokio::test]
async fn what_differs_from_a_known_read_is_not_taken_for_it() {
    let sidecar = Sidecar::start(&[]).await;
    numbered(&sidecar);
    let known = make_known(&sidecar, "t", PAGE).await;
    let others = sidecar.get("other", PAGE).await;
    assert!(!is_hit(&others), "another caller: {others:?}");
    for target in [
        "/progress?userId=v",
        "/progress?userId=u&page=2",
        "/progress",
    ] {
        let other = sidecar.get("t", target).await;
        assert!(!is_hit(&other), "{target}: {other:?}");
    }
    let call = |method, more, body| {
        let headers = [("authorization", "t"), more];
        let sidecar = &sidecar;
        async move { sidecar.call(method, PAGE, &headers, body).await }
    };
    let asked_again = call(Method::GET, ("cache-control", "no-cache"), "").await;
    assert!(!is_hit(&asked_again), "{asked_again:?}");
    let with_body = call(Method::GET, ("content-type", "text/plain"), "x").await;
    assert_eq!(
        with_body.header("cache-status"),
        "tidegate; fwd=bypass; detail=body"
    );
    let head = call(Method::HEAD, ("accept", "*/*"), "").await;
    assert!(is_hit(&head) && head.body.is_empty(), "{head:?}");
    let still = make_known(&sidecar, "t", PAGE).await;
    assert_ne!(still.json(), known.json(), "it was asked again meanwhile");
}

/// Of one head and many targets each is answered with its own.
#[tokio::test]
async fn more_reads_of_one_head_than_are_known_are_answered_each_with_its_own() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.path != "/batch").then(|| answer(200, json!({ "path": seen.path })))
    });
    let pages = (0..5).map(|page| format!("{PAGE}&page={page}"));
    let pages: Vec<_> = pages.collect();
    for round in 0..UNTIL_KNOWN {
        for page in &pages {
            let read = sidecar.get("t", page).await;
            assert_eq!(read.json()["path"], **page);
            assert_eq!(is_hit(&read), round > 0, "{read:?}");
        }
    }
}
