//! What `tidegate learn` proposes, of the reference application's recorded exchanges and of others.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use tidegate::config::{Config, parse};
use tidegate::migration::learn::{Exchange, Options, Proposal, Reason, propose, read_har};
use tidegate::template::{Found, Lookup, Source};

/// One entry of a HAR file.
struct Entry(Value);

fn call(method: &str, url: &str, status: u16) -> Entry {
    Entry(json!({
        "startedDateTime": "2026-11-23T20:24:28.000Z",
        "request": { "method": method, "url": url, "headers": [] },
        "response": { "status": status, "headers": [], "content": { "size": 0 } },
    }))
}

impl Entry {
    fn header(mut self, name: &str, value: &str) -> Self {
        let pair = json!({ "name": name, "value": value });
        self.0["request"]["headers"]
            .as_array_mut()
            .unwrap()
            .push(pair);
        self
    }

    fn answer_header(mut self, name: &str, value: &str) -> Self {
        let pair = json!({ "name": name, "value": value });
        self.0["response"]["headers"]
            .as_array_mut()
            .unwrap()
            .push(pair);
        self
    }

    fn text(mut self, kind: &str, text: &str) -> Self {
        self.0["request"]["postData"] = json!({ "mimeType": kind, "text": text });
        self
    }

    fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    fn answer(mut self, body: &Value) -> Self {
        let text = body.to_string();
        self.0["response"]["content"] = json!({ "size": text.len(), "text": text });
        self.answer_header("Content-Type", "application/json")
    }
}

fn har(entries: Vec<Entry>) -> String {
    let entries: Vec<_> = entries.into_iter().map(|entry| entry.0).collect();
    json!({ "log": { "version": "1.2", "entries": entries } }).to_string()
}

fn read(text: &str) -> Vec<Exchange> {
    read_har(text.as_bytes()).unwrap()
}

pub(crate) fn checked(proposal: &Proposal) -> Config {
    parse(&proposal.toml, "proposal", std::iter::empty())
        .unwrap_or_else(|problems| panic!("{problems}\n{}", proposal.toml))
}

fn learned(entries: Vec<Entry>) -> (Vec<Exchange>, Proposal) {
    let exchanges = read(&har(entries));
    let proposal = propose(&exchanges, &Options::default());
    checked(&proposal);
    (exchanges, proposal)
}

pub(crate) fn has(proposal: &Proposal, lines: &[&str]) {
    for line in lines {
        assert!(
            proposal.toml.lines().any(|known| known.starts_with(line)),
            "{line}\nis not in\n{}",
            proposal.toml
        );
    }
}

fn mode(proposal: &Proposal, route: &str) -> Option<bool> {
    let found = proposal.events.iter().find(|event| event.route == route)?;
    Some(found.on)
}

fn reason(proposal: &Proposal, route: &str) -> Option<Reason> {
    let found = proposal
        .not_proposed
        .iter()
        .find(|one| one.route == route)?;
    Some(found.reason)
}

/// A token of the recorded form; it doesn't matter who signed it.
pub(crate) fn token(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2lnbmF0dXJl",
        part(&json!({ "alg": "HS256" })),
        part(claims)
    )
}

/// What a call says, as raw JSON by dotted path.
struct Said(BTreeMap<String, String>);

impl Said {
    fn of(exchange: &Exchange) -> Self {
        let mut said = Self(BTreeMap::new());
        said.add("body", &body_of(&exchange.body).unwrap_or_default());
        for (name, value) in &exchange.headers {
            said.add(&format!("header.{name}"), &json!(value));
        }
        for (name, value) in &exchange.query {
            said.add(&format!("query.{name}"), &json!(value));
        }
        let bearer = exchange
            .headers
            .iter()
            .find(|(name, _)| name == "authorization");
        let claims = bearer.and_then(|(_, value)| value.split('.').nth(1));
        if let Some(bytes) = claims.and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok()) {
            said.add("jwt", &serde_json::from_slice(&bytes).unwrap());
        }
        for (name, value) in [
            ("now.ms", json!(1_795_465_468_000_u64)),
            ("now.iso", json!("2026-11-23T20:24:28.000Z")),
            ("uuid", json!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
            ("request_id", json!("r-1")),
        ] {
            said.add(name, &value);
        }
        said
    }

    fn add(&mut self, path: &str, value: &Value) {
        for (name, member) in value.as_object().into_iter().flatten() {
            self.add(&format!("{path}.{name}"), member);
        }
        if let Some(all) = value.as_array() {
            self.add(&format!("{path}.length"), &json!(all.len()));
        }
        self.0.insert(path.to_owned(), value.to_string());
    }
}

impl Lookup for Said {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        let steps: String = path.iter().map(|step| format!(".{step}")).collect();
        let raw = self.0.get(&format!("{}{steps}", source.name()))?;
        Some(Found::Json(raw))
    }
}

fn body_of(content: &tidegate::migration::learn::Content) -> Option<Value> {
    match content {
        tidegate::migration::learn::Content::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// Where two answers differ in their members or types.
pub(crate) fn differences(at: &str, one: &Value, other: &Value, out: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys()) {
                let at = format!("{at}.{name}");
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => differences(&at, one, other, out),
                    _ => out.push(at),
                }
            }
        }
        (one, other) if std::mem::discriminant(one) == std::mem::discriminant(other) => {}
        _ => out.push(at.to_owned()),
    }
}

/// Every acknowledgement has the members and types of the recorded answer, but where the proposal
/// says that it can't know. How many were compared.
fn acks_are_as_recorded(exchanges: &[Exchange], proposal: &Proposal) -> usize {
    let config = checked(proposal);
    let mut compared = 0;
    for event in &config.events {
        let label = format!("{} {}", event.method, event.path.source());
        let doubted = |at: &str| {
            proposal
                .unknown
                .iter()
                .any(|one| one.route == label && at.starts_with(&one.subject))
        };
        for exchange in exchanges {
            let same = exchange.path == event.path.source() && event.method == *exchange.method;
            if !same || exchange.status != event.ack.status.as_u16() {
                continue;
            }
            let Some(answer) = body_of(&exchange.answer) else {
                continue;
            };
            let mut text = String::new();
            event.ack.body.write(&Said::of(exchange), &mut text);
            let ack: Value = serde_json::from_str(&text).unwrap();
            let mut found = Vec::new();
            differences("ack.body", &ack, &answer, &mut found);
            // Said of answers to repetitions only.
            found.retain(|at| !doubted(at) && at != "ack.body.idempotent");
            assert!(found.is_empty(), "{label}: {found:?}\n{ack}\n{answer}");
            compared += 1;
        }
    }
    compared
}

