//! Adapters: envelopes, headers and results of batch endpoints that are not Tidegate's own.
//!
//! The stand-in for PostgREST does what its documentation says ("Tables and Views": Bulk Insert,
//! Bulk Insert with Default Values, Specifying Columns, Upsert, On Conflict; "Prefer Header";
//! "Errors"; Supabase's "Error Codes"):
//!
//! - a bulk insert is an array of objects that all have the same keys (else 400, PGRST102), unless
//!   `columns` names the keys that count: then what is missing is null, or the column's default
//!   with `missing=default`;
//! - `resolution=ignore-duplicates` skips rows whose primary key, or whose `on_conflict` column, is
//!   known; without it, or if another column is in conflict, nothing is inserted: 409 (23505);
//! - `return=representation` answers 201 with the rows that were made and no others, else 201 has
//!   no body;
//! - a refusal by row level security is 403 (42501), a token that is no good 401.

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
    answer(
        status,
        json!({ "code": code, "message": message, "details": null, "hint": null }),
    )
}

/// The value of a query parameter.
fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn keys(row: &Value) -> BTreeSet<String> {
    row.as_object().unwrap().keys().cloned().collect()
}

fn id_of(row: &Value) -> String {
    row["client_event_id"].as_str().unwrap().to_owned()
}

/// Only the named columns count; what is missing is null, or the default.
fn with_columns(row: &Value, columns: &str, defaults: bool) -> Value {
    let missing = |column: &str| {
        if defaults && column == "note" {
            json!("none")
        } else {
            Value::Null
        }
    };
    let cell = |column: &str| {
        (
            column.to_owned(),
            row.get(column).cloned().unwrap_or_else(|| missing(column)),
        )
    };
    Value::Object(columns.split(',').map(cell).collect())
}

impl Table {
    fn insert(&mut self, seen: &Seen) -> Response<Full<Bytes>> {
        if seen.header("apikey") != "anon" {
            return answer(401, json!({ "message": "No API key found in request" }));
        }
        if !seen.header("authorization").starts_with("Bearer ") {
            return problem(401, "PGRST301", "JWT could not be decoded");
        }
        if seen.header("content-type") != "application/json" {
            return problem(415, "PGRST107", "Content-Type not acceptable");
        }
        let Ok(Value::Array(rows)) = serde_json::from_slice(&seen.body) else {
            return problem(400, "PGRST102", "Empty or invalid json");
        };
        let prefer: Vec<_> = seen.header("prefer").split(',').map(str::trim).collect();
        let rows = match parameter(&seen.path, "columns") {
            Some(columns) => rows
                .iter()
                .map(|row| with_columns(row, columns, prefer.contains(&"missing=default")))
                .collect(),
            None if rows.iter().any(|row| keys(row) != keys(&rows[0])) => {
                return problem(400, "PGRST102", "All object keys must match");
            }
            None => rows,
        };
        if rows.iter().any(|row| self.foreign.contains(&id_of(row))) {
            return problem(403, "42501", "new row violates row-level security policy");
        }
        // The primary key is another column.
        let ignore = prefer.contains(&"resolution=ignore-duplicates")
            && parameter(&seen.path, "on_conflict") == Some("client_event_id");
        let (known, new): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| self.rows.contains_key(&id_of(row)));
        if !known.is_empty() && !ignore {
            return problem(
                409,
                "23505",
                "duplicate key value violates unique constraint",
            );
        }
        self.rows
            .extend(new.iter().map(|row| (id_of(row), row.clone())));
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
        seen.path
            .contains("/progress_events")
            .then(|| shared.lock().unwrap().insert(seen))
    });
    table
}

