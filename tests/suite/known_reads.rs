//! Reads that ask the same again and again, which are examined once: `src/read/known.rs`. In a debug
//! build each is examined all the same, and must have been known for what it is.

use crate::support::calls::bearer;
use crate::support::upstream::answer;
use crate::support::{Answer, Sidecar};
use http::Method;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
    let token = bearer(&json!({ "sub": "u", "exp": EXPIRES }));
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
    let headers = [("authorization", "t")];
    let head = sidecar.call(Method::HEAD, PAGE, &headers, "").await;
    assert!(is_hit(&head) && head.body.is_empty(), "{head:?}");
    let headers = [("authorization", "t"), ("cache-control", "no-cache")];
    let asked_again = sidecar.call(Method::GET, PAGE, &headers, "").await;
    assert!(!is_hit(&asked_again), "{asked_again:?}");
    let still = make_known(&sidecar, "t", PAGE).await;
    assert_ne!(still.json(), known.json(), "it was asked again meanwhile");
}

/// One call on a connection of its own; `framing`: what says whether there is a body.
async fn exchange(sidecar: &Sidecar, framing: &str, body: &str) -> String {
    let mut client = TcpStream::connect(sidecar.running.address).await.unwrap();
    let call = format!(
        "GET {PAGE} HTTP/1.1\r\nhost: app.test\r\nauthorization: t\r\nconnection: close\r\n\
         {framing}\r\n{body}"
    );
    client.write_all(call.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Its head says no more of its caller than one without a body does.
#[tokio::test]
async fn a_read_with_a_body_is_not_taken_for_a_known_one() {
    let sidecar = Sidecar::start(&[]).await;
    numbered(&sidecar);
    for _ in 0..UNTIL_KNOWN {
        exchange(&sidecar, "", "").await;
    }
    let hit = exchange(&sidecar, "", "").await;
    assert!(hit.contains("tidegate; hit"), "{hit}");
    let chunked = ("transfer-encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n");
    let other = exchange(&sidecar, chunked.0, chunked.1).await;
    assert!(other.contains("fwd=bypass; detail=body"), "{other}");
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
