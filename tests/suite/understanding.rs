//! P14: what isn't understood goes to the application as it came, after its caller's lanes, and is
//! counted by its reason; it is refused only where the group's `refuse` says so.

use crate::support::Sidecar;
use crate::support::calls::{BY_LISTS, EXPLAIN, bearer, body};
use crate::support::upstream::{Seen, answer};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};
use tidegate::ingest::accept::refusal::REFUSABLE;
use tokio::net::TcpStream;

const TOKEN: (&str, &str) = ("authorization", "Bearer t");

/// A call that isn't understood, and why not.
struct Odd {
    reason: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

fn odd(reason: &'static str, body: impl Into<Vec<u8>>) -> Odd {
    Odd {
        reason,
        path: "/event",
        headers: vec![("content-type", "application/json")],
        body: body.into(),
    }
}

impl Odd {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }

    fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }
}

fn at(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!(
        ",\"timestamp\":{}",
        i64::try_from(now.as_millis()).unwrap() + offset * 1000
    )
}

fn sound() -> Vec<u8> {
    body("u", "odd", "").into_bytes()
}

fn elements(count: usize) -> Vec<u8> {
    let of = |number| json!({ "clientEventId": format!("odd-{number}"), "userId": "u", "lessonId": "l" });
    json!({ "events": (0..count).map(of).collect::<Vec<_>>() })
        .to_string()
        .into_bytes()
}