async fn post(sidecar: &Sidecar, token: &str, body: &Value) {
    let answer = sidecar
        .call(
            Method::POST,
            "/event",
            &[("authorization", token)],
            body.to_string(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

#[tokio::test]
async fn batches_go_straight_into_a_postgrest_table() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    table.lock().unwrap().rows.insert("b".into(), json!({}));
    for (id, more) in [
        ("a", json!(40)),
        ("b", json!(41)),
        ("c", json!(42)),
        ("d", Value::Null),
    ] {
        post(
            &sidecar,
            "Bearer ada",
            &json!({ "id": id, "user": "ada", "percent": more }),
        )
        .await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.accepted, ledger.duplicate, ledger.dead),
        (3, 1, 0),
        "b was there already"
    );
    let seen = sidecar.upstream.seen();
    assert_eq!(
        (seen.len(), seen[0].header("authorization")),
        (1, "Bearer ada"),
        "the user's own token, for the row policies"
    );
    let table = table.lock().unwrap();
    let wanted = json!({ "client_event_id": "a", "user_id": "ada", "percent": 40, "note": null });
    assert_eq!(
        (table.rows.len(), &table.rows["a"]),
        (4, &wanted),
        "a field that is missing is null: all keys match"
    );
}

#[tokio::test]
async fn rows_of_unequal_keys_are_sent_apart_and_none_is_lost() {
    let text = TABLE.replace("note = \"{body.note|null}\"", "note = \"{body.note}\"");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    for (id, note) in [
        ("a", json!({})),
        ("b", json!({ "note": "x" })),
        ("c", json!({})),
        ("d", json!({})),
    ] {
        let mut body = json!({ "id": id, "user": "ada" });
        body.as_object_mut()
            .unwrap()
            .extend(note.as_object().unwrap().clone());
        post(&sidecar, "Bearer ada", &body).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (
            ledger.accepted,
            ledger.dead,
            table.lock().unwrap().rows.len()
        ),
        (4, 0, 4)
    );
    assert!(sidecar.upstream.seen().len() > 1);
}

/// Four rows, of which `b` is there already and one has no note.
async fn four(sidecar: &Sidecar) -> Arc<Mutex<Table>> {
    let table = serve(&sidecar.upstream);
    table.lock().unwrap().rows.insert("b".into(), json!({}));
    for id in ["a", "b", "c"] {
        post(
            sidecar,
            "Bearer ada",
            &json!({ "id": id, "user": "ada", "note": "x" }),
        )
        .await;
    }
    post(sidecar, "Bearer ada", &json!({ "id": "d", "user": "ada" })).await;
    table
}

#[tokio::test]
async fn rows_of_unequal_keys_go_together_where_the_address_names_the_columns() {
    let columns = "?columns=client_event_id,user_id,percent,note&on_conflict=";
    let text = TABLE
        .replace("{body.note|null}", "{body.note}")
        .replace("?on_conflict=", columns)
        .replace("resolution=", "missing=default,resolution=");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let table = four(&sidecar).await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!((ledger.accepted, ledger.duplicate), (3, 1));
    assert_eq!(sidecar.upstream.seen().len(), 1);
    let table = table.lock().unwrap();
    assert_eq!(
        (&table.rows["a"]["note"], &table.rows["d"]["note"]),
        (&json!("x"), &json!("none")),
        "its default"
    );
}

#[tokio::test]
async fn a_known_row_sinks_no_other_where_the_table_refuses_it() {
    for wrong in [
        TABLE.replace("resolution=ignore-duplicates,", ""),
        TABLE.replace("?on_conflict=client_event_id", ""),
        TABLE.replace("?on_conflict=client_event_id", "?on_conflict=id"),
    ] {
        let sidecar = Sidecar::with(&wrong, Clock::default()).await;
        let table = four(&sidecar).await;
        let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
        assert_eq!((ledger.accepted, ledger.duplicate, ledger.dead), (3, 0, 1));
        assert_eq!(table.lock().unwrap().rows.len(), 4);
        let dead = &sidecar.admin(Method::GET, "/dead-letters").await.json()[0];
        assert_eq!((&dead["id"], &dead["status"]), (&json!("b"), &json!(409)));
    }
}

#[tokio::test]
async fn without_the_representation_nothing_is_believed_to_be_taken() {
    let sidecar = Sidecar::with(
        &TABLE.replace(",return=representation", ""),
        Clock::default(),
    )
    .await;
    let table = four(&sidecar).await;
    sidecar.upstream.until(|seen| seen.len() > 3).await;
    assert_eq!(
        (
            sidecar.running.ledger().pending,
            table.lock().unwrap().rows.len()
        ),
        (4, 4),
        "there, but nobody says so"
    );
    // Without `results` a 201 is enough, and what was known counts as accepted.
    let start = TABLE.find("results = ").unwrap();
    let (before, after) = TABLE.split_at(start);
    let text = before.replace(",return=representation", "") + after.split_once('\n').unwrap().1;
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let table = four(&sidecar).await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (
            ledger.accepted,
            table.lock().unwrap().rows.len(),
            sidecar.upstream.seen().len()
        ),
        (4, 4, 1)
    );
}

