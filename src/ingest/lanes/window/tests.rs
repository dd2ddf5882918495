use super::*;
use crate::event::{
    EventId, Fingerprint, LaneKey, Outcome, Owner, ReadIndex, Realm, Reason, Subject, View,
};
use crate::ingest::accept::reputation::Grounds;
use crate::ingest::asker::Asker;
use crate::template::Path;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[path = "live_tests.rs"]
mod live;
#[path = "table_tests.rs"]
mod table;
#[path = "trail_tests.rs"]
mod trail_of_events;

/// An event of the model: its place, its lane, its size.
#[derive(Debug, Clone)]
struct Model {
    seq: u64,
    id: EventId,
    lane: LaneKey,
    owner: Owner,
    bytes: usize,
    priority: bool,
    lesson: Vec<u8>,
    percent: Vec<u8>,
    single: bool,
    expires: Option<Instant>,
    since: Option<Instant>,
    subject: Option<Subject>,
    for_service: bool,
}

impl Entry for Model {
    fn since(&self) -> Option<Instant> {
        self.since
    }
    fn is_for_service(&self) -> bool {
        self.for_service
    }
    fn expires(&self) -> Option<Instant> {
        self.expires
    }
    fn seq(&self) -> u64 {
        self.seq
    }
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn event_id(&self) -> EventId {
        self.id.clone()
    }
    fn lane(&self) -> &LaneKey {
        &self.lane
    }
    fn owner(&self) -> Owner {
        self.owner
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn priority(&self) -> bool {
        self.priority
    }
    fn subject(&self) -> Option<Subject> {
        self.subject
    }
    fn field(&self, path: &Path) -> Option<&[u8]> {
        match &*path.0[0] {
            "lesson" => Some(&self.lesson),
            "percent" => Some(&self.percent),
            _ => None,
        }
    }
    fn has_single(&self) -> bool {
        self.single
    }
    fn shown(&self) -> Bytes {
        self.seq.to_string().into()
    }
}

fn lane(user: u8, credential: u8) -> LaneKey {
    LaneKey {
        group: GroupIndex(0),
        user: UserId::try_new(&format!("u{user}")).unwrap(),
        credential: Fingerprint([credential; 16]),
    }
}

/// A principal of its own for each credential, whose token names the user.
fn owner(credential: u8) -> Owner {
    let (principal, view) = (Principal([credential; 16]), View([credential; 16]));
    Owner {
        principal,
        realm: Realm(0),
        view,
        claimed: true,
    }
}

/// The caller with this credential, of whom nothing is known.
fn asker(user: u8, credential: u8) -> Asker {
    let Owner {
        principal, realm, ..
    } = owner(credential);
    Asker {
        principal,
        realm,
        user: Some(lane(user, credential).user),
        joins: false,
    }
}

fn event(seq: u64, user: u8, credential: u8) -> Model {
    let id = EventId::try_new(&format!("e{seq}")).unwrap();
    Model {
        seq,
        id,
        lane: lane(user, credential),
        owner: owner(credential),
        bytes: 50,
        priority: false,
        lesson: vec![b'x', (seq % 3) as u8],
        percent: b"0".to_vec(),
        single: false,
        expires: None,
        since: None,
        subject: None,
        for_service: false,
    }
}

fn both() -> Groups {
    Arc::new([GroupIndex(0), GroupIndex(1)])
}

fn only() -> Groups {
    Arc::new([GroupIndex(0)])
}

const WINDOW: Duration = Duration::from_secs(5);

fn rules() -> Rules {
    Rules {
        window: WINDOW,
        flush_at: 4,
        max_events: 5,
        max_bytes: 300,
        distinct: Vec::new(),
        newest: false,
        single_calls: false,
        change: Vec::new(),
        ordered: Vec::new(),
        seals: Vec::new(),
        shared: false,
        shown: true,
        single: false,
        max_attempts: 3,
        give_up_after: Duration::from_secs(3_600),
        token_margin: Duration::from_secs(1),
    }
}

fn lanes(rules: Rules) -> Lanes<Model> {
    Lanes::new(vec![rules], 1_000)
}

fn seqs(batch: &Batch<Model>) -> Vec<u64> {
    batch.events.iter().map(|queued| queued.entry.seq).collect()
}

fn ready(lanes: &mut Lanes<Model>) -> Vec<Vec<u64>> {
    lanes.take_ready().iter().map(seqs).collect()
}

fn one(lanes: &mut Lanes<Model>) -> Batch<Model> {
    let mut all = lanes.take_ready();
    assert_eq!(all.len(), 1, "one batch is ready");
    all.pop_front().unwrap()
}

fn accept(lanes: &mut Lanes<Model>, now: Instant, batch: Batch<Model>) {
    let fates = batch
        .events
        .iter()
        .map(|_| Fate::Done(Outcome::Accepted))
        .collect();
    lanes.verdict(now, batch, Verdict::Answered(fates), Duration::from_secs(1));
}

#[test]
fn a_steady_stream_does_not_postpone_the_deadline_of_its_first_event() {
    let start = Instant::now();
    let mut lanes = lanes(Rules {
        flush_at: 1_000,
        max_events: 1_000,
        max_bytes: 1 << 20,
        ..rules()
    });
    for step in 0..49u64 {
        let now = start + Duration::from_millis(100 * step);
        lanes.push(now, event(step + 1, 1, 1));
        lanes.tick(now);
        assert!(ready(&mut lanes).is_empty(), "nothing before the deadline");
    }
    assert_eq!(lanes.next_wake(), Some(start + WINDOW));
    lanes.tick(start + WINDOW);
    assert_eq!(ready(&mut lanes), [(1..=49).collect::<Vec<_>>()]);
}

#[test]
fn a_window_is_sealed_by_count_and_by_a_priority_event_with_everything_before_it() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    assert_eq!(ready(&mut lanes), [vec![1, 2, 3, 4]]);
    lanes.push(now, event(5, 2, 1));
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(6, 2, 1)
        },
    );
    assert_eq!(ready(&mut lanes), [vec![5, 6]]);
}

#[test]
fn a_batch_is_exactly_as_large_as_it_may_be() {
    let now = Instant::now();
    // 13 bytes of envelope, 50 an event, a comma between: five fit into 13 + 250 + 4.
    for (max_bytes, wanted) in [(267, 5), (266, 4)] {
        let mut lanes = lanes(Rules {
            flush_at: 100,
            max_bytes,
            max_events: 100,
            ..rules()
        });
        (1..=5).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
        lanes.seal_all();
        assert_eq!(one(&mut lanes).events.len(), wanted, "{max_bytes}");
    }
    let mut lanes = lanes(Rules {
        flush_at: 100,
        max_bytes: 1 << 20,
        max_events: 3,
        ..rules()
    });
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    lanes.seal_all();
    assert_eq!(one(&mut lanes).events.len(), 3);
}

#[test]
fn credentials_never_share_a_batch() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    for seq in 1..=6 {
        let credential = (seq % 2) as u8;
        lanes.push(
            now,
            Model {
                owner: Owner {
                    claimed: false,
                    ..owner(credential)
                },
                ..event(seq, 1, credential)
            },
        );
    }
    lanes.seal_all();
    let mut found = ready(&mut lanes);
    found.sort();
    assert_eq!(found, [vec![1, 3, 5], vec![2, 4, 6]]);
}

#[test]
fn distinct_cuts_a_batch_before_a_repeated_value_and_keeps_the_order() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        distinct: vec![Path::of(&["lesson"])],
        flush_at: 4,
        ..rules()
    });
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [1, 2, 3], "4 repeats the lesson of 1");
    accept(&mut lanes, now, batch);
    assert_eq!(ready(&mut lanes), [vec![4]]);
}

#[test]
fn a_refused_event_leads_the_next_batch_and_is_given_up_in_the_end() {
    let mut now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    for attempt in 1..=3 {
        let batch = one(&mut lanes);
        assert_eq!(seqs(&batch)[0], if attempt == 1 { 1 } else { 2 });
        let fates = batch.events.iter().map(|queued| match queued.entry.seq {
            2 => Fate::Again,
            _ => Fate::Done(Outcome::Accepted),
        });
        let fates = fates.collect();
        lanes.verdict(now, batch, Verdict::Answered(fates), Duration::from_secs(1));
        assert!(
            lanes.take_ready().is_empty(),
            "not before the pause is over"
        );
        now += Duration::from_secs(1);
        lanes.tick(now);
    }
    let dead: Vec<_> = lanes
        .take_settled()
        .into_iter()
        .filter(|settled| settled.entry.seq == 2)
        .map(|settled| settled.outcome)
        .collect();
    assert_eq!(dead, [Outcome::Dead(Reason::TooManyAttempts)]);
    assert!(lanes.is_empty());
}

