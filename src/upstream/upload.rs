//! A body on its way to the application, and which side is waited for while it moves slowly.
//!
//! hyper asks for the next part of a body when the application has read the part before it. So
//! while a part is asked for and isn't there, the client is waited for; at any other time the
//! application is, and no client is blamed for that.
//!
//! An application may answer before it has read a body. Its connection is of no use for anything else
//! until the body has ended, so the call keeps its place until then; once its answer has ended it goes
//! on only as long as the body moves.

use super::error::{Failure, UpstreamError};
use super::link::Link;
use super::places::Taken;
use super::repeat;
use crate::body::{Body, BodyError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a client that is waited for must bring in each `stall_timeout`, and what must be sent in each
/// once the answer has ended, bytes.
const LEAST: usize = 1 << 10;

/// How far a body has got; clones of its `Arc` share it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last part was sent.
    moved: Option<Instant>,
    /// Since when a part is asked for that isn't there.
    asked: Option<Instant>,
    /// How long the client was waited for since it last brought [`LEAST`] bytes, but for the time
    /// since `asked`.
    waited: Duration,
    /// What it has brought since then.
    brought: usize,
    /// What its client sent was no body, or ended early.
    failed: Option<String>,
    /// What was sent of it, bytes.
    sent: u64,
    /// It has ended, or nobody wants more of it.
    is_over: bool,
    /// It is to end though it isn't whole.
    is_given_up: bool,
    /// Cancelled when there will be no more of it; made when it is asked for.
    over: Option<CancellationToken>,
    /// Of the task that sends it.
    sender: Option<Waker>,
}

impl Progress {
    /// Why the body failed, if it did: whatever the application said of what it got is no fault of
    /// its own.
    pub(super) fn failure(&self) -> Option<Failure> {
        let failed = self.state.lock().failed.clone()?;
        Some(Failure::Unsent(UpstreamError::RequestBody(failed)))
    }

    /// Whether there will be no more of it.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }

    /// Cancelled when there will be no more of it.
    pub(super) fn over(&self) -> CancellationToken {
        let mut state = self.state.lock();
        let over = state.over.get_or_insert_default().clone();
        if state.is_over {
            over.cancel();
        }
        over
    }

    fn end(&self) {
        let over = {
            let mut state = self.state.lock();
            state.is_over = true;
            state.over.clone()
        };
        if let Some(over) = over {
            over.cancel();
        }
    }

    fn count_sent(&self) -> u64 {
        self.state.lock().sent
    }

    /// Ends it where it is, and its connection with it.
    fn give_up(&self, link: Option<&Link>) {
        let (sender, over) = {
            let mut state = self.state.lock();
            // ORDER: under the lock. A connection whose body has ended may be another call's already.
            if state.is_over {
                return;
            }
            if let Some(link) = link {
                link.abandon();
            }
            state.is_given_up = true;
            (state.sender.take(), state.over.clone())
        };
        if let Some(sender) = sender {
            sender.wake();
        }
        // Over HTTP/2 what sends it may never look at it again: its client is waited for no longer.
        if let Some(over) = over {
            over.cancel();
        }
    }
}

/// A body that goes on when its answer's head has come.
#[derive(Debug, Clone)]
pub(super) struct Unended {
    pub(super) progress: Arc<Progress>,
    pub(super) stall: Duration,
}

impl Unended {
    /// Its answer has ended: the place is kept until the body has ended too, or stands still.
    pub(super) fn outlive(self, taken: Taken, link: Option<Link>) {
        if self.progress.is_over() {
            return;
        }
        // Ends with the body, or with the first stall time in which nothing of it moves.
        drop(tokio::spawn(async move {
            self.wait(link).await;
            drop(taken);
        }));
    }

    async fn wait(self, link: Option<Link>) {
        let Self { progress, stall } = self;
        loop {
            let before = progress.count_sent();
            let over = progress.over();
            if tokio::time::timeout(stall, over.cancelled()).await.is_ok() {
                return;
            }
            if progress.count_sent() - before < LEAST as u64 {
                tracing::debug!("an upload stands still that has its answer: its connection ends");
                return progress.give_up(link.as_ref());
            }
        }
    }
}

impl State {
    fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    fn bring(&mut self, bytes: usize, now: Instant) {
        self.moved = Some(now);
        self.sent += bytes as u64;
        if let Some(asked) = self.asked.take() {
            self.waited += now - asked;
        }
        self.brought = self.brought.saturating_add(bytes);
        if self.brought >= LEAST {
            (self.brought, self.waited) = (0, Duration::ZERO);
        }
    }

    /// When its client has been waited for too long, if it is waited for.
    fn stalls_at(&self, stall: Duration) -> Option<Instant> {
        Some(self.asked? + stall.saturating_sub(self.waited))
    }
}

/// Looks after a body, and after the answer that is awaited meanwhile.
pub(super) struct Watch<'a> {
    progress: &'a Progress,
    /// How long no part may be sent and no answer come.
    within: Duration,
    stall: Duration,
    began: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(progress: &'a Progress, within: Duration, stall: Duration) -> Self {
        Self {
            progress,
            within,
            stall,
            began: Instant::now(),
        }
    }

    /// How long until there is something to look at, if nothing moves. A client that isn't waited
    /// for yet can't have stalled before a whole stall time has passed.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let state = self.progress.state.lock();
        let stalls = state.stalls_at(self.stall).unwrap_or(now + self.stall);
        stalls
            .min(self.ends_at(&state))
            .saturating_duration_since(now)
    }

    /// # Errors
    /// The client or the application has taken too long.
    pub(super) fn look(&self, now: Instant) -> Result<(), Failure> {
        let state = self.progress.state.lock();
        if state
            .stalls_at(self.stall)
            .is_some_and(|stalls| stalls <= now)
        {
            return Err(Failure::Stalled);
        }
        if self.ends_at(&state) <= now {
            Err(Failure::Timeout)
        } else {
            Ok(())
        }
    }

    /// When nothing has been sent and no answer has come for too long.
    fn ends_at(&self, state: &State) -> Instant {
        state.moved.unwrap_or(self.began) + self.within
    }
}

