//! What the process says: a line for each thing, numbers as numbers, nothing secret, and little.

use crate::support::process::Process;
use crate::support::upstream::{FakeUpstream, answer, hang_up};
use crate::support::{Answer, CONFIG, Http, in_time};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A sidecar in a process of its own, whose log is heard.
struct Logged {
    process: Process,
    upstream: FakeUpstream,
    client: Http,
    _directory: tempfile::TempDir,
}

impl Logged {
    /// [`CONFIG`] with this `[log]`, and lines replaced.
    async fn start(log: &str, filter: Option<&str>, replace: &[(&str, &str)]) -> Self {
        let upstream = FakeUpstream::start().await;
        let directory = tempfile::tempdir().unwrap();
        let mut text = CONFIG.replace("UPSTREAM", &upstream.address.to_string());
        for (from, to) in replace {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let config = directory.path().join("config.toml");
        std::fs::write(&config, format!("{text}\n[log]\n{log}")).unwrap();
        let arguments = ["--log", "json"];
        Self {
            process: Process::start_with_log(&config, filter, &arguments),
            upstream,
            client: Http::default(),
            _directory: directory,
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let called =
            self.client
                .try_call(self.process.address, method, path, headers, body.to_owned());
        called.await.unwrap()
    }

    async fn event(&self, id: &str, more: &str) -> Answer {
        let body = format!(r#"{{"id":"{id}","user":"u","lesson":"l"{more}}}"#);
        let headers = [
            ("authorization", "Bearer t"),
            ("content-type", "application/json"),
            ("x-request-id", id),
        ];
        self.call(Method::POST, "/event", &headers, &body).await
    }

    /// The lines so far, as JSON.
    fn lines(&self) -> Vec<Value> {
        let said = self.process.said();
        let lines = said.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The first line that is wanted, when it is there.
    async fn until_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                if let Some(line) = self.lines().into_iter().find(|line| wanted(line)) {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time(what, found).await
    }
}

fn says(line: &Value, message: &str) -> bool {
    line["fields"]["message"] == message
}

#[tokio::test]
async fn nothing_that_is_secret_is_in_the_log_or_the_access_log() {
    let logged = Logged::start(
        "access = true",
        Some("info,tidegate=trace"),
        &[("fallback = \"dead-letter\"", "fallback = \"single\"")],
    )
    .await;
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let answers = Arc::clone(&turn);
    logged.upstream.answer_with(
        move |seen| match answers.fetch_add(1, Ordering::SeqCst) % 7 {
            0 => Some(hang_up()),
            1 => Some(answer(500, json!({ "said": "MARKER-ANSWER" }))),
            2 => Some(answer(401, json!({}))),
            3 => Some(answer(422, json!({ "error": "MARKER-ANSWER" }))),
            4 => Some(answer(404, json!({}))),
            5 if seen.path == "/batch" => Some(answer(
                200,
                json!({ "failed": [{ "id": "x", "reason": "MARKER-ANSWER" }] }),
            )),
            _ => None,
        },
    );
    let headers = [
        ("authorization", "Bearer MARKER-TOKEN"),
        ("cookie", "session=MARKER-COOKIE"),
        ("x-secret", "MARKER-HEADER"),
        ("content-type", "application/json"),
    ];
    for round in 0..12 {
        let body = format!(
            r#"{{"id":"e{round}","user":"u","lesson":"MARKER-BODY","status":"completed"}}"#
        );
        let calls = [
            (Method::POST, "/event", body.as_str()),
            (Method::POST, "/event?key=MARKER-QUERY", body.as_str()),
            (Method::POST, "/event", "MARKER-NO-JSON"),
            (Method::POST, "/snapshot?key=MARKER-QUERY", body.as_str()),
            (Method::GET, "/progress?userId=u&key=MARKER-QUERY", ""),
            (Method::GET, "/other?key=MARKER-QUERY", ""),
            (Method::PUT, "/other?key=MARKER-QUERY", body.as_str()),
        ];
        for (method, path, body) in calls {
            let called = logged.client.try_call(
                logged.process.address,
                method,
                path,
                &headers,
                body.to_owned(),
            );
            // Whatever is answered.
            drop(called.await);
        }
    }
    logged.process.until_said("\"kind\":\"delivery\"").await;
    let access = logged.lines();
    assert!(access.iter().any(|line| line["kind"] == "call"));
    let said = logged.process.said();
    assert!(said.contains("tidegate::"), "the log is on: {said}");
    let line = said.lines().find(|line| line.contains("MARKER"));
    assert_eq!(line, None);
}

#[tokio::test]
async fn an_access_line_says_what_was_done_with_the_call_and_why() {
    let logged = Logged::start("access = true", Some("off"), &[]).await;
    let event = logged.event("e1", r#","status":"completed""#).await;
    assert_eq!(event.status, StatusCode::ACCEPTED);
    let of = |id: &'static str| move |line: &Value| line["request_id"] == id;
    let line = logged.until_line("the event's line", of("e1")).await;
    assert_eq!(line["decision"], "acknowledged");
    assert_eq!(line["event"], "e1");
    assert_eq!(line["route"], "/event");
    assert_eq!(line["status"], 202);
    assert!(line["received"].is_u64() && line["sent"].is_u64() && line["own_us"].is_u64());
    assert_eq!(line["upstream_us"], Value::Null);
    let delivery = logged
        .until_line("the delivery's line", |line| line["kind"] == "delivery")
        .await;
    assert_eq!(delivery["calls"], 1);
    assert_eq!(delivery["result"], "answered");
    assert_eq!(delivery["group"], "progress");

    let again = logged.event("e1", r#","status":"completed""#).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    let duplicate = |line: &Value| line["decision"] == "duplicate";
    logged.until_line("the repetition's line", duplicate).await;
    let headers = |id| [("authorization", "Bearer t"), ("x-request-id", id)];
    logged
        .call(Method::POST, "/event?a=1", &headers("f1"), "{}")
        .await;
    let line = logged.until_line("a forwarded call's line", of("f1")).await;
    assert_eq!(line["decision"], "forwarded");
    assert_eq!(line["reason"], "query");
    assert_eq!(line["path"], "/event");
    assert!(line["upstream_us"].is_u64());
    for (id, reason) in [("r1", "uri-miss"), ("r2", "hit")] {
        logged
            .call(Method::GET, "/progress?userId=u", &headers(id), "")
            .await;
        let read = move |line: &Value| line["request_id"] == id;
        let line = logged.until_line("a read's line", read).await;
        assert_eq!(line["decision"], "read");
        assert_eq!(line["reason"], reason);
    }
    logged
        .call(Method::GET, "/elsewhere", &headers("o1"), "")
        .await;
    let line = logged.until_line("another call's line", of("o1")).await;
    assert_eq!(line["reason"], "no_route");
}

#[tokio::test]
async fn a_sample_of_the_access_log_is_drawn_by_request_ids() {
    let logged = Logged::start("access = true\nsample = 0.5", Some("off"), &[]).await;
    for round in 0..2 {
        for number in 0..40 {
            let id = format!("r{number}");
            let headers = [("x-request-id", id.as_str())];
            logged
                .call(Method::GET, &format!("/{round}"), &headers, "")
                .await;
        }
    }
    // Its last lines are written before a process ends.
    let said = logged.process.heard();
    let (code, _) = logged.process.terminate();
    assert_eq!(code, Some(0));
    let said = said.lock().unwrap().clone();
    let ids = |round: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.starts_with('{'));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["path"] == round)
            .map(|line| line["request_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let drawn = ids("/0");
    assert!((5..35).contains(&drawn.len()), "{}", drawn.len());
    assert_eq!(drawn, ids("/1"));
}

#[tokio::test]
async fn an_outage_is_one_line_when_it_begins_and_one_when_it_is_over() {
    let logged = Logged::start("", None, &[]).await;
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    logged
        .upstream
        .answer_with(move |_| down.load(Ordering::SeqCst).then(hang_up));
    for number in 0..8 {
        logged
            .event(&number.to_string(), r#","status":"completed""#)
            .await;
        logged.call(Method::POST, "/elsewhere", &[], "").await;
    }
    logged
        .until_line("the outage's line", |line| {
            says(line, "the application is down")
        })
        .await;
    logged
        .upstream
        .until(|seen| seen.iter().filter(|seen| seen.path == "/batch").count() >= 10)
        .await;
    is_down.store(false, Ordering::SeqCst);
    let back = logged
        .until_line("its end", |line| says(line, "the application is back"))
        .await;
    assert!(back["fields"]["attempts"].as_u64().unwrap() >= 10);
    assert!(back["fields"]["outage_ms"].is_u64());
    let lines = logged.lines();
    let count = |message| lines.iter().filter(|line| says(line, message)).count();
    assert_eq!(count("the application is down"), 1);
    assert_eq!(count("the application is back"), 1);
    // Those before it was one.
    assert_eq!(count("the application gave no answer"), 2);
    // And "tidegate serves".
    assert!(lines.len() <= 5, "{lines:?}");
}

#[tokio::test]
async fn an_event_takes_less_than_40_bytes_of_the_log_while_all_is_well() {
    let logged = Logged::start("", None, &[]).await;
    for number in 0..100 {
        let answer = logged.event(&format!("e{number}"), "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    logged
        .upstream
        .until(|seen| seen.iter().filter(|seen| seen.path == "/batch").count() == 25)
        .await;
    let said = logged.process.heard();
    logged.process.terminate();
    let bytes = said.lock().unwrap().len();
    assert!(bytes < 40 * 100, "{bytes} bytes: {}", said.lock().unwrap());
}

#[tokio::test]
async fn the_log_has_its_level_from_the_configuration_and_nothing_of_a_librarys_insides() {
    let logged = Logged::start("level = \"trace\"", None, &[]).await;
    logged.event("e1", r#","status":"completed""#).await;
    let batch = logged
        .until_line("a batch's line", |line| says(line, "batch"))
        .await;
    for field in ["took_ms", "events", "lanes", "retries"] {
        assert!(batch["fields"][field].is_u64(), "{field}: {batch}");
    }
    for line in logged.lines() {
        let target = line["target"].as_str().unwrap_or("tidegate");
        assert!(target.starts_with("tidegate"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_holds_no_long_text_of_a_call_and_counts_what_was_taken() {
    let logged = Logged::start("access = true", Some("off"), &[]).await;
    let path = format!("/{}", "é".repeat(4_000).replace('é', "%C3%A9"));
    let id = "i".repeat(200);
    let headers = [("x-request-id", &*id)];
    logged.call(Method::GET, &path, &headers, "").await;
    let line = logged
        .until_line("the call's line", |line| line["request_id"] == *id)
        .await;
    let shown = line["path"].as_str().unwrap();
    assert!(shown.len() < 1_100 && shown.ends_with('…'), "{shown}");
    // An answer whose length is known, of which its client takes little.
    let long = vec![b'x'; 24 << 20];
    logged.upstream.answer_with(move |seen| {
        (seen.path == "/long").then(|| Response::new(Full::new(long.clone().into())))
    });
    let mut client = TcpStream::connect(logged.process.address).await.unwrap();
    client
        .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\nx-request-id: long\r\n\r\n")
        .await
        .unwrap();
    client.read_exact(&mut [0; 1_000]).await.unwrap();
    drop(client);
    let line = logged
        .until_line("the long answer's line", |line| {
            line["request_id"] == "long"
        })
        .await;
    assert!(line["sent"].as_u64().unwrap() < 24 << 20, "{line}");
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_told_of() {
    let logged = Logged::start("", Some("tidegate=debgu"), &[]).await;
    logged
        .until_line("what was wrong", |line| {
            line["fields"]["found"] == "tidegate=debgu" && line["level"] == "ERROR"
        })
        .await;
}
