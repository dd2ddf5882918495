//! P1 to P4, P6, P9, P12 through real sockets.

use crate::support::Sidecar;
use crate::support::upstream::{Seen, answer};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn an_event_is_acknowledged_at_once_and_sent_in_a_batch() {
    let sidecar = Sidecar::start(&[]).await;
    let ack = sidecar.post("t", "u", "a", "").await;
    assert_eq!(
        (ack.status, ack.json()),
        (StatusCode::ACCEPTED, json!({ "accepted": ["a"] }))
    );
    assert_eq!(ack.header("tidegate-event"), "a");
    for id in ["b", "c", "d"] {
        sidecar.event("t", "u", id).await;
    }
    let ledger = sidecar.until(|ledger| ledger.accepted == 4).await;
    assert_eq!(ledger.pending, 0);
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].ids(), ["a", "b", "c", "d"]);
    assert_eq!(seen[0].header("authorization"), "t");
    assert!(!seen[0].header("idempotency-key").is_empty());
}

#[tokio::test]
async fn two_credentials_of_one_user_never_share_a_batch() {
    let sidecar = Sidecar::start(&[]).await;
    for number in 0..20 {
        let token = if number % 3 == 0 { "first" } else { "second" };
        sidecar
            .event(token, "u", &format!("{token}-{number}"))
            .await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 20).await;
    for batch in sidecar.upstream.seen() {
        let token = batch.header("authorization").to_owned();
        assert!(
            batch.ids().iter().all(|id| id.starts_with(&token)),
            "{token}: {:?}",
            batch.ids()
        );
    }
}

#[tokio::test]
async fn order_holds_through_every_kind_of_failure() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.script([
        answer(500, json!({})),
        answer(503, json!({})),
        answer(429, json!({})),
        answer(408, json!({})),
    ]);
    for number in 0..12 {
        sidecar.event("t", "u", &format!("{number:02}")).await;
    }
    sidecar.until(|ledger| ledger.accepted == 12).await;
    let batches = sidecar.upstream.batches();
    let (failed, good) = batches.split_at(4);
    assert!(
        failed.iter().all(|batch| *batch == good[0]),
        "the same events are tried again: {batches:?}"
    );
    let keys: Vec<_> = sidecar.upstream.seen()[..5]
        .iter()
        .map(|seen| seen.header("idempotency-key").to_owned())
        .collect();
    assert!(
        keys.iter().all(|key| *key == keys[0]),
        "a retry has the same key"
    );
    assert_eq!(
        good.concat(),
        (0..12)
            .map(|number| format!("{number:02}"))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_duplicate_gets_the_same_acknowledgement_and_is_sent_once() {
    let sidecar = Sidecar::start(&[]).await;
    let first = sidecar.post("t", "u", "a", "").await;
    let pending = sidecar.post("t", "u", "a", "").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    let settled = sidecar.post("t", "u", "a", "").await;
    for repeat in [&pending, &settled] {
        assert_eq!((repeat.status, &repeat.body), (first.status, &first.body));
    }
    let ledger = sidecar.running.stop().await;
    assert_eq!(
        (ledger.received, ledger.accepted, ledger.duplicate),
        (3, 1, 2)
    );
    assert_eq!(sidecar.upstream.batches(), [["a"]]);
}

#[tokio::test]
async fn anothers_forged_id_does_not_make_a_true_event_a_duplicate() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.event("forged", "u", "a").await;
    sidecar.event("true", "u", "a").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 2).await;
    assert_eq!(sidecar.upstream.batches().len(), 2);
}

#[tokio::test]
async fn per_event_results_settle_each_event_once() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.script([answer(
        200,
        json!({ "data": { "accepted": ["a"], "duplicates": ["b"], "failed": [{ "id": "c", "reason": "validation_error" }] } }),
    )]);
    for id in ["a", "b", "c", "d"] {
        sidecar.event("t", "u", id).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.accepted, ledger.duplicate, ledger.dead),
        (2, 1, 1),
        "d was in no list and was sent again"
    );
    assert_eq!(
        sidecar.upstream.batches(),
        [vec!["a", "b", "c", "d"], vec!["d"]]
    );
    let dead = sidecar.admin(Method::GET, "/dead-letters").await.json();
    assert_eq!(
        (&dead[0]["id"], &dead[0]["group"], &dead[0]["reason"]),
        (
            &json!("c"),
            &json!("progress"),
            &json!("failed_permanently")
        )
    );
}

/// Refuses every batch that holds an id starting with `bad`.
fn refuse_bad(seen: &Seen) -> Option<http::Response<http_body_util::Full<bytes::Bytes>>> {
    let bad = seen.path == "/batch" && seen.ids().iter().any(|id| id.starts_with("bad"));
    bad.then(|| answer(400, json!({ "error": "one of them is bad" })))
}

