//! That lanes are found, and looked at in time, whatever others have come and gone.

use super::*;

/// One lane of each of so many users of one principal, with an event each, all kept at this moment.
fn crowd(lanes: &mut Lanes<Model>, now: Instant, users: u8) {
    (1..=users).for_each(|user| lanes.push(now, event(u64::from(user), user, 1)));
}

/// Sends a user's only window, and has it taken.
fn settle_user(lanes: &mut Lanes<Model>, now: Instant, user: u8) {
    lanes.barrier(&asker(user, 1), &only());
    let batch = one(lanes);
    accept(lanes, now, batch);
}

#[test]
fn lanes_that_are_due_in_one_millisecond_all_go_whatever_left_before() {
    for (gone, later) in [
        (vec![1], 6),
        (vec![3, 1], 5),
        (vec![6, 5], 1),
        (vec![2, 4, 6], 7),
    ] {
        let now = Instant::now();
        let mut lanes = lanes(rules());
        crowd(&mut lanes, now, 6);
        gone.iter()
            .for_each(|user| settle_user(&mut lanes, now, *user));
        (7..=9).for_each(|user| lanes.push(now, event(u64::from(user), user, 1)));
        settle_user(&mut lanes, now, later);
        lanes.tick(now + WINDOW);
        let mut left = ready(&mut lanes).concat();
        left.sort_unstable();
        let wanted = (1..=9).filter(|user| !gone.contains(user) && *user != later);
        assert_eq!(left, wanted.map(u64::from).collect::<Vec<_>>());
        assert_eq!(lanes.next_wake(), None);
    }
}

#[test]
fn of_many_lanes_that_are_due_at_once_so_many_are_looked_at_as_is_asked() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    crowd(&mut lanes, now, 5);
    let due = now + WINDOW;
    assert!(lanes.tick_some(due, 2));
    assert_eq!(
        (lanes.take_ready().len(), lanes.next_wake()),
        (2, Some(due))
    );
    // One that goes otherwise meanwhile goes once.
    lanes.barrier(&asker(1, 1), &only());
    let meanwhile = lanes.take_ready().len();
    assert!(lanes.tick_some(due, 2) && lanes.tick_some(due, 2));
    assert_eq!(
        (lanes.take_ready().len() + meanwhile, lanes.next_wake()),
        (3, None)
    );
    assert!(!lanes.tick_some(due, 2));
}

#[test]
fn a_principals_lanes_are_found_under_all_its_users_whatever_went_before() {
    for gone in [
        vec![1],
        vec![5],
        vec![3],
        vec![5, 1],
        vec![2, 1],
        vec![4, 3],
        vec![2, 3, 4],
    ] {
        let now = Instant::now();
        let mut lanes = lanes(rules());
        crowd(&mut lanes, now, 5);
        gone.iter()
            .for_each(|user| settle_user(&mut lanes, now, *user));
        // One that comes after the others went.
        lanes.push(now, event(9, 9, 1));
        lanes.barrier(
            &Asker {
                user: None,
                ..asker(1, 1)
            },
            &only(),
        );
        let mut sealed = ready(&mut lanes).concat();
        sealed.sort_unstable();
        let wanted = (1..=5)
            .filter(|user| !gone.contains(user))
            .chain([9])
            .map(u64::from);
        assert_eq!(sealed, wanted.collect::<Vec<_>>(), "without {gone:?}");
    }
}

#[test]
fn a_lane_is_found_again_by_each_part_of_its_key_and_by_no_other() {
    let now = Instant::now();
    let mut lanes = Lanes::new(vec![rules(), rules()], 1_000);
    let in_group = |group, made: Model| Model {
        lane: LaneKey {
            group: GroupIndex(group),
            ..made.lane
        },
        ..made
    };
    for round in 0..3 {
        let first = 4 * round;
        lanes.push(now, event(first + 1, 1, 1));
        lanes.push(now, event(first + 2, 2, 1));
        lanes.push(now, event(first + 3, 1, 2));
        lanes.push(now, in_group(1, event(first + 4, 1, 1)));
        assert_eq!((lanes.len(), ready(&mut lanes).len()), (4, 0));
    }
    // One that is gone comes again.
    settle_user(&mut lanes, now, 2);
    assert_eq!(lanes.len(), 3);
    lanes.push(now, event(13, 2, 1));
    assert_eq!(lanes.len(), 4);
}

#[test]
fn pieces_of_the_places_hold_all_lanes_and_the_oldest_of_their_events() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    crowd(&mut lanes, now, 5);
    settle_user(&mut lanes, now, 2);
    let later = now + Duration::from_secs(1);
    lanes.push(later, event(9, 9, 1));
    assert_eq!(lanes.slots(), 5, "a place is taken again");
    let oldest = |slots| lanes.oldest_in(slots);
    assert_eq!(
        (oldest(1..2), oldest(0..5), oldest(5..9)),
        (Some(later), Some(now), None)
    );
    lanes.seal_all_in(0..2);
    assert_eq!(lanes.take_ready().len(), 2);
    lanes.seal_all_in(2..9);
    assert_eq!(lanes.take_ready().len(), 3);
}

#[test]
fn a_lane_takes_few_bytes() {
    // Its events are in boxes of their own.
    assert!(size_of::<Lane<Box<Model>>>() <= 328);
}

#[test]
fn each_window_is_counted_once_under_why_it_was_sealed() {
    let now = Instant::now();
    let mut lanes = lanes(rules());
    for seq in 1..=4 {
        lanes.push(now, event(seq, 1, 1));
    }
    let urgent = Model {
        priority: true,
        ..event(5, 2, 2)
    };
    lanes.push(now, urgent);
    for seq in 6..=7 {
        let large = Model {
            bytes: 250,
            ..event(seq, 3, 3)
        };
        lanes.push(now, large);
    }
    lanes.push(now, event(8, 4, 4));
    lanes.tick(now + WINDOW);
    lanes.push(now + WINDOW, event(9, 5, 5));
    lanes.seal_all();
    // Nothing is open any more.
    lanes.seal_all();
    let counted: Vec<_> = lanes
        .seals()
        .each()
        .filter(|(_, count)| *count > 0)
        .collect();
    let once = [
        Seal::Deadline,
        Seal::Count,
        Seal::Bytes,
        Seal::Priority,
        Seal::Asked,
    ];
    assert_eq!(counted, once.map(|why| (why, 1)));
    let places = Seal::ALL.map(|why| why as usize);
    assert_eq!(
        places,
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        "the order of ALL is that of the places"
    );
}
