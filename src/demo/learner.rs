//! A synthetic learner: plays lessons, tells every step, looks at the dashboard, and remembers what it was promised.
//!
//! It does what the recorded front end does where that matters to a proxy: one call after the other, a new request id
//! for each but the same one on the try after a refreshed token, a client-made event id that stays the same on every
//! try, 429 and 5xx answered by patience. A write counts as promised on 2xx and on nothing else.

pub mod rhythm;
pub mod session;
pub mod snapshot;

use super::tally::{Acknowledged, Tally, Told};
use super::upstream::now_iso;
use super::upstream::reads::{LESSONS, course_id, lesson_id};
use bytes::Bytes;
use http::{Method, Uri};
use rhythm::Pace;
use serde_json::Value;
use session::{Answer, Client, Session, Site};
use snapshot::State;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tries of one call.
const TRIES: u32 = 4;
/// Least real time between two arrivals: each learner begins with a burst of calls.
const ARRIVAL: Duration = Duration::from_millis(4);
/// A lesson's length on the learner's clock.
const LESSON_SECONDS: u32 = 300;
/// What the front end tracks when a lesson begins and when it ends.
const OPENING: [&str; 5] = ["page_view", "module_viewed", "lesson_started", "video_loaded", "video_play"];
const CLOSING: [&str; 4] = ["video_ended", "lesson_completed", "lesson_time_spent", "page_leave"];

/// What a learner is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// 0 to the number of learners.
    pub number: usize,
    /// All learners.
    pub of: usize,
    /// How fast.
    pub pace: Pace,
    /// Where to.
    pub site: Arc<Site>,
    /// Shared connections.
    pub client: Client,
    /// Shared counters.
    pub tally: Arc<Tally>,
    /// The end.
    pub stop: CancellationToken,
}

/// The demo is over.
struct Stopped;

/// Addresses that don't change.
struct Addresses {
    lesson: Uri,
    course: Uri,
    snapshot: Uri,
    assignment: Uri,
    analytics: Uri,
    summary: Uri,
    courses: Uri,
}

impl Addresses {
    fn try_new(site: &Site) -> Result<Self, http::uri::InvalidUri> {
        Ok(Self {
            lesson: site.uri("/api/client/progress/lesson")?,
            course: site.uri("/api/client/progress/course")?,
            snapshot: site.uri("/api/learner/progress")?,
            assignment: site.uri("/api/client/assignments/progress")?,
            analytics: site.uri("/api/analytics/events")?,
            summary: site.uri("/api/client/progress/summary")?,
            courses: site.uri("/api/client/courses")?,
        })
    }
}

/// What was acknowledged of a lesson.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    percent: u32,
    seconds: u32,
    completed: bool,
}

impl Known {
    /// What a learner tells of a lesson with its video at this position.
    const fn at(position: u32) -> Self {
        Self { percent: percent(position), seconds: position, completed: position == LESSON_SECONDS }
    }
}

/// Of a lesson whose video is at this position.
const fn percent(position: u32) -> u32 {
    position * 100 / LESSON_SECONDS
}

const fn status(completed: bool) -> &'static str {
    if completed { "completed" } else { "in_progress" }
}

struct Learner {
    setup: Setup,
    session: Session,
    addresses: Addresses,
    /// Course and lesson that are playing, counted from 0.
    course: usize,
    lesson: usize,
    lesson_name: Arc<str>,
    /// Lessons of this course that were played to their end, and when.
    finished: Vec<(Box<str>, String)>,
    /// Where the video is; what is told of a lesson only grows.
    position: u32,
    ticks: u32,
    events: u64,
    /// What was acknowledged of this course's lessons.
    known: Vec<Known>,
    /// Time told of finished courses, and of this one, seconds; the summary must show at least what was acknowledged.
    seconds: u64,
    seconds_known: u64,
}

/// Plays until the end. A learner that can't log in is counted and gone.
pub async fn run(setup: Setup) {
    let stop = setup.stop.clone();
    let tally = Arc::clone(&setup.tally);
    let Some(session) = stop.run_until_cancelled(enter(&setup)).await else { return };
    let (Ok(session), Ok(addresses)) = (session, Addresses::try_new(&setup.site)) else {
        tally.locked_out.add();
        return;
    };
    tally.learners.add();
    let mut learner = Learner::new(setup, session, addresses);
    if learner.arrive().await.is_err() {
        return;
    }
    while learner.play_lesson().await.is_ok() {}
}

