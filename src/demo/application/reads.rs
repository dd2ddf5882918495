//! Reads of a learner's browser: lesson progress, the summary, the catalogue.

use super::account;
use super::call::Call;
use super::catalogue::{COURSES, LESSONS, course_id, lesson_id};
use super::reply::Reply;
use super::shared::Shared;
use http::StatusCode;
use serde_json::{Value, json};

/// One row per lesson asked for, made up where nothing is known.
#[must_use]
pub fn lesson_progress(shared: &Shared, call: &Call, session: &str) -> Reply {
    let refuse = |status, code: &str, message: &str| {
        let body = json!({
            "ok": false, "code": code, "message": message, "hint": null, "requestId": call.request_id,
            "queryName": "learner_progress_fetch", "details": null,
        });
        Reply::json(status, body)
    };
    if call.parameter("userId").is_some_and(|user| user != session) {
        return refuse(
            StatusCode::FORBIDDEN,
            "forbidden",
            "You can only view your own progress.",
        );
    }
    let wanted = call.parameter("lessonIds").unwrap_or_default();
    let wanted: Vec<_> = wanted.split(',').filter(|id| !id.is_empty()).collect();
    if wanted.is_empty() {
        return refuse(
            StatusCode::BAD_REQUEST,
            "lesson_ids_required",
            "lessonIds is required",
        );
    }
    let store = shared.store.lock();
    let row = |lesson: &str| match store.lesson(session, lesson) {
        Some(progress) => json!({
            "lesson_id": lesson, "progress_percentage": progress.percent, "completed": progress.completed(),
            "time_spent": progress.time_spent, "last_accessed_at": progress.updated_at,
        }),
        None => json!({
            "lesson_id": lesson, "progress_percentage": 0, "completed": false, "time_spent": 0,
            "last_accessed_at": null,
        }),
    };
    let rows: Vec<_> = wanted.into_iter().map(row).collect();
    Reply::ok(json!({
        "ok": true, "requestId": call.request_id, "data": {"lessons": rows}, "meta": {"mode": "demo"},
    }))
}

/// The dashboard's numbers, from the course records.
#[must_use]
pub fn summary(shared: &Shared, session: &str) -> Reply {
    let store = shared.store.lock();
    let (mut total, mut completed, mut percent, mut seconds) = (0_u32, 0_u32, 0.0, 0.0);
    for course in store.courses(session) {
        total += 1;
        completed += u32::from(course.completed());
        percent += course.percent.as_f64().unwrap_or(0.0);
        seconds += course.time_spent.as_f64().unwrap_or(0.0);
    }
    let overall = if total == 0 {
        0.0
    } else {
        percent / f64::from(total)
    };
    Reply::ok(json!({"data": {
        "modulesCompleted": completed, "modulesTotal": total, "overallPercent": whole(overall),
        "timeInvestedSeconds": whole(seconds), "certificatesEarned": 0, "streakDays": 0,
    }}))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float that is out of range saturates"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// The catalogue.
#[must_use]
pub fn courses(call: &Call) -> Reply {
    let courses: Vec<_> = (0..COURSES).map(course).collect();
    Reply::ok(json!({"ok": true, "data": courses, "requestId": call.request_id}))
}

/// One course; an unknown one is no error.
#[must_use]
pub fn one_course(call: &Call, id: &str) -> Reply {
    match (0..COURSES).find(|number| course_id(*number).eq_ignore_ascii_case(id)) {
        Some(number) => {
            Reply::ok(json!({"ok": true, "data": course(number), "requestId": call.request_id}))
        }
        None => Reply::ok(json!({ "data": null })),
    }
}

fn course(number: usize) -> Value {
    let lesson = |index| {
        json!({
            "id": lesson_id(number, index), "module_id": "mod-1", "title": format!("Lesson {}", index + 1),
            "description": null, "type": "video", "order_index": index, "duration_s": 1200, "content_json": {},
        })
    };
    let lessons: Vec<_> = (0..LESSONS).map(lesson).collect();
    let id = course_id(number);
    json!({
        "id": id, "slug": format!("demo-{id}"), "title": "Demo Course", "description": "Demo course.",
        "status": "published", "version": 1, "meta_json": {"tags": ["demo"]},
        "published_at": "2026-11-23T20:24:23.074Z", "thumbnail": "/img/demo.png", "difficulty": "Beginner",
        "duration": "2 hours", "organization_id": account::ORGANIZATION, "organizationId": account::ORGANIZATION,
        "instructorName": "Demo Instructor", "estimatedDuration": 7200, "keyTakeaways": ["One takeaway"],
        "modules": [{
            "id": "mod-1", "course_id": id, "title": "Module", "description": null, "order_index": 0,
            "lessons": lessons,
        }],
    })
}
