//! `form = "single"`, `keep = "newest"`, `flush_on_change`, `flush_with`: single calls after their
//! windows, states of which only the newest is sent, and what seals.

use crate::support::Sidecar;
use crate::support::upstream::{Seen, answer};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const STATES: (&str, &str) = (
    "[[write]]\npath = \"/snapshot\"\ndrains = [\"progress:{user}\"]\ninvalidates = \
     [\"progress:{user}\"]\n",
    r#"[batch.states]
form = "single"
keep = "newest"
key = ["{body.course}"]
window = "1h"
flush_on = { "/percent" = { at_least = 100 }, "/done/at" = { set = true } }
invalidates = ["progress:{user}"]
[[event]]
path = "/snapshot"
batch = "states"
forward_unless = ["{body.course}"]
ack = { status = 202, body = { id = "{event.clientEventId}", rows = "{body.rows.length}" } }
[[event]]
path = "/bookmark"
batch = "states"
[[write]]
path = "/write"
drains = ["progress:{user}"]
"#,
);

async fn tell(sidecar: &Sidecar, path: &str, more: &Value) -> StatusCode {
    let mut body = json!({ "userId": "u", "course": "c1", "rows": [1, 2] });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    sidecar
        .call(
            Method::POST,
            path,
            &[("authorization", "t")],
            body.to_string(),
        )
        .await
        .status
}

fn at<'a>(seen: &'a [Seen], path: &str) -> Vec<(&'a Seen, Value)> {
    let found = seen.iter().filter(|one| one.path == path);
    found
        .map(|one| (one, serde_json::from_slice(&one.body).unwrap()))
        .collect()
}

#[tokio::test]
async fn of_a_window_only_the_newest_state_of_each_key_goes_out_as_the_call_that_it_is() {
    let sidecar = Sidecar::start(&[STATES]).await;
    for percent in 1..=5 {
        assert_eq!(
            tell(&sidecar, "/snapshot", &json!({ "percent": percent })).await,
            StatusCode::ACCEPTED
        );
    }
    tell(
        &sidecar,
        "/snapshot",
        &json!({ "course": "c2", "percent": 9 }),
    )
    .await;
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.received, ledger.accepted, ledger.superseded),
        (6, 2, 4)
    );
    let seen = sidecar.upstream.seen();
    let sent = at(&seen, "/snapshot");
    assert_eq!(sent.len(), 2);
    let wanted = json!({ "userId": "u", "course": "c1", "rows": [1, 2], "percent": 5 });
    assert_eq!(
        (sent[0].1.clone(), sent[0].0.header("authorization")),
        (wanted, "t"),
        "as it came, and no more"
    );
    assert_eq!(sent[1].1["course"], "c2");
}

#[tokio::test]
async fn the_newest_state_goes_out_byte_for_byte() {
    let sidecar = Sidecar::start(&[STATES]).await;
    tell(&sidecar, "/snapshot", &json!({ "percent": 1 })).await;
    let body = "{ \"userId\": \"u\",\n\t\"course\":\"c1\" , \"percent\": 5.10, \
        \"big\":1e400,\"percent\":7,\"name\":\"\\u00e9\u{e9}\" }\n";
    let told = sidecar
        .call(Method::POST, "/snapshot", &[("authorization", "t")], body)
        .await;
    assert_eq!(told.status, StatusCode::ACCEPTED);
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.superseded), (1, 1));
    assert_eq!(sidecar.upstream.seen()[0].body, body);
}

#[tokio::test]
async fn states_that_gather_while_the_upstream_is_ill_become_one_call() {
    let sidecar = Sidecar::start(&[
        STATES,
        ("form = \"single\"", "form = \"single\"\nflush_at = 1"),
    ])
    .await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(503, json!({}))));
    tell(&sidecar, "/snapshot", &json!({ "percent": 1 })).await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"states\",result=\"server_error\"}",
            1,
        )
        .await;
    for percent in 2..=9 {
        tell(&sidecar, "/snapshot", &json!({ "percent": percent })).await;
    }
    let before = sidecar.upstream.seen().len();
    sidecar.upstream.answer_with(|_| None);
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.accepted, ledger.superseded),
        (2, 7),
        "the one that was tried, and the newest"
    );
    let seen = sidecar.upstream.seen();
    let told: Vec<_> = at(&seen, "/snapshot")
        .into_iter()
        .map(|(_, body)| body["percent"].clone())
        .collect();
    assert!(
        told[..before].iter().all(|percent| *percent == 1),
        "{told:?}"
    );
    assert_eq!(told.last(), Some(&json!(9)));
}