/// The recorded exchanges, as a browser would have saved them.
fn recorded() -> String {
    let pairs = |headers: &Value| {
        let mut out = Vec::new();
        for (name, value) in headers.as_object().unwrap() {
            let all = value
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![value.clone()]);
            out.extend(
                all.iter()
                    .map(|value| json!({ "name": name, "value": value })),
            );
        }
        out
    };
    let lines = include_str!("../data/legacy-exchanges.jsonl").lines();
    let entries = lines.map(|line| {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let headers = &request["headers"];
        let host = headers["host"].as_str().unwrap_or("api.example.test");
        let mut out = json!({
            "startedDateTime": "2026-11-23T20:24:28.000Z",
            "request": {
                "method": request["method"],
                "url": format!("https://{host}{}", request["path"].as_str().unwrap()),
                "headers": pairs(headers),
            },
            "response": {
                "status": response["status"],
                "headers": pairs(&response["headers"]),
                "content": { "text": response["body"] },
            },
        });
        if let Some(text) = request["body"].as_str() {
            out["request"]["postData"] = json!({ "mimeType": "application/json", "text": text });
        }
        Entry(out)
    });
    har(entries.collect())
}

#[test]
fn the_recorded_exchanges_give_a_proposal_whose_acknowledgements_are_as_recorded() {
    let exchanges = read(&recorded());
    let proposal = propose(&exchanges, &Options::default());
    assert!(acks_are_as_recorded(&exchanges, &proposal) >= 15);
    has(
        &proposal,
        &[
            "user = \"{jwt.userId|event.userId}\"",
            "double_submit = [\"cookie:csrf_token\", \"header:x-csrf-token\"]",
            "path = \"/api/client/progress/batch\"",
            "path = \"/api/analytics/events/batch\"",
            "clientEventId = \"{body.client_event_id}\"",
            "lessonId = \"{body.lesson_id}\"",
            "status = \"{body.status|'in_progress'}\"",
            "requestId = \"{request_id}\"",
            "# path = \"/api/client/progress/summary\"",
        ],
    );
    for route in [
        "client/progress/lesson",
        "client/progress/course",
        "analytics/events",
    ] {
        assert!(
            mode(&proposal, &format!("POST /api/{route}")).is_some(),
            "{route}\n{}",
            proposal.toml
        );
    }
    let told = |route: &str, subject: &str| {
        let mut all = proposal.unknown.iter();
        assert!(
            all.any(|one| one.route == route && one.subject == subject),
            "{subject}"
        );
    };
    // Two profiles are in the recording, and they differ.
    told("POST /api/client/progress/lesson", "ack.body.data.percent");
    told(
        "POST /api/client/progress/lesson",
        "ack.body.data.course_id",
    );
    told("POST /api/analytics/events", "ack.status");
    told("POST /api/learner/progress", "exchanges");
    assert_eq!(
        reason(&proposal, "POST /api/auth/login"),
        Some(Reason::Login)
    );
    assert_eq!(
        reason(&proposal, "POST /api/client/progress/batch"),
        Some(Reason::ClientBatch)
    );
    assert_eq!(
        reason(&proposal, "POST /api/analytics/journeys"),
        Some(Reason::NoSuccess)
    );
}

#[test]
fn beacons_are_proposed_as_single_calls_with_their_parameters() {
    let get = |number: u32| {
        let url = format!("http://stats.test:3000/g/collect?v=2&cid=visitor-77&t=view&z=n{number}");
        call("GET", &url, 204)
    };
    let post = |number: u32| {
        let body = json!({ "event": "view", "distinct_id": "visitor-77", "uuid": uuid(number), "n": number });
        let text = body.to_string();
        call("POST", "http://stats.test:3000/e", 200)
            .text("text/plain", &text)
            .answer(&json!({ "status": 1 }))
    };
    let entries = (0..4).map(get).chain((0..4).map(post)).collect();
    let (exchanges, proposal) = learned(entries);
    assert_eq!(acks_are_as_recorded(&exchanges, &proposal), 4);
    assert_eq!(
        mode(&proposal, "GET /g/collect"),
        Some(true),
        "{}",
        proposal.toml
    );
    assert_eq!(mode(&proposal, "POST /e"), Some(true), "{}", proposal.toml);
    has(
        &proposal,
        &[
            "url = \"http://stats.test:3000\"  # 8 exchanges",
            "form = \"single\"  # 4 exchanges",
            "userId = \"{query.cid}\"  # 4 of 4",
            "z = \"{query.z}\"  # 4 of 4",
            "clientEventId = \"{body.uuid}\"  # 4 of 4",
            "userId = \"{body.distinct_id}\"  # 4 of 4",
            "status = 204  # 4 of 4",
            "status = 1  # 4 of 4",
        ],
    );
}

fn uuid(number: u32) -> String {
    format!("67e55044-10b1-426f-9247-{number:012x}")
}

#[test]
fn inserts_of_rows_and_their_list_form_make_a_group_whose_batches_are_bare_lists() {
    let row = |number: u32| json!({ "client_event_id": uuid(number), "user_id": "user-4711", "percent": number * 7 });
    let bearer = format!(
        "Bearer {}",
        token(&json!({ "sub": "user-4711", "role": "authenticated" }))
    );
    let insert = |number: u32| {
        let row = row(number);
        call("POST", "https://db.test/rest/v1/rows", 201)
            .header(":authority", "db.test")
            .header("Authorization", &bearer)
            .header("apikey", "anon-key-anon-key")
            .json(&row)
            .answer(&json!({ "id": row["client_event_id"], "user": "user-4711", "percent": row["percent"], "at": format!("2026-11-23T20:24:2{number}.123Z") }))
    };
    let bulk = call("POST", "https://db.test/rest/v1/rows/bulk", 201)
        .header("Authorization", &bearer)
        .header("apikey", "anon-key-anon-key")
        .json(&json!([row(8), row(9)]))
        .answer(&json!([]));
    let mut entries: Vec<_> = (0..4).map(insert).collect();
    entries.push(bulk);
    let (exchanges, proposal) = learned(entries);
    assert_eq!(acks_are_as_recorded(&exchanges, &proposal), 4);
    assert_eq!(
        mode(&proposal, "POST /rest/v1/rows"),
        Some(true),
        "{}",
        proposal.toml
    );
    assert_eq!(
        reason(&proposal, "POST /rest/v1/rows/bulk"),
        Some(Reason::ClientBatch)
    );
    has(
        &proposal,
        &[
            "path = \"/rest/v1/rows/bulk\"",
            "envelope = \"{events}\"",
            "id_field = \"client_event_id\"",
            "user = \"{jwt.sub|event.user_id}\"",
            "require = [\"jwt\"]",
            "at = \"{now.iso}\"",
            "id = \"{body.client_event_id}\"",
        ],
    );
}

