//! Adapters: envelopes, headers and results of batch endpoints that are not Tidegate's own.
//!
//! The stand-in for PostgREST does what its documentation ("Tables and Views": bulk insert, upsert, `Prefer`) says: an
//! array of objects that all have the same keys (else 400, PGRST102), `resolution=ignore-duplicates` skips rows whose
//! `on_conflict` column is known, `return=representation` answers 201 with the rows that were made and no others;
//! without a preference a known row is 409 (23505), a refusal by row level security 403 (42501), a bad token 401.

use crate::support::Sidecar;
use crate::support::upstream::{FakeUpstream, Seen, answer};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tidegate::clock::Clock;

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
[identity]
credentials = ["header:authorization", "header:x-org-id"]
user = "{event.user_id}"
[journal]
durability = "none"
[delivery]
retry_network = ["10ms"]
retry_server = { base = "10ms", cap = "20ms" }
retry_limited = { base = "10ms", jitter = "5ms" }
[batch.rows]
path = "/progress_events?on_conflict=client_event_id"
window = "1h"
flush_at = 4
max_events = 4
id_field = "client_event_id"
require = ["user_id"]
fallback = "dead-letter"
envelope = "{events}"
headers = { prefer = "resolution=ignore-duplicates,return=representation", apikey = { env = "API_KEY" } }
results = { accepted = "", id = "client_event_id", missing = "duplicate" }
[[event]]
path = "/event"
batch = "rows"
event = { client_event_id = "{body.id}", user_id = "{body.user}", percent = "{body.percent|null}", note = "{body.note|null}" }
"#;

#[derive(Default)]
struct Table {
    rows: BTreeMap<String, Value>,
    /// Ids that the row level security refuses.
    foreign: BTreeSet<String>,
}

fn problem(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    answer(status, json!({ "code": code, "message": message, "details": null, "hint": null }))
}

impl Table {
    fn insert(&mut self, seen: &Seen) -> Response<Full<Bytes>> {
        if seen.header("apikey") != "anon" {
            return problem(401, "PGRST301", "No API key found in request");
        }
        if !seen.header("authorization").starts_with("Bearer ") {
            return problem(401, "PGRST301", "JWT expired");
        }
        assert_eq!(seen.header("content-type"), "application/json");
        let Ok(Value::Array(rows)) = serde_json::from_slice(&seen.body) else {
            return problem(400, "PGRST102", "Empty or invalid json");
        };
        let keys = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        if rows.iter().any(|row| keys(row) != keys(&rows[0])) {
            return problem(400, "PGRST102", "All object keys must match");
        }
        let id = |row: &Value| row["client_event_id"].as_str().unwrap().to_owned();
        if rows.iter().any(|row| self.foreign.contains(&id(row))) {
            return problem(403, "42501", "new row violates row-level security policy");
        }
        let prefer: Vec<_> = seen.header("prefer").split(',').map(str::trim).collect();
        let ignore =
            prefer.contains(&"resolution=ignore-duplicates") && seen.path.ends_with("?on_conflict=client_event_id");
        let (known, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| self.rows.contains_key(&id(row)));
        if !known.is_empty() && !ignore {
            return problem(409, "23505", "duplicate key value violates unique constraint");
        }
        for row in &new {
            self.rows.insert(id(row), row.clone());
        }
        match prefer.contains(&"return=representation") {
            true => answer(201, Value::Array(new)),
            false => {
                let mut created = Response::new(Full::default());
                *created.status_mut() = StatusCode::CREATED;
                created
            }
        }
    }
}

fn serve(upstream: &FakeUpstream) -> Arc<Mutex<Table>> {
    let table: Arc<Mutex<Table>> = Arc::default();
    let shared = Arc::clone(&table);
    upstream.answer_with(move |seen| {
        seen.path.starts_with("/progress_events").then(|| shared.lock().unwrap().insert(seen))
    });
    table
}

async fn post(sidecar: &Sidecar, token: &str, body: &Value) {
    let answer = sidecar.call(Method::POST, "/event", &[("authorization", token)], body.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test]
async fn batches_go_straight_into_a_postgrest_table() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    table.lock().unwrap().rows.insert("b".into(), json!({}));
    for (id, more) in [("a", json!(40)), ("b", json!(41)), ("c", json!(42)), ("d", Value::Null)] {
        post(&sidecar, "Bearer ada", &json!({ "id": id, "user": "ada", "percent": more })).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.duplicate, ledger.dead), (3, 1, 0), "b was there already");
    let seen = sidecar.upstream.seen();
    assert_eq!(
        (seen.len(), seen[0].header("authorization")),
        (1, "Bearer ada"),
        "the user's own token, for the row policies"
    );
    let table = table.lock().unwrap();
    let wanted = json!({ "client_event_id": "a", "user_id": "ada", "percent": 40, "note": null });
    assert_eq!((table.rows.len(), &table.rows["a"]), (4, &wanted), "a field that is missing is null: all keys match");
}