#[test]
fn a_retried_batch_keeps_its_id_and_later_events_stay_behind_it() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let batch = one(&mut lanes);
    let id = batch.id;
    lanes.verdict(
        now,
        batch,
        Verdict::Retry {
            pause: Duration::from_secs(2),
        },
        Duration::ZERO,
    );
    (5..=8).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    assert!(lanes.take_ready().is_empty());
    lanes.tick(now + Duration::from_secs(2));
    let again = one(&mut lanes);
    assert_eq!((again.id, seqs(&again)), (id, vec![1, 2, 3, 4]));
    assert_eq!(lanes.retries(again.lane), 1);
    accept(&mut lanes, now, again);
    assert_eq!(ready(&mut lanes), [vec![5, 6, 7, 8]]);
}

#[test]
fn a_rejected_lane_waits_for_a_success_of_its_own_credential() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    lanes.vouch(Principal([2; 16]), &[]);
    lanes.tick(now + Duration::from_secs(60));
    assert!(
        lanes.take_ready().is_empty(),
        "another credential cures nothing"
    );
    lanes.vouch(Principal([1; 16]), &[]);
    assert_eq!(ready(&mut lanes), [vec![1, 2, 3, 4]]);
}

#[test]
fn a_success_elsewhere_tries_a_refused_lane_once_and_says_nothing_of_whose_the_refusal_is() {
    let now = Instant::now();
    let mut lanes = Lanes::new(vec![rules(), rules()], 10);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 1)
        },
    );
    let refuse = |lanes: &mut Lanes<Model>| {
        let batch = one(lanes);
        assert!(batch.blames_credential(false), "nothing speaks for it here");
        lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    };
    refuse(&mut lanes);
    lanes.vouch(Principal([1; 16]), &[GroupIndex(1)]);
    refuse(&mut lanes);
    for _ in 0..3 {
        lanes.vouch(Principal([1; 16]), &[GroupIndex(1)]);
        assert!(
            lanes.take_ready().is_empty(),
            "once, or its refusals would go on for ever"
        );
    }
    assert!(
        lanes.take_settled().is_empty(),
        "no number of them makes a dead letter"
    );
    lanes.vouch(Principal([1; 16]), &[GroupIndex(0)]);
    assert_eq!(ready(&mut lanes), [vec![1]]);
}

#[test]
fn of_an_event_that_comes_into_a_refused_lane_the_refusal_is_told_anew() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 1)
        },
    );
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    assert!(lanes.take_refused().is_empty(), "whoever refused it knows");
    lanes.push(now, event(2, 1, 1));
    lanes.push(now, event(3, 2, 2));
    assert_eq!(lanes.take_refused(), [(Principal([1; 16]), GroupIndex(0))]);
    assert!(lanes.take_refused().is_empty(), "once");
    lanes.push(now, event(4, 1, 1));
    lanes.vouch(Principal([1; 16]), &only());
    assert!(lanes.take_refused().is_empty(), "it was lifted meanwhile");
}

#[test]
fn what_a_start_brought_back_is_given_up_by_the_time_since_that_start() {
    let start = Instant::now() + Duration::from_hours(24 * 60);
    for age in [Duration::from_hours(48), Duration::from_hours(24 * 30)] {
        for verdict in [Verdict::Retry { pause: WINDOW }, Verdict::Rejected] {
            let mut lanes = lanes(rules());
            let since = start.checked_sub(age);
            (1..=2).for_each(|seq| {
                lanes.push(
                    start,
                    Model {
                        since,
                        ..event(seq, 1, 1)
                    },
                )
            });
            lanes.tick(start);
            let batch = one(&mut lanes);
            assert_eq!(seqs(&batch), [1, 2], "its window is long over");
            lanes.verdict(start, batch, verdict.clone(), Duration::ZERO);
            assert!(
                lanes.take_settled().is_empty(),
                "{verdict:?}: one attempt is no patience"
            );
            lanes.tick(start + Duration::from_secs(1));
            assert!(
                lanes.take_ready().is_empty(),
                "{verdict:?}: nor is it tried again and again"
            );
            let late = start + rules().give_up_after;
            lanes.tick(late);
            let batch = one(&mut lanes);
            lanes.verdict(late, batch, verdict.clone(), Duration::ZERO);
            assert_eq!(lanes.take_settled().len(), 2, "{verdict:?}");
        }
    }
}

#[test]
fn what_fits_no_batch_any_more_goes_as_its_single_call_or_dies() {
    let now = Instant::now();
    for single in [true, false] {
        let mut lanes = lanes(Rules {
            single: true,
            ..rules()
        });
        // 13 bytes of envelope: 287 are all that an event may have.
        for (seq, bytes) in [(1, 287), (2, 288), (3, 10)] {
            lanes.push(
                now,
                Model {
                    bytes,
                    single,
                    ..event(seq, 1, 1)
                },
            );
        }
        lanes.seal_all();
        let mut sent = Vec::new();
        while !lanes.is_empty() {
            let batch = one(&mut lanes);
            sent.push((batch.form, seqs(&batch)));
            accept(&mut lanes, now, batch);
        }
        let (first, last) = ((Form::Batch, vec![1]), (Form::Batch, vec![3]));
        let wanted = if single {
            vec![first, (Form::Single, vec![2]), last]
        } else {
            vec![first, last]
        };
        assert_eq!(sent, wanted);
        let outcome = if single {
            Outcome::Accepted
        } else {
            Outcome::Dead(Reason::TooLarge)
        };
        assert_eq!(
            outcomes(&mut lanes),
            [(1, Outcome::Accepted), (2, outcome), (3, Outcome::Accepted)]
        );
    }
}

#[test]
fn what_stands_behind_an_event_that_fits_no_batch_goes_at_once() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    lanes.vouch(Principal([1; 16]), &only());
    // Of one user under two tokens: the second one, of which nothing is known, waits for the first.
    lanes.push(
        now,
        Model {
            bytes: 200,
            ..event(1, 1, 1)
        },
    );
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 2)
        },
    );
    assert!(lanes.take_ready().is_empty());
    lanes.rules = vec![Rules {
        max_bytes: 100,
        ..rules()
    }]
    .into();
    lanes.tick(now + WINDOW);
    assert_eq!(ready(&mut lanes), [vec![2]]);
    assert_eq!(outcomes(&mut lanes), [(1, Outcome::Dead(Reason::TooLarge))]);
}

#[test]
fn in_a_shared_group_what_may_not_go_under_the_services_credential_shares_no_batch_with_what_may() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        shared: true,
        flush_at: 5,
        ..rules()
    });
    for (seq, for_service) in [(1, false), (2, true), (3, true), (4, false), (5, true)] {
        lanes.push(
            now,
            Model {
                for_service,
                ..event(seq, 1, 1)
            },
        );
    }
    let mut sent = Vec::new();
    while !lanes.is_empty() {
        let batch = one(&mut lanes);
        sent.push((batch.is_for_service(), seqs(&batch)));
        accept(&mut lanes, now, batch);
    }
    assert_eq!(
        sent,
        [
            (false, vec![1]),
            (true, vec![2, 3]),
            (false, vec![4]),
            (true, vec![5])
        ]
    );
}

#[test]
fn a_rejected_lane_is_given_up_in_time() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    let late = now + Duration::from_secs(3_600);
    lanes.tick(late);
    let batch = one(&mut lanes);
    lanes.verdict(late, batch, Verdict::Rejected, Duration::ZERO);
    let outcomes: Vec<_> = lanes
        .take_settled()
        .into_iter()
        .map(|settled| settled.outcome)
        .collect();
    assert_eq!(outcomes, vec![Outcome::Dead(Reason::CredentialRejected); 4]);
}

#[test]
fn what_was_refused_goes_under_no_other_credential_until_its_own_is_taken() {
    let now = Instant::now();
    let late = now + rules().give_up_after / 2;
    let mut lanes = lanes(Rules {
        shared: true,
        flush_at: 1,
        ..rules()
    });
    lanes.push(
        now,
        Model {
            for_service: true,
            ..event(1, 1, 1)
        },
    );
    let batch = one(&mut lanes);
    assert!(batch.is_for_service());
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    // Another one that came meanwhile goes with it, or after it.
    lanes.push(
        now,
        Model {
            for_service: true,
            ..event(2, 1, 1)
        },
    );
    // What is known of its principal may be forgotten; tried again without an answer, it is still
    // refused.
    lanes.try_refused(Principal([1; 16]), &[]);
    for verdict in [
        Verdict::Retry { pause: WINDOW },
        Verdict::Deferred { pause: WINDOW },
    ] {
        let batch = one(&mut lanes);
        assert!(!batch.is_for_service());
        lanes.verdict(late, batch, verdict, Duration::ZERO);
        lanes.tick(late + WINDOW);
    }
    let batch = one(&mut lanes);
    assert!(!batch.is_for_service());
    accept(&mut lanes, late, batch);
    let batch = one(&mut lanes);
    assert!(batch.is_for_service(), "its own was taken");
}