#[tokio::test]
async fn one_bad_event_never_sinks_its_batch() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(refuse_bad);
    for id in ["a", "b", "bad", "d"] {
        sidecar.event("t", "u", id).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (3, 1));
    assert_eq!(
        sidecar.admin(Method::GET, "/dead-letters").await.json()[0]["id"],
        "bad"
    );
}

#[tokio::test]
async fn a_refused_event_falls_back_to_its_single_call() {
    let sidecar = Sidecar::start(&[("fallback = \"dead-letter\"", "fallback = \"single\"")]).await;
    sidecar.upstream.answer_with(refuse_bad);
    for id in ["a", "b", "bad", "d"] {
        sidecar.event("t", "u", id).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (4, 0));
    let single = sidecar
        .upstream
        .seen()
        .into_iter()
        .find(|seen| seen.path == "/event")
        .unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&single.body).unwrap()["id"],
        "bad"
    );
    assert_eq!(single.header("authorization"), "t");
}

#[tokio::test]
async fn one_refused_user_holds_up_nobody_else_and_hears_of_it() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.header("authorization") == "bad").then(|| answer(401, json!({ "error": "no" })))
    });
    for number in 0..4 {
        sidecar.event("bad", "mallory", &format!("m{number}")).await;
        sidecar.event("good", "alice", &format!("a{number}")).await;
    }
    let ledger = sidecar.until(|ledger| ledger.accepted == 4).await;
    assert_eq!(ledger.pending, 4, "held, not lost");
    // The next single call of that credential is forwarded: the client sees the application's own
    // 401.
    sidecar
        .upstream
        .until(|seen| {
            seen.iter()
                .filter(|one| one.header("authorization") == "bad")
                .count()
                >= 1
        })
        .await;
    let mut told = sidecar.post("bad", "mallory", "m4", "").await;
    while told.status == StatusCode::ACCEPTED {
        told = sidecar.post("bad", "mallory", &uuid(), "").await;
    }
    assert_eq!(
        (told.status, told.json()),
        (StatusCode::UNAUTHORIZED, json!({ "error": "no" }))
    );
    // Once a call of it succeeds, what was held goes out under the same credential.
    sidecar.upstream.answer_with(|_| None);
    assert_eq!(
        sidecar.post("bad", "mallory", "m5", "").await.status,
        StatusCode::OK
    );
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(ledger.dead, 0);
}

fn uuid() -> String {
    tidegate::event::Tag::new(&format!("{:?}", std::time::SystemTime::now()))
        .0
        .to_string()
}

#[tokio::test]
async fn no_batch_exceeds_its_bytes_and_a_larger_event_goes_alone_on_its_own_route() {
    let sidecar = Sidecar::start(&[]).await;
    for number in 0..8 {
        let pad = format!(",\"pad\":\"{}\"", "x".repeat(300));
        assert_eq!(
            sidecar
                .post("t", "u", &format!("e{number}"), &pad)
                .await
                .status,
            StatusCode::ACCEPTED
        );
    }
    let large = sidecar
        .post(
            "t",
            "u",
            "large",
            &format!(",\"pad\":\"{}\"", "x".repeat(2_000)),
        )
        .await;
    assert_eq!(
        (large.status, large.json()["path"].as_str()),
        (StatusCode::OK, Some("/event")),
        "{large:?}"
    );
    sidecar.until(|ledger| ledger.accepted == 8).await;
    let seen = sidecar.upstream.seen();
    assert!(
        seen.iter()
            .filter(|one| one.path == "/batch")
            .all(|batch| batch.body.len() <= 1024)
    );
    let last = seen.last().unwrap();
    assert_eq!(
        last.path, "/event",
        "the large one went after what was acknowledged before it"
    );
}

#[tokio::test]
async fn a_forwarded_write_does_not_overtake_buffered_events_nor_is_overtaken() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.event("t", "u", "before").await;
    sidecar.upstream.close_gate();
    let write = sidecar.call(
        Method::POST,
        "/snapshot?userId=u",
        &[("authorization", "t")],
        "{}",
    );
    let later = async {
        sidecar
            .upstream
            .until(|seen| seen.iter().any(|one| one.path == "/batch"))
            .await;
        sidecar.upstream.open_gate();
        let answer = sidecar
            .post("t", "u", "after", ",\"status\":\"completed\"")
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    };
    let (written, ()) = tokio::join!(write, later);
    assert_eq!(written.status, StatusCode::OK);
    sidecar.until(|ledger| ledger.accepted == 2).await;
    let order: Vec<_> = sidecar
        .upstream
        .seen()
        .iter()
        .map(|seen| {
            if seen.path == "/batch" {
                seen.ids()[0].clone()
            } else {
                "write".into()
            }
        })
        .collect();
    assert_eq!(order[0], "before");
    assert!(
        order.iter().position(|one| one == "write") > Some(0),
        "{order:?}"
    );
}

