//! A lesson: its length, and what of it was acknowledged.

use serde_json::Value;

/// A lesson's length on the learner's clock.
pub const LESSON_SECONDS: u32 = 300;

/// What was acknowledged of a lesson.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// 0 to 100.
    pub percent: u32,
    /// Time spent on it.
    pub seconds: u32,
    /// It was played to its end.
    pub completed: bool,
}

impl Known {
    /// What a learner tells of a lesson with its video at this position.
    #[must_use]
    pub const fn at(position: u32) -> Self {
        Self {
            percent: percent(position),
            seconds: position,
            completed: position == LESSON_SECONDS,
        }
    }
}

/// Of a lesson whose video is at this position.
#[must_use]
pub const fn percent(position: u32) -> u32 {
    position * 100 / LESSON_SECONDS
}

/// The word for it.
#[must_use]
pub const fn status(completed: bool) -> &'static str {
    if completed {
        "completed"
    } else {
        "in_progress"
    }
}

/// Whether a row shows at least what was acknowledged.
#[must_use]
pub fn shows(row: &Value, known: Known) -> bool {
    let number = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let completed = row
        .get("completed")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    number("progress_percentage") >= f64::from(known.percent)
        && number("time_spent") >= f64::from(known.seconds)
        && completed >= known.completed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_stale_when_it_shows_less_than_was_acknowledged() {
        let row = |percent: u32, seconds: u32, completed: bool| json!({"progress_percentage": percent, "time_spent": seconds, "completed": completed});
        let known = |percent, seconds, completed| Known {
            percent,
            seconds,
            completed,
        };
        assert!(shows(&row(40, 120, false), known(40, 120, false)));
        assert!(
            shows(&row(41, 123, false), known(40, 120, false)),
            "newer is fine"
        );
        assert!(!shows(&row(39, 120, false), known(40, 120, false)));
        assert!(
            !shows(&row(40, 119, false), known(40, 120, false)),
            "older within the same percent"
        );
        assert!(
            !shows(&row(100, 300, false), known(100, 300, true)),
            "the completion is missing"
        );
        assert!(!shows(&json!({}), known(0, 1, false)));
    }
}
