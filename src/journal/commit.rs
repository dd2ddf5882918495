//! The committer: one thread that gathers what waits, writes it in one commit, and only then tells anybody.
//!
//! **Invariants.** Numbers are given here, in the order of the commits; an event reaches its tail in that order. An
//! event is answered for after its commit, never before (P1). A credential is stored as long as a pending event or a
//! dead letter needs it, and goes with the last one. A session's successor is stored with the first event of its bearer,
//! and before that if its family has events that are remembered. Every commit ends with the state, so that what is on
//! disk always adds up.
//!
//! **Failure.** After a failed commit nobody knows what the disk holds; the journal is poisoned: it takes no more
//! events until the next start, while those in memory are still delivered (Rebello et al., "Can Applications Recover
//! from fsync Failures?", 2020).

use super::record::{self, DeadRecord, Kind, Record, SettledIds, State, SuccessionRecord};
use super::store::{Change, Depth, Store, Table};
use super::successors::Successors;
use super::vault::Vault;
use super::{AppendError, Journaled, Ticket, Vitals};
use crate::event::{Context, Event, Fingerprint, Outcome, Succession};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Most messages in one commit.
pub const GROUP: usize = 1024;
/// Key of the state in the table of that name.
pub const STATE_KEY: &[u8] = b"state";

/// An event to keep.
#[derive(Debug)]
pub struct Append<T> {
    /// Its tail.
    pub shard: usize,
    /// The event.
    pub event: Event,
    /// Its record, still without a number.
    pub draft: Vec<u8>,
    /// The obligation.
    pub ticket: T,
    /// A dead letter that it comes from, which goes with the same commit.
    pub replaces: Option<u64>,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Answered when it is kept, or isn't.
    pub answer: Answer,
}

/// An event that has its outcome.
#[derive(Debug)]
pub struct Settle {
    /// Its number.
    pub seq: u64,
    /// Its credential.
    pub credential: Fingerprint,
    /// What became of it.
    pub outcome: Outcome,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten; none: it is forgotten now.
    pub seen: Option<([u8; 16], u64)>,
    /// The dead letter, if it became one.
    pub letter: Option<Vec<u8>>,
    /// Dead letters that went for want of room, with their credentials.
    pub dropped: Vec<(u64, Fingerprint)>,
}

/// What the committer can be asked.
#[derive(Debug)]
pub enum Message<T> {
    /// Keep this.
    Append(Box<Append<T>>),
    /// Forget this.
    Settle(Box<Settle>),
    /// Forget these dead letters; the operator wants it.
    Bury(Vec<(u64, Fingerprint)>),
    /// Keep a session's successor; the sender goes when it is kept, or can't be.
    Succeed(Succession, oneshot::Sender<()>),
    /// Write the last state, to the disk, and end.
    Close(oneshot::Sender<()>),
}

/// Where what was recovered stands; the committer goes on from here.
#[derive(Debug, Default)]
pub struct Standing {
    /// The state of the last commit.
    pub state: State,
    /// Its number.
    pub commit: u64,
    /// How many events and dead letters need a credential.
    pub credentials: HashMap<Fingerprint, u64>,
    /// Chunks of settled ids: commit, last expiry, how many.
    pub chunks: VecDeque<(u64, u64, usize)>,
    /// Successors of sessions.
    pub successors: Successors,
}

/// Limits that the committer keeps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What an acknowledged event survives.
    pub depth: Depth,
    /// Bytes that must stay free on the disk.
    pub min_free: u64,
    /// Settled ids kept.
    pub max_seen: usize,
    /// How long a session's successor is kept after its last use.
    pub succession: Duration,
}

/// Where a caller waits: the event's number, or why it was not kept.
pub type Answer = oneshot::Sender<Result<u64, AppendError>>;

type Waiting<T> = (usize, Journaled<T>, Answer);

/// The committer's state, without its thread.
pub struct Committer<S, T> {
    store: S,
    vault: Vault,
    standing: Standing,
    bounds: Bounds,
    tails: Vec<mpsc::UnboundedSender<Journaled<T>>>,
    vitals: Arc<Vitals>,
    /// Door duplicates that the state holds already.
    repeats: u64,
    changes: Vec<Change>,
    /// Changes of keys that may change twice in one commit: only the last counts, since an engine may not know an order
    /// within a commit.
    last: HashMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    waiting: Vec<Waiting<T>>,
    settled: SettledIds,
    /// Who waits for a successor to be kept.
    succeeded: Vec<oneshot::Sender<()>>,
}

impl<S: Store, T: Ticket> Committer<S, T> {
    /// A committer that goes on from `standing`.
    pub fn new(
        store: S,
        vault: Vault,
        standing: Standing,
        bounds: Bounds,
        tails: Vec<mpsc::UnboundedSender<Journaled<T>>>,
        vitals: Arc<Vitals>,
    ) -> Self {
        let repeats = 0;
        let (changes, waiting, settled, last) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        let succeeded = Vec::new();
        Self { store, vault, standing, bounds, tails, vitals, repeats, changes, last, waiting, settled, succeeded }
    }

