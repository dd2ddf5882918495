//! What makes a principal good, and what its standing holds up (rulings 4, 15 to 17).

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body};
use crate::support::upstream::answer;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// A route beside the cached read that is public, and is made old by the same events.
const CATALOGUE: (&str, &str) = (
    "[[write]]\n",
    "[[cache]]\npath = \"/catalogue\"\npublic = true\ntags = [\"progress:{user}\"]\n[[write]]\n",
);

/// A group of its own beside the first one, whose writes are drained by a path of theirs.
const NOTES: (&str, &str) = (
    "[[write]]\n",
    r#"[batch.notes]
path = "/notes-batch"
window = "1h"
invalidates = ["notes:{user}"]
[[event]]
path = "/note"
batch = "notes"
event = { clientEventId = "{body.id}", userId = "{body.user}", lessonId = "{body.lesson}", percent = "{body.percent}", more = "{body.more}" }
[[write]]
path = "/notebook"
method = "PUT"
drains = ["notes:{user}"]
[[cache]]
path = "/notes"
tags = ["notes:{user}"]
[[write]]
"#,
);

/// Batches of the first group that met 401; what follows of one for its caller's next call is known
/// when it is counted.
const REJECTED: &str = "tidegate_batches_total{group=\"progress\",result=\"rejected\"}";

fn token(user: &str, device: &str) -> String {
    bearer(&json!({ "sub": user, "jti": device }))
}

#[tokio::test]
async fn what_a_second_device_has_behind_a_write_goes_though_its_token_is_refused_meanwhile() {
    let sidecar = Sidecar::start(&[BY_LISTS, NOTES]).await;
    let (desk, phone) = (token("u", "desk"), token("u", "phone"));
    for token in [&desk, &phone] {
        for path in ["/notes", "/progress"] {
            assert_eq!(sidecar.get(token, path).await.status, StatusCode::OK);
        }
    }
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(401, json!({}))));
    sidecar.upstream.hold_back(|seen| seen.path == "/notebook");
    let writes = async {
        let written = sidecar
            .call(Method::PUT, "/notebook", &[("authorization", &desk)], "{}")
            .await;
        assert_eq!(written.status, StatusCode::OK);
    };
    let phones = async {
        sidecar
            .upstream
            .until(|seen| seen.iter().any(|seen| seen.path == "/notebook"))
            .await;
        let headers = [("authorization", phone.as_str())];
        let note = sidecar
            .call(Method::POST, "/note", &headers, body("u", "behind", ""))
            .await;
        assert_eq!(note.status, StatusCode::ACCEPTED, "{note:?}");
        sidecar.taken(&headers, "u", "refused").await;
        sidecar.flush().await;
        sidecar.until_counter(REJECTED, 1).await;
        sidecar.upstream.open_gate();
    };
    tokio::join!(writes, phones);
    sidecar.until(|ledger| ledger.accepted == 1).await;
}

#[tokio::test]
async fn a_passing_401_of_one_agents_batch_holds_its_principals_order_under_all_of_them() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    sidecar.upstream.script([answer(401, json!({}))]);
    let token = token("u", "desk");
    let agent = |agent| [("authorization", token.as_str()), ("user-agent", agent)];
    sidecar.taken(&agent("page"), "u", "a").await;
    sidecar.taken(&agent("worker"), "u", "b").await;
    sidecar.flush().await;
    sidecar.until_counter(REJECTED, 1).await;
    // Its next call shows the application's verdict: it passes both, and lets them go.
    let next = sidecar.send(&agent("worker"), "u", "c").await;
    assert_eq!(
        (next.status, next.header("tidegate-forwarded")),
        (StatusCode::OK, "credential_rejected")
    );
    let ids: Vec<_> = sidecar
        .delivered()
        .await
        .iter()
        .flat_map(crate::support::upstream::Seen::ids)
        .collect();
    assert_eq!(ids, ["a", "a", "b"]);
}

