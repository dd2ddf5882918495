//! Where batches wait for company, for their turn and for their answer.

use super::deliver::{Carrier, Courier, Message, Ready, Under};
use super::pack::{Packer, Room};
use super::settings::{Group, Pack};
use super::turns::{Place, Turns};
use crate::event::{Context, Fingerprint, Keys, Realm};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// Where batches wait for company, for their turn and for their answer.
pub(super) struct Desk {
    courier: Arc<Courier>,
    turns: Turns<Vec<Ready>>,
    /// The limits of each shared group's common batches.
    rooms: HashMap<usize, Room>,
    /// What waits, by group, host and scheme: a batch is asked of one host.
    packers: HashMap<(usize, Realm, bool), Packer<Ready>>,
    pub(super) attempts: JoinSet<()>,
    places: HashMap<Id, Place>,
}

impl Desk {
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        let room = |group: &Group| match &group.pack {
            Pack::User => None,
            Pack::Shared { wait, .. } => {
                let nobody = Context::bare(Keys::of(Fingerprint([0; 16])));
                let envelope =
                    group.envelope.overhead(&courier.assembler.identity, &nobody, "", courier.assembler.clock.now());
                let (max_events, max_bytes, distinct) = (group.max_events, group.max_bytes, group.distinct.clone());
                Some(Room { max_events, max_bytes, envelope, wait: *wait, distinct })
            }
        };
        let rooms = courier.groups.iter().map(room).enumerate();
        let rooms = rooms.filter_map(|(number, room)| Some((number, room?))).collect();
        let turns = Turns::new(courier.groups.len(), courier.settings.max_in_flight);
        Self { courier, turns, rooms, packers: HashMap::new(), attempts: JoinSet::new(), places: HashMap::new() }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.packers.values().filter_map(Packer::deadline).min()
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Ready { shard, batch, retries } => {
                let under = self.courier.choose_credential(&batch);
                self.take_batch(Ready { shard, batch, retries, under });
            }
            Message::Hurry { shard, lanes } => {
                let meant = |ready: &Ready| {
                    ready.shard == shard && lanes.as_ref().is_none_or(|lanes| lanes.contains(&ready.batch.lane))
                };
                let loads: Vec<_> = self.packers.values_mut().filter_map(|packer| packer.take_if(meant)).collect();
                loads.into_iter().for_each(|load| self.line_up(load));
            }
        }
    }

    fn take_batch(&mut self, ready: Ready) {
        let group = ready.batch.key.group.0;
        let event = ready.batch.events.first().map(|queued| queued.entry.event());
        let place = event.map(|event| (group, event.owner.realm, event.context.https));
        let loads = match (self.rooms.get(&group), place) {
            (Some(room), Some(place)) if ready.under == Under::Service => {
                let packer = self.packers.entry(place).or_insert_with(|| Packer::new(room.clone()));
                packer.push(Instant::now(), ready)
            }
            _ => vec![vec![ready]],
        };
        loads.into_iter().for_each(|load| self.line_up(load));
    }

    fn line_up(&mut self, load: Vec<Ready>) {
        let Some(first) = load.first().map(|ready| &ready.batch.key) else { return };
        let user = (load.len() == 1).then(|| first.user.clone());
        if let Err(load) = self.turns.push(first.group.0, user, load) {
            drop(Carrier { courier: Arc::clone(&self.courier), load });
        }
    }

    pub(super) fn ended(&mut self, id: Id) {
        if let Some(place) = self.places.remove(&id) {
            self.turns.done(&place);
        }
    }

    /// What may go, goes.
    pub(super) fn send(&mut self) {
        let now = Instant::now();
        let loads: Vec<_> = self.packers.values_mut().filter_map(|packer| packer.tick(now)).collect();
        loads.into_iter().for_each(|load| self.line_up(load));
        self.packers.retain(|_, packer| packer.deadline().is_some());
        while let Some((place, load)) = self.turns.grant() {
            let Some(load) = self.courier.admit(load) else {
                self.turns.done(&place);
                continue;
            };
            let task = self.attempts.spawn(Arc::clone(&self.courier).deliver(load));
            self.places.insert(task.id(), place);
        }
    }
}
