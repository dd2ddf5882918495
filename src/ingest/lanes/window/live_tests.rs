//! Nothing sleeps for ever, and no outage is held against an event.

use super::*;
use crate::ingest::asker::Asker;
use crate::ingest::delivery::gate::{Asking, Caller, Evidence, Failure, Gate, Pass};
use crate::ingest::delivery::retry;
use crate::ingest::settings::{Backoff, Delivery, Limited};

fn delivery() -> Delivery {
    let second = Duration::from_secs(1);
    Delivery {
        timeout: 10 * second,
        max_in_flight: 64,
        retry_network: vec![second],
        retry_server: Backoff {
            base: 2 * second,
            cap: 30 * second,
        },
        retry_limited: Limited {
            base: 5 * second,
            jitter: second,
        },
        escalate_after: 3,
        give_up_after: 86_400 * second,
        token_margin: second,
        barrier: second,
    }
}

/// Sends what may go by its group's gate to an upstream that answers every batch as `takes` says,
/// until nothing may.
fn try_all(
    lanes: &mut Lanes<Model>,
    gate: &mut Gate,
    now: Instant,
    single: bool,
    mut takes: impl FnMut(&Batch<Model>) -> bool,
) {
    let settings = delivery();
    let mut ready = lanes.take_ready();
    while let Some(mut batch) = ready.pop_front() {
        let user = batch.key.user.as_str()[1..].parse().unwrap();
        let (caller, key) = (Caller::Good(Principal([user; 16])), batch.key.clone());
        let (oldest, any) = (batch.has_oldest_single(single), batch.has_singles(single));
        let asking = Asking {
            caller,
            lane: &key,
            form: batch.form,
            oldest,
            any,
        };
        match gate.admit(now, &asking, &settings, 0.5) {
            Pass::Go if takes(&batch) => {
                gate.take(now, &asking, None, &settings);
                accept(lanes, now, batch);
            }
            Pass::Go => {
                let pause = retry::server(settings.retry_server, lanes.retries(batch.lane), 0.5);
                gate.fail(now, &asking, pause, &settings);
                gate.count_failure(caller);
                let (trouble, evidence) =
                    gate.trouble(batch.trouble, (Failure::Error, caller), &settings);
                batch.trouble = trouble;
                let own = evidence == Evidence::Own;
                let verdict = if own {
                    Verdict::Persistent { pause }
                } else {
                    Verdict::Retry { pause }
                };
                lanes.verdict(now, batch, verdict, pause);
            }
            Pass::Wait(pause) => {
                lanes.verdict(now, batch, Verdict::Deferred { pause }, Duration::ZERO)
            }
            Pass::Singles => lanes.verdict(
                now,
                batch,
                Verdict::Singles { pause: WINDOW },
                Duration::ZERO,
            ),
            Pass::OldestAlone => lanes.verdict(now, batch, Verdict::OldestAlone, Duration::ZERO),
        }
        ready.extend(lanes.take_ready());
    }
}

/// Runs lanes against an upstream that answers every batch as `takes` says, for a day or until an
/// event dies: when.
fn first_death(
    users: u8,
    events: u64,
    single: bool,
    mut takes: impl FnMut(&Batch<Model>) -> bool,
) -> Option<Duration> {
    let (start, settings, mut gate) = (Instant::now(), delivery(), Gate::default());
    let mut now = start;
    let rules = Rules {
        single,
        max_attempts: 8,
        give_up_after: settings.give_up_after,
        ..rules()
    };
    let mut lanes = Lanes::new(vec![rules], 100);
    for user in 0..users {
        let own = |seq| Model {
            single,
            ..event(u64::from(user) * events + seq, user, 1)
        };
        (1..=events).for_each(|seq| lanes.push(now, own(seq)));
    }
    lanes.seal_all();
    while now < start + Duration::from_secs(23 * 3_600) {
        try_all(&mut lanes, &mut gate, now, single, &mut takes);
        if lanes
            .take_settled()
            .iter()
            .any(|one| matches!(one.outcome, Outcome::Dead(_)))
        {
            return Some(now - start);
        }
        now = lanes.next_wake()?.max(now);
        lanes.tick(now);
    }
    None
}

