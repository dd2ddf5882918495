//! The dashboard: its page, and the live stream that feeds it.

use crate::support::process::catches_interrupts;
use crate::support::upstream::{answer, hang_up};
use crate::support::{Http, Sidecar, in_time};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tokio::sync::mpsc;

const MOST_LISTENERS: usize = 8;
const LONG_PAUSES: (&str, &str) = (
    "retry_server = { base = \"10ms\", cap = \"20ms\" }\nretry_limited = { base = \"10ms\", jitter = \
     \"5ms\" }",
    "retry_server = { base = \"1h\", cap = \"1h\" }\nretry_limited = { base = \"1h\", jitter = \
     \"5ms\" }",
);

/// An open live stream.
struct Stream {
    body: Incoming,
    text: String,
}

async fn ask_live(admin: SocketAddr) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let request = Request::get(format!("http://{admin}/live"));
    let answered = client.request(request.body(Empty::new()).unwrap()).await;
    answered.unwrap()
}

impl Stream {
    async fn open(admin: SocketAddr) -> Self {
        let response = ask_live(admin).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next event: its name and its data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        while !self.text.contains("\n\n") {
            let frame = in_time("a message", self.body.frame()).await?.ok()?;
            let data = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
        let (block, rest) = self.text.split_once("\n\n").unwrap();
        let (name, data) = block.split_once('\n').unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        self.text = rest.to_owned();
        Some((name, data))
    }

    /// Waits for a message that is as wanted.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let comes = async {
            loop {
                let (name, data) = self.next().await.unwrap();
                if name == "now" && wanted(&data) {
                    return data;
                }
            }
        };
        in_time("a message as wanted", comes).await
    }
}

/// The names of all members, those within as paths; of a list its first item's.
fn shape(value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| shape(value, &format!("{path}.{name}"), out)),
        Value::Array(items) if !items.is_empty() => shape(&items[0], &format!("{path}[]"), out),
        _ => out.push(path.trim_start_matches('.').to_owned()),
    }
}