#[test]
fn an_application_with_keys_sessions_and_a_pair_names_what_must_be_there_and_its_unknown_counter() {
    let note = |number: u32| {
        call(
            "PUT",
            &format!(
                "https://app.test/courses/{}/position?api_key=k-e-y-k-e-y",
                40 + number
            ),
            200,
        )
        .header(
            "Cookie",
            "sessionid=s3cr3ts3cr3ts3cr3ts3cr3t; csrftoken=t0kent0kent0ken",
        )
        .header("X-CSRFToken", "t0kent0kent0ken")
        .header("Origin", "https://front.test")
        .json(&json!({ "seconds": 100 + number }))
        .answer_header("Access-Control-Allow-Credentials", "true")
        .answer_header("X-Frame-Options", "DENY")
        .answer(&json!({ "ok": true, "seconds": 100 + number, "total": 9_000 + number * 13 }))
    };
    let (_, proposal) = learned((0..5).map(note).collect());
    let route = "PUT /courses/{course_id}/position";
    assert_eq!(mode(&proposal, route), Some(false), "{}", proposal.toml);
    let unknown: Vec<_> = proposal
        .unknown
        .iter()
        .filter(|one| one.route == route)
        .collect();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!(unknown[0].subject, "ack.body.total");
    has(
        &proposal,
        &[
            "principal = [\"query:api_key\"]",
            "require = [\"cookie:sessionid\", \"cookie:csrftoken\"]",
            "double_submit = [\"cookie:csrftoken\", \"header:x-csrftoken\"]",
            "origins = [\"https://front.test\"]  # 5 of 5",
            "credentials = true",
            "user = \"{cookie.sessionid}\"",
            "course_id = \"{path.course_id}\"",
            // A place in a course comes again, and equal calls are two.
            "missing_id = \"generate\"",
            "x-frame-options = \"DENY\"",
            "seconds = \"{body.seconds}\"",
            "total = 0",
        ],
    );
}

#[test]
fn logins_searches_graphql_forms_uploads_and_answers_with_content_are_no_events_and_listed() {
    let mut entries = Vec::new();
    for number in 0..4 {
        let answer = json!({ "ok": true });
        let at = |path: &str| call("POST", &format!("https://app.test{path}"), 200);
        entries.extend([
            at("/login")
                .json(&json!({ "email": number, "password": "x" }))
                .answer(&answer),
            at("/access")
                .json(&json!({ "n": number }))
                .answer(&json!({ "accessToken": "abcdefghijk" })),
            at("/search").json(&json!({ "q": number })).answer(&answer),
            at("/graphql")
                .json(&json!({ "query": "{ me }", "n": number }))
                .answer(&answer),
            at("/form")
                .text("application/x-www-form-urlencoded", &format!("a={number}"))
                .answer(&answer),
            at("/files")
                .text("multipart/form-data; boundary=b", "--b")
                .answer(&answer),
            at("/list")
                .json(&json!({ "n": number }))
                .answer(&json!({ "rows": [{ "n": number + 1 }] })),
            at("/orders")
                .json(&json!({ "n": number }))
                .answer(&json!({ "id": 7_000 + number })),
            call("DELETE", "https://app.test/orders/1", 204),
            call(
                "GET",
                &format!("https://app.test/orders/{}", 7_000 + number),
                200,
            )
            .answer(&answer),
            call("POST", "https://other.test/e", 500),
        ]);
    }
    let (_, proposal) = learned(entries);
    assert!(proposal.events.is_empty(), "{}", proposal.toml);
    for (route, wanted) in [
        ("POST /login", Reason::Login),
        ("POST /access", Reason::Login),
        ("POST /search", Reason::Search),
        ("POST /graphql", Reason::Query),
        ("POST /form", Reason::Form),
        ("POST /files", Reason::Upload),
        ("POST /list", Reason::AnswerHasContent),
        ("POST /orders", Reason::AnswerIsUsed),
        ("DELETE /orders/{order_id}", Reason::Method),
        ("POST other.test/e", Reason::OtherHost),
    ] {
        assert_eq!(
            reason(&proposal, route),
            Some(wanted),
            "{route}\n{}",
            proposal.toml
        );
        assert!(proposal.toml.contains(&format!("#   {route}: ")), "{route}");
    }
}

/// A pattern would acknowledge what is said to be forwarded as it comes.
#[test]
fn a_pattern_that_takes_calls_of_another_route_too_is_proposed_as_off() {
    let answer = json!({ "ok": true });
    let at = |path: String| call("POST", &format!("https://app.test{path}"), 200);
    let progress = |number: u32| {
        at(format!("/api/lessons/{}", 17 + number % 9))
            .header("authorization", &format!("Bearer caller-{}", number % 2))
            .json(&json!({ "percent": number, "at": 1_700_000_000 + number }))
            .answer(&answer)
    };
    let search = |number: u32| {
        at("/api/lessons/search".to_owned())
            .json(&json!({ "q": number }))
            .answer(&answer)
    };
    let route = "POST /api/lessons/{lesson_id}";
    let (_, alone) = learned((0..30).map(progress).collect());
    assert_eq!(mode(&alone, route), Some(true), "{}", alone.toml);
    let both = (0..30).map(progress).chain((0..3).map(search));
    let (_, proposal) = learned(both.collect());
    assert_eq!(
        reason(&proposal, "POST /api/lessons/search"),
        Some(Reason::Search)
    );
    assert_eq!(mode(&proposal, route), Some(false), "{}", proposal.toml);
    assert!(
        proposal.toml.contains("/api/lessons/search too"),
        "{}",
        proposal.toml
    );
}