#[tokio::test]
async fn a_write_whose_lane_cannot_move_gets_503_and_overtakes_nothing() {
    let quick =
        "response_timeout = \"5s\"\n[[relay]]\npath = \"/snapshot\"\nresponse_timeout = \"20ms\"";
    let sidecar = Sidecar::start(&[("response_timeout = \"5s\"", quick)]).await;
    sidecar.event("t", "u", "a").await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(503, json!({}))));
    let refused = sidecar
        .call(
            Method::POST,
            "/snapshot?userId=u",
            &[("authorization", "t")],
            "{}",
        )
        .await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("busy"))
    );
    assert!(!refused.header("retry-after").is_empty());
    assert!(
        sidecar
            .upstream
            .seen()
            .iter()
            .all(|seen| seen.path == "/batch")
    );
}

#[tokio::test]
async fn what_the_journal_cannot_keep_is_forwarded_in_order() {
    let sidecar = Sidecar::start(&[(
        "durability = \"none\"",
        "durability = \"none\"\nmax_bytes = \"1KiB\"",
    )])
    .await;
    // Of so little a stranger's share is none: the application answers, and speaks for it.
    assert_eq!(
        sidecar.post("t", "u", "first", "").await.status,
        StatusCode::OK
    );
    sidecar.event("t", "u", "a").await;
    let forwarded = sidecar.post("t", "u", "b", "").await;
    assert_eq!(
        (forwarded.status, forwarded.json()["path"].as_str()),
        (StatusCode::OK, Some("/event"))
    );
    let order: Vec<_> = sidecar
        .upstream
        .seen()
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(order, ["/event", "/batch", "/event"]);
    assert_eq!(
        (
            sidecar.declined("too_many_strangers").await,
            sidecar.declined("not_kept").await
        ),
        (1, 1)
    );
    sidecar.event("t", "u", "c").await;
    let ledger = sidecar.running.ledger();
    assert!(ledger.balances() && ledger.received == 2, "{ledger}");
}

#[tokio::test]
async fn a_clean_stop_sends_what_is_pending_and_balances() {
    let sidecar = Sidecar::start(&[]).await;
    for id in ["a", "b", "c"] {
        sidecar.event("t", "u", id).await;
    }
    let ledger = sidecar.running.stop().await;
    assert_eq!(
        (ledger.received, ledger.accepted, ledger.pending),
        (3, 3, 0)
    );
    assert_eq!(sidecar.upstream.batches(), [["a", "b", "c"]]);
}