#[test]
fn what_was_refused_for_its_credential_last_dies_of_that_though_its_last_try_got_no_answer() {
    let now = Instant::now();
    let late = now + rules().give_up_after;
    for verdict in [
        Verdict::Retry { pause: WINDOW },
        Verdict::Deferred { pause: WINDOW },
    ] {
        for is_vouched in [false, true] {
            let mut lanes = lanes(Rules {
                single: true,
                ..rules()
            });
            lanes.push(
                now,
                Model {
                    single: true,
                    priority: true,
                    ..event(1, 1, 1)
                },
            );
            let batch = one(&mut lanes);
            lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
            if is_vouched {
                lanes.vouch(Principal([1; 16]), &only());
            } else {
                lanes.tick(late);
            }
            let batch = one(&mut lanes);
            lanes.verdict(late, batch, verdict.clone(), Duration::ZERO);
            lanes.tick(late + WINDOW);
            let reason = if is_vouched {
                Reason::GaveUp
            } else {
                Reason::CredentialRejected
            };
            assert_eq!(
                outcomes(&mut lanes),
                [(1, Outcome::Dead(reason))],
                "{verdict:?}, {is_vouched}"
            );
        }
    }
}

#[test]
fn a_hold_lets_earlier_events_through_and_later_ones_wait() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        shared: true,
        ..rules()
    });
    lanes.push(now, event(1, 1, 1));
    let (number, own) = lanes.hold(&asker(1, 1), &only());
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [1]);
    assert!(!lanes.may_pass(own[0]));
    accept(&mut lanes, now, batch);
    assert!(lanes.may_pass(own[0]));
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 1)
        },
    );
    lanes.push(
        now,
        Model {
            priority: true,
            owner: Owner {
                claimed: false,
                ..owner(2)
            },
            ..event(3, 1, 2)
        },
    );
    assert_eq!(
        ready(&mut lanes),
        [vec![3]],
        "another principal's lane is not held"
    );
    lanes.release_hold(Principal([1; 16]), number);
    assert_eq!(ready(&mut lanes), [vec![2]]);
}

#[test]
fn at_the_cap_on_lanes_the_oldest_open_window_is_sealed() {
    let now = Instant::now();
    let mut lanes = Lanes::new(vec![rules()], 2);
    lanes.push(now, event(1, 1, 1));
    lanes.push(now + Duration::from_millis(1), event(2, 2, 1));
    lanes.push(now + Duration::from_millis(2), event(3, 3, 1));
    assert_eq!(ready(&mut lanes), [vec![1]]);
}

/// Sends batches until the lane is empty; an event whose number is in `bad` makes its batch fail as
/// a whole.
fn bisect(count: u64, bad: &[u64]) -> (usize, Vec<u64>, Vec<u64>) {
    let now = Instant::now();
    let most = usize::try_from(count).unwrap();
    let mut lanes = lanes(Rules {
        flush_at: most,
        max_events: most,
        max_bytes: 1 << 20,
        ..rules()
    });
    (1..=count).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let (mut calls, mut accepted) = (0, Vec::new());
    while let Some(batch) = lanes.take_ready().pop_front() {
        calls += 1;
        if batch
            .events
            .iter()
            .any(|queued| bad.contains(&queued.entry.seq))
        {
            lanes.verdict(
                now,
                batch,
                Verdict::Refused { named: Vec::new() },
                Duration::ZERO,
            );
        } else {
            accepted.extend(seqs(&batch));
            accept(&mut lanes, now, batch);
        }
    }
    let dead = lanes
        .take_settled()
        .into_iter()
        .filter(|settled| settled.outcome != Outcome::Accepted);
    let mut dead: Vec<_> = dead.map(|settled| settled.entry.seq).collect();
    dead.sort_unstable();
    (calls, accepted, dead)
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        user: u8,
        credential: u8,
        priority: bool,
        bytes: usize,
    },
    Pass(u64),
    Verdict(u8, u8),
    Seal,
    Barrier(u8, u8),
    Hold(u8, u8),
    Release,
    Vouch(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, 0u8..2, any::<bool>(), 20usize..120).prop_map(|(user, credential, priority, bytes)| Step::Push { user, credential, priority: priority && bytes < 40, bytes }),
        3 => (0u64..4_000).prop_map(Step::Pass),
        6 => (any::<u8>(), 0u8..14).prop_map(|(which, kind)| Step::Verdict(which, kind)),
        1 => Just(Step::Seal),
        1 => (0u8..3, 0u8..2).prop_map(|(user, credential)| Step::Barrier(user, credential)),
        1 => (0u8..3, 0u8..2).prop_map(|(user, credential)| Step::Hold(user, credential)),
        1 => Just(Step::Release),
        1 => (0u8..2).prop_map(Step::Vouch),
    ]
}

/// Runs the machine beside a model and checks every batch on its way out. Group 0 sends batches,
/// group 1 the newest.
struct World {
    lanes: Lanes<Model>,
    ordered: bool,
    /// Everything that was pushed.
    all: Vec<Model>,
    /// What was not settled when a younger event of a sibling was offered: it must have been made
    /// needless.
    passed_by: Vec<u64>,
    outcomes: BTreeMap<u64, Outcome>,
    now: Instant,
    next: u64,
    flying: Vec<Batch<Model>>,
    holds: Vec<(Principal, u64)>,
    /// All credentials are fingerprints of one principal: its events keep one order.
    one_principal: bool,
    /// Per lane: the highest number offered that was not offered before and then refused by name.
    offered: BTreeMap<(GroupIndex, String, Principal), u64>,
    refused: Vec<u64>,
}