#[tokio::test]
async fn where_strangers_are_taken_a_token_that_fails_holds_up_nobody_who_claims_the_same_name() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let poison = |text: &[u8]| text.windows(6).any(|part| part == b"poison");
    sidecar.upstream.answer_with(move |seen| {
        (seen.path == "/batch" && poison(&seen.body)).then(|| answer(500, json!({})))
    });
    sidecar.taken(&[], "stranger", "x").await;
    sidecar.delivered().await;
    let (own, forged) = (token("u", "own"), token("u", "forged"));
    for (id, token) in [("a", &own), ("b", &forged)] {
        sidecar.taken(&[("authorization", token)], "u", id).await;
        sidecar.delivered().await;
    }
    sidecar
        .taken(&[("authorization", &forged)], "u", "poison")
        .await;
    sidecar.flush().await;
    let tries = |batches: &[Vec<String>]| {
        batches
            .iter()
            .flatten()
            .filter(|id| *id == "poison")
            .count()
    };
    sidecar
        .upstream
        .until(|_| tries(&sidecar.upstream.batches()) > 0)
        .await;
    sidecar.taken(&[("authorization", &own)], "u", "c").await;
    sidecar.flush().await;
    let came = |batches: &[Vec<String>]| batches.iter().flatten().any(|id| id == "c");
    sidecar
        .upstream
        .until(|_| {
            let batches = sidecar.upstream.batches();
            came(&batches) || tries(&batches) > 100
        })
        .await;
    assert!(
        came(&sidecar.upstream.batches()),
        "it waits for a token that anybody may have made"
    );
}

/// A reader's user has something pending under a principal that the reader is not known to be one
/// user with.
const UNPROVEN: &str = "tidegate; fwd=bypass; detail=unproven";

/// An application that counts the events of callers with a token but one, and shows anybody how
/// many they were.
fn counting_but_of(sidecar: &Sidecar, bad: String) {
    let taken = AtomicU64::new(0);
    sidecar
        .upstream
        .answer_with(move |seen| match seen.path.as_str() {
            "/batch" if seen.header("authorization").is_empty() => Some(answer(401, json!({}))),
            "/batch" if seen.header("authorization") == bad => Some(answer(401, json!({}))),
            "/batch" => {
                taken.fetch_add(seen.ids().len() as u64, Ordering::SeqCst);
                None
            }
            _ => Some(answer(
                200,
                json!({ "taken": taken.load(Ordering::SeqCst) }),
            )),
        });
}

#[tokio::test]
async fn a_read_that_a_stranger_was_answered_proves_no_token_and_what_it_had_joined_is_apart_again()
{
    let bad = token("u", "bad");
    for stranger in [&[][..], &[("authorization", bad.as_str())]] {
        let sidecar = Sidecar::start(&[BY_LISTS, ("barrier = \"3s\"", "barrier = \"1h\"")]).await;
        counting_but_of(&sidecar, bad.clone());
        if !stranger.is_empty() {
            sidecar.taken(stranger, "u", "bad").await;
            sidecar.flush().await;
            sidecar.until_counter(REJECTED, 1).await;
        }
        let (desk, phone) = (token("u", "desk"), token("u", "phone"));
        for token in [&desk, &phone] {
            assert_eq!(sidecar.get(token, "/progress").await.json()["taken"], 0);
        }
        sidecar.taken(&[("authorization", &desk)], "u", "a").await;
        assert_eq!(
            sidecar.get(&phone, "/progress").await.json()["taken"],
            1,
            "one user, as far as is known"
        );
        let answered = sidecar
            .call(Method::GET, "/progress?userId=nobody", stranger, "")
            .await;
        assert_eq!(answered.status, StatusCode::OK);
        sidecar.taken(&[("authorization", &desk)], "u", "b").await;
        for _ in 0..2 {
            let read = sidecar.get(&phone, "/progress").await;
            assert_eq!(
                (&read.json()["taken"], read.header("cache-status")),
                (&Value::from(1), UNPROVEN)
            );
        }
        assert_eq!(
            sidecar.get(&desk, "/progress").await.json()["taken"],
            2,
            "its own events go before its own read"
        );
        // What the events' own calls have proven holds.
        sidecar.taken(&[("authorization", &phone)], "u", "c").await;
        assert_eq!(sidecar.get(&phone, "/progress").await.json()["taken"], 3);
        sidecar.taken(&[("authorization", &desk)], "u", "d").await;
        assert_eq!(sidecar.get(&phone, "/progress").await.json()["taken"], 4);
    }
}