#[tokio::test]
async fn two_credentials_of_one_user_tell_a_state_each() {
    let sidecar = Sidecar::start(&[STATES]).await;
    for percent in 0..6 {
        let body = json!({ "userId": "u", "course": "c1", "percent": percent }).to_string();
        let token = if percent % 2 == 0 { "phone" } else { "desk" };
        sidecar
            .call(Method::POST, "/snapshot", &[("authorization", token)], body)
            .await;
    }
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.superseded), (2, 4));
    let seen = sidecar.upstream.seen();
    let mut told: Vec<_> = at(&seen, "/snapshot")
        .into_iter()
        .map(|(call, body)| {
            (
                call.header("authorization").to_owned(),
                body["percent"].as_u64().unwrap(),
            )
        })
        .collect();
    told.sort();
    assert_eq!(told, [("desk".to_owned(), 5), ("phone".to_owned(), 4)]);
}

#[tokio::test]
async fn what_is_cached_is_old_once_a_state_is_acknowledged() {
    let sidecar = Sidecar::start(&[STATES]).await;
    let read = || async {
        sidecar
            .get("t", "/progress?userId=u")
            .await
            .header("cache-status")
            .to_owned()
    };
    read().await;
    assert!(read().await.contains("hit"));
    tell(&sidecar, "/snapshot", &json!({ "percent": 7 })).await;
    assert!(!read().await.contains("hit"));
    let seen = sidecar.upstream.seen();
    let order: Vec<_> = seen.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        order,
        ["/progress?userId=u", "/snapshot", "/progress?userId=u"]
    );
    assert!(read().await.contains("hit"), "and it is cached again");
}

#[tokio::test]
async fn an_acknowledgement_may_count_what_it_was_told() {
    let sidecar = Sidecar::start(&[STATES]).await;
    let body = json!({ "userId": "u", "course": "c1", "clientEventId": "a", "rows": [1, 2, 3] });
    let ack = sidecar
        .call(
            Method::POST,
            "/snapshot",
            &[("authorization", "t")],
            body.to_string(),
        )
        .await;
    assert_eq!(
        (ack.status, ack.json()),
        (StatusCode::ACCEPTED, json!({ "id": "a", "rows": 3 }))
    );
}

#[tokio::test]
async fn a_terminal_state_is_sent_at_once() {
    for terminal in [
        json!({ "percent": 100 }),
        json!({ "done": { "at": "2026-01-01" } }),
    ] {
        let sidecar = Sidecar::start(&[STATES]).await;
        tell(
            &sidecar,
            "/snapshot",
            &json!({ "percent": 99, "done": { "at": null } }),
        )
        .await;
        tell(&sidecar, "/snapshot", &terminal).await;
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.superseded), (1, 1), "{terminal}");
    }
}

#[tokio::test]
async fn a_state_never_overtakes_buffered_events_nor_is_overtaken() {
    let sidecar = Sidecar::start(&[STATES]).await;
    sidecar.event("t", "u", "a").await;
    tell(&sidecar, "/snapshot", &json!({ "percent": 1 })).await;
    sidecar.event("t", "u", "b").await;
    tell(&sidecar, "/snapshot", &json!({ "percent": 100 })).await;
    sidecar.event("t", "u", "c").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.pending == 0).await;
    let seen = sidecar.upstream.seen();
    let order: Vec<_> = seen
        .iter()
        .map(|one| {
            if one.path == "/batch" {
                one.ids().concat()
            } else {
                one.path.clone()
            }
        })
        .collect();
    assert_eq!(order, ["ab", "/snapshot", "c"]);
}

