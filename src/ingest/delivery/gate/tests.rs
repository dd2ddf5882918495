use super::*;
use crate::event::{Fingerprint, GroupIndex, UserId};
use crate::ingest::settings::{Backoff, Limited};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn delivery() -> Delivery {
    Delivery {
        timeout: 10 * SECOND,
        max_in_flight: 4,
        retry_network: vec![SECOND],
        retry_server: Backoff {
            base: SECOND,
            cap: 30 * SECOND,
        },
        retry_limited: Limited {
            base: 5 * SECOND,
            jitter: SECOND,
        },
        escalate_after: 3,
        give_up_after: 3_600 * SECOND,
        token_margin: SECOND,
        barrier: SECOND,
    }
}

fn lane(user: u8) -> LaneKey {
    let user = UserId::try_new(&format!("u{user}")).unwrap();
    LaneKey {
        group: GroupIndex(0),
        user,
        credential: Fingerprint([1; 16]),
    }
}

const fn good(who: u8) -> Caller {
    Caller::Good(Principal([who; 16]))
}

const fn stranger(who: u8) -> Caller {
    Caller::Stranger(Principal([who; 16]))
}

/// A gate, its clock, and requests of callers whose lanes have their number.
struct Scene {
    gate: Gate,
    now: Instant,
    settings: Delivery,
}

impl Scene {
    fn new() -> Self {
        Self {
            gate: Gate::default(),
            now: Instant::now(),
            settings: delivery(),
        }
    }

    fn with<T>(
        &mut self,
        caller: Caller,
        form: Form,
        singles: bool,
        act: impl FnOnce(&mut Gate, Instant, &Asking<'_>, &Delivery) -> T,
    ) -> T {
        let lane = match caller {
            Caller::Service(_) => lane(0),
            Caller::Good(who) | Caller::Stranger(who) => lane(who.0[0]),
        };
        let asking = Asking {
            caller,
            lane: &lane,
            form,
            oldest: singles,
            any: singles,
        };
        act(&mut self.gate, self.now, &asking, &self.settings)
    }

    /// A batch without single calls.
    fn admit(&mut self, caller: Caller) -> Pass {
        self.with(caller, Form::Batch, false, |gate, now, asking, settings| {
            gate.admit(now, asking, settings, 0.0)
        })
    }

    /// A batch with single calls.
    fn admit_batch(&mut self, caller: Caller) -> Pass {
        self.with(caller, Form::Batch, true, |gate, now, asking, settings| {
            gate.admit(now, asking, settings, 0.0)
        })
    }

    fn admit_single(&mut self, caller: Caller) -> Pass {
        self.with(
            caller,
            Form::Single,
            false,
            |gate, now, asking, settings| gate.admit(now, asking, settings, 0.0),
        )
    }

    fn take(&mut self, caller: Caller, form: Form) {
        self.with(caller, form, true, |gate, now, asking, settings| {
            gate.take(now, asking, None, settings)
        });
    }

    fn fail(&mut self, caller: Caller, pause: u32) -> bool {
        let form = Form::Batch;
        self.with(caller, form, true, |gate, now, asking, settings| {
            gate.fail(now, asking, pause * SECOND, settings)
        })
    }

    fn limit(&mut self, caller: Caller, pause: u32) -> bool {
        self.with(caller, Form::Batch, true, |gate, now, asking, _| {
            gate.limit(now, asking, pause * SECOND)
        })
    }

    fn miss(&mut self, caller: Caller) -> bool {
        self.with(caller, Form::Batch, true, |gate, now, asking, _| {
            gate.miss(now, asking)
        })
    }

    fn waits(&mut self, caller: Caller) -> bool {
        matches!(self.admit(caller), Pass::Wait(_))
    }

    fn open(&mut self) {
        for who in [1, 2, 1] {
            self.fail(good(who), 1);
        }
        self.now += SECOND;
    }
}

#[test]
fn failures_count_together_within_two_of_the_longest_pauses_and_a_minute_at_least() {
    for (cap, apart, counts) in [
        (30, 59, true),
        (30, 61, false),
        (600, 1_199, true),
        (600, 1_201, false),
    ] {
        let mut scene = Scene::new();
        scene.settings.retry_server.cap = cap * SECOND;
        scene.fail(good(1), 1);
        scene.fail(good(1), 1);
        scene.now += apart * SECOND;
        assert_eq!(
            scene.fail(good(2), 1),
            counts,
            "a pause of {cap} s at most, {apart} s between"
        );
    }
}

#[test]
fn an_open_circuit_lets_one_probe_through_and_another_lane_before_the_one_that_failed() {
    let mut scene = Scene::new();
    for (failure, who) in [(1, 1), (2, 2), (3, 1)] {
        assert_eq!(scene.admit(good(who)), Pass::Go);
        assert_eq!(scene.fail(good(who), 1), failure == 3);
    }
    assert_eq!(scene.admit(good(2)), Pass::Wait(SECOND));
    scene.now += SECOND;
    assert!(scene.waits(good(1)), "another one first");
    assert_eq!(scene.admit(good(2)), Pass::Go);
    assert!(scene.waits(good(3)), "one probe at a time");
    scene.take(good(2), Form::Batch);
    assert_eq!(
        (scene.admit(good(3)), scene.admit(good(1))),
        (Pass::Go, Pass::Go)
    );
}

#[test]
fn one_principals_failures_and_any_number_of_strangers_open_no_circuit() {
    let mut scene = Scene::new();
    for round in 0..100 {
        assert!(!scene.fail(good(1), 1));
        assert!(!scene.fail(stranger(round), 1));
    }
    assert_eq!(scene.admit(good(2)), Pass::Go);
    assert!(scene.fail(good(2), 1), "two of them are several");
}

#[test]
fn a_failure_of_long_ago_and_a_new_one_open_no_circuit() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        assert!(!scene.fail(good(1), 1));
    }
    scene.now += 2 * LATELY;
    for _ in 0..10 {
        assert!(!scene.fail(good(2), 1), "the other one's was another day's");
    }
    assert!(scene.fail(good(1), 1), "both of them now");
}

