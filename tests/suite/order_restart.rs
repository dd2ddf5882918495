//! One user under two tokens, across a restart of the real binary (P4, ruling 15): what was kept
//! under the first goes before what was kept under the second, though the process forgets who was
//! good.

use crate::crash::configure;
use crate::support::calls::{bearer, body};
use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{Http, in_time};
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const QUICK: (&str, &str) = ("window = \"1h\"", "window = \"50ms\"");
/// Long enough that a lane which doesn't wait for another one is seen to go.
const PAUSE: (&str, &str) = (
    "retry_server = { base = \"10ms\", cap = \"20ms\" }",
    "retry_server = { base = \"500ms\", cap = \"500ms\" }",
);

async fn post(process: &Process, token: &str, id: &str) {
    let headers = [("host", "app.test"), ("authorization", token)];
    let heard = Http::default()
        .try_call(
            process.address,
            Method::POST,
            "/event",
            &headers,
            body("ada", id, ""),
        )
        .await
        .unwrap();
    assert_eq!(heard.status, StatusCode::ACCEPTED, "{heard:?}");
}

/// The ids that were taken, in order.
fn taken(upstream: &FakeUpstream, refused: &[Seen]) -> Vec<String> {
    let seen = upstream.seen().into_iter().skip(refused.len());
    seen.flat_map(|seen| seen.ids()).collect()
}

async fn in_order_after_a_restart(durability: &str, sealed: bool) {
    let (directory, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let mut replaced = vec![QUICK, PAUSE];
    let key = directory.path().join("key");
    let with_key = format!("key_file = \"{}\"\n[delivery]", key.display());
    if sealed {
        std::fs::write(&key, [7; 32]).unwrap();
        replaced.push(("[delivery]", &with_key));
    }
    let config = configure(directory.path(), upstream.address, durability, &replaced);
    let process = Process::start(&config);
    let [first, second] =
        ["one", "two"].map(|device| bearer(&json!({ "sub": "ada", "device": device })));
    // Both are known to be good.
    post(&process, &first, "1").await;
    post(&process, &second, "2").await;
    in_time("both are taken", upstream.until(|seen| seen.len() == 2)).await;
    // A process that is killed before it has heard so offers them again (ruling 3).
    let is_pending = async || {
        let asked = Http::default();
        let status = asked.try_call(process.admin, Method::GET, "/status", &[], "");
        status.await.unwrap().json()["ledger"]["pending"] != 0
    };
    in_time("both are settled", async {
        while is_pending().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    upstream
        .answer_with(move |_: &Seen| down.load(Ordering::SeqCst).then(|| answer(503, json!({}))));
    for id in ["3", "4"] {
        post(&process, &first, id).await;
    }
    for id in ["5", "6"] {
        post(&process, &second, id).await;
    }
    process.kill();
    // The first attempt of the next process fails once more, and only that.
    let before = upstream.seen();
    let failed = Arc::new(AtomicBool::new(false));
    upstream.answer_with(move |seen: &Seen| {
        let fails = seen.ids() == ["3", "4"] && !failed.swap(true, Ordering::SeqCst);
        fails.then(|| answer(500, json!({})))
    });
    is_down.store(false, Ordering::SeqCst);
    let process = Process::start(&config);
    let all = ["3", "4", "3", "4", "5", "6"];
    let came = |seen: &[Seen]| {
        let ids = seen.iter().skip(before.len()).flat_map(Seen::ids);
        ids.count() >= all.len()
    };
    in_time("all are taken", upstream.until(came)).await;
    assert_eq!(taken(&upstream, &before), all, "{durability}, {sealed}");
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_did_under_two_tokens_keeps_its_order_over_a_restart() {
    for durability in ["process", "disk"] {
        in_order_after_a_restart(durability, false).await;
    }
    in_order_after_a_restart("process", true).await;
}
