//! What the upstream counts: calls by kind, and for every event id how often it came, how often it
//! was applied and under whose token, and what each snapshot told. The demo's verdict rests on
//! these numbers, not on what the sidecar says about itself.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
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
    /// A batch of assignment events.
    AssignmentBatch,
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
    /// Assignment batches.
    pub assignment_batches: u64,
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
    /// Batches of all kinds.
    #[must_use]
    pub const fn batches(&self) -> u64 {
        self.progress_batches + self.analytics_batches + self.assignment_batches
    }

    /// Calls that write.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.singles + self.snapshots + self.batches() + self.others
    }

    /// Everything but logins and refreshes.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.writes() + self.reads
    }
}

/// What is known about one event id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// How often it came.
    pub offered: u32,
    /// How often it changed something.
    pub applied: u32,
    /// Under whose tokens; "" for a call without one, [`SERVICE`] for the one that speaks for all.
    pub tokens: Vec<Box<str>>,
    /// For whose records; "" where it named nobody.
    pub owners: Vec<Box<str>>,
}

/// What stands for the service credential among the users of tokens.
pub const SERVICE: &str = "service";

/// The counts, shared by all handlers.
#[derive(Debug, Default)]
pub struct Census {
    auth: AtomicU64,
    singles: AtomicU64,
    snapshots: AtomicU64,
    progress_batches: AtomicU64,
    analytics_batches: AtomicU64,
    assignment_batches: AtomicU64,
    reads: AtomicU64,
    others: AtomicU64,
    batched_events: AtomicU64,
    refusals: AtomicU64,
    /// A plain lock: held for one look-up and one push.
    book: Mutex<Book>,
}

/// A user and what of theirs was written: a lesson, an assignment, a course, or a group of analytics.
pub type Record = (Box<str>, Box<str>);

/// Everything by event id and by record.
#[derive(Debug, Default)]
pub struct Book {
    /// By event id.
    pub sightings: HashMap<Box<str>, Sighting>,
    /// Applied events of lessons, assignments and analytics in the order of application.
    pub order: HashMap<Record, Vec<Box<str>>>,
    /// `course.total_time_seconds` of the applied snapshots by (user, course), in the order of
    /// application.
    pub snapshots: HashMap<Record, Vec<u64>>,
    /// Snapshots that named another user than the one of their token.
    pub foreign_snapshots: u64,
    /// Events whose call was cut off or refused, by their ids: the sender can't know what was
    /// applied, and may offer them again.
    pub unclear: HashSet<Box<str>>,
}

/// An event as it reached a handler.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose token came with it.
    pub token: &'a str,
    /// Whose records it is for.
    pub owner: &'a str,
    /// It changed something.
    pub applied: bool,
    /// What it was about, where the order counts: a lesson, an assignment, or its group of
    /// analytics.
    pub target: Option<&'a str>,
}

/// A snapshot that was applied.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// Whose records it set.
    pub user: &'a str,
    /// Whom it named itself.
    pub named: Option<&'a str>,
    /// Its course.
    pub course: &'a str,
    /// Time spent on the course, as told.
    pub seconds: u64,
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
            Kind::AssignmentBatch => &self.assignment_batches,
            Kind::Read => &self.reads,
            Kind::Other => &self.others,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch held this many events.
    pub fn batch(&self, events: usize) {
        self.batched_events
            .fetch_add(events as u64, Ordering::Relaxed);
    }

    /// A call was refused.
    pub fn refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// These events were left without a clear answer.
    pub fn leave_unclear(&self, ids: Vec<Box<str>>) {
        self.book.lock().unclear.extend(ids);
    }

    /// An event arrived.
    pub fn offer(&self, offer: Offer<'_>) {
        let mut book = self.book.lock();
        let sighting = book.sightings.entry(offer.id.into()).or_default();
        sighting.offered += 1;
        sighting.applied += u32::from(offer.applied);
        for (known, found) in [
            (&mut sighting.tokens, offer.token),
            (&mut sighting.owners, offer.owner),
        ] {
            if !known.iter().any(|known| **known == *found) {
                known.push(found.into());
            }
        }
        if let (true, Some(target)) = (offer.applied, offer.target) {
            book.order
                .entry((offer.owner.into(), target.into()))
                .or_default()
                .push(offer.id.into());
        }
    }

    /// A snapshot was applied.
    pub fn snapshot(&self, snapshot: Snapshot<'_>) {
        let mut book = self.book.lock();
        book.foreign_snapshots +=
            u64::from(snapshot.named.is_some_and(|named| named != snapshot.user));
        let record = (snapshot.user.into(), snapshot.course.into());
        book.snapshots
            .entry(record)
            .or_default()
            .push(snapshot.seconds);
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
            assignment_batches: read(&self.assignment_batches),
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