impl World {
    fn new(supersede: bool, ordered: bool, one_principal: bool) -> Self {
        let with = |other| {
            if ordered {
                vec![GroupIndex(other)]
            } else {
                Vec::new()
            }
        };
        let batches = Rules {
            single: true,
            newest: supersede,
            ordered: with(1),
            ..rules()
        };
        let newest = Rules {
            newest: true,
            single_calls: true,
            ordered: with(0),
            seals: vec![GroupIndex(0)],
            ..rules()
        };
        Self {
            lanes: Lanes::new(vec![batches, newest], 1_000),
            ordered,
            all: Vec::new(),
            passed_by: Vec::new(),
            outcomes: BTreeMap::new(),
            now: Instant::now(),
            next: 1,
            flying: Vec::new(),
            holds: Vec::new(),
            one_principal,
            offered: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    fn take(&mut self) {
        let mut together = Vec::new();
        for Settled { entry, outcome, .. } in self.lanes.take_settled() {
            if let Outcome::Superseded { by } = &outcome {
                let by = self.all.iter().find(|event| event.id == *by).unwrap();
                assert!(
                    by.seq > entry.seq && by.lane == entry.lane && by.subject == entry.subject,
                    "{entry:?} by {by:?}"
                );
                assert!(!entry.priority, "a priority event is never superseded");
                together.push(by.seq);
            }
            assert_eq!(
                self.outcomes.insert(entry.seq, outcome),
                None,
                "{} was settled twice",
                entry.seq
            );
        }
        assert!(
            together.iter().all(|by| self.outcomes.contains_key(by)),
            "settled with what replaced it"
        );
        for batch in self.lanes.take_ready() {
            self.check(&batch);
            self.flying.push(batch);
        }
    }

    fn check(&mut self, batch: &Batch<Model>) {
        let rules = rules();
        assert!(!batch.events.is_empty() && batch.events.len() <= rules.max_events);
        let bytes: usize = batch.events.iter().map(|queued| queued.entry.bytes).sum();
        let size = ENVELOPE_BYTES + bytes + batch.events.len() - 1;
        assert!(size <= rules.max_bytes, "{size} bytes");
        assert!(
            batch
                .events
                .iter()
                .all(|queued| queued.entry.lane == batch.key),
            "one lane, one credential"
        );
        assert!(
            !self.flying.iter().any(|other| other.key == batch.key),
            "one batch in flight per lane"
        );
        if batch.key.group == GroupIndex(1) {
            assert_eq!((batch.form, batch.events.len()), (Form::Single, 1));
        }
        let newest = seqs(batch).into_iter().max().unwrap();
        let owner = batch.events[0].entry.owner;
        let sibling = |event: &&Model| {
            let lane = &event.lane;
            lane.group != batch.key.group && lane.user == batch.key.user && event.owner() == owner
        };
        let open = self
            .all
            .iter()
            .filter(sibling)
            .filter(|event| !self.outcomes.contains_key(&event.seq));
        let passed_by: Vec<_> = open
            .map(|event| event.seq)
            .filter(|seq| self.ordered && *seq < newest)
            .collect();
        self.passed_by.extend(passed_by);
        let key = (
            batch.key.group,
            batch.key.user.as_str().to_owned(),
            owner.principal,
        );
        let highest = self.offered.entry(key).or_default();
        for Model {
            seq, lane, subject, ..
        } in batch.events.iter().map(|queued| queued.entry.clone())
        {
            // What had made it needless died of its own fault.
            let dead =
                |event: &&Model| matches!(self.outcomes.get(&event.seq), Some(Outcome::Dead(_)));
            let mut newer = self
                .all
                .iter()
                .filter(|event| event.seq > seq && event.lane == lane);
            let heir =
                subject.is_some() && newer.any(|event| event.subject == subject && dead(&event));
            // P4: only what the upstream refused by name, or was asked about in halves, comes again
            // behind a later one.
            assert!(
                seq > *highest || self.refused.contains(&seq) || heir,
                "{seq} after {highest}"
            );
            *highest = (*highest).max(seq);
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Push {
                user,
                credential,
                priority,
                bytes,
            } => {
                let made = event(self.next, *user, *credential);
                let group = GroupIndex(bytes % 2);
                let made = Model {
                    owner: if self.one_principal {
                        owner(0)
                    } else {
                        made.owner
                    },
                    priority: *priority,
                    bytes: *bytes,
                    single: made.seq.is_multiple_of(2) || group.0 == 1,
                    subject: Subject::from_number((bytes % 4) as u64),
                    lane: LaneKey { group, ..made.lane },
                    ..made
                };
                self.next += 1;
                self.all.push(made.clone());
                self.lanes.push(self.now, made);
            }
            Step::Pass(millis) => {
                self.now += Duration::from_millis(*millis);
                self.lanes.tick(self.now);
            }
            Step::Verdict(which, kind) => self.judge(*which, *kind),
            Step::Seal => self.lanes.seal_all(),
            Step::Barrier(user, credential) => {
                drop(
                    self.lanes
                        .barrier(&asker(*user, self.principal(*credential)), &both()),
                );
            }
            Step::Hold(user, credential) => {
                let asker = asker(*user, self.principal(*credential));
                let (number, _) = self.lanes.hold(&asker, &both());
                self.holds.push((asker.principal, number));
            }
            Step::Release => {
                if let Some((principal, number)) = self.holds.pop() {
                    self.lanes.release_hold(principal, number);
                }
            }
            Step::Vouch(credential) => self.lanes.vouch(Principal([*credential; 16]), &[]),
        }
        self.take();
    }

    fn principal(&self, credential: u8) -> u8 {
        if self.one_principal { 0 } else { credential }
    }

    fn judge(&mut self, which: u8, kind: u8) {
        if self.flying.is_empty() {
            return;
        }
        let batch = self
            .flying
            .swap_remove(usize::from(which) % self.flying.len());
        // Whatever was offered may be offered again by a retry.
        self.refused.extend(seqs(&batch));
        let every = |fate: Fate| {
            batch
                .events
                .iter()
                .map(|_| fate.clone())
                .collect::<Vec<_>>()
        };
        let verdict = match kind {
            0..=2 => Verdict::Answered(every(Fate::Done(Outcome::Accepted))),
            3 => Verdict::Answered(Vec::new()),
            4 => Verdict::Retry {
                pause: Duration::from_millis(700),
            },
            5 => Verdict::Refused { named: Vec::new() },
            6 => {
                let (skip, events) = (usize::from(which) % batch.events.len(), batch.events.iter());
                Verdict::Refused {
                    named: events
                        .skip(skip)
                        .take(1)
                        .map(|queued| queued.entry.id.clone())
                        .collect(),
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
        };
        self.lanes
            .verdict(self.now, batch, verdict, Duration::from_millis(300));
    }

    /// A survey counts each event without an outcome, each lane, and each batch on its way once.
    fn survey(&self) {
        let mut groups = [Survey::default(); 2];
        let slots = self.lanes.slots();
        self.lanes.survey_in(0..slots / 2, &mut groups);
        self.lanes.survey_in(slots / 2..slots, &mut groups);
        let [mut all, other] = groups;
        all += other;
        let settled = self.outcomes.len() + self.lanes.settled.len();
        assert_eq!(all.events, self.next - 1 - settled as u64, "{all:?}");
        let held = all.credential + all.gate + all.backoff + all.order;
        let counted = all.open + all.in_flight + held;
        assert_eq!(counted, self.lanes.len() as u64, "{all:?}");
        let flying = self.flying.len() + self.lanes.ready.len();
        assert_eq!(all.in_flight, flying as u64, "{all:?}");
        assert_eq!(all.oldest, self.lanes.oldest_in(0..slots));
    }

    /// Everything is let go and accepted: every event must come out exactly once.
    fn finish(&mut self) {
        while let Some((principal, number)) = self.holds.pop() {
            self.lanes.release_hold(principal, number);
        }
        for _ in 0..10_000 {
            self.take();
            while let Some(batch) = self.flying.pop() {
                accept(&mut self.lanes, self.now, batch);
            }
            self.take();
            if self.lanes.is_empty() && self.flying.is_empty() {
                break;
            }
            (0..2).for_each(|credential| self.lanes.vouch(Principal([credential; 16]), &[]));
            self.lanes.seal_all();
            self.now += Duration::from_secs(1);
            self.lanes.tick(self.now);
        }
        let settled: Vec<_> = self.outcomes.keys().copied().collect();
        assert_eq!(
            settled,
            (1..self.next).collect::<Vec<_>>(),
            "every event has exactly one outcome"
        );
        for seq in &self.passed_by {
            let needless = matches!(self.outcomes[seq], Outcome::Superseded { .. });
            // Or what made it needless died of its own fault, and it went in its stead.
            let made = &self.all[usize::try_from(*seq - 1).unwrap()];
            let same = |event: &&Model| {
                event.lane == made.lane && event.subject == made.subject && event.seq > *seq
            };
            let heir = self
                .all
                .iter()
                .filter(same)
                .any(|event| matches!(self.outcomes[&event.seq], Outcome::Dead(_)));
            assert!(
                needless || heir,
                "{seq} was passed by a sibling's younger event"
            );
        }
        assert!(self.lanes.next_wake().is_none(), "no timer is left behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn bisecting_finds_exactly_the_offending_events_in_few_calls(count in 1u64..60, bad in proptest::collection::btree_set(1u64..60, 0..4)) {
        let bad: Vec<u64> = bad.into_iter().filter(|seq| *seq <= count).collect();
        let (calls, accepted, dead) = bisect(count, &bad);
        prop_assert_eq!(&dead, &bad);
        prop_assert_eq!(accepted, (1..=count).filter(|seq| !bad.contains(seq)).collect::<Vec<_>>());
        let depth = u64::from(count.next_power_of_two().trailing_zeros());
        let most = 2 * bad.len() as u64 * depth + 1;
        prop_assert!(calls as u64 <= most, "{calls} calls for {} of {count}, {most} allowed", bad.len());
    }

    #[test]
    fn any_interleaving_keeps_order_limits_credentials_and_the_ledger(
        steps in proptest::collection::vec(step(), 1..120), supersede: bool, ordered: bool, one_principal: bool,
    ) {
        let mut world = World::new(supersede, ordered, one_principal);
        for step in &steps {
            world.run(step);
            world.survey();
        }
        world.finish();
    }
}

#[test]
fn a_window_is_sealed_before_its_token_expires() {
    let (mut lanes, now) = (lanes(rules()), Instant::now());
    let with = |seq, life: u64| Model {
        expires: Some(now + Duration::from_secs(life)),
        ..event(seq, 1, 1)
    };
    lanes.push(now, with(1, 60));
    assert_eq!(
        lanes.next_wake(),
        Some(now + WINDOW),
        "a long life changes nothing"
    );
    lanes.push(now, with(2, 4));
    assert_eq!(
        lanes.next_wake(),
        Some(now + Duration::from_secs(3)),
        "one second before the end"
    );
    lanes.tick(now + Duration::from_secs(3));
    assert_eq!(lanes.take_ready().len(), 1);
    lanes.push(
        now,
        Model {
            expires: Some(now),
            ..event(3, 2, 1)
        },
    );
    lanes.tick(now);
    assert_eq!(
        lanes.take_ready().len(),
        1,
        "what has no time left goes at once"
    );
}

fn about(seq: u64, subject: u64) -> Model {
    Model {
        subject: Subject::from_number(subject),
        single: true,
        ..event(seq, 1, 1)
    }
}

/// What came of each event, oldest first; superseded ones with what replaced them.
fn outcomes(lanes: &mut Lanes<Model>) -> Vec<(u64, Outcome)> {
    let mut all: Vec<_> = lanes
        .take_settled()
        .into_iter()
        .map(|one| (one.entry.seq, one.outcome))
        .collect();
    all.sort_by_key(|(seq, _)| *seq);
    all
}

fn by(seq: u64) -> Outcome {
    Outcome::Superseded {
        by: EventId::try_new(&format!("e{seq}")).unwrap(),
    }
}

#[test]
fn supersede_sends_the_newest_of_a_window_and_settles_the_older_ones_with_it() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        flush_at: 5,
        ..rules()
    });
    for (seq, subject) in [(1, 7), (2, 8), (3, 7), (4, 7), (5, 9)] {
        lanes.push(now, about(seq, subject));
    }
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2, 4, 5]);
    assert!(
        lanes.take_settled().is_empty(),
        "not before what replaced it"
    );
    let mark = lanes.barrier(&asker(1, 1), &only())[0];
    assert!(!lanes.passed(mark));
    accept(&mut lanes, now, batch);
    assert!(lanes.passed(mark));
    let yes = Outcome::Accepted;
    assert_eq!(
        outcomes(&mut lanes),
        [
            (1, by(4)),
            (2, yes.clone()),
            (3, by(4)),
            (4, yes.clone()),
            (5, yes)
        ]
    );
}

