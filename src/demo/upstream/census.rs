//! What the upstream counts: calls by kind, and for every event id how often it came, how often it was applied and
//! under whose token. The demo's verdict rests on these numbers, not on what the sidecar says about itself.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Login, refresh, logout.
    Auth,
    /// A single event.
    Single,
    /// A snapshot.
    Snapshot,
    /// A batch of progress events.
    ProgressBatch,
    /// A batch of analytics events.
    AnalyticsBatch,
    /// A GET.
    Read,
    /// Anything else.
    Other,
}

/// Calls so far, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Login, refresh, logout.
    pub auth: u64,
    /// Single events.
    pub singles: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Progress batches.
    pub progress_batches: u64,
    /// Analytics batches.
    pub analytics_batches: u64,
    /// GETs.
    pub reads: u64,
    /// Anything else.
    pub others: u64,
    /// Events in batches.
    pub batched_events: u64,
    /// Answers of 400 and above.
    pub refusals: u64,
}

impl Calls {
    /// Batches of both kinds.
    #[must_use]
    pub const fn batches(&self) -> u64 {
        self.progress_batches + self.analytics_batches
    }

    /// Everything but logins and refreshes.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.singles + self.snapshots + self.batches() + self.reads + self.others
    }
}

/// What is known about one event id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// How often it came.
    pub offered: u32,
    /// How often it changed something.
    pub applied: u32,
    /// Under whose tokens; "" for a call without one.
    pub users: Vec<Box<str>>,
}

/// The counts, shared by all handlers.
#[derive(Debug, Default)]
pub struct Census {
    auth: AtomicU64,
    singles: AtomicU64,
    snapshots: AtomicU64,
    progress_batches: AtomicU64,
    analytics_batches: AtomicU64,
    reads: AtomicU64,
    others: AtomicU64,
    batched_events: AtomicU64,
    refusals: AtomicU64,
    /// A plain lock: held for one look-up and one push.
    book: Mutex<Book>,
}

/// A user and one of their lessons.
pub type UserLesson = (Box<str>, Box<str>);

/// Everything by event id and by lesson.
#[derive(Debug, Default)]
pub struct Book {
    /// By event id.
    pub sightings: HashMap<Box<str>, Sighting>,
    /// Applied progress events in the order of application, by (user, lesson).
    pub order: HashMap<UserLesson, Vec<Box<str>>>,
}

/// An event as it reached a handler.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose token came with it.
    pub token: &'a str,
    /// It changed something.
    pub applied: bool,
    /// The user and lesson whose progress it set.
    pub lesson: Option<(&'a str, &'a str)>,
}

impl Census {
    /// A call arrived.
    pub fn call(&self, kind: Kind) {
        let counter = match kind {
            Kind::Auth => &self.auth,
            Kind::Single => &self.singles,
            Kind::Snapshot => &self.snapshots,
            Kind::ProgressBatch => &self.progress_batches,
            Kind::AnalyticsBatch => &self.analytics_batches,
            Kind::Read => &self.reads,
            Kind::Other => &self.others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch held this many events.
    pub fn batch(&self, events: usize) {
        self.batched_events.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// A call was refused.
    pub fn refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// An event arrived.
    pub fn offer(&self, offer: Offer<'_>) {
        let mut book = self.book.lock();
        let sighting = book.sightings.entry(offer.id.into()).or_default();
        sighting.offered += 1;
        sighting.applied += u32::from(offer.applied);
        if !sighting.users.iter().any(|user| **user == *offer.token) {
            sighting.users.push(offer.token.into());
        }
        if let (true, Some((user, lesson))) = (offer.applied, offer.lesson) {
            book.order.entry((user.into(), lesson.into())).or_default().push(offer.id.into());
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Calls {
            auth: read(&self.auth),
            singles: read(&self.singles),
            snapshots: read(&self.snapshots),
            progress_batches: read(&self.progress_batches),
            analytics_batches: read(&self.analytics_batches),
            reads: read(&self.reads),
            others: read(&self.others),
            batched_events: read(&self.batched_events),
            refusals: read(&self.refusals),
        }
    }

    /// A look at everything by event id; keep it short, handlers wait.
    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.lock())
    }
}
