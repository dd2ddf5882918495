//! One arrangement's run on paper: the lanes and the packers that live events pass, with a clock
//! that is an argument, and an application that takes every delivery at once.

use super::arrangement::Arrangement;
use super::tally::{Tally, minute_of};
use super::trace::Trace;
use crate::event::{GroupIndex, Outcome, Realm};
use crate::ingest::Asker;
use crate::ingest::delivery::pack::{Packer, Parcel, Room};
use crate::ingest::lanes::window::{Batch, Entry as _, Fate, Lanes, Rules, Verdict};
use crate::ingest::settings::Group;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A batch that waits for company.
#[derive(Debug)]
struct Waiting(Batch<Arc<Trace>>);

impl Parcel for Waiting {
    type Event = Arc<Trace>;
    fn batch(&self) -> &Batch<Arc<Trace>> {
        &self.0
    }
}

/// What does not change while calls are observed.
#[derive(Debug)]
pub(super) struct Plan {
    /// The groups.
    pub(super) groups: Vec<Group>,
    /// The rules of their windows.
    pub(super) rules: Vec<Rules>,
    /// The limits of their common batches, with what is the default where they have none.
    pub(super) rooms: Vec<Room>,
    /// The routes: their names, and their groups.
    pub(super) routes: Vec<(String, usize)>,
}

/// What waits together: one group's batches of one host.
type Place = (usize, Realm, bool);

/// The lanes of all groups under one arrangement.
#[derive(Debug)]
pub(super) struct Run {
    /// Which.
    pub(super) arrangement: Arrangement,
    /// What left, by group.
    pub(super) tallies: Vec<Tally>,
    lanes: Lanes<Arc<Trace>>,
    packers: BTreeMap<Place, Packer<Waiting>>,
    /// Limits of each group's common batches; none: its batches go by themselves.
    rooms: Vec<Option<Room>>,
    began: Instant,
    /// Users that one of them stands for.
    weight: u64,
}

impl Run {
    /// An arrangement of a plan's groups. `began`: when minutes begin to be counted; `weight`: users
    /// that one of them stands for.
    pub(super) fn new(
        arrangement: Arrangement,
        plan: &Plan,
        most_lanes: usize,
        (began, weight): (Instant, u64),
    ) -> Self {
        let rules = plan.rules.iter().map(|rules| arrangement.rules(rules));
        let rules: Vec<_> = rules.collect();
        let rooms = rules.iter().zip(&plan.rooms);
        Self {
            arrangement,
            tallies: rules.iter().map(|_| Tally::new()).collect(),
            rooms: rooms
                .map(|(rules, room)| rules.shared.then(|| room.clone()))
                .collect(),
            lanes: Lanes::new(rules, most_lanes),
            packers: BTreeMap::new(),
            began,
            weight,
        }
    }

    /// Lanes with events.
    pub(super) const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// An event enters its window. What was due before was done.
    pub(super) fn push(&mut self, now: Instant, trace: Arc<Trace>) {
        self.lanes.push(now, trace);
        self.send(now);
    }

    /// A call goes after what its caller has in these groups. What was due before was done.
    pub(super) fn wait(&mut self, now: Instant, asker: &Asker, groups: &[GroupIndex]) {
        let marks = self.lanes.barrier(asker, groups);
        self.send(now);
        let awaited = marks.into_iter().flat_map(|mark| self.lanes.before(mark));
        let awaited: Vec<_> = awaited.collect();
        // What is awaited goes with all that waits for company.
        let meant = |waiting: &Waiting| awaited.contains(&waiting.0.lane);
        self.take_loads(now, |packer| packer.take_if(meant));
    }

    /// Does what is due by now, each at its time.
    pub(super) fn run_until(&mut self, now: Instant) {
        while let Some(at) = self.next_wake().filter(|at| *at <= now) {
            self.lanes.tick(at);
            self.take_loads(at, |packer| packer.tick(at));
        }
    }

    /// Loads that go now, and what that makes ready.
    fn take_loads(
        &mut self,
        now: Instant,
        take: impl Fn(&mut Packer<Waiting>) -> Option<Vec<Waiting>>,
    ) {
        let loads: Vec<_> = self.packers.values_mut().filter_map(take).collect();
        loads.into_iter().for_each(|load| self.deliver(now, load));
        self.send(now);
    }

    fn next_wake(&self) -> Option<Instant> {
        let packers = self.packers.values().filter_map(Packer::deadline);
        packers.chain(self.lanes.next_wake()).min()
    }

    /// What is ready goes, and what that makes ready.
    fn send(&mut self, now: Instant) {
        loop {
            let ready = self.lanes.take_ready();
            if ready.is_empty() {
                break;
            }
            for batch in ready {
                self.pack(now, batch);
            }
        }
        for settled in self.lanes.take_settled() {
            let group = settled.entry.lane().group.0;
            if matches!(settled.outcome, Outcome::Superseded { .. })
                && let Some(tally) = self.tallies.get_mut(group)
            {
                tally.superseded += 1;
            }
        }
        self.packers.retain(|_, packer| packer.deadline().is_some());
    }

    fn pack(&mut self, now: Instant, batch: Batch<Arc<Trace>>) {
        let group = batch.key.group.0;
        let first = batch.events.first().map(|queued| &queued.entry);
        let place = first.map(|first| (group, first.owner().realm, first.https));
        let room = self.rooms.get(group).and_then(Option::as_ref);
        let loads = match (room, place) {
            (Some(room), Some(place)) => {
                let packer = self.packers.entry(place);
                let packer = packer.or_insert_with(|| Packer::new(room.clone()));
                packer.push(now, Waiting(batch))
            }
            _ => vec![vec![Waiting(batch)]],
        };
        loads.into_iter().for_each(|load| self.deliver(now, load));
    }

    /// One call goes out, and is taken at once.
    fn deliver(&mut self, now: Instant, load: Vec<Waiting>) {
        let group = load.first().map(|waiting| waiting.0.key.group.0);
        if let Some(tally) = group.and_then(|group| self.tallies.get_mut(group)) {
            tally.batches += 1;
            tally.minutes.count(minute_of(self.began, now), self.weight);
            let events = load.iter().flat_map(|waiting| &waiting.0.events);
            for queued in events {
                tally.note_wait(now.saturating_duration_since(queued.since));
            }
        }
        for Waiting(batch) in load {
            let fates = batch
                .events
                .iter()
                .map(|_| Fate::Done(Outcome::Accepted))
                .collect();
            self.lanes
                .verdict(now, batch, Verdict::Answered(fates), Duration::ZERO);
        }
    }
}