#[test]
fn no_outage_makes_a_dead_letter_of_a_good_event() {
    // The first so many batches pass, and then nothing for a day.
    for (users, before) in [(1, 0), (2, 1), (8, 3), (8, 7)] {
        for (events, single) in [(1, false), (1, true), (4, true)] {
            let mut passed = 0;
            let mut takes = |_: &Batch<Model>| {
                passed += 1;
                passed <= before
            };
            let death = first_death(users, events, single, &mut takes);
            assert_eq!(
                death, None,
                "{users} users, {before} batches before it, {events} events each, single {single}"
            );
        }
    }
}

#[test]
fn an_event_at_fault_is_given_up_in_time_though_it_is_tried_more_often_than_others() {
    let hour = Duration::from_hours(1);
    // It is tried every 15 s, in the end; others are there every so many seconds.
    for (apart, events) in [(25, 4), (300, 1)] {
        let (start, apart, mut gate) =
            (Instant::now(), Duration::from_secs(apart), Gate::default());
        let give_up_after = delivery().give_up_after;
        let mut lanes = Lanes::new(
            vec![Rules {
                give_up_after,
                ..rules()
            }],
            100,
        );
        (1..=events).for_each(|seq| lanes.push(start, event(seq, 1, 1)));
        let bad = events.min(3);
        let takes = |batch: &Batch<Model>| !seqs(batch).contains(&bad);
        let (mut now, mut others) = (start, start);
        let mut died = Vec::new();
        while died.is_empty() && now < start + give_up_after {
            if others <= now {
                others += apart;
                lanes.push(now, event(lanes.last_seq() + 1, 2, 2));
            }
            lanes.seal_all();
            try_all(&mut lanes, &mut gate, now, false, takes);
            died = outcomes(&mut lanes);
            died.retain(|(_, outcome)| *outcome != Outcome::Accepted);
            now = lanes
                .next_wake()
                .map_or(others, |wake| wake.min(others))
                .max(now);
            lanes.tick(now);
        }
        assert_eq!(died, [(bad, Outcome::Dead(Reason::GaveUp))]);
        assert!(
            (hour..hour + hour * 3 / 4).contains(&(now - start)),
            "{:?}, others every {apart:?}",
            now - start
        );
    }
}

/// The first minutes of an outage look as if one event were at fault. What then passes in silence is
/// no hour in which others passed.
#[test]
fn what_failed_alone_before_hours_of_silence_is_not_given_up_by_the_first_who_passes_after_them() {
    let (start, mut gate) = (Instant::now(), Gate::default());
    let at = |minutes: u64| start + Duration::from_mins(minutes);
    let mut lanes = Lanes::new(
        vec![Rules {
            give_up_after: delivery().give_up_after,
            ..rules()
        }],
        100,
    );
    lanes.push(start, event(1, 1, 1));
    let (mut now, mut others) = (start, start);
    while now < at(183) {
        if others <= now {
            others += Duration::from_secs(20);
            if others > at(3) && others < at(180) {
                others = at(180);
            }
            lanes.push(now, event(lanes.last_seq() + 1, 2, 2));
        }
        lanes.seal_all();
        // Two of the others come before its own next try.
        let is_well = now >= at(181);
        try_all(&mut lanes, &mut gate, now, false, |batch| {
            is_well || !seqs(batch).contains(&1)
        });
        for (seq, outcome) in outcomes(&mut lanes) {
            assert_eq!(outcome, Outcome::Accepted, "{seq} after {:?}", now - start);
            if seq == 1 {
                return;
            }
        }
        now = lanes
            .next_wake()
            .map_or(others, |wake| wake.min(others))
            .max(now);
        lanes.tick(now);
    }
    panic!("it wasn't tried again");
}