#[tokio::test]
async fn a_token_that_is_no_good_loses_no_row() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table = serve(&sidecar.upstream);
    post(&sidecar, "no token", &json!({ "id": "a", "user": "eve" })).await;
    post(&sidecar, "Bearer ada", &json!({ "id": "b", "user": "ada" })).await;
    sidecar.flush().await;
    sidecar
        .until_counter(
            "tidegate_batches_total{group=\"rows\",result=\"rejected\"}",
            1,
        )
        .await;
    let ledger = sidecar.until(|ledger| ledger.accepted == 1).await;
    assert_eq!((ledger.pending, ledger.dead), (1, 0));
    assert_eq!(table.lock().unwrap().rows.keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_every_row_is_there_once() {
    let sidecar = Sidecar::with(TABLE, Clock::default()).await;
    let table: Arc<Mutex<Table>> = Arc::default();
    let (shared, mut first) = (Arc::clone(&table), true);
    sidecar.upstream.answer_with(move |seen| {
        let made = shared.lock().unwrap().insert(seen);
        Some(if std::mem::take(&mut first) {
            answer(502, json!({}))
        } else {
            made
        })
    });
    for id in ["a", "b", "c", "d"] {
        post(&sidecar, "Bearer ada", &json!({ "id": id, "user": "ada" })).await;
    }
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (
            ledger.duplicate,
            ledger.dead,
            table.lock().unwrap().rows.len()
        ),
        (4, 0, 4)
    );
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

/// The claim `{"sub":"…"}` of nobody's key.
const ADA: &str = "Bearer e30.eyJzdWIiOiJhZGEifQ.x";
const EVE: &str = "Bearer e30.eyJzdWIiOiJldmUifQ.x";

#[tokio::test]
async fn the_configuration_in_the_docs_does_what_they_say() {
    let docs = include_str!("../../docs/delivery.md")
        .split_once("## Into a PostgREST table")
        .unwrap()
        .1;
    let text = docs
        .split_once("```toml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let sockets = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \
        \"127.0.0.1:0\"\n[journal]\ndurability = \"none\"\n";
    let sidecar = Sidecar::with(
        &format!("{}{sockets}", text.replace("127.0.0.1:54321", "UPSTREAM")),
        Clock::default(),
    )
    .await;
    let table = serve(&sidecar.upstream);
    table.lock().unwrap().rows.insert("known".into(), json!({}));
    let insert = async |token: &str, row: Value| {
        sidecar
            .call(
                Method::POST,
                "/rest/v1/progress_events",
                &[("authorization", token)],
                row.to_string(),
            )
            .await
            .status
    };
    for (token, id) in [
        (ADA, "a"),
        (ADA, "known"),
        (EVE, "e"),
        (ADA, "b"),
        (ADA, "a"),
    ] {
        assert_eq!(
            insert(token, json!({ "client_event_id": id, "percent": 5 })).await,
            StatusCode::CREATED
        );
    }
    assert_eq!(
        table.lock().unwrap().rows.len(),
        1,
        "acknowledged, and not yet sent"
    );
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(
        (ledger.accepted, ledger.duplicate, ledger.dead),
        (3, 2, 0),
        "one was there, and one came twice"
    );
    let seen = sidecar.upstream.seen();
    assert_eq!(seen.len(), 2, "one for each user");
    for call in &seen {
        let user = if call.header("authorization") == ADA {
            "ada"
        } else {
            "eve"
        };
        let rows: Value = serde_json::from_slice(&call.body).unwrap();
        assert!(
            rows.as_array()
                .unwrap()
                .iter()
                .all(|row| row["user_id"] == user),
            "{rows}"
        );
    }
    let wanted = json!({ "client_event_id": "a", "user_id": "ada", "percent": 5, "note": null });
    assert_eq!(table.lock().unwrap().rows["a"], wanted);
    // In another's name, or in nobody's: PostgREST's to judge, at once.
    table.lock().unwrap().foreign.insert("forged".into());
    let forged = json!({ "client_event_id": "forged", "user_id": "eve" });
    assert_eq!(
        insert(ADA, forged.clone()).await,
        StatusCode::UNAUTHORIZED,
        "the client sent no apikey"
    );
    assert_eq!(insert("", forged).await, StatusCode::UNAUTHORIZED);
    assert_eq!(insert(ADA, json!([])).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sidecar.running.stop().await.received, 5);
}

fn adapted(more: &str) -> String {
    let start = TABLE.find("envelope = ").unwrap();
    let end = TABLE.find("[[event]]").unwrap();
    format!("{}{more}\n{}", &TABLE[..start], &TABLE[end..])
}

#[tokio::test]
async fn an_envelope_with_a_header_never_mixes_two_values_of_it_and_counts_to_the_byte() {
    let envelope = "envelope = { org_id = \"{header.x-org-id}\", source = \"tidegate\", rows = \
        \"{events}\" }\nmax_bytes = \"512B\"";
    let text = adapted(envelope)
        .replace("max_events = 4", "max_events = 100")
        .replace("flush_at = 4", "flush_at = 100");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(201, json!({ "ok": true }))));
    for number in 0..40 {
        let org = if number % 3 == 0 {
            "acme"
        } else {
            "a much longer name"
        };
        let body =
            json!({ "id": format!("{number:02}"), "user": org, "note": "x".repeat(number % 7) })
                .to_string();
        // Two users, since one user's events leave in one order, and each change of organisation
        // cuts its batches.
        let headers = [("authorization", org), ("x-org-id", org)];
        assert_eq!(
            sidecar
                .call(Method::POST, "/event", &headers, body)
                .await
                .status,
            StatusCode::ACCEPTED
        );
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
        let most = largest
            .entry(seen.header("x-org-id").to_owned())
            .or_default();
        *most = (*most).max(seen.body.len());
    }
    // An event has at most 80 bytes with its comma: the fullest batches had no room for another
    // one.
    assert!(largest.values().all(|most| *most > 512 - 80), "{largest:?}");
    assert_eq!(largest.len(), 2);
}

