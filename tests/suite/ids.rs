//! Ids that name a state, and ids that are made of the whole call (ruling 21).

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body};
use crate::support::upstream::answer;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tidegate::clock::{Clock, millis};

const TOKEN: (&str, &str) = ("authorization", "Bearer t");

async fn post(sidecar: &Sidecar, call: &Value) -> crate::support::Answer {
    sidecar
        .call(Method::POST, "/event", &[TOKEN], call.to_string())
        .await
}

fn hashed(more: &str) -> String {
    format!("fallback = \"dead-letter\"\nmissing_id = \"hash\"\n{more}")
}

/// The percents that the application was told, in order, by batch or by single call.
fn percents(sidecar: &Sidecar) -> Vec<u64> {
    let of = |seen: &crate::support::upstream::Seen| -> Vec<u64> {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let events = body["events"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![body]);
        events
            .iter()
            .map(|event| event["percent"].as_u64().unwrap())
            .collect()
    };
    sidecar.upstream.seen().iter().flat_map(of).collect()
}

#[tokio::test]
async fn an_id_that_names_a_lesson_loses_none_of_its_states() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    for percent in [10, 55, 90] {
        let call = json!({ "id": "lesson-5", "user": "u", "lesson": "l", "percent": percent });
        let heard = post(&sidecar, &call).await;
        assert!(heard.status.is_success());
        let why = if percent == 10 { "" } else { "other_content" };
        assert_eq!(heard.header("tidegate-forwarded"), why);
    }
    sidecar.delivered().await;
    assert_eq!(percents(&sidecar), [10, 55, 90], "each once, in order");
    assert_eq!(sidecar.declined("other_content").await, 2);
}

#[tokio::test]
async fn the_same_call_again_is_a_duplicate_whatever_now_or_a_volatile_field_say() {
    let volatile = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nvolatile = [\"pad\"]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, volatile]).await;
    for sent_at in ["1", "2", "3"] {
        let call = json!({ "id": "a", "user": "u", "lesson": "l", "percent": 5, "pad": sent_at });
        let heard = post(&sidecar, &call).await;
        assert_eq!(
            (heard.status, heard.header("tidegate-event")),
            (StatusCode::ACCEPTED, "a")
        );
    }
    sidecar.delivered().await;
    // Settled ids are known too.
    let call = json!({ "id": "a", "user": "u", "lesson": "l", "percent": 5, "pad": "4" });
    assert_eq!(post(&sidecar, &call).await.status, StatusCode::ACCEPTED);
    let ledger = sidecar.running.ledger();
    assert_eq!(
        (ledger.accepted, ledger.duplicate, ledger.pending),
        (1, 3, 0)
    );
    assert_eq!(percents(&sidecar), [5]);
    // Where its time is the client's own, another time is another content.
    let other = json!({ "id": "a", "user": "u", "lesson": "l", "percent": 5, "timestamp": "2020" });
    assert_eq!(
        post(&sidecar, &other).await.header("tidegate-forwarded"),
        "other_content"
    );
}

#[tokio::test]
async fn without_ids_three_states_of_one_lesson_are_three_events() {
    for lines in ["", "missing_id = \"hash\""] {
        let lines = format!("fallback = \"dead-letter\"\n{lines}");
        let sidecar = Sidecar::start(&[BY_LISTS, ("fallback = \"dead-letter\"", &lines)]).await;
        let mut ids = Vec::new();
        for percent in [10, 55, 90] {
            let call = json!({ "user": "u", "lesson": "lesson-5", "percent": percent });
            let heard = post(&sidecar, &call).await;
            assert_eq!(heard.status, StatusCode::ACCEPTED);
            ids.push(heard.header("tidegate-event").to_owned());
        }
        sidecar.delivered().await;
        assert_eq!(percents(&sidecar), [10, 55, 90], "{lines}");
        assert_eq!(sidecar.upstream.batches().concat(), ids);
    }
}

#[tokio::test]
async fn a_hash_takes_the_whole_call_so_that_a_repetition_is_one_and_a_likeness_is_not() {
    let lines = hashed("");
    let user = (
        "user = \"{jwt.sub|event.userId|query.userId}\"",
        "user = \"{jwt.sub|event.userId}\"",
    );
    let query = (
        "pad = \"{body.pad}\"",
        "pad = \"{body.pad}\", lang = \"{query.lang}\"",
    );
    let sidecar = Sidecar::start(&[
        BY_LISTS,
        user,
        query,
        ("fallback = \"dead-letter\"", &lines),
    ])
    .await;
    let call = |token: &'static str, path: &'static str, more: &'static str| {
        let sidecar = &sidecar;
        async move {
            let body = format!("{{\"user\":\"u\",\"lesson\":\"l\",\"percent\":5{more}}}");
            let heard = sidecar
                .call(Method::POST, path, &[("authorization", token)], body)
                .await;
            assert_eq!(heard.status, StatusCode::ACCEPTED);
            heard.header("tidegate-event").to_owned()
        }
    };
    let first = call("Bearer t", "/event", "").await;
    assert_eq!(
        call("Bearer t", "/event", "").await,
        first,
        "the same call again"
    );
    let mut ids = vec![first];
    for (token, path, more) in [
        ("Bearer t", "/event", ",\"unmapped\":1"),
        ("Bearer t", "/event?lang=de", ""),
        ("Bearer t", "/event", " "),
        ("Bearer other", "/event", ""),
    ] {
        ids.push(call(token, path, more).await);
    }
    let different: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(different.len(), 5, "{ids:?}");
    sidecar.delivered().await;
    let ledger = sidecar.running.ledger();
    assert_eq!((ledger.accepted, ledger.duplicate), (5, 1));
}

