//! The upstream against what the real application was recorded to answer.

use super::census::{Calls, SERVICE, Sighting};
use super::store::{Store, Subject};
use super::{Options, Upstream, now_iso};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::time::Duration;

const USER: &str = "00000000-0000-0000-0000-000000000002";
const SERVICE_TOKEN: &str = "service-token-1";
const PAIR: [(&str, &str); 2] = [("cookie", "csrf_token=t1"), ("x-csrf-token", "t1")];

struct Browser {
    upstream: Upstream,
    client: Client<HttpConnector, Full<Bytes>>,
    bearer: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn cookies(&self) -> Vec<&str> {
        let lines = self
            .headers
            .get_all("set-cookie")
            .iter()
            .map(|line| line.to_str().unwrap());
        lines.map(|line| line.split('=').next().unwrap()).collect()
    }
}

impl Browser {
    async fn new() -> Self {
        let options = Options {
            speed: 1,
            token_life: Duration::from_secs(900),
            origins: vec!["https://lms.example.test".into()],
            latency: false,
            service_token: Some(SERVICE_TOKEN.into()),
        };
        let upstream = Upstream::start(options).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut browser = Self {
            upstream,
            client,
            bearer: String::new(),
        };
        let body = r#"{"email":"learner@example.test","password":"demo-pass-1"}"#;
        let answer = browser.call("POST", "/api/auth/login", &[], body).await;
        browser.bearer = format!("Bearer {}", answer.json()["accessToken"].as_str().unwrap());
        browser
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let uri = format!("http://{}{path}", self.upstream.address());
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-request-id", "rec");
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .client
            .request(request.body(body.to_owned().into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    async fn signed(&self, method: &str, path: &str, body: &str) -> Answer {
        let [cookie, header] = PAIR;
        self.call(
            method,
            path,
            &[cookie, header, ("authorization", &self.bearer)],
            body,
        )
        .await
    }
}

/// Times are never equal; that one is there is what counts.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let time =
                    ["updated_at", "last_accessed_at", "created_at"].contains(&name.as_str());
                *field = if time && field.is_string() {
                    "time".into()
                } else {
                    masked(field.take())
                };
            }
        }
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|element| *element = masked(element.take())),
        _ => {}
    }
    value
}

