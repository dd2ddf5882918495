//! The in-memory profile's store: what the last write said, kept without any maximum.

use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Analytics rows kept for the list; older ones are only counted.
const MAX_ROWS: usize = 1_000;
/// Single writes per second, and at once, of one user and kind.
const RATE: f64 = 8.0;

/// Which progress a write sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Of a lesson.
    Lesson,
    /// Of a course.
    Course,
    /// Of an assigned course.
    Assignment,
}

/// Progress of one user in one lesson, course or assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// A number.
    pub percent: Value,
    /// `completed` completes.
    pub status: String,
    /// A number.
    pub time_spent: Value,
    /// A number or null.
    pub resume_at: Value,
    /// ISO 8601; the arrival, or what a snapshot says.
    pub updated_at: String,
}

impl Progress {
    /// Whether it counts as completed: by status alone.
    #[must_use]
    pub fn completed(&self) -> bool {
        self.status == "completed"
    }

    /// The record as the single endpoints answer it.
    #[must_use]
    pub fn json(&self, subject: Subject, user: &str, target: &str) -> Value {
        match subject {
            Subject::Lesson => json!({
                "user_id": user, "lesson_id": target, "percent": self.percent, "status": self.status,
                "time_spent_s": self.time_spent, "resume_at_s": self.resume_at, "updated_at": self.updated_at,
            }),
            Subject::Course => json!({
                "user_id": user, "course_id": target, "percent": self.percent, "status": self.status,
                "time_spent_s": self.time_spent, "updated_at": self.updated_at,
            }),
            Subject::Assignment => json!({
                "user_id": user, "course_id": target, "percent": self.percent, "status": self.status,
                "updated_at": self.updated_at,
            }),
        }
    }
}

/// Progress by user, then by lesson, course or assignment.
type Records = HashMap<Box<str>, HashMap<Box<str>, Progress>>;

/// Everything the application remembers.
#[derive(Debug, Default)]
pub struct Store {
    lessons: Records,
    courses: Records,
    assignments: Records,
    /// Event ids of all users, singles and batches alike.
    seen: std::collections::HashSet<Box<str>>,
    rows: VecDeque<Value>,
    buckets: HashMap<(Box<str>, Subject), Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Store {
    fn records(&mut self, subject: Subject) -> &mut Records {
        match subject {
            Subject::Lesson => &mut self.lessons,
            Subject::Course => &mut self.courses,
            Subject::Assignment => &mut self.assignments,
        }
    }

    /// Overwrites.
    pub fn write(&mut self, subject: Subject, user: &str, target: &str, progress: Progress) {
        self.records(subject)
            .entry(user.into())
            .or_default()
            .insert(target.into(), progress);
    }

    /// A lesson's progress.
    #[must_use]
    pub fn lesson(&self, user: &str, lesson: &str) -> Option<&Progress> {
        self.lessons.get(user)?.get(lesson)
    }

    /// A record of any kind.
    #[must_use]
    pub fn find(&self, subject: Subject, user: &str, target: &str) -> Option<&Progress> {
        let records = match subject {
            Subject::Lesson => &self.lessons,
            Subject::Course => &self.courses,
            Subject::Assignment => &self.assignments,
        };
        records.get(user)?.get(target)
    }

    /// Every course this user has a record of.
    pub fn courses(&self, user: &str) -> impl Iterator<Item = &Progress> {
        self.courses.get(user).into_iter().flat_map(HashMap::values)
    }

    /// Remembers an event id; `false`: it was known.
    pub fn first(&mut self, id: &str) -> bool {
        self.seen.insert(id.into())
    }

    /// Stores an analytics row; a repeated id is stored again.
    pub fn insert(&mut self, row: Value) {
        if self.rows.len() == MAX_ROWS {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    /// The newest analytics rows first.
    pub fn rows(&self) -> impl Iterator<Item = &Value> {
        self.rows.iter().rev()
    }

    /// Takes a token of this user's bucket; `false`: it is empty. `speed`: how fast the clock runs.
    pub fn within_rate(&mut self, user: &str, subject: Subject, speed: u32, now: Instant) -> bool {
        let full = || Bucket {
            tokens: RATE,
            filled: now,
        };
        let bucket = self
            .buckets
            .entry((user.into(), subject))
            .or_insert_with(full);
        let passed: Duration = now.saturating_duration_since(bucket.filled);
        bucket.tokens = (bucket.tokens + passed.as_secs_f64() * f64::from(speed) * RATE).min(RATE);
        bucket.filled = now;
        let enough = bucket.tokens >= 1.0;
        bucket.tokens -= f64::from(u8::from(enough));
        enough
    }
}