#[test]
fn what_differs_between_callers_only_is_no_events_id_and_no_header_that_changes() {
    let of = |user: u32, calls: u32| {
        let bearer = token(&json!({ "sub": format!("user-{user}") }));
        (0..calls).map(move |count| {
            call("POST", "https://app.test/marks", 200)
                .header("Authorization", &format!("Bearer {bearer}"))
                .header("X-Device", &uuid(user))
                .json(&json!({ "device": uuid(user), "id": format!("n{count}"),
                    "at": format!("2026-11-23T20:24:28.00{count}Z") }))
                .answer(&json!({ "ok": true }))
        })
    };
    // Each caller numbers its events alike.
    let (_, proposal) = learned((0..8).flat_map(|user| of(user, 4)).collect());
    has(&proposal, &["clientEventId = \"{body.id}\"  # 32 of 32"]);
    assert_eq!(mode(&proposal, "POST /marks"), Some(true));
    assert!(
        !proposal.toml.contains("x-device differs"),
        "{}",
        proposal.toml
    );
    assert!(!proposal.toml.contains("repetitions"), "{}", proposal.toml);

    // Nobody called twice: what a device is called says nothing of an event.
    let without_id = |entry: Entry| {
        let mut entry = entry;
        let text = entry.0["request"]["postData"]["text"].as_str().unwrap();
        let mut body: Value = serde_json::from_str(text).unwrap();
        body.as_object_mut().unwrap().remove("id");
        entry.0["request"]["postData"]["text"] = body.to_string().into();
        entry
    };
    let once = (0..8).flat_map(|user| of(user, 1)).map(without_id);
    let (_, proposal) = learned(once.collect());
    assert!(
        !proposal.toml.contains("= \"{body.device}\""),
        "{}",
        proposal.toml
    );
    assert!(
        !proposal.toml.contains("x-device differs"),
        "{}",
        proposal.toml
    );
    has(&proposal, &["missing_id = \"generate\""]);
}

#[test]
fn callers_that_called_once_each_prove_no_id_by_what_they_share() {
    let once = |user: u32| {
        let bearer = token(&json!({ "sub": format!("user-{user}") }));
        let lesson = format!("lesson-{}", 7 + user % 2);
        call("POST", "https://app.test/marks", 200)
            .header("Authorization", &format!("Bearer {bearer}"))
            .json(&json!({ "id": lesson }))
            .answer(&json!({ "ok": true }))
    };
    let (_, proposal) = learned((0..20).map(once).collect());
    let text = &proposal.toml;
    assert!(!text.contains("clientEventId = \"{body.id}\""), "{text}");
    has(&proposal, &["missing_id = \"generate\""]);
}

#[test]
fn one_or_two_exchanges_are_too_thin_and_are_proposed_as_off() {
    let event = |number: u32| {
        let body = json!({ "eventId": uuid(number), "userId": "u-1" });
        call("POST", "http://app.test/e", 200)
            .json(&body)
            .answer(&json!({ "ok": true }))
    };
    for count in 1..=3 {
        let (_, proposal) = learned((0..count).map(event).collect());
        assert_eq!(
            mode(&proposal, "POST /e"),
            Some(count == 3),
            "{}",
            proposal.toml
        );
        assert_eq!(proposal.toml.contains("evidence too thin"), count < 3);
    }
}

/// Calls of one browser, a second apart.
fn session(calls: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let later = |(second, mut entry): (usize, Entry)| {
        let (minute, second) = (second / 60, second % 60);
        entry.0["startedDateTime"] = json!(format!("2026-11-23T20:{minute:02}:{second:02}.000Z"));
        entry.header("Cookie", "sessionid=s3cr3ts3cr3ts3cr3ts3cr3t")
    };
    calls.into_iter().enumerate().map(later).collect()
}

fn post(path: &str, body: &Value, answer: &Value) -> Entry {
    let url = format!("https://app.test{path}");
    call("POST", &url, 200).json(body).answer(answer)
}

fn get(path: &str, answer: &Value) -> Entry {
    call("GET", &format!("https://app.test{path}"), 200).answer(answer)
}

fn doubts<'p>(proposal: &'p Proposal, route: &str) -> Vec<&'p str> {
    let all = proposal.unknown.iter().filter(|one| one.route == route);
    all.map(|one| &*one.subject).collect()
}

/// With "hash" an equal call is lost: that some calls differ doesn't make the next one a repetition.
#[test]
fn an_equal_call_is_taken_for_a_repetition_only_where_each_tells_a_time_that_grows() {
    let ok = json!({ "ok": true });
    let of = |bodies: &[Value]| {
        let calls = bodies.iter().map(|body| post("/done", body, &ok));
        learned(session(calls)).1
    };
    let lessons = ["a", "b", "c"].map(|lesson| json!({ "lesson": lesson, "done": true }));
    let toggles = of(&lessons);
    has(&toggles, &["missing_id = \"generate\""]);
    assert_eq!(mode(&toggles, "POST /done"), Some(true), "{}", toggles.toml);

    let now = |number: u32| 1_795_464_000_000_u64 + u64::from(number) * 1_000;
    let at = |number: u32| json!({ "lesson": "a", "done": true, "at_ms": now(number) + 1 });
    has(&of(&[at(1), at(2), at(3)]), &["missing_id = \"hash\""]);
    for (what, bodies) in [
        (
            "times of what the calls are about",
            [1, 2, 3].map(|number: u64| {
                json!({ "lesson": number, "publishedAt": 1_690_000_000_123_u64 + number })
            }),
        ),
        (
            "whole seconds",
            [0, 1, 2].map(|number| json!({ "lesson": "a", "at_ms": now(number) })),
        ),
        ("a time that comes again", [at(1), at(2), at(1)]),
        ("a time that goes back", [at(3), at(2), at(1)]),
        (
            "a time that one call lacks",
            [at(1), json!({ "lesson": "b" }), at(3)],
        ),
        (
            "numbers",
            [1, 2, 3].map(|number| json!({ "seq": number, "position": number * 10 })),
        ),
    ] {
        let proposal = of(&bodies);
        let is_generated = proposal.toml.contains("\nmissing_id = \"generate\"");
        assert!(is_generated, "{what}: {}", proposal.toml);
    }

    // What a call is about may be named by a UUID, or by `id`.
    let lessons = [1, 2, 3].map(|number| json!({ "lesson": uuid(number), "done": true }));
    let proposal = of(&lessons);
    has(&proposal, &["missing_id = \"generate\""]);
    assert!(
        !proposal.toml.contains("{body.lesson}"),
        "{}",
        proposal.toml
    );
    let lessons = [1, 2, 3].map(|number| json!({ "id": uuid(number), "done": true }));
    let proposal = of(&lessons);
    assert_eq!(doubts(&proposal, "POST /done"), ["event.clientEventId"]);
}

#[test]
fn only_the_time_of_a_call_itself_makes_two_calls_of_one_video_two() {
    let ok = json!({ "ok": true });
    let watched = |time: &dyn Fn(u32) -> u64| {
        let body = |number| json!({ "id": format!("video-{number}"), "time": time(number) });
        let calls = [0, 1, 2].map(|number| post("/done", &body(number), &ok));
        learned(session(calls)).1
    };
    let position = watched(&|number| u64::from(number) * 40);
    assert_eq!(doubts(&position, "POST /done"), ["event.clientEventId"]);
    let time = watched(&|number| 1_795_464_000_137 + u64::from(number) * 1_000);
    assert!(doubts(&time, "POST /done").is_empty(), "{}", time.toml);
}