#[test]
fn one_lane_of_the_services_opens_no_circuit_for_the_others() {
    let mut scene = Scene::new();
    let alone = |who| Caller::Service(Some(Principal([who; 16])));
    for _ in 0..10 {
        assert!(!scene.fail(alone(1), 1));
    }
    assert!(scene.fail(alone(2), 1), "two of them are several");
    let mut scene = Scene::new();
    assert_eq!(
        [1, 2, 3].map(|_| scene.fail(Caller::Service(None), 1)),
        [false, false, true],
        "several lanes in one batch"
    );
}

#[test]
fn strangers_probe_an_open_circuit_apart_from_the_good_ones() {
    let mut scene = Scene::new();
    scene.open();
    assert_eq!(scene.admit(stranger(9)), Pass::Go);
    assert!(scene.waits(stranger(8)), "one of them at a time");
    assert_eq!(scene.admit(good(2)), Pass::Go, "it holds up no good one");
    scene.fail(stranger(9), 1_000);
    assert!(
        scene.waits(good(3)),
        "nor does its failure end another's probe"
    );
    scene.gate.end_probe(&lane(2));
    assert_eq!(scene.admit(good(3)), Pass::Go, "nor make others wait");
    scene.take(stranger(9), Form::Batch);
    assert_eq!(
        scene.admit(good(4)),
        Pass::Go,
        "but a success is one, whoever's it is"
    );
}

#[test]
fn an_open_circuit_tries_the_oldest_event_alone_and_if_that_is_taken_singles_go_until_a_batch_passes()
 {
    let mut scene = Scene::new();
    scene.open();
    assert_eq!(scene.admit_batch(good(2)), Pass::OldestAlone);
    assert_eq!(scene.admit_single(good(2)), Pass::Go, "it is the probe");
    scene.take(good(2), Form::Single);
    // The outage may be over: one batch tries at once, the others go as single calls until it is
    // back.
    assert_eq!(scene.admit_batch(good(3)), Pass::Go);
    assert_eq!(scene.admit_batch(good(4)), Pass::Singles);
    scene.fail(good(3), 1);
    scene.now += 59 * SECOND;
    assert_eq!(
        (scene.admit_batch(good(4)), scene.admit_single(good(4))),
        (Pass::Singles, Pass::Go)
    );
    scene.now += SECOND;
    assert_eq!(scene.admit_batch(good(4)), Pass::Go);
    scene.take(good(4), Form::Batch);
    assert_eq!(scene.admit_batch(good(3)), Pass::Go, "a batch has passed");
}

#[test]
fn a_limited_caller_waits_alone_until_three_good_principals_and_half_of_those_tried_are_limited() {
    let mut scene = Scene::new();
    assert!(!scene.limit(good(1), 60));
    assert!(scene.waits(good(1)) && scene.admit(good(2)) == Pass::Go);
    (10..14).for_each(|who| scene.take(good(who), Form::Batch));
    for who in 30..99 {
        assert!(!scene.limit(stranger(who), 60), "strangers close nothing");
        assert!(scene.waits(stranger(who)));
    }
    assert!(!scene.limit(good(2), 60));
    assert!(!scene.limit(good(3), 60), "three, but not half of seven");
    assert!(scene.limit(good(10), 5), "four of seven");
    assert_eq!(scene.admit(good(11)), Pass::Wait(5 * SECOND), "all wait");
    scene.now += 5 * SECOND;
    assert_eq!(scene.admit(good(11)), Pass::Go);
    assert_eq!(
        scene.admit(good(1)),
        Pass::Wait(55 * SECOND),
        "who was asked to wait longer does"
    );
}