#[test]
fn an_event_at_fault_waits_as_long_as_its_failure_says() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    lanes.push(now, event(1, 1, 1));
    lanes.seal_all();
    let batch = one(&mut lanes);
    let pause = Duration::from_mins(1);
    lanes.verdict(
        now,
        batch,
        Verdict::Persistent { pause },
        Duration::from_secs(1),
    );
    assert_eq!(lanes.next_wake(), Some(now + pause));
}

#[test]
fn a_state_that_is_replaced_again_and_again_goes_all_the_same() {
    let mut now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        ..rules()
    });
    lanes.push(now, about(1, 100));
    lanes.seal_all();
    let mut flying = one(&mut lanes);
    lanes.push(now, about(2, 7));
    let mark = lanes.barrier(&asker(1, 1), &only())[0];
    // A lane that always has something of other subjects to send.
    let mut rounds = 0;
    while !lanes.passed(mark) {
        rounds += 1;
        assert!(rounds < 10, "somebody waits for it for ever");
        lanes.push(now, about(2 * rounds + 1, 100 + rounds));
        lanes.push(now, about(2 * rounds + 2, 7));
        lanes.seal_all();
        now += WINDOW;
        lanes.tick(now);
        accept(&mut lanes, now, flying);
        flying = one(&mut lanes);
    }
}

#[test]
fn what_goes_in_a_dead_events_stead_keeps_the_limits() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        flush_at: 100,
        ..rules()
    });
    for (seq, subject, bytes) in [(1, 7, 200), (2, 7, 20), (3, 8, 100), (4, 9, 100)] {
        lanes.push(
            now,
            Model {
                bytes,
                ..about(seq, subject)
            },
        );
    }
    lanes.seal_all();
    let mut batch = one(&mut lanes);
    while !seqs(&batch).contains(&2) {
        accept(&mut lanes, now, batch);
        batch = one(&mut lanes);
    }
    let named = vec![EventId::try_new("e2").unwrap()];
    lanes.verdict(now, batch, Verdict::Refused { named }, Duration::ZERO);
    let mut sent = Vec::new();
    while let Some(batch) = lanes.take_ready().pop_front() {
        let bytes: usize = batch
            .events
            .iter()
            .map(|queued| queued.entry.bytes + 1)
            .sum();
        assert!(
            ENVELOPE_BYTES + bytes - 1 <= rules().max_bytes,
            "{:?}",
            seqs(&batch)
        );
        sent.extend(seqs(&batch));
        accept(&mut lanes, now, batch);
    }
    assert_eq!(sent, [1, 3, 4]);
}

#[test]
fn where_nobody_takes_a_call_the_older_ones_are_not_tried_one_after_the_other() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        ..rules()
    });
    (1..=50).for_each(|seq| lanes.push(now, about(seq, 7)));
    lanes.seal_all();
    let mut batch = one(&mut lanes);
    batch.status = Some(404);
    lanes.verdict(
        now,
        batch,
        Verdict::Refused { named: Vec::new() },
        Duration::ZERO,
    );
    assert!(lanes.is_empty() && lanes.take_ready().is_empty());
    let dead = outcomes(&mut lanes)
        .into_iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Dead(_)));
    assert_eq!(dead.map(|(seq, _)| seq).collect::<Vec<_>>(), [50]);
}