/// Each of these clients would be told yes.
#[test]
fn a_route_that_refuses_calls_for_what_they_say_is_proposed_as_off() {
    let refused = |statuses: &[u16], bearer: &str| {
        let body = |number: u32| json!({ "eventId": uuid(number), "code": format!("k{number}") });
        let taken = (0..4).map(|number| {
            post("/coupon", &body(number), &json!({ "ok": true }))
                .header("authorization", "Bearer a")
        });
        let refused = statuses.iter().zip(9..).map(|(status, number)| {
            call("POST", "https://app.test/coupon", *status)
                .json(&body(number))
                .header("authorization", bearer)
                .answer(&json!({ "error": "no" }))
        });
        learned(taken.chain(refused).collect()).1
    };
    let route = "POST /coupon";
    let proposal = refused(&[422, 409, 402, 422, 409, 402, 422, 409, 402], "Bearer a");
    assert_eq!(mode(&proposal, route), Some(false), "{}", proposal.toml);
    assert_eq!(doubts(&proposal, route), ["refusals"]);
    let said = "9 of 13 calls were refused (402, 409, 422)";
    assert!(proposal.toml.contains(said), "{}", proposal.toml);
    for status in [302, 400, 403, 404, 410] {
        let proposal = refused(&[status], "Bearer a");
        assert_eq!(doubts(&proposal, route), ["refusals"], "{status}");
    }
    // These say nothing of the call, and the last one nothing of a caller who is let in.
    for status in [401, 408, 425, 429, 500, 503] {
        let proposal = refused(&[status], "Bearer a");
        assert_eq!(mode(&proposal, route), Some(true), "{status}");
    }
    assert_eq!(mode(&refused(&[403], "Bearer b"), route), Some(true));
}

/// A client would ask for what Tidegate made up.
#[test]
fn an_answer_whose_value_its_caller_sends_later_is_used_whatever_it_is_called() {
    let begin = |number: u32, answer: &Value| {
        let body = json!({ "eventId": uuid(number), "course": format!("c{number}") });
        post("/start", &body, answer)
    };
    let ok = json!({ "ok": true });
    let given = |number: u32| uuid(700 + number);
    let finish = |number: u32| {
        let body = json!({ "eventId": uuid(100 + number), "of": { "tries": [given(number)] } });
        post("/finish", &body, &ok)
    };
    let uses: [(&str, fn(&str) -> Entry); 5] = [
        ("path", |value| {
            get(&format!("/exports/{value}"), &json!({}))
        }),
        ("query", |value| {
            get(&format!("/exports?of={value}"), &json!({}))
        }),
        ("header", |value| {
            get("/page", &json!({})).header("x-csrf", value)
        }),
        ("cookie", |value| {
            get("/page", &json!({})).header("Cookie", &format!("csrf={value}"))
        }),
        ("trace", |value| {
            get("/page", &json!({})).header("traceparent", value)
        }),
    ];
    for (place, later) in uses {
        let calls = (0..4).flat_map(|number| {
            let member = if place == "trace" { place } else { "jobId" };
            let answer = json!({ "ok": true, member: given(number) });
            [begin(number, &answer), later(&given(number))]
        });
        let proposal = learned(session(calls)).1;
        let wanted = (place != "trace").then_some(Reason::AnswerIsUsed);
        assert_eq!(reason(&proposal, "POST /start"), wanted, "{place}");
    }
    let calls = (0..4).flat_map(|number| {
        let answer = json!({ "ok": true, "attempt": given(number) });
        [begin(number, &answer), finish(number)]
    });
    let proposal = learned(session(calls)).1;
    assert_eq!(reason(&proposal, "POST /start"), Some(Reason::AnswerIsUsed));
    assert_eq!(
        mode(&proposal, "POST /finish"),
        Some(true),
        "{}",
        proposal.toml
    );

    // In a header, and as an address.
    let calls = (0..4).flat_map(|number| {
        let address = format!("https://app.test/exports/{}", given(number));
        let begun = begin(number, &ok).answer_header("Location", &address);
        [
            begun,
            get(&format!("/exports/{}", given(number)), &json!({})),
        ]
    });
    let proposal = learned(session(calls)).1;
    assert_eq!(reason(&proposal, "POST /start"), Some(Reason::AnswerIsUsed));
}

#[test]
fn what_a_caller_sent_before_and_what_all_answers_say_is_no_use_of_an_answer() {
    let device = uuid(900);
    let calls = (0..4).flat_map(|number| {
        let body = json!({ "eventId": uuid(number), "device": device });
        let answer = json!({ "ok": true, "device": device });
        let told = post("/start", &body, &answer).answer_header("x-build", "2026.11.23-77");
        let read = get(&format!("/devices/{device}"), &json!({}));
        [told, read.header("x-build", "2026.11.23-77")]
    });
    let proposal = learned(session(calls)).1;
    assert_eq!(
        mode(&proposal, "POST /start"),
        Some(true),
        "{}",
        proposal.toml
    );
}

#[test]
fn a_time_is_the_calls_only_near_it_and_an_id_is_made_only_under_an_ids_name() {
    let of = |member: &str, value: &dyn Fn(u32) -> Value| {
        let calls = (0..4).map(|number| {
            let body = json!({ "eventId": uuid(number) });
            let mut answer = json!({ "ok": true });
            answer[member] = value(number);
            post("/lock", &body, &answer)
        });
        learned(session(calls)).1
    };
    let ms = |number: u32| 1_795_464_000_000_u64 + u64::from(number) * 1_000;
    let near = of("saved_at", &|number| {
        json!(format!("2026-11-23T20:00:0{number}.250Z"))
    });
    has(&near, &["saved_at = \"{now.iso}\"  # 4 of 4"]);
    has(
        &of("at", &|number| json!(ms(number) + 300)),
        &["at = \"{now.ms}\"  # 4 of 4"],
    );
    has(
        &of("receipt_id", &|number| json!(uuid(70 + number))),
        &["receipt_id = \"{uuid}\"  # 4 of 4"],
    );
    for (what, proposal) in [
        (
            "a quarter later",
            of("at", &|number| {
                json!(format!("2026-11-23T20:15:0{number}.000Z"))
            }),
        ),
        ("in ms", of("at", &|number| json!(ms(number) + 900_000))),
        (
            "long ago",
            of("at", &|number| {
                json!(format!("2025-01-01T20:15:0{number}.000Z"))
            }),
        ),
        (
            "no id's name",
            of("job", &|number| json!(uuid(70 + number))),
        ),
        (
            "two that come again",
            of("plan_id", &|number| json!(uuid(70 + number % 2))),
        ),
    ] {
        assert_eq!(
            mode(&proposal, "POST /lock"),
            Some(false),
            "{what}: {}",
            proposal.toml
        );
        assert_eq!(doubts(&proposal, "POST /lock").len(), 1, "{what}");
    }
    // The application's clock, not the browser's, tells when an answer was made.
    let calls = (0..4).map(|number| {
        let answer = json!({ "ok": true, "at": format!("2026-11-23T22:15:0{number}.000Z") });
        post("/lock", &json!({ "eventId": uuid(number) }), &answer)
            .answer_header("Date", "Mon, 23 Nov 2026 22:15:01 GMT")
    });
    let proposal = learned(session(calls)).1;
    assert_eq!(
        mode(&proposal, "POST /lock"),
        Some(true),
        "{}",
        proposal.toml
    );
}

