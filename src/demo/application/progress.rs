//! Writes of progress: single events of lessons, courses and assignments, snapshots, batches.

use super::body::{events, text};
use super::call::Call;
use super::census::{Census, Offer, Snapshot};
use super::reply::Reply;
use super::session::Session;
use super::shared::Shared;
use super::stamp::now_iso;
use super::store::{Progress, Store, Subject};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Most events in a batch.
pub const MAX_EVENTS: usize = 100;

/// Numbers stay, anything else is 0.
fn number(body: &Value, name: &str) -> Value {
    body.get(name)
        .filter(|value| value.is_number())
        .cloned()
        .unwrap_or_else(|| 0.into())
}

fn status(body: &Value) -> String {
    text(body, &["status"]).unwrap_or("in_progress").to_owned()
}

fn resume_at(body: &Value) -> Value {
    ["resume_at_s", "position"]
        .iter()
        .find_map(|name| body.get(name).filter(|value| value.is_number()))
        .cloned()
        .into()
}

/// A single event.
#[must_use]
pub fn single(shared: &Shared, subject: Subject, session: &Session, body: &Value) -> Reply {
    // A lesson is stored under the body's user, a course or an assignment under the session's.
    let (user, target, required) = match subject {
        Subject::Lesson => (
            text(body, &["user_id"]),
            text(body, &["lesson_id"]),
            "user_id and lesson_id are required",
        ),
        Subject::Course | Subject::Assignment => (
            session.user(body),
            text(body, &["course_id"]),
            "user_id and course_id are required",
        ),
    };
    let (Some(user), Some(target)) = (user, target) else {
        return Reply::error(StatusCode::BAD_REQUEST, required);
    };
    let mut store = shared.store.lock();
    if !store.within_rate(user, subject, shared.options.speed, Instant::now()) {
        return Reply::error(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many progress updates, please slow down",
        );
    }
    let id = text(body, &["client_event_id", "clientEventId"]);
    if let Some(id) = id {
        let applied = store.first(id);
        let ordered = in_order(subject, target);
        shared.census.offer(Offer {
            id,
            token: session.token(),
            owner: user,
            applied,
            target: ordered,
        });
        if !applied {
            let record = store
                .find(subject, user, target)
                .map(|stored| stored.json(subject, user, target));
            return Reply::ok(json!({"data": record, "idempotent": true}));
        }
    }
    let progress = Progress {
        percent: number(body, "percent"),
        status: status(body),
        time_spent: number(body, "time_spent_s"),
        resume_at: resume_at(body),
        updated_at: now_iso(),
    };
    let record = progress.json(subject, user, target);
    store.write(subject, user, target, progress);
    Reply::ok(json!({ "data": record }))
}

/// Courses are also written by snapshots, which have no place among the events' ids.
fn in_order(subject: Subject, target: &str) -> Option<&str> {
    (subject != Subject::Course).then_some(target)
}

/// A course player's whole state: overwrites every listed lesson and the course, without an id.
#[must_use]
pub fn snapshot(shared: &Shared, call: &Call, session: &Session, body: &Value) -> Reply {
    let lessons = body.get("lessons").and_then(Value::as_array);
    let course = text(body, &["course_id", "courseId"]);
    let (Some(user), Some(course), Some(lessons)) = (session.user(body), course, lessons) else {
        return Reply::json(
            StatusCode::BAD_REQUEST,
            json!({
                "ok": false, "code": "invalid_progress_payload", "message": "Invalid progress snapshot payload",
                "hint": null, "requestId": call.request_id, "queryName": "learner_progress_snapshot", "details": null,
            }),
        );
    };
    let mut store = shared.store.lock();
    let mut updated = 0;
    for lesson in lessons {
        let Some(target) = text(lesson, &["lesson_id", "lessonId"]) else {
            continue;
        };
        store.write(Subject::Lesson, user, target, of_snapshot(lesson));
        updated += 1;
    }
    if let Some(state) = body.get("course").filter(|state| state.is_object()) {
        let completed = state.get("completed_at").is_some_and(|at| !at.is_null());
        let progress = Progress {
            percent: number(state, "percent"),
            status: word(completed).to_owned(),
            time_spent: number(state, "total_time_seconds"),
            resume_at: Value::Null,
            updated_at: now_iso(),
        };
        store.write(Subject::Course, user, course, progress);
        let seconds = state
            .get("total_time_seconds")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        shared.census.snapshot(Snapshot {
            user,
            named: text(body, &["user_id", "userId"]),
            course,
            seconds,
        });
    }
    let body = json!({
        "ok": true, "requestId": call.request_id, "meta": {"mode": "demo"},
        "data": {"userId": user, "courseId": course, "updatedLessons": updated},
    });
    Reply::json(StatusCode::ACCEPTED, body)
}

