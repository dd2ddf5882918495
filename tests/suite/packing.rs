//! `pack = "shared"`, fairness and bounds through real sockets: P3, P4, P6, P9, P10.

use crate::support::Sidecar;
use crate::support::upstream::{Seen, answer};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Windows of different users wait for one another for an hour: nothing but what a test does sends
/// them.
const SHARED: (&str, &str) = (
    "path = \"/batch\"",
    "path = \"/batch\"\npack = \"shared\"\npack_wait = \"1h\"\nservice_credential = { header = \
     \"authorization\", env = \"SERVICE\" }",
);

/// The same, but a sealed window waits a moment only.
const BRIEFLY: (&str, &str) = (
    "path = \"/batch\"",
    "path = \"/batch\"\npack = \"shared\"\npack_wait = \"5ms\"\nservice_credential = { header = \
     \"authorization\", env = \"SERVICE\" }",
);

/// A completed lesson: its window is sealed at once.
async fn done(sidecar: &Sidecar, user: &str, id: &str) {
    let answer = sidecar
        .post(&format!("{user}'s"), user, id, ",\"status\":\"completed\"")
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

fn of_batches(seen: &[Seen]) -> Vec<Seen> {
    seen.iter()
        .filter(|one| one.path == "/batch")
        .cloned()
        .collect()
}

#[tokio::test]
async fn windows_of_different_users_leave_in_one_batch_under_the_services_credential() {
    let sidecar = Sidecar::start(&[SHARED]).await;
    for (user, id) in [("ada", "a"), ("bob", "b"), ("eve", "e"), ("joe", "j")] {
        done(&sidecar, user, id).await;
    }
    // Four are all that a batch holds.
    sidecar.until(|ledger| ledger.accepted == 4).await;
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.len(), 1);
    let mut ids = seen[0].ids();
    ids.sort();
    assert_eq!(ids, ["a", "b", "e", "j"]);
    let all = seen[0]
        .headers
        .get_all("authorization")
        .iter()
        .collect::<Vec<_>>();
    assert_eq!(all, ["Bearer service"], "and nobody's own");
    assert_eq!(
        seen[0].header("x-forwarded-for"),
        "127.0.0.1",
        "this hop's own address, and no client's"
    );
    assert!(!seen[0].headers.contains_key("user-agent"));
}

#[tokio::test]
async fn whoever_waits_does_not_wait_for_company() {
    let sidecar = Sidecar::start(&[SHARED]).await;
    done(&sidecar, "ada", "a").await;
    let read = sidecar.get("ada's", "/progress?userId=ada").await;
    assert_eq!(read.status, StatusCode::OK);
    assert_eq!(
        sidecar.upstream.batches(),
        [["a"]],
        "a read of the user's own"
    );
    done(&sidecar, "bob", "b").await;
    let written = sidecar
        .call(
            Method::POST,
            "/snapshot?userId=bob",
            &[("authorization", "bob's")],
            "{}",
        )
        .await;
    assert_eq!(written.status, StatusCode::OK);
    assert_eq!(sidecar.upstream.batches().len(), 2, "a forwarded write");
    done(&sidecar, "eve", "e").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 3).await;
    done(&sidecar, "joe", "j").await;
    let ledger = sidecar.running.stop().await;
    assert_eq!((ledger.accepted, ledger.pending), (4, 0), "a stop");
}

#[tokio::test]
async fn a_flush_sends_full_batches() {
    let sidecar = Sidecar::start(&[SHARED]).await;
    // Lanes of one name are in one shard, whose windows leave together.
    for number in 0..12 {
        sidecar
            .event(&format!("t{number}"), "u", &format!("e{number}"))
            .await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 12).await;
    let batches = sidecar.upstream.batches();
    assert!(batches.iter().all(|batch| batch.len() == 4), "{batches:?}");
}

