//! P7 and P8 through real sockets.

use crate::support::upstream::answer;
use crate::support::{Sidecar, in_time};
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The upstream shows how many events it has taken.
fn counting(sidecar: &Sidecar) {
    let taken = Arc::new(AtomicU64::new(0));
    sidecar.upstream.answer_with(move |seen| {
        if seen.path == "/batch" {
            taken.fetch_add(seen.ids().len() as u64, Ordering::SeqCst);
            return None;
        }
        seen.path
            .starts_with("/progress")
            .then(|| answer(200, json!({ "taken": taken.load(Ordering::SeqCst) })))
    });
}

#[tokio::test]
async fn a_read_shows_every_event_acknowledged_before_it() {
    let sidecar = Sidecar::start(&[]).await;
    counting(&sidecar);
    for round in 1..=20u64 {
        sidecar.event("t", "u", &format!("e{round}")).await;
        for repeat in 0..2 {
            let read = sidecar.get("t", "/progress?userId=u").await;
            assert_eq!(read.json()["taken"], round);
            let wanted = if repeat == 0 { "fwd=" } else { "hit" };
            assert!(
                read.header("cache-status").contains(wanted),
                "{}",
                read.header("cache-status")
            );
        }
    }
}

#[tokio::test]
async fn anothers_pending_event_makes_old_what_is_stored_and_costs_its_reader_nothing_else() {
    let sidecar = Sidecar::start(&[]).await;
    counting(&sidecar);
    let read = || async {
        sidecar
            .get("t", "/progress?userId=u")
            .await
            .header("cache-status")
            .to_owned()
    };
    assert!(read().await.ends_with("stored"));
    assert!(read().await.contains("hit"));
    sidecar.event("other", "u", "a").await;
    assert_eq!(
        read().await,
        "tidegate; fwd=stale; stored",
        "as new as the application is"
    );
    assert!(
        read().await.contains("hit"),
        "whatever a stranger has pending"
    );
    assert_eq!(
        sidecar.running.ledger().pending,
        1,
        "another credential forces no flush"
    );
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.pending == 0).await;
    assert!(
        read().await.ends_with("fwd=stale; stored"),
        "what was stored before is old"
    );
}

#[tokio::test]
async fn past_the_barriers_deadline_the_cache_is_passed_by() {
    let sidecar = Sidecar::start(&[("barrier = \"3s\"", "barrier = \"20ms\"")]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(503, json!({}))));
    sidecar.event("t", "u", "a").await;
    let read = sidecar.get("t", "/progress?userId=u").await;
    assert_eq!(
        (read.status, read.header("cache-status")),
        (
            StatusCode::OK,
            "tidegate; fwd=bypass; detail=barrier-timeout"
        )
    );
}

#[tokio::test]
async fn an_answer_fetched_before_an_acknowledgement_is_not_stored_after_it() {
    let sidecar = Sidecar::start(&[]).await;
    counting(&sidecar);
    sidecar.upstream.close_gate();
    let slow = sidecar.get("t", "/progress?userId=u");
    let meanwhile = async {
        sidecar.upstream.until(|seen| seen.len() == 1).await;
        sidecar.event("t", "u", "a").await;
        sidecar.upstream.open_gate();
    };
    let (slow, ()) = tokio::join!(slow, meanwhile);
    assert!(
        slow.header("cache-status").ends_with("detail=invalidated"),
        "{}",
        slow.header("cache-status")
    );
    assert_eq!(
        sidecar.get("t", "/progress?userId=u").await.json()["taken"],
        1
    );
}

#[tokio::test]
async fn a_stored_answer_is_never_shown_to_another_credential() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| Some(answer(200, json!({ "for": seen.header("authorization") }))));
    for _ in 0..2 {
        for token in ["a", "b", ""] {
            assert_eq!(
                sidecar.get(token, "/progress?userId=u").await.json()["for"],
                token
            );
        }
    }
    let status = sidecar.admin(Method::GET, "/status").await.json();
    // What the route declares of its callers' own answers doesn't speak for a caller without a
    // name.
    assert_eq!(
        (&status["cache"]["hits"], &status["cache"]["misses"]),
        (&json!(2), &json!(4))
    );
}

#[tokio::test]
async fn cookies_and_request_ids_of_one_request_are_not_replayed_to_the_next() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|_| {
        let mut response = answer(200, json!({}));
        response
            .headers_mut()
            .insert("set-cookie", HeaderValue::from_static("csrf=1"));
        response
            .headers_mut()
            .insert("x-request-id", HeaderValue::from_static("first"));
        Some(response)
    });
    let first = sidecar.get("t", "/progress?userId=u").await;
    assert_eq!(first.header("set-cookie"), "csrf=1");
    let second = sidecar
        .call(
            Method::GET,
            "/progress?userId=u",
            &[("authorization", "t"), ("x-request-id", "mine")],
            "",
        )
        .await;
    assert!(second.header("cache-status").contains("hit"));
    assert_eq!(
        (second.header("set-cookie"), second.header("x-request-id")),
        ("", "mine")
    );
    let head = sidecar
        .call(
            Method::HEAD,
            "/progress?userId=u",
            &[("authorization", "t")],
            "",
        )
        .await;
    assert_eq!((head.header("content-length"), head.body.len()), ("2", 0));
}

