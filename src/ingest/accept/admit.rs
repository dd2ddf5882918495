//! Admission: what it shares with settlement and the lanes, and the guard that stands for an event
//! from its admission to its outcome.

use crate::cache::tags::{Tags, Waiting};
use crate::event::{Event, Outcome, Tag};
use crate::identity::Identity;
use crate::ingest::accept::repetitions::Repetitions;
use crate::ingest::accept::seen::{Claim, Seen, SeenKey};
use crate::ingest::accept::shares::Share;
use crate::ingest::settings::Envelope;
use crate::journal::Ticket;
use crate::metrics::Metrics;
use crate::spans::Origin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Sets of tags that an event's own is compared with when a batch is settled.
const SETS: usize = 8;

/// What admission, settlement and the lanes share.
#[derive(Debug)]
pub struct Admitter {
    /// Names of the groups, in the order of the configuration.
    pub groups: Vec<Arc<str>>,
    /// What their batches have around the events.
    pub envelopes: Vec<Envelope>,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Seen ids.
    pub seen: Seen,
    /// Generations and pending counts.
    pub tags: Arc<Tags>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Events that came again.
    pub repetitions: Repetitions,
}

/// An admitted event's obligations: its place in the ledger, its entry among the seen ids, its mark
/// on the tags, its share of the bounds. Dropped before the journal has the event, it takes all of
/// them back; nobody was told that the event was kept.
#[derive(Debug)]
pub struct Admitted {
    admitter: Arc<Admitter>,
    key: SeenKey,
    tags: Arc<[Tag]>,
    waiting: Waiting,
    /// What a batch of its lane has around its events, bytes.
    envelope: u32,
    /// How long its id stays known after its delivery, nanoseconds.
    keep: u64,
    state: Stage,
    share: Share,
    /// The span of the call that it came in, if there is one; no start finds it again.
    origin: Origin,
}

/// Which part of the ledger counts an event.
const fn ledger_part(SeenKey([first, second, ..]): SeenKey) -> u64 {
    (first as u64) << 8 | second as u64
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Admitted,
    Journaled,
    Settled,
}

impl Admitter {
    /// The key of an event among the seen ids.
    #[must_use]
    pub fn key(&self, event: &Event) -> SeenKey {
        self.seen.key(
            self.groups
                .get(event.lane.group.0)
                .map_or("", |group| group),
            event,
        )
    }

