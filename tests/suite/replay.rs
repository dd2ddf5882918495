//! Every recorded exchange of the reference application, replayed through the shipped
//! configuration.
//!
//! The upstream answers as recorded. What is forwarded must arrive and come back unchanged, but for
//! the headers that a proxy must touch; what is acknowledged must have the recorded status and the
//! same JSON keys and types. Every deviation stands in [`ALLOWED`] with its reason, and one that no
//! longer occurs fails the test.

use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};
use tidegate::clock::Clock;

/// 2026-11-23T20:24:28Z: tokens and timestamps of the recording are of that moment.
const RECORDED_AT: u64 = 1_795_465_468;

/// Deviations: exchange, JSON pointer or aspect, reason.
const ALLOWED: &[(&str, &str, &str)] = &[(
    "db-lesson-ok",
    "/data/course_id",
    "only the database profile has the key; the configuration is for the in-memory one",
)];

/// What Tidegate answers itself, in the order of the recording.
const ACKNOWLEDGED: [&str; 13] = [
    "lesson-ok",
    "lesson-no-event-id",
    "lesson-completed-status",
    "lesson-cookie-auth",
    "course-ok",
    "course-no-user-id",
    "snapshot-ok",
    "progress-batch-ok-camel",
    "progress-batch-ok-snake",
    "progress-batch-retry-after-poison",
    "lesson-allowed-origin",
    "csrf-self-made-pair",
    "db-lesson-ok",
];

/// What of the declared paths the application answers, and why, in the order of the recording.
const FORWARDED: [(&str, &str); 47] = [
    ("lesson-duplicate-id", "other_content"),
    ("lesson-percent-as-string", "not_a_number"),
    ("lesson-missing-lesson-id", "missing_field"),
    ("lesson-missing-user-id", "missing_field"),
    ("lesson-malformed-json", "not_json"),
    ("lesson-text-plain", "content_type"),
    ("lesson-other-user-in-memory", "other_user"),
    ("lesson-rate-limited", "other_user"),
    ("lesson-no-token", "requirement"),
    ("lesson-expired-token", "expired_token"),
    ("lesson-bad-bearer-good-cookie", "several_tokens"),
    ("course-role-header-only", "requirement"),
    ("course-duplicate-id", "other_content"),
    ("course-missing-course-id", "missing_field"),
    ("snapshot-invalid", "forward_unless"),
    ("progress-batch-duplicates", "other_content"),
    ("progress-batch-partial-failure", "missing_field"),
    ("progress-batch-empty", "missing_field"),
    ("progress-batch-too-many", "too_many_events"),
    ("progress-batch-poison-event", "not_json"),
    ("progress-batch-no-token", "requirement"),
    ("analytics-single-stored", "mode"),
    ("analytics-single-duplicate", "mode"),
    ("analytics-single-pii", "mode"),
    ("analytics-single-missing-org", "mode"),
    ("analytics-single-invalid", "mode"),
    ("analytics-single-bad-token", "requirement"),
    ("analytics-single-anonymous", "requirement"),
    ("analytics-batch-ok", "client_batch"),
    ("analytics-batch-duplicate", "client_batch"),
    ("analytics-batch-plan-shape", "client_batch"),
    ("analytics-batch-one-bad-event", "client_batch"),
    ("analytics-batch-null-fields", "client_batch"),
    ("analytics-batch-empty", "client_batch"),
    ("analytics-batch-too-many", "client_batch"),
    ("analytics-batch-anonymous", "requirement"),
    ("lesson-denied-origin", "origin"),
    ("csrf-missing", "requirement"),
    ("csrf-mismatch", "double_submit"),
    ("csrf-missing-progress-batch", "requirement"),
    ("db-lesson-duplicate-id", "other_content"),
    ("db-lesson-foreign-user", "other_user"),
    ("db-progress-batch-missing-org", "missing_field"),
    ("db-progress-batch-ok", "other_user"),
    ("db-progress-batch-store-failure", "missing_field"),
    ("db-progress-batch-too-large", "missing_field"),
    ("db-analytics-batch-non-uuid-id", "client_batch"),
];

struct Exchange {
    name: String,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    status: u16,
    reply_headers: HeaderMap,
    reply: String,
}

fn lines(headers: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (name, value) in headers.as_object().unwrap() {
        match value {
            Value::Array(all) => out.extend(
                all.iter()
                    .map(|one| (name.clone(), one.as_str().unwrap().to_owned())),
            ),
            one => out.push((name.clone(), one.as_str().unwrap().to_owned())),
        }
    }
    out
}

