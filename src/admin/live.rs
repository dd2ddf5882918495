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
/// Composing takes one part of the time in this many at most: with very many lanes it takes long.
const PART: u32 = 20;

/// The live stream; clones share everything.
#[derive(Clone)]
pub(super) struct Live {
    // Held for a look, and to add a sample.
    history: Arc<Mutex<History>>,
    places: Arc<Semaphore>,
    newest: watch::Sender<Bytes>,
    end: Drain,
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
        let Some(now) = compose_apart(self, setup).await else {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "no message could be composed\n",
            );
        };
        let mut first = write_event("history", &show_history(&self.history.lock()));
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
        let mut rests_until = Instant::now();
        loop {
            tokio::select! {
                () = self.live.end.draining() => return,
                _ = samples.tick() => {
                    let totals = read_totals(&self.setup);
                    self.live.history.lock().record(totals);
                }
                _ = messages.tick() => {
                    if self.live.newest.receiver_count() > 0 && Instant::now() >= rests_until {
                        rests_until = self.publish().await;
                    }
                }
            }
        }
    }

    /// Tells all listeners of this moment; when the next message may be composed.
    async fn publish(&self) -> Instant {
        let began = Instant::now();
        if let Some(message) = compose_apart(&self.live, &self.setup).await {
            self.live.newest.send_replace(message.into());
        }
        Instant::now() + began.elapsed() * PART
    }
}

/// The message of this moment, composed where no call waits for it.
async fn compose_apart(live: &Live, setup: &Arc<Setup>) -> Option<Vec<u8>> {
    let (history, setup) = (Arc::clone(&live.history), Arc::clone(setup));
    let compose = move || write_event("now", &compose(&setup, &history));
    let composed = tokio::task::spawn_blocking(compose).await;
    composed
        .inspect_err(|error| tracing::error!(%error, "no message for the dashboard"))
        .ok()
}

fn show_history(history: &History) -> Value {
    let samples: Vec<_> = history.samples().collect();
    json!({ "most": MOST_SAMPLES, "samples": samples })
}

/// JSON of `serde_json` has no line break, so the data is one line.
fn write_event(name: &str, data: &Value) -> Vec<u8> {
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}