fn of_snapshot(lesson: &Value) -> Progress {
    let completed = lesson
        .get("completed")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    Progress {
        percent: number(lesson, "progress_percent"),
        status: word(completed).to_owned(),
        time_spent: number(lesson, "position_seconds"),
        resume_at: number(lesson, "position_seconds"),
        updated_at: text(lesson, &["last_accessed_at"]).map_or_else(now_iso, str::to_owned),
    }
}

const fn word(completed: bool) -> &'static str {
    if completed {
        "completed"
    } else {
        "in_progress"
    }
}

/// What a batch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Lessons, and courses where no lesson is named.
    Progress,
    /// Assigned courses.
    Assignments,
}

impl Topic {
    /// What an event sets. One of progress with a lesson writes only that, even if it names a
    /// course.
    fn target(self, event: &Value) -> Option<(Subject, &str)> {
        let lesson =
            || text(event, &["lessonId", "lesson_id"]).map(|lesson| (Subject::Lesson, lesson));
        let course =
            |subject| text(event, &["courseId", "course_id"]).map(|course| (subject, course));
        match self {
            Self::Progress => lesson().or_else(|| course(Subject::Course)),
            Self::Assignments => course(Subject::Assignment),
        }
    }
}

/// A batch. Events are applied in its order, one by one; a bad element fails the rest and leaves
/// what was applied.
#[must_use]
pub fn batch(shared: &Shared, topic: Topic, session: &Session, body: &Value) -> Reply {
    let Some(events) = events(body) else {
        return Reply::error(StatusCode::BAD_REQUEST, "events array is required");
    };
    if events.len() > MAX_EVENTS {
        let body = json!({"error": "too_many_events", "message": "Max 100 events per batch"});
        return Reply::json(StatusCode::BAD_REQUEST, body);
    }
    shared.census.batch(events.len());
    let (mut accepted, mut duplicates, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut store = shared.store.lock();
    for event in events {
        if event.is_null() {
            return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "Unable to process batch");
        }
        match apply(&mut store, &shared.census, topic, session.token(), event) {
            Applied::New(id) => accepted.push(id),
            Applied::Known(id) => duplicates.push(id),
            Applied::Not(id, reason) => failed.push(json!({"id": id, "reason": reason})),
        }
    }
    Reply::ok(json!({"accepted": accepted, "duplicates": duplicates, "failed": failed}))
}

enum Applied {
    New(String),
    Known(String),
    Not(String, &'static str),
}

fn apply(store: &mut Store, census: &Census, topic: Topic, token: &str, event: &Value) -> Applied {
    let id = text(event, &["clientEventId", "client_event_id"]);
    let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let user = text(event, &["userId", "user_id"]);
    let owner = user.unwrap_or_default();
    let seen = |applied, target| {
        census.offer(Offer {
            id: &id,
            token,
            owner,
            applied,
            target,
        })
    };
    let Some(user) = user else {
        seen(false, None);
        return Applied::Not(id, "missing_user");
    };
    let Some((subject, target)) = topic.target(event) else {
        seen(false, None);
        return Applied::Not(id, "missing_target");
    };
    if !store.first(&id) {
        seen(false, None);
        return Applied::Known(id);
    }
    seen(true, in_order(subject, target));
    let progress = Progress {
        percent: percent(event),
        status: status(event),
        time_spent: number(event, "time_spent_s"),
        resume_at: resume_at(event),
        updated_at: now_iso(),
    };
    store.write(subject, user, target, progress);
    Applied::New(id)
}

/// Rounded and clamped, as the batch does and the single does not.
fn percent(event: &Value) -> Value {
    let percent = event.get("percent").and_then(Value::as_f64).unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=100"
    )]
    let percent = percent.clamp(0.0, 100.0).round() as u8;
    percent.into()
}