#[tokio::test]
async fn a_clients_own_batch_is_taken_apart_and_answered_event_by_event() {
    let sidecar = Sidecar::start(&[(
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nrefuse = [\"too_many_events\"]",
    )])
    .await;
    let known = json!({ "clientEventId": "known", "userId": "u", "lessonId": "l" });
    let send = async |events: Value| {
        sidecar
            .call(
                Method::POST,
                "/batch",
                &[("authorization", "t")],
                json!({ "events": events }).to_string(),
            )
            .await
    };
    assert_eq!(
        send(json!([known])).await.json()["accepted"],
        json!(["known"])
    );
    let taken =
        send(json!([known, { "clientEventId": "new", "userId": "u", "lessonId": "l" }])).await;
    assert_eq!(taken.status, StatusCode::OK);
    assert_eq!(
        taken.json(),
        json!({ "accepted": ["new"], "duplicates": ["known"], "failed": [] })
    );
    assert_eq!(
        (
            sidecar.running.ledger().pending,
            sidecar.upstream.seen().len()
        ),
        (2, 0)
    );
    // What isn't understood is the application's to judge, after what its caller has pending.
    let poor = send(json!([{ "clientEventId": "poor", "userId": "u" }])).await;
    assert_eq!(
        poor.json()["accepted"],
        json!(["poor"]),
        "the application's own answer"
    );
    assert_eq!(
        sidecar.upstream.batches(),
        [vec!["known", "new"], vec!["poor"]]
    );
    let many = send(json!(vec![json!({ "userId": "u", "lessonId": "l" }); 5])).await;
    assert_eq!(
        (many.status, many.json()["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("too_many_events"))
    );
}

/// P1: a 2xx would say that all was kept.
#[tokio::test]
async fn a_clients_batch_of_which_a_part_has_no_room_is_told_so_or_is_to_be_sent_again() {
    let room = (
        "durability = \"none\"",
        "durability = \"none\"\nmax_bytes = \"1KiB\"",
    );
    let silent = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nreply = { body = { ok = true } }",
    );
    for more in [&[room][..], &[room, silent]] {
        let sidecar = Sidecar::start(more).await;
        let send = async |ids: [&str; 2]| {
            let own = |id| json!({ "clientEventId": id, "userId": "u", "lessonId": "l" });
            let headers = [("authorization", "t")];
            let body = json!({ "events": ids.map(own) }).to_string();
            sidecar.call(Method::POST, "/batch", &headers, body).await
        };
        // A stranger has no share of so little room: from here on it is known.
        sidecar.post("t", "u", "first", "").await;
        let answer = send(["a", "b"]).await;
        assert_eq!(sidecar.running.ledger().received, 1, "{answer:?}");
        if more.len() == 1 {
            let failed = json!([{ "id": "b", "reason": "not_kept" }]);
            assert_eq!(answer.json()["failed"], failed);
            continue;
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
        sidecar.flush().await;
        sidecar.until(|ledger| ledger.accepted == 1).await;
        let again = send(["a", "b"]).await;
        assert_eq!(again.json(), json!({ "ok": true }));
        assert_eq!(sidecar.running.stop().await.accepted, 2);
        assert_eq!(sidecar.upstream.batches(), [["a"], ["b"]]);
    }
}

#[tokio::test]
async fn of_a_clients_batch_over_the_rate_nothing_is_kept_and_it_hears_429() {
    let limit =
        "[limits]\nevents_per_user = { rate = 1, per = \"1h\", burst = 3 }\n[batch.progress]";
    let sidecar = Sidecar::start(&[("[batch.progress]", limit)]).await;
    let send = async |ids: &[&str]| {
        let own = |id: &&str| json!({ "clientEventId": id, "userId": "u", "lessonId": "l" });
        let events: Vec<_> = ids.iter().map(own).collect();
        let headers = [("authorization", "t")];
        let body = json!({ "events": events }).to_string();
        sidecar.call(Method::POST, "/batch", &headers, body).await
    };
    let first = send(&["a", "b"]).await;
    assert_eq!(first.json()["accepted"], json!(["a", "b"]));
    // One token is left: for neither of two events.
    let over = send(&["c", "d"]).await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(over.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(sidecar.running.ledger().received, 2);
    // What is known takes none.
    let again = send(&["a", "c"]).await.json();
    assert_eq!(
        (&again["duplicates"], &again["accepted"]),
        (&json!(["a"]), &json!(["c"]))
    );
    assert_eq!(send(&["d"]).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn over_the_rate_the_client_hears_429_and_nothing_is_kept() {
    let limit =
        "[limits]\nevents_per_user = { rate = 1, per = \"1h\", burst = 2 }\n[batch.progress]";
    let sidecar = Sidecar::start(&[("[batch.progress]", limit)]).await;
    sidecar.event("t", "u", "a").await;
    sidecar.event("t", "u", "b").await;
    let limited = sidecar.post("t", "u", "c", "").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    sidecar.event("other", "u", "c").await;
    assert_eq!(sidecar.running.stop().await.received, 3);
}

#[tokio::test]
async fn a_session_that_a_deliverys_answer_renews_is_renewed_on_a_call_of_its_own() {
    let sidecar = Sidecar::start(&[("credentials = [\"header:authorization\"]\n", "")]).await;
    sidecar.upstream.answer_with(|seen| {
        let mut answer = answer(
            200,
            json!({ "accepted": if seen.path == "/batch" { seen.ids() } else { Vec::new() } }),
        );
        answer
            .headers_mut()
            .append("set-cookie", HeaderValue::from_static("_ga=2"));
        if seen.header("cookie").contains("sid=") {
            answer
                .headers_mut()
                .append("set-cookie", HeaderValue::from_static("sid=new; HttpOnly"));
        }
        Some(answer)
    });
    let post = async |cookie: &str, id: &str| {
        let body = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
        let answer = sidecar
            .call(Method::POST, "/event", &[("cookie", cookie)], body)
            .await;
        (answer.status, answer.headers.contains_key("set-cookie"))
    };
    for (cookie, first) in [("sid=old", "a"), ("_ga=1", "b")] {
        assert_eq!(post(cookie, first).await, (StatusCode::ACCEPTED, false));
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        post("sid=old", "c").await,
        (StatusCode::OK, true),
        "the application's own answer"
    );
    assert_eq!(
        post("sid=old", "d").await,
        (StatusCode::ACCEPTED, false),
        "once"
    );
    assert_eq!(
        post("_ga=1", "e").await,
        (StatusCode::ACCEPTED, false),
        "an analytics cookie is no session"
    );
}