#[tokio::test]
async fn rows_of_unequal_keys_are_sent_apart_and_none_is_lost() {
    let text = TABLE.replace("note = \"{body.note|null}\"", "note = \"{body.note}\"");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    for (id, note) in [("a", json!({})), ("b", json!({ "note": "x" })), ("c", json!({})), ("d", json!({}))] {
        let mut body = json!({ "id": id, "user": "ada" });
        body.as_object_mut().unwrap().extend(note.as_object().unwrap().clone());
        post(&sidecar, "Bearer ada", &body).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead, table.lock().unwrap().rows.len()), (4, 0, 4));
    assert!(sidecar.upstream.seen().len() > 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_every_row_is_there_once() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table: Arc<Mutex<Table>> = Arc::default();
    let (shared, mut first) = (Arc::clone(&table), true);
    sidecar.upstream.answer_with(move |seen| {
        let made = shared.lock().unwrap().insert(seen);
        Some(if std::mem::take(&mut first) { answer(502, json!({})) } else { made })
    });
    for id in ["a", "b", "c", "d"] {
        post(&sidecar, "Bearer ada", &json!({ "id": id, "user": "ada" })).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.duplicate, ledger.dead, table.lock().unwrap().rows.len()), (4, 0, 4));
}

#[tokio::test]
async fn a_refusal_by_a_row_policy_holds_the_lane_and_nobody_elses() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    table.lock().unwrap().foreign.insert("a".into());
    post(&sidecar, "Bearer eve", &json!({ "id": "a", "user": "eve" })).await;
    post(&sidecar, "Bearer ada", &json!({ "id": "b", "user": "ada" })).await;
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.accepted == 1).await;
    assert_eq!((ledger.pending, ledger.dead), (1, 0));
    assert!(table.lock().unwrap().rows.contains_key("b"));
}

fn adapted(more: &str) -> String {
    let start = TABLE.find("envelope = ").unwrap();
    let end = TABLE.find("[[event]]").unwrap();
    format!("{}{more}\n{}", &TABLE[..start], &TABLE[end..])
}

#[tokio::test]
async fn an_envelope_with_a_header_never_mixes_two_values_of_it_and_counts_to_the_byte() {
    let envelope = "envelope = { org_id = \"{header.x-org-id}\", source = \"tidegate\", rows = \"{events}\" }\nmax_bytes = \"512B\"";
    let text =
        adapted(envelope).replace("max_events = 4", "max_events = 100").replace("flush_at = 4", "flush_at = 100");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    sidecar.upstream.answer_with(|_| Some(answer(201, json!({ "ok": true }))));
    for number in 0..40 {
        let body = json!({ "id": format!("{number:02}"), "user": "ada", "note": "x".repeat(number % 7) }).to_string();
        let org = if number % 3 == 0 { "acme" } else { "a much longer name" };
        let headers = [("authorization", "Bearer ada"), ("x-org-id", org)];
        assert_eq!(sidecar.call(Method::POST, "/event", &headers, body).await.status, StatusCode::ACCEPTED);
    }
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 40).await;
    let mut largest = BTreeMap::<String, usize>::new();
    for seen in sidecar.upstream.seen() {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        assert!(seen.body.len() <= 512, "{} bytes", seen.body.len());
        assert_eq!(
            (body["org_id"].as_str(), body["source"].as_str()),
            (Some(seen.header("x-org-id")), Some("tidegate"))
        );
        assert!(body["rows"].as_array().is_some_and(|rows| !rows.is_empty()));
        let most = largest.entry(seen.header("x-org-id").to_owned()).or_default();
        *most = (*most).max(seen.body.len());
    }
    // An event has at most 80 bytes with its comma: the fullest batches had no room for another one.
    assert!(largest.values().all(|most| *most > 512 - 80), "{largest:?}");
    assert_eq!(largest.len(), 2);
}

#[tokio::test]
async fn headers_of_a_batch_are_set_and_not_doubled() {
    let headers = "headers = { x-user = \"{user}\", x-org = \"org {header.x-org-id}\", x-none = \"{cookie.none|jwt.sub}\", accept = \"application/vnd.x+json\" }";
    let text = adapted(headers).replace("\"header:x-org-id\"]", "\"header:x-org-id\", \"header:cookie\"]");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let headers = [("authorization", "Bearer ada"), ("x-org-id", "acme"), ("accept", "text/html")];
    sidecar.call(Method::POST, "/event", &headers, json!({ "id": "a", "user": "ada" }).to_string()).await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    let seen = &sidecar.upstream.seen()[0];
    let all = |name: &str| seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        (all("x-user"), all("x-org"), all("accept")),
        (vec!["ada"], vec!["org acme"], vec!["application/vnd.x+json"])
    );
    assert!(all("x-none").is_empty(), "what finds nothing is left out");
    assert!(!seen.body.is_empty() && !all("content-length").is_empty());
}

