//! A recording: copies of what is forwarded, for one proposal.
//!
//! At most one recording exists. It keeps what it has until it is taken, is ended, or is forgotten
//! by the one who asked for it ([`PATIENCE`]); then everything that it copied is dropped, that of
//! calls on their way too. It never leaves memory.
//!
//! | bound | at the bound |
//! |---|---|
//! | [`MOST`] calls, [`MOST_BYTES`] bytes of heads and bodies | the call is shed and counted |
//! | [`MOST_OF_ROUTE`] writes or [`MOST_OF_READ`] reads of one method and form of path; reads half of all | the call isn't recorded, and is counted |
//! | [`LONGEST_PART`] bytes or [`MOST_PARTS`] parts of a path or a query, [`LARGEST_HEAD`] bytes of a head | likewise |

use super::record::{Record, Side, Unpack};
use super::slot::{Slot, SlotCopy};
use super::taken::{RecordingFacts, TakenRecording};
use crate::body::Body;
use crate::copies::size_of;
use crate::drain::Drain;
use crate::memory::Memory;
use crate::migration::words::looks_like_id;
use crate::peer::Peer;
use crate::recorder::{Recorded, Recorder};
use http::Request;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Calls of one recording.
const MOST: usize = 2_000;
/// Bytes of all recordings.
const MOST_BYTES: u64 = 32 << 20;
/// Of a route's writes and reads.
const MOST_OF_ROUTE: usize = 500;
const MOST_OF_READ: usize = 100;
/// Longest path, and longest query, bytes.
const LONGEST_PART: usize = 4 << 10;
/// Segments of a path, and parameters of a query.
const MOST_PARTS: usize = 64;
/// Largest head, bytes.
const LARGEST_HEAD: usize = 32 << 10;
/// A recording that its asker hasn't asked for in so long a time is dropped.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a recording may take.
pub const LONGEST: Duration = Duration::from_secs(600);

/// A recording can't begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// There is another one.
    #[error("calls are being recorded already, for {0} s more")]
    Busy(u64),
    /// The process stops.
    #[error("the process is stopping")]
    Stopping,
}

/// How far a recording is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// Its number.
    pub recording: u64,
    /// Calls that it has.
    pub calls: usize,
    /// Bytes that they take.
    pub bytes: u64,
    /// Calls that found no room.
    pub shed: u64,
    /// Milliseconds until it takes no more.
    pub left_ms: u64,
    /// It takes no more, or has all that it can hold.
    pub over: bool,
}

/// Records, and begins and ends recordings; clones share everything.
#[derive(Debug, Clone)]
pub struct Recordings(Arc<Shared>);

/// Ends recordings in time.
#[derive(Debug)]
pub struct RecordingTask(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    on: AtomicBool,
    // Locked for one call at a time, to add it, and never while anything is worked on.
    state: Mutex<State>,
    changed: Notify,
    memory: Memory,
    unpack: Unpack,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    current: Option<Recording>,
    closed: bool,
}

#[derive(Debug)]
struct Recording {
    number: u64,
    began: Instant,
    ends: Instant,
    /// When its asker last spoke.
    asked: Instant,
    calls: Vec<Arc<Slot>>,
    reads: usize,
    /// How many calls there are of each method and form of path.
    of_route: HashMap<u64, usize>,
    shed: u64,
    surplus: u64,
}

impl Recordings {
    /// Nothing is recorded yet.
    #[must_use]
    pub fn new(unpack: Unpack) -> (Self, RecordingTask) {
        let shared = Arc::new(Shared {
            on: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Notify::new(),
            memory: Memory::new(MOST_BYTES),
            unpack,
        });
        (Self(Arc::clone(&shared)), RecordingTask(shared))
    }

    /// Begins a recording that takes calls for so long.
    ///
    /// # Errors
    /// There is another one, or the process stops.
    pub fn begin(&self, length: Duration) -> Result<Progress, BeginError> {
        let now = Instant::now();
        self.0.settle(now);
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(BeginError::Stopping);
        }
        if let Some(current) = &state.current {
            let left = current.ends.saturating_duration_since(now);
            return Err(BeginError::Busy(left.as_secs()));
        }
        state.next += 1;
        let recording = Recording {
            number: state.next,
            began: now,
            ends: now + length.min(LONGEST),
            asked: now,
            calls: Vec::new(),
            reads: 0,
            of_route: HashMap::new(),
            shed: 0,
            surplus: 0,
        };
        let progress = recording.progress(now, &self.0.memory);
        state.current = Some(recording);
        drop(state);
        self.0.on.store(true, Ordering::Relaxed);
        self.0.changed.notify_one();
        Ok(progress)
    }

    /// How far a recording is; `None`: there is none of this number. Its asker is heard.
    #[must_use]
    pub fn progress(&self, number: u64) -> Option<Progress> {
        let now = Instant::now();
        self.0.settle(now);
        let mut state = self.0.state.lock();
        let current = state.current.as_mut().filter(|it| it.number == number)?;
        current.asked = now;
        let progress = current.progress(now, &self.0.memory);
        drop(state);
        self.0.changed.notify_one();
        Some(progress)
    }

    /// Ends a recording, and gives what it has; `None`: there is none of this number.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<TakenRecording> {
        self.0.settle(Instant::now());
        let recording = self.0.end_if(|current| current.number == number)?;
        let now = Instant::now().min(recording.ends);
        // From here on nothing is added: copies that are still made find nothing.
        let records = recording.calls.iter().map(|slot| slot.lock().take());
        Some(TakenRecording {
            records: records.collect(),
            facts: RecordingFacts {
                seconds: now.saturating_duration_since(recording.began).as_secs(),
                shed: recording.shed,
                surplus: recording.surplus,
                unfinished: 0,
            },
            unpack: self.0.unpack,
        })
    }

    /// Ends a recording, and drops what it has. `false`: there is none of this number.
    #[must_use]
    pub fn cancel(&self, number: u64) -> bool {
        self.0.end_if(|current| current.number == number).is_some()
    }
}