/// Every kind of what isn't understood.
fn kinds() -> Vec<Odd> {
    let deep = format!(
        "{{\"id\":\"odd\",\"user\":\"u\",\"lesson\":{}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let wrapped = json!({ "api_key": "k", "events": [{ "clientEventId": "odd", "userId": "u", "lessonId": "l" }] });
    let two_users = json!({ "events": [
        { "clientEventId": "odd", "userId": "u", "lessonId": "l" },
        { "clientEventId": "odd", "userId": "other", "lessonId": "l" },
    ]});
    let form = "application/x-www-form-urlencoded";
    vec![
        odd("not_json", "no JSON"),
        odd("not_json", ""),
        odd("not_json", [b"\xef\xbb\xbf".as_slice(), &sound()].concat()),
        odd("not_json", [sound(), sound()].concat()),
        odd("not_json", [b"[".as_slice(), &sound(), b"]"].concat()),
        odd("not_json", "\"text\""),
        odd("not_json", "null"),
        odd("not_json", body("u", "odd", ",\"percent\":NaN")),
        odd(
            "not_json",
            b"{\"id\":\"odd\",\"user\":\"u\",\"lesson\":\"\xff\"}",
        ),
        odd("not_json", b"\x1f\x8b\x08\x00gzip without its header"),
        odd("not_json", deep),
        odd("not_json", "user=u&lesson=l").with("content-type", "application/json"),
        odd("unknown_coding", sound()).with("content-encoding", "lzma"),
        odd("unknown_coding", sound()).with("content-encoding", "gzip, br"),
        odd("bad_coding", sound()).with("content-encoding", "gzip"),
        odd(
            "too_large",
            body("u", "odd", &format!(",\"pad\":\"{}\"", "x".repeat(5_000))),
        ),
        odd(
            "too_large_for_batch",
            body("u", "odd", &format!(",\"pad\":\"{}\"", "x".repeat(2_000))),
        ),
        odd("missing_field", "{\"id\":\"odd\",\"user\":\"u\"}"),
        odd(
            "missing_field",
            "{\"id\":\"odd\",\"user\":\"u\",\"lesson\":null}",
        ),
        odd(
            "missing_field",
            "{\"id\":\"odd\",\"user\":\"u\",\"lesson\":\"\"}",
        ),
        odd("wrong_type", "{\"id\":7,\"user\":\"u\",\"lesson\":\"l\"}"),
        odd(
            "wrong_type",
            "{\"id\":[\"a\"],\"user\":\"u\",\"lesson\":\"l\"}",
        ),
        odd("bad_id", body("u", &"i".repeat(300), "")),
        odd("too_old", body("u", "odd", &at(-25 * 3600))),
        odd("too_old", body("u", "odd", ",\"timestamp\":1700000000")),
        odd("in_the_future", body("u", "odd", &at(6 * 60))),
        odd(
            "not_a_number",
            "{\"id\":\"odd\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":\"half\"}",
        ),
        odd(
            "other_content",
            "{\"id\":\"before\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":90}",
        ),
        odd("query", sound()).at("/event?dry_run=1"),
        odd("query", sound()).at("/event?userId=u&userId=v"),
        odd("not_asked_for", sound()).with("content-type", "text/plain"),
        odd("not_asked_for", "id=odd&user=u").with("content-type", form),
        // A page may send a body without a type to another site.
        odd("not_asked_for", sound())
            .with("content-type", "")
            .with("sec-fetch-site", "cross-site"),
        odd("proof", sound()).with("prefer", "resolution=merge-duplicates"),
        odd("proof", sound()).with("if-match", "\"1\""),
        odd("proof", sound()).with("if-none-match", "*"),
        odd("proof", sound()).with("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        odd("proof", sound()).with("range", "bytes=0-1"),
        odd("proof", sound()).with("x-http-method-override", "DELETE"),
        // Frameworks that look for it in forms look for it in JSON too.
        odd("proof", body("u", "odd", ",\"_method\":\"delete\"")),
        odd("origin", sound()).with("origin", "https://evil.example"),
        odd("not_json", "no JSON").at("/batch"),
        odd("unknown_wrapper", wrapped.to_string()).at("/batch"),
        odd("missing_field", "{\"events\":[]}").at("/batch"),
        odd(
            "missing_field",
            "{\"events\":[{\"clientEventId\":\"odd\",\"userId\":\"u\"}]}",
        )
        .at("/batch"),
        odd(
            "wrong_type",
            "{\"events\":[{\"clientEventId\":7,\"userId\":\"u\",\"lessonId\":\"l\"}]}",
        )
        .at("/batch"),
        odd("too_many_events", elements(5)).at("/batch"),
        odd(
            "too_large",
            json!({ "events": [{ "pad": "x".repeat(1_100) }] }).to_string(),
        )
        .at("/batch"),
        odd("other_user", two_users.to_string()).at("/batch"),
        odd("query", elements(1)).at("/batch?on_conflict=id"),
        odd("not_asked_for", elements(1))
            .at("/batch")
            .with("content-type", "text/plain"),
        odd("not_asked_for", elements(1))
            .at("/batch")
            .with("content-type", "")
            .with("sec-fetch-site", "cross-site"),
    ]
}

async fn start(refuse: &str) -> Sidecar {
    let bounds = (
        "[batch.progress]",
        "[limits]\nmax_body = \"4KiB\"\n[batch.progress]",
    );
    let refuse = format!("fallback = \"dead-letter\"\nrefuse = [{refuse}]");
    Sidecar::start(&[
        BY_LISTS,
        EXPLAIN,
        bounds,
        ("fallback = \"dead-letter\"", &refuse),
    ])
    .await
}

async fn send(sidecar: &Sidecar, call: &Odd) -> crate::support::Answer {
    let headers: Vec<_> = [TOKEN]
        .into_iter()
        .chain(call.headers.iter().copied())
        .collect();
    sidecar
        .call(Method::POST, call.path, &headers, call.body.clone())
        .await
}

fn shown(call: &Odd) -> String {
    let start = String::from_utf8_lossy(&call.body[..call.body.len().min(90)]);
    format!("{} {} {:?} {start}", call.reason, call.path, call.headers)
}

#[tokio::test]
async fn whatever_is_not_understood_is_forwarded_byte_for_byte_after_its_callers_lanes_and_counted()
{
    for call in kinds() {
        let sidecar = start("").await;
        sidecar.taken(&[TOKEN], "u", "before").await;
        let raw = call.body.clone();
        sidecar.upstream.answer_with(move |seen| {
            (seen.body == raw).then(|| answer(418, json!({ "own": "verdict" })))
        });
        let heard = send(&sidecar, &call).await;
        let shown = shown(&call);
        assert_eq!(
            (heard.status.as_u16(), heard.json()),
            (418, json!({ "own": "verdict" })),
            "{shown}"
        );
        assert_eq!(heard.header("tidegate-forwarded"), call.reason, "{shown}");
        assert_eq!(sidecar.declined(call.reason).await, 1, "{shown}");
        let seen = sidecar.upstream.seen();
        let [batch, odd] = seen.as_slice() else {
            panic!("{shown}: {seen:?}")
        };
        assert_eq!(batch.ids(), ["before"], "{shown}");
        assert_eq!(
            (&odd.method, odd.path.as_str(), &odd.body),
            (&Method::POST, call.path, &Bytes::from(call.body))
        );
        for (name, value) in call.headers {
            assert_eq!(odd.header(name), value, "{shown}");
        }
        // The caller's own verdict is no refusal of its later calls, which are answered at once
        // again.
        sidecar.taken(&[TOKEN], "u", "after").await;
    }
}

#[tokio::test]
async fn only_what_refuse_names_is_refused_and_nothing_of_it_reaches_the_application() {
    let mut told: Vec<_> = Vec::new();
    for call in kinds()
        .into_iter()
        .filter(|call| REFUSABLE.contains(&call.reason))
    {
        let sidecar = start(&format!("\"{}\"", call.reason)).await;
        let heard = send(&sidecar, &call).await;
        let shown = shown(&call);
        let wanted = match call.reason {
            "too_large" => 413,
            "unknown_coding" => 415,
            "too_old" | "in_the_future" => 422,
            _ => 400,
        };
        assert_eq!(
            (heard.status.as_u16(), heard.json()["code"].as_str()),
            (wanted, Some(call.reason)),
            "{shown}"
        );
        assert_eq!(
            heard.header("content-type"),
            "application/problem+json",
            "{shown}"
        );
        assert_eq!(sidecar.declined(call.reason).await, 1, "{shown}");
        assert_eq!(
            (
                sidecar.upstream.seen().len(),
                sidecar.running.ledger().received
            ),
            (0, 0),
            "{shown}"
        );
        told.push(call.reason);
    }
    // A missing id is made up where it isn't refused.
    let sidecar = start("\"missing_id\"").await;
    let heard = send(
        &sidecar,
        &odd("missing_id", "{\"user\":\"u\",\"lesson\":\"l\"}"),
    )
    .await;
    assert_eq!(
        (heard.status, heard.json()["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("missing_id"))
    );
    told.push("missing_id");
    let untold: Vec<_> = REFUSABLE
        .iter()
        .filter(|reason| !told.contains(reason))
        .collect();
    assert!(untold.is_empty(), "reasons without a case: {untold:?}");
}

#[tokio::test]
async fn a_member_that_only_looks_like_a_method_override_is_the_events() {
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN]).await;
    for (number, value) in ["\"POST\"", "\"post\"", "\"card\"", "7", "null"]
        .iter()
        .enumerate()
    {
        let body = body("u", &number.to_string(), &format!(",\"_method\":{value}"));
        let heard = sidecar.call(Method::POST, "/event", &[TOKEN], body).await;
        assert_eq!(heard.status, StatusCode::ACCEPTED, "{value} {heard:?}");
    }
}

#[tokio::test]
async fn an_acknowledgement_may_be_a_plain_text() {
    for (kind, wanted) in [
        ("text/plain; charset=utf-8", "ok \"u\""),
        ("application/json", "\"ok \\\"u\\\"\""),
        ("application/vnd.api+json", "\"ok \\\"u\\\"\""),
    ] {
        let ack = format!(
            "path = \"/event\"\nack = {{ status = 200, body = 'ok \"{{body.user}}\"', headers = {{ content-type = \"{kind}\" }} }}"
        );
        let sidecar = Sidecar::start(&[BY_LISTS, ("path = \"/event\"", &ack)]).await;
        let heard = sidecar.send(&[TOKEN], "u", "a").await;
        assert_eq!(heard.header("content-type"), kind);
        assert_eq!(String::from_utf8_lossy(&heard.body), wanted, "{kind}");
    }
}

#[tokio::test]
async fn content_types_that_a_route_does_not_list_are_forwarded() {
    let types = (
        "path = \"/event\"",
        "path = \"/event\"\ncontent_types = [\"application/json\"]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, types]).await;
    for kind in [
        "application/vnd.api+json",
        "text/plain",
        "application/jsonp",
        "",
    ] {
        let heard = sidecar
            .send(&[TOKEN, ("content-type", kind)], "u", "a")
            .await;
        assert_eq!(heard.header("tidegate-forwarded"), "content_type", "{kind}");
    }
    sidecar
        .taken(
            &[TOKEN, ("content-type", "Application/JSON; charset=utf-8")],
            "u",
            "a",
        )
        .await;
}

#[tokio::test]
async fn the_types_of_the_rule_that_a_body_meets_count_and_no_others() {
    // The second rule of the path takes all types, or another one.
    for of_others in ["", "content_types = [\"application/x-other\"]\n"] {
        let rules = format!(
            "match = {{ userId = [\"u\"] }}\ncontent_types = [\"application/json\"]\n\
             path = \"/event\"\nbatch = \"progress\"\n[[event]]\n{of_others}path = \"/event\""
        );
        let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, ("path = \"/event\"", &rules)]).await;
        let [json, other] =
            ["application/json", "application/x-other"].map(|kind| [TOKEN, ("content-type", kind)]);
        // Without a mapping the first rule takes events as they are.
        let event = json!({ "clientEventId": "a", "userId": "u", "lessonId": "l" }).to_string();
        let of_first = |headers| sidecar.call(Method::POST, "/event", headers, event.clone());
        let heard = of_first(&other).await;
        assert_eq!(heard.header("tidegate-forwarded"), "content_type");
        assert_eq!(of_first(&json).await.header("tidegate-event"), "a");
        sidecar.taken(&other, "v", "b").await;
    }
}

