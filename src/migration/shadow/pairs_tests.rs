use super::*;
use crate::event::{Fingerprint, GroupIndex, UserId};
use crate::memory::Memory;
use http::HeaderMap;

const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    pairs: Pairs,
    memory: Memory,
    now: Instant,
}

fn told(status: u16) -> Told {
    Told {
        status,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        is_whole: true,
    }
}

fn key(user: &str, id: &str) -> EventKey {
    EventKey {
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new(user).unwrap(),
            credential: Fingerprint([0; 16]),
        },
        principal: Principal([7; 16]),
        id: EventId::try_new(id).unwrap(),
    }
}

impl Scene {
    fn new() -> Self {
        Self {
            pairs: Pairs::default(),
            memory: Memory::new(1 << 20),
            now: Instant::now(),
        }
    }

    /// A call of this event; none: of one that is known.
    fn open(&mut self, ticket: Ticket, event: Option<&EventKey>) {
        let mut room = self.memory.unnamed().lease();
        room.resize(1_000).unwrap();
        let acknowledged = Acknowledged {
            predicted: told(202),
            event: event.map_or_else(|| EventId::try_new("known").unwrap(), |key| key.id.clone()),
            is_repetition: event.is_none(),
            missed: Vec::new(),
        };
        let is_open = self
            .pairs
            .open((ticket, 0), event.cloned(), acknowledged, (self.now, room));
        assert!(is_open);
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Compared> {
        let answered = self.pairs.answer(ticket, told(200), (MINUTE, None));
        answered.map(|(_, compared)| compared)
    }

    fn settle(&mut self, key: &EventKey, batched: Batched) -> Option<Compared> {
        let settled = self.pairs.settle(key, batched, self.now + MINUTE);
        settled.map(|(_, compared)| compared)
    }

    fn is_empty(&self) -> bool {
        self.pairs.open.is_empty()
            && self.pairs.by_event.is_empty()
            && self.memory.usage().bytes == 0
    }
}

#[test]
fn an_event_is_compared_once_both_ways_are_known_whichever_comes_first() {
    for answer_first in [true, false] {
        let (mut scene, event) = (Scene::new(), key("u", "a"));
        scene.open(1, Some(&event));
        scene
            .pairs
            .deliver(std::slice::from_ref(&event), MINUTE, None);
        let compared = if answer_first {
            assert!(scene.answer(1).is_none());
            scene.settle(&event, Batched::Taken)
        } else {
            assert!(scene.settle(&event, Batched::Taken).is_none());
            scene.answer(1)
        };
        let compared = compared.unwrap();
        assert_eq!(compared.batched, Some(Batched::Taken));
        assert_eq!(
            (compared.batch_took, compared.waited),
            (Some(MINUTE), Some(MINUTE))
        );
        assert!(!compared.is_out_of_order && !compared.is_repetition);
        assert!(scene.is_empty());
        assert!(scene.answer(1).is_none() && scene.settle(&event, Batched::Taken).is_none());
    }
}

#[test]
fn a_repetition_waits_for_its_answer_only() {
    let mut scene = Scene::new();
    scene.open(1, None);
    let compared = scene.answer(1).unwrap();
    assert!(compared.is_repetition && compared.batched.is_none());
    assert!(scene.is_empty());
}

#[test]
fn one_id_of_two_users_is_two_events() {
    let (mut scene, u, v) = (Scene::new(), key("u", "same"), key("v", "same"));
    scene.open(1, Some(&u));
    scene.open(2, Some(&v));
    assert!(scene.settle(&v, Batched::Duplicate).is_none());
    assert!(scene.settle(&u, Batched::Taken).is_none());
    assert_eq!(scene.answer(1).unwrap().batched, Some(Batched::Taken));
    assert_eq!(scene.answer(2).unwrap().batched, Some(Batched::Duplicate));
    assert!(scene.is_empty());
}

#[test]
fn what_is_given_up_leaves_nothing_behind() {
    let (mut scene, gone, late) = (Scene::new(), key("u", "gone"), key("u", "late"));
    scene.open(1, Some(&gone));
    scene.open(2, Some(&late));
    assert_eq!(scene.pairs.forget(1), Some(0));
    assert_eq!(scene.pairs.forget(1), None);
    assert!(scene.settle(&gone, Batched::Taken).is_none());
    assert!(scene.answer(2).is_none());
    let soon = scene.now + Duration::from_secs(59);
    assert!(scene.pairs.sweep(soon, MINUTE).is_empty());
    assert_eq!(scene.pairs.sweep(scene.now + MINUTE, MINUTE), [0]);
    assert!(scene.is_empty());
}

#[test]
fn a_call_that_is_given_up_takes_nothing_of_one_with_its_id_that_came_after_it() {
    let (mut scene, event) = (Scene::new(), key("u", "a"));
    scene.open(1, Some(&event));
    scene.open(2, Some(&event));
    scene.pairs.forget(1);
    assert!(scene.settle(&event, Batched::Taken).is_none());
    assert_eq!(scene.answer(2).unwrap().batched, Some(Batched::Taken));
    assert!(scene.is_empty());
}

#[test]
fn an_event_that_is_offered_after_a_later_one_of_its_lane_is_out_of_order() {
    let (mut scene, a, b, other) = (Scene::new(), key("u", "a"), key("u", "b"), key("v", "c"));
    for (ticket, event) in [(10, &a), (9, &b), (8, &other)] {
        scene.open(ticket, Some(event));
    }
    for event in [&b, &other, &a] {
        scene
            .pairs
            .deliver(std::slice::from_ref(event), MINUTE, None);
    }
    // Once more, as after a failure: only the first offer counts.
    scene.pairs.deliver(&[a.clone(), b.clone()], MINUTE, None);
    let mut is_out = |event: &EventKey, ticket| {
        scene.settle(event, Batched::Taken);
        scene.answer(ticket).unwrap().is_out_of_order
    };
    assert!(is_out(&a, 10));
    assert!(!is_out(&b, 9) && !is_out(&other, 8));
}

#[test]
fn a_contract_that_was_broken_once_is_told_whatever_became_of_the_pieces() {
    let (mut scene, event) = (Scene::new(), key("u", "a"));
    scene.open(1, Some(&event));
    scene
        .pairs
        .deliver(std::slice::from_ref(&event), MINUTE, Some("too many"));
    scene
        .pairs
        .deliver(std::slice::from_ref(&event), MINUTE, None);
    scene.settle(&event, Batched::Supposed);
    let compared = scene.answer(1).unwrap();
    assert_eq!(compared.batched, Some(Batched::Broken("too many".into())));
}

#[test]
fn beyond_its_bound_no_call_is_opened() {
    let mut scene = Scene::new();
    for ticket in 0..MOST as u64 {
        let room = scene.memory.unnamed().lease();
        let acknowledged = Acknowledged {
            predicted: told(202),
            event: EventId::try_new("e").unwrap(),
            is_repetition: true,
            missed: Vec::new(),
        };
        let opened = scene
            .pairs
            .open((ticket, 0), None, acknowledged, (scene.now, room));
        assert!(opened);
    }
    let room = scene.memory.unnamed().lease();
    let acknowledged = Acknowledged {
        predicted: told(202),
        event: EventId::try_new("e").unwrap(),
        is_repetition: true,
        missed: Vec::new(),
    };
    let last = (MOST as u64, 0);
    assert!(
        !scene
            .pairs
            .open(last, None, acknowledged, (scene.now, room))
    );
}