fn exchanges() -> Vec<Exchange> {
    let text = include_str!("../data/legacy-exchanges.jsonl");
    let parsed = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let (request, response) = (&line["request"], &line["response"]);
        let mut reply_headers = HeaderMap::new();
        for (name, value) in lines(&response["headers"]) {
            reply_headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(&value).unwrap(),
            );
        }
        Exchange {
            name: line["name"].as_str().unwrap().to_owned(),
            method: request["method"].as_str().unwrap().parse().unwrap(),
            path: request["path"].as_str().unwrap().to_owned(),
            headers: lines(&request["headers"]),
            body: request["body"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
                .into(),
            status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
            reply_headers,
            reply: response["body"].as_str().unwrap_or_default().to_owned(),
        }
    });
    parsed.collect()
}

impl Exchange {
    /// As recorded, with the framing that the recorded body needs (some bodies were shortened).
    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.reply.clone()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        *response.headers_mut() = self.reply_headers.clone();
        response.headers_mut().remove("content-length");
        response.headers_mut().remove("transfer-encoding");
        response
    }

    async fn send(&self, sidecar: &Sidecar) -> Answer {
        let headers = self
            .headers
            .iter()
            .filter(|(name, _)| name != "content-length");
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        sidecar
            .call(self.method.clone(), &self.path, &headers, self.body.clone())
            .await
    }
}

/// Headers that a proxy adds or owns.
const TOUCHED: [&str; 9] = [
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "content-length",
    "cache-status",
    "transfer-encoding",
    "tidegate-forwarded",
];

fn compare_headers(name: &str, wanted: &HeaderMap, found: &HeaderMap) {
    let keys: BTreeSet<_> = wanted
        .keys()
        .chain(found.keys())
        .map(HeaderName::as_str)
        .collect();
    for key in keys.into_iter().filter(|key| !TOUCHED.contains(key)) {
        let all = |map: &HeaderMap| map.get_all(key).iter().cloned().collect::<Vec<_>>();
        assert_eq!(all(wanted), all(found), "{name}: header {key}");
    }
}

/// Where two documents differ in keys or types.
fn shape(wanted: &Value, found: &Value, at: &str, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for key in wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
                let here = format!("{at}/{key}");
                match (wanted.get(key), found.get(key)) {
                    (Some(wanted), Some(found)) => shape(wanted, found, &here, out),
                    _ => out.push(here),
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            if let (Some(wanted), Some(found)) = (wanted.first(), found.first()) {
                shape(wanted, found, &format!("{at}/0"), out);
            }
        }
        _ if std::mem::discriminant(wanted) == std::mem::discriminant(found) => {}
        _ => out.push(at.to_owned()),
    }
}

fn arrived<'a>(seen: &'a [Seen], exchange: &Exchange) -> Option<&'a Seen> {
    // A batch of Tidegate's own carries an idempotency key; a forwarded call does not.
    seen.iter().find(|one| {
        one.path == exchange.path
            && one.method == exchange.method
            && one.header("idempotency-key").is_empty()
    })
}

/// What became of a call.
struct Outcome {
    kind: &'static str,
    /// Of a forwarded event call: the reason.
    why: String,
    /// Everything in which it deviates from the recording.
    deviations: Vec<String>,
}

/// Plays one exchange.
async fn replay(sidecar: &Sidecar, exchange: &Exchange) -> Outcome {
    let before = sidecar.upstream.seen().len();
    let recorded = (
        exchange.method.clone(),
        exchange.path.clone(),
        exchange.status,
        exchange.response(),
    );
    sidecar.upstream.answer_with(move |seen| {
        if seen.header("idempotency-key").is_empty()
            && (&seen.method, &seen.path) == (&recorded.0, &recorded.1)
        {
            return Some(recorded.3.clone());
        }
        let ids: Vec<Value> = serde_json::from_slice::<Value>(&seen.body).ok()?["events"]
            .as_array()?
            .iter()
            .map(|event| event["clientEventId"].clone())
            .collect();
        Some(answer(
            200,
            json!({ "accepted": ids, "duplicates": [], "failed": [] }),
        ))
    });
    let found = exchange.send(sidecar).await;
    let seen = sidecar.upstream.seen().split_off(before);
    let mut deviations = Vec::new();
    if let Some(call) = arrived(&seen, exchange) {
        let sent: HeaderMap = exchange
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        compare_headers(&exchange.name, &sent, &call.headers);
        assert_eq!(
            call.body, exchange.body,
            "{}: the body arrives as it was sent",
            exchange.name
        );
        assert_eq!(found.status.as_u16(), exchange.status, "{}", exchange.name);
        compare_headers(&exchange.name, &exchange.reply_headers, &found.headers);
        assert_eq!(
            found.body, exchange.reply,
            "{}: the answer comes back as it was given",
            exchange.name
        );
        return Outcome {
            kind: "forwarded",
            why: found.header("tidegate-forwarded").to_owned(),
            deviations,
        };
    }
    assert_ne!(
        found.header("content-type"),
        "application/problem+json",
        "{}: P14: {found:?}",
        exchange.name
    );
    assert_eq!(
        found.status.as_u16(),
        exchange.status,
        "{}: {found:?}",
        exchange.name
    );
    shape(
        &serde_json::from_str(&exchange.reply).unwrap(),
        &found.json(),
        "",
        &mut deviations,
    );
    for name in [
        "vary",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "x-request-id",
        "content-type",
    ] {
        let wanted = exchange
            .reply_headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap());
        assert_eq!(
            found.header(name),
            wanted,
            "{}: header {name}",
            exchange.name
        );
    }
    let hit = found.header("cache-status").contains("hit");
    Outcome {
        kind: if hit {
            "read from the cache"
        } else {
            "acknowledged"
        },
        why: String::new(),
        deviations,
    }
}