#[test]
fn nothing_that_a_priority_event_stands_behind_in_its_window_is_superseded() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        ..rules()
    });
    lanes.push(now, about(1, 7));
    lanes.push(now, about(2, 7));
    lanes.push(
        now,
        Model {
            priority: true,
            ..about(3, 7)
        },
    );
    assert_eq!(ready(&mut lanes), [vec![1, 2, 3]]);
}

#[test]
fn when_the_newer_event_dies_of_its_own_fault_the_older_one_goes_in_its_stead() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        flush_at: 3,
        ..rules()
    });
    (1..=3).for_each(|seq| lanes.push(now, about(seq, 7)));
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [3]);
    lanes.verdict(
        now,
        batch,
        Verdict::Refused { named: Vec::new() },
        Duration::ZERO,
    );
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2]);
    accept(&mut lanes, now, batch);
    let wanted = [
        (1, by(2)),
        (2, Outcome::Accepted),
        (3, Outcome::Dead(Reason::Refused)),
    ];
    assert_eq!(outcomes(&mut lanes), wanted);
    assert!(lanes.is_empty());
}

#[test]
fn what_goes_in_a_dead_events_stead_shares_no_batch_with_a_value_that_it_repeats() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        flush_at: 3,
        distinct: vec![Path::of(&["lesson"])],
        ..rules()
    });
    for (seq, subject, lesson) in [(1, 7, b"2"), (2, 8, b"2"), (3, 7, b"1")] {
        let lesson = lesson.to_vec();
        lanes.push(
            now,
            Model {
                lesson,
                ..about(seq, subject)
            },
        );
    }
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2, 3]);
    let named = batch.events.iter().rev().take(1);
    let named = named.map(|queued| queued.entry.id.clone()).collect();
    lanes.verdict(now, batch, Verdict::Refused { named }, Duration::ZERO);
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [1], "3 is dead, and 1 has the lesson of 2");
    accept(&mut lanes, now, batch);
    assert_eq!(ready(&mut lanes), [vec![2]]);
}

#[test]
fn a_collapse_group_sends_the_newest_of_each_key_as_a_single_call() {
    let start = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        flush_at: 3,
        ..rules()
    });
    for step in 0..6 {
        lanes.push(
            start + Duration::from_millis(step),
            about(step + 1, 7 + step % 2),
        );
    }
    assert!(
        lanes.take_ready().is_empty(),
        "six calls of two keys don't fill a window of three"
    );
    assert_eq!(
        lanes.next_wake(),
        Some(start + WINDOW),
        "from the first call, however often it was replaced"
    );
    lanes.tick(start + WINDOW);
    for wanted in [5, 6] {
        let batch = one(&mut lanes);
        assert_eq!((batch.form, seqs(&batch)), (Form::Single, vec![wanted]));
        accept(&mut lanes, start, batch);
    }
    let superseded = outcomes(&mut lanes)
        .into_iter()
        .filter(|(_, outcome)| *outcome != Outcome::Accepted);
    assert_eq!(
        superseded.collect::<Vec<_>>(),
        [(1, by(5)), (2, by(6)), (3, by(5)), (4, by(6))]
    );
}

#[test]
fn while_its_lane_fails_a_state_replaces_those_of_earlier_windows_but_for_terminal_ones() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        flush_at: 1,
        ..rules()
    });
    lanes.push(now, about(1, 7));
    let stuck = one(&mut lanes);
    lanes.verdict(now, stuck, Verdict::Retry { pause: WINDOW }, Duration::ZERO);
    for (seq, priority) in [(2, false), (3, false), (4, true), (5, false), (6, false)] {
        lanes.push(
            now,
            Model {
                priority,
                ..about(seq, 7)
            },
        );
    }
    lanes.tick(now + WINDOW);
    for wanted in [1, 4, 6] {
        let batch = one(&mut lanes);
        assert_eq!(seqs(&batch), [wanted]);
        accept(&mut lanes, now, batch);
    }
    assert!(lanes.is_empty());
}

#[test]
fn what_goes_before_a_forwarded_call_is_not_replaced_by_what_waits_behind_it() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        single_calls: true,
        ..rules()
    });
    lanes.push(
        now,
        Model {
            priority: true,
            ..about(1, 7)
        },
    );
    let stuck = one(&mut lanes);
    lanes.push(now, about(2, 7));
    let (number, own) = lanes.hold(&asker(1, 1), &only());
    lanes.push(now, about(3, 7));
    lanes.seal_all();
    accept(&mut lanes, now, stuck);
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2]);
    accept(&mut lanes, now, batch);
    assert!(lanes.may_pass(own[0]) && lanes.take_ready().is_empty());
    lanes.release_hold(Principal([1; 16]), number);
    assert_eq!(ready(&mut lanes), [vec![3]]);
}

#[test]
fn what_goes_in_a_dead_events_stead_goes_in_its_own_place() {
    let now = Instant::now();
    for named in [true, false] {
        let mut lanes = lanes(Rules {
            newest: true,
            flush_at: 4,
            ..rules()
        });
        for (seq, subject) in [(1, 7), (2, 8), (3, 7), (4, 9)] {
            lanes.push(now, about(seq, subject));
        }
        let batch = one(&mut lanes);
        assert_eq!(seqs(&batch), [2, 3, 4]);
        let verdict = if named {
            Verdict::Refused {
                named: vec![EventId::try_new("e3").unwrap()],
            }
        } else {
            let dead = Fate::Done(Outcome::Dead(Reason::FailedPermanently));
            Verdict::Answered(vec![Fate::Again, dead, Fate::Again])
        };
        lanes.verdict(now, batch, verdict, Duration::ZERO);
        lanes.tick(now);
        assert_eq!(ready(&mut lanes), [vec![1, 2, 4]]);
    }
}

fn two(first: Rules, second: Rules) -> Lanes<Model> {
    Lanes::new(vec![first, second], 1_000)
}

fn second(model: Model) -> Model {
    Model {
        lane: LaneKey {
            group: GroupIndex(1),
            ..model.lane.clone()
        },
        ..model
    }
}

#[test]
fn groups_that_keep_one_order_offer_their_events_in_it() {
    let start = Instant::now();
    let snapshots = Rules {
        newest: true,
        single_calls: true,
        ordered: vec![GroupIndex(0)],
        ..rules()
    };
    let mut lanes = two(
        Rules {
            ordered: vec![GroupIndex(1)],
            ..rules()
        },
        snapshots,
    );
    lanes.push(start, event(1, 1, 1));
    lanes.push(start, second(about(2, 7)));
    lanes.push(start, event(3, 1, 1));
    lanes.push(start, second(about(4, 7)));
    lanes.push(start, event(5, 1, 1));
    // Another caller's are not behind these.
    lanes.push(
        start,
        Model {
            priority: true,
            ..event(6, 2, 1)
        },
    );
    assert_eq!(ready(&mut lanes), [vec![6]]);
    lanes.tick(start + WINDOW);
    for wanted in [vec![1, 3], vec![4], vec![5]] {
        let batch = one(&mut lanes);
        assert_eq!(seqs(&batch), wanted, "sealed together, sent in order");
        accept(&mut lanes, start, batch);
    }
    lanes.push(start, event(7, 1, 1));
    lanes.push(
        start,
        second(Model {
            priority: true,
            ..about(8, 7)
        }),
    );
    let batch = one(&mut lanes);
    assert_eq!(
        seqs(&batch),
        [7],
        "a terminal state seals what is before it"
    );
    lanes.verdict(
        start,
        batch,
        Verdict::Retry {
            pause: Duration::from_secs(1),
        },
        Duration::ZERO,
    );
    assert!(
        lanes.take_ready().is_empty(),
        "it waits behind a failing sibling"
    );
}