#[tokio::test]
async fn every_batch_but_the_last_is_full_to_the_byte() {
    let envelope = "envelope = { org_id = \"{header.x-org-id}\", at = \"{now.iso}\", by = \
        \"{user}\", rows = \"{events}\" }\nmax_bytes = \"512B\"";
    let text = adapted(envelope)
        .replace("max_events = 4", "max_events = 100")
        .replace("flush_at = 4", "flush_at = 100");
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    sidecar
        .upstream
        .answer_with(|_| Some(answer(201, json!({ "ok": true }))));
    // The first one is on its way while the others gather, so that all of them are due when the
    // next one is formed.
    sidecar.upstream.close_gate();
    for number in 0..120 {
        let note = "x".repeat(number * number * 7 % 101);
        let body = json!({ "id": format!("{number:03}"), "user": "ada", "note": note });
        let headers = [("authorization", "Bearer ada"), ("x-org-id", "acme")];
        let told = sidecar
            .call(Method::POST, "/event", &headers, body.to_string())
            .await;
        assert_eq!(told.status, StatusCode::ACCEPTED);
    }
    sidecar.flush().await;
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 120).await;
    let seen = sidecar.upstream.seen();
    assert_eq!(
        seen.iter().map(|one| one.body.len()).max(),
        Some(512),
        "none is larger, and these sizes fill some"
    );
    for pair in seen.windows(2) {
        // Sent as it was counted: the body is text, and an event in it has the length that it had
        // alone.
        let text = std::str::from_utf8(&pair[1].body).unwrap();
        let rows = &text[text.find("\"rows\":[").unwrap() + 8..];
        let first = &rows[..=rows.find('}').unwrap()];
        assert!(
            pair[0].body.len() + 1 + first.len() > 512,
            "{first} would have fitted: {}",
            pair[0].body.len()
        );
    }
}

#[tokio::test]
async fn headers_of_a_batch_are_set_and_not_doubled() {
    let headers = "headers = { x-user = \"{user}\", x-org = \"org {header.x-org-id}\", x-none = \
        \"{cookie.none|jwt.sub}\", accept = \"application/vnd.x+json\" }";
    let text = adapted(headers).replace(
        "\"header:x-org-id\"]",
        "\"header:x-org-id\", \"header:cookie\"]",
    );
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    let headers = [
        ("authorization", "Bearer ada"),
        ("x-org-id", "acme"),
        ("accept", "text/html"),
    ];
    sidecar
        .call(
            Method::POST,
            "/event",
            &headers,
            json!({ "id": "a", "user": "ada" }).to_string(),
        )
        .await;
    sidecar.flush().await;
    sidecar.upstream.until(|seen| !seen.is_empty()).await;
    let seen = &sidecar.upstream.seen()[0];
    let all = |name: &str| {
        seen.headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (all("x-user"), all("x-org"), all("accept")),
        (
            vec!["ada"],
            vec!["org acme"],
            vec!["application/vnd.x+json"]
        )
    );
    assert!(all("x-none").is_empty(), "what finds nothing is left out");
    assert!(!seen.body.is_empty() && !all("content-length").is_empty());
}