/// The shipped configuration at the moment of the recording; it says why it forwards.
pub async fn reference() -> Sidecar {
    let text = include_str!("../../config.toml")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("127.0.0.1:8888", "UPSTREAM")
        .replace("# explain = true ", "explain = true ")
        .replace("barrier = \"500ms\"", "barrier = \"5s\"");
    Sidecar::with(
        &text,
        Clock::from_fn(|| UNIX_EPOCH + Duration::from_secs(RECORDED_AT)),
    )
    .await
}

#[tokio::test]
async fn every_recorded_exchange_comes_out_as_recorded() {
    let sidecar = reference().await;
    let mut left: BTreeSet<_> = ALLOWED
        .iter()
        .map(|(name, what, _)| (*name, *what))
        .collect();
    let mut wrong = Vec::new();
    let (mut acknowledged, mut forwarded) = (Vec::new(), Vec::new());
    for exchange in exchanges() {
        let Outcome {
            kind,
            why,
            deviations,
        } = replay(&sidecar, &exchange).await;
        if kind == "acknowledged" {
            acknowledged.push(exchange.name.clone());
        } else if !why.is_empty() {
            forwarded.push((exchange.name.clone(), why));
        }
        for deviation in deviations {
            let known = ALLOWED
                .iter()
                .find(|(name, what, _)| *name == exchange.name && *what == deviation);
            match known {
                Some((name, what, _)) => drop(left.remove(&(*name, *what))),
                None => wrong.push(format!("{} ({kind}): {deviation}", exchange.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(left.is_empty(), "allowed, but did not occur: {left:?}");
    assert_eq!(acknowledged, ACKNOWLEDGED);
    let forwarded: Vec<_> = forwarded
        .iter()
        .map(|(name, why)| (&**name, &**why))
        .collect();
    assert_eq!(forwarded, FORWARDED);
    let ledger = sidecar.running.stop().await;
    assert!(ledger.balances() && ledger.pending == 0, "{ledger}");
}

/// Contract §12 (2, 3): calls whose verdict is the application's, with what it says to them.
const SECURITY: [(&str, u16, &str); 9] = [
    ("csrf-missing", 403, "requirement"),
    ("csrf-mismatch", 403, "double_submit"),
    ("csrf-missing-progress-batch", 403, "requirement"),
    ("lesson-denied-origin", 403, "origin"),
    ("lesson-no-token", 401, "requirement"),
    ("lesson-expired-token", 401, "expired_token"),
    ("lesson-bad-bearer-good-cookie", 401, "several_tokens"),
    ("db-lesson-foreign-user", 403, "other_user"),
    ("get-first-visit-no-csrf-cookie", 200, ""),
];

#[tokio::test]
async fn the_security_cases_get_the_applications_own_verdict() {
    let sidecar = reference().await;
    for exchange in exchanges() {
        let Some((_, status, reason)) = SECURITY.iter().find(|(name, ..)| *name == exchange.name)
        else {
            continue;
        };
        let Outcome { kind, why, .. } = replay(&sidecar, &exchange).await;
        assert_eq!(
            (kind, exchange.status, &*why),
            ("forwarded", *status, *reason),
            "{}",
            exchange.name
        );
    }
    assert_eq!(
        sidecar.running.ledger().received,
        0,
        "none of them was kept"
    );
}