impl Shared {
    /// Does what is due; when the next is.
    fn settle(&self, now: Instant) -> Option<Instant> {
        self.end_if(|current| current.asked + PATIENCE <= now);
        let state = self.state.lock();
        let current = state.current.as_ref()?;
        let forgotten = current.asked + PATIENCE;
        if current.ends > now {
            return Some(forgotten.min(current.ends));
        }
        self.on.store(false, Ordering::Relaxed);
        Some(forgotten)
    }

    fn end_if(&self, is_meant: impl Fn(&Recording) -> bool) -> Option<Recording> {
        let mut state = self.state.lock();
        let ended = state.current.take_if(|current| is_meant(current));
        if ended.is_some() {
            self.on.store(false, Ordering::Relaxed);
        }
        drop(state);
        ended
    }
}

impl RecordingTask {
    /// Ends recordings whose time is over or whose askers went away, until the drain begins: that
    /// ends the last one.
    pub async fn run(self, drain: Drain) {
        loop {
            let due = self.0.settle(Instant::now());
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.0.changed.notified() => {}
                () = drain.draining() => break,
            }
        }
        self.0.state.lock().closed = true;
        drop(self.0.end_if(|_| true));
    }
}

impl Recording {
    fn progress(&self, now: Instant, memory: &Memory) -> Progress {
        let left = self.ends.saturating_duration_since(now);
        Progress {
            recording: self.number,
            calls: self.calls.len(),
            bytes: memory.usage().bytes,
            shed: self.shed,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            over: left.is_zero() || self.shed > 0,
        }
    }

    /// Whether a call is one too many of its route, or of all reads, or has a head that no proposal
    /// is made of; else it counts.
    fn is_surplus(&mut self, call: &Request<Body>) -> bool {
        if has_large_head(call) {
            return true;
        }
        let is_read = call.method().is_safe();
        if is_read && self.reads >= MOST / 2 {
            return true;
        }
        let of_route = self.of_route.entry(form_of(call)).or_default();
        let most = if is_read { MOST_OF_READ } else { MOST_OF_ROUTE };
        if *of_route >= most {
            return true;
        }
        *of_route += 1;
        self.reads += usize::from(is_read);
        false
    }
}

/// Whether a head is larger than those of event calls: what is worked out of it grows with the square
/// of its path's and its query's parts.
fn has_large_head(call: &Request<Body>) -> bool {
    let (path, query) = (call.uri().path(), call.uri().query().unwrap_or_default());
    path.len() > LONGEST_PART
        || query.len() > LONGEST_PART
        || path.matches('/').count() > MOST_PARTS
        || query.matches('&').count() > MOST_PARTS
        || size_of(call.headers()) > LARGEST_HEAD
}

/// The method and the path, in which all that looks like an id is alike.
fn form_of(call: &Request<Body>) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.method().hash(&mut hasher);
    for segment in call.uri().path().split('/') {
        let text = if looks_like_id(segment) {
            "{}"
        } else {
            segment
        };
        text.hash(&mut hasher);
    }
    hasher.finish()
}

impl Recorder for Recordings {
    fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    fn record_call(&self, call: &Request<Body>, peer: &Peer) -> Option<Recorded> {
        let mut state = self.0.state.lock();
        let current = state.current.as_mut()?;
        if current.ends <= Instant::now() {
            return None;
        }
        if current.calls.len() >= MOST || current.of_route.len() >= MOST {
            current.shed += 1;
            return None;
        }
        if current.is_surplus(call) {
            current.surplus += 1;
            return None;
        }
        let Ok(record) = Record::new(call, peer, self.0.memory.unnamed().lease()) else {
            current.shed += 1;
            return None;
        };
        let slot = Arc::new(Mutex::new(Some(record)));
        let copy = |side| SlotCopy {
            slot: Arc::downgrade(&slot),
            side,
        };
        let (body, answer) = (copy(Side::Call), copy(Side::Answer));
        current.calls.push(slot);
        Some(Recorded {
            body: Box::new(body),
            answer: Box::new(answer),
        })
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