/// A completed lesson whose event has this many bytes.
async fn sized(sidecar: &Sidecar, user: &str, bytes: usize) {
    const BARE: usize = r#"{"clientEventId":"a","userId":"a","lessonId":"l","percent":5,"status":"completed","timestamp":1764000000000,"pad":""}"#.len();
    let more = format!(
        ",\"status\":\"completed\",\"pad\":\"{}\"",
        "x".repeat(bytes - BARE)
    );
    assert_eq!(
        sidecar
            .post(&format!("{user}'s"), user, user, &more)
            .await
            .status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_common_batch_is_full_to_the_byte_and_never_fuller() {
    let sidecar = Sidecar::start(&[SHARED]).await;
    // `{"events":[` and `]}` have 13 bytes, and two events a comma: 13 + 505 + 1 + 505 = 1024.
    for user in ["a", "b", "c"] {
        sized(&sidecar, user, 505).await;
    }
    sidecar.until(|ledger| ledger.accepted == 2).await;
    assert_eq!(
        sidecar.upstream.seen()[0].body.len(),
        1024,
        "a and b share a batch; c found no room and waits"
    );
    sized(&sidecar, "d", 506).await;
    sidecar.until(|ledger| ledger.accepted == 3).await;
    assert_eq!(
        sidecar.upstream.batches()[1],
        ["c"],
        "one byte too many to go together"
    );
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 4).await;
}

#[tokio::test]
async fn common_batches_never_hold_too_many_events() {
    let sidecar = Sidecar::start(&[SHARED]).await;
    // Windows of three events: a second one finds no room beside the first, of four.
    for user in ["ada", "bob", "eve"] {
        for number in 0..2 {
            sidecar
                .event(&format!("{user}'s"), user, &format!("{user}{number}"))
                .await;
        }
        done(&sidecar, user, &format!("{user}2")).await;
    }
    sidecar.until(|ledger| ledger.accepted == 6).await;
    let of = |user: &str| {
        (0..3)
            .map(|number| format!("{user}{number}"))
            .collect::<Vec<_>>()
    };
    // Two requests, which may arrive in any order.
    let mut batches = sidecar.upstream.batches();
    batches.sort();
    assert_eq!(batches, [of("ada"), of("bob")]);
    assert_eq!(
        sidecar.running.ledger().pending,
        3,
        "the third waits for company"
    );
}

/// Refuses a batch that holds something bad with this status; `naming` it or not.
fn refuse(sidecar: &Sidecar, status: u16, naming: bool) {
    sidecar.upstream.answer_with(move |seen| {
        let ids = if seen.path == "/batch" {
            seen.ids()
        } else {
            Vec::new()
        };
        let bad: Vec<_> = ids.iter().filter(|id| id.starts_with("bad")).collect();
        let body = if naming {
            json!({ "invalid": bad })
        } else {
            json!({ "error": "one of them" })
        };
        (!bad.is_empty()).then(|| answer(status, body))
    });
}

#[tokio::test]
async fn one_users_refused_event_never_touches_anothers() {
    for (status, naming) in [(400, true), (422, false), (413, false)] {
        let sidecar = Sidecar::start(&[BRIEFLY]).await;
        refuse(&sidecar, status, naming);
        for (user, id) in [("ada", "a"), ("eve", "bad"), ("bob", "b"), ("joe", "j")] {
            done(&sidecar, user, id).await;
        }
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.dead), (3, 1), "{status} {naming}");
        assert_eq!(
            sidecar.admin(Method::GET, "/dead-letters").await.json()[0]["id"],
            "bad"
        );
    }
}

#[tokio::test]
async fn a_batch_that_fails_for_one_users_row_is_looked_into() {
    // What fails alone while others pass has patience for a 24th of this.
    let sidecar = Sidecar::start(&[
        BRIEFLY,
        ("[delivery]", "[delivery]\ngive_up_after = \"72s\""),
    ])
    .await;
    refuse(&sidecar, 500, false);
    done(&sidecar, "eve", "bad").await;
    done(&sidecar, "ada", "a0").await;
    // Others of the group pass again and again, as they do in a live application.
    let mut number = 0;
    while sidecar.running.ledger().dead == 0 {
        number += 1;
        done(&sidecar, "bob", &format!("b{number}")).await;
        sidecar
            .until(|ledger| ledger.accepted >= number || ledger.dead == 1)
            .await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (number + 1, 1));
    assert_eq!(
        sidecar.admin(Method::GET, "/dead-letters").await.json()[0]["id"],
        "bad"
    );
}