#[tokio::test]
async fn a_body_in_another_charset_than_utf_8_is_the_applications() {
    let refuse = (
        "fallback = \"dead-letter\"",
        "fallback = \"dead-letter\"\nrefuse = [\"not_json\"]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, refuse]).await;
    let latin = [TOKEN, ("content-type", "application/json; charset=latin1")];
    let heard = sidecar
        .call(
            Method::POST,
            "/event",
            &latin,
            b"{\"id\":\"\xe9\"}".to_vec(),
        )
        .await;
    assert_eq!(heard.header("tidegate-forwarded"), "not_json");
    let events = json!({ "events": [{ "clientEventId": "a", "userId": "u", "lessonId": "l" }] });
    let heard = sidecar
        .call(Method::POST, "/batch", &latin, events.to_string())
        .await;
    assert_eq!(heard.header("tidegate-forwarded"), "content_type");
    let types = [
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json; version=2; Charset=\"latin1\"",
        "application/json; charset=utf-8; charset=utf-16",
    ];
    for kind in types {
        let heard = sidecar
            .send(&[TOKEN, ("content-type", kind)], "u", "a")
            .await;
        assert_eq!(heard.header("tidegate-forwarded"), "content_type", "{kind}");
    }
    let types = [
        "application/json;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json;",
        "application/vnd.api+json; profile=x",
    ];
    for (number, kind) in types.into_iter().enumerate() {
        let headers = [TOKEN, ("content-type", kind)];
        sidecar.taken(&headers, "u", &format!("b{number}")).await;
    }
}

/// A batch has another address.
#[tokio::test]
async fn a_user_whom_only_the_address_names_is_no_other_users_event_in_a_batch() {
    let token = bearer(&json!({ "sub": "admin" }));
    let headers = [("authorization", token.as_str())];
    let lost = ("userId = \"{body.user}\"", "userId = \"{jwt.sub}\"");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, lost]).await;
    let post = |path, id| sidecar.call(Method::POST, path, &headers, body("any", id, ""));
    let other = post("/event?userId=ada", "a").await;
    assert_eq!(other.header("tidegate-forwarded"), "other_user");
    assert_eq!(sidecar.upstream.seen()[0].path, "/event?userId=ada");
    let own = post("/event?userId=admin", "b").await;
    assert_eq!(own.header("tidegate-event"), "b");
    // So does its path.
    let path = ("path = \"/event\"", "path = \"/users/{user}/event\"");
    let named = ("|query.userId}", "|path.user|'nobody'}");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, lost, path, named]).await;
    let post = |path, id| sidecar.call(Method::POST, path, &headers, body("any", id, ""));
    let other = post("/users/ada/event", "a").await;
    assert_eq!(other.header("tidegate-forwarded"), "other_user");
    // That a member has the same word says nothing.
    let padded = body("any", "a", ",\"pad\":\"ada\"");
    let other = sidecar.call(Method::POST, "/users/ada/event", &headers, padded);
    assert_eq!(other.await.header("tidegate-forwarded"), "other_user");
    let own = post("/users/admin/event", "b").await;
    assert_eq!(own.header("tidegate-event"), "b");
    // Whom the event names that isn't its user, and what is named without an address, is lost in none.
    let told = ("pad = \"{body.pad}\"", "learner = \"{path.user}\"");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, lost, told, path, named]).await;
    let post = |path, id| sidecar.call(Method::POST, path, &headers, body("any", id, ""));
    assert_eq!(
        post("/users/me/event", "a").await.header("tidegate-event"),
        "a"
    );
    let literal = ("|query.userId}", "|'nobody'}");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, lost, path, literal]).await;
    let post = |path, id| sidecar.call(Method::POST, path, &headers, body("any", id, ""));
    assert_eq!(
        post("/users/x/event", "a").await.header("tidegate-event"),
        "a"
    );
    // The event says so itself: what it is worth is for the application to say.
    let said = ("userId = \"{body.user}\"", "userId = \"{query.userId}\"");
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, said]).await;
    let other = sidecar
        .call(
            Method::POST,
            "/event?userId=ada",
            &headers,
            body("any", "a", ""),
        )
        .await;
    assert_eq!(other.header("tidegate-event"), "a", "{other:?}");
}