#[tokio::test]
async fn reads_and_forwarded_writes_come_after_the_newest_state() {
    let sidecar = Sidecar::start(&[STATES]).await;
    tell(&sidecar, "/snapshot", &json!({ "percent": 7 })).await;
    sidecar.get("t", "/progress?userId=u").await;
    tell(&sidecar, "/snapshot", &json!({ "percent": 8 })).await;
    sidecar
        .call(
            Method::POST,
            "/write?userId=u",
            &[("authorization", "t")],
            "{}",
        )
        .await;
    let seen = sidecar.upstream.seen();
    let order: Vec<_> = seen.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        order,
        [
            "/snapshot",
            "/progress?userId=u",
            "/snapshot",
            "/write?userId=u"
        ]
    );
    assert_eq!(at(&seen, "/snapshot")[1].1["percent"], 8);
}

#[tokio::test]
async fn calls_that_tell_no_state_or_another_routes_replace_nothing() {
    let sidecar = Sidecar::start(&[STATES, ("forward_unless = [\"{body.course}\"]\n", "")]).await;
    for title in ["math", "latin"] {
        let body = json!({ "userId": "u", "courseID": title });
        assert_eq!(
            sidecar
                .call(
                    Method::POST,
                    "/snapshot",
                    &[("authorization", "t")],
                    body.to_string()
                )
                .await
                .status,
            StatusCode::ACCEPTED
        );
    }
    tell(&sidecar, "/snapshot", &json!({ "percent": 50 })).await;
    tell(&sidecar, "/bookmark", &json!({ "page": 3 })).await;
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.superseded), (4, 0));
}

#[tokio::test]
async fn a_call_that_names_no_state_is_the_applications_to_judge() {
    let sidecar = Sidecar::start(&[STATES]).await;
    let body = json!({ "userId": "u" }).to_string();
    assert_eq!(
        sidecar
            .call(Method::POST, "/snapshot", &[("authorization", "t")], body)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(sidecar.running.ledger().received, 0);
}

#[tokio::test]
async fn after_a_late_rejection_the_newest_state_is_the_last_one_written() {
    let sidecar = Sidecar::start(&[STATES]).await;
    sidecar.upstream.script([answer(403, json!({}))]);
    tell(&sidecar, "/snapshot", &json!({ "percent": 10 })).await;
    sidecar.flush().await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"states\",result=\"rejected\"}",
            1,
        )
        .await;
    // The next call goes to the application, which takes it; the older state must not be written
    // after it.
    assert_eq!(
        tell(&sidecar, "/snapshot", &json!({ "percent": 60 })).await,
        StatusCode::OK
    );
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.superseded), (0, 1));
    let seen = sidecar.upstream.seen();
    let told: Vec<_> = at(&seen, "/snapshot")
        .into_iter()
        .map(|(_, body)| body["percent"].clone())
        .collect();
    assert_eq!(told, [10, 60]);
    // Nothing of the refusal is left.
    for percent in [70, 80] {
        assert_eq!(
            tell(&sidecar, "/snapshot", &json!({ "percent": percent })).await,
            StatusCode::ACCEPTED
        );
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.pending == 0).await;
    }
}

#[tokio::test]
async fn a_route_that_is_gone_makes_one_dead_letter_and_one_call() {
    let sidecar = Sidecar::start(&[STATES]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(404, json!({}))));
    for percent in 0..20 {
        tell(&sidecar, "/snapshot", &json!({ "percent": percent })).await;
    }
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (
            ledger.dead,
            ledger.superseded,
            sidecar.upstream.seen().len()
        ),
        (1, 19, 1)
    );
}

const STEPS: (&str, &str) = (
    "[[event]]\npath = \"/event\"",
    r#"[batch.overall]
path = "/overall/batch"
window = "1h"
key = ["{event.courseId}"]
flush_on_change = { percent = 5 }
flush_with = ["progress"]
[[event]]
path = "/overall"
batch = "overall"
[[event]]
path = "/event""#,
);

