//! P12 and ruling 18: a stop sends what can be sent and waits for nothing that can't move.

use crate::crash::configure;
use crate::support::process::{LONG_DRAIN, Process};
use crate::support::upstream::{FakeUpstream, Reply, answer, hang_up};
use crate::support::{Http, in_time};
use http::Method;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const HEAD: [(&str, &str); 2] = [("authorization", "token-u"), ("host", "app.test")];

async fn post(at: SocketAddr, id: &str) {
    let body = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
    let answer = Http::default()
        .try_call(at, Method::POST, "/event", &HEAD, body)
        .await
        .unwrap();
    assert!(answer.status.is_success());
}

/// Waits until it has said so on stderr.
pub async fn said(process: &Process, words: &str) {
    let heard = async {
        while !process.said().contains(words) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(words, heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_what_cannot_move() {
    let limited = || {
        let mut reply = answer(429, json!({}));
        reply
            .headers_mut()
            .insert("retry-after", "3600".parse().unwrap());
        reply
    };
    let troubles: [(&str, fn() -> Reply); 3] = [
        ("503", || answer(503, json!({}))),
        ("401", || answer(401, json!({}))),
        ("no answer", hang_up),
    ];
    for (name, trouble) in troubles
        .into_iter()
        .chain([("429", limited as fn() -> Reply)])
    {
        let directory = tempfile::tempdir().unwrap();
        let upstream = FakeUpstream::start().await;
        upstream.answer_with(move |_| Some(trouble()));
        let process = Process::start(&configure(
            directory.path(),
            upstream.address,
            "process",
            &[LONG_DRAIN],
        ));
        post(process.address, "a").await;
        let (code, printed) = process.terminate_in_time().await;
        assert_eq!(code, Some(0), "{name}");
        assert!(
            printed.contains(
                "received 1 = accepted 0 + duplicate 0 + superseded 0 + dead 0 + pending 1"
            ),
            "{name}"
        );
        assert!(!upstream.seen().is_empty(), "{name}: it was tried");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_says_what_it_waits_for_and_a_second_signal_ends_it_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.close_gate();
    let config = configure(directory.path(), upstream.address, "process", &[LONG_DRAIN]);
    let process = Process::start(&config);
    post(process.address, "a").await;
    process.signal("-TERM");
    said(
        &process,
        "stopping: waits for 1 pending events, 1 deliveries of them in flight",
    )
    .await;
    process.signal("-INT");
    let (code, printed) = process.end_in_time().await;
    assert_eq!(code, Some(0));
    assert!(printed.contains("pending 1"), "{printed}");

    upstream.open_gate();
    let process = Process::start(&config);
    let (_, printed) = process.terminate_in_time().await;
    assert!(
        printed.contains("accepted 1 + duplicate 0 + superseded 0 + dead 0 + pending 0"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_started_to_outlive_its_terminal_does() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "process", &[LONG_DRAIN]);
    let process = Process::start_after("trap '' HUP", &config);
    process.signal("-HUP");
    post(process.address, "a").await;
    let (code, printed) = process.terminate_in_time().await;
    assert!(
        code == Some(0) && printed.contains("received 1 = accepted 1"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_well_though_nobody_hears_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.close_gate();
    let config = configure(directory.path(), upstream.address, "process", &[LONG_DRAIN]);
    // What the pipe leads to ends after the line that says where it serves.
    let fifo = directory.path().join("said");
    let prepare = format!(
        "mkfifo {0} && {{ head -n 1 {0} >&2 & }} && exec 3>&2 2>{0}",
        fifo.display()
    );
    let process = Process::start_after(&prepare, &config);
    post(process.address, "a").await;
    process.signal("-TERM");
    upstream.until(|seen| !seen.is_empty()).await;
    // Longer than the pause between two lines.
    tokio::time::sleep(Duration::from_secs(5)).await;
    upstream.open_gate();
    let (code, printed) = process.end_in_time().await;
    assert!(
        code == Some(0) && printed.contains("received 1 = accepted 1"),
        "{code:?} {printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_comes_back_within_a_stop_gets_what_is_pending() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let mut tries = 0;
    upstream.answer_with(move |_| {
        tries += 1;
        (tries < 3).then(|| answer(503, json!({})))
    });
    let slow = (
        "retry_server = { base = \"10ms\", cap = \"20ms\" }",
        "retry_server = { base = \"1h\", cap = \"1h\" }",
    );
    let process = Process::start(&configure(
        directory.path(),
        upstream.address,
        "process",
        &[LONG_DRAIN, slow],
    ));
    post(process.address, "a").await;
    let (_, printed) = process.terminate_in_time().await;
    assert!(printed.contains("received 1 = accepted 1"), "{printed}");
}