#[test]
fn what_others_met_a_minute_ago_says_nothing_of_now() {
    let mut scene = Scene::new();
    (10..30).for_each(|who| scene.take(good(who), Form::Batch));
    scene.now += 61 * SECOND;
    assert!(!scene.limit(good(1), 5) && !scene.limit(good(2), 5) && scene.limit(good(3), 5));
}

#[test]
fn a_closed_gate_is_not_shortened_by_what_comes_later() {
    let mut scene = Scene::new();
    for who in 1..=3 {
        scene.limit(good(who), 60);
    }
    for who in 4..=9 {
        scene.fail(good(who), 1);
    }
    scene.gate.close(scene.now + SECOND);
    scene.take(good(10), Form::Batch);
    assert_eq!(scene.admit(good(11)), Pass::Wait(60 * SECOND));
}

#[test]
fn three_good_principals_make_a_detour_and_it_is_left_after_a_minute_doubling_to_an_hour() {
    let mut scene = Scene::new();
    for who in 0..50 {
        assert!(
            !scene.miss(stranger(who)),
            "a stranger's redirect to a login page says nothing of the group"
        );
    }
    assert!(!scene.miss(good(1)) && !scene.miss(good(1)) && !scene.miss(good(2)));
    assert_eq!(scene.admit_batch(good(1)), Pass::Go);
    assert!(scene.miss(good(3)));
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        scene.now += Duration::from_mins(minutes) - SECOND;
        assert_eq!(scene.admit_batch(good(4)), Pass::Singles, "{minutes}");
        scene.now += SECOND;
        assert_eq!(scene.admit_batch(good(4)), Pass::Go, "{minutes}");
        assert_eq!(
            scene.admit_batch(good(5)),
            Pass::Singles,
            "one tries for all"
        );
        assert!(!scene.miss(good(4)), "it is no news");
    }
    assert_eq!(
        scene.admit(good(5)),
        Pass::Go,
        "what has no single call goes as it can"
    );
    scene.now += Duration::from_hours(1);
    assert_eq!(scene.admit_batch(good(4)), Pass::Go);
    scene.take(good(4), Form::Batch);
    assert_eq!(scene.admit_batch(good(5)), Pass::Go);
    assert!(
        !scene.miss(good(1)) && !scene.miss(good(2)),
        "all is forgotten"
    );
}

#[test]
fn the_service_speaks_for_its_group() {
    let mut scene = Scene::new();
    assert!(scene.miss(Caller::Service(None)));
    let mut scene = Scene::new();
    assert!(scene.limit(Caller::Service(None), 5));
    let mut scene = Scene::new();
    assert_eq!(
        [1, 2, 3].map(|_| scene.fail(Caller::Service(None), 1)),
        [false, false, true]
    );
}

#[test]
fn a_route_is_known_by_its_calls_or_if_its_batch_was_lost_by_batches() {
    let mut scene = Scene::new();
    let route = Some(RouteShape::of_call("POST", "/lessons/17"));
    assert!(!scene.gate.knows_route(route, true));
    scene.take(good(1), Form::Batch);
    assert!(scene.gate.knows_route(route, true) && !scene.gate.knows_route(route, false));
    scene.with(
        good(1),
        Form::Single,
        false,
        |gate, now, asking, settings| gate.take(now, asking, route, settings),
    );
    assert!(
        scene
            .gate
            .knows_route(Some(RouteShape::of_call("POST", "/lessons/18")), false)
    );
}

/// A batch fails again and again; before each failure so many others pass and fail, and strangers
/// fail.
fn evidence(rounds: &[(u64, u64, u64)]) -> Evidence {
    let (mut scene, mut trouble, mut found) = (Scene::new(), Trouble::default(), Evidence::None);
    for (passing, failing, strange) in rounds {
        (0..*passing).for_each(|_| scene.take(good(2), Form::Batch));
        (0..*failing).for_each(|_| scene.gate.count_failure(good(3)));
        (0..*strange).for_each(|_| scene.gate.count_failure(stranger(4)));
        scene.gate.count_failure(good(1));
        (trouble, found) = scene
            .gate
            .trouble(trouble, (Failure::Error, good(1)), &scene.settings);
    }
    found
}

