//! One failure of the disk or one sequence of events at a time.

use super::*;

#[test]
fn what_was_missing_once_is_not_asked_for_again() {
    let mut world = World::new(Depth::Disk);
    (0..5).for_each(|_| world.run(&Action::Append(1)));
    let wanted = b"{\"n\":3}";
    let find = |bytes: &[u8]| {
        bytes
            .windows(wanted.len())
            .position(|window| window == wanted)
    };
    let numbers = world.disk.list().unwrap();
    let hit = numbers
        .iter()
        .find(|number| find(&world.disk.read(**number).unwrap()).is_some())
        .unwrap();
    world.disk.damage(*hit, |bytes| {
        let at = find(bytes).unwrap();
        bytes[at] ^= 1;
    });
    let opened = look_through(&world.disk);
    assert_eq!((opened.pending.len(), opened.missing.len()), (4, 1));
    let (later, ..) = start_log(opened, Depth::Disk);
    lead_if_free(&later);
    let again = look_through(&world.disk);
    assert_eq!((again.pending.len(), again.missing.len()), (4, 0));
}

#[test]
fn a_successor_is_kept_as_deep_as_an_event_before_whoever_waits_hears_of_it() {
    let disk = SimulatedDisk::default();
    let (shared, ..) = start_log(look_through(&disk), Depth::Disk);
    let mut kept = Committer::new(Arc::clone(&shared)).keep_succession(&succession(1));
    lead_if_free(&shared);
    assert_eq!(kept.try_recv(), Ok(true));
    disk.cut_power(|| Fate::Lost);
    assert_eq!(
        look_through(&disk).successors().all().collect::<Vec<_>>(),
        [&succession(1)]
    );
}

#[test]
fn a_refusal_is_kept_with_what_it_holds_and_of_no_other_caller() {
    let mut world = World::new(Depth::Disk);
    let standing = |world: &World| {
        look_through(&world.disk)
            .refusals(&groups())
            .map(|(who, _)| who)
            .collect::<Vec<_>>()
    };
    // Of the first caller's events none is for the service, and the second has none.
    world.append(3, None);
    let before = world.shared.queue().index.next;
    for who in [0, 1] {
        world.judge(who, Some(0));
    }
    assert_eq!(
        world.shared.queue().index.next,
        before,
        "nothing was written"
    );
    // What was known already is written with the first event that it holds.
    world.append(1, None);
    world.disk.cut_power(|| Fate::Lost);
    assert_eq!(standing(&world), [principal(1)]);
    world.restart(true);
    // Said again it needs no new record; with the last event it is over.
    let before = world.shared.queue().index.next;
    world.judge(1, Some(0));
    assert_eq!(world.shared.queue().index.next, before);
    world.settle(1, false);
    lead_if_free(&world.shared);
    assert_eq!(standing(&world), []);
    world.judge(1, None);
    world.append(4, None);
    assert_eq!(
        standing(&world),
        [],
        "an older refusal says nothing of a later event"
    );
    assert_eq!(world.shared.queue().index.refusals.alive(), 0);
}

/// A log with one event of the second caller, which is for the service.
fn start_with_event(disk: &SimulatedDisk) -> Arc<Shared<SimulatedDisk, Note>> {
    let (shared, ..) = start_log(look_through(disk), Depth::Disk);
    let fingerprint = Fingerprint([1; 16]);
    let event = event(1, 1);
    let sealed = shared.vault().seal(&event.context).unwrap();
    shared.queue().push(Kind::Context, Flags::default(), |out| {
        record::put_context(out, fingerprint, &sealed)
    });
    let draft = shared.draft(record::bytes(&Record::of(&event, "progress", seen(1))));
    shared.queue().push(Kind::Event, draft.flags, |out| {
        record::put_keyed(out, 0, &draft.body)
    });
    shared
}

#[test]
fn an_outcome_that_went_with_the_power_leaves_its_callers_refusal() {
    let disk = SimulatedDisk::default();
    let first = start_with_event(&disk);
    // The end of it is there, and the outcome is not.
    let over = RefusalRecord::new(principal(1), u64::MAX, true, Vec::new()).over();
    first.queue().push(Kind::Refusal, Flags::default(), |out| {
        record::put(out, &over)
    });
    lead_if_free(&first);
    let mut opened = look_through(&disk);
    let known = Known::default();
    known.0.lock().extend(opened.refusals(&groups()));
    assert!(known.refusal_of(principal(1)).is_some());
    opened.ask_refusals(Arc::new(known), &groups());
    let (later, ..) = start_log(opened, Depth::Disk);
    lead_if_free(&later);
    assert_eq!(
        later.queue().index.refusals.alive(),
        1,
        "it stands for later events too"
    );
}

