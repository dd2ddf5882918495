//! One dispatcher for all lanes. Ready batches take [`turns`](super::turns) under the cap on
//! requests in flight, those of shared groups after a moment's wait for company
//! ([`pack`](super::pack)); each group's [`gate`](super::gate) is minded, and every load goes with
//! the [`deliverer`](super::deliverer), in a task that it has for itself.
//!
//! ```text
//! Ready ─┬──────────────► turns ─ gate ─ request ─ reply ─► verdict, to the shard
//!        └─ pack (shared) ──┘        └ closed: deferred; on a detour: back, to come again as single calls
//! ```

use super::deliverer::{Carrier, Deliverer, Parts};
use super::load::{self, Ready, Under};
use super::pack::{Packer, Room};
use super::turns::{Callers, Party, Place, Turns};
use super::workers::{Work, Workers};
use crate::event::{Context, Fingerprint, Keys, LaneKey};
use crate::identity::Identity;
use crate::ingest::lanes::shard::Message;
use crate::ingest::lanes::shard::sleep_until;
use crate::ingest::settings::{Group, Pack};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::Id;
use tokio::time::Instant;

/// Most messages that are taken at once.
const MOST_MESSAGES: usize = 1_024;

/// Where batches wait for company, for their turn and for their answer.
pub struct Dispatcher {
    deliverer: Arc<Deliverer>,
    turns: Turns<Vec<Ready>>,
    /// The limits of each shared group's common batches.
    rooms: HashMap<usize, Room>,
    /// What waits, by group, host and scheme: a batch is asked of one host.
    packers: HashMap<(usize, Option<Box<str>>, bool), Packer<Ready>>,
    workers: Workers<Arc<Deliverer>>,
    /// Of what is on its way, by its worker.
    places: HashMap<Id, Place>,
}

/// The limits of a group's common batches.
pub fn room_of(group: &Group, wait: Duration, identity: &Identity, now: SystemTime) -> Room {
    let nobody = Context::bare(Keys::of(Fingerprint([0; 16])));
    Room {
        max_events: group.max_events,
        max_bytes: group.max_bytes,
        envelope: group.envelope.overhead(identity, &nobody, "", now),
        wait,
        distinct: group.distinct.clone(),
    }
}

impl Work for Arc<Deliverer> {
    type Piece = Carrier;
    async fn run(&self, carrier: Carrier) {
        Self::clone(self).deliver(carrier).await;
    }
}

impl Dispatcher {
    /// A dispatcher; it does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let deliverer = Arc::new(Deliverer::new(parts));
        let room = |group: &Group| match &group.pack {
            Pack::User => None,
            Pack::Shared { wait, .. } => {
                let assembler = &deliverer.assembler;
                Some(room_of(
                    group,
                    *wait,
                    &assembler.identity,
                    assembler.clock.now(),
                ))
            }
        };
        let rooms = deliverer.groups.iter().map(room).enumerate();
        let rooms = rooms
            .filter_map(|(number, room)| Some((number, room?)))
            .collect();
        let turns = Turns::new(deliverer.groups.len(), deliverer.settings.max_in_flight);
        let workers = Workers::new(Arc::clone(&deliverer));
        Self {
            deliverer,
            turns,
            rooms,
            packers: HashMap::new(),
            workers,
            places: HashMap::new(),
        }
    }

    /// Runs until nobody can hand over batches any more. Attempts in flight then are cut: their
    /// events stay pending.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut messages = Vec::new();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                worker = self.workers.ended() => self.free_place(worker),
                count = inbox.recv_many(&mut messages, MOST_MESSAGES) => match count {
                    0 => return,
                    // All that is there is packed before any of it goes.
                    _ => messages.drain(..).for_each(|message| self.take(message)),
                },
                () = sleep_until(wake) => {}
            }
            self.send();
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.packers.values().filter_map(Packer::deadline).min()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ready {
                shard,
                batch,
                retries,
            } => {
                let under = self.deliverer.choose_credential(&batch);
                self.take_batch(Ready {
                    shard,
                    batch,
                    retries,
                    under,
                });
            }
            Message::Hurry { shard, lanes } => {
                let meant = |ready: &Ready| {
                    ready.shard == shard
                        && lanes
                            .as_ref()
                            .is_none_or(|lanes| lanes.contains(&ready.batch.lane))
                };
                let loads: Vec<_> = self
                    .packers
                    .values_mut()
                    .filter_map(|packer| packer.take_if(meant))
                    .collect();
                loads.into_iter().for_each(|load| self.line_up(load));
            }
        }
    }

    fn take_batch(&mut self, ready: Ready) {
        let group = ready.batch.key.group.0;
        let event = ready
            .batch
            .events
            .first()
            .map(|queued| queued.entry.event());
        let loads = match (self.rooms.get(&group), event) {
            (Some(room), Some(event)) if ready.under == Under::Service => {
                let (host, https) = event.context.place();
                let place = (group, host.map(Into::into), https);
                let packer = self
                    .packers
                    .entry(place)
                    .or_insert_with(|| Packer::new(room.clone()));
                packer.push(Instant::now(), ready)
            }
            _ => vec![vec![ready]],
        };
        loads.into_iter().for_each(|load| self.line_up(load));
    }

    fn line_up(&mut self, load: Vec<Ready>) {
        let Some(first) = load.first() else {
            return;
        };
        let group = first.batch.key.group.0;
        let party = if load.len() == 1 {
            self.party_of(first)
        } else {
            None
        };
        if let Err(load) = self.turns.push(group, party, load) {
            drop(Carrier {
                deliverer: Arc::clone(&self.deliverer),
                load,
            });
        }
    }

    /// With whom a batch takes turns.
    fn party_of(&self, ready: &Ready) -> Option<Party> {
        let (owner, _) = load::owner_of(&ready.batch)?;
        let LaneKey { group, user, .. } = &ready.batch.key;
        let callers = if !self.deliverer.reputation.is_good(owner.principal, *group) {
            Callers::Strangers
        } else if owner.claimed {
            Callers::Claimants
        } else {
            Callers::One(owner.principal)
        };
        Some(Party {
            realm: owner.realm,
            name: user.clone(),
            callers,
        })
    }

    fn free_place(&mut self, id: Id) {
        if let Some(place) = self.places.remove(&id) {
            self.turns.done(&place);
        }
    }

    /// What may go, goes.
    fn send(&mut self) {
        let now = Instant::now();
        let loads: Vec<_> = self
            .packers
            .values_mut()
            .filter_map(|packer| packer.tick(now))
            .collect();
        loads.into_iter().for_each(|load| self.line_up(load));
        self.packers.retain(|_, packer| packer.deadline().is_some());
        while let Some((place, load)) = self.turns.grant() {
            let Some(load) = self.deliverer.admit(load) else {
                self.turns.done(&place);
                continue;
            };
            let carrier = Carrier {
                deliverer: Arc::clone(&self.deliverer),
                load,
            };
            self.places.insert(self.workers.begin(carrier), place);
        }
    }
}
