//! What the course player tells: the whole state of its course, each time.

use super::lesson::{LESSON_SECONDS, percent};
use serde_json::{Value, json};

/// Where a learner stands in a course.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Who.
    pub user: &'a str,
    /// The course.
    pub course: &'a str,
    /// Finished lessons in their order, each with the time of its end (ISO 8601).
    pub finished: &'a [(Box<str>, String)],
    /// The lesson that is playing.
    pub lesson: &'a str,
    /// Where its video is, seconds.
    pub position: u32,
    /// Of the whole course.
    pub percent: u32,
    /// Time spent on the whole course, seconds.
    pub seconds: u64,
    /// Now, ISO 8601.
    pub now: &'a str,
}

impl State<'_> {
    /// The body of a snapshot.
    #[must_use]
    pub fn body(&self) -> String {
        let Self {
            user,
            course,
            finished,
            lesson,
            position,
            percent,
            seconds,
            now,
        } = *self;
        let mut lessons: Vec<Value> = finished
            .iter()
            .map(|(id, ended)| row(id, LESSON_SECONDS, ended))
            .collect();
        lessons.push(row(lesson, position, now));
        let ids: Vec<&str> = finished
            .iter()
            .map(|(id, _)| &**id)
            .chain([lesson])
            .collect();
        let completed_at = (percent == 100).then_some(now);
        json!({
            "user_id": user, "course_id": course, "lesson_ids": ids, "lessons": lessons,
            "course": {
                "percent": percent, "completed_at": completed_at, "total_time_seconds": seconds,
                "last_lesson_id": lesson,
            },
        })
        .to_string()
    }
}

fn row(lesson: &str, position: u32, accessed: &str) -> Value {
    json!({
        "lesson_id": lesson, "progress_percent": percent(position), "completed": position == LESSON_SECONDS,
        "position_seconds": position, "last_accessed_at": accessed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_every_lesson_so_far() {
        let finished = [("l1".into(), "then".to_owned())];
        let state = State {
            user: "ada",
            course: "c1",
            finished: &finished,
            lesson: "l2",
            position: 93,
            percent: 10,
            seconds: 393,
            now: "now",
        };
        let body: Value = serde_json::from_str(&state.body()).unwrap();
        let expected = json!({
            "user_id": "ada", "course_id": "c1", "lesson_ids": ["l1", "l2"],
            "lessons": [
                {"lesson_id": "l1", "progress_percent": 100, "completed": true, "position_seconds": 300, "last_accessed_at": "then"},
                {"lesson_id": "l2", "progress_percent": 31, "completed": false, "position_seconds": 93, "last_accessed_at": "now"},
            ],
            "course": {"percent": 10, "completed_at": null, "total_time_seconds": 393, "last_lesson_id": "l2"},
        });
        assert_eq!(body, expected);
        let last = State {
            position: 300,
            percent: 100,
            ..state
        };
        let body: Value = serde_json::from_str(&last.body()).unwrap();
        assert_eq!(
            (
                &body["course"]["completed_at"],
                &body["lessons"][1]["completed"]
            ),
            (&json!("now"), &json!(true))
        );
    }
}