#[tokio::test]
async fn results_may_name_only_what_was_refused() {
    let results = "results = { failed = \"/errors\", id = \"ref\", reason = \"code\", missing = \"accepted\" }\npermanent = [\"bad_row\"]";
    let sidecar = Sidecar::with(&adapted(results), Clock::default()).await;
    let errors = json!({ "errors": [{ "ref": "b", "code": "bad_row" }, { "ref": "c", "code": "locked" }] });
    sidecar.upstream.script([
        answer(200, json!({ "message": "no list at all" })),
        answer(200, errors),
        answer(200, json!({ "errors": [] })),
    ]);
    for id in ["a", "b", "c", "d"] {
        post(&sidecar, "Bearer ada", &json!({ "id": id, "user": "ada" })).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.dead), (3, 1));
    let sizes: Vec<_> = sidecar
        .upstream
        .seen()
        .iter()
        .map(|seen| serde_json::from_slice::<Value>(&seen.body).unwrap()["events"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [4, 4, 1], "without the list nothing was said; what was locked comes again");
}

#[test]
fn what_does_not_fit_together_is_a_problem_with_a_reason() {
    let cases = [
        (
            "pack = \"shared\"",
            "service_credential = { header = \"authorization\", env = \"…\" } is needed, and the application must trust the user id",
        ),
        ("service_credential = { header = \"authorization\", env = \"SERVICE\" }", "is for pack = \"shared\" only"),
        (
            "pack = \"shared\"\nservice_credential = { header = \"authorization\", env = \"NOT_THERE\" }",
            "the environment has no variable NOT_THERE",
        ),
        ("pack = \"shared\"\nservice_credential = { env = \"SERVICE\" }", "header: is missing"),
        ("pack_wait = \"1s\"", "is for pack = \"shared\" only"),
        ("envelope = { rows = 1 }", "\"{events}\" must be in it once"),
        ("envelope = { rows = \"x{events}\" }", "\"{events}\" must be in it once"),
        ("envelope = { a = \"{events}\", b = \"{events}\" }", "\"{events}\" must be in it once"),
        ("envelope = { a = \"{header.x-org-id|events}\" }", "\"{events}\" must be in it once"),
        (
            "envelope = { lang = \"{header.accept-language}\", rows = \"{events}\" }",
            "must be listed in identity.credentials",
        ),
        ("headers = { x-lang = \"{header.accept-language}\" }", "must be listed in identity.credentials"),
        ("headers = { authorization = \"Bearer x\" }", "is part of the credential that events come with"),
        ("headers = { host = \"x\" }", "host is Tidegate's own"),
        ("headers = { apikey = { env = \"NOT_THERE\" } }", "the environment has no variable NOT_THERE"),
        ("form = \"latest\"", "path and url don't belong here"),
        ("form = \"newest\"", "allowed is one of \"batch\", \"latest\""),
        ("flush_with = [\"row\"]", "there is no such group; allowed are rows"),
        ("order_with = [\"row\"]", "there is no such group; allowed are rows"),
        ("flush_on_change = { percent = 0 }", "a number above zero is allowed"),
        ("flush_on = { percent = { at_most = 3 } }", "{ at_least = 100 } or { set = true } is allowed"),
        ("results = { accepted = \"data.accepted\" }", "a JSON Pointer such as \"/data/accepted\" is allowed"),
        ("key = [\"{body.course}\"]", "is for form = \"latest\" and flush_on_change"),
        ("supersede = [\"lesson\"]\nflush_on_change = { percent = 5 }", "can't be had together with supersede"),
        ("envelope = \"{events}\"\nclient_batches = \"take-apart\"", "in the plain envelope only"),
    ];
    for (text, wanted) in cases {
        let text = adapted(text).replace("UPSTREAM", "127.0.0.1:1");
        let variables = [("SERVICE".to_owned(), "Bearer service".to_owned())].into_iter();
        let found = tidegate::config::parse(&text, "test", variables).map(|_| ()).unwrap_err().to_string();
        assert!(found.contains(wanted), "{wanted}\nis not in\n{found}");
        assert!(!found.contains("Bearer service"), "no secret is shown: {found}");
    }
}
