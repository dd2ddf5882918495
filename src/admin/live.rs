//! `/live`: a stream of server-sent events (WHATWG HTML §9.2) for the dashboard.
//!
//! | event | data | when |
//! |---|---|---|
//! | `history` | the samples of the last hour | first, once |
//! | `now` | the figures of this moment ([`compose`]) | at once, then every second |
//!
//! One message a second is composed for all listeners, and none without a listener. A listener that
//! reads slowly misses messages and holds one at most; the server's bound on stalled answers ends
//! its stream. The stream goes on while the process drains, and ends with the listener.

use super::history::{EVERY, History, MOST_SAMPLES};
use super::reply::text;
use super::setup::Setup;
use super::summary::{compose, read_totals};
use crate::body::Body;
use crate::drain::Drain;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Streams at one time.
const MOST_LISTENERS: usize = 8;
/// Between two messages.
const PERIOD: Duration = Duration::from_secs(1);
/// A stream that has nothing to say says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Composing takes one part of the time in this many at most: with very many lanes it takes long.
const PART: u32 = 20;

/// The live stream; clones share everything.
#[derive(Clone)]
pub(super) struct Live {
    // Held for a look, and to add a sample.
    history: Arc<Mutex<History>>,
    places: Arc<Semaphore>,
    // Held while the moment is looked at, so that this is done once for all who ask.
    moment: Arc<tokio::sync::Mutex<Moment>>,
    newest: watch::Sender<Bytes>,
    end: Drain,
}

/// The message that was composed last.
struct Moment {
    message: Bytes,
    /// Until then it is told again: composing it anew would take more than its part of the time.
    until: Instant,
}

/// Takes samples, and composes messages while there are listeners. To be run by `app`.
pub struct LiveTask {
    live: Live,
    setup: Arc<Setup>,
}

impl Live {
    /// A stream without listeners, and the task that feeds it.
    pub(super) fn new(setup: &Arc<Setup>) -> (Self, LiveTask) {
        let live = Self {
            history: Arc::new(Mutex::new(History::new(read_totals(setup)))),
            places: Arc::new(Semaphore::new(MOST_LISTENERS)),
            moment: Arc::new(tokio::sync::Mutex::new(Moment {
                message: Bytes::new(),
                until: Instant::now(),
            })),
            newest: watch::Sender::default(),
            end: setup.end.clone(),
        };
        let task = LiveTask {
            live: live.clone(),
            setup: Arc::clone(setup),
        };
        (live, task)
    }

    /// `GET /live`.
    pub(super) async fn open_stream(&self, setup: &Arc<Setup>) -> Response<Body> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("{MOST_LISTENERS} streams are open, which is the most there may be\n"),
            );
            let wait = HeaderValue::from_static("10");
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            return response;
        };
        // ORDER: the place among the receivers first, so that no message is missed.
        let newest = self.newest.subscribe();
        let history = Arc::clone(&self.history);
        // The place is taken for as long as this runs, whether or not its client stays.
        let told = tokio::task::spawn_blocking(move || {
            (
                write_event("history", &show_history(&history.lock())),
                place,
            )
        });
        let (Ok((mut first, place)), Some(now)) = (told.await, self.tell_moment(setup).await)
        else {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "no message could be composed\n",
            );
        };
        first.extend_from_slice(&now);
        let listener = Listener {
            first: Some(first.into()),
            newest,
            end: self.end.clone(),
            _place: place,
        };
        let events = stream::unfold(listener, |mut listener| async {
            let data = listener.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(data)), listener))
        });
        let mut response = Response::new(Body::boxed(StreamBody::new(events)));
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // nginx in between would hold the stream back.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The message of this moment, or of one so short ago that looking again would take more than
    /// its [`PART`] of the time. It is composed where no call waits for it.
    async fn tell_moment(&self, setup: &Arc<Setup>) -> Option<Bytes> {
        let mut moment = Arc::clone(&self.moment).lock_owned().await;
        let began = Instant::now();
        if began < moment.until {
            return Some(moment.message.clone());
        }
        let (history, setup) = (Arc::clone(&self.history), Arc::clone(setup));
        let composed = tokio::task::spawn_blocking(move || {
            moment.message = write_event("now", &compose(&setup, &history)).into();
            moment.until = Instant::now() + began.elapsed() * PART;
            moment.message.clone()
        });
        composed
            .await
            .inspect_err(|error| tracing::error!(%error, "no message for the dashboard"))
            .ok()
    }
}

/// One open stream.
struct Listener {
    /// What it is told at once.
    first: Option<Bytes>,
    newest: watch::Receiver<Bytes>,
    end: Drain,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// What it is told next; none: the stream has ended.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            () = self.end.draining() => None,
            changed = self.newest.changed() => {
                changed.ok()?;
                Some(self.newest.borrow_and_update().clone())
            }
            // A comment, by which a page knows that the stream lives.
            () = tokio::time::sleep(SIGN_OF_LIFE) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

impl LiveTask {
    /// Runs until the listener ends.
    pub async fn run(self) {
        let every = |period| {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut samples, mut messages) = (every(EVERY), every(PERIOD));
        // An interval ticks at once; the first totals are taken already.
        samples.reset();
        loop {
            tokio::select! {
                () = self.live.end.draining() => return,
                _ = samples.tick() => {
                    let totals = read_totals(&self.setup);
                    self.live.history.lock().record(totals);
                }
                _ = messages.tick() => {
                    if self.live.newest.receiver_count() > 0 {
                        self.publish().await;
                    }
                }
            }
        }
    }

    /// Tells all listeners of this moment, unless they have heard of it.
    async fn publish(&self) {
        let Some(message) = self.live.tell_moment(&self.setup).await else {
            return;
        };
        self.live.newest.send_if_modified(|newest| {
            let is_news = *newest != message;
            *newest = message;
            is_news
        });
    }
}

fn show_history(history: &History) -> Value {
    let samples: Vec<_> = history.samples().collect();
    json!({ "most": MOST_SAMPLES, "samples": samples })
}

/// JSON of `serde_json` has no line break, so the data is one line.
fn write_event(name: &str, data: &Value) -> Vec<u8> {
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}