    /// Admits an event whose id is new; else says what the id says. The tags' generations move
    /// here, before the journal and before the acknowledgement (ruling 1). `key`: the event's own;
    /// `keep`: how long the id stays known after its delivery; `share`: what it takes of the
    /// bounds.
    ///
    /// # Errors
    /// Its id is known, or names another event; nothing was kept.
    pub async fn admit(
        self: &Arc<Self>,
        key: SeenKey,
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Result<Admitted, Claim> {
        match self.seen.claim(key).await {
            Claim::New => Ok(self.obligation(key, event, keep, share)),
            claim => Err(claim),
        }
    }

    /// The obligation of an event that a start found in the journal.
    #[must_use]
    pub fn readmit(
        self: &Arc<Self>,
        seen: [u8; 16],
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Admitted {
        self.seen.confirm(SeenKey(seen));
        self.obligation(SeenKey(seen), event, keep, share)
    }

    fn obligation(
        self: &Arc<Self>,
        key: SeenKey,
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Admitted {
        self.metrics.ledgers.receive(ledger_part(key));
        let (tags, waiting) = (
            Arc::clone(&event.tags),
            Waiting::of(&event.owner(), &event.lane.user),
        );
        self.tags.mark(&tags, waiting);
        let envelope = u32::try_from(self.envelope(event)).unwrap_or(u32::MAX);
        let (admitter, state) = (Arc::clone(self), Stage::Admitted);
        Admitted {
            admitter,
            key,
            tags,
            waiting,
            envelope,
            keep: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            state,
            share,
            origin: Origin::default(),
        }
    }

    /// What a batch of an event's lane has around its events, bytes.
    #[must_use]
    pub fn envelope(&self, event: &Event) -> usize {
        let envelope = self
            .envelopes
            .get(event.lane.group.0)
            .unwrap_or(&Envelope::Plain);
        envelope.overhead(
            &self.identity,
            &event.context,
            event.lane.user.as_str(),
            event.received_at,
        )
    }

    /// A known event came again.
    pub fn repeat(&self, key: SeenKey) {
        self.repetitions.note(key.0);
        self.metrics.ledgers.repeat(fastrand::u64(..));
    }
}

impl Admitter {
    /// How often an event came again, as far as that is remembered. `seen`: its key among the seen
    /// ids.
    #[must_use]
    pub fn count_repetitions(&self, seen: [u8; 16]) -> u64 {
        self.repetitions.count(seen)
    }
}

impl Ticket for Admitted {
    fn kept(&mut self) {
        self.state = Stage::Journaled;
        self.admitter.seen.confirm(self.key);
    }

    fn taken_back(&mut self) {
        self.state = Stage::Admitted;
    }
}

impl Admitted {
    /// The key of its id among the seen ones.
    #[must_use]
    pub const fn seen(&self) -> [u8; 16] {
        self.key.0
    }

    /// The same, of an event that came in the call of this span.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        let mut admitted = self;
        admitted.origin = origin;
        admitted
    }

    /// The span of the call that it came in.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How long its id stays known with this outcome; a dead letter's is free again.
    #[must_use]
    pub fn keep(&self, outcome: &Outcome) -> Option<Duration> {
        (!matches!(outcome, Outcome::Dead(_))).then_some(Duration::from_nanos(self.keep))
    }

    /// What a batch of its lane has around its events, bytes.
    #[must_use]
    pub const fn envelope(&self) -> usize {
        self.envelope as usize
    }

    /// The one outcome of each, in the order of their lanes. Consumes the obligations, so none can
    /// be given twice.
    pub fn settle_all(mut settled: Vec<(Self, Outcome)>) {
        settled
            .iter_mut()
            .for_each(|(admitted, _)| admitted.state = Stage::Settled);
        let Some((Self { admitter, key, .. }, _)) = settled.first() else {
            return;
        };
        let part = ledger_part(*key);
        // ORDER: the generations move before the events stop being pending, so that nothing stale
        // fits in between.
        for (Self { tags, waiting, .. }, events) in Self::by_tags(&settled) {
            admitter.tags.settle_several(tags, *waiting, events);
        }
        let now = Instant::now();
        for (admitted, outcome) in &settled {
            admitter.seen.end(admitted.key, admitted.keep(outcome), now);
        }
        admitter
            .metrics
            .settle_all(part, settled.iter().map(|(_, outcome)| outcome));
        Share::join(settled.iter_mut().map(|(admitted, _)| &mut admitted.share));
    }

    /// One for each set of tags, and how many there are of it; a set may come again where many
    /// others stand between.
    fn by_tags(settled: &[(Self, Outcome)]) -> Vec<(&Self, u32)> {
        let mut sets: Vec<(&Self, u32)> = Vec::new();
        for (admitted, _) in settled {
            let is_same = |one: &Self| one.waiting == admitted.waiting && one.tags == admitted.tags;
            match sets
                .iter_mut()
                .rev()
                .take(SETS)
                .find(|(one, _)| is_same(one))
            {
                Some((_, events)) => *events += 1,
                None => sets.push((admitted, 1)),
            }
        }
        sets
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.state == Stage::Admitted {
            self.admitter.tags.settle(&self.tags, self.waiting);
            self.admitter.seen.end(self.key, None, Instant::now());
            let part = ledger_part(self.key);
            self.admitter.metrics.ledgers.release(part);
        }
    }
}