/// Arrives at its place in the ramp and logs in.
async fn enter(setup: &Setup) -> anyhow::Result<Session> {
    let place = u32::try_from(setup.number).unwrap_or(u32::MAX);
    let all = u32::try_from(setup.of.max(1)).unwrap_or(u32::MAX);
    let ramp = setup.pace.ramp.max(ARRIVAL * all);
    tokio::time::sleep(ramp.mul_f64(f64::from(place) / f64::from(all))).await;
    let email = format!("learner-{}@example.test", setup.number + 1);
    let login = || Session::login(setup.client.clone(), Arc::clone(&setup.site), &email, setup.pace.renew);
    match login().await {
        Ok(session) => Ok(session),
        Err(_) => {
            tokio::time::sleep(setup.pace.patience).await;
            login().await
        }
    }
}

impl Learner {
    fn new(setup: Setup, session: Session, addresses: Addresses) -> Self {
        // Learners come back in the middle of a lesson, each at another point, so that completions and looks at the
        // dashboard spread out.
        let number = u32::try_from(setup.number % 10_000).unwrap_or(0);
        let (position, ticks) = (number * 37 % (LESSON_SECONDS - 15), number * 17 % setup.pace.look_every);
        Self {
            setup,
            session,
            addresses,
            course: 0,
            lesson: 0,
            lesson_name: lesson_id(0, 0).into(),
            finished: Vec::new(),
            position,
            ticks,
            events: 0,
            known: vec![Known::default(); LESSONS],
            seconds: 0,
            seconds_known: 0,
        }
    }

    /// Whether this one tells whole states.
    const fn is_on_player(&self) -> bool {
        self.setup.pace.snapshots && self.setup.number % 2 == 1
    }

    /// Time spent on this course, seconds.
    fn course_seconds(&self) -> u64 {
        u64::try_from(self.lesson).unwrap_or(0) * u64::from(LESSON_SECONDS) + u64::from(self.position)
    }

    /// How much of this course is done.
    fn course_percent(&self) -> u32 {
        let all = LESSONS as u64 * u64::from(LESSON_SECONDS);
        u32::try_from(self.course_seconds() * 100 / all).unwrap_or(100)
    }

    /// Opens the course: the catalogue, and the course's first event.
    async fn arrive(&mut self) -> Result<(), Stopped> {
        let uri = self.addresses.courses.clone();
        self.read(&uri).await?;
        let resumed = self.position > 0;
        self.track(if resumed { "course_resumed" } else { "course_started" }).await
    }

    async fn play_lesson(&mut self) -> Result<(), Stopped> {
        for name in OPENING {
            self.track(name).await?;
        }
        let pace = self.setup.pace;
        let mut next = Instant::now() + pace.tick;
        loop {
            self.wait_until(next).await?;
            // A learner whose call took longer than a tick doesn't make up for it.
            next = (next + pace.tick).max(Instant::now());
            self.ticks += 1;
            self.position = (self.position + pace.step).min(LESSON_SECONDS);
            if pace.tracked {
                self.track("video_watch").await?;
            }
            if self.is_on_player() {
                self.tell_snapshot().await?;
            } else {
                self.tell_lesson().await?;
            }
            if self.position == LESSON_SECONDS {
                return self.finish_lesson().await;
            }
            if pace.assignment_every.is_some_and(|every| self.ticks.is_multiple_of(every)) {
                self.tell_assignment().await?;
            }
            if self.ticks.is_multiple_of(pace.look_every) {
                self.look().await?;
                next = Instant::now() + pace.tick;
            }
        }
    }

    async fn finish_lesson(&mut self) -> Result<(), Stopped> {
        self.finished.push(((*self.lesson_name).into(), now_iso()));
        self.tell_course().await?;
        self.tell_assignment().await?;
        for name in CLOSING {
            self.track(name).await?;
        }
        self.look().await?;
        self.position = 0;
        self.lesson += 1;
        if self.lesson == LESSONS {
            self.track("course_completed").await?;
            self.lesson = 0;
            self.course += 1;
            self.known.fill(Known::default());
            self.finished.clear();
            self.track("course_started").await?;
        }
        self.lesson_name = lesson_id(self.course, self.lesson).into();
        Ok(())
    }