/// A body whose progress is written down.
pub(super) fn watched(body: Body, progress: &Arc<Progress>) -> Body {
    Body::boxed(Watched {
        body,
        progress: Arc::clone(progress),
    })
}

#[derive(Debug)]
struct Watched {
    body: Body,
    progress: Arc<Progress>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        let now = Instant::now();
        let mut state = this.progress.state.lock();
        if state.is_given_up {
            let why = "it stands still, and its answer has ended";
            return Poll::Ready(Some(Err(why.into())));
        }
        match &mut state.sender {
            Some(sender) => sender.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        match &frame {
            Poll::Pending => state.ask(now),
            Poll::Ready(Some(Ok(frame))) => {
                state.bring(frame.data_ref().map_or(0, Bytes::len), now);
            }
            // Nothing more is asked for.
            Poll::Ready(None) => state.asked = None,
            Poll::Ready(Some(Err(error))) => {
                state.asked = None;
                state.failed = Some(error.to_string());
            }
        }
        drop(state);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            this.progress.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper drops a body that it has sent whole, or sends no more of.
impl Drop for Watched {
    fn drop(&mut self) {
        self.progress.end();
        if repeat::lacks_only_its_end(&self.body) {
            repeat::let_end(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(60);
    const WITHIN: Duration = Duration::from_secs(300);

    /// Looks every ten seconds for an hour while `act` does what the client and the application do
    /// in each of them; how it ends, and after how many seconds.
    fn ends(act: impl Fn(u64, &mut State, Instant)) -> Option<(&'static str, u64)> {
        let (progress, began) = (Progress::default(), Instant::now());
        let watch = Watch {
            progress: &progress,
            within: WITHIN,
            stall: STALL,
            began,
        };
        (0..3_600).find_map(|second| {
            let now = began + Duration::from_secs(second);
            act(second, &mut progress.state.lock(), now);
            if second % 10 != 0 {
                return None;
            }
            match watch.look(now) {
                Ok(()) => None,
                Err(Failure::Stalled) => Some(("stalled", second)),
                Err(_) => Some(("timeout", second)),
            }
        })
    }

    #[test]
    fn whoever_waits_for_the_end_of_a_body_hears_it_whenever_it_asks_and_when_it_is_given_up() {
        let (ended, given_up) = (Progress::default(), Progress::default());
        let before = ended.over();
        assert!(!before.is_cancelled());
        ended.end();
        assert!(before.is_cancelled() && ended.over().is_cancelled());
        let waits = given_up.over();
        given_up.give_up(None);
        assert!(waits.is_cancelled(), "hyper may never drop the body");
    }

    #[test]
    fn a_client_that_is_waited_for_must_bring_a_little_in_each_stall_time() {
        // It pauses for good.
        assert_eq!(ends(|_, state, now| state.ask(now)), Some(("stalled", 60)));
        let drip = |bytes: usize| {
            ends(move |second, state, now| {
                state.ask(now);
                if second % 20 == 19 {
                    state.bring(bytes, now);
                }
            })
        };
        // A byte now and then is as good as none; enough of them is an upload on a slow line.
        assert_eq!(drip(1), Some(("stalled", 70)));
        assert_eq!(drip(LEAST / 2), None);
    }

    #[test]
    fn what_was_brought_before_a_pause_buys_no_longer_one() {
        let found = ends(|second, state, now| {
            state.ask(now);
            if second < 100 {
                state.bring(1 << 20, now);
            }
        });
        assert_eq!(found, Some(("stalled", 160)));
    }

    #[test]
    fn while_the_application_reads_nothing_its_client_is_not_to_blame() {
        // A part is sent every 250 s, since the application takes no more; the client has it ready.
        let found = ends(|second, state, now| {
            if second % 250 == 0 {
                state.bring(1, now);
            }
        });
        assert_eq!(found, None);
        // It reads nothing at all.
        assert_eq!(ends(|_, _, _| ()), Some(("timeout", 300)));
    }
    /// How it ends, and after how many seconds, if it is looked at when it says and nothing moves.
    fn ends_by_itself(
        within: u64,
        stall: u64,
        act: impl Fn(&mut State, Instant),
    ) -> (&'static str, u64) {
        let (progress, began) = (Progress::default(), Instant::now());
        let [within, stall] = [within, stall].map(Duration::from_secs);
        let watch = Watch {
            progress: &progress,
            within,
            stall,
            began,
        };
        act(&mut progress.state.lock(), began);
        let mut now = began;
        loop {
            now += watch.pause(now);
            match watch.look(now) {
                Ok(()) => {}
                Err(Failure::Stalled) => return ("stalled", (now - began).as_secs()),
                Err(_) => return ("timeout", (now - began).as_secs()),
            }
        }
    }

    #[test]
    fn an_application_has_its_time_whatever_the_stall_time_is() {
        for (within, stall) in [(4, 3), (3, 4), (61, 60), (119, 60), (300, 60)] {
            assert_eq!(
                ends_by_itself(within, stall, |_, _| ()),
                ("timeout", within)
            );
        }
        // From the last part that was sent on, not from when that was seen.
        let brought = |state: &mut State, now| state.bring(1, now + Duration::from_secs(10));
        assert_eq!(ends_by_itself(100, 60, brought), ("timeout", 110));
        assert_eq!(ends_by_itself(300, 60, State::ask), ("stalled", 60));
    }
}