/// A refusal of the service's credential would keep the group for an hour.
const FOR_AN_HOUR: (&str, &str) = (
    "retry_server = { base = \"10ms\", cap = \"20ms\" }",
    "retry_server = { base = \"10ms\", cap = \"1h\" }",
);

#[tokio::test]
async fn a_403_for_one_users_event_never_shuts_a_shared_group() {
    let sidecar = Sidecar::start(&[BRIEFLY, FOR_AN_HOUR]).await;
    refuse(&sidecar, 403, false);
    for (user, id) in [("ada", "a"), ("eve", "bad"), ("joe", "j"), ("kim", "k")] {
        done(&sidecar, user, id).await;
    }
    sidecar.until(|ledger| ledger.accepted == 3).await;
    let mut number = 0;
    while sidecar.running.ledger().dead == 0 {
        number += 1;
        done(&sidecar, "bob", &format!("b{number}")).await;
        sidecar.until(|ledger| ledger.accepted >= 3 + number).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (number + 3, 1));
    let letters = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(
        (&letters[0]["id"], &letters[0]["reason"]),
        (&json!("bad"), &json!("refused"))
    );
}

#[tokio::test]
async fn a_service_that_is_forbidden_everything_makes_no_dead_letters() {
    let sidecar = Sidecar::start(&[BRIEFLY]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(403, json!({}))));
    for user in ["ada", "bob", "eve", "joe"] {
        sidecar
            .event(&format!("{user}'s"), user, &format!("{user}0"))
            .await;
        done(&sidecar, user, &format!("{user}1")).await;
    }
    sidecar.upstream.until(|seen| seen.len() > 100).await;
    assert_eq!(sidecar.running.ledger().dead, 0);
    sidecar.upstream.answer_with(|_| None);
    sidecar.until(|ledger| ledger.accepted == 8).await;
}

#[tokio::test]
async fn one_id_of_two_users_gets_an_outcome_for_each() {
    let sidecar = Sidecar::start(&[BRIEFLY]).await;
    sidecar.upstream.answer_with(|seen| {
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        let eve = body["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["userId"] == "eve");
        let failed = json!({ "failed": [{ "id": "same", "reason": "validation_error" }] });
        Some(answer(
            200,
            if eve {
                failed
            } else {
                json!({ "accepted": seen.ids() })
            },
        ))
    });
    done(&sidecar, "ada", "same").await;
    done(&sidecar, "eve", "same").await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (1, 1));
    assert_eq!(
        sidecar.admin(Method::GET, "/dead-letters").await.json()[0]["user"],
        "eve"
    );
}

#[tokio::test]
async fn an_upstream_that_keeps_answers_by_key_is_never_asked_for_other_events_under_a_known_one() {
    let sidecar = Sidecar::start(&[BRIEFLY]).await;
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let (mut known, mut first, rows) = (HashSet::new(), true, Arc::clone(&taken));
    sidecar.upstream.answer_with(move |seen| {
        // The same key again: answered as before, and nothing is done.
        if known.insert(seen.header("idempotency-key").to_owned()) {
            rows.lock().unwrap().extend(seen.ids());
        }
        // Done, but the answer was lost on its way.
        let lost = std::mem::take(&mut first);
        Some(if lost {
            answer(504, json!({}))
        } else {
            answer(201, json!({ "ok": true }))
        })
    });
    done(&sidecar, "ada", "a").await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    for number in 0..20 {
        done(&sidecar, &format!("u{number}"), &format!("e{number:02}")).await;
    }
    sidecar.until(|ledger| ledger.accepted == 21).await;
    let taken: HashSet<_> = taken.lock().unwrap().iter().cloned().collect();
    assert_eq!(
        taken.len(),
        21,
        "all that was reported as accepted is there"
    );
}

