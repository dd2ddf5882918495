//! Calls that are forwarded, and their place between the events of their caller: whatever their
//! body is, whatever their client does, and once only.

use crate::support::Sidecar;
use crate::support::upstream::{Seen, answer};
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const TOKEN: [(&str, &str); 1] = [("authorization", "t")];

fn paths(sidecar: &Sidecar) -> Vec<String> {
    sidecar
        .upstream
        .seen()
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect()
}

/// P4: the user that the body would have named is one of the caller's, whoever the head names.
#[tokio::test]
async fn a_call_whose_body_says_nothing_goes_after_all_lanes_of_its_caller() {
    const JWT: &str = "Bearer e30.eyJzdWIiOiJ0ZWFjaGVyIn0.x";
    for (method, body) in [
        (Method::POST, "{\"broken\":"),
        (Method::POST, "a=1&b=2"),
        (Method::DELETE, ""),
    ] {
        let user = (
            "user = \"{jwt.sub|event.userId|query.userId}\"",
            "user = \"{event.userId|query.userId|jwt.sub}\"",
        );
        let sidecar = Sidecar::start(&[user]).await;
        sidecar.event(JWT, "student", "a").await;
        let forwarded = sidecar
            .call(method.clone(), "/event", &[("authorization", JWT)], body)
            .await;
        assert_eq!(forwarded.status, StatusCode::OK);
        assert_eq!(
            paths(&sidecar),
            ["POST /batch".to_owned(), format!("{method} /event")],
            "{body}"
        );
    }
}

/// P4, and the same acknowledgement (ruling 3): nothing that would forward a call is asked before
/// its id.
#[tokio::test]
async fn a_repetition_of_a_kept_event_is_answered_as_such_and_never_forwarded() {
    let full = "[limits]\nmax_lane_events = 1\nevents_per_user = { rate = 1, per = \"1h\", burst = \
        1 }\n[batch.progress]";
    let sidecar = Sidecar::start(&[("[batch.progress]", full)]).await;
    sidecar.event("t", "u", "a").await;
    let again = sidecar.post("t", "u", "a", "").await;
    assert_eq!(
        (again.status, again.header("tidegate-event")),
        (StatusCode::ACCEPTED, "a")
    );
    assert_eq!(
        (
            sidecar.running.ledger().duplicate,
            sidecar.upstream.seen().len()
        ),
        (1, 0)
    );
    let other = sidecar.post("t", "u", "b", "").await;
    assert_eq!(other.status, StatusCode::OK, "the lane is full");
    assert_eq!(paths(&sidecar), ["POST /batch", "POST /event"]);
}

/// P14, ruling 21: an element under a known id is the application's to judge, with the whole batch.
#[tokio::test]
async fn a_clients_batch_with_other_content_under_a_known_id_is_forwarded_whole() {
    let element = |id: &str, percent: u32| json!({ "clientEventId": id, "userId": "u", "lessonId": "l", "percent": percent });
    for events in [
        json!([element("new", 1), element("lesson-5", 55)]),
        json!([element("new", 1), element("new", 2)]),
    ] {
        let sidecar = Sidecar::start(&[]).await;
        let send = async |events: &serde_json::Value| {
            sidecar
                .call(
                    Method::POST,
                    "/batch",
                    &TOKEN,
                    json!({ "events": events }).to_string(),
                )
                .await
        };
        send(&json!([element("lesson-5", 10)])).await;
        send(&events).await;
        let seen = sidecar.upstream.seen();
        assert_eq!(seen.len(), 2);
        let forwarded: serde_json::Value = serde_json::from_slice(&seen[1].body).unwrap();
        assert_eq!(forwarded, json!({ "events": events }));
    }
}

/// P7: what a write changes is old when the application has answered, not when its client goes
/// away.
#[tokio::test]
async fn a_write_whose_client_has_gone_makes_old_what_was_read_meanwhile() {
    for path in [
        "/progress?userId=u",
        "/progress/?userId=u",
        "/%70rogress?userId=u",
        "/snapshot?userId=u",
    ] {
        let sidecar = Arc::new(Sidecar::start(&[]).await);
        let value = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&value);
        sidecar.upstream.answer_with(move |seen: &Seen| {
            (seen.method == Method::GET)
                .then(|| answer(200, json!({ "value": shown.load(Ordering::SeqCst) })))
        });
        let method = if path.starts_with("/snapshot") {
            Method::POST
        } else {
            Method::PUT
        };
        sidecar
            .upstream
            .hold_back(|seen| seen.method != Method::GET);
        let write = tokio::spawn({
            let sidecar = Arc::clone(&sidecar);
            async move { sidecar.call(method, path, &TOKEN, "{}").await }
        });
        sidecar.upstream.until(|seen| seen.len() == 1).await;
        write.abort();
        assert!(write.await.unwrap_err().is_cancelled());
        assert_eq!(
            sidecar.get("t", "/progress?userId=u").await.json()["value"],
            0
        );
        value.store(100, Ordering::SeqCst);
        sidecar.upstream.open_gate();
        let mut reads = 0;
        while sidecar.get("t", "/progress?userId=u").await.json()["value"] != 100 {
            reads += 1;
            assert!(
                reads < 5_000,
                "{path}: what was stored meanwhile is served on"
            );
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}