async fn overall(sidecar: &Sidecar, id: &str, course: &str, percent: u32) {
    let body =
        json!({ "clientEventId": id, "userId": "u", "courseId": course, "percent": percent });
    let answer = sidecar
        .call(
            Method::POST,
            "/overall",
            &[("authorization", "t")],
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_window_goes_when_its_number_has_moved_far_enough_or_a_completion_comes() {
    let sidecar = Sidecar::start(&[STEPS]).await;
    overall(&sidecar, "a", "c1", 3).await;
    overall(&sidecar, "b", "c1", 5).await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    overall(&sidecar, "c", "c1", 9).await;
    overall(&sidecar, "d", "c2", 4).await;
    assert_eq!(
        sidecar.running.ledger().pending,
        2,
        "4 since the last one sent; of another course nothing was sent"
    );
    let completion = sidecar
        .post("t", "u", "done", ",\"status\":\"completed\"")
        .await;
    assert_eq!(completion.status, StatusCode::ACCEPTED);
    sidecar.until(|ledger| ledger.pending == 0).await;
    let seen = sidecar.upstream.seen();
    let batches: Vec<_> = seen
        .iter()
        .filter(|one| one.path == "/overall/batch")
        .map(Seen::ids)
        .collect();
    assert_eq!(batches, [["a", "b"], ["c", "d"]]);
}

#[tokio::test]
async fn what_follows_a_completion_within_a_window_is_sealed_too_and_only_the_first_of_it() {
    let sidecar = Sidecar::start(&[STEPS]).await;
    sidecar
        .post("t", "u", "done", ",\"status\":\"completed\"")
        .await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    overall(&sidecar, "a", "c1", 1).await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    overall(&sidecar, "b", "c1", 2).await;
    // Another user's completion, and an event that is none, are no reason.
    sidecar
        .post("t2", "u2", "done2", ",\"status\":\"completed\"")
        .await;
    sidecar.until(|ledger| ledger.accepted == 3).await;
    assert_eq!(
        sidecar.running.ledger().pending,
        1,
        "b waits for its window"
    );
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.pending == 0).await;
}

#[tokio::test]
async fn single_calls_without_keep_go_out_all_in_their_order_each_as_it_came() {
    let all = (
        "keep = \"newest\"\nkey = [\"{body.course}\"]\n",
        "keep = \"all\"\n",
    );
    let sidecar = Sidecar::start(&[STATES, all]).await;
    for percent in 1..=5 {
        assert_eq!(
            tell(&sidecar, "/snapshot", &json!({ "percent": percent })).await,
            StatusCode::ACCEPTED
        );
    }
    assert!(sidecar.upstream.seen().is_empty(), "its window is open");
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.superseded), (5, 0));
    let seen = sidecar.upstream.seen();
    let told: Vec<_> = at(&seen, "/snapshot")
        .into_iter()
        .map(|(_, body)| body["percent"].clone())
        .collect();
    assert_eq!(told, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn of_a_window_only_the_newest_event_of_each_key_is_in_its_batch_whatever_place_names_it() {
    let newest =
        |key: &str| format!("fallback = \"dead-letter\"\nkey = [{key}]\nkeep = \"newest\"");
    for key in [
        "\"lessonId\"",
        "\"/lessonId\"",
        "\"none|lessonId\"",
        "\"{event.lessonId}\"",
    ] {
        let sidecar = Sidecar::start(&[("fallback = \"dead-letter\"", &newest(key))]).await;
        for id in ["a", "b", "c"] {
            sidecar.event("t", "u", id).await;
        }
        sidecar.flush().await;
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.superseded), (1, 2), "{key}");
        assert_eq!(sidecar.upstream.batches(), [["c"]], "{key}");
    }
    let sidecar = Sidecar::start(&[(
        "fallback = \"dead-letter\"",
        &newest("\"lessonId\", \"none\""),
    )])
    .await;
    for id in ["a", "b"] {
        sidecar.event("t", "u", id).await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    assert_eq!(
        sidecar.upstream.batches(),
        [["a", "b"]],
        "what lacks a part of its key tells the state of nothing"
    );
}