#[test]
fn a_newer_state_that_was_forwarded_replaces_what_a_rejected_lane_holds() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        ..rules()
    });
    lanes.push(now, about(1, 7));
    lanes.push(now, about(2, 7));
    lanes.push(now, about(3, 8));
    lanes.seal_all();
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2]);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    let (number, own) = lanes.hold(&asker(1, 1), &only());
    assert!(lanes.may_pass(own[0]));
    let upto = lanes.last_seq();
    lanes.push(now, about(4, 7));
    let by = EventId::try_new("forwarded").unwrap();
    lanes.replace(
        GroupIndex(0),
        &asker(1, 1),
        Subject::from_number(7).unwrap(),
        upto,
        &by,
    );
    lanes.release_hold(Principal([1; 16]), number);
    lanes.vouch(Principal([1; 16]), &[]);
    let gone = Outcome::Superseded { by };
    assert_eq!(outcomes(&mut lanes), [(1, gone.clone()), (2, gone)]);
    let batch = one(&mut lanes);
    assert_eq!(
        seqs(&batch),
        [3],
        "another subject's, and what came after the call, go as ever"
    );
    accept(&mut lanes, now, batch);
    lanes.seal_all();
    assert_eq!(ready(&mut lanes), [vec![4]]);
}

#[test]
fn a_lane_from_which_the_last_event_was_taken_holds_up_nothing_that_comes() {
    let now = Instant::now();
    let by = EventId::try_new("forwarded").unwrap();
    let pause = Verdict::Retry {
        pause: Duration::from_hours(1),
    };
    for trouble in [Verdict::Rejected, pause] {
        let mut lanes = lanes(Rules {
            newest: true,
            single_calls: true,
            ..rules()
        });
        lanes.push(now, about(1, 7));
        lanes.seal_all();
        let batch = one(&mut lanes);
        lanes.verdict(now, batch, trouble.clone(), Duration::ZERO);
        lanes.replace(
            GroupIndex(0),
            &asker(1, 1),
            Subject::from_number(7).unwrap(),
            lanes.last_seq(),
            &by,
        );
        let gone = Outcome::Superseded { by: by.clone() };
        assert_eq!(outcomes(&mut lanes), [(1, gone)]);
        lanes.push(now, about(2, 7));
        lanes.seal_all();
        assert_eq!(ready(&mut lanes), [vec![2]], "{trouble:?}");
    }
}

#[test]
fn a_flood_of_forged_credentials_holds_up_nobody_and_waits_for_nobody_for_long() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    renewed(&mut lanes, now);
    for forged in 3..=255 {
        lanes.push(
            now,
            Model {
                priority: true,
                ..event(100 + u64::from(forged), 1, forged)
            },
        );
    }
    let gone = lanes.take_ready();
    assert_eq!(
        gone.len(),
        253 - 14,
        "only so many are ordered against the user's own two"
    );
    let mut waiting = 0;
    lanes.tick(now + WINDOW);
    let old = one(&mut lanes);
    assert_eq!(seqs(&old), [2], "the user's own goes all the same");
    accept(&mut lanes, now, old);
    while let Some(batch) = lanes.take_ready().pop_front() {
        waiting += 1;
        drop(batch);
    }
    assert!(waiting > 0, "and then those that waited");
}

#[derive(Debug, Clone)]
enum Do {
    Push(u8, u8, bool),
    Pass(u64),
    Verdict(u8, u8),
    Hold,
    Release,
    Barrier,
    Vouch,
    Replace(u8),
    /// From here on this principal of the user acts.
    Turn(u8),
    Open(u8),
}

fn steps() -> impl Strategy<Value = Do> {
    prop_oneof![
        6 => (0u8..4, 0u8..4, proptest::bool::weighted(0.2)).prop_map(|(group, subject, priority)| Do::Push(group, subject, priority)),
        2 => (0u64..4_000).prop_map(Do::Pass),
        6 => (any::<u8>(), 0u8..14).prop_map(|(which, kind)| Do::Verdict(which, kind)),
        1 => Just(Do::Hold),
        1 => Just(Do::Release),
        1 => Just(Do::Barrier),
        1 => Just(Do::Vouch),
        1 => (1u8..4).prop_map(Do::Replace),
        2 => any::<u8>().prop_map(Do::Turn),
        1 => prop_oneof![9 => Just(3u8), 1 => 0u8..3].prop_map(Do::Open),
    ]
}