#[tokio::test]
async fn results_may_name_only_what_was_refused() {
    let results = "results = { failed = \"/errors\", id = \"ref\", reason = \"code\", missing = \
        \"accepted\" }\npermanent = [\"bad_row\"]";
    let sidecar = Sidecar::with(&adapted(results), Clock::default()).await;
    let errors =
        json!({ "errors": [{ "ref": "b", "code": "bad_row" }, { "ref": "c", "code": "locked" }] });
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
        .map(|seen| {
            serde_json::from_slice::<Value>(&seen.body).unwrap()["events"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(
        sizes,
        [4, 4, 1],
        "without the list nothing was said; what was locked comes again"
    );
}

#[test]
fn what_does_not_fit_together_is_a_problem_with_a_reason() {
    let cases = [
        (
            "pack = \"shared\"",
            "service_credential = { header = \"authorization\", env = \"…\" } is needed, and the \
             application must trust the user id",
        ),
        (
            "service_credential = { header = \"authorization\", env = \"SERVICE\" }",
            "is for pack = \"shared\" only",
        ),
        (
            "pack = \"shared\"\nservice_credential = { header = \"authorization\", env = \
             \"NOT_THERE\" }",
            "the environment has no variable NOT_THERE",
        ),
        (
            "pack = \"shared\"\nservice_credential = { env = \"SERVICE\" }",
            "header: is missing",
        ),
        ("pack_wait = \"1s\"", "is for pack = \"shared\" only"),
        ("envelope = { rows = 1 }", "\"{events}\" must be in it once"),
        (
            "envelope = { rows = \"x{events}\" }",
            "\"{events}\" must be in it once",
        ),
        (
            "envelope = { a = \"{events}\", b = \"{events}\" }",
            "\"{events}\" must be in it once",
        ),
        (
            "envelope = { a = \"{header.x-org-id|events}\" }",
            "\"{events}\" must be in it once",
        ),
        (
            "envelope = { lang = \"{header.accept-language}\", rows = \"{events}\" }",
            "envelope: found {header.accept-language}; what it looks at must count as the caller's",
        ),
        (
            "headers = { x-lang = \"{header.accept-language}\" }",
            "headers: x-lang: found {header.accept-language}; what it looks at must count as the \
             caller's",
        ),
        (
            "headers = { x-lang = \"{body.lang}\" }",
            "headers: x-lang: found {body.lang}; what it looks at must count",
        ),
        (
            "flush_with = [\"rows\"]",
            "flush_with: found \"rows\", which is this group",
        ),
        (
            "headers = { authorization = \"Bearer x\" }",
            "is part of the credential that events come with",
        ),
        ("headers = { host = \"x\" }", "host is Tidegate's own"),
        (
            "headers = { apikey = { env = \"NOT_THERE\" } }",
            "the environment has no variable NOT_THERE",
        ),
        ("form = \"single\"", "path and url don't belong here"),
        (
            "form = \"latest\"",
            "\"latest\" is form = \"single\" with keep = \"newest\" now",
        ),
        (
            "form = \"newest\"",
            "one of \"batch\", \"single\" is allowed",
        ),
        (
            "flush_with = [\"row\"]",
            "there is no such group; allowed are rows",
        ),
        ("order_with = [\"row\"]", "order_with: is gone"),
        (
            "flush_on_change = { percent = 0 }",
            "percent: found 0; a number above zero is allowed",
        ),
        (
            "flush_on = { percent = { at_most = 3 } }",
            "{ at_least = 100 } or { set = true } is allowed",
        ),
        (
            "results = { accepted = \"data.accepted\" }",
            "a JSON Pointer such as \"/data/accepted\" is allowed",
        ),
        (
            "key = [\"{body.course}\"]",
            "is for keep = \"newest\" and flush_on_change",
        ),
        (
            "key = [\"lesson|\"]\nkeep = \"newest\"",
            "a name is empty; allowed are places in the event",
        ),
        (
            "keep = \"newest\"",
            "keep: needs a key, such as key = [\"type\", \"lessonId\"]",
        ),
        ("keep = \"last\"", "one of \"all\", \"newest\""),
        (
            "supersede = [\"lesson\"]",
            "supersede: is key and keep now: key = [\"type\", \"lessonId\"], keep = \"newest\"",
        ),
        (
            "envelope = \"{events}\"\nclient_batches = \"take-apart\"",
            "in the plain envelope only",
        ),
    ];
    for (text, wanted) in cases {
        let text = adapted(text).replace("UPSTREAM", "127.0.0.1:1");
        let variables = [("SERVICE".to_owned(), "Bearer service".to_owned())].into_iter();
        let found = tidegate::config::parse(&text, "test", variables)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(found.contains(wanted), "{wanted}\nis not in\n{found}");
        assert!(
            !found.contains("Bearer service"),
            "no secret is shown: {found}"
        );
    }
}