#[tokio::test]
async fn many_readers_of_one_missing_answer_ask_once() {
    let sidecar = Arc::new(Sidecar::start(&[]).await);
    sidecar.upstream.close_gate();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let sidecar = Arc::clone(&sidecar);
            tokio::spawn(async move { sidecar.get("t", "/progress?userId=u").await.status })
        })
        .collect();
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    sidecar.upstream.open_gate();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(sidecar.upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_write_that_passes_through_makes_stored_answers_old() {
    let sidecar = Sidecar::start(&[]).await;
    let read = || async {
        sidecar
            .get("t", "/progress?userId=u")
            .await
            .header("cache-status")
            .to_owned()
    };
    assert!(read().await.ends_with("stored"));
    sidecar
        .call(
            Method::POST,
            "/snapshot?userId=u",
            &[("authorization", "t")],
            "{}",
        )
        .await;
    assert!(read().await.ends_with("fwd=stale; stored"));
}

#[tokio::test]
async fn a_public_route_is_shared_only_as_far_as_the_answer_allows() {
    let public = [(
        "force = true\ntags = [\"progress:{user}\"]",
        "public = true",
    )];
    let sidecar = Sidecar::start(&public).await;
    sidecar.upstream.answer_with(|seen| {
        let mut response = answer(200, json!({}));
        let control = if seen.path.contains("open") {
            "public, max-age=60"
        } else {
            "private, max-age=60"
        };
        response
            .headers_mut()
            .insert("cache-control", HeaderValue::from_static(control));
        Some(response)
    });
    for (path, wanted) in [
        ("/progress?open", "hit"),
        ("/progress?closed", "detail=private"),
    ] {
        sidecar.get("a", path).await;
        let found = sidecar
            .get("b", path)
            .await
            .header("cache-status")
            .to_owned();
        assert!(found.contains(wanted), "{path}: {found}");
    }
}

/// The path of the events may be read too: one resource has one order.
#[tokio::test]
async fn an_event_makes_old_what_is_stored_of_its_own_address() {
    let stored = "[[cache]]\npath = \"/event\"\nttl = \"60s\"\n[[cache]]";
    let sidecar = Sidecar::start(&[("[[cache]]", stored)]).await;
    let taken = AtomicU64::new(0);
    sidecar.upstream.answer_with(move |seen| {
        if seen.path == "/batch" {
            taken.fetch_add(seen.ids().len() as u64, Ordering::SeqCst);
            return None;
        }
        Some(answer(
            200,
            json!({ "taken": taken.load(Ordering::SeqCst) }),
        ))
    });
    for round in 0..5u64 {
        let read = sidecar.get("t", "/event").await;
        assert_eq!(
            read.json()["taken"],
            round,
            "{}",
            read.header("cache-status")
        );
        assert!(
            sidecar
                .get("t", "/event")
                .await
                .header("cache-status")
                .contains("hit")
        );
        sidecar.event("t", "u", &format!("e{round}")).await;
    }
    assert!(
        sidecar
            .get("other", "/event")
            .await
            .header("cache-status")
            .contains("uri-miss")
    );
}

#[tokio::test]
async fn an_event_leaves_others_answers_from_its_own_address_as_they_are() {
    let stored = "[[cache]]\npath = \"/event\"\nttl = \"60s\"\n[[cache]]";
    let sidecar = Sidecar::start(&[("[[cache]]", stored)]).await;
    counting(&sidecar);
    for token in ["one", "other"] {
        sidecar.get(token, "/event").await;
    }
    sidecar.event("one", "u", "a").await;
    assert!(
        sidecar
            .get("other", "/event")
            .await
            .header("cache-status")
            .contains("hit")
    );
    assert!(
        sidecar
            .get("one", "/event")
            .await
            .header("cache-status")
            .contains("fwd=stale")
    );
}

/// A read behind a pause that outlasts its patience gains nothing by waiting.
#[tokio::test]
async fn a_read_behind_a_longer_pause_is_the_applications_at_once() {
    let patient = ("barrier = \"3s\"", "barrier = \"1h\"");
    let pause = (
        "retry_limited = { base = \"10ms\", jitter = \"5ms\" }",
        "retry_limited = { base = \"3h\", jitter = \"5ms\" }",
    );
    let sidecar = Sidecar::start(&[patient, pause]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(429, json!({}))));
    sidecar.event("t", "u", "a").await;
    sidecar.flush().await;
    sidecar
        .until_counter("tidegate_group_lanes{group=\"progress\",state=\"gate\"}", 1)
        .await;
    let asked = sidecar.get("t", "/progress?userId=u");
    let read = in_time("a read behind a pause of hours", asked).await;
    assert_eq!(
        read.header("cache-status"),
        "tidegate; fwd=bypass; detail=barrier-timeout"
    );
}