/// What the last of these failures says, others passing before each.
fn after(failures: &[Failure]) -> Evidence {
    let (mut scene, mut trouble, mut found) = (Scene::new(), Trouble::default(), Evidence::None);
    for failure in failures {
        (0..5).for_each(|_| scene.take(good(2), Form::Batch));
        scene.gate.count_failure(good(1));
        (trouble, found) = scene
            .gate
            .trouble(trouble, (*failure, good(1)), &scene.settings);
    }
    found
}

#[test]
fn of_a_refusal_other_refusals_say_whose_it_is_and_errors_do_not() {
    use Failure::{Error, Refusal};
    for (failures, wanted) in [
        (&[Error, Error, Error, Error, Refusal][..], Evidence::InTime),
        (
            &[Error, Error, Error, Error, Refusal, Refusal],
            Evidence::InTime,
        ),
        (&[Error, Refusal, Error, Refusal, Refusal], Evidence::Own),
        (&[Refusal, Refusal, Refusal], Evidence::None),
        (&[Refusal, Refusal, Refusal, Refusal], Evidence::Own),
        // An error is held against the batch, and against no event.
        (&[Refusal, Refusal, Refusal, Error], Evidence::Own),
    ] {
        assert_eq!(after(failures), wanted, "{failures:?}");
    }
}

/// Refusals of a single call are held against it at once, without an hour's patience: so only in a
/// row, with others that pass between any two.
#[test]
fn silence_between_refusals_forgets_them() {
    let (mut scene, mut trouble) = (Scene::new(), Trouble::default());
    let mut refuse = |passing: usize| {
        (0..passing).for_each(|_| scene.take(good(2), Form::Batch));
        scene.gate.count_failure(good(1));
        let (after, found) =
            scene
                .gate
                .trouble(trouble, (Failure::Refusal, good(1)), &scene.settings);
        trouble = after;
        found
    };
    for _ in 0..9 {
        assert_ne!(refuse(1), Evidence::Own);
        assert_eq!(refuse(0), Evidence::None);
    }
    // That others passed time and again counts in time, as for an error.
    let row = [(); 3].map(|()| refuse(1));
    assert_eq!(row, [Evidence::InTime, Evidence::InTime, Evidence::Own]);
}

/// In an outage in which a few calls of strangers are taken and most are not, nothing is known of a
/// batch that fails.
#[test]
fn what_strangers_pass_counts_only_where_more_of_it_passes_than_fails() {
    for (passing, failing, known, wanted) in [
        (1, 9, 0, Evidence::None),
        (9, 1, 0, Evidence::Own),
        // All known callers fail: what strangers ask for is another matter.
        (9, 0, 5, Evidence::None),
    ] {
        let (mut scene, mut trouble) = (Scene::new(), Trouble::default());
        let mut found = Evidence::None;
        for _ in 0..9 {
            (0..passing).for_each(|_| scene.take(stranger(2), Form::Batch));
            (0..failing).for_each(|_| scene.gate.count_failure(stranger(3)));
            (0..known).for_each(|_| scene.gate.count_failure(good(4)));
            scene.gate.count_failure(good(1));
            (trouble, found) =
                scene
                    .gate
                    .trouble(trouble, (Failure::Error, good(1)), &scene.settings);
        }
        assert_eq!(found, wanted, "{passing} pass, {failing} and {known} fail");
    }
}

/// A sticky backend that is down for one user is the way's fault, however many others pass.
#[test]
fn what_fails_on_the_way_is_not_held_against_an_event_alone() {
    use Failure::{Error, Way};
    for (failures, wanted) in [
        (&[Way, Way, Way, Way, Way, Error][..], Evidence::None),
        (&[Error, Error, Way, Error, Error], Evidence::Own),
        (&[Error, Error, Error, Error, Way], Evidence::None),
    ] {
        assert_eq!(after(failures), wanted, "{failures:?}");
    }
}