#[tokio::test]
async fn the_services_rejection_is_no_users() {
    let sidecar = Sidecar::start(&[BRIEFLY]).await;
    sidecar
        .upstream
        .script([answer(401, json!({})), answer(403, json!({}))]);
    done(&sidecar, "ada", "a").await;
    sidecar
        .upstream
        .until(|seen| !of_batches(seen).is_empty())
        .await;
    // Not forwarded to let the client see a 401 that is none of its own.
    sidecar.event("ada's", "ada", "b").await;
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (2, 0));
    let order: Vec<_> = of_batches(&sidecar.upstream.seen())
        .iter()
        .flat_map(Seen::ids)
        .collect();
    assert!(
        order.iter().position(|id| id == "b") > order.iter().position(|id| id == "a"),
        "{order:?}"
    );
}

#[tokio::test]
async fn a_single_call_of_a_shared_group_goes_with_its_own_credential() {
    let sidecar = Sidecar::start(&[
        BRIEFLY,
        ("fallback = \"dead-letter\"", "fallback = \"single\""),
    ])
    .await;
    refuse(&sidecar, 422, true);
    done(&sidecar, "ada", "a").await;
    done(&sidecar, "eve", "bad").await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (2, 0));
    let single = sidecar
        .upstream
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/event")
        .unwrap();
    assert_eq!(single.header("authorization"), "eve's");
}

/// Another group, whose calls wait for none of the first one's lanes.
const OTHER: (&str, &str) = (
    "[[event]]\npath = \"/event\"",
    "[batch.other]\npath = \"/other\"\n[[event]]\npath = \"/second\"\nbatch = \
     \"other\"\n[[event]]\npath = \"/event\"",
);