    /// Runs until it is told to close, or nobody can tell it anything any more. Who waits for the close is to be answered
    /// when the store is gone.
    #[must_use]
    pub fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message<T>>) -> Vec<oneshot::Sender<()>> {
        let mut messages = Vec::with_capacity(GROUP);
        while inbox.blocking_recv_many(&mut messages, GROUP) > 0 {
            let closed = self.take(messages.drain(..));
            if !closed.is_empty() {
                return closed;
            }
        }
        Vec::new()
    }

    /// One commit of these messages. What comes back is to be answered when everything before it is on disk.
    pub fn take(&mut self, messages: impl Iterator<Item = Message<T>>) -> Vec<oneshot::Sender<()>> {
        let mut closed = Vec::new();
        self.look_at_the_disk();
        for message in messages {
            match message {
                Message::Append(append) => self.append(*append),
                Message::Settle(settle) => self.settle(*settle),
                Message::Bury(letters) => letters.into_iter().for_each(|letter| self.bury(letter)),
                Message::Succeed(succession, answer) => {
                    self.succeed(succession);
                    self.succeeded.push(answer);
                }
                Message::Close(answer) => closed.push(answer),
            }
        }
        self.forget_settled();
        self.forget_successors();
        let nobody_waits = closed.is_empty() && self.waiting.is_empty() && self.succeeded.is_empty();
        let depth = if nobody_waits { Depth::Process } else { self.bounds.depth };
        if !closed.is_empty() || !self.changes.is_empty() || !self.last.is_empty() {
            self.commit(depth);
        }
        // They hear it by the end of their channels.
        self.succeeded.clear();
        closed
    }

    fn look_at_the_disk(&mut self) {
        let low = match self.store.free() {
            Ok(free) => free < self.bounds.min_free,
            // A file system that does not say has to speak by failing.
            Err(_) => false,
        };
        if low != self.vitals.set_low(low) {
            match low {
                true => tracing::warn!("the journal's disk is nearly full: events are forwarded, not acknowledged"),
                false => tracing::info!("the journal's disk has room again"),
            }
        }
    }

    fn append(&mut self, append: Append<T>) {
        let Append { shard, event, mut draft, ticket, replaces, succession, answer } = append;
        let refused = if self.vitals.poison().is_some() {
            Some(AppendError::Poisoned)
        } else if self.vitals.is_low() {
            Some(AppendError::DiskFull)
        } else if self.tails.get(shard).is_none_or(mpsc::UnboundedSender::is_closed) {
            Some(AppendError::Closed)
        } else {
            self.hold(&event.context).err()
        };
        if let Some(error) = refused {
            self.vitals.release(&event);
            // ORDER: the ticket takes everything back before the caller hears of it. A caller that left hears nothing.
            drop(ticket);
            drop(answer.send(Err(error)));
            return;
        }
        let seq = self.standing.state.next_seq;
        self.standing.state.next_seq += 1;
        record::finish(&mut draft, seq);
        self.changes.push(Change::Put(Table::Events, seq.to_be_bytes().to_vec(), draft));
        if let Some(letter) = replaces {
            self.standing.state.dead = self.standing.state.dead.saturating_sub(1);
            self.bury((letter, event.lane.credential));
        }
        if let Some(succession) = succession {
            self.succeed(succession);
        }
        self.waiting.push((shard, Journaled { seq, event, ticket, since: Instant::now() }, answer));
    }

    /// One more needs this context.
    fn hold(&mut self, context: &Context) -> Result<(), AppendError> {
        let fingerprint = context.keys.fingerprint;
        let count = self.standing.credentials.entry(fingerprint).or_default();
        if *count == 0 {
            let Ok(sealed) = self.vault.seal(context) else { return Err(AppendError::Poisoned) };
            let frame = stored_credential(fingerprint, &sealed);
            self.last.insert((Table::Credentials, fingerprint.0.to_vec()), Some(frame));
        }
        *count += 1;
        Ok(())
    }

    /// One fewer does.
    fn let_go(&mut self, credential: Fingerprint) {
        let Some(count) = self.standing.credentials.get_mut(&credential) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.standing.credentials.remove(&credential);
            self.last.insert((Table::Credentials, credential.0.to_vec()), None);
        }
    }

    fn settle(&mut self, settle: Settle) {
        let state = &mut self.standing.state;
        match settle.outcome {
            Outcome::Accepted => state.accepted += 1,
            Outcome::Duplicate => state.duplicate += 1,
            Outcome::Superseded { .. } => state.superseded += 1,
            Outcome::Dead(_) => state.dead += 1,
        }
        let key = settle.seq.to_be_bytes().to_vec();
        self.changes.push(Change::Remove(Table::Events, key.clone()));
        match settle.letter {
            // The credential stays: a replay must go with it and with no other (P3).
            Some(letter) => drop(self.last.insert((Table::Dead, key), Some(letter))),
            None => self.let_go(settle.credential),
        }
        self.settled.extend(settle.seen);
        self.standing.state.dropped += settle.dropped.len() as u64;
        for letter in settle.dropped {
            self.bury(letter);
        }
    }

    fn bury(&mut self, (letter, credential): (u64, Fingerprint)) {
        self.last.insert((Table::Dead, letter.to_be_bytes().to_vec()), None);
        self.let_go(credential);
    }

    /// On a disk that is low, too: events of the family may be pending, and repetitions of them come. A journal that is
    /// poisoned writes nothing.
    fn succeed(&mut self, succession: Succession) {
        if self.vitals.poison().is_some() {
            return;
        }
        let kept = self.standing.successors.keep(succession, self.vitals.now_ms(), self.bounds.succession);
        let Some(kept) = kept else { return };
        let record = record::frame(Kind::Succession, 0, &SuccessionRecord::of(&succession, kept.until));
        self.last.insert((Table::Successions, succession.bearer.0.to_vec()), Some(record));
        if let Some(gone) = kept.gone {
            self.last.insert((Table::Successions, gone.0.to_vec()), None);
        }
    }

    fn forget_successors(&mut self) {
        while let Some(gone) = self.standing.successors.take_expired(self.vitals.now_ms()) {
            self.last.insert((Table::Successions, gone.0.to_vec()), None);
        }
    }

    /// Chunks of settled ids go when all in them have expired, or when there are too many ids.
    fn forget_settled(&mut self) {
        let now = self.vitals.now_ms();
        let mut count: usize = self.standing.chunks.iter().map(|(_, _, count)| count).sum();
        while let Some((commit, until, ids)) = self.standing.chunks.front().copied() {
            if until > now && count <= self.bounds.max_seen {
                break;
            }
            self.standing.chunks.pop_front();
            count -= ids;
            self.changes.push(Change::Remove(Table::Settled, commit.to_be_bytes().to_vec()));
        }
    }

    fn commit(&mut self, depth: Depth) {
        let standing = &mut self.standing;
        standing.commit += 1;
        if !self.settled.is_empty() {
            let until = self.settled.iter().map(|(_, until)| *until).max().unwrap_or(0);
            let chunk = record::frame(Kind::Settled, standing.commit, &self.settled);
            self.changes.push(Change::Put(Table::Settled, standing.commit.to_be_bytes().to_vec(), chunk));
            standing.chunks.push_back((standing.commit, until, self.settled.len()));
            self.settled.clear();
        }
        self.changes.extend(self.last.drain().map(|((table, key), value)| match value {
            Some(value) => Change::Put(table, key, value),
            None => Change::Remove(table, key),
        }));
        let repeats = self.vitals.repeats();
        standing.state.duplicate += repeats - self.repeats;
        self.repeats = repeats;
        let state = record::frame(Kind::State, standing.commit, &standing.state);
        self.changes.push(Change::Put(Table::Meta, STATE_KEY.to_vec(), state));
        let changes = std::mem::take(&mut self.changes);
        let result = match self.vitals.poison() {
            Some(_) => Err(AppendError::Poisoned),
            None => self.store.commit(changes, depth).map_err(|error| {
                tracing::error!(%error, "the journal can't be written; it takes no more events until the next start");
                self.vitals.set_poison(error.0);
                AppendError::Poisoned
            }),
        };
        self.vitals.committed(self.waiting.len());
        for (shard, mut journaled, answer) in self.waiting.drain(..) {
            let reply = match &result {
                Ok(()) => {
                    let seq = journaled.seq;
                    journaled.ticket.kept();
                    // ORDER: to the tail before the answer, so that whoever hears the acknowledgement finds it there.
                    // Without a tail the process is ending, and the event waits on disk for the next start.
                    if let Some(tail) = self.tails.get(shard) {
                        drop(tail.send(journaled));
                    }
                    Ok(seq)
                }
                Err(error) => {
                    self.vitals.release(&journaled.event);
                    drop(journaled);
                    Err(error.clone())
                }
            };
            drop(answer.send(reply));
        }
    }
}

/// A credential as the table holds it.
#[must_use]
pub fn stored_credential(fingerprint: Fingerprint, sealed: &[u8]) -> Vec<u8> {
    record::frame(Kind::Credential, 0, &(fingerprint.0, crate::event::Raw(sealed)))
}

/// A dead letter as the table holds it.
#[must_use]
pub fn stored_letter(key: u64, letter: &DeadRecord<'_>) -> Vec<u8> {
    record::frame(Kind::Dead, key, letter)
}

/// An event's record, without its number.
#[must_use]
pub fn draft(event: &Event, group: &str, seen: [u8; 16]) -> Vec<u8> {
    record::draft(Kind::Event, &Record::of(event, group, seen))
}
