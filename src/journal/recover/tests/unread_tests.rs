//! Starts at which the disk can't read one file, whichever that is.

use super::*;

/// What is done between two starts, or a start.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Settle(u8),
    Chores,
    /// A kill, and a start that can't read the n-th file, if any.
    Start(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Append),
        5 => any::<u8>().prop_map(Step::Settle),
        2 => Just(Step::Chores),
        3 => proptest::option::of(any::<u8>()).prop_map(Step::Start),
    ]
}

/// The next process. Where it can read everything, what is pending is what is owed, and nothing is
/// said to be wrong.
fn start_again(world: &mut World, left_out: &mut LeftOut, unread: Option<u8>) {
    lead_if_free(&world.shared);
    world.disk.kill();
    let files = world.disk.list().unwrap();
    let unread =
        unread.and_then(|which| files.get(usize::from(which) % files.len().max(1)).copied());
    world.disk.0.lock().unread = unread;
    let mut opened = look_through_from(&world.disk, left_out);
    opened.ask_refusals(Arc::new(world.known.clone()), &groups());
    *left_out = opened.left_out(left_out);
    assert_eq!(opened.bad(), 0);
    world.pending.clear();
    opened.each_event(&groups(), |stored| {
        let credential = stored.event.lane.credential;
        let id = stored.event.id().to_owned();
        world
            .pending
            .push((stored.seq, id, credential, stored.size));
    });
    if unread.is_none() {
        let found: BTreeSet<u64> = world.pending.iter().map(|one| one.0).collect();
        let owed: BTreeSet<u64> = world.owed.keys().copied().collect();
        assert_eq!(found, owed, "{left_out:?}");
        assert!(opened.findings.is_empty(), "{:?}", opened.findings);
        assert!(opened.missing.is_empty(), "{:?}", opened.missing);
    }
    world.start(opened);
    lead_if_free(&world.shared);
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn files_that_cannot_be_read_for_a_while_cost_nothing_that_was_acknowledged(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (mut world, mut left_out) = (World::new(Depth::Disk), LeftOut::default());
        for step in &steps {
            match step {
                Step::Append(count) => world.run(&Action::Append(*count)),
                Step::Settle(which) => world.settle(*which, false),
                Step::Chores => world.run(&Action::Chores),
                Step::Start(unread) => start_again(&mut world, &mut left_out, *unread),
            }
        }
        start_again(&mut world, &mut left_out, None);
    }
}