    async fn tell_lesson(&mut self) -> Result<(), Stopped> {
        let told = Known::at(self.position);
        let Known { percent, seconds, completed } = told;
        let status = status(completed);
        let id = self.event_id(&self.lesson_name);
        let body = format!(
            r#"{{"client_event_id":"{id}","user_id":"{}","lesson_id":"{}","percent":{percent},"status":"{status}","time_spent_s":{seconds},"resume_at_s":{seconds}}}"#,
            self.session.user, self.lesson_name
        );
        let uri = self.addresses.lesson.clone();
        if self.write(&uri, body.into(), Told::Event(id)).await?
            && let Some(known) = self.known.get_mut(self.lesson)
        {
            *known = told;
        }
        Ok(())
    }

    /// The whole course as it stands, with all lessons so far.
    async fn tell_snapshot(&mut self) -> Result<(), Stopped> {
        let (course, seconds): (Arc<str>, _) = (course_id(self.course).into(), self.course_seconds());
        let state = State {
            user: &self.session.user,
            course: &course,
            finished: &self.finished,
            lesson: &self.lesson_name,
            position: self.position,
            percent: self.course_percent(),
            seconds,
            now: &now_iso(),
        };
        let body = state.body();
        let uri = self.addresses.snapshot.clone();
        if self.write(&uri, body.into(), Told::Snapshot { course, seconds }).await? {
            let (before, playing) = self.known.split_at_mut(self.lesson);
            before.fill(Known::at(LESSON_SECONDS));
            if let Some(known) = playing.first_mut() {
                *known = Known::at(self.position);
            }
            // Earlier courses, and earlier lessons of this one, are in `seconds` since their end.
            self.seconds_known = self.seconds + u64::from(self.position);
        }
        Ok(())
    }

    async fn tell_course(&mut self) -> Result<(), Stopped> {
        let done = self.lesson + 1;
        let (percent, status) = (done * 100 / LESSONS, status(done == LESSONS));
        let course = course_id(self.course);
        let id = self.event_id(&course);
        let seconds = done * LESSON_SECONDS as usize;
        let body = format!(
            r#"{{"client_event_id":"{id}","user_id":"{}","course_id":"{course}","percent":{percent},"status":"{status}","time_spent_s":{seconds}}}"#,
            self.session.user
        );
        self.seconds += u64::from(LESSON_SECONDS);
        let told = self.seconds;
        let uri = self.addresses.course.clone();
        if self.write(&uri, body.into(), Told::Event(id)).await? {
            self.seconds_known = told;
        }
        Ok(())
    }

    async fn tell_assignment(&mut self) -> Result<(), Stopped> {
        let (course, percent) = (course_id(self.course), self.course_percent());
        let id = self.event_id("assignment");
        let body = format!(
            r#"{{"client_event_id":"{id}","user_id":"{}","course_id":"{course}","percent":{percent},"status":"{}"}}"#,
            self.session.user,
            status(percent == 100)
        );
        let uri = self.addresses.assignment.clone();
        self.write(&uri, body.into(), Told::Event(id)).await.map(drop)
    }

    async fn track(&mut self, name: &str) -> Result<(), Stopped> {
        let id = self.event_id("evt");
        let body = format!(
            r#"{{"id":"{id}","user_id":"{}","org_id":"{}","course_id":"{}","lesson_id":"{}","module_id":null,"event_type":"{name}","session_id":"sess_{}","user_agent":"Mozilla/5.0 (demo)","payload":{{"source":"player","progress_percent":{}}}}}"#,
            self.session.user,
            super::upstream::account::ORGANIZATION,
            course_id(self.course),
            self.lesson_name,
            self.session.user,
            percent(self.position)
        );
        let uri = self.addresses.analytics.clone();
        self.write(&uri, body.into(), Told::Event(id)).await.map(drop)
    }

    fn event_id(&self, of: &str) -> Box<str> {
        // Unique by the user's running number; what it is about is there for people who read logs.
        format!("{}:{of}:{}", self.session.user, self.events).into()
    }