#[test]
fn an_expired_successor_is_forgotten() {
    let disk = SimulatedDisk::default();
    let (first, ..) = start_log(look_through(&disk), Depth::Disk);
    let record = SuccessionRecord::of(&succession(1), 1);
    first
        .queue()
        .push(Kind::Succession, Flags::default(), |out| {
            record::put(out, &record)
        });
    lead_if_free(&first);
    let opened = look_through(&disk);
    assert_eq!(opened.successors().len(), 1);
    let (later, ..) = start_log(opened, Depth::Disk);
    later.queue().push_sums();
    lead_if_free(&later);
    assert!(later.queue().index.successors.is_empty());
}

#[test]
fn segments_go_when_what_is_in_them_is_settled_and_ids_and_numbers_outlive_them() {
    let mut world = World::new(Depth::Process);
    world.run(&Action::Append(1));
    let stuck = world.pending[0].0;
    for _ in 0..400 {
        world.run(&Action::Append(1));
        world.settle(1, false);
        world.run(&Action::Chores);
        assert!(world.disk.count() < 70, "files pile up");
    }
    world.run(&Action::Kill);
    assert_eq!(
        world
            .pending
            .iter()
            .map(|(seq, ..)| *seq)
            .collect::<Vec<_>>(),
        [stuck],
        "it keeps its number"
    );
    let opened = look_through(&world.disk);
    assert_eq!(
        opened
            .settled()
            .iter()
            .map(|(id, _)| *id)
            .collect::<BTreeSet<_>>()
            .len(),
        400
    );
    assert!(opened.origin.last > 400 && opened.findings.is_empty());
}

#[test]
fn of_more_ids_than_are_remembered_the_newest_outlive_segment_after_segment() {
    let mut world = World::new(Depth::Process);
    let rounds = 4_000;
    for _ in 0..rounds {
        world.run(&Action::Append(1));
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    lead_if_free(&world.shared);
    let opened = look_through(&world.disk);
    let known: BTreeSet<_> = opened.settled().iter().map(|(id, _)| *id).collect();
    let newest: BTreeSet<_> = (rounds - 999..=rounds).map(seen).collect();
    assert!(known.is_superset(&newest), "{} are known", known.len());
    // Beside them only those in segments that are not reclaimed: successors keep many of them.
    assert!(known.len() < 3_000, "{} are known", known.len());
    assert_eq!(opened.settled().len(), known.len(), "each of them once");
    assert_eq!(opened.sums().accepted, rounds);
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing_while_segments_are_reclaimed() {
    let mut world = World::new(Depth::Disk);
    for round in 0..60 {
        world.run(&Action::Append(3));
        world.settle(0, false);
        world.settle(0, false);
        world.run(&Action::SyncsFail(round % 3 == 0));
        world.run(&Action::Chores);
        world.run(&Action::SyncsFail(false));
    }
    world.run(&Action::CutPower(1));
}

#[test]
fn a_group_that_is_larger_than_a_ready_file_is_never_written_to_one_that_is_gone() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Chores);
    world.run(&Action::Full(true));
    let large = vec![b'x'; 5_000];
    world
        .shared
        .queue()
        .push(Kind::Succession, Flags::default(), |out| {
            out.extend_from_slice(&large)
        });
    world.run(&Action::Append(1));
    world.run(&Action::Full(false));
    world.run(&Action::Chores);
    world.run(&Action::Append(3));
    world.run(&Action::Kill);
    assert_eq!(world.pending.len(), 3);
}

#[test]
fn a_letter_whose_replay_was_refused_is_there_after_a_start_and_counted() {
    for copied in [false, true] {
        let mut world = World::new(Depth::Disk);
        world.run(&Action::Append(1));
        world.run(&Action::Settle(0, true));
        lead_if_free(&world.shared);
        world.run(&Action::SyncsFail(true));
        world.run(&Action::Replay(0));
        world.run(&Action::SyncsFail(false));
        world.run(&Action::Append(1));
        let begun = |world: &World| world.shared.queue().index.segments[0].segment;
        let first = begun(&world);
        for _ in 0..if copied { 600 } else { 0 } {
            world.run(&Action::Append(1));
            world.settle(1, false);
            world.run(&Action::Chores);
        }
        lead_if_free(&world.shared);
        assert_eq!(begun(&world) > first, copied, "its segment is reclaimed");
        let mut opened = look_through(&world.disk);
        let sums = opened.sums();
        let letters = opened.letters(&["progress".into()]);
        assert_eq!((letters.len(), sums.dead), (1, 1), "{copied}");
        assert_eq!(number_of(&letters[0].stored.event), 1);
    }
}