/// (method, path, body, status, answer), in the order of the recording: each sees what those before
/// it wrote.
const RECORDED: &[(&str, &str, &str, u16, &str)] = &[
    (
        "GET",
        "/api/learner/progress?courseId=foundations&lessonIds=lesson-video,lesson-quiz",
        "",
        200,
        r#"{"ok":true,"requestId":"rec","data":{"lessons":[{"lesson_id":"lesson-video","progress_percentage":0,"completed":false,"time_spent":0,"last_accessed_at":null},{"lesson_id":"lesson-quiz","progress_percentage":0,"completed":false,"time_spent":0,"last_accessed_at":null}]},"meta":{"mode":"demo","requestId":"rec"},"code":null,"message":null}"#,
    ),
    (
        "GET",
        "/api/client/progress/summary",
        "",
        200,
        r#"{"data":{"modulesCompleted":0,"modulesTotal":0,"overallPercent":0,"timeInvestedSeconds":0,"certificatesEarned":0,"streakDays":0},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/lesson",
        r#"{"client_event_id":"ev-1","user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-video","resume_at_s":185,"percent":33.5}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-video","percent":33.5,"status":"in_progress","time_spent_s":0,"resume_at_s":185,"updated_at":"time"},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/lesson",
        r#"{"client_event_id":"ev-1","user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-video","resume_at_s":400,"percent":80}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-video","percent":33.5,"status":"in_progress","time_spent_s":0,"resume_at_s":185,"updated_at":"time"},"idempotent":true,"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/lesson",
        r#"{"client_event_id":"ev-quiz-1","user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-quiz","percent":100,"status":"completed","time_spent_s":120,"resume_at_s":120}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-quiz","percent":100,"status":"completed","time_spent_s":120,"resume_at_s":120,"updated_at":"time"},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/API/client/progress/lesson/",
        r#"{"client_event_id":"ev-text-1","user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-text","percent":"55","status":"in_progress"}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","lesson_id":"lesson-text","percent":0,"status":"in_progress","time_spent_s":0,"resume_at_s":null,"updated_at":"time"},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/lesson",
        r#"{"user_id":"x","percent":5}"#,
        400,
        r#"{"error":"user_id and lesson_id are required","ok":false,"data":null,"code":"user_id and lesson_id are required","message":"user_id and lesson_id are required","meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/lesson",
        r#"{"user_id":"x","lesson_id":"#,
        400,
        r#"{"ok":false,"code":"internal_error","message":"Unexpected end of JSON input","requestId":"rec"}"#,
    ),
    (
        "POST",
        "/api/client/progress/course",
        r#"{"client_event_id":"ev-course-0","course_id":"foundations","percent":65,"status":"in-progress","time_spent_s":120}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","course_id":"foundations","percent":65,"status":"in-progress","time_spent_s":120,"updated_at":"time"},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/course",
        r#"{"user_id":"someone-else","course_id":"other-course","percent":3}"#,
        200,
        r#"{"data":{"user_id":"00000000-0000-0000-0000-000000000002","course_id":"other-course","percent":3,"status":"in_progress","time_spent_s":0,"updated_at":"time"},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "GET",
        "/api/client/progress/summary",
        "",
        200,
        r#"{"data":{"modulesCompleted":0,"modulesTotal":2,"overallPercent":34,"timeInvestedSeconds":120,"certificatesEarned":0,"streakDays":0},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/learner/progress",
        r#"{"user_id":"x","course_id":"foundations","lesson_ids":["lesson-video","lesson-quiz"],"lessons":[{"lesson_id":"lesson-video","progress_percent":62,"completed":false,"position_seconds":744,"last_accessed_at":"2026-11-23T20:00:00.000Z"},{"lesson_id":"lesson-quiz","progress_percent":100,"completed":true,"position_seconds":120,"last_accessed_at":"2026-11-23T20:00:00.000Z"}],"course":{"percent":33,"completed_at":null,"total_time_seconds":864,"last_lesson_id":"lesson-video"}}"#,
        202,
        r#"{"ok":true,"requestId":"rec","data":{"userId":"00000000-0000-0000-0000-000000000002","courseId":"foundations","updatedLessons":2},"meta":{"mode":"demo","requestId":"rec"},"code":null,"message":null}"#,
    ),
    (
        "POST",
        "/api/learner/progress",
        r#"{"user_id":"x","lessons":[]}"#,
        400,
        r#"{"ok":false,"code":"invalid_progress_payload","message":"Invalid progress snapshot payload","hint":null,"requestId":"rec","queryName":"learner_progress_snapshot","details":null,"data":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "GET",
        "/api/client/progress/summary",
        "",
        200,
        r#"{"data":{"modulesCompleted":0,"modulesTotal":2,"overallPercent":18,"timeInvestedSeconds":864,"certificatesEarned":0,"streakDays":0},"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[{"type":"lesson_progress","courseId":"foundations","lessonId":"lesson-video","userId":"00000000-0000-0000-0000-000000000002","percent":70.4,"position":845,"clientEventId":"b-1"},{"lessonId":"lesson-text","userId":"00000000-0000-0000-0000-000000000002","percent":130,"clientEventId":"b-2"},{"courseId":"foundations","userId":"00000000-0000-0000-0000-000000000002","percent":66,"status":"in_progress","time_spent_s":900,"clientEventId":"b-3"}]}"#,
        200,
        r#"{"accepted":["b-1","b-2","b-3"],"duplicates":[],"failed":[],"ok":true,"data":{"accepted":["b-1","b-2","b-3"],"duplicates":[],"failed":[]},"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "GET",
        "/api/learner/progress?lessonIds=lesson-video%2Clesson-quiz,lesson-text",
        "",
        200,
        r#"{"ok":true,"requestId":"rec","data":{"lessons":[{"lesson_id":"lesson-video","progress_percentage":70,"completed":false,"time_spent":0,"last_accessed_at":"time"},{"lesson_id":"lesson-quiz","progress_percentage":100,"completed":true,"time_spent":120,"last_accessed_at":"time"},{"lesson_id":"lesson-text","progress_percentage":100,"completed":false,"time_spent":0,"last_accessed_at":"time"}]},"meta":{"mode":"demo","requestId":"rec"},"code":null,"message":null}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[{"lessonId":"lesson-video","userId":"00000000-0000-0000-0000-000000000002","percent":1,"clientEventId":"b-1"},{"lesson_id":"lesson-quiz","user_id":"00000000-0000-0000-0000-000000000002","percent":1,"client_event_id":"ev-quiz-1"},{"lessonId":"lesson-video","userId":"00000000-0000-0000-0000-000000000002","percent":76,"clientEventId":"b-5"},{"lessonId":"lesson-video","userId":"00000000-0000-0000-0000-000000000002","percent":77,"clientEventId":"b-5"}]}"#,
        200,
        r#"{"accepted":["b-5"],"duplicates":["b-1","ev-quiz-1","b-5"],"failed":[],"ok":true,"data":{"accepted":["b-5"],"duplicates":["b-1","ev-quiz-1","b-5"],"failed":[]},"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[{"lessonId":"lesson-video","percent":1,"clientEventId":"b-6"},{"userId":"x","percent":1,"clientEventId":"b-7"},{"userId":"x","lessonId":"lesson-video","percent":78,"clientEventId":"b-8"}]}"#,
        200,
        r#"{"accepted":["b-8"],"duplicates":[],"failed":[{"id":"b-6","reason":"missing_user"},{"id":"b-7","reason":"missing_target"}],"ok":true,"data":{"accepted":["b-8"],"duplicates":[],"failed":[{"id":"b-6","reason":"missing_user"},{"id":"b-7","reason":"missing_target"}]},"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[]}"#,
        400,
        r#"{"error":"events array is required","ok":false,"data":null,"code":"events array is required","message":"events array is required","meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[{"userId":"x","lessonId":"lesson-text","percent":12,"clientEventId":"b-10"},null,{"userId":"x","lessonId":"lesson-text","percent":99,"clientEventId":"b-11"}]}"#,
        500,
        r#"{"error":"Unable to process batch","ok":false,"data":null,"code":"Unable to process batch","message":"Unable to process batch","meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/client/progress/batch",
        r#"{"events":[{"userId":"x","lessonId":"lesson-text","percent":12,"clientEventId":"b-10"},{"userId":"x","lessonId":"lesson-text","percent":99,"clientEventId":"b-11"}]}"#,
        200,
        r#"{"accepted":["b-11"],"duplicates":["b-10"],"failed":[],"ok":true,"data":{"accepted":["b-11"],"duplicates":["b-10"],"failed":[]},"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/analytics/events",
        r#"{"id":"evt_aaa","user_id":"u","org_id":"11111111-1111-4111-8111-111111111111","course_id":"foundations","lesson_id":"lesson-video","module_id":null,"event_type":"lesson_started","session_id":"s","user_agent":"Mozilla/5.0 (demo)","payload":{"source":"player","progress_percent":12}}"#,
        200,
        r#"{"ok":true,"data":{"status":"stored","stored":true,"missingOrgContext":false,"data":{"id":"evt_aaa","user_id":"u","org_id":"11111111-1111-4111-8111-111111111111","course_id":"foundations","lesson_id":"lesson-video","module_id":null,"event_type":"lesson_started","session_id":"s","user_agent":"Mozilla/5.0 (demo)","payload":{"source":"player","progress_percent":12},"client_event_id":"evt_aaa","created_at":"time"},"demo":true},"code":"analytics_event_stored","message":"Analytics event stored.","meta":null}"#,
    ),
    (
        "POST",
        "/api/analytics/events",
        r#"{"event_type":"video_watch","user_id":"u","payload":{}}"#,
        202,
        r#"{"ok":true,"data":{"status":"queued","stored":false,"missingOrgContext":true,"skipped":"missing_org"},"code":"analytics_event_queued","message":"Analytics event queued.","meta":null}"#,
    ),
    (
        "POST",
        "/api/analytics/events",
        r#"{"payload":{},"user_id":"u"}"#,
        400,
        r#"{"ok":false,"error":"ANALYTICS_PAYLOAD_INVALID","message":"Validation failed","details":[{"path":["event_type"],"message":"Required"}],"receivedKeys":["payload","user_id"],"data":null,"code":"ANALYTICS_PAYLOAD_INVALID","meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/analytics/events/batch",
        r#"{"events":[{"clientEventId":"evt_f","eventName":"page_view"},{"clientEventId":"evt_f","eventName":"page_view"}]}"#,
        201,
        r#"{"ok":true,"data":{"ingested":2},"code":"analytics_batch_ingested","message":"Analytics batch ingested.","meta":null}"#,
    ),
    (
        "POST",
        "/api/analytics/events/batch",
        r#"{"events":[{"clientEventId":"evt_h","eventName":"page_view"},{"eventName":"page_view"}]}"#,
        400,
        r#"{"ok":false,"data":null,"code":"analytics_batch_invalid","message":"Validation failed","meta":null,"details":[{"path":["events",1,"clientEventId"],"message":"clientEventId is required"}],"receivedKeys":["events"]}"#,
    ),
    (
        "POST",
        "/api/analytics/events/batch",
        r#"{"events":[{"clientEventId":"evt_i","eventName":"page_view","userId":null,"orgId":null,"courseId":null}]}"#,
        400,
        r#"{"ok":false,"data":null,"code":"analytics_batch_invalid","message":"Validation failed","meta":null,"details":[{"path":["events",0,"userId"],"message":"Expected string, received null"},{"path":["events",0,"orgId"],"message":"Expected string, received null"},{"path":["events",0,"courseId"],"message":"Expected string, received null"}],"receivedKeys":["events"]}"#,
    ),
    (
        "POST",
        "/api/analytics/events/batch",
        r#"{"events":[]}"#,
        400,
        r#"{"ok":false,"data":null,"code":"analytics_batch_invalid","message":"Validation failed","meta":null,"details":[{"path":["events"],"message":"Array must contain at least 1 element(s)"}],"receivedKeys":["events"]}"#,
    ),
    (
        "GET",
        "/api/learner/progress?courseId=foundations",
        "",
        400,
        r#"{"ok":false,"code":"lesson_ids_required","message":"lessonIds is required","hint":null,"requestId":"rec","queryName":"learner_progress_fetch","details":null,"data":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "GET",
        "/api/learner/progress?lessonIds=lesson-video&userId=another-user",
        "",
        403,
        r#"{"ok":false,"code":"forbidden","message":"You can only view your own progress.","hint":null,"requestId":"rec","queryName":"learner_progress_fetch","details":null,"data":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "GET",
        "/api/client/courses/nope",
        "",
        200,
        r#"{"data":null,"ok":true,"code":null,"message":null,"meta":{"requestId":"rec"}}"#,
    ),
    (
        "POST",
        "/api/auth/refresh",
        r#"{"refreshToken":"not-a-token"}"#,
        401,
        r#"{"error":"invalid_refresh_token","code":"invalid_refresh_token","message":"Refresh token is invalid or expired","ok":false,"data":null,"meta":{"requestId":"rec"}}"#,
    ),
];

