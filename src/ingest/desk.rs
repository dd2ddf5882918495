//! Where batches wait for company, for their turn and for their answer.

use super::deliver::{Carrier, Courier, Message, Ready};
use super::pack::{Packer, Room};
use super::settings::{Group, Pack};
use super::turns::{Place, Turns};
use super::window::Form;
use crate::event::{Credential, Fingerprint};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// Where batches wait for company, for their turn and for their answer.
pub(super) struct Desk {
    courier: Arc<Courier>,
    turns: Turns<Vec<Ready>>,
    /// One for each shared group.
    packers: HashMap<usize, Packer<Ready>>,
    pub(super) attempts: JoinSet<()>,
    places: HashMap<Id, Place>,
}

impl Desk {
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        let packer = |group: &Group| match &group.pack {
            Pack::User => None,
            Pack::Shared { wait, .. } => {
                let nobody = Credential { fingerprint: Fingerprint([0; 16]), headers: Vec::new() };
                let envelope =
                    group.envelope.overhead(&courier.assembler.identity, &nobody, "", courier.assembler.clock.now());
                let (max_events, max_bytes, distinct) = (group.max_events, group.max_bytes, group.distinct.clone());
                Some(Packer::new(Room { max_events, max_bytes, envelope, wait: *wait, distinct }))
            }
        };
        let packers = courier.groups.iter().map(packer).enumerate();
        let packers = packers.filter_map(|(number, packer)| Some((number, packer?))).collect();
        let turns = Turns::new(courier.groups.len(), courier.settings.max_in_flight);
        Self { courier, turns, packers, attempts: JoinSet::new(), places: HashMap::new() }
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        self.packers.values().filter_map(Packer::deadline).min()
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Ready(ready) => self.take_batch(ready),
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
        let loads = match self.packers.get_mut(&ready.batch.key.group.0) {
            Some(packer) if ready.batch.form == Form::Batch => packer.push(Instant::now(), ready),
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