#[test]
fn a_replay_with_another_credential_keeps_that_ones_context_and_lets_the_letters_go() {
    for refused in [false, true] {
        let mut world = World::new(Depth::Disk);
        world.run(&Action::Append(1));
        world.run(&Action::Settle(0, true));
        lead_if_free(&world.shared);
        let (letter, number) = world.letters.iter().next().map(|(a, b)| (*a, *b)).unwrap();
        let [old, new] = [(number % 3) as u8, 9];
        world.run(&Action::SyncsFail(refused));
        world.append_of((number, new), Some((letter, old)));
        world.run(&Action::SyncsFail(false));
        let is_used = |world: &World, who: u8| {
            let queue = world.shared.queue();
            queue.index.contexts.contains_key(&Fingerprint([who; 16]))
        };
        let uses = (is_used(&world, old), is_used(&world, new));
        assert_eq!(uses, (refused, !refused), "{refused}");
        // Segments go, and what is alive in them is written again with its context.
        for _ in 0..40 {
            world.append_of((100 + world.next, 8), None);
            world.next += 1;
            // The first one after a failure may be refused.
            if let Some(newest) = world.pending.len().checked_sub(1) {
                world.settle(u8::try_from(newest).unwrap(), false);
            }
            world.run(&Action::Chores);
        }
        lead_if_free(&world.shared);
        let mut opened = look_through(&world.disk);
        let letters = opened.letters(&["progress".into()]);
        let mut found: Vec<_> = letters.iter().map(|letter| &letter.stored).collect();
        let mut events = Vec::new();
        opened.each_event(&["progress".into()], |stored| events.push(stored));
        found.extend(&events);
        let who = if refused { old } else { new };
        assert_eq!(found.len(), 1, "{refused}");
        assert_eq!(found[0].event.lane.credential, Fingerprint([who; 16]));
        assert!(found[0].has_credential, "{refused}");
    }
}

/// What became of events while the disk was full may be more than any file that there is room for then.
#[test]
fn what_waited_for_room_is_written_piece_by_piece_and_lets_the_log_shrink() {
    for dead in [true, false] {
        let mut world = World::new(Depth::Disk);
        for _ in 0..40 {
            world.run(&Action::Append(4));
        }
        world.run(&Action::Full(true));
        while !world.pending.is_empty() {
            world.settle(0, dead);
            world.run(&Action::Steps(0));
        }
        world.run(&Action::Append(1));
        assert!(world.shared.health.is_low());
        let waiting = world.shared.queue().frames.len() as u64;
        assert!(waiting > 2 * SEGMENT || !dead, "{waiting}");
        // There is some room, and no more.
        world.run(&Action::Tight(true));
        world.run(&Action::Full(false));
        for _ in 0..60 {
            world.run(&Action::Chores);
        }
        world.run(&Action::Append(1));
        assert_eq!(world.pending.len(), 1, "events are taken again");
        assert!(world.shared.queue().frames.is_empty(), "{dead}");
        world.run(&Action::Kill);
        let kept = if dead { 160 } else { 0 };
        assert_eq!((world.letters.len(), world.pending.len()), (kept, 1));
    }
}

/// Events behind more than a file has room for are refused with it, and their callers hear so.
#[test]
fn where_the_beginning_of_a_group_cannot_be_written_its_events_are_refused() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(1));
    world.run(&Action::WritesFail(Some(9)));
    let gone = DroppedLetters {
        letters: vec![900; 850],
        for_room: false,
    };
    let push = |out: &mut Vec<u8>| record::put(out, &gone);
    world
        .shared
        .queue()
        .push(Kind::Dropped, Flags::default(), push);
    // Each hears at once, or the world says so.
    world.run(&Action::Append(2));
    assert_eq!(world.pending.len(), 1);
    world.run(&Action::WritesFail(None));
    world.run(&Action::Append(1));
    world.run(&Action::Append(1));
    assert_eq!(world.pending.len(), 2);
    world.run(&Action::Kill);
}