/// A route whose events are the bodies as they are.
const RAW: (&str, &str) = (
    "[[write]]\n",
    "[[event]]\npath = \"/raw\"\nbatch = \"progress\"\n[[write]]\n",
);

#[tokio::test]
async fn a_null_id_is_a_missing_one_and_one_generated_id_takes_its_place() {
    let single = ("fallback = \"dead-letter\"", "fallback = \"single\"");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, RAW, single]).await;
    let body = |id: &str| {
        format!("{{\"clientEventId\":{id},\"userId\":\"u\",\"lessonId\":\"l\",\"percent\":5}}")
    };
    let mut ids = Vec::new();
    for id in ["null", "\"\""] {
        let heard = sidecar.call(Method::POST, "/raw", &[TOKEN], body(id)).await;
        assert_eq!(heard.status, StatusCode::ACCEPTED, "{id}");
        assert_eq!(heard.json()["accepted"][0], heard.header("tidegate-event"));
        ids.push(heard.header("tidegate-event").to_owned());
    }
    assert!(
        !ids[0].is_empty() && ids[0] != ids[1],
        "each is an event of its own"
    );
    let batches = sidecar.delivered().await;
    assert_eq!(batches[0].ids(), ids);
    let text = std::str::from_utf8(&batches[0].body).unwrap();
    assert_eq!(
        text.matches("clientEventId").count(),
        2,
        "the generated id alone: {text}"
    );
    // The single call that it may become is the call as it came.
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(404, json!({}))));
    let heard = sidecar
        .call(Method::POST, "/raw", &[TOKEN], body("null"))
        .await;
    sidecar.delivered().await;
    let seen = sidecar.upstream.seen();
    let repeated = seen.iter().find(|seen| seen.path == "/raw").unwrap();
    assert_eq!(repeated.body, body("null"));
    assert_eq!(
        repeated.header("idempotency-key"),
        heard.header("tidegate-event")
    );
}