/// From now on the application refuses this token, and a forwarded call has shown it.
async fn refuse_token(sidecar: &Sidecar, token: &'static str) {
    let refused = move |seen: &Seen| seen.header("authorization") == token;
    sidecar
        .upstream
        .answer_with(move |seen| refused(seen).then(|| answer(401, json!({}))));
    let shown = sidecar
        .call(
            Method::POST,
            "/second",
            &[("authorization", token)],
            "no JSON",
        )
        .await;
    assert_eq!(shown.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_service_speaks_for_nobody_who_was_refused_meanwhile() {
    let sidecar = Sidecar::start(&[BRIEFLY, OTHER]).await;
    sidecar.event("forged", "ada", "a").await;
    refuse_token(&sidecar, "forged").await;
    sidecar.flush().await;
    sidecar
        .upstream
        .until(|seen| of_batches(seen).iter().any(|one| one.ids() == ["a"]))
        .await;
    let sent = of_batches(&sidecar.upstream.seen());
    let of_a: Vec<_> = sent
        .iter()
        .filter(|one| one.ids() == ["a"])
        .map(|one| one.header("authorization"))
        .collect();
    assert_eq!(of_a, ["forged"], "and it is held by its refusal");
    assert_eq!(sidecar.running.ledger().accepted, 0);
}

/// A refused event dies, and its replay goes under its own credential.
async fn replay_a_rejected_letter(fallback: &str) {
    let single = format!("fallback = \"{fallback}\"");
    // As long as a refusal is remembered: it outlasts the steps up to the flush.
    let short = ("[delivery]", "[delivery]\ngive_up_after = \"10s\"");
    let sidecar = Sidecar::start(&[
        BRIEFLY,
        OTHER,
        short,
        ("fallback = \"dead-letter\"", &single),
    ])
    .await;
    sidecar.event("forged", "ada", "a").await;
    refuse_token(&sidecar, "forged").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 1).await;
    let letters = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(letters[0]["reason"], "credential_rejected");
    // A call of the credential is taken, so that nothing is held against it now. No event can
    // be made of it.
    sidecar.upstream.answer_with(|_| None);
    let taken = sidecar
        .call(
            Method::POST,
            "/event",
            &[("authorization", "forged")],
            "no JSON",
        )
        .await;
    assert_eq!(taken.status, StatusCode::OK);
    let before = sidecar.upstream.seen().len();
    sidecar.admin(Method::POST, "/dead-letters/replay").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let seen = sidecar.upstream.seen();
    let sent: Vec<_> = seen
        .iter()
        .skip(before)
        .map(|one| (one.path.as_str(), one.header("authorization")))
        .collect();
    let path = if fallback == "single" {
        "/event"
    } else {
        "/batch"
    };
    assert_eq!(sent, [(path, "forged")]);
}

#[tokio::test]
async fn a_letter_that_was_rejected_for_its_credential_is_replayed_with_it_and_not_under_the_services()
 {
    // At once, since a refusal is remembered for a while.
    tokio::join!(
        replay_a_rejected_letter("single"),
        replay_a_rejected_letter("dead-letter")
    );
}

#[tokio::test]
async fn under_proof_nobody_unproven_gets_into_a_shared_batch() {
    let sidecar =
        Sidecar::start(&[BRIEFLY, ("[identity]", "[identity]\nadmit = \"proven\"")]).await;
    // The legacy route is gone, so nothing proves a credential; with a batch of its own it would be
    // judged later.
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/event").then(|| answer(404, json!({ "gone": true }))));
    let forged = sidecar.post("forged", "victim", "a", "").await;
    assert_eq!(
        (forged.status, forged.json()),
        (StatusCode::NOT_FOUND, json!({ "gone": true }))
    );
    assert_eq!(sidecar.running.stop().await.received, 0);
    assert_eq!(sidecar.upstream.seen().len(), 1);
}

#[tokio::test]
async fn order_of_each_user_holds_over_shared_batches() {
    let sidecar = Sidecar::start(&[BRIEFLY]).await;
    sidecar.upstream.script([
        answer(503, json!({})),
        answer(429, json!({})),
        answer(500, json!({})),
    ]);
    for number in 0..9 {
        for user in ["ada", "bob"] {
            sidecar
                .event(&format!("{user}'s"), user, &format!("{user}{number}"))
                .await;
        }
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 18).await;
    let sent: Vec<_> = of_batches(&sidecar.upstream.seen())
        .iter()
        .flat_map(Seen::ids)
        .collect();
    for user in ["ada", "bob"] {
        let mut first = Vec::new();
        sent.iter()
            .filter(|id| id.starts_with(user))
            .for_each(|id| {
                if !first.contains(id) {
                    first.push(id.clone());
                }
            });
        assert_eq!(
            first,
            (0..9)
                .map(|number| format!("{user}{number}"))
                .collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_group_that_hangs_and_a_user_of_many_credentials_keep_nobody_out() {
    let second = "[batch.other]\npath = \"/other\"\nflush_at = 1\n[[event]]\npath = \
        \"/second\"\nbatch = \"other\"\n[[event]]\npath = \"/event\"";
    let limit = ("[delivery]", "[delivery]\nmax_in_flight = 4");
    let sidecar = Sidecar::start(&[("[[event]]\npath = \"/event\"", second), limit]).await;
    sidecar.upstream.close_gate();
    // One user, ten credentials, and more users than there are places; all hang.
    for number in 0..10 {
        sidecar
            .post(
                &format!("t{number}"),
                "mallory",
                &format!("m{number}"),
                ",\"status\":\"completed\"",
            )
            .await;
    }
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    done(&sidecar, "ada", "a").await;
    sidecar
        .upstream
        .until(|seen| seen.iter().any(|one| one.ids() == ["a"]))
        .await;
    for number in 0..10 {
        done(&sidecar, &format!("u{number}"), &format!("e{number}")).await;
    }
    let body = r#"{"clientEventId":"other","userId":"bob"}"#;
    let told = sidecar
        .call(Method::POST, "/second", &[("authorization", "bob's")], body)
        .await;
    assert_eq!(told.status, StatusCode::ACCEPTED);
    sidecar
        .upstream
        .until(|seen| seen.iter().any(|one| one.path == "/other"))
        .await;
    let mallory = sidecar
        .upstream
        .seen()
        .iter()
        .filter(|one| one.header("authorization").starts_with('t'))
        .count();
    assert_eq!(mallory, 1, "a quarter of four places");
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 22).await;
}

const FOUR_PLACES: (&str, &str) = (
    "[delivery]",
    "[delivery]\nmax_in_flight = 4\ntimeout = \"1h\"",
);
/// Nobody's place becomes free because an answer is late.
const PATIENT: (&str, &str) = ("response_timeout = \"5s\"", "response_timeout = \"1h\"");

#[tokio::test]
async fn what_a_hanging_group_cannot_deliver_another_group_does() {
    let second = "[batch.other]\npath = \"/other\"\nflush_at = 1\n[[event]]\npath = \
        \"/second\"\nbatch = \"other\"\n[[event]]\npath = \"/event\"";
    let sidecar = Sidecar::start(&[
        ("[[event]]\npath = \"/event\"", second),
        FOUR_PLACES,
        PATIENT,
    ])
    .await;
    sidecar.upstream.hold_back(|seen| seen.path == "/batch");
    for number in 0..20 {
        done(&sidecar, &format!("u{number}"), &format!("e{number}")).await;
    }
    // Three of the four places; the last one is the other group's.
    sidecar.upstream.until(|seen| seen.len() == 3).await;
    // Other users: of four places one user has one, in whatever group.
    for number in 0..20 {
        let body = json!({ "clientEventId": format!("o{number}"), "userId": format!("v{number}") })
            .to_string();
        let told = sidecar
            .call(Method::POST, "/second", &[("authorization", "t")], body)
            .await;
        assert_eq!(told.status, StatusCode::ACCEPTED);
    }
    let ledger = sidecar.until(|ledger| ledger.accepted == 20).await;
    assert_eq!(
        (ledger.pending, of_batches(&sidecar.upstream.seen()).len()),
        (20, 3)
    );
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 40).await;
}

#[tokio::test]
async fn what_one_users_many_credentials_cannot_deliver_others_do() {
    let sidecar = Sidecar::start(&[FOUR_PLACES, PATIENT]).await;
    sidecar
        .upstream
        .hold_back(|seen| seen.header("authorization").starts_with('t'));
    for number in 0..20 {
        sidecar
            .post(
                &format!("t{number}"),
                "mallory",
                &format!("m{number}"),
                ",\"status\":\"completed\"",
            )
            .await;
    }
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    for number in 0..20 {
        done(&sidecar, &format!("u{number}"), &format!("e{number}")).await;
    }
    let ledger = sidecar.until(|ledger| ledger.accepted == 20).await;
    assert_eq!((ledger.pending, sidecar.upstream.held()), (20, 1));
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 40).await;
}

#[tokio::test]
async fn three_thousand_events_of_a_hot_lane_are_all_delivered_once() {
    let changes = [
        (
            "[batch.progress]",
            "[limits]\nmax_lane_events = 200\n[batch.progress]",
        ),
        ("max_bytes = \"1KiB\"", "max_bytes = \"64KiB\""),
        ("flush_at = 4", "flush_at = 50"),
        ("max_events = 4", "max_events = 50"),
        PATIENT,
    ];
    let sidecar = Arc::new(Sidecar::start(&changes).await);
    sidecar.upstream.close_gate();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..30 {
        let sidecar = Arc::clone(&sidecar);
        callers.spawn(async move {
            let mut forwarded = 0;
            for number in 0..100 {
                match sidecar
                    .post("t", "u", &format!("{caller:02}-{number:02}"), "")
                    .await
                    .status
                {
                    StatusCode::ACCEPTED => {}
                    // Over the lane's cap, after its lane.
                    status => {
                        assert_eq!(status, StatusCode::OK);
                        forwarded += 1;
                    }
                }
            }
            forwarded
        });
    }
    sidecar.until(|ledger| ledger.pending >= 200).await;
    // Thirty calls may look at the count at once.
    assert!(sidecar.running.ledger().pending < 230);
    sidecar.upstream.open_gate();
    let forwarded: u64 = callers.join_all().await.iter().sum();
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.accepted, ledger.dead, ledger.superseded),
        (3_000 - forwarded, 0, 0)
    );
    assert!(forwarded > 0);
    let ids = |seen: &Seen| match seen.path.as_str() {
        "/batch" => seen.ids(),
        _ => vec![
            serde_json::from_slice::<Value>(&seen.body).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned(),
        ],
    };
    let all: Vec<_> = sidecar.upstream.seen().iter().flat_map(ids).collect();
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(
        (all.len(), different.len()),
        (3_000, 3_000),
        "each came once"
    );
    for caller in 0..30 {
        let prefix = format!("{caller:02}-");
        assert!(
            all.iter().filter(|id| id.starts_with(&prefix)).is_sorted(),
            "one after another"
        );
    }
}

