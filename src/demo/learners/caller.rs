//! How a learner calls: a write until it is promised or given up, a read, and the patience of the
//! front end in between.

use super::cache_status::{is_hit, is_past_barrier};
use super::session::{Answer, Session};
use super::setup::Setup;
use super::tally::{Acknowledged, Told};
use bytes::Bytes;
use http::{Method, Uri};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tries of one call.
const TRIES: u32 = 4;

/// The demo is over.
#[derive(Debug)]
pub struct Stopped;

/// What a read showed.
#[derive(Debug)]
pub struct Shown {
    /// Its body; null if it was no JSON.
    pub body: Value,
    /// Its `Cache-Status`; empty without one.
    pub status: Box<str>,
}

/// Makes a learner's calls and counts what comes of them.
pub struct Caller {
    /// Whose.
    pub setup: Setup,
    /// The browser.
    pub session: Session,
    /// Writes so far.
    pub events: u64,
}

impl Caller {
    /// A write, tried until it is answered for good; `true`: it was promised.
    ///
    /// # Errors
    /// The demo is over.
    pub async fn write(&mut self, uri: &Uri, body: Bytes, told: Told) -> Result<bool, Stopped> {
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
        tally.promise(Acknowledged {
            user: Arc::clone(&self.session.user),
            told,
        });
        Ok(true)
    }

    /// One call with the patience of the front end. The answer and how long its last try took;
    /// none: given up.
    async fn call(
        &mut self,
        method: Method,
        uri: &Uri,
        body: Bytes,
    ) -> Result<Option<(Answer, Duration)>, Stopped> {
        let tally = Arc::clone(&self.setup.tally);
        // A refresh that fails shows up as a 401 below.
        drop(self.session.keep_fresh(&tally).await);
        let request_id = self.session.next_request();
        let mut refreshed = false;
        for attempt in 1..=TRIES {
            let began = Instant::now();
            let answer = self
                .session
                .send(method.clone(), uri, body.clone(), &request_id)
                .await;
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

    /// Counts a read that showed less than was acknowledged.
    pub fn judge(&self, fresh: bool, shown: &Shown) {
        let tally = &self.setup.tally;
        if fresh {
            return;
        }
        tally.stale.add();
        if is_past_barrier(&shown.status) {
            tally.stale_past_barrier.add();
        } else {
            let (user, status) = (&*self.session.user, &*shown.status);
            tracing::warn!(
                user,
                status,
                "a read showed less than was acknowledged, and nothing excuses it"
            );
        }
    }

    /// A read; what it showed, if anything.
    ///
    /// # Errors
    /// The demo is over.
    pub async fn read(&mut self, uri: &Uri) -> Result<Option<Shown>, Stopped> {
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
        Ok(Some(Shown {
            body: answer.json(),
            status: status.into(),
        }))
    }

    /// Waits.
    ///
    /// # Errors
    /// The demo is over.
    pub async fn pause(&self, time: Duration) -> Result<(), Stopped> {
        self.wait_until(Instant::now() + time).await
    }

    /// Waits for a moment, which may have passed.
    ///
    /// # Errors
    /// The demo is over.
    pub async fn wait_until(&self, moment: Instant) -> Result<(), Stopped> {
        let slept = self
            .setup
            .stop
            .run_until_cancelled(tokio::time::sleep_until(moment))
            .await;
        slept.ok_or(Stopped)
    }

    /// A call that has begun is finished, but no new one begins after the end.
    fn still_open(&self) -> Result<(), Stopped> {
        if self.setup.stop.is_cancelled() {
            Err(Stopped)
        } else {
            Ok(())
        }
    }
}