/// An event that comes later under the same credential has a context of its own.
#[test]
fn a_letter_that_lost_its_context_takes_none_from_an_event_when_it_goes() {
    for is_dropped in [true, false] {
        let mut world = World::new(Depth::Disk);
        world.append_of((1, 1), None);
        if is_dropped {
            world.settle(0, true);
        }
        lead_if_free(&world.shared);
        let segment = world.shared.queue().index.segments[0].segment;
        world.disk.damage(segment, |bytes| {
            let before = frame::each(bytes).take_while(|(frame, _)| frame.kind != Kind::Context);
            let begin: usize = before.map(|(_, whole)| whole.len()).sum();
            bytes[begin + frame::HEADER] ^= 1;
        });
        world.disk.kill();
        world.start(look_through(&world.disk));
        let credential = Fingerprint([1; 16]);
        let is_used = |world: &World| {
            let queue = world.shared.queue();
            queue.index.contexts.contains_key(&credential)
        };
        assert!(!is_used(&world));
        world.append_of((2, 1), None);
        lead_if_free(&world.shared);
        assert!(is_used(&world));
        if is_dropped {
            let (letter, _) = world.letters.iter().next().map(|(a, b)| (*a, *b)).unwrap();
            world.committer.drop_letters(&[(letter, credential)], false);
        } else {
            world.settle(0, false);
        }
        lead_if_free(&world.shared);
        assert!(is_used(&world), "{is_dropped}");
    }
}

#[test]
fn a_segment_that_cannot_be_deleted_holds_up_those_behind_it() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::DeletesFail(true));
    for _ in 0..60 {
        world.run(&Action::Append(1));
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    world.run(&Action::Kill);
    assert!(world.pending.is_empty(), "what was settled is back");
    assert!(look_through(&world.disk).findings.is_empty());
}

#[test]
fn what_two_processes_could_not_sync_the_third_writes_again_and_nothing_that_was_refused_comes_back()
 {
    use Action::{Append, CutPower, DeletesFail, Kill, SyncsFail};
    let fails = || [SyncsFail(true), Append(1)];
    let twice = [
        &[Append(1)][..],
        &fails(),
        &[Kill],
        &fails(),
        &[Kill, Append(2), CutPower(0)],
    ]
    .concat();
    let torn = |bits| {
        [
            &[Append(16), Kill],
            &fails()[..],
            &[DeletesFail(true), Kill, CutPower(bits)],
        ]
        .concat()
    };
    for actions in [twice]
        .into_iter()
        .chain((0..200).map(|seed: u64| torn(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))))
    {
        let mut world = World::new(Depth::Disk);
        actions.iter().for_each(|action| world.run(action));
        assert!(world.orphans.is_empty());
    }
}

/// The kernel shows what a sync that failed should have made safe, until the power goes. What
/// settles an event there is written again as well: else its context goes with a segment that looks
/// dead, and the event comes back without it.
#[test]
fn an_outcome_that_was_not_synced_is_written_again_before_anything_builds_on_it() {
    let mut world = World::new(Depth::Disk);
    let segments = |world: &World| world.shared.queue().index.segments.clone();
    let others = |world: &mut World| {
        world.next += if world.next.is_multiple_of(3) { 2 } else { 1 };
        world.append(world.next, None);
    };
    // In the first segment a context; in the second the one event that needs it.
    world.run(&Action::Append(1));
    while segments(&world).len() < 2 || !world.next.is_multiple_of(3) {
        others(&mut world);
    }
    world.run(&Action::Append(1));
    while world.pending.len() > 1 {
        world.settle(0, false);
    }
    others(&mut world);
    world.run(&Action::SyncsFail(true));
    world.settle(0, false);
    others(&mut world);
    world.run(&Action::Kill);
    let oldest = segments(&world)[0];
    while segments(&world)[0] == oldest {
        others(&mut world);
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    world.run(&Action::CutPower(0));
    assert!(world.orphans.is_empty());
}

#[test]
fn an_event_is_never_acknowledged_in_a_file_whose_name_is_not_on_the_disk() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::NamesFail(true));
    world.run(&Action::Chores);
    world.run(&Action::Append(2));
    assert!(world.owed.is_empty());
    world.run(&Action::NamesFail(false));
    world.run(&Action::Chores);
    world.run(&Action::Append(2));
    assert_eq!(world.owed.len(), 2);
    world.run(&Action::CutPower(1));
    assert_eq!(world.pending.len(), 2);
}