/// The read may come before the event, once that is acknowledged at once.
#[test]
fn a_route_whose_calls_are_read_back_at_once_is_proposed_as_off() {
    let route = "POST /notes/add";
    let note =
        |number: u32| json!({ "eventId": uuid(number), "text": format!("note number {number}") });
    let ok = json!({ "ok": true });
    let with_reads = |read: &dyn Fn(u32) -> Entry| {
        let calls =
            (0..4).flat_map(|number| [post("/notes/add", &note(number), &ok), read(number)]);
        learned(session(calls)).1
    };
    let board = |number: u32| {
        let notes: Vec<_> = (0..=number)
            .map(note)
            .map(|note| json!({ "text": note["text"] }))
            .collect();
        get("/board", &json!({ "notes": notes }))
    };
    let proposal = with_reads(&board);
    assert_eq!(doubts(&proposal, route), ["reads"], "{}", proposal.toml);
    let said = "GET /board showed what a call had sent shortly before (4 of 4 calls)";
    assert!(proposal.toml.contains(said), "{}", proposal.toml);
    // An event that is asked for by its own id.
    let own = |number: u32| {
        get(
            &format!("/notes/{}", uuid(number)),
            &json!({ "id": uuid(number) }),
        )
    };
    let proposal = with_reads(&own);
    assert_eq!(doubts(&proposal, route), ["reads"], "{}", proposal.toml);

    let elsewhere = |number: u32| {
        let mut read = board(number);
        read.0["request"]["url"] = json!("https://api.test/board");
        read
    };
    let proposal = with_reads(&elsewhere);
    assert_eq!(doubts(&proposal, route), ["reads"], "{}", proposal.toml);
    let said = "a read of another host showed what a call had sent shortly before (4 of 4 calls)";
    assert!(proposal.toml.contains(said), "{}", proposal.toml);
    // A read that can be named is named.
    let calls = (0..4).flat_map(|number| {
        [
            post("/notes/add", &note(number), &ok),
            elsewhere(number),
            get("/own", &json!({ "last": note(number)["text"] })),
        ]
    });
    let proposal = learned(session(calls)).1;
    assert!(
        !proposal.toml.contains("another host showed"),
        "{}",
        proposal.toml
    );

    let late = |number: u32| {
        let mut calls = session([post("/notes/add", &note(number), &ok), board(number)]);
        calls[0].0["startedDateTime"] = json!(format!("2026-11-23T20:{number:02}:00.000Z"));
        calls[1].0["startedDateTime"] = json!(format!("2026-11-23T20:{number:02}:45.000Z"));
        calls
    };
    let proposal = learned((0..4).flat_map(late).collect()).1;
    assert_eq!(mode(&proposal, route), Some(true), "{}", proposal.toml);
}

/// A session that is too long to be looked into as a whole tells so.
#[test]
fn calls_beyond_the_values_that_are_looked_at_leave_a_doubt() {
    let rows = |number: u64| {
        let rows: Vec<_> = (0..1_000)
            .map(|row| 1_000_000 + number * 1_000 + row)
            .collect();
        get("/rows", &json!({ "rows": rows }))
    };
    let event = |number: u32| {
        let body = json!({ "eventId": uuid(number), "lesson": format!("l{number}") });
        post("/done", &body, &json!({ "ok": true }))
    };
    let of = |reads: u64| {
        let calls = (0..reads).map(rows).chain((0..4).map(event));
        learned(session(calls)).1
    };
    let proposal = of(299);
    assert_eq!(mode(&proposal, "POST /done"), Some(true));
    let proposal = of(301);
    assert_eq!(doubts(&proposal, "POST /done"), ["exchanges"]);
    assert!(proposal.toml.contains("later calls weren't looked into"));
}

#[test]
fn what_a_read_shows_of_itself_is_nothing_read_back() {
    let ok = json!({ "ok": true });
    let lesson = |number: u32| format!("/courses/algebra/lesson-{number}");
    let title = |number: u32| format!("Algebra, part {number}");
    let page = |number: u32| {
        let view = json!({ "eventId": uuid(number), "userId": "user-4711-90210", "device": "Firefox on Linux",
            "page": lesson(number), "seconds": 40 + number, "title": title(number) });
        [
            post("/views", &view, &ok),
            // It asks for what the event names; the rest it told before, or is the same in all calls.
            get(
                &lesson(number),
                &json!({ "page": lesson(number), "seconds": 40 + number,
                "user": "user-4711-90210", "devices": ["Firefox on Linux"], "title": title(number) }),
            ),
        ]
    };
    let first = get(
        "/courses",
        &json!({ "titles": (0..4).map(title).collect::<Vec<_>>() }),
    );
    let calls = std::iter::once(first).chain((0..4).flat_map(page));
    let proposal = learned(session(calls)).1;
    assert_eq!(
        mode(&proposal, "POST /views"),
        Some(true),
        "{}",
        proposal.toml
    );
}

