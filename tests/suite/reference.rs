//! The shipped configuration before the application that it is written for: what that application
//! would lose, refuse or doesn't have reaches it, and its own answer comes back.

use crate::replay::reference;
use crate::support::upstream::{Reply, answer};
use crate::support::{Answer, Sidecar};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

/// 2026-11-23T20:24:28Z, the moment of the recording.
const NOW: u64 = 1_795_465_468;
const USER: &str = "00000000-0000-0000-0000-000000000002";
const LESSON: &str = "/api/client/progress/lesson";
const COURSE: &str = "/api/client/progress/course";
const BATCH: &str = "/api/client/progress/batch";
const ANALYTICS: &str = "/api/analytics/events";
const ASSIGNMENT: &str = "/api/client/assignments/progress";

/// A token of the application; it doesn't matter who signed it.
fn bearer(more: &[(&str, Value)]) -> String {
    let mut claims = json!({ "userId": USER, "type": "access", "iat": NOW, "exp": NOW + 900 });
    for (name, value) in more {
        claims[*name] = value.clone();
    }
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "Bearer {}.{}.c2lnbmF0dXJl",
        part(&json!({ "alg": "HS256", "typ": "JWT" })),
        part(&claims)
    )
}

fn token() -> String {
    bearer(&[])
}