    /// A write, tried until it is answered for good; `true`: it was promised.
    async fn write(&mut self, uri: &Uri, body: Bytes, told: Told) -> Result<bool, Stopped> {
        self.still_open()?;
        self.events += 1;
        self.setup.tally.writes.add();
        let answer = self.call(Method::POST, uri, body).await?;
        let tally = &self.setup.tally;
        let Some((answer, time)) = answer.filter(|(answer, _)| answer.status.is_success()) else {
            tally.refused.add();
            return Ok(false);
        };
        if answer.headers.contains_key("tidegate-event") {
            tally.acknowledged_in(time);
        } else {
            tally.forwarded.add();
        }
        tally.promise(Acknowledged { user: Arc::clone(&self.session.user), told });
        Ok(true)
    }

    /// One call with the patience of the front end. The answer and how long its last try took; none: given up.
    async fn call(&mut self, method: Method, uri: &Uri, body: Bytes) -> Result<Option<(Answer, Duration)>, Stopped> {
        let tally = Arc::clone(&self.setup.tally);
        // A refresh that fails shows up as a 401 below.
        drop(self.session.keep_fresh(&tally).await);
        let request_id = self.session.next_request();
        let mut refreshed = false;
        for attempt in 1..=TRIES {
            let began = Instant::now();
            let answer = self.session.send(method.clone(), uri, body.clone(), &request_id).await;
            let time = began.elapsed();
            match answer {
                Ok(answer) if answer.status == 401 && !refreshed => {
                    refreshed = true;
                    if self.session.refresh(&tally).await.is_err() {
                        return Ok(None);
                    }
                }
                Ok(answer) if answer.status != 429 && answer.status.as_u16() < 500 => {
                    return Ok(Some((answer, time)));
                }
                _ if attempt == TRIES => return Ok(None),
                _ => {
                    tally.repeated.add();
                    self.pause(self.setup.pace.patience * attempt).await?;
                }
            }
        }
        Ok(None)
    }

    /// Opens the dashboard, and comes back to its tab after a while.
    async fn look(&mut self) -> Result<(), Stopped> {
        self.read_summary().await?;
        self.read_lessons().await?;
        self.pause(self.setup.pace.stay / 2).await?;
        self.read_summary().await?;
        self.read_lessons().await?;
        self.pause(self.setup.pace.stay / 2).await
    }

    async fn read_summary(&mut self) -> Result<(), Stopped> {
        let uri = self.addresses.summary.clone();
        if let Some(shown) = self.read(&uri).await? {
            let seconds = shown.body.pointer("/data/timeInvestedSeconds").and_then(Value::as_u64).unwrap_or(0);
            self.judge(seconds >= self.seconds_known, &shown);
        }
        Ok(())
    }

    async fn read_lessons(&mut self) -> Result<(), Stopped> {
        let names: Vec<_> = (0..=self.lesson).map(|lesson| lesson_id(self.course, lesson)).collect();
        let path = format!("/api/learner/progress?courseId={}&lessonIds={}", course_id(self.course), names.join(","));
        let Ok(uri) = self.session.uri(&path) else { return Ok(()) };
        if let Some(shown) = self.read(&uri).await? {
            let rows = shown.body.pointer("/data/lessons").and_then(Value::as_array).cloned().unwrap_or_default();
            let fresh =
                names.len() == rows.len() && rows.iter().zip(&self.known).all(|(row, known)| shows(row, *known));
            self.judge(fresh, &shown);
        }
        Ok(())
    }

    fn judge(&self, fresh: bool, shown: &Shown) {
        let tally = &self.setup.tally;
        if fresh {
            return;
        }
        tally.stale.add();
        if is_past_barrier(&shown.status) {
            tally.stale_past_barrier.add();
        } else {
            let (user, status) = (&*self.session.user, &*shown.status);
            tracing::warn!(user, status, "a read showed less than was acknowledged, and nothing excuses it");
        }
    }