#[tokio::test]
async fn the_upstream_answers_as_the_application_was_recorded_to() {
    let browser = Browser::new().await;
    for (method, path, body, status, recorded) in RECORDED {
        let answer = browser.signed(method, path, body).await;
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        assert_eq!(
            answer.status, *status,
            "{method} {path} {body}: {}",
            answer.body
        );
        assert_eq!(masked(answer.json()), recorded, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn a_call_is_refused_in_the_order_of_the_middleware() {
    let browser = Browser::new().await;
    let [cookie, header] = PAIR;
    let bearer = ("authorization", browser.bearer.as_str());
    let forged = ("authorization", "Bearer not.a.token");
    let evil = ("origin", "https://evil.example");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Headers<'_>, &str, u16, &str)] = &[
        (
            &[evil, bearer, cookie, header],
            "{",
            403,
            r#"{"ok":false,"error":"origin_not_allowed","message":"The requested origin is not allowed."}"#,
        ),
        (
            &[("origin", "null"), bearer],
            "{}",
            403,
            r#"{"ok":false,"error":"origin_not_allowed","message":"The requested origin is not allowed."}"#,
        ),
        (
            &[],
            "{",
            400,
            r#"{"ok":false,"code":"internal_error","message":"Unexpected end of JSON input","requestId":"rec"}"#,
        ),
        (
            &[bearer],
            "{}",
            403,
            r#"{"ok":false,"data":null,"code":"csrf_missing","message":"CSRF protection requires both cookie and header token","meta":null}"#,
        ),
        (
            &[bearer, cookie],
            "{}",
            403,
            r#"{"ok":false,"data":null,"code":"csrf_missing","message":"CSRF protection requires both cookie and header token","meta":null}"#,
        ),
        (
            &[cookie, ("x-csrf-token", "t2")],
            "{}",
            403,
            r#"{"ok":false,"data":null,"code":"csrf_mismatch","message":"CSRF token mismatch","meta":null}"#,
        ),
        (
            &[cookie, header],
            "{}",
            401,
            r#"{"error":"Authentication required","message":"No bearer token provided in the Authorization header","ok":false,"data":null,"code":"Authentication required","meta":{"requestId":"rec"}}"#,
        ),
        (
            &[cookie, header, forged],
            "{}",
            401,
            r#"{"error":"Authentication required","message":"Invalid or expired token","ok":false,"data":null,"code":"Authentication required","meta":{"requestId":"rec"}}"#,
        ),
    ];
    for (headers, body, status, recorded) in cases {
        let answer = browser
            .call("POST", "/api/client/progress/batch", headers, body)
            .await;
        assert_eq!(
            (answer.status, answer.json()),
            (*status, serde_json::from_str(recorded).unwrap()),
            "{headers:?}"
        );
    }
    assert_eq!(
        browser.upstream.census().look(|book| book.sightings.len()),
        0
    );
}

#[tokio::test]
async fn a_bad_bearer_is_not_rescued_by_a_good_cookie_but_another_scheme_is_ignored() {
    let browser = Browser::new().await;
    let cookies = format!(
        "csrf_token=t1; access_token={}",
        browser.bearer.strip_prefix("Bearer ").unwrap()
    );
    for (authorization, status) in [("bearer x.y.z", 401), ("Basic bGVhcm5lcjp4", 200)] {
        let headers = [
            ("cookie", cookies.as_str()),
            ("authorization", authorization),
        ];
        let answer = browser
            .call("GET", "/api/client/progress/summary", &headers, "")
            .await;
        assert_eq!(answer.status, status, "{authorization}");
    }
}

#[tokio::test]
async fn every_answer_wears_the_headers_of_its_stage() {
    let browser = Browser::new().await;
    let origin = ("origin", "HTTPS://lms.example.test");
    let bearer = ("authorization", browser.bearer.as_str());

    let read = browser
        .call("GET", "/api/client/progress/summary", &[origin, bearer], "")
        .await;
    for (name, value) in [
        ("access-control-allow-origin", "https://lms.example.test"),
        ("access-control-allow-credentials", "true"),
        (
            "access-control-expose-headers",
            "Content-Type, X-Request-Id, X-CSRF-Token, Set-Cookie",
        ),
        ("vary", "Origin"),
        ("x-request-id", "rec"),
        (
            "cache-control",
            "no-store, no-cache, must-revalidate, max-age=0",
        ),
        ("pragma", "no-cache"),
        ("x-frame-options", "SAMEORIGIN"),
        ("content-type", "application/json; charset=utf-8"),
    ] {
        assert_eq!(
            read.headers.get(name).map(|value| value.to_str().unwrap()),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(
        read.cookies(),
        ["csrf_token", "csrf_token"],
        "a first visit is given two"
    );

    let guarded = browser
        .call("POST", "/api/client/progress/lesson", &[bearer], "{}")
        .await;
    assert!(
        guarded.headers.get("cache-control").is_none()
            && guarded.headers.contains_key("x-frame-options")
    );
    let login = r#"{"email":"learner-3@example.test","password":"demo-pass-1"}"#;
    let login = browser.call("POST", "/api/auth/login", &[], login).await;
    assert_eq!(
        login.cookies(),
        ["csrf_token", "access_token", "refresh_token"]
    );
    assert!(login.headers.get("cache-control").is_none());
    let again = browser
        .call(
            "GET",
            "/api/client/progress/summary",
            &[PAIR[0], bearer],
            "",
        )
        .await;
    assert_eq!(
        (
            again.cookies().len(),
            again.headers.get("access-control-allow-origin")
        ),
        (0, None)
    );

    let preflight = browser
        .call("OPTIONS", "/api/client/progress/lesson", &[origin], "")
        .await;
    assert_eq!(
        (
            preflight.status,
            preflight
                .headers
                .contains_key("access-control-allow-methods")
        ),
        (204, true)
    );
    assert_eq!(
        browser
            .call("OPTIONS", "/api/client/progress/lesson", &[], "")
            .await
            .status,
        403
    );
    assert_eq!(browser.signed("GET", "/api/unknown", "").await.status, 404);
    assert_eq!(
        browser.call("GET", "/api/unknown", &[], "").await.status,
        401
    );
}

#[tokio::test]
async fn a_refresh_gives_a_pair_that_works() {
    let browser = Browser::new().await;
    let body = r#"{"email":"learner@example.test","password":"demo-pass-1"}"#;
    let login = browser
        .call("POST", "/api/auth/login", &[], body)
        .await
        .json();
    let body = json!({"refreshToken": login["refreshToken"]}).to_string();
    let pair = browser
        .call("POST", "/api/auth/refresh", &[], &body)
        .await
        .json();
    let bearer = format!("Bearer {}", pair["accessToken"].as_str().unwrap());
    let read = browser
        .call(
            "GET",
            "/api/client/progress/summary",
            &[("authorization", &bearer)],
            "",
        )
        .await;
    assert_eq!(
        (read.status, pair["user"]["userId"].as_str()),
        (200, Some(USER))
    );
    let swapped = format!("Bearer {}", login["refreshToken"].as_str().unwrap());
    let refused = browser
        .call(
            "GET",
            "/api/client/progress/summary",
            &[("authorization", &swapped)],
            "",
        )
        .await;
    assert_eq!(refused.status, 401, "a refresh token is no access token");
    let wrong = r#"{"email":"learner@example.test","password":"no"}"#;
    assert_eq!(
        browser
            .call("POST", "/api/auth/login", &[], wrong)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_ninth_single_of_a_user_in_one_moment_is_too_many() {
    let mut store = Store::default();
    let now = tokio::time::Instant::now();
    let mut take = |user, after| {
        store.within_rate(user, Subject::Lesson, 1, now + Duration::from_millis(after))
    };
    assert!((0..8).all(|_| take("a", 0)));
    assert!(!take("a", 0), "the bucket is empty");
    assert!(take("b", 0), "another user's isn't");
    assert!(take("a", 125) && !take("a", 125), "one more every 125 ms");
    assert!(
        store.within_rate("a", Subject::Course, 1, now),
        "courses have a bucket of their own"
    );
}

#[test]
fn times_are_written_as_the_application_writes_them() {
    let now = now_iso();
    let digits: String = now
        .chars()
        .map(|char| if char.is_ascii_digit() { '0' } else { char })
        .collect();
    assert_eq!(digits, "0000-00-00T00:00:00.000Z", "{now}");
}

#[tokio::test]
async fn batches_over_the_limits_are_refused_whole() {
    let browser = Browser::new().await;
    for (path, limit) in [
        ("/api/client/progress/batch", 100),
        ("/api/analytics/events/batch", 50),
    ] {
        let events = |count| {
            let event = |index| json!({"clientEventId": format!("{path}{index}"), "eventName": "p", "userId": USER, "lessonId": "x"});
            json!({"events": (0..count).map(event).collect::<Vec<_>>()}).to_string()
        };
        assert_eq!(
            browser
                .signed("POST", path, &events(limit + 1))
                .await
                .status,
            400
        );
        assert!(
            !browser
                .upstream
                .census()
                .look(|book| book.sightings.contains_key(&*format!("{path}0")))
        );
        assert!(browser.signed("POST", path, &events(limit)).await.status < 300);
    }
}

#[tokio::test]
async fn an_analytics_batch_keeps_every_field() {
    let browser = Browser::new().await;
    let event = r#"{"clientEventId":"e1","eventName":"lesson_started","userId":"u","orgId":"o","courseId":"c","lessonId":"l","moduleId":"m","sessionId":"s","userAgent":"a","payload":{"k":1}}"#;
    browser
        .signed(
            "POST",
            "/api/analytics/events/batch",
            &format!(r#"{{"events":[{event}]}}"#),
        )
        .await;
    let list = browser
        .signed("GET", "/api/analytics/events?limit=1", "")
        .await
        .json();
    let row = json!({
        "id": "e1", "client_event_id": "e1", "event_type": "lesson_started", "user_id": "u", "org_id": "o",
        "course_id": "c", "lesson_id": "l", "module_id": "m", "session_id": "s", "user_agent": "a",
        "payload": {"k": 1}, "created_at": "time",
    });
    assert_eq!(masked(list["data"][0].clone()), row);
}

#[tokio::test]
async fn the_census_knows_how_often_each_event_came_and_under_whose_token() {
    let browser = Browser::new().await;
    let lesson = |id: &str| {
        format!(r#"{{"client_event_id":"{id}","user_id":"{USER}","lesson_id":"l1","percent":5}}"#)
    };
    browser
        .signed("POST", "/api/client/progress/lesson", &lesson("p1"))
        .await;
    browser
        .signed("POST", "/api/client/progress/lesson", &lesson("p1"))
        .await;
    browser
        .signed("POST", "/api/client/progress/lesson", &lesson("p2"))
        .await;
    let batch = r#"{"events":[{"clientEventId":"a1","eventName":"x"}]}"#;
    browser
        .signed("POST", "/api/analytics/events/batch", batch)
        .await;
    browser
        .call("POST", "/api/analytics/events/batch", &PAIR, batch)
        .await;

    let census = browser.upstream.census();
    let (sightings, order) = census.look(|book| (book.sightings.clone(), book.order.clone()));
    let sighting = |offered, applied, tokens: &[&str], owner: &str| Sighting {
        offered,
        applied,
        tokens: tokens.iter().map(|user| (*user).into()).collect(),
        owners: vec![owner.into()],
    };
    assert_eq!(sightings["p1"], sighting(2, 1, &[USER], USER));
    assert_eq!(sightings["a1"], sighting(2, 2, &[USER, ""], ""));
    assert_eq!(
        order[&(USER.into(), "l1".into())],
        ["p1".into(), "p2".into()]
    );
    let calls = census.calls();
    assert_eq!(
        (
            calls.auth,
            calls.singles,
            calls.analytics_batches,
            calls.batched_events
        ),
        (1, 3, 2, 2)
    );
}

#[tokio::test]
async fn assignments_are_told_one_by_one_or_in_batches_and_kept_by_user_and_course() {
    let browser = Browser::new().await;
    let single = r#"{"client_event_id":"s1","user_id":"x","course_id":"c1","percent":40,"status":"in_progress"}"#;
    let record = json!({"user_id": USER, "course_id": "c1", "percent": 40, "status": "in_progress", "updated_at": "time"});
    for (repeated, expected) in [(false, json!(null)), (true, json!(true))] {
        let answer = browser
            .signed("POST", "/api/client/assignments/progress", single)
            .await;
        let body = masked(answer.json());
        assert_eq!(
            (answer.status, &body["data"], &body["idempotent"]),
            (200, &record, &expected),
            "{repeated}"
        );
    }
    let nowhere = browser
        .signed(
            "POST",
            "/api/client/assignments/progress",
            r#"{"percent":1}"#,
        )
        .await;
    assert_eq!(
        (nowhere.status, nowhere.json()["error"].as_str()),
        (400, Some("user_id and course_id are required"))
    );

    let batch = json!({"events": [
        {"clientEventId": "s1", "userId": USER, "courseId": "c1", "percent": 41},
        {"clientEventId": "b1", "userId": USER, "courseId": "c1", "lessonId": "l1", "percent": 100.4, "status": "completed"},
        {"client_event_id": "b2", "user_id": "other", "course_id": "c1", "percent": 7},
        {"clientEventId": "b3", "courseId": "c1"},
        {"clientEventId": "b4", "userId": USER, "lessonId": "l1"},
    ]});
    let answer = browser
        .signed(
            "POST",
            "/api/client/assignments/progress/batch",
            &batch.to_string(),
        )
        .await;
    let failed =
        json!([{"id": "b3", "reason": "missing_user"}, {"id": "b4", "reason": "missing_target"}]);
    let body = answer.json();
    assert_eq!(
        (
            answer.status,
            &body["accepted"],
            &body["duplicates"],
            &body["failed"]
        ),
        (200, &json!(["b1", "b2"]), &json!(["s1"]), &failed)
    );
    let kept = |user: &str| {
        let store = browser.upstream.shared.store.lock();
        store
            .find(Subject::Assignment, user, "c1")
            .map(|kept| (kept.percent.clone(), kept.completed()))
    };
    assert_eq!(
        (kept(USER), kept("other")),
        (Some((100.into(), true)), Some((7.into(), false)))
    );
    assert!(
        browser
            .upstream
            .shared
            .store
            .lock()
            .lesson(USER, "l1")
            .is_none(),
        "an assignment is no lesson"
    );

    for (headers, status) in [(&[][..], 403), (&PAIR[..], 401)] {
        let path = "/api/client/assignments/progress/batch";
        assert_eq!(
            browser
                .call("POST", path, headers, &batch.to_string())
                .await
                .status,
            status
        );
    }
    let census = browser.upstream.census();
    let order = census.look(|book| book.order.clone());
    assert_eq!(
        order[&(USER.into(), "c1".into())],
        ["s1".into(), "b1".into()]
    );
    let calls = census.calls();
    assert_eq!(
        calls,
        Calls {
            auth: 1,
            singles: 3,
            assignment_batches: 3,
            batched_events: 5,
            refusals: 3,
            ..calls
        }
    );
    assert_eq!((calls.batches(), calls.writes(), calls.work()), (3, 6, 6));
}

#[tokio::test]
async fn the_service_credential_speaks_for_the_users_that_its_events_name() {
    let browser = Browser::new().await;
    let bearer = format!("Bearer {SERVICE_TOKEN}");
    let service = [("authorization", bearer.as_str())];
    let event = |id: &str, user: &str| json!({"clientEventId": id, "eventName": "x", "userId": user, "courseId": "c1"});
    for path in ["progress", "assignments/progress"] {
        let events = json!({"events": [event(&format!("{path}-a"), "ada"), event(&format!("{path}-e"), "eve")]});
        let answer = browser
            .call(
                "POST",
                &format!("/api/client/{path}/batch"),
                &service,
                &events.to_string(),
            )
            .await;
        assert_eq!(
            (
                answer.status,
                answer.json()["accepted"].as_array().unwrap().len()
            ),
            (200, 2),
            "{path}"
        );
    }
    let events = json!({"events": [event("an-a", "ada"), event("an-e", "eve")]}).to_string();
    assert_eq!(
        browser
            .call("POST", "/api/analytics/events/batch", &service, &events)
            .await
            .status,
        201
    );
    let course = r#"{"client_event_id":"single","user_id":"ada","course_id":"c2","percent":5}"#;
    let answer = browser
        .call("POST", "/api/client/progress/course", &service, course)
        .await;
    assert_eq!(
        (answer.status, answer.json()["data"]["user_id"].as_str()),
        (200, Some("ada"))
    );
    let nobody = browser
        .call(
            "POST",
            "/api/client/progress/course",
            &service,
            r#"{"course_id":"c2"}"#,
        )
        .await;
    assert_eq!(nobody.status, 400);

    let sightings = browser
        .upstream
        .census()
        .look(|book| book.sightings.clone());
    for (id, owner) in [
        ("progress-a", "ada"),
        ("assignments/progress-e", "eve"),
        ("an-a", "ada"),
        ("an-e", "eve"),
        ("single", "ada"),
    ] {
        let Sighting { tokens, owners, .. } = &sightings[id];
        assert_eq!(
            (&**tokens, &**owners),
            (&[SERVICE.into()][..], &[owner.into()][..]),
            "{id}"
        );
    }
    for (near, status) in [
        (format!("{bearer}x"), 401),
        (format!("bearer {SERVICE_TOKEN}"), 401),
        (bearer, 200),
    ] {
        let headers = [PAIR[0], PAIR[1], ("authorization", near.as_str())];
        let events = json!({"events": [event("near", "ada")]}).to_string();
        let answer = browser
            .call("POST", "/api/client/progress/batch", &headers, &events)
            .await;
        assert_eq!(answer.status, status, "{near}");
    }
}

#[tokio::test]
async fn the_census_keeps_what_each_applied_snapshot_told() {
    let browser = Browser::new().await;
    let tell = async |user: &str, course: &str, seconds: u64| {
        let body = json!({
            "user_id": user, "course_id": course, "lesson_ids": [], "lessons": [],
            "course": {"percent": 1, "completed_at": null, "total_time_seconds": seconds, "last_lesson_id": null},
        });
        browser
            .signed("POST", "/api/learner/progress", &body.to_string())
            .await
            .status
    };
    let statuses = [
        tell(USER, "c1", 5).await,
        tell(USER, "c2", 9).await,
        tell("x", "c1", 4).await,
    ];
    assert_eq!(statuses, [202; 3]);
    browser
        .signed("POST", "/api/learner/progress", r#"{"course_id":"c1"}"#)
        .await;
    let census = browser.upstream.census();
    let (told, foreign) = census.look(|book| (book.snapshots.clone(), book.foreign_snapshots));
    assert_eq!(told[&(USER.into(), "c1".into())], [5, 4]);
    assert_eq!(
        (
            told[&(USER.into(), "c2".into())].as_slice(),
            told.len(),
            foreign
        ),
        (&[9][..], 2, 1)
    );
    assert_eq!((census.calls().snapshots, census.calls().refusals), (4, 1));
}