#[tokio::test]
async fn a_hot_lane_is_bounded_and_leaves_in_full_batches() {
    let cap = "[limits]\nmax_lane_events = 100\n[batch.progress]";
    let changes = [
        ("[batch.progress]", cap),
        ("max_bytes = \"1KiB\"", "max_bytes = \"64KiB\""),
        ("max_events = 4", "max_events = 50"),
        PATIENT,
    ];
    let sidecar = Arc::new(Sidecar::start(&changes).await);
    sidecar.upstream.close_gate();
    for number in 0..100 {
        let answer = sidecar.post("t", "u", &format!("e{number:03}"), "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    let one_more = tokio::spawn({
        let sidecar = Arc::clone(&sidecar);
        async move { sidecar.post("t", "u", "one more", "").await.status }
    });
    sidecar
        .until_counter("tidegate_calls_total{action=\"forwarded\"}", 1)
        .await;
    assert_eq!(sidecar.running.ledger().pending, 100);
    sidecar.upstream.open_gate();
    assert_eq!(one_more.await.unwrap(), StatusCode::OK);
    assert_eq!(
        sidecar.running.ledger().accepted,
        100,
        "it went after its lane"
    );
    let sizes: Vec<_> = sidecar.upstream.batches().iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [4, 50, 46],
        "the first was sealed by its count, the rest waited behind it"
    );
    sidecar
        .event("t", "u", "what its lane had is given back")
        .await;
}