#[test]
fn an_outage_of_the_disk_piles_up_neither_files_nor_numbers() {
    let mut world = World::new(Depth::Process);
    world.run(&Action::Append(2));
    world.run(&Action::WritesFail(Some(9)));
    world.run(&Action::Append(1));
    world.settle(0, false);
    let next = world.shared.queue().index.next;
    for _ in 0..500 {
        lead_if_free(&world.shared);
    }
    assert!(world.disk.count() < 10, "{} files", world.disk.count());
    assert!(world.shared.queue().index.next < next + 10);
    world.run(&Action::WritesFail(None));
    world.run(&Action::Kill);
    assert_eq!(world.pending.len(), 1);
}

#[test]
fn a_full_disk_leaves_the_next_start_the_files_that_are_ready() {
    let mut world = World::new(Depth::Disk);
    for _ in 0..12 {
        world.run(&Action::Append(1));
    }
    world.run(&Action::Chores);
    world.run(&Action::Full(true));
    world.disk.0.lock().stays_full = true;
    world.run(&Action::Kill);
    for _ in 0..12 {
        world.settle(0, false);
    }
    lead_if_free(&world.shared);
    assert!(!world.shared.health.is_low(), "the outcomes found room");
    let opened = look_through(&world.disk);
    assert_eq!((opened.pending.len(), opened.sums().accepted), (0, 12));
}

#[test]
fn who_waits_for_the_journal_waits_for_what_was_written_without_a_sync_as_well() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(2));
    world.settle(0, false);
    // Nobody waits for an outcome: it is written, and not synced.
    lead_if_free(&world.shared);
    let mut passed = world.committer.fence();
    lead_if_free(&world.shared);
    assert_eq!(passed.try_recv(), Ok(true));
    world.disk.cut_power(|| Fate::Lost);
    world.restart(true);
    assert_eq!(world.pending.len(), 1, "the outcome went with the power");
}

#[test]
fn a_journal_that_owes_nothing_is_well_again_when_the_disk_is() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(1));
    world.settle(0, false);
    // Nobody waits for an outcome: it is written, and not synced.
    lead_if_free(&world.shared);
    world.run(&Action::SyncsFail(true));
    let mut passed = world.committer.fence();
    lead_if_free(&world.shared);
    assert_eq!(passed.try_recv(), Ok(false));
    lead_if_free(&world.shared);
    assert!(world.shared.health.failure().is_some(), "the disk isn't");
    world.run(&Action::SyncsFail(false));
    lead_if_free(&world.shared);
    assert!(world.shared.health.failure().is_none());
    world.run(&Action::CutPower(1));
    assert_eq!(world.pending.len(), 0, "the outcome is on the disk");
}

/// Another thread may lead the group that has the copies, and have it refused, before a fence is set
/// behind them, which then passes. And the file that they are in may be one that can't be synced.
#[test]
fn a_segment_of_which_a_copy_may_be_lost_is_not_given_up() {
    for (depth, is_write) in [
        (Depth::Process, true),
        (Depth::Disk, true),
        (Depth::Process, false),
    ] {
        let disk = SimulatedDisk::default();
        let (first, ..) = start_log(look_through(&disk), depth);
        let event = event(1, 1);
        let draft = first.draft(record::bytes(&Record::of(&event, "progress", seen(1))));
        first.queue().push(Kind::Event, draft.flags, |out| {
            record::put_keyed(out, 0, &draft.body)
        });
        lead_if_free(&first);
        let opened = look_through(&disk);
        let oldest = opened.index.segments.front().unwrap().segment;
        let is_there = || disk.list().unwrap().contains(&oldest);
        let (later, ..) = start_log(opened, depth);
        let mut syncs = Syncs::new();
        let mut reclaim = Reclaim::begin(&later, &syncs).unwrap().unwrap();
        assert!(reclaim.step(&later, &mut syncs).unwrap());
        if is_write {
            // The copy goes with a group that is refused; the next one passes.
            disk.0.lock().writes_fail = Some(0);
            lead_if_free(&later);
        } else {
            lead_if_free(&later);
            later.writer().finish();
            disk.0.lock().syncs_fail = true;
            syncs.sync_full_files(&later);
        }
        disk.0.lock().clear_faults();
        while let Ok(true) = reclaim.step(&later, &mut syncs) {}
        reclaim.step(&later, &mut syncs).unwrap_err();
        assert!(is_there());
        later.set_reclaiming(false);
        let mut again = Reclaim::begin(&later, &syncs).unwrap().unwrap();
        while again.step(&later, &mut syncs).unwrap() {}
        assert!(!is_there());
        assert_eq!(look_through(&disk).pending.len(), 1);
    }
}