#[test]
fn nothing_private_of_a_session_is_in_the_proposal() {
    let secrets = [
        "Paula",
        "paula@home.test",
        "s3ss10ns3ss10ns3ss10n1",
        "k3yk3yk3yk3yk3y",
        "hunter2hunter2",
        "a sentence that was typed",
        "u-90210",
        "Springfield",
        "c5rfc5rfc5rfc5rf",
        "4471123",
    ];
    let [
        name,
        mail,
        session,
        key,
        password,
        text,
        user,
        town,
        csrf,
        number,
    ] = secrets;
    let bearer = token(&json!({ "sub": user, "email": mail, "name": name }));
    let mut entries = vec![
        call("POST", "https://app.test/login", 200)
            .json(&json!({ "email": mail, "password": password }))
            .answer(&json!({ "token": bearer, "name": name })),
        call(
            "GET",
            &format!("https://app.test/users/{user}/profile"),
            200,
        )
        .answer(&json!({ "name": name, "city": town, "account": number })),
    ];
    for count in 0..5 {
        entries.push(
            call("POST", &format!("https://app.test/users/{user}/events?api_key={key}&who={mail}"), 200)
                .header("Authorization", &format!("Bearer {bearer}"))
                .header("Cookie", &format!("sid={session}; csrf={csrf}"))
                .header("X-CSRF-Token", csrf)
                .header("X-Key", key)
                .json(&json!({ "id": uuid(count), "who": name, "note": text, "town": town, "map": { user: 1 } }))
                .answer_header("X-Powered-By", name)
                .answer(&json!({
                    "hello": name, "text": text, "mail": mail, "place": town, "account": number,
                    user: 1, "sid": session, "nested": { "key": key },
                })),
        );
    }
    // A user whose name could be any member's.
    for count in 5..10 {
        entries.push(
            call("POST", "https://app.test/seen", 200)
                .json(&json!({ "id": uuid(count), "userId": "ada", "read": { "ada": count } }))
                .answer(&json!({ "ok": true, "online": { "ada": true, "bob": false } })),
        );
    }
    let bodies: Vec<String> = (0..5).map(uuid).collect();
    let (_, proposal) = learned(entries);
    assert!(!proposal.toml.contains("ada"), "{}", proposal.toml);
    let all = format!(
        "{}{:?}{:?}{:?}",
        proposal.toml, proposal.events, proposal.not_proposed, proposal.unknown
    );
    for secret in secrets
        .into_iter()
        .chain(bodies.iter().map(|id| &**id))
        .chain([&*bearer])
    {
        assert!(!all.contains(secret), "{secret}\nis in\n{all}");
    }
    let proposal = propose(&read(&recorded()), &Options::default());
    for secret in [
        "00000000-0000",
        "eyJ",
        "demo-csrf-1",
        "another-user",
        "lesson-video",
        "someone",
        "ev-",
    ] {
        assert!(
            !proposal.toml.contains(secret),
            "{secret}\nis in\n{}",
            proposal.toml
        );
    }
}

#[test]
fn a_file_that_is_no_har_is_an_error_that_says_what_was_found_and_where() {
    let entry =
        |request: &str| format!("{{\"log\":{{\"entries\":[\n{{\"request\":{request}}}]}}}}");
    for (text, wanted) in [
        (String::new(), "found an empty file"),
        ("<html>".to_owned(), "found a page, or XML"),
        ("[]".to_owned(), "expected the object of a HAR file"),
        ("{}".to_owned(), "missing field `log` at line 1"),
        ("{\"log\":{}}".to_owned(), "missing field `entries`"),
        (
            "{\"log\":{\"entries\":7}}".to_owned(),
            "expected the list log.entries",
        ),
        (
            entry("{\"url\":\"http://a/\"}"),
            "log.entries[0]: missing field `method` at line 2",
        ),
        (
            entry("{\"method\":5,\"url\":\"\"}"),
            "log.entries[0]: invalid type: integer `5`",
        ),
        (
            "{\"log\":{\"entries\":[".to_owned(),
            "EOF while parsing a list at line 1",
        ),
    ] {
        let error = read_har(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let packed = read_har([0x1f, 0x8b, 8].as_slice())
        .unwrap_err()
        .to_string();
    assert!(packed.contains("gzip"), "{packed}");
}

#[test]
fn what_tools_write_differently_is_read_alike() {
    let body = BASE64_STANDARD.encode("{\"a\":1}");
    let text = json!({ "log": { "pages": [], "entries": [
        {
            "_resourceType": "ping",
            "request": {
                "method": "post", "url": "https://A.test/x?a=%20b#part", "httpVersion": "h3",
                "headers": [{ "name": ":method", "value": "POST" }, { "name": "X-Up", "value": "1" }],
                "cookies": [{ "name": "c", "value": "d" }],
                "postData": { "mimeType": "text/plain", "text": body, "encoding": "base64" },
            },
            "response": { "status": -1, "content": { "size": 5 } },
        },
        { "request": { "method": "GET", "url": "data:text/plain,a" } },
        { "request": { "method": "POST", "url": "http://b/", "bodySize": 4 } },
    ] } });
    let exchanges = read(&format!("\u{feff}{text}"));
    let [first, second] = exchanges.as_slice() else {
        panic!("{exchanges:?}")
    };
    assert_eq!(
        (&*first.method, &*first.host, first.status),
        ("POST", "a.test", 0)
    );
    assert_eq!(first.query, [("a".to_owned(), " b".to_owned())]);
    assert_eq!(body_of(&first.body), Some(json!({ "a": 1 })));
    assert!(first.headers.contains(&("x-up".to_owned(), "1".to_owned())));
    assert!(
        first
            .headers
            .contains(&("cookie".to_owned(), "c=d".to_owned()))
    );
    assert!(!first.headers.iter().any(|(name, _)| name.starts_with(':')));
    assert_eq!(second.body, tidegate::migration::learn::Content::Missing);
}

#[test]
fn the_command_prints_the_proposal_or_a_list_and_ends_with_1_where_the_input_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session.har");
    std::fs::write(&file, recorded()).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let out = command
            .arg("learn")
            .arg("--har")
            .arg(&file)
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        (
            out.status.code(),
            text,
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    let (code, text, _) = run(&["--upstream", "http://10.0.0.1:3000/"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("url = \"http://10.0.0.1:3000\""));
    parse(&text, "proposal", std::iter::empty()).unwrap();
    let (code, text, _) = run(&["--json"]);
    assert_eq!(code, Some(0));
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert!(listed["toml"].as_str().unwrap().contains("[[event]]"));
    assert!(!listed["unknown"].as_array().unwrap().is_empty());
    assert_eq!(listed["not_proposed"][0]["reason"], "login");
    let (code, text, error) = run(&["--host", "Other.example:81"]);
    assert_eq!((code, &*text), (Some(1), ""));
    assert!(error.contains("no call to \"other.example:81\""), "{error}");
    assert!(error.contains("\"api.example.test\" ("), "{error}");
    let (code, text, error) = run(&["--upstream", "ftp://x"]);
    assert_eq!((code, &*text), (Some(1), ""));
    assert!(error.contains("upstream.url"), "{error}");
    std::fs::write(&file, "{").unwrap();
    let (code, _, error) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("session.har") && error.contains("line 1"),
        "{error}"
    );
}

/// Text with what TOML, templates, paths and headers could stumble over.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        Just("events".to_owned()),
        Just("user_id".to_owned()),
        Just("id".to_owned()),
        Just("timestamp".to_owned()),
        "[a-zA-Z0-9{}|.'\"\\\\$_ #=\\[\\]-]{0,8}",
        "\\PC{0,4}",
        "[\u{0}-\u{7f}]{0,4}",
    ]
}

fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        odd().prop_map(Value::from),
        Just(json!("2026-11-23T20:24:28.000Z")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(odd(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

fn odd_entry() -> impl Strategy<Value = Value> {
    let method = prop::sample::select(vec!["POST", "PUT", "GET", "PATCH", "DELETE", "x y"]);
    let host = prop::sample::select(vec![
        "http://a.test",
        "https://b.test:8443",
        "http://[::1]:3",
    ]);
    let names = prop::sample::select(vec![
        "authorization",
        "cookie",
        "origin",
        "x-csrf-token",
        "x-api-key",
        "x-odd",
        "idempotency-key",
    ]);
    let headers = prop::collection::vec((names, odd()), 0..4);
    let set = prop::collection::vec(
        (
            prop::sample::select(vec![
                "set-cookie",
                "x-powered-by",
                "access-control-expose-headers",
            ]),
            odd(),
        ),
        0..2,
    );
    let path = prop::collection::vec(
        prop_oneof!["[a-z0-9{}~.$-]{0,6}", Just("e".to_owned())],
        0..3,
    );
    let query = prop::collection::vec((odd(), odd()), 0..3);
    let status = prop::sample::select(vec![200, 201, 204, 404]);
    (
        (method, host, path, query),
        headers,
        odd_json(),
        (status, set, odd_json()),
    )
        .prop_map(
            |((method, host, path, query), headers, body, (status, set, answer))| {
                let escaped = |text: &str| {
                    text.bytes()
                        .map(|byte| format!("%{byte:02x}"))
                        .collect::<String>()
                };
                let query: Vec<_> = query
                    .iter()
                    .map(|(a, b)| format!("{}={}", escaped(a), escaped(b)))
                    .collect();
                let pairs = |all: &[(&str, String)]| {
                    let one =
                        |(name, value): &(&str, String)| json!({ "name": name, "value": value });
                    all.iter().map(one).collect::<Vec<_>>()
                };
                json!({
                    "request": {
                        "method": method,
                        "url": format!("{host}/{}?{}", path.join("/"), query.join("&")),
                        "headers": pairs(&headers),
                        "postData": { "text": body.to_string() },
                    },
                    "response": {
                        "status": status, "headers": pairs(&set),
                        "content": { "text": answer.to_string() },
                    },
                })
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_a_session_holds_the_proposal_passes_check(
        entries in prop::collection::vec(odd_entry(), 0..6),
        times in 1_usize..5,
    ) {
        let all: Vec<_> = entries.iter().cycle().take(entries.len() * times).collect();
        let text = json!({ "log": { "entries": all } }).to_string();
        let proposal = propose(&read(&text), &Options::default());
        checked(&proposal);
    }
}

/// As a tool writes them that saves its table as it is sorted on the screen.
fn event_at(host: &str, number: u32) -> Entry {
    let minute = format!("2026-11-23T20:{number:02}:28.000Z");
    let mut entry = call("POST", &format!("https://{host}/v1/events"), 202)
        .json(&json!({ "id": uuid(number), "userId": "u-1", "at": minute }))
        .answer(&json!({ "ok": true }));
    entry.0["startedDateTime"] = json!(minute);
    entry
}

#[test]
fn the_host_is_the_one_of_most_calls_with_objects_or_the_one_that_is_asked_for() {
    let form = |number: u32| {
        call("POST", "https://counts.test/hit", 200)
            .text("application/x-www-form-urlencoded", &format!("n={number}"))
    };
    let mut entries: Vec<_> = (0..4)
        .map(|number| event_at("app.test:8443", number))
        .collect();
    entries.extend((0..9).map(form));
    let (_, proposal) = learned(entries);
    assert_eq!(
        mode(&proposal, "POST /v1/events"),
        Some(true),
        "{}",
        proposal.toml
    );
    assert_eq!(
        reason(&proposal, "POST counts.test/hit"),
        Some(Reason::OtherHost)
    );

    let mut entries: Vec<_> = (0..4)
        .map(|number| event_at("app.test:8443", number))
        .collect();
    entries.extend((0..6).map(|number| event_at("errors.test", number)));
    let exchanges = read(&har(entries));
    let of = |host: Option<&str>| {
        let options = Options {
            host: host.map(str::to_owned),
            ..Options::default()
        };
        let proposal = propose(&exchanges, &options);
        checked(&proposal);
        let others: Vec<_> = proposal
            .not_proposed
            .iter()
            .map(|it| it.route.clone())
            .collect();
        (proposal.events[0].exchanges, others)
    };
    let app = "POST app.test:8443/v1/events".to_owned();
    let errors = "POST errors.test/v1/events".to_owned();
    assert_eq!(of(None), (6, vec![app]));
    assert_eq!(of(Some("app.test:8443")), (4, vec![errors]));
}

#[test]
fn a_body_that_the_file_left_out_is_none_unless_its_answer_can_have_none() {
    use tidegate::migration::learn::Content;
    let answered = |status: u16, content: Value| {
        let mut entry = call("POST", "https://app.test/v1/events", status);
        entry.0["response"]["content"] = content;
        read(&har(vec![entry])).remove(0).answer
    };
    assert_eq!(answered(200, json!({ "size": -1 })), Content::Missing);
    assert_eq!(answered(200, json!({ "size": 12 })), Content::Missing);
    assert_eq!(answered(200, json!({ "size": 0 })), Content::Empty);
    for status in [204, 205, 304] {
        assert_eq!(answered(status, json!({ "size": -1 })), Content::Empty);
    }
}

#[test]
fn entries_are_taken_in_the_order_of_their_calls() {
    let mut entries: Vec<_> = (0..8)
        .map(|second| {
            let mut entry =
                call("POST", "https://app.test/event", 200).json(&json!({ "n": second }));
            entry.0["startedDateTime"] = json!(format!("2026-11-23T20:24:{second:02}.000Z"));
            entry
        })
        .collect();
    entries.reverse();
    let exchanges = read(&har(entries));
    assert!(exchanges.is_sorted_by_key(|exchange| exchange.started) && exchanges.len() == 8);
}