/// Sends a body frame by frame, without its length.
async fn stream(sidecar: &Sidecar, frames: Vec<Frame<Bytes>>) -> (StatusCode, String) {
    let stream = TcpStream::connect(sidecar.running.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
    let request = Request::post("/event")
        .header("host", sidecar.running.address.to_string())
        .header(TOKEN.0, TOKEN.1)
        .header("trailer", "x-sum")
        .body(StreamBody::new(frames))
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    body.collect().await.unwrap();
    let why = head
        .headers
        .get("tidegate-forwarded")
        .map_or("", |value| value.to_str().unwrap());
    (head.status, why.to_owned())
}

fn chunk(text: &str) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_streamed_after_its_callers_lanes() {
    let sidecar = start("").await;
    sidecar.taken(&[TOKEN], "u", "before").await;
    let text = body("u", "odd", &format!(",\"pad\":\"{}\"", "x".repeat(200_000)));
    let frames = text
        .as_bytes()
        .chunks(3_000)
        .map(|part| Frame::data(Bytes::copy_from_slice(part)))
        .collect();
    assert_eq!(
        stream(&sidecar, frames).await,
        (StatusCode::OK, "too_large".to_owned())
    );
    let seen = sidecar.upstream.seen();
    let [batch, odd] = seen.as_slice() else {
        panic!("{} calls", seen.len())
    };
    assert_eq!(
        (batch.ids(), odd.body == text),
        (vec!["before".to_owned()], true)
    );
    let refusing = start("\"too_large\"").await;
    let frames = text
        .as_bytes()
        .chunks(3_000)
        .map(|part| Frame::data(Bytes::copy_from_slice(part)))
        .collect();
    assert_eq!(
        stream(&refusing, frames).await,
        (StatusCode::PAYLOAD_TOO_LARGE, String::new())
    );
    assert_eq!(refusing.upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_body_with_trailers_is_forwarded_even_where_what_is_too_large_is_refused() {
    let sidecar = start("\"too_large\"").await;
    sidecar.taken(&[TOKEN], "u", "before").await;
    let text = body("u", "odd", "");
    let trailers = Frame::trailers(
        [("x-sum".parse().unwrap(), "1".parse().unwrap())]
            .into_iter()
            .collect(),
    );
    let (first, second) = text.split_at(10);
    let heard = stream(&sidecar, vec![chunk(first), chunk(second), trailers]).await;
    assert_eq!(heard, (StatusCode::OK, "trailers".to_owned()));
    assert_eq!(sidecar.declined("trailers").await, 1);
    let seen = sidecar.upstream.seen();
    let [batch, odd] = seen.as_slice() else {
        panic!("{} calls", seen.len())
    };
    assert_eq!(
        (batch.ids(), &odd.body[..]),
        (vec!["before".to_owned()], text.as_bytes())
    );
}

#[tokio::test]
async fn a_route_without_a_known_user_is_forwarded_after_all_lanes_of_its_caller() {
    let lax = (
        "require = [\"userId\", \"lessonId\"]",
        "require = [\"lessonId\"]",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, lax]).await;
    for user in ["ada", "bob"] {
        sidecar.taken(&[TOKEN], user, user).await;
    }
    let heard = sidecar
        .call(
            Method::POST,
            "/event",
            &[TOKEN],
            "{\"id\":\"odd\",\"lesson\":\"l\"}",
        )
        .await;
    assert_eq!(heard.header("tidegate-forwarded"), "no_user");
    let mut before: Vec<_> = sidecar.upstream.batches().concat();
    before.sort();
    assert_eq!(before, ["ada", "bob"]);
    assert_eq!(sidecar.upstream.seen().last().unwrap().path, "/event");
}

#[tokio::test]
async fn a_read_that_is_not_understood_is_never_answered_from_the_cache() {
    let sidecar = Sidecar::start(&[BY_LISTS]).await;
    let ends = |offset: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        json!({ "sub": "u", "exp": i64::try_from(now.as_secs()).unwrap() + offset })
    };
    let begins = json!({ "sub": "u", "nbf": 99_999_999_999u64 });
    let (good, ended, early) = (bearer(&ends(3_600)), bearer(&ends(-1)), bearer(&begins));
    let odd: [&[(&str, &str)]; 6] = [
        &[("authorization", &good), ("dpop", "proof")],
        &[("authorization", &good), ("signature", "sig1=:x:")],
        &[("authorization", "Digest username=\"u\", response=\"x\"")],
        &[("authorization", &good), ("authorization", "Bearer other")],
        &[("authorization", &ended)],
        &[("authorization", &early)],
    ];
    let path = "/progress?userId=u";
    for headers in odd {
        let before = sidecar.upstream.seen().len();
        for _ in 0..2 {
            let read = sidecar.call(Method::GET, path, headers, "").await;
            assert!(!read.header("cache-status").contains("hit"), "{headers:?}");
        }
        assert_eq!(sidecar.upstream.seen().len(), before + 2, "{headers:?}");
    }
    let plain = [("authorization", good.as_str())];
    for wanted in ["fwd=", "hit"] {
        let read = sidecar.call(Method::GET, path, &plain, "").await;
        assert!(
            read.header("cache-status").contains(wanted),
            "{}",
            read.header("cache-status")
        );
    }
}

/// What came in order, batches by their ids.
fn told(seen: &[Seen]) -> Vec<String> {
    let one = |seen: &Seen| match (
        seen.path.as_str(),
        serde_json::from_slice::<Value>(&seen.body),
    ) {
        ("/batch", Ok(body)) if body["events"].is_array() => seen.ids().join(" "),
        (path, _) => format!("{} {path}", seen.method),
    };
    seen.iter().map(one).collect()
}

#[tokio::test]
async fn a_call_that_is_not_understood_waits_out_the_upstreams_trouble_and_later_events_wait_for_it()
 {
    let sidecar = start("").await;
    sidecar
        .upstream
        .script([answer(503, json!({})), answer(503, json!({}))]);
    sidecar.taken(&[TOKEN], "u", "before").await;
    sidecar.upstream.hold_back(|seen| seen.path == "/event");
    let odd = odd("not_json", "no JSON");
    let odd = send(&sidecar, &odd);
    let meanwhile = async {
        sidecar
            .upstream
            .until(|seen| seen.iter().any(|one| one.path == "/event"))
            .await;
        for id in ["1", "2", "3", "4"] {
            sidecar.taken(&[TOKEN], "u", id).await;
        }
        assert_eq!(
            told(&sidecar.upstream.seen()),
            ["before", "before", "before", "POST /event"]
        );
        sidecar.upstream.open_gate();
    };
    let (odd, ()) = tokio::join!(odd, meanwhile);
    assert_eq!(odd.status, StatusCode::OK);
    sidecar.until(|ledger| ledger.accepted == 5).await;
    assert_eq!(
        told(&sidecar.upstream.seen())[3..],
        ["POST /event", "1 2 3 4"]
    );
}

/// Express and PHP decode cookies, Django doesn't; Node joins lines of a header, others take one.
#[tokio::test]
async fn what_of_a_head_is_not_read_alike_by_all_makes_no_member_of_an_event() {
    let mapped = (
        "pad = \"{body.pad}\"",
        "org = \"{cookie.org}\", app = \"{header.x-app}\"",
    );
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, mapped]).await;
    let odd: [&[(&str, &str)]; 6] = [
        &[("cookie", "org=a%7C1")],
        &[("cookie", "org=\"a\"")],
        &[("cookie", "org=a+b")],
        &[("cookie", "org=a; b=2; org=c")],
        &[("x-app", "1"), ("x-app", "2")],
        &[("x-app", "caf\u{e9}")],
    ];
    for headers in odd {
        let heard = sidecar.send(&[&[TOKEN], headers].concat(), "u", "a").await;
        let why = heard.header("tidegate-forwarded");
        assert_eq!(why, "ambiguous_head", "{headers:?}");
    }
    let plain = [
        TOKEN,
        ("cookie", "org=a-1; other=%7C; n=J\u{f6}rg"),
        ("x-app", "1, 2"),
    ];
    sidecar.taken(&plain, "u", "b").await;
    let batches = sidecar.delivered().await;
    let batch: Value = serde_json::from_slice(&batches.last().unwrap().body).unwrap();
    let event = &batch["events"][0];
    assert_eq!(
        (&event["org"], &event["app"]),
        (&json!("a-1"), &json!("1, 2"))
    );
}

/// What an alternative before it has found already, and what a single call brings itself, is not read.
#[tokio::test]
async fn what_of_a_head_is_not_looked_at_makes_no_call_ambiguous() {
    let mapped = (
        "pad = \"{body.pad}\"",
        "org = \"{header.x-org|cookie.org}\"",
    );
    let odd = [TOKEN, ("cookie", "org=a%7C1"), ("x-org", "o")];
    let sidecar = Sidecar::start(&[BY_LISTS, EXPLAIN, mapped]).await;
    sidecar.taken(&odd, "u", "a").await;
    let single = ("path = \"/batch\"\n", "form = \"single\"\n");
    let limits = ("max_events = 4\nmax_bytes = \"1KiB\"\n", "");
    let count = ("flush_at = 4\n", "");
    let fallback = ("fallback = \"dead-letter\"\n", "");
    let sidecar =
        Sidecar::start(&[BY_LISTS, EXPLAIN, mapped, single, limits, count, fallback]).await;
    sidecar.taken(&odd[..2], "u", "a").await;
}
