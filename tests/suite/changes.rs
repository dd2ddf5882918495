//! What makes a caller's fingerprint change is named (P3, design §4 `[identity]`): in a metric, in
//! the log, in `/status`.

use crate::support::Sidecar;
use http::{Method, StatusCode};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing::subscriber::DefaultGuard;

const BUILT_IN: (&str, &str) = ("credentials = [\"header:authorization\"]", "");

/// What is logged on this thread from warnings up.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false);
        let guard = tracing::subscriber::set_default(
            subscriber.with_writer(move || writer.clone()).finish(),
        );
        (log, guard)
    }

    /// Warnings about parts that change.
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .filter(|line| line.contains("differ in this part"))
            .map(str::to_owned)
            .collect()
    }
}

async fn send(tidegate: &Sidecar, number: usize, headers: &[(&str, &str)]) {
    let body =
        format!("{{\"id\":\"e{number}\",\"user\":\"ada\",\"lesson\":\"l{number}\",\"percent\":5}}");
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = tidegate.call(Method::POST, "/event", &headers, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

async fn changes(tidegate: &Sidecar, part: &str) -> u64 {
    tidegate
        .counter(&format!(
            "tidegate_fingerprint_changes_total{{part=\"{part}\"}}"
        ))
        .await
}

async fn warned(tidegate: &Sidecar) -> serde_json::Value {
    tidegate.admin(Method::GET, "/status").await.json()["changing_parts"].clone()
}

#[tokio::test]
async fn a_cookie_that_differs_at_every_call_is_named_by_the_metric_and_warned_about_once() {
    let (log, _guard) = Log::begin();
    let tidegate = Sidecar::start(&[BUILT_IN]).await;
    for number in 0..8 {
        let cookies = format!("sessionid=ada-1; _ga=GA1.{number}; lastseen=17000{number}");
        send(&tidegate, number, &[("cookie", &cookies)]).await;
    }
    assert_eq!(changes(&tidegate, "cookie:lastseen").await, 7);
    assert_eq!(
        changes(&tidegate, "cookie:sessionid").await + changes(&tidegate, "cookie:_ga").await,
        0
    );
    let warnings = log.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in [
        "cookie:lastseen",
        "identity.ignore",
        "identity.conditions",
        "identity.rolling",
    ] {
        assert!(warnings[0].contains(word), "{word}: {warnings:?}");
    }
    assert!(
        !warnings[0].contains("17000"),
        "values are never logged: {warnings:?}"
    );
    assert_eq!(
        warned(&tidegate).await,
        serde_json::json!(["cookie:lastseen"])
    );
}

#[tokio::test]
async fn a_header_that_differs_at_every_call_is_named_under_a_token_that_stays() {
    let (log, _guard) = Log::begin();
    let tidegate = Sidecar::start(&[BUILT_IN]).await;
    for number in 0..6 {
        let time = format!("{number}");
        send(
            &tidegate,
            number,
            &[("authorization", "Bearer ada"), ("x-client-time", &time)],
        )
        .await;
    }
    assert_eq!(changes(&tidegate, "header:x-client-time").await, 5);
    assert_eq!(log.warnings().len(), 1, "{:?}", log.warnings());
}

#[tokio::test]
async fn a_renewed_token_and_devices_that_take_turns_are_counted_and_not_warned_about() {
    let (log, _guard) = Log::begin();
    let tidegate = Sidecar::start(&[BUILT_IN]).await;
    // The token is renewed once, and after that two devices of the same make take turns.
    let tokens = ["a", "a", "b", "b", "c", "b", "c", "b", "c", "b"];
    for (number, token) in tokens.iter().enumerate() {
        let cookies = format!("tenant=t; token={token}");
        send(&tidegate, number, &[("cookie", &cookies)]).await;
    }
    assert_eq!(changes(&tidegate, "cookie:token").await, 7);
    assert_eq!(log.warnings(), Vec::<String>::new());
    assert_eq!(warned(&tidegate).await, serde_json::json!([]));
}

#[tokio::test]
async fn callers_that_share_nothing_but_a_users_name_are_no_change() {
    let (log, _guard) = Log::begin();
    let tidegate = Sidecar::start(&[BUILT_IN]).await;
    for number in 0..8 {
        let token = format!("Bearer {number}");
        send(&tidegate, number, &[("authorization", &token)]).await;
    }
    assert_eq!(changes(&tidegate, "header:authorization").await, 0);
    assert_eq!(log.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn names_that_callers_make_up_are_counted_as_other_beyond_a_bound_and_strangers_bring_in_half()
 {
    let (_log, _guard) = Log::begin();
    let tidegate = Sidecar::start(&[BUILT_IN]).await;
    for number in 0..80 {
        let name = format!("x-made-up-{number}");
        send(
            &tidegate,
            number,
            &[("authorization", "Bearer ada"), (&name, "1")],
        )
        .await;
    }
    assert_eq!(shown_headers(&tidegate).await, 32);
    assert_eq!(changes(&tidegate, "other").await, 79 - 32);
    // The application takes something of the same caller's.
    let good = [("authorization", "Bearer ada")];
    let sent = tidegate.call(Method::POST, "/snapshot", &good, "{}");
    assert_eq!(sent.await.status, StatusCode::OK);
    for number in 80..120 {
        let name = format!("x-made-up-{number}");
        let headers = [good[0], (&name, "1")];
        send(&tidegate, number, &headers).await;
    }
    assert_eq!(shown_headers(&tidegate).await, 64);
}

/// Headers that the metric names.
async fn shown_headers(tidegate: &Sidecar) -> usize {
    let metrics = tidegate.admin(Method::GET, "/metrics").await;
    let text = std::str::from_utf8(&metrics.body).unwrap();
    let shown = text
        .lines()
        .filter(|line| line.starts_with("tidegate_fingerprint_changes_total{part=\"header:"));
    shown.count()
}
