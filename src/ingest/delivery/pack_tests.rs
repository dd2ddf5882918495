use super::*;
use crate::event::{Context, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Owner, UserId};
use crate::ingest::lanes::window::{ENVELOPE_BYTES, Lanes, Rules};
use crate::template::Path;
use proptest::prelude::*;

#[derive(Debug)]
struct Sized {
    seq: u64,
    id: EventId,
    lane: LaneKey,
    bytes: usize,
}

impl Entry for Sized {
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
        Context::bare(Keys::of(self.lane.credential)).owner(false)
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn priority(&self) -> bool {
        false
    }
    fn field(&self, _: &Path) -> Option<&[u8]> {
        // Ids that begin alike are about the same.
        self.id.as_str().as_bytes().get(..1)
    }
    fn has_single(&self) -> bool {
        false
    }
}

impl Parcel for Batch<Sized> {
    type Event = Sized;
    fn batch(&self) -> &Self {
        self
    }
}

const ROOM: Room = Room {
    max_events: 5,
    max_bytes: 300,
    envelope: ENVELOPE_BYTES,
    wait: Duration::from_secs(1),
    distinct: Vec::new(),
};

fn rules() -> Rules {
    Rules {
        window: Duration::from_secs(5),
        flush_at: 100,
        max_events: ROOM.max_events,
        max_bytes: ROOM.max_bytes,
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
        give_up_after: Duration::from_secs(60),
        token_margin: Duration::from_secs(1),
    }
}

/// One user's sealed window: its events' ids and sizes.
fn parcel(user: &str, events: &[(&str, usize)]) -> Batch<Sized> {
    let lane = LaneKey {
        group: GroupIndex(0),
        user: UserId::try_new(user).unwrap(),
        credential: Fingerprint([1; 16]),
    };
    let mut lanes = Lanes::new(vec![rules()], 10);
    let now = Instant::now();
    for (seq, (id, bytes)) in (1..).zip(events) {
        lanes.push(
            now,
            Sized {
                seq,
                id: EventId::try_new(id).unwrap(),
                lane: lane.clone(),
                bytes: *bytes,
            },
        );
    }
    lanes.tick(now + Duration::from_secs(5));
    let mut batch = lanes.take_ready().pop_front().unwrap();
    // Sealed by its time: nobody waits for it.
    batch.awaited = false;
    batch
}

fn users(load: &[Batch<Sized>]) -> Vec<&str> {
    load.iter().map(|batch| batch.key.user.as_str()).collect()
}

#[test]
fn windows_of_several_users_leave_together_when_the_first_has_waited_long_enough() {
    let (mut packer, now) = (Packer::new(ROOM), Instant::now());
    assert!(packer.push(now, parcel("a", &[("1", 50)])).is_empty());
    assert!(
        packer
            .push(now + Duration::from_millis(900), parcel("b", &[("2", 50)]))
            .is_empty()
    );
    assert_eq!(packer.deadline(), Some(now + ROOM.wait));
    assert!(packer.tick(now + Duration::from_millis(999)).is_none());
    assert_eq!(users(&packer.tick(now + ROOM.wait).unwrap()), ["a", "b"]);
    assert!(packer.tick(now + 2 * ROOM.wait).is_none() && packer.deadline().is_none());
}

#[test]
fn a_full_an_awaited_and_a_suspected_window_do_not_wait() {
    let (mut packer, now) = (Packer::new(ROOM), Instant::now());
    packer.push(now, parcel("a", &[("1", 50), ("2", 50), ("3", 50)]));
    let loads = packer.push(now, parcel("b", &[("4", 50), ("5", 50)]));
    assert_eq!(
        loads.iter().map(|load| users(load)).collect::<Vec<_>>(),
        [["a", "b"]],
        "five events are all it holds"
    );
    packer.push(now, parcel("a", &[("1", 50)]));
    let loads = packer.push(
        now,
        Batch {
            alone: true,
            ..parcel("b", &[("2", 50)])
        },
    );
    assert_eq!(
        loads.iter().map(|load| users(load)).collect::<Vec<_>>(),
        [["b"]],
        "a suspect shares with nobody"
    );
    assert!(
        packer
            .push(
                now,
                Batch {
                    awaited: true,
                    ..parcel("c", &[("3", 50)])
                }
            )
            .is_empty()
    );
    assert!(
        packer
            .push(
                now,
                Batch {
                    awaited: true,
                    ..parcel("d", &[("4", 50)])
                }
            )
            .is_empty()
    );
    assert_eq!(
        users(&packer.tick(now).unwrap()),
        ["a", "c", "d"],
        "what is there by then goes along"
    );
}