/// A lane of user 1 under credential 1 that was good; then it collects event 2, and a renewed token
/// brings event 3.
fn renewed(lanes: &mut Lanes<Model>, now: Instant) {
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 1)
        },
    );
    let batch = one(lanes);
    accept(lanes, now, batch);
    lanes.push(now, event(2, 1, 1));
    lanes.push(now + Duration::from_secs(1), event(3, 1, 2));
}

/// Lanes of two groups that keep one order.
fn in_one_order() -> Lanes<Model> {
    let with = |other| Rules {
        ordered: vec![GroupIndex(other)],
        ..rules()
    };
    Lanes::new(vec![with(1), with(0)], 100)
}

/// An event of this one of them.
fn of(group: usize, made: Model) -> Model {
    let group = GroupIndex(group);
    Model {
        lane: LaneKey { group, ..made.lane },
        ..made
    }
}

/// A principal may be good in one of two groups that keep one order, and have something in both.
#[test]
fn an_older_event_goes_first_though_its_principals_first_lane_is_in_a_group_where_nothing_speaks_for_it()
 {
    let now = Instant::now();
    let mut lanes = in_one_order();
    for principal in [1, 2] {
        lanes.vouch(Principal([principal; 16]), &[GroupIndex(1)]);
    }
    lanes.push(now, of(0, event(3, 1, 1)));
    lanes.push(now, of(1, event(5, 1, 1)));
    lanes.push(now, of(1, event(10, 1, 2)));
    lanes.seal_all();
    for seq in [3, 5, 10] {
        let batch = one(&mut lanes);
        assert_eq!(seqs(&batch), [seq]);
        accept(&mut lanes, now, batch);
    }
}

/// Neither is good, and the other one's first lane fails: what stands behind that one waits with it.
#[test]
fn what_stands_behind_a_failing_lane_of_a_stranger_holds_up_nobody_else() {
    let now = Instant::now();
    for verdict in [
        Verdict::Retry {
            pause: Duration::from_hours(1),
        },
        Verdict::Rejected,
    ] {
        let mut lanes = in_one_order();
        lanes.push(now, of(0, event(3, 1, 1)));
        lanes.push(now, of(1, event(5, 1, 1)));
        lanes.push(now, of(1, event(10, 1, 2)));
        lanes.seal_all();
        let first = one(&mut lanes);
        assert_eq!(seqs(&first), [3]);
        lanes.verdict(now, first, verdict.clone(), Duration::ZERO);
        assert_eq!(ready(&mut lanes), [vec![10]], "{verdict:?}");
    }
}

#[test]
fn a_renewed_tokens_events_go_after_those_of_the_old_one() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    renewed(&mut lanes, now);
    // Nothing speaks for the new one yet: it waits, and forces nothing.
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(4, 1, 2)
        },
    );
    assert!(lanes.take_ready().is_empty());
    let marks = lanes.barrier(&asker(1, 2), &only());
    assert!(
        lanes.take_ready().is_empty() && marks.len() == 1,
        "a reader of which nothing is known waits for its own"
    );
    lanes.tick(now + WINDOW);
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2]);
    accept(&mut lanes, now, batch);
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [3, 4]);
    accept(&mut lanes, now, batch);
    assert!(marks.iter().all(|mark| lanes.passed(*mark)));
    // Now both were good: what one seals is sealed with all that is before it.
    lanes.push(now, event(5, 1, 1));
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(6, 1, 2)
        },
    );
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [5]);
    accept(&mut lanes, now, batch);
    assert_eq!(ready(&mut lanes), [vec![6]]);
}

#[test]
fn nobody_waits_for_a_credential_that_fails_or_that_nothing_speaks_for() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    renewed(&mut lanes, now);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(4, 1, 1)
        },
    );
    let batch = one(&mut lanes);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(5, 1, 2)
        },
    );
    assert!(lanes.take_ready().is_empty());
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    assert_eq!(ready(&mut lanes), [vec![3, 5]]);
    // A forged credential's event holds up no good one.
    lanes.vouch(Principal([8; 16]), &only());
    lanes.push(now, event(6, 2, 7));
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(7, 2, 8)
        },
    );
    assert_eq!(ready(&mut lanes), [vec![7]]);
}

#[test]
fn a_lane_behind_a_rejected_sibling_lets_a_forwarded_call_pass() {
    let now = Instant::now();
    let mut lanes = two(
        Rules {
            ordered: vec![GroupIndex(1)],
            ..rules()
        },
        Rules {
            ordered: vec![GroupIndex(0)],
            ..rules()
        },
    );
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 1)
        },
    );
    lanes.push(now, second(event(2, 1, 1)));
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    let (_, own) = lanes.hold(&asker(1, 1), &both());
    assert!(own.len() == 2 && lanes.take_ready().is_empty());
    assert!(own.iter().all(|mark| lanes.may_pass(*mark)));
}

#[test]
fn what_a_refusal_holds_holds_its_principals_order_under_every_fingerprint() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    let own = |seq, fingerprint| Model {
        owner: owner(1),
        priority: true,
        ..event(seq, 1, fingerprint)
    };
    lanes.push(now, own(1, 1));
    let batch = one(&mut lanes);
    lanes.push(now, own(2, 2));
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    assert!(lanes.take_ready().is_empty(), "the younger one waits");
    let (number, marks) = lanes.hold(&asker(1, 1), &only());
    assert!(marks.len() == 2 && marks.iter().all(|mark| lanes.may_pass(*mark)));
    lanes.release_hold(Principal([1; 16]), number);
    lanes.vouch(Principal([1; 16]), &[]);
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [1]);
    accept(&mut lanes, now, batch);
    assert_eq!(ready(&mut lanes), [vec![2]]);
}

/// A call of one good principal is on its way; an event of the user's other one waits behind it.
fn behind_a_joint_hold(lanes: &mut Lanes<Model>, now: Instant) -> u64 {
    for principal in [1, 2] {
        lanes.vouch(Principal([principal; 16]), &both());
    }
    let (number, _) = lanes.hold(
        &Asker {
            joins: true,
            ..asker(1, 1)
        },
        &Groups::from([GroupIndex(1)]),
    );
    lanes.push(
        now,
        second(Model {
            priority: true,
            ..event(1, 1, 2)
        }),
    );
    assert!(lanes.take_ready().is_empty(), "it waits");
    number
}

#[test]
fn the_end_of_a_hold_lets_everything_go_that_it_kept_back_whatever_is_known_of_it_by_then() {
    let now = Instant::now();
    let mut lanes = Lanes::new(vec![rules(), rules()], 2);
    let number = behind_a_joint_hold(&mut lanes, now);
    // Of so many only the last ones are remembered.
    (10..20).for_each(|other| lanes.vouch(Principal([other; 16]), &both()));
    lanes.release_hold(Principal([1; 16]), number);
    assert_eq!(ready(&mut lanes), [vec![1]]);
}

#[test]
fn a_principal_that_is_refused_elsewhere_waits_for_no_other_principals_call_any_more() {
    let now = Instant::now();
    let mut lanes = two(rules(), rules());
    let number = behind_a_joint_hold(&mut lanes, now);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 2)
        },
    );
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Rejected, Duration::ZERO);
    lanes.release_hold(Principal([1; 16]), number);
    assert_eq!(ready(&mut lanes), [vec![1]]);
}

#[test]
fn where_strangers_are_taken_nobody_waits_for_another_principal_that_fails() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    for principal in [1, 2] {
        lanes.vouch(Principal([principal; 16]), &only());
    }
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 2)
        },
    );
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Retry { pause: WINDOW }, Duration::ZERO);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 1)
        },
    );
    assert!(
        lanes.take_ready().is_empty(),
        "while both are good, they keep one order"
    );
    lanes.open(GroupIndex(0));
    let batch = one(&mut lanes);
    assert_eq!(seqs(&batch), [2]);
    accept(&mut lanes, now, batch);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(3, 1, 1)
        },
    );
    assert_eq!(
        ready(&mut lanes),
        [vec![3]],
        "its own success doesn't make it good again"
    );
}

