//! What a learner does: plays lessons, tells every step, and looks at the dashboard.

use super::addresses::Addresses;
use super::caller::{Caller, Stopped};
use super::lesson::{Known, LESSON_SECONDS, percent, shows, status};
use super::session::Session;
use super::setup::Setup;
use super::snapshot::State;
use super::tally::Told;
use crate::demo::application::account::ORGANIZATION;
use crate::demo::application::catalogue::{LESSONS, course_id, lesson_id};
use crate::demo::application::now_iso;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Least real time between two arrivals: each learner begins with a burst of calls.
const ARRIVAL: Duration = Duration::from_millis(4);
/// What the front end tracks when a lesson begins and when it ends.
const OPENING: [&str; 5] = [
    "page_view",
    "module_viewed",
    "lesson_started",
    "video_loaded",
    "video_play",
];
const CLOSING: [&str; 4] = [
    "video_ended",
    "lesson_completed",
    "lesson_time_spent",
    "page_leave",
];

struct Learner {
    caller: Caller,
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
    /// What was acknowledged of this course's lessons.
    known: Vec<Known>,
    /// Time told of finished courses, and of this one, seconds; the summary must show at least what
    /// was acknowledged.
    seconds: u64,
    seconds_known: u64,
}

/// Plays until the end. A learner that can't log in is counted and gone.
pub async fn run(setup: Setup) {
    let stop = setup.stop.clone();
    let tally = Arc::clone(&setup.tally);
    let Some(session) = stop.run_until_cancelled(enter(&setup)).await else {
        return;
    };
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
    let login = || {
        Session::login(
            setup.client.clone(),
            Arc::clone(&setup.site),
            &email,
            setup.pace.renew,
        )
    };
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
        // Learners come back in the middle of a lesson, each at another point, so that completions
        // and looks at the dashboard spread out.
        let number = u32::try_from(setup.number % 10_000).unwrap_or(0);
        let (position, ticks) = (
            number * 37 % (LESSON_SECONDS - 15),
            number * 17 % setup.pace.look_every,
        );
        Self {
            caller: Caller {
                setup,
                session,
                events: 0,
            },
            addresses,
            course: 0,
            lesson: 0,
            lesson_name: lesson_id(0, 0).into(),
            finished: Vec::new(),
            position,
            ticks,
            known: vec![Known::default(); LESSONS],
            seconds: 0,
            seconds_known: 0,
        }
    }

    /// Whether this one tells whole states.
    const fn is_on_player(&self) -> bool {
        self.caller.setup.pace.snapshots && self.caller.setup.number % 2 == 1
    }

    /// Time spent on this course, seconds.
    fn course_seconds(&self) -> u64 {
        u64::try_from(self.lesson).unwrap_or(0) * u64::from(LESSON_SECONDS)
            + u64::from(self.position)
    }

    /// How much of this course is done.
    fn course_percent(&self) -> u32 {
        let all = LESSONS as u64 * u64::from(LESSON_SECONDS);
        u32::try_from(self.course_seconds() * 100 / all).unwrap_or(100)
    }

    /// Opens the course: the catalogue, and the course's first event.
    async fn arrive(&mut self) -> Result<(), Stopped> {
        let uri = self.addresses.courses.clone();
        self.caller.read(&uri).await?;
        let resumed = self.position > 0;
        self.track(if resumed {
            "course_resumed"
        } else {
            "course_started"
        })
        .await
    }

    async fn play_lesson(&mut self) -> Result<(), Stopped> {
        for name in OPENING {
            self.track(name).await?;
        }
        let pace = self.caller.setup.pace;
        let mut next = Instant::now() + pace.tick;
        loop {
            self.caller.wait_until(next).await?;
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
            if pace
                .assignment_every
                .is_some_and(|every| self.ticks.is_multiple_of(every))
            {
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
        let Known {
            percent,
            seconds,
            completed,
        } = told;
        let status = status(completed);
        let id = self.event_id(&self.lesson_name);
        let body = format!(
            r#"{{"client_event_id":"{id}","user_id":"{}","lesson_id":"{}","percent":{percent},"status":"{status}","time_spent_s":{seconds},"resume_at_s":{seconds}}}"#,
            self.caller.session.user, self.lesson_name
        );
        let uri = self.addresses.lesson.clone();
        if self
            .caller
            .write(&uri, body.into(), Told::Event(id))
            .await?
            && let Some(known) = self.known.get_mut(self.lesson)
        {
            *known = told;
        }
        Ok(())
    }

    /// The whole course as it stands, with all lessons so far.
    async fn tell_snapshot(&mut self) -> Result<(), Stopped> {
        let (course, seconds): (Arc<str>, _) =
            (course_id(self.course).into(), self.course_seconds());
        let state = State {
            user: &self.caller.session.user,
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
        if self
            .caller
            .write(&uri, body.into(), Told::Snapshot { course, seconds })
            .await?
        {
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
            self.caller.session.user
        );
        self.seconds += u64::from(LESSON_SECONDS);
        let told = self.seconds;
        let uri = self.addresses.course.clone();
        if self
            .caller
            .write(&uri, body.into(), Told::Event(id))
            .await?
        {
            self.seconds_known = told;
        }
        Ok(())
    }

    async fn tell_assignment(&mut self) -> Result<(), Stopped> {
        let (course, percent) = (course_id(self.course), self.course_percent());
        let id = self.event_id("assignment");
        let body = format!(
            r#"{{"client_event_id":"{id}","user_id":"{}","course_id":"{course}","percent":{percent},"status":"{}"}}"#,
            self.caller.session.user,
            status(percent == 100)
        );
        let uri = self.addresses.assignment.clone();
        self.caller
            .write(&uri, body.into(), Told::Event(id))
            .await
            .map(drop)
    }

    async fn track(&mut self, name: &str) -> Result<(), Stopped> {
        let id = self.event_id("evt");
        let body = format!(
            r#"{{"id":"{id}","user_id":"{}","org_id":"{}","course_id":"{}","lesson_id":"{}","module_id":null,"event_type":"{name}","session_id":"sess_{}","user_agent":"Mozilla/5.0 (demo)","payload":{{"source":"player","progress_percent":{}}}}}"#,
            self.caller.session.user,
            ORGANIZATION,
            course_id(self.course),
            self.lesson_name,
            self.caller.session.user,
            percent(self.position)
        );
        let uri = self.addresses.analytics.clone();
        self.caller
            .write(&uri, body.into(), Told::Event(id))
            .await
            .map(drop)
    }

    fn event_id(&self, of: &str) -> Box<str> {
        // Unique by the user's running number; what it is about is there for people who read logs.
        format!("{}:{of}:{}", self.caller.session.user, self.caller.events).into()
    }

    /// Opens the dashboard, and comes back to its tab after a while.
    async fn look(&mut self) -> Result<(), Stopped> {
        self.read_summary().await?;
        self.read_lessons().await?;
        self.caller.pause(self.caller.setup.pace.stay / 2).await?;
        self.read_summary().await?;
        self.read_lessons().await?;
        self.caller.pause(self.caller.setup.pace.stay / 2).await
    }

    async fn read_summary(&mut self) -> Result<(), Stopped> {
        let uri = self.addresses.summary.clone();
        if let Some(shown) = self.caller.read(&uri).await? {
            let seconds = shown
                .body
                .pointer("/data/timeInvestedSeconds")
                .and_then(Value::as_u64)
                .unwrap_or(0);
            self.caller.judge(seconds >= self.seconds_known, &shown);
        }
        Ok(())
    }

    async fn read_lessons(&mut self) -> Result<(), Stopped> {
        let names: Vec<_> = (0..=self.lesson)
            .map(|lesson| lesson_id(self.course, lesson))
            .collect();
        let path = format!(
            "/api/learner/progress?courseId={}&lessonIds={}",
            course_id(self.course),
            names.join(",")
        );
        let Ok(uri) = self.caller.session.uri(&path) else {
            return Ok(());
        };
        if let Some(shown) = self.caller.read(&uri).await? {
            let rows = shown
                .body
                .pointer("/data/lessons")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let fresh = names.len() == rows.len()
                && rows
                    .iter()
                    .zip(&self.known)
                    .all(|(row, known)| shows(row, *known));
            self.caller.judge(fresh, &shown);
        }
        Ok(())
    }
}