#[test]
fn at_disk_a_file_is_used_when_it_is_filled_and_goes_if_that_fails() {
    let mut world = World::new(Depth::Disk);
    world.thread.do_chores();
    assert_eq!(world.disk.count(), 1, "one is filled");
    world.disk.0.lock().syncs_fail = true;
    world.thread.go_on_filling();
    assert_eq!(world.disk.count(), 0, "what it holds is unknown");
    world.disk.0.lock().clear_faults();
    (0..2).for_each(|_| {
        world.thread.do_chores();
        world.thread.go_on_filling();
    });
    assert_eq!(world.disk.count(), 2);
    world.run(&Action::Append(3));
    world.thread.go_on_filling();
    world.run(&Action::CutPower(0));
    assert_eq!(world.pending.len(), 3);
}

#[test]
fn a_file_that_is_being_filled_is_there_when_the_disk_is_full() {
    let mut world = World::new(Depth::Disk);
    world.thread.do_chores();
    world.shared.health.set_low(true, "");
    world.thread.go_on_filling();
    assert_eq!(
        world.shared.writer().want_spare().map(|(number, _)| number),
        Some(2)
    );
    world.shared.health.set_low(false, "");
    assert_eq!(world.disk.count(), 1, "it is ready, and one more is wanted");
}

#[test]
fn events_are_kept_and_settled_between_the_steps_of_a_segment_that_is_reclaimed() {
    for depth in [Depth::Process, Depth::Disk] {
        let mut world = World::new(depth);
        let mut steps = 0;
        for number in 0..200_u8 {
            world.run(&Action::Append(2));
            world.settle(0, number % 9 == 0);
            world.settle(0, false);
            steps += usize::from(world.thread.is_reclaiming());
            world.run(&Action::Steps(1));
        }
        assert!(steps > 50, "{steps}");
        world.run(&Action::CutPower(3));
    }
}

/// What settles the events of a file that can't be read now lies behind it. A start that can read it
/// again must find that.
#[test]
fn while_a_file_cannot_be_read_none_behind_it_goes() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(1));
    let first = |world: &World| world.shared.queue().index.segments[0].segment;
    let unread = first(&world);
    let segments = |world: &World| world.shared.queue().index.segments.len();
    while segments(&world) < 2 {
        world.run(&Action::Append(1));
    }
    while !world.pending.is_empty() {
        world.settle(0, false);
    }
    lead_if_free(&world.shared);
    world.disk.0.lock().unread = Some(unread);
    world.start(look_through(&world.disk));
    assert_ne!(first(&world), unread, "the next one is the oldest");
    for _ in 0..300 {
        world.run(&Action::Append(1));
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    lead_if_free(&world.shared);
    world.disk.0.lock().unread = None;
    let opened = look_through(&world.disk);
    assert!(numbers(&opened).is_empty(), "what was settled is back");
    world.start(opened);
    assert_eq!(first(&world), unread);
    world.run(&Action::Chores);
    assert_ne!(first(&world), unread, "it is read and reclaimed");
}

fn newest(world: &World) -> u64 {
    world.shared.queue().index.segments.back().unwrap().segment
}

/// The disk can't read the newest of its two files.
fn world_with_an_unread_file() -> (World, u64) {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(1));
    let first = newest(&world);
    while newest(&world) == first {
        world.run(&Action::Append(1));
    }
    let unread = newest(&world);
    world.disk.0.lock().unread = Some(unread);
    (world, unread)
}

/// What a later process keeps under a number of it would be taken for the same frame, written again,
/// and passed over as soon as the file can be read.
#[test]
fn while_the_newest_file_cannot_be_read_no_number_in_it_is_given_again() {
    let (mut world, unread) = world_with_an_unread_file();
    let opened = look_through(&world.disk);
    assert_eq!(opened.unread_files, [unread]);
    world.start(opened);
    world.run(&Action::Append(9));
    world.settle(u8::try_from(world.pending.len() - 1).unwrap(), false);
    lead_if_free(&world.shared);
    // One jump is enough: the next head says where the numbers go on.
    let before = world.last_seq;
    world.start(look_through(&world.disk));
    world.run(&Action::Append(1));
    assert!(world.last_seq < before + 100, "{}", world.last_seq);
    world.disk.0.lock().unread = None;
    for _ in 0..2 {
        let opened = look_through(&world.disk);
        let owed: Vec<u64> = world.owed.keys().copied().collect();
        let found: Vec<u64> = opened.pending.keys().copied().collect();
        assert_eq!(found, owed);
        assert!(opened.missing.is_empty(), "{:?}", opened.missing);
        assert!(opened.findings.is_empty(), "{:?}", opened.findings);
        world.start(opened);
        world.run(&Action::Append(1));
    }
}