#[tokio::test]
async fn no_outage_makes_dead_letters_before_its_time() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.ids() != ["other"]).then(|| answer(503, json!({}))));
    sidecar
        .post("t1", "u1", "good", ",\"status\":\"completed\"")
        .await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    sidecar
        .post("t2", "u2", "other", ",\"status\":\"completed\"")
        .await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    // From here on 503 to everything, many times more than an event may fail on its own account.
    sidecar.upstream.until(|seen| seen.len() > 60).await;
    assert_eq!(sidecar.running.ledger().dead, 0);
    sidecar.upstream.answer_with(|_| None);
    sidecar.until(|ledger| ledger.accepted == 2).await;
}

#[tokio::test]
async fn a_piece_of_a_split_batch_minds_the_gate() {
    let sidecar = Sidecar::start(&[
        SHARED,
        (
            "retry_limited = { base = \"10ms\"",
            "retry_limited = { base = \"1h\"",
        ),
    ])
    .await;
    sidecar
        .upstream
        .script([answer(400, json!({})), answer(429, json!({}))]);
    for (user, id) in [("ada", "a"), ("bob", "b"), ("eve", "e"), ("joe", "j")] {
        done(&sidecar, user, id).await;
    }
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"progress\",result=\"deferred\"}",
            1,
        )
        .await;
    let sizes: Vec<_> = sidecar.upstream.batches().iter().map(Vec::len).collect();
    assert_eq!(
        sizes,
        [4, 2],
        "the first half closed the gate, and the second stayed behind it"
    );
    assert_eq!(sidecar.running.ledger().pending, 4);
}