#[test]
fn who_is_good_by_a_read_alone_is_so_until_that_read_answers_a_stranger() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    let [read, other] = [ReadIndex(0), ReadIndex(1)];
    for principal in [1, 2] {
        lanes.vouch_by(Principal([principal; 16]), &only(), Grounds::read(read));
    }
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 2)
        },
    );
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Retry { pause: WINDOW }, Duration::ZERO);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 1)
        },
    );
    let of_both = Asker {
        joins: true,
        ..asker(1, 1)
    };
    lanes.open_read(other);
    assert_eq!(
        (
            ready(&mut lanes).len(),
            lanes.barrier(&of_both, &only()).len()
        ),
        (0, 2),
        "both are good"
    );
    lanes.open_read(read);
    let batch = one(&mut lanes);
    assert_eq!(
        (seqs(&batch), lanes.barrier(&of_both, &only()).len()),
        (vec![2], 1)
    );
    accept(&mut lanes, now, batch);
    // A batch that was taken speaks for its principal, whatever reads do.
    lanes.vouch(Principal([2; 16]), &only());
    lanes.push(now, event(3, 1, 1));
    assert_eq!(lanes.barrier(&of_both, &only()).len(), 2);
}

#[test]
fn a_window_is_sealed_when_its_number_has_moved_far_enough_since_the_last_one_sent() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        change: vec![(Path::of(&["percent"]), 5.0)],
        flush_at: 100,
        max_events: 100,
        ..rules()
    });
    let at = |seq, percent: &str| Model {
        percent: percent.into(),
        bytes: 5,
        ..about(seq, 7)
    };
    for (seq, percent, seals) in [
        (1, "3", false),
        (2, "5", true),
        (3, "9", false),
        (4, "9.5", false),
        (5, "10", true),
        (6, "null", false),
        (7, "4", true),
    ] {
        lanes.push(now, at(seq, percent));
        let sent = lanes.take_ready().pop_front();
        assert_eq!(sent.is_some(), seals, "{percent}");
        if let Some(batch) = sent {
            accept(&mut lanes, now, batch);
        }
    }
    lanes.push(
        now,
        Model {
            percent: b"4".to_vec(),
            ..about(8, 9)
        },
    );
    assert!(
        lanes.take_ready().is_empty(),
        "of another subject nothing was sent: that counts as 0"
    );
}

#[test]
fn a_priority_event_seals_the_windows_that_go_with_it_and_the_next_one_of_them() {
    let now = Instant::now();
    let mut lanes = two(
        Rules {
            seals: vec![GroupIndex(1)],
            ..rules()
        },
        rules(),
    );
    lanes.push(now, second(event(1, 1, 1)));
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(2, 1, 1)
        },
    );
    assert_eq!(ready(&mut lanes), [vec![1], vec![2]]);
    // On its way, but with nothing open: the next one is meant.
    lanes.push(
        now,
        second(Model {
            priority: true,
            ..event(10, 5, 1)
        }),
    );
    let flying = one(&mut lanes);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(11, 5, 1)
        },
    );
    lanes.push(now, second(event(12, 5, 1)));
    lanes.take_ready();
    accept(&mut lanes, now, flying);
    assert_eq!(ready(&mut lanes), [vec![12]]);
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(3, 2, 1)
        },
    );
    lanes.push(now, second(event(4, 2, 1)));
    lanes.push(now, second(event(5, 3, 1)));
    assert_eq!(
        ready(&mut lanes),
        [vec![3], vec![4]],
        "another user's is not meant"
    );
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(6, 4, 1)
        },
    );
    lanes.take_ready();
    lanes.push(
        now + WINDOW + Duration::from_secs(1),
        second(event(7, 4, 1)),
    );
    assert!(
        lanes.take_ready().is_empty(),
        "long after it, it is forgotten"
    );
}

#[test]
fn a_batch_that_fails_while_others_pass_is_looked_into_and_only_the_event_at_fault_dies() {
    let mut now = Instant::now();
    let mut lanes = lanes(Rules {
        flush_at: 4,
        ..rules()
    });
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let began = now;
    while !lanes.is_empty() {
        lanes.tick(now);
        now += Duration::from_secs(1);
        for batch in lanes.take_ready() {
            let bad = batch.events.iter().any(|queued| queued.entry.seq == 3);
            if bad {
                assert!(now < began + Duration::from_mins(5));
                let pause = Duration::from_secs(1);
                lanes.verdict(now, batch, Verdict::Persistent { pause }, Duration::ZERO);
            } else {
                accept(&mut lanes, now, batch);
            }
        }
    }
    let dead: Vec<_> = outcomes(&mut lanes)
        .into_iter()
        .filter(|(_, outcome)| *outcome != Outcome::Accepted)
        .collect();
    assert_eq!(dead, [(3, Outcome::Dead(Reason::GaveUp))]);
    // However often it was tried: its patience is a part of the hour after which all are given up.
    assert!(
        now > began + Duration::from_secs(3_600 / 24),
        "{:?}",
        now - began
    );
}

/// One batch of events with single calls, numbered from 1.
fn with_singles(lanes: &mut Lanes<Model>, now: Instant, count: u64) -> Batch<Model> {
    (1..=count).for_each(|seq| {
        lanes.push(
            now,
            Model {
                single: true,
                ..event(seq, 1, 1)
            },
        )
    });
    lanes.seal_all();
    let batch = one(lanes);
    assert_eq!(batch.form, Form::Batch);
    batch
}

#[test]
fn a_batch_goes_on_as_single_calls_in_order_and_what_has_none_stays_a_batch() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        single: true,
        ..rules()
    });
    for (seq, single) in [(1, true), (2, false), (3, false), (4, true)] {
        lanes.push(
            now,
            Model {
                single,
                ..event(seq, 1, 1)
            },
        );
    }
    let batch = one(&mut lanes);
    lanes.verdict(
        now,
        batch,
        Verdict::Singles { pause: WINDOW },
        Duration::ZERO,
    );
    for wanted in [(Form::Single, vec![1]), (Form::Batch, vec![2, 3])] {
        let batch = one(&mut lanes);
        assert_eq!((batch.form, seqs(&batch)), wanted);
        match batch.form {
            Form::Single => accept(&mut lanes, now, batch),
            // Nothing of it has a single call: it waits, and the schedule goes on.
            Form::Batch => {
                let lane = batch.lane;
                lanes.verdict(
                    now,
                    batch,
                    Verdict::Singles { pause: WINDOW },
                    Duration::ZERO,
                );
                assert_eq!(
                    (lanes.next_wake(), lanes.retries(lane)),
                    (Some(now + WINDOW), 1)
                );
                lanes.tick(now + WINDOW);
                let again = one(&mut lanes);
                lanes.verdict(
                    now + WINDOW,
                    again,
                    Verdict::Singles { pause: WINDOW },
                    Duration::ZERO,
                );
                assert_eq!(lanes.retries(lane), 2);
                lanes.tick(now + 2 * WINDOW);
                let again = one(&mut lanes);
                assert_eq!(seqs(&again), [2, 3]);
                accept(&mut lanes, now, again);
                assert_eq!(ready(&mut lanes), [vec![4]]);
            }
        }
    }
}

#[test]
fn a_403_is_the_credentials_if_its_oldest_event_meets_it_alone() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        single: true,
        ..rules()
    });
    let batch = with_singles(&mut lanes, now, 3);
    assert!(!batch.blames_credential(true));
    lanes.verdict(now, batch, Verdict::Forbidden, Duration::ZERO);
    let alone = one(&mut lanes);
    assert_eq!((alone.form, seqs(&alone)), (Form::Single, vec![1]));
    assert!(alone.blames_credential(true));
    lanes.verdict(now, alone, Verdict::Rejected, Duration::ZERO);
    assert!(lanes.take_ready().is_empty(), "held");
    // A success elsewhere clears the credential: what the event meets then is its own, after one
    // more try.
    lanes.vouch(Principal([1; 16]), &[GroupIndex(0)]);
    let mut later = now;
    for _ in 0..2 {
        let alone = one(&mut lanes);
        assert_eq!((alone.form, seqs(&alone)), (Form::Single, vec![1]));
        assert!(!alone.blames_credential(true));
        lanes.verdict(later, alone, Verdict::Forbidden, Duration::from_secs(1));
        later += Duration::from_secs(1);
        lanes.tick(later);
    }
    let rest = one(&mut lanes);
    assert_eq!((rest.form, seqs(&rest)), (Form::Batch, vec![2, 3]));
    accept(&mut lanes, later, rest);
    let (dead, taken) = (Outcome::Dead(Reason::Refused), Outcome::Accepted);
    assert_eq!(
        outcomes(&mut lanes),
        [(1, dead), (2, taken.clone()), (3, taken)]
    );
}