/// The file of the process that left numbers out may be the next that can't be read, and the one
/// before it can.
#[test]
fn files_that_cannot_be_read_in_turn_share_no_number() {
    let (mut world, unread) = world_with_an_unread_file();
    let opened = look_through(&world.disk);
    let mut left_out = opened.left_out(&LeftOut::default());
    assert_eq!(left_out.unread, [unread]);
    // Starts that write nothing leave out no more each time.
    for _ in 0..3 {
        let again = look_through_from(&world.disk, &left_out).left_out(&left_out);
        assert_eq!(again.last, left_out.last);
    }
    world.start(opened);
    world.run(&Action::Append(2));
    assert!(newest(&world) > unread);
    world.disk.0.lock().unread = Some(newest(&world));
    let opened = look_through_from(&world.disk, &left_out);
    left_out = opened.left_out(&left_out);
    world.start(opened);
    // Fails where a number is given again.
    world.run(&Action::Append(2));
    world.disk.0.lock().unread = None;
    let opened = look_through_from(&world.disk, &left_out);
    let found: Vec<u64> = opened.pending.keys().copied().collect();
    assert_eq!(found, world.owed.keys().copied().collect::<Vec<_>>());
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    // All could be read: from here on each may be reclaimed without a word.
    assert!(opened.left_out(&left_out).unread.is_empty());
    // One that goes while it can't be read is told of.
    world.disk.delete(left_out.unread[0]).unwrap();
    let opened = look_through_from(&world.disk, &left_out);
    let said = format!("{:?}", opened.findings);
    assert!(
        said.contains("1 files of the log that an earlier start"),
        "{said}"
    );
}

/// As an upgrade finds a directory.
#[test]
fn a_log_whose_heads_an_earlier_binary_wrote_is_no_damage() {
    let mut world = World::new(Depth::Disk);
    while world.shared.queue().index.segments.len() < 3 {
        world.run(&Action::Append(1));
    }
    world.settle(0, false);
    lead_if_free(&world.shared);
    for segment in world.disk.list().unwrap() {
        world.disk.damage(segment, |bytes| {
            // Without what says which numbers were left out: one byte, that none were.
            let Some(head) = frame::open(bytes, HEAD_SALT) else {
                return;
            };
            let (size, number, synced) = (head.size(), head.number, head.synced);
            let body = head.body[..head.body.len() - 1].to_vec();
            let mut earlier = Vec::new();
            frame::push(&mut earlier, Kind::Head, Flags::default(), number, |out| {
                out.extend_from_slice(&body)
            });
            frame::finish_all(&mut earlier, HEAD_SALT, synced);
            bytes.splice(..size, earlier);
        });
    }
    let opened = look_through(&world.disk);
    assert!(opened.findings.is_empty(), "{:?}", opened.findings);
    assert_eq!((opened.bad(), opened.to_reclaim), (0, 0));
    assert_eq!(opened.sums(), world.shared.queue().index.sums);
    assert_eq!(opened.pending.len(), world.owed.len());
}

#[test]
fn while_the_disk_does_not_answer_events_are_refused_and_it_is_told() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let mut world = World::new(Depth::Process);
    let (health, gate) = {
        let health = Arc::clone(&world.shared.health);
        (health, Arc::clone(&world.disk.0.lock().gate))
    };
    let held = gate.lock();
    let shared = Arc::clone(&world.shared);
    let hanging = std::thread::spawn(move || {
        shared.queue().push_sums();
        lead_if_free(&shared);
    });
    while health.stalled().is_none() {
        runtime.block_on(tokio::time::advance(Duration::from_secs(1)));
        std::thread::yield_now();
    }
    assert!(health.failure().unwrap().contains("has not answered"));
    assert!(!health.takes_events());
    world.run(&Action::Append(1));
    assert!(world.owed.is_empty(), "its call is forwarded");
    drop(held);
    hanging.join().unwrap();
    assert_eq!(health.failure(), None);
    world.run(&Action::Append(1));
    assert_eq!(world.owed.len(), 1);
}