#[tokio::test]
async fn one_user_whose_write_met_403_opens_no_read_for_the_others_by_reading() {
    let sidecar = Sidecar::start(&[BY_LISTS, ("barrier = \"3s\"", "barrier = \"1h\"")]).await;
    let bad = token("mallory", "bad");
    let taken = AtomicU64::new(0);
    let is_bad = bad.clone();
    sidecar.upstream.answer_with(move |seen| match seen.method {
        Method::POST if seen.header("authorization") == is_bad => Some(answer(403, json!({}))),
        Method::POST => {
            taken.fetch_add(seen.ids().len() as u64, Ordering::SeqCst);
            None
        }
        _ => Some(answer(
            200,
            json!({ "taken": taken.load(Ordering::SeqCst) }),
        )),
    });
    sidecar
        .taken(&[("authorization", &bad)], "mallory", "bad")
        .await;
    sidecar.flush().await;
    sidecar.until_counter(REJECTED, 1).await;
    let (desk, phone) = (token("u", "desk"), token("u", "phone"));
    for token in [&desk, &phone, &bad] {
        assert_eq!(sidecar.get(token, "/progress").await.status, StatusCode::OK);
    }
    sidecar.taken(&[("authorization", &desk)], "u", "a").await;
    assert_eq!(
        sidecar.get(&phone, "/progress").await.json()["taken"],
        1,
        "the two are one user still"
    );
}

#[tokio::test]
async fn a_read_proves_its_reader_for_the_groups_that_it_is_of_and_for_no_other() {
    let all = (
        "[[write]]\n",
        "[[cache]]\npath = \"/all\"\ntags = [\"{user}\"]\n[[write]]\n",
    );
    let proven = ("[identity]", "[identity]\nadmit = \"proven\"");
    let sidecar = Sidecar::start(&[BY_LISTS, NOTES, all, proven, EXPLAIN]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/event").then(|| answer(500, json!({}))));
    let token = token("u", "desk");
    let headers = [("authorization", token.as_str())];
    for (path, forwarded) in [
        ("/all", "unproven"),
        ("/notes", "unproven"),
        ("/progress", ""),
    ] {
        assert_eq!(sidecar.get(&token, path).await.status, StatusCode::OK);
        let heard = sidecar
            .call(Method::POST, "/event", &headers, body("u", path, ""))
            .await;
        assert_eq!(
            heard.header("tidegate-forwarded"),
            forwarded,
            "{path}: {heard:?}"
        );
        if !forwarded.is_empty() {
            // A forwarded call that is taken would prove it.
            assert_eq!(heard.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

#[tokio::test]
async fn a_public_read_proves_no_token_so_that_what_waits_under_it_delays_nobody() {
    let sidecar = Sidecar::start(&[BY_LISTS, CATALOGUE]).await;
    let (own, forged) = (token("u", "own"), token("u", "forged"));
    let bad = forged.clone();
    // It can't verify one of them, and says 503; what is public it shows to anybody.
    sidecar.upstream.answer_with(move |seen| {
        let refused = seen.path != "/catalogue" && seen.header("authorization") == bad;
        refused.then(|| answer(503, json!({})))
    });
    sidecar.taken(&[("authorization", &own)], "u", "a").await;
    sidecar.delivered().await;
    assert_eq!(
        sidecar.get(&forged, "/catalogue").await.status,
        StatusCode::OK
    );
    sidecar.taken(&[("authorization", &forged)], "u", "b").await;
    let read = sidecar.get(&own, "/progress").await;
    assert!(
        !read.header("cache-status").contains("timeout"),
        "{}",
        read.header("cache-status")
    );
    assert_eq!(read.json()["path"], Value::from("/progress"));
    assert_eq!(
        sidecar.running.ledger().pending,
        1,
        "what the forged token brought waits for itself"
    );
}

#[tokio::test]
async fn a_read_of_a_nameless_or_refused_caller_beside_events_seals_nothing_and_passes() {
    let sidecar = Sidecar::start(&[BY_LISTS, ("barrier = \"3s\"", "barrier = \"1h\"")]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.path == "/batch" && seen.header("authorization") == "Bearer bad")
            .then(|| answer(401, json!({})))
    });
    let beside = async |headers: &[(&str, &str)]| {
        let read = sidecar
            .call(Method::GET, "/event?userId=u", headers, "")
            .await;
        assert_eq!(read.json()["path"], "/event?userId=u");
    };
    sidecar.taken(&[], "u", "a").await;
    beside(&[]).await;
    assert_eq!(sidecar.upstream.batches(), [[""; 0]; 0], "it has no name");
    let bad = [("authorization", "Bearer bad")];
    sidecar.taken(&bad, "u", "b").await;
    sidecar.flush().await;
    sidecar.until_counter(REJECTED, 1).await;
    // It would wait for what is held.
    beside(&bad).await;
    let good = [("authorization", "Bearer good")];
    sidecar.taken(&good, "u", "c").await;
    beside(&good).await;
    assert!(
        sidecar.upstream.batches().contains(&vec!["c".to_owned()]),
        "its own events go first"
    );
}
