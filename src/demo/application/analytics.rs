//! Analytics: single events, batches, the list. Unlike the application of the recordings, a batch
//! keeps every field.

use super::body::events;
use super::call::Call;
use super::census::Offer;
use super::reply::Reply;
use super::session::Session;
use super::shared::Shared;
use super::stamp::now_iso;
use http::StatusCode;
use serde_json::{Map, Value, json};

/// Most events in a batch.
pub const MAX_EVENTS: usize = 50;

fn nonempty(value: Option<&Value>) -> Option<&str> {
    value
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// A single event. Without an organisation it is dropped, politely.
#[must_use]
pub fn single(shared: &Shared, call: &Call, session: &Session, body: &Value) -> Reply {
    if nonempty(body.get("event_type")).is_none() {
        return invalid_single(body);
    }
    let header = call
        .header("x-org-id")
        .or_else(|| call.header("x-organization-id"));
    let organization = header
        .or_else(|| call.cookie("active_org"))
        .or_else(|| nonempty(body.get("org_id")));
    let id =
        nonempty(body.get("id")).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let (token, owner) = (
        session.token(),
        nonempty(body.get("user_id")).unwrap_or_default(),
    );
    shared.census.offer(Offer {
        id: &id,
        token,
        owner,
        applied: organization.is_some(),
        target: Some(group_of(body.get("event_type"))),
    });
    let Some(organization) = organization else {
        let data = json!({"status": "queued", "stored": false, "missingOrgContext": true, "skipped": "missing_org"});
        return queued(
            StatusCode::ACCEPTED,
            data,
            "analytics_event_queued",
            "Analytics event queued.",
        );
    };
    let mut row = body.clone();
    if let Value::Object(row) = &mut row {
        row.insert("org_id".into(), organization.into());
    }
    let row = stored(&id, &row);
    shared.store.lock().insert(row.clone());
    let data = json!({"status": "stored", "stored": true, "missingOrgContext": false, "data": row, "demo": true});
    queued(
        StatusCode::OK,
        data,
        "analytics_event_stored",
        "Analytics event stored.",
    )
}

fn queued(status: StatusCode, data: Value, code: &str, message: &str) -> Reply {
    Reply::json(
        status,
        json!({"ok": true, "data": data, "code": code, "message": message, "meta": null}),
    )
}

fn invalid_single(body: &Value) -> Reply {
    let keys: Vec<_> = body
        .as_object()
        .map(|body| body.keys().collect())
        .unwrap_or_default();
    let details = json!([{"path": ["event_type"], "message": "Required"}]);
    let body = json!({
        "ok": false, "error": "ANALYTICS_PAYLOAD_INVALID", "message": "Validation failed", "details": details,
        "receivedKeys": keys,
    });
    Reply::json(StatusCode::BAD_REQUEST, body)
}

/// The row of a single event: the columns, null where the body is silent.
fn stored(id: &str, body: &Value) -> Value {
    let column = |name: &str| body.get(name).cloned().unwrap_or(Value::Null);
    let payload = body.get("payload").cloned().unwrap_or_else(|| json!({}));
    json!({
        "id": id, "user_id": column("user_id"), "org_id": column("org_id"), "course_id": column("course_id"),
        "lesson_id": column("lesson_id"), "module_id": column("module_id"), "event_type": column("event_type"),
        "session_id": column("session_id"), "user_agent": column("user_agent"), "payload": payload,
        "client_event_id": id, "created_at": now_iso(),
    })
}

/// A batch: all or nothing, answered with a count.
#[must_use]
pub fn batch(shared: &Shared, session: &Session, body: &Value) -> Reply {
    let problems = problems(body);
    if !problems.is_empty() {
        let keys: Vec<_> = body
            .as_object()
            .map(|body| body.keys().collect())
            .unwrap_or_default();
        let body = json!({
            "ok": false, "data": null, "code": "analytics_batch_invalid", "message": "Validation failed",
            "meta": null, "details": problems, "receivedKeys": keys,
        });
        return Reply::json(StatusCode::BAD_REQUEST, body);
    }
    let events = events(body).unwrap_or_default();
    shared.census.batch(events.len());
    let mut store = shared.store.lock();
    for event in events {
        let id = nonempty(event.get("clientEventId")).unwrap_or_default();
        let owner = nonempty(event.get("userId")).unwrap_or_default();
        shared.census.offer(Offer {
            id,
            token: session.token(),
            owner,
            applied: true,
            target: Some(group_of(event.get("eventName"))),
        });
        store.insert(stored(id, &columns(event)));
    }
    let data = json!({ "ingested": events.len() });
    queued(
        StatusCode::CREATED,
        data,
        "analytics_batch_ingested",
        "Analytics batch ingested.",
    )
}

/// The events that keep one order: those of the player's courses come in batches of their own.
fn group_of(name: Option<&Value>) -> &'static str {
    match name.and_then(Value::as_str) {
        Some("course_started" | "course_resumed" | "course_completed") => "course-analytics",
        _ => "analytics",
    }
}

/// A batch event under the names of a single one.
fn columns(event: &Value) -> Value {
    let names = [
        ("userId", "user_id"),
        ("orgId", "org_id"),
        ("courseId", "course_id"),
        ("lessonId", "lesson_id"),
        ("moduleId", "module_id"),
        ("sessionId", "session_id"),
        ("userAgent", "user_agent"),
        ("eventName", "event_type"),
        ("properties", "payload"),
        ("payload", "payload"),
    ];
    let mut row = Map::new();
    for (camel, snake) in names {
        row.extend(
            event
                .get(camel)
                .map(|value| (snake.to_owned(), value.clone())),
        );
    }
    Value::Object(row)
}

/// What is wrong with a batch, in the words of its schema.
fn problems(body: &Value) -> Vec<Value> {
    let at_all = |message: &str| vec![json!({"path": ["events"], "message": message})];
    let Some(events) = body.get("events").and_then(Value::as_array) else {
        return at_all("Required");
    };
    if events.is_empty() {
        return at_all("Array must contain at least 1 element(s)");
    }
    if events.len() > MAX_EVENTS {
        return at_all("Array must contain at most 50 element(s)");
    }
    events
        .iter()
        .enumerate()
        .flat_map(|(index, event)| problems_of(index, event))
        .collect()
}

fn problems_of(index: usize, event: &Value) -> Vec<Value> {
    let problem =
        |field: &str, message: &str| json!({"path": ["events", index, field], "message": message});
    if !event.is_object() {
        return vec![json!({"path": ["events", index], "message": "Expected object"})];
    }
    let required = ["clientEventId", "eventName"]
        .into_iter()
        .filter_map(|field| match event.get(field) {
            None if field == "eventName" => Some(problem(field, "Required")),
            other if nonempty(other).is_none() => {
                Some(problem(field, &format!("{field} is required")))
            }
            _ => None,
        });
    let optional = [
        "eventVersion",
        "userId",
        "orgId",
        "courseId",
        "lessonId",
        "properties",
        "context",
        "occurredAt",
    ];
    let null = |field: &&str| event.get(field).is_some_and(Value::is_null);
    let nulls = optional
        .into_iter()
        .filter(null)
        .map(|field| problem(field, "Expected string, received null"));
    required.chain(nulls).collect()
}

/// The newest events first, of everybody.
#[must_use]
pub fn list(shared: &Shared, call: &Call) -> Reply {
    let limit = call
        .parameter("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(50);
    let store = shared.store.lock();
    let rows: Vec<_> = store.rows().take(limit).cloned().collect();
    Reply::ok(json!({"ok": true, "data": rows}))
}
