//! Erasing what is kept of one user.

use crate::crash::start_for_commands;
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Http, Sidecar, in_time};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const HOST: (&str, &str) = ("host", "app.test");

async fn post(process: &Process, user: &str, id: &str) {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
    let token = format!("token-{user}");
    let head = [("authorization", &*token), HOST];
    let sent = Http::default();
    let answer = sent.try_call(process.address, Method::POST, "/event", &head, body);
    assert_eq!(answer.await.unwrap().status, 202);
}

async fn ask(process: &Process, method: Method, path: &str) -> Value {
    let asked = Http::default();
    let answer = asked.try_call(process.admin, method, path, &[], "");
    let answer = answer.await.unwrap();
    assert!(answer.status.is_success(), "{path}: {answer:?}");
    answer.json()
}

async fn until_letters(process: &Process, count: usize) {
    let there = async {
        while ask(process, Method::GET, "/dead-letters")
            .await
            .as_array()
            .unwrap()
            .len()
            != count
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("dead letters", there).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_a_user_is_told_then_erased_and_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(422, json!({}))));
    let (process, config) = start_for_commands(directory.path(), upstream.address);
    for user in ["gone", "stays"] {
        post(&process, user, &format!("{user}-dead")).await;
    }
    ask(&process, Method::POST, "/flush").await;
    until_letters(&process, 2).await;
    for user in ["gone", "stays"] {
        post(&process, user, &format!("{user}-1")).await;
        post(&process, user, &format!("{user}-2")).await;
    }
    let forget = |more: &[&str]| {
        let arguments = [&["forget", "--user", "gone"], more].concat();
        let (code, said) = run(&arguments, &config, &[]);
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let told = forget(&[]);
    for wanted in [
        "would be erased",
        "2  pending events",
        "1  dead letters",
        "--yes does it",
    ] {
        assert!(told.contains(wanted), "{told}");
    }
    let status = ask(&process, Method::GET, "/status").await;
    assert_eq!(
        status["ledger"]["pending"], 4,
        "nothing was erased: {status}"
    );
    let erased: Value = serde_json::from_str(&forget(&["--yes", "--json"])).unwrap();
    assert_eq!(
        erased["erased"],
        json!({ "pending": 2, "in_flight": 0, "dead_letters": 1, "lives": 0 })
    );
    let status = ask(&process, Method::GET, "/status").await;
    let ledger = &status["ledger"];
    assert_eq!(
        (&ledger["pending"], &ledger["dead"]),
        (&json!(2), &json!(4)),
        "{status}"
    );
    assert_eq!(status["balanced"], true);
    process.kill();
    let before = upstream.batches().len();
    upstream.answer_with(|_| None);
    let (process, _) = start_for_commands(directory.path(), upstream.address);
    process.deliver_pending().await;
    assert_eq!(upstream.batches()[before..], [["stays-1", "stays-2"]]);
    let letters = ask(&process, Method::GET, "/dead-letters").await;
    let ids: Vec<_> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, ["stays-dead"]);
    // What comes afterwards is taken, and goes.
    post(&process, "gone", "gone-3").await;
    process.deliver_pending().await;
    assert_eq!(upstream.batches().last().unwrap(), &["gone-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_on_its_way_has_its_outcome_and_a_refused_lane_is_erased() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(401, json!({}))));
    sidecar.event("refused", "u", "a").await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    let status = async || sidecar.admin(Method::GET, "/status").await.json();
    let held = async {
        while status().await["pending"]["events"] != 1
            || !status().await.to_string().contains("\"credential\":1")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("a held lane", held).await;
    sidecar.upstream.answer_with(|_| None);
    sidecar.upstream.close_gate();
    sidecar.event("good", "u", "b").await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| seen.len() >= 2).await;
    let (erased, ()) = tokio::join!(sidecar.admin(Method::DELETE, "/users/u"), async {
        sidecar.until(|ledger| ledger.dead == 1).await;
        sidecar.upstream.open_gate();
    });
    assert_eq!(erased.status, StatusCode::OK);
    let erased = erased.json();
    assert_eq!(
        (&erased["erased"]["pending"], &erased["erased"]["in_flight"]),
        (&json!(1), &json!(0))
    );
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (1, 1));
    // Neither its letter nor the life of what was delivered.
    assert_eq!(
        sidecar.admin(Method::GET, "/dead-letters").await.json(),
        json!([])
    );
    for id in ["a", "b"] {
        let life = sidecar.admin(Method::GET, &format!("/events/{id}")).await;
        assert_eq!(life.status, StatusCode::NOT_FOUND, "{life:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_answers_are_erased_with_a_user() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.get("t", "/progress?userId=u").await;
    let hit = sidecar.get("t", "/progress?userId=u").await;
    assert!(hit.header("cache-status").contains("hit"), "{hit:?}");
    let erased = sidecar.admin(Method::DELETE, "/users/u").await.json();
    assert_eq!(erased["stored_answers_of_all"], 1);
    let missed = sidecar.get("t", "/progress?userId=u").await;
    assert!(!missed.header("cache-status").contains("hit"), "{missed:?}");
}