/// A call of a browser of that application, with these headers in place of the usual ones.
struct Call {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

fn call(path: &'static str, body: impl Into<Bytes>) -> Call {
    let headers = [
        ("host", "api.example.test".to_owned()),
        ("authorization", token()),
        ("cookie", "csrf_token=c".to_owned()),
        ("x-csrf-token", "c".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    Call {
        path,
        headers: headers.to_vec(),
        body: body.into(),
    }
}

impl Call {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    async fn send(&self, sidecar: &Sidecar) -> Answer {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        sidecar
            .call(Method::POST, self.path, &headers, self.body.clone())
            .await
    }
}

fn lesson(more: Value) -> String {
    let mut body = json!({
        "client_event_id": "e-1", "user_id": USER, "lesson_id": "l", "percent": 33, "status": "in_progress",
        "time_spent_s": 0, "resume_at_s": 1,
    });
    let (Value::Object(body), Value::Object(more)) = (&mut body, more) else {
        unreachable!()
    };
    body.extend(more);
    Value::from(body.clone()).to_string()
}

fn event(number: usize) -> Value {
    json!({ "clientEventId": format!("b-{number}"), "userId": USER, "lessonId": format!("l-{number}"), "percent": 1 })
}

fn batch(events: impl Iterator<Item = Value>) -> String {
    json!({ "events": events.collect::<Vec<_>>() }).to_string()
}

fn utf_16(text: &str) -> Bytes {
    text.encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<_>>()
        .into()
}

fn analytics(more: Value) -> String {
    let mut body = json!({
        "id": "evt_1", "user_id": USER, "org_id": "11111111-1111-4111-8111-111111111111", "course_id": "c",
        "lesson_id": "l", "event_type": "course_started", "payload": { "source": "player" },
    });
    let (Value::Object(body), Value::Object(more)) = (&mut body, more) else {
        unreachable!()
    };
    body.extend(more);
    Value::from(body.clone()).to_string()
}

/// A verdict that only the application gives.
fn verdict() -> Reply {
    let mut verdict = answer(418, json!({ "verdict": "the application's own" }));
    verdict
        .headers_mut()
        .insert("x-verdict", HeaderValue::from_static("own"));
    verdict
}

/// Each reaches the application as it came, and its answer comes back; nothing is kept.
async fn are_the_applications(calls: Vec<(&str, Call)>) {
    let sidecar = reference().await;
    sidecar.upstream.answer_with(|_| Some(verdict()));
    for (why, call) in calls {
        let before = sidecar.upstream.seen().len();
        let found = call.send(&sidecar).await;
        let name = format!(
            "{why}: {} {:?}",
            call.path,
            call.body.slice(..call.body.len().min(80))
        );
        assert_eq!(found.header("tidegate-forwarded"), why, "{name}: {found:?}");
        assert_eq!(
            (found.status.as_u16(), found.header("x-verdict")),
            (418, "own"),
            "{name}"
        );
        let seen = sidecar.upstream.seen().split_off(before);
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        assert_eq!(
            (&*seen[0].path, &seen[0].body),
            (call.path, &call.body),
            "{name}"
        );
        for (header, value) in call.headers {
            assert_eq!(seen[0].header(header), value, "{name}: {header}");
        }
    }
    assert_eq!(sidecar.running.ledger().received, 0, "none was kept");
}

#[tokio::test]
async fn what_the_applications_batch_would_lose_or_it_has_no_batch_for_goes_one_by_one() {
    let assignment =
        json!({ "client_event_id": "a-1", "user_id": USER, "course_id": "c", "percent": 5 })
            .to_string();
    are_the_applications(vec![
        ("mode", call(ANALYTICS, analytics(json!({})))),
        (
            "mode",
            call(
                ANALYTICS,
                analytics(json!({ "event_type": "lesson_started" })),
            ),
        ),
        (
            "mode",
            call(ANALYTICS, analytics(json!({ "payload": null }))),
        ),
        (
            "mode",
            call(ANALYTICS, analytics(json!({ "course_id": "" }))),
        ),
        (
            "client_batch",
            call("/api/analytics/events/batch", batch([event(1)].into_iter())),
        ),
        ("mode", call(ASSIGNMENT, assignment)),
        (
            "client_batch",
            call(
                "/api/client/assignments/progress/batch",
                batch([event(1)].into_iter()),
            ),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_the_application_takes_and_the_plans_limits_do_not_is_the_applications() {
    let day_and_more = (NOW - 25 * 3600) * 1000;
    let old = json!({ "clientEventId": "o", "userId": USER, "lessonId": "l", "percent": 1, "timestamp": day_and_more });
    let numeric = json!({ "clientEventId": 7, "userId": USER, "lessonId": "l", "percent": 1 });
    let large = |size: usize| batch([event(1), json!({ "pad": "x".repeat(size) })].into_iter());
    are_the_applications(vec![
        ("too_many_events", call(BATCH, batch((0..26).map(event)))),
        ("too_many_events", call(BATCH, batch((0..100).map(event)))),
        ("too_old", call(BATCH, batch([old].into_iter()))),
        (
            "too_old",
            call(LESSON, lesson(json!({ "timestamp": day_and_more }))),
        ),
        (
            "in_the_future",
            call(LESSON, lesson(json!({ "timestamp": (NOW + 360) * 1000 }))),
        ),
        ("wrong_type", call(BATCH, batch([numeric].into_iter()))),
        (
            "wrong_type",
            call(LESSON, lesson(json!({ "client_event_id": 7 }))),
        ),
        (
            "not_json",
            call(LESSON, utf_16(&lesson(json!({}))))
                .with("content-type", "application/json; charset=utf-16le"),
        ),
        ("too_large", call(BATCH, large(200 << 10))),
        ("too_large", call(BATCH, large(2 << 20))),
        (
            "too_large",
            call(LESSON, lesson(json!({ "note": "x".repeat(2 << 20) }))),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_the_application_refuses_is_refused_by_the_application() {
    let course =
        |id: &str| json!({ "client_event_id": "c-1", "course_id": id, "percent": 5 }).to_string();
    let snapshot = |course: &str, lessons: Value| {
        json!({ "course_id": course, "lessons": lessons }).to_string()
    };
    are_the_applications(vec![
        (
            "early_token",
            call(LESSON, lesson(json!({})))
                .with("authorization", bearer(&[("nbf", json!(NOW + 60))])),
        ),
        (
            "claim",
            call(LESSON, lesson(json!({})))
                .with("authorization", bearer(&[("type", json!("refresh"))])),
        ),
        (
            "expired_token",
            call(LESSON, lesson(json!({}))).with("authorization", bearer(&[("exp", json!(NOW))])),
        ),
        // A first try of ten seconds would end after it.
        (
            "token_ends",
            call(LESSON, lesson(json!({})))
                .with("authorization", bearer(&[("exp", json!(NOW + 9))])),
        ),
        ("missing_field", call(COURSE, course(""))),
        (
            "missing_field",
            call(LESSON, lesson(json!({ "lesson_id": "" }))),
        ),
        (
            "missing_field",
            call(LESSON, lesson(json!({ "user_id": null }))),
        ),
        (
            "forward_unless",
            call(
                "/api/learner/progress",
                snapshot("", json!([{ "lesson_id": "l" }])),
            ),
        ),
        (
            "forward_unless",
            call("/api/learner/progress", snapshot("c", Value::Null)),
        ),
        (
            "forbidden",
            call(LESSON, lesson(json!({})))
                .without("authorization")
                .with(
                    "cookie",
                    format!(
                        "csrf_token=c; access_token={}",
                        token().trim_start_matches("Bearer ")
                    ),
                )
                .with("x-org-id", "11111111-1111-4111-8111-111111111111"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_call_from_the_hosts_own_origin_is_answered_without_its_origin_being_listed() {
    let sidecar = reference().await;
    let own = call(LESSON, lesson(json!({}))).with("origin", "https://api.example.test");
    let found = own.send(&sidecar).await;
    assert_eq!(
        (found.status.as_u16(), found.header("tidegate-forwarded")),
        (200, ""),
        "{found:?}"
    );
    assert_eq!(found.json()["data"]["percent"], 33);
    let other = call(LESSON, lesson(json!({ "client_event_id": "e-2" })))
        .with("origin", "https://evil.example.test");
    assert_eq!(
        other.send(&sidecar).await.header("tidegate-forwarded"),
        "origin"
    );
    sidecar.running.stop().await;
}

#[tokio::test]
async fn an_administrators_read_of_a_user_is_as_new_as_that_users_last_event() {
    let sidecar = reference().await;
    let percent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(10));
    let shown = std::sync::Arc::clone(&percent);
    sidecar.upstream.answer_with(move |seen| {
        let percent = shown.load(std::sync::atomic::Ordering::SeqCst);
        (seen.method == Method::GET).then(|| answer(200, json!({ "percent": percent })))
    });
    let admin = bearer(&[("userId", json!("00000000-0000-0000-0000-000000000001"))]);
    let read = async || {
        let headers = [
            ("host", "api.example.test"),
            ("authorization", &*admin),
            ("cookie", "csrf_token=c"),
        ];
        let path = format!("/api/learner/progress?userId={USER}&lessonIds=l");
        let found = sidecar.call(Method::GET, &path, &headers, "").await;
        (
            found.json()["percent"].as_u64().unwrap(),
            found.header("cache-status").contains("hit"),
        )
    };
    assert_eq!([read().await, read().await], [(10, false), (10, true)]);
    percent.store(33, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        call(LESSON, lesson(json!({})))
            .send(&sidecar)
            .await
            .status
            .as_u16(),
        200
    );
    assert_eq!(read().await, (33, false));
    sidecar.running.stop().await;
}