#[test]
fn no_batch_holds_a_distinct_value_twice_whoevers_it_is() {
    let room = Room {
        distinct: vec![Path::of(&["kind"])],
        ..ROOM
    };
    let (mut packer, now) = (Packer::new(room), Instant::now());
    packer.push(now, parcel("a", &[("x1", 50)]));
    let loads = packer.push(now, parcel("b", &[("x2", 50)]));
    assert_eq!(
        loads.iter().map(|load| users(load)).collect::<Vec<_>>(),
        [["a"]]
    );
    assert!(packer.push(now, parcel("c", &[("y", 50)])).is_empty());
}

#[test]
fn one_id_goes_once_in_a_batch_whoevers_it_is() {
    let (mut packer, now) = (Packer::new(ROOM), Instant::now());
    packer.push(now, parcel("a", &[("1", 50)]));
    let loads = packer.push(now, parcel("b", &[("1", 50)]));
    assert_eq!(
        loads.iter().map(|load| users(load)).collect::<Vec<_>>(),
        [["a"]]
    );
    assert_eq!(users(&packer.take().unwrap()), ["b"]);
}

#[test]
fn whoever_is_waited_for_takes_along_what_it_is_packed_with() {
    let (mut packer, now) = (Packer::new(ROOM), Instant::now());
    packer.push(now, parcel("a", &[("1", 50)]));
    packer.push(now, parcel("b", &[("2", 50)]));
    assert!(
        packer
            .take_if(|batch| batch.key.user.as_str() == "c")
            .is_none()
    );
    assert_eq!(
        users(
            &packer
                .take_if(|batch| batch.key.user.as_str() == "b")
                .unwrap()
        ),
        ["a", "b"]
    );
}

proptest! {
    #[test]
    fn every_window_leaves_once_and_no_load_exceeds_the_limits(
        windows in proptest::collection::vec((proptest::collection::vec((0u8..40, 20usize..90), 1..4), any::<bool>()), 1..40),
    ) {
        let (mut packer, now) = (Packer::new(ROOM), Instant::now());
        let mut loads = Vec::new();
        let mut count = 0;
        for (number, (events, awaited)) in windows.into_iter().enumerate() {
            let named: Vec<_> = events.iter().map(|(id, bytes)| (id.to_string(), *bytes)).collect();
            // A user's own ids differ: what repeats is a duplicate before it is kept.
            let mut seen = HashSet::new();
            let named: Vec<_> = named.iter().filter(|(id, _)| seen.insert(id)).map(|(id, bytes)| (&**id, *bytes)).collect();
            let batch = Batch { awaited, ..parcel(&format!("u{number}"), &named) };
            count += 1;
            loads.extend(packer.push(now, batch));
        }
        loads.extend(packer.take());
        prop_assert_eq!(loads.iter().map(Vec::len).sum::<usize>(), count);
        for load in &loads {
            let sizes: Vec<_> = load.iter().flat_map(|batch| &batch.events).map(|queued| queued.entry.bytes).collect();
            let ids: HashSet<_> = load.iter().flat_map(|batch| &batch.events).map(|queued| &queued.entry.id).collect();
            prop_assert_eq!(ids.len(), sizes.len());
            prop_assert!(sizes.len() <= ROOM.max_events);
            prop_assert!(ROOM.envelope + sizes.iter().sum::<usize>() + sizes.len() - 1 <= ROOM.max_bytes);
        }
    }
}