#[test]
fn a_403_of_one_event_is_sought_out_in_order_and_the_rest_is_taken() {
    let mut now = Instant::now();
    let mut lanes = lanes(Rules {
        single: true,
        flush_at: 5,
        ..rules()
    });
    let mut ready = vec![with_singles(&mut lanes, now, 5)];
    let mut sent = Vec::new();
    while let Some(batch) = ready.pop() {
        sent.push((batch.form, seqs(&batch)));
        if seqs(&batch).contains(&3) {
            assert!(!batch.blames_credential(true), "{:?}", seqs(&batch));
            lanes.verdict(now, batch, Verdict::Forbidden, Duration::from_secs(1));
        } else {
            accept(&mut lanes, now, batch);
        }
        now += Duration::from_secs(1);
        lanes.tick(now);
        ready.extend(lanes.take_ready());
    }
    let batch = |seqs: &[u64]| (Form::Batch, seqs.to_vec());
    let single = |seq| (Form::Single, vec![seq]);
    let halves = [
        batch(&[2, 3]),
        batch(&[2]),
        batch(&[3]),
        single(3),
        single(3),
        batch(&[4, 5]),
    ];
    assert_eq!(
        sent[..3],
        [batch(&[1, 2, 3, 4, 5]), single(1), batch(&[2, 3, 4, 5])]
    );
    assert_eq!(sent[3..], halves);
    let dead: Vec<_> = outcomes(&mut lanes)
        .into_iter()
        .filter(|(_, outcome)| *outcome != Outcome::Accepted)
        .collect();
    assert_eq!(dead, [(3, Outcome::Dead(Reason::Refused))]);
}

#[test]
fn a_credential_that_is_revoked_amid_the_search_is_held_after_one_dead_letter_at_most() {
    let mut now = Instant::now();
    let mut lanes = lanes(Rules {
        single: true,
        flush_at: 5,
        ..rules()
    });
    let batch = with_singles(&mut lanes, now, 5);
    lanes.verdict(now, batch, Verdict::Forbidden, Duration::ZERO);
    let alone = one(&mut lanes);
    accept(&mut lanes, now, alone);
    // From here on everything is 403.
    let mut ready: Vec<_> = lanes.take_ready().into();
    while let Some(batch) = ready.pop() {
        let verdict = if batch.blames_credential(true) {
            Verdict::Rejected
        } else {
            Verdict::Forbidden
        };
        lanes.verdict(now, batch, verdict, Duration::from_secs(1));
        now += Duration::from_secs(1);
        lanes.tick(now);
        ready.extend(lanes.take_ready());
    }
    let dead = Outcome::Dead(Reason::Refused);
    assert_eq!(
        outcomes(&mut lanes),
        [(1, Outcome::Accepted), (2, dead)],
        "the others are held"
    );
}

#[test]
fn without_single_calls_a_403_is_sought_out_by_batches_of_one() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    (1..=4).for_each(|seq| lanes.push(now, event(seq, 1, 1)));
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Forbidden, Duration::ZERO);
    let alone = one(&mut lanes);
    assert_eq!(
        (alone.form, seqs(&alone), alone.blames_credential(false)),
        (Form::Batch, vec![1], true)
    );
    accept(&mut lanes, now, alone);
    let rest = one(&mut lanes);
    assert_eq!(seqs(&rest), [2, 3, 4]);
    lanes.verdict(now, rest, Verdict::Forbidden, Duration::ZERO);
    let half = one(&mut lanes);
    assert_eq!(
        (seqs(&half), half.blames_credential(false)),
        (vec![2], false)
    );
}

#[test]
fn the_oldest_event_goes_alone_and_the_rest_after_it() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        single: true,
        ..rules()
    });
    let batch = with_singles(&mut lanes, now, 3);
    lanes.verdict(now, batch, Verdict::OldestAlone, Duration::ZERO);
    let alone = one(&mut lanes);
    assert_eq!((alone.form, seqs(&alone)), (Form::Single, vec![1]));
    accept(&mut lanes, now, alone);
    let rest = one(&mut lanes);
    assert_eq!((rest.form, seqs(&rest)), (Form::Batch, vec![2, 3]));
}

#[test]
fn a_look_shows_what_is_pending_wherever_it_is_and_only_its_own() {
    let now = Instant::now();
    let mut lanes = lanes(Rules {
        newest: true,
        flush_at: 2,
        max_events: 2,
        ..rules()
    });
    let look = |lanes: &Lanes<Model>, credential: u8, most: usize| {
        let shown = lanes.pending(
            &lane(1, 1).user,
            (Principal([credential; 16]), View([credential; 16])),
            &only(),
            most,
        );
        shown
            .into_iter()
            .map(|one| String::from_utf8(one.json.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    for (seq, subject) in [(1, 7), (2, 8), (3, 7), (4, 7), (5, 9)] {
        lanes.push(now, about(seq, subject));
    }
    assert_eq!(
        look(&lanes, 1, 9),
        ["1", "2", "4", "5"],
        "on its way, due and open; 3 was superseded by 4"
    );
    assert_eq!(look(&lanes, 1, 3), ["1", "2", "4"]);
    assert_eq!(
        look(&lanes, 2, 9),
        [""; 0],
        "another credential's are not shown"
    );
    let batch = one(&mut lanes);
    lanes.verdict(now, batch, Verdict::Retry { pause: WINDOW }, Duration::ZERO);
    assert_eq!(look(&lanes, 1, 9), ["1", "2", "4", "5"]);
}

#[test]
fn one_principals_events_go_in_their_order_under_however_many_fingerprints() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    for seq in 1..=9 {
        // Each under a fingerprint of its own but for every third, which shares one.
        let fingerprint = if seq % 3 == 0 { 200 } else { seq as u8 };
        lanes.push(
            now,
            Model {
                owner: owner(1),
                ..event(seq, 1, fingerprint)
            },
        );
    }
    lanes.tick(now + WINDOW);
    let mut sent = Vec::new();
    while !lanes.is_empty() {
        let batch = one(&mut lanes);
        sent.extend(seqs(&batch));
        accept(&mut lanes, now, batch);
    }
    assert_eq!(sent, (1..=9).collect::<Vec<_>>());
}

#[test]
fn two_good_principals_of_one_user_keep_one_order_and_those_whose_user_is_no_claim_do_not() {
    let now = Instant::now();
    for claimed in [true, false] {
        let mut lanes = lanes(Rules {
            flush_at: 5,
            ..rules()
        });
        lanes.vouch(Principal([1; 16]), &only());
        lanes.vouch(Principal([2; 16]), &only());
        for seq in 1..=4 {
            let credential = 1 + (seq % 2) as u8;
            lanes.push(
                now,
                Model {
                    owner: Owner {
                        claimed,
                        ..owner(credential)
                    },
                    ..event(seq, 1, credential)
                },
            );
        }
        lanes.seal_all();
        let mut first = ready(&mut lanes);
        first.sort();
        let wanted = if claimed {
            vec![vec![1]]
        } else {
            vec![vec![1, 3], vec![2, 4]]
        };
        assert_eq!(first, wanted, "claimed: {claimed}");
    }
}

#[test]
fn a_forwarded_call_has_a_lane_that_waits_for_a_pause_tried_again_at_once() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    lanes.push(
        now,
        Model {
            priority: true,
            ..event(1, 1, 1)
        },
    );
    let batch = one(&mut lanes);
    lanes.verdict(
        now,
        batch,
        Verdict::Retry {
            pause: Duration::from_secs(60),
        },
        Duration::ZERO,
    );
    assert!(lanes.take_ready().is_empty());
    let (_, marks) = lanes.hold(&asker(1, 1), &only());
    assert_eq!(ready(&mut lanes), [vec![1]]);
    assert!(!lanes.may_pass(marks[0]));
}

#[test]
fn a_call_that_names_no_user_waits_for_all_lanes_of_its_principal_and_for_no_others() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    for (seq, user) in [(1, 1), (2, 2)] {
        lanes.push(
            now,
            Model {
                owner: owner(1),
                ..event(seq, user, 1)
            },
        );
    }
    lanes.push(now, event(3, 1, 2));
    let (number, marks) = lanes.hold(
        &Asker {
            user: None,
            ..asker(1, 1)
        },
        &only(),
    );
    assert_eq!(marks.len(), 2);
    assert_eq!(
        ready(&mut lanes),
        [vec![1], vec![2]],
        "another principal's window stays open"
    );
    lanes.push(
        now,
        Model {
            owner: owner(1),
            priority: true,
            ..event(4, 9, 1)
        },
    );
    assert!(
        lanes.take_ready().is_empty(),
        "a new user of the principal waits behind it"
    );
    lanes.release_hold(Principal([1; 16]), number);
    assert_eq!(ready(&mut lanes), [vec![4]]);
}