    /// A read; what it showed, if anything.
    async fn read(&mut self, uri: &Uri) -> Result<Option<Shown>, Stopped> {
        self.still_open()?;
        self.setup.tally.reads.add();
        let answer = self.call(Method::GET, uri, Bytes::new()).await?;
        let tally = &self.setup.tally;
        let Some((answer, _)) = answer.filter(|(answer, _)| answer.status.is_success()) else {
            tally.failed_reads.add();
            return Ok(None);
        };
        let status = answer.header("cache-status").unwrap_or_default();
        if !status.is_empty() {
            tally.cache_answers.add();
            if is_hit(status) {
                tally.cache_hits.add();
            }
        }
        Ok(Some(Shown { body: answer.json(), status: status.into() }))
    }

    async fn pause(&self, time: Duration) -> Result<(), Stopped> {
        self.wait_until(Instant::now() + time).await
    }

    async fn wait_until(&self, moment: Instant) -> Result<(), Stopped> {
        let slept = self.setup.stop.run_until_cancelled(tokio::time::sleep_until(moment)).await;
        slept.ok_or(Stopped)
    }

    /// A call that has begun is finished, but no new one begins after the end.
    fn still_open(&self) -> Result<(), Stopped> {
        if self.setup.stop.is_cancelled() { Err(Stopped) } else { Ok(()) }
    }
}

/// What a read showed.
struct Shown {
    body: Value,
    /// Its `Cache-Status`; empty without one.
    status: Box<str>,
}

/// Whether a `Cache-Status` says that the sidecar waited for the learner's pending events in vain, and asked the upstream
/// without them.
fn is_past_barrier(status: &str) -> bool {
    says(status, "detail=barrier-timeout")
}

/// Whether a row shows at least what was acknowledged.
fn shows(row: &Value, known: Known) -> bool {
    let number = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let completed = row.get("completed").and_then(Value::as_bool).unwrap_or(false);
    number("progress_percentage") >= f64::from(known.percent)
        && number("time_spent") >= f64::from(known.seconds)
        && completed >= known.completed
}

/// Whether a `Cache-Status` (RFC 9211) says that the nearest cache answered.
fn is_hit(status: &str) -> bool {
    says(status, "hit")
}

/// Whether the nearest cache's part of a `Cache-Status` has this parameter.
fn says(status: &str, wanted: &str) -> bool {
    let nearest = status.rsplit(',').next().unwrap_or_default();
    nearest.split(';').skip(1).any(|parameter| parameter.trim() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hit_is_what_the_nearest_cache_calls_one() {
        for (status, hit) in [
            ("Tidegate; hit", true),
            ("Tidegate; hit; ttl=12", true),
            ("Tidegate;hit;ttl=0", true),
            ("Tidegate; fwd=miss; stored", false),
            ("Tidegate; fwd=stale; detail=hit", false),
            ("Origin; hit, Tidegate; fwd=miss", false),
            ("Origin; fwd=miss, Tidegate; hit", true),
            ("", false),
        ] {
            assert_eq!(is_hit(status), hit, "{status}");
        }
    }

    #[test]
    fn only_the_barrier_s_own_word_excuses_a_stale_read() {
        for (status, past) in [
            ("tidegate; fwd=bypass; detail=barrier-timeout", true),
            ("tidegate; fwd=bypass; detail=barrier-timeout; fwd-status=200", true),
            ("origin; detail=barrier-timeout, tidegate; hit", false),
            ("tidegate; fwd=bypass; detail=pending", false),
            ("tidegate; hit; ttl=3", false),
            ("tidegate; fwd=uri-miss; stored", false),
        ] {
            assert_eq!(is_past_barrier(status), past, "{status}");
        }
    }

    #[test]
    fn a_row_is_stale_when_it_shows_less_than_was_acknowledged() {
        let row = |percent: u32, seconds: u32, completed: bool| json!({"progress_percentage": percent, "time_spent": seconds, "completed": completed});
        let known = |percent, seconds, completed| Known { percent, seconds, completed };
        assert!(shows(&row(40, 120, false), known(40, 120, false)));
        assert!(shows(&row(41, 123, false), known(40, 120, false)), "newer is fine");
        assert!(!shows(&row(39, 120, false), known(40, 120, false)));
        assert!(!shows(&row(40, 119, false), known(40, 120, false)), "older within the same percent");
        assert!(!shows(&row(100, 300, false), known(100, 300, true)), "the completion is missing");
        assert!(!shows(&json!({}), known(0, 1, false)));
    }
}