/// Three groups that keep one order and one that keeps its own, of one user with some principals,
/// and whoever waits for them.
struct Siblings {
    lanes: Lanes<Model>,
    now: Instant,
    next: u64,
    flying: Vec<Batch<Model>>,
    holds: Vec<(Principal, u64)>,
    principals: u8,
    /// Who acts.
    principal: u8,
    /// Whose each event is.
    owners: Vec<u8>,
    marks: Vec<(u8, u64, Vec<Mark>)>,
    settled: std::collections::BTreeSet<u64>,
}

impl Siblings {
    fn new(give_up: u64, principals: u8) -> Self {
        let with = |own: usize| {
            (0..3)
                .filter(|group| *group != own)
                .map(GroupIndex)
                .collect::<Vec<_>>()
        };
        let base = Rules {
            give_up_after: Duration::from_secs(give_up),
            ..rules()
        };
        let rules = vec![
            Rules {
                single: true,
                newest: true,
                ordered: with(0),
                ..base.clone()
            },
            Rules {
                newest: true,
                single_calls: true,
                ordered: with(1),
                seals: vec![GroupIndex(0)],
                ..base.clone()
            },
            Rules {
                distinct: vec![Path::of(&["lesson"])],
                ordered: with(2),
                ..base.clone()
            },
            base,
        ];
        Self {
            lanes: Lanes::new(rules, 1_000),
            now: Instant::now(),
            next: 1,
            flying: Vec::new(),
            holds: Vec::new(),
            principals,
            principal: 1,
            owners: Vec::new(),
            marks: Vec::new(),
            settled: Default::default(),
        }
    }

    fn run(&mut self, step: &Do) {
        let principal = Principal([self.principal; 16]);
        let asker = Asker {
            joins: true,
            ..asker(1, self.principal)
        };
        let groups: Groups = (0..4).map(GroupIndex).collect();
        match step {
            Do::Push(group, subject, priority) => {
                let made = event(self.next, 1, self.principal);
                self.owners.push(self.principal);
                self.next += 1;
                let lane = LaneKey {
                    group: GroupIndex(usize::from(*group)),
                    ..made.lane
                };
                let (single, subject) = (
                    made.seq.is_multiple_of(2) || *group == 1,
                    Subject::from_number(u64::from(*subject)),
                );
                self.lanes.push(
                    self.now,
                    Model {
                        lane,
                        single,
                        subject,
                        priority: *priority,
                        ..made
                    },
                );
            }
            Do::Pass(millis) => {
                self.now += Duration::from_millis(*millis);
                self.lanes.tick(self.now);
            }
            Do::Verdict(which, kind) => {
                if !self.flying.is_empty() {
                    let batch = self
                        .flying
                        .swap_remove(usize::from(*which) % self.flying.len());
                    let verdict = verdict_of(&batch, *which, *kind);
                    self.lanes
                        .verdict(self.now, batch, verdict, Duration::from_millis(300));
                }
            }
            Do::Hold => self
                .holds
                .push((principal, self.lanes.hold(&asker, &groups).0)),
            Do::Release => {
                if let Some((holder, number)) = self.holds.pop() {
                    self.lanes.release_hold(holder, number);
                }
            }
            Do::Barrier => {
                let marks = self.lanes.barrier(&asker, &groups);
                self.marks.push((self.principal, self.next - 1, marks));
            }
            Do::Vouch => self.lanes.vouch(principal, &groups),
            Do::Turn(which) => self.principal = 1 + which % self.principals,
            // Most runs open none.
            Do::Open(group) if *group < 3 => self.lanes.open(GroupIndex(usize::from(*group))),
            Do::Open(_) => {}
            Do::Replace(subject) => {
                let by = EventId::try_new("forwarded").unwrap();
                let subject = Subject::from_number(u64::from(*subject)).unwrap();
                self.lanes
                    .replace(GroupIndex(1), &asker, subject, self.lanes.last_seq(), &by);
            }
        }
        self.take();
    }