#[tokio::test]
async fn the_page_and_its_files_come_with_a_policy_that_lets_in_nothing_from_elsewhere() {
    let sidecar = Sidecar::start(&[]).await;
    let page = sidecar.admin(Method::GET, "/").await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let mut paths: Vec<_> = text
        .split('"')
        .filter(|part| part.starts_with("/dashboard/"))
        .collect();
    assert!(paths.len() >= 3, "{paths:?}");
    paths.push("/");
    for path in paths {
        let found = sidecar.admin(Method::GET, path).await;
        assert_eq!(found.status, StatusCode::OK, "{path}");
        let policy = found.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{path}: {part} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        let kind = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(
            [
                found.header("content-type"),
                found.header("x-content-type-options"),
                found.header("referrer-policy"),
                found.header("cache-control"),
            ],
            [kind, "nosniff", "no-referrer", "no-store"],
            "{path}"
        );
    }
    let refused = sidecar.admin(Method::POST, "/").await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        sidecar.admin(Method::GET, "/dashboard/../x").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn no_page_of_another_site_hears_the_live_stream() {
    let sidecar = Sidecar::start(&[]).await;
    for (name, value, wanted) in [
        ("origin", "http://evil.test", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("host", "evil.test", StatusCode::MISDIRECTED_REQUEST),
    ] {
        for path in ["/", "/live", "/dashboard/main.js"] {
            let (http, headers) = (Http::default(), [(name, value)]);
            let asked = http.try_call(sidecar.running.admin, Method::GET, path, &headers, "");
            let answered = in_time("a refusal", asked).await.unwrap();
            assert_eq!(answered.status, wanted, "{path}, {name}");
        }
    }
}

#[tokio::test]
async fn the_first_messages_come_at_once_and_the_next_ones_tell_of_what_came_since() {
    let sidecar = Sidecar::start(&[]).await;
    let response = ask_live(sidecar.running.admin).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        [header("content-type"), header("cache-control")],
        ["text/event-stream", "no-store"]
    );
    let mut stream = Stream {
        body: response.into_body(),
        text: String::new(),
    };
    let (name, history) = stream.next().await.unwrap();
    assert_eq!((&*name, &history["most"]), ("history", &json!(720)));
    let (name, now) = stream.next().await.unwrap();
    assert_eq!(name, "now");
    assert_eq!(
        (&now["totals"]["acknowledged"], &now["upstream"]["state"]),
        (&json!(0), &json!("unknown"))
    );
    for id in ["a", "b", "c", "d"] {
        sidecar.event("t", "ann", id).await;
    }
    let now = stream.until(|now| now["minute"]["requests"] == 1).await;
    let minute = &now["minute"];
    assert_eq!(
        (&minute["acknowledged"], &minute["saving"]),
        (&json!(4), &json!(4.0))
    );
    assert!(minute["ack_p50_us"].as_f64().unwrap() <= minute["ack_p99_us"].as_f64().unwrap());
    assert_eq!(now["upstream"]["state"], "up");
    let sampled = stream.until(|now| !now["sample"].is_null()).await;
    let of_sample = ["at", "ms", "acknowledged", "forwarded", "requests"];
    assert!(
        of_sample
            .iter()
            .all(|name| sampled["sample"][*name].is_u64()),
        "{sampled}"
    );
    // A page that is opened now shows what was before.
    let (_, history) = Stream::open(sidecar.running.admin)
        .await
        .next()
        .await
        .unwrap();
    assert_eq!(history["samples"][0], sampled["sample"]);
}

#[tokio::test]
async fn a_message_has_these_members_and_no_others() {
    let sidecar = Sidecar::start(&[]).await;
    let mut stream = Stream::open(sidecar.running.admin).await;
    let mut found = Vec::new();
    shape(&stream.until(|_| true).await, "", &mut found);
    let wanted = "at cache.bypasses cache.bytes cache.hits cache.misses cache.stored \
        dead_letters.deaths dead_letters.dropped dead_letters.kept dead_letters.oldest_ms draining durability \
        groups[].circuit groups[].closed_ms groups[].lanes.backoff groups[].lanes.credential groups[].lanes.gate \
        groups[].lanes.in_flight groups[].lanes.open groups[].lanes.order groups[].name groups[].oldest_ms \
        groups[].pending groups[].singles journal.disk_low journal.failing journal.max_bytes ledger.accepted \
        ledger.dead ledger.duplicate ledger.pending ledger.received ledger.superseded minute.ack_p50_us \
        minute.ack_p99_us minute.acknowledged minute.cache.bypasses minute.cache.hits minute.cache.misses \
        minute.forwarded minute.ms minute.refused minute.requests minute.saving pending.bytes pending.events \
        pending.oldest_ms routes[].allow routes[].configured.mode routes[].configured.rollout routes[].deny \
        routes[].method routes[].mode routes[].name routes[].path routes[].rollout routes[].route routes[].set \
        sample schema totals.acknowledged totals.forwarded totals.in_flight totals.refused totals.requests \
        upstream.since_ms upstream.state upstream.url uptime_ms version";
    // An empty object has no members: nothing has failed.
    found.sort();
    assert_eq!(
        found.join("\n"),
        wanted.split_whitespace().collect::<Vec<_>>().join("\n")
    );
}

#[tokio::test]
async fn listeners_beyond_the_eighth_are_refused_until_one_leaves() {
    let sidecar = Sidecar::start(&[]).await;
    let mut open = Vec::new();
    for _ in 0..MOST_LISTENERS {
        open.push(Stream::open(sidecar.running.admin).await);
    }
    let refused = ask_live(sidecar.running.admin).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let text = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"8 streams are open"), "{text:?}");
    drop(open.pop());
    let again = async {
        while ask_live(sidecar.running.admin).await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    in_time("a place that is free again", again).await;
}

#[tokio::test]
async fn the_stream_tells_of_the_drain_and_ends_with_it() {
    let sidecar = Sidecar::start(&[]).await;
    let mut stream = Stream::open(sidecar.running.admin).await;
    sidecar.event("t", "ann", "a").await;
    sidecar.upstream.close_gate();
    let stopping = tokio::spawn(sidecar.running.stop());
    let draining = stream.until(|now| now["draining"] == true).await;
    assert_eq!(draining["ledger"]["pending"], 1);
    sidecar.upstream.open_gate();
    while stream.next().await.is_some() {}
    assert_eq!(in_time("the stop", stopping).await.unwrap().pending, 0);
}