#[test]
fn a_failure_is_the_batchs_own_when_time_and_again_most_others_pass() {
    let times = |count: usize, passing, failing| vec![(passing, failing, 0); count];
    for (rounds, wanted) in [
        (times(3, 9, 0), Evidence::None),
        (times(4, 9, 0), Evidence::Own),
        (times(4, 1, 0), Evidence::Own),
        (times(4, 5, 2), Evidence::Own),
        (times(50, 2, 5), Evidence::None),
        (times(50, 0, 1), Evidence::None),
        (times(12, 0, 0), Evidence::None),
        (times(13, 0, 0), Evidence::Lonely),
        // What strangers meet is no excuse, but whoever has their company isn't lonely.
        (vec![(2, 0, 50); 4], Evidence::Own),
        (vec![(0, 0, 1); 50], Evidence::None),
        // Whatever passed before an outage: it is an outage.
        ([times(3, 100, 0), times(50, 0, 3)].concat(), Evidence::None),
        (
            [times(2, 0, 0), vec![(1, 0, 0)], times(11, 0, 0)].concat(),
            Evidence::None,
        ),
        // What is tried more often than all others together: what they met counts, and silence
        // doesn't; nor does what strangers met.
        (
            [(1, 0, 0), (0, 0, 0), (0, 0, 2), (1, 0, 0)].repeat(3),
            Evidence::Own,
        ),
        ([times(9, 1, 0), times(1, 0, 0)].concat(), Evidence::None),
        ([times(9, 1, 0), times(12, 0, 0)].concat(), Evidence::Lonely),
        (
            [times(9, 1, 0), vec![(1, 1, 0)], times(2, 1, 0)].concat(),
            Evidence::None,
        ),
    ] {
        assert_eq!(evidence(&rounds), wanted, "{rounds:?}");
    }
}

#[test]
fn since_when_an_event_alone_is_at_fault_is_known_until_others_fail() {
    let mut scene = Scene::new();
    let mut trouble = Trouble {
        alone_since: Some(scene.now),
        ..Trouble::default()
    };
    for (passing, failing, known) in [(0, 0, true), (1, 0, true), (0, 0, true), (1, 1, false)] {
        // The first failure is what others are counted from.
        trouble.since.get_or_insert_default();
        (0..passing).for_each(|_| scene.take(good(2), Form::Batch));
        (0..failing).for_each(|_| scene.gate.count_failure(good(3)));
        scene.gate.count_failure(good(1));
        (trouble, _) = scene
            .gate
            .trouble(trouble, (Failure::Error, good(1)), &scene.settings);
        assert_eq!(
            trouble.alone_since.is_some(),
            known,
            "{passing} pass, {failing} fail"
        );
    }
}

#[derive(Debug, Clone)]
enum Met {
    Taken(Form),
    Refused,
    Failed(u32),
    Limited(u32),
    Missed,
    Broken,
    Later(u64),
}

fn met() -> impl Strategy<Value = (u8, bool, Met)> {
    let form = prop_oneof![Just(Form::Batch), Just(Form::Single)];
    let met = prop_oneof![
        2 => form.prop_map(Met::Taken),
        1 => Just(Met::Refused),
        4 => (1u32..90).prop_map(Met::Failed),
        2 => (1u32..90).prop_map(Met::Limited),
        1 => Just(Met::Missed),
        1 => Just(Met::Broken),
        3 => (0u64..20).prop_map(Met::Later),
    ];
    (1u8..6, any::<bool>(), met)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_gate_lets_everyone_through_in_the_end_and_strangers_change_nothing_for_the_good(
        all in proptest::collection::vec(met(), 1..80),
    ) {
        // The same twice: once with what strangers do, once without, but for their successes.
        let (mut both, mut alone) = (Scene::new(), Scene::new());
        alone.now = both.now;
        for (who, strange, met) in all {
            let caller = if strange { stranger(who + 100) } else { good(who) };
            for (scene, without) in [(&mut both, false), (&mut alone, true)] {
                let hidden = without && strange && !matches!(met, Met::Taken(_) | Met::Later(_));
                if hidden {
                    continue;
                }
                match met {
                    Met::Taken(form) => scene.take(caller, form),
                    Met::Refused => scene.with(caller, Form::Batch, true, |gate, now, asking, _| {
                            _ = gate.answer(now, asking);
                        }),
                    Met::Failed(pause) => drop(scene.fail(caller, pause)),
                    Met::Limited(pause) => drop(scene.limit(caller, pause)),
                    Met::Missed => drop(scene.miss(caller)),
                    Met::Broken => scene.with(caller, Form::Batch, true, |gate, _, asking, _| gate.end_probe(asking.lane)),
                    Met::Later(seconds) => scene.now += Duration::from_secs(seconds),
                }
            }
            let asked = (both.admit_batch(good(who)), alone.admit_batch(good(who)));
            prop_assert_eq!(asked.0, asked.1);
        }
        // Whatever was, time and answers free everybody.
        both.now += Duration::from_hours(2);
        for who in (1..6).chain(1..6) {
            if both.admit(good(who)) == Pass::Go {
                both.take(good(who), Form::Batch);
            }
            both.now += Duration::from_mins(1);
        }
        for who in 1..6 {
            prop_assert_eq!(both.admit_batch(good(who)), Pass::Go);
        }
    }
}