    fn take(&mut self) {
        self.flying.extend(self.lanes.take_ready());
        for one in self.lanes.take_settled() {
            assert!(
                self.settled.insert(one.entry.seq),
                "{} was settled twice",
                one.entry.seq
            );
        }
        for (principal, upto, marks) in &self.marks {
            if marks.iter().all(|mark| self.lanes.passed(*mark)) {
                let own = (1..=*upto)
                    .zip(&self.owners)
                    .filter(|(_, owner)| *owner == principal);
                assert!(
                    own.map(|(seq, _)| seq)
                        .all(|seq| self.settled.contains(&seq)),
                    "a barrier was passed too early"
                );
            }
        }
    }

    /// From here on only clocks and acceptances: nothing is sealed by hand, nobody is vouched for.
    fn finish(mut self) {
        while !self.holds.is_empty() {
            self.run(&Do::Release);
        }
        while !self.lanes.is_empty() {
            while let Some(batch) = self.flying.pop() {
                accept(&mut self.lanes, self.now, batch);
                self.take();
            }
            if self.lanes.is_empty() {
                break;
            }
            let wake = self.lanes.next_wake();
            let left = (1..self.next)
                .filter(|seq| !self.settled.contains(seq))
                .collect::<Vec<_>>();
            self.now = self
                .now
                .max(wake.unwrap_or_else(|| panic!("{left:?} sleep for ever")));
            self.lanes.tick(self.now);
            self.take();
        }
        assert_eq!(
            self.settled.len() as u64,
            self.next - 1,
            "every event has exactly one outcome"
        );
    }
}

fn verdict_of(batch: &Batch<Model>, which: u8, kind: u8) -> Verdict {
    let every = |fate: Fate| {
        batch
            .events
            .iter()
            .map(|_| fate.clone())
            .collect::<Vec<_>>()
    };
    match kind {
        0..=2 => Verdict::Answered(every(Fate::Done(Outcome::Accepted))),
        3 => Verdict::Answered(Vec::new()),
        4 => Verdict::Retry {
            pause: Duration::from_millis(700),
        },
        5 => Verdict::Refused { named: Vec::new() },
        6 => {
            let named = &batch.events[usize::from(which) % batch.events.len()];
            Verdict::Refused {
                named: vec![named.entry.id.clone()],
            }
        }
        7 => Verdict::Rejected,
        8 => Verdict::Persistent {
            pause: Duration::from_millis(300),
        },
        9 => Verdict::Answered(every(Fate::Done(Outcome::Dead(Reason::FailedPermanently)))),
        10 => Verdict::Singles {
            pause: Duration::from_millis(400),
        },
        11 => Verdict::Forbidden,
        12 => Verdict::OldestAlone,
        _ => Verdict::TooLarge,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_sleeps_for_ever_and_no_barrier_is_passed_too_early(
        all in proptest::collection::vec(steps(), 1..100), give_up in prop_oneof![Just(6u64), Just(3_600)],
    ) {
        let mut world = Siblings::new(give_up, 2);
        for step in &all {
            world.run(step);
        }
        world.finish();
    }

    /// More principals than are told apart: which of them are changes as their lanes come and go.
    #[test]
    fn nothing_sleeps_for_ever_among_more_principals_than_are_told_apart(
        first in proptest::collection::vec(0u8..4, 18),
        all in proptest::collection::vec(steps(), 1..250),
    ) {
        let mut world = Siblings::new(3_600, 18);
        for (principal, group) in first.iter().enumerate() {
            world.run(&Do::Turn(principal as u8));
            world.run(&Do::Vouch);
            world.run(&Do::Push(*group, 0, false));
        }
        for step in &all {
            world.run(step);
        }
        world.finish();
    }
}