#[tokio::test]
async fn held_lanes_are_told_with_what_holds_them() {
    for (status, held) in [
        (401, "credential"),
        (429, "gate"),
        (503, "backoff"),
        (0, "backoff"),
    ] {
        let network = (
            "retry_network = [\"10ms\", \"20ms\"]",
            "retry_network = [\"1h\"]",
        );
        let sidecar = Sidecar::start(&[LONG_PAUSES, network]).await;
        sidecar.upstream.answer_with(move |seen| {
            let reply = if status == 0 {
                hang_up()
            } else {
                answer(status, json!({}))
            };
            (seen.path == "/batch").then_some(reply)
        });
        let mut stream = Stream::open(sidecar.running.admin).await;
        sidecar.event("t", "ann", "a").await;
        let now = stream
            .until(|now| now["groups"][0]["lanes"]["open"] == 1)
            .await;
        assert_eq!(now["groups"][0]["pending"], 1);
        sidecar.flush().await;
        let now = stream
            .until(|now| {
                let failed = now["minute"]["failed"].as_object().unwrap();
                now["groups"][0]["lanes"][held] == 1 && !failed.is_empty()
            })
            .await;
        let group = &now["groups"][0];
        assert_eq!(
            (&group["pending"], &group["lanes"]["open"]),
            (&json!(1), &json!(0)),
            "{held}"
        );
        assert!(group["oldest_ms"].is_u64());
        let reach = if status == 0 { "down" } else { "up" };
        assert_eq!(now["upstream"]["state"], reach, "{status}");
        let failed: u64 = now["minute"]["failed"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert!(failed >= 1, "{now}");
    }
}

#[tokio::test]
async fn a_lane_behind_a_forwarded_call_is_told_as_held_by_the_order() {
    let sidecar = Sidecar::start(&[]).await;
    let mut stream = Stream::open(sidecar.running.admin).await;
    sidecar
        .upstream
        .hold_back(|seen| seen.path.starts_with("/snapshot"));
    let http = Http::default();
    let headers = [("authorization", "t")];
    let path = "/snapshot?userId=ann";
    let snapshot = http.try_call(sidecar.running.address, Method::POST, path, &headers, "{}");
    let meanwhile = async {
        sidecar
            .upstream
            .until(|seen| seen.iter().any(|call| call.path == path))
            .await;
        sidecar.event("t", "ann", "a").await;
        sidecar.flush().await;
        let held = stream
            .until(|now| now["groups"][0]["lanes"]["order"] == 1)
            .await;
        assert_eq!(held["groups"][0]["pending"], 1);
        sidecar.upstream.open_gate();
    };
    let (answered, ()) = tokio::join!(snapshot, meanwhile);
    assert_eq!(answered.unwrap().status, StatusCode::OK);
    stream.until(|now| now["pending"]["events"] == 0).await;
}

#[tokio::test]
async fn nothing_of_a_body_an_id_a_user_or_a_credential_is_in_the_stream() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.path == "/batch").then(|| answer(422, json!({ "why": "answer-text" })))
    });
    let more = ",\"pad\":\"body-text\"";
    sidecar
        .post("token-text", "user-text", "id-text", more)
        .await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 1).await;
    sidecar
        .post("token-text", "user-text", "id-text-2", more)
        .await;
    let mut stream = Stream::open(sidecar.running.admin).await;
    let (_, history) = stream.next().await.unwrap();
    let now = stream.until(|now| now["dead_letters"]["kept"] == 1).await;
    assert_eq!(now["dead_letters"]["deaths"], 1);
    let text = format!("{history}{now}");
    for secret in [
        "token-text",
        "user-text",
        "id-text",
        "body-text",
        "answer-text",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
    let newest = sidecar.admin(Method::GET, "/dead-letters?newest=5").await;
    assert_eq!(newest.json()[0]["id"], "id-text");
}

#[tokio::test]
async fn the_newest_dead_letters_are_listed_on_demand() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    for id in ["a", "b", "c"] {
        sidecar.event("t", "ann", id).await;
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.dead == 3).await;
    let ids = async |path: &str| {
        let found = sidecar.admin(Method::GET, path).await.json();
        let letters = found.as_array().unwrap().iter();
        letters
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("/dead-letters").await, ["a", "b", "c"]);
    assert_eq!(ids("/dead-letters?newest=2").await, ["b", "c"]);
    assert_eq!(ids("/dead-letters?newest=9").await, ["a", "b", "c"]);
    let wrong = sidecar.admin(Method::GET, "/dead-letters?newest=x").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

/// Ends with the test.
struct Demo(std::process::Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_demo_says_where_its_dashboard_is_and_keeps_it_after_the_report() {
    let arguments = "demo --learners 2 --duration 1s --fast --json --keep";
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments.split(' ')).stdin(Stdio::null());
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut demo = Demo(spawned.unwrap());
    let (told, mut addresses) = mpsc::unbounded_channel();
    let said = BufReader::new(demo.0.stderr.take().unwrap());
    // Its thread ends with the demo's stderr.
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if let Some(rest) = line.strip_prefix("dashboard    http://") {
                let (address, rest) = rest.split_once('/').unwrap();
                let address: SocketAddr = address.parse().unwrap();
                drop(told.send((address, rest.to_owned())));
            }
        }
    });
    for wanted in ["", ", until Ctrl-C"] {
        let (address, rest) = in_time("an address", addresses.recv()).await.unwrap();
        assert_eq!(rest, wanted);
        assert!(catches_interrupts(demo.0.id()));
        let http = Http::default();
        let page = http
            .try_call(address, Method::GET, "/", &[], "")
            .await
            .unwrap();
        assert_eq!(page.status, StatusCode::OK);
    }
    let process = demo.0.id().to_string();
    let asked = Command::new("kill").args(["-INT", &process]).status();
    assert!(asked.unwrap().success());
    let mut line = String::new();
    demo.0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut line)
        .unwrap();
    assert!(demo.0.wait().unwrap().success(), "{line}");
    let report: Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(report["lost"], 0);
}