#[tokio::test]
async fn where_the_application_must_see_a_null_id_it_is_forwarded_or_refused_by_name() {
    let unless = RAW.1.replace(
        "batch = \"progress\"",
        "batch = \"progress\"\nforward_unless = [\"{body.clientEventId}\"]",
    );
    let refusing = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nrefuse = [\"missing_id\"]",
    );
    let call = "{\"clientEventId\":null,\"userId\":\"u\",\"lessonId\":\"l\"}";
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, (RAW.0, &unless)]).await;
    let heard = sidecar.call(Method::POST, "/raw", &[TOKEN], call).await;
    assert_eq!(
        (heard.status, heard.header("tidegate-forwarded")),
        (StatusCode::OK, "forward_unless")
    );
    assert_eq!(sidecar.upstream.seen()[0].body, call);
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, RAW, refusing]).await;
    let heard = sidecar.call(Method::POST, "/raw", &[TOKEN], call).await;
    assert_eq!(
        (heard.status, heard.json()["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("missing_id"))
    );
}

#[tokio::test]
async fn of_many_tries_at_one_moment_one_is_new_and_all_others_hear_what_a_repetition_hears() {
    let replace = [
        ("durability = \"none\"", "durability = \"disk\""),
        (
            "path = \"/event\"\n",
            "path = \"/event\"\nack = { body = { new = true }, duplicate = { new = false } }\n",
        ),
    ];
    let sidecar = Sidecar::start(&replace).await;
    for round in 0..20 {
        let id = format!("event-{round}");
        let tries = (0..8).map(|_| sidecar.post("t", "u", &id, ""));
        let heard: Vec<Value> = futures_util::future::join_all(tries)
            .await
            .iter()
            .map(|one| one.json())
            .collect();
        let new = heard
            .iter()
            .filter(|one| **one == json!({ "new": true }))
            .count();
        assert_eq!((new, heard.len()), (1, 8), "{heard:?}");
        assert!(
            heard
                .iter()
                .filter(|one| **one == json!({ "new": false }))
                .count()
                == 7,
            "{heard:?}"
        );
    }
}

/// A wall clock, and by how much it is moved on.
fn driven_clock() -> (Clock, Arc<AtomicU64>) {
    let ahead = Arc::<AtomicU64>::default();
    let seconds = Arc::clone(&ahead);
    let now = move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::SeqCst));
    (Clock::from_fn(now), ahead)
}

/// An event that was acknowledged goes once: what is over meanwhile makes no other call of its
/// repetition.
#[tokio::test]
async fn a_repetition_is_one_though_its_token_ends_or_its_event_is_too_old_by_then() {
    let margin = ("[delivery]", "[delivery]\ntoken_margin = \"30s\"");
    let refuse = (
        "[batch.progress]",
        "[batch.progress]\nrefuse = [\"too_old\"]",
    );
    let (clock, ahead) = driven_clock();
    let sidecar = Sidecar::start_at(&[BY_LISTS, EXPLAIN, margin, refuse], clock).await;
    let now = millis(SystemTime::now());
    let ends = bearer(&json!({ "sub": "u", "exp": now / 1000 + 60 }));
    let token = [("authorization", ends.as_str())];
    let old = now - 24 * 3_600_000 + 20_000;
    let aged = |id: &str| body("v", id, &format!(",\"timestamp\":{old}"));
    let element =
        |id: &str| json!({ "clientEventId": id, "userId": "w", "lessonId": "l", "timestamp": old });
    let batch = |ids: &[&str]| {
        let events: Vec<_> = ids.iter().map(|id| element(id)).collect();
        json!({ "events": events }).to_string()
    };
    let post =
        async |path: &str, body: String| sidecar.call(Method::POST, path, &[TOKEN], body).await;
    let repeat = async |is_first: bool| {
        let heard = sidecar.send(&token, "u", "a").await;
        assert_eq!(heard.header("tidegate-event"), "a", "{heard:?}");
        let heard = post("/event", aged("b")).await;
        assert_eq!(heard.header("tidegate-event"), "b", "{heard:?}");
        let heard = post("/batch", batch(&["c"])).await.json();
        let list = if is_first { "accepted" } else { "duplicates" };
        assert_eq!(heard[list], json!(["c"]), "{heard}");
    };
    repeat(true).await;
    ahead.store(40, Ordering::SeqCst);
    repeat(false).await;
    assert_eq!(sidecar.delivered().await.len(), 3);
    repeat(false).await;
    let ledger = sidecar.running.ledger();
    assert_eq!((ledger.received, ledger.accepted), (9, 3));
    // What is new is judged as ever.
    let heard = sidecar.send(&token, "u", "new").await;
    assert_eq!(heard.header("tidegate-forwarded"), "token_ends");
    assert_eq!(post("/event", aged("new")).await.json()["code"], "too_old");
    assert_eq!(
        post("/batch", batch(&["c", "new"])).await.json()["code"],
        "too_old"
    );
}