#[test]
fn a_letter_that_was_replayed_stays_away_when_the_next_process_syncs() {
    let mut world = World::new(Depth::Process);
    world.run(&Action::Append(1));
    world.settle(0, true);
    world.run(&Action::Replay(0));
    world.settle(0, false);
    lead_if_free(&world.shared);
    assert_eq!(look_through(&world.disk).dead(), 0);
    world.depth = Depth::Disk;
    let first = world.shared.queue().index.segments[0].segment;
    world.start(look_through(&world.disk));
    while world.shared.queue().index.segments[0].segment == first {
        world.run(&Action::Append(1));
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    assert_eq!(look_through(&world.disk).dead(), 0, "what ended it is gone");
}

/// A process that was away for longer than a refusal is remembered, or whose clock says so.
#[test]
fn a_refusal_stands_for_the_events_that_it_holds_whatever_the_clock_says() {
    let disk = SimulatedDisk::default();
    let first = start_with_event(&disk);
    let long_ago = RefusalRecord::new(principal(1), 1, true, Vec::new());
    first.queue().push(Kind::Refusal, Flags::default(), |out| {
        record::put(out, &long_ago)
    });
    lead_if_free(&first);
    let opened = look_through(&disk);
    let standing: Vec<_> = opened.refusals(&groups()).map(|(who, _)| who).collect();
    assert_eq!(standing, [principal(1)]);
}

/// Later writes may reach the disk before earlier ones.
#[test]
fn a_power_cut_is_no_damage_of_a_file() {
    let mut gaps = 0;
    for seed in 1..300_u64 {
        let mut world = World::new(Depth::Disk);
        for _ in 0..3 {
            world.run(&Action::Append(3));
            for _ in 0..2 {
                world.settle(0, false);
                lead_if_free(&world.shared);
            }
        }
        let mut random = fastrand::Rng::with_seed(seed);
        world.disk.cut_power(|| match random.u32(..3) {
            0 => Fate::Kept,
            1 => Fate::Lost,
            _ => Fate::Torn(random.usize(..)),
        });
        let opened = look_through(&world.disk);
        assert_eq!(opened.damaged_files, [0_u64; 0], "{seed}");
        assert!(opened.findings.len() <= 1, "{seed}: {:?}", opened.findings);
        gaps += opened.findings.len();
    }
    assert!(gaps > 10, "{gaps}");
}

#[test]
fn the_pause_grows_with_attempts_that_the_segment_fails_and_with_no_others() {
    let reclaiming = || {
        let mut world = World::new(Depth::Disk);
        for _ in 0..300 {
            world.run(&Action::Append(1));
            world.settle(0, false);
        }
        world.run(&Action::Steps(0));
        assert!(world.thread.is_reclaiming());
        world
    };
    let usual = reclaiming().thread.reclaim_pause();
    let mut refused = reclaiming();
    refused.disk.0.lock().writes_fail = Some(0);
    refused.run(&Action::Append(1));
    refused.thread.go_on_reclaiming();
    assert!(!refused.thread.is_reclaiming());
    assert_eq!(refused.thread.reclaim_pause(), usual);
    let mut unread = reclaiming();
    let first = unread.shared.queue().index.segments[0].segment;
    unread.disk.0.lock().unread = Some(first);
    unread.thread.go_on_reclaiming();
    assert!(!unread.thread.is_reclaiming());
    assert_eq!(unread.thread.reclaim_pause(), 2 * usual);
}

/// Its process has it in memory, and delivers it: until then the damaged file is all that a start
/// could tell of it.
#[test]
fn a_segment_in_which_a_pending_event_is_damaged_stays_until_that_is_delivered() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Append(1));
    let first = |world: &World| world.shared.queue().index.segments[0].segment;
    let damaged = first(&world);
    for _ in 0..300 {
        world.run(&Action::Append(1));
        world.settle(1, false);
    }
    world.disk.damage(damaged, |bytes| {
        let before = frame::each(bytes).take_while(|(frame, _)| frame.kind != Kind::Event);
        let begin: usize = before.map(|(_, whole)| whole.len()).sum();
        bytes[begin + frame::HEADER] ^= 1;
    });
    let attempt = |world: &mut World| {
        world.thread = WriterThread::new(Arc::clone(&world.shared), Hold::default(), 0);
        world.run(&Action::Chores);
    };
    for _ in 0..3 {
        attempt(&mut world);
        assert_eq!(first(&world), damaged);
    }
    world.settle(0, false);
    lead_if_free(&world.shared);
    attempt(&mut world);
    assert_ne!(first(&world), damaged);
}
