use super::renewals::RENEWALS;
use super::*;
use crate::ingest::accept::shares::Bounds;

const ADA: Principal = Principal([1; 16]);
const NOBODY: Principal = Principal([2; 16]);
const HERE: GroupIndex = GroupIndex(0);
const THERE: GroupIndex = GroupIndex(1);

fn shares() -> Arc<Shares> {
    Arc::new(Shares::new(Bounds {
        shards: 1,
        lanes: 100,
        bytes: 100,
        listeners: 100,
        user_events: 100,
    }))
}

#[test]
fn a_proof_holds_where_it_was_given_until_a_refusal() {
    let known = Reputation::new(
        2,
        Some(Duration::from_secs(60)),
        Duration::from_secs(60),
        None,
        100,
        shares(),
    );
    assert!(!known.is_proven(ADA, HERE));
    assert_eq!(
        known.vouch(ADA, false, HERE),
        Vouched {
            was_refused: false,
            is_news: true,
            opens: false
        }
    );
    assert!(known.is_proven(ADA, HERE) && known.is_good(ADA, HERE));
    assert!(!known.is_proven(ADA, THERE) && !known.is_good(ADA, THERE));
    known.refuse(ADA, RefusedBy::Unauthorized);
    assert!(known.is_refused(ADA) && !known.is_proven(ADA, HERE) && !known.is_good(ADA, HERE));
    assert_eq!(
        known.vouch(ADA, false, HERE),
        Vouched {
            was_refused: true,
            is_news: true,
            opens: false
        }
    );
}

/// A principal of its own for each number.
fn numbered(number: u32) -> Principal {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Principal(bytes)
}

#[test]
fn what_is_new_is_remembered_though_there_is_room_for_no_more_and_older_ones_are_used() {
    let most = 80;
    let minute = Duration::from_secs(60);
    let known = Reputation::new(1, Some(minute), minute, Some(minute), most, shares());
    for next in 0..2_000 {
        let (refused, good) = (numbered(2 * next), numbered(2 * next + 1));
        known.refuse(refused, RefusedBy::Unauthorized);
        known.vouch(good, false, HERE);
        known.renewals.note(good);
        known.settle_maps();
        for older in 0..20.min(next) {
            let (refused, good) = (numbered(2 * older), numbered(2 * older + 1));
            // Used, whatever it says.
            let found = (known.is_refused(refused), known.is_proven(good, HERE));
            let wanted = known.renewals.is_wanted(good);
            assert!(!wanted, "{found:?}");
        }
        assert!(known.is_refused(refused), "{next}");
        assert!(known.is_proven(good, HERE), "{next}");
        assert!(known.renewals.is_known(good), "{next}");
    }
}

#[test]
fn where_strangers_are_taken_a_success_proves_nothing_of_a_name() {
    let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
    known.vouch(ADA, false, HERE);
    assert!(known.is_good(ADA, HERE));
    assert!(
        known.vouch(NOBODY, true, HERE).opens && !known.vouch(NOBODY, true, HERE).opens,
        "once"
    );
    assert!(
        !known.is_good(ADA, HERE) && !known.is_good_anywhere(ADA),
        "anybody is taken there"
    );
}

#[test]
fn what_a_read_proved_holds_for_its_group_until_the_read_answers_a_stranger() {
    let known = Reputation::new(
        2,
        Some(Duration::from_secs(60)),
        Duration::from_secs(60),
        None,
        100,
        shares(),
    );
    let [strict, other] = [ReadIndex(0), ReadIndex(1)];
    assert!(known.vouch_by_read(ADA, strict, HERE) && !known.vouch_by_read(ADA, strict, HERE));
    assert!(known.is_good(ADA, HERE) && known.is_proven(ADA, HERE) && known.is_good_anywhere(ADA));
    assert!(!known.is_good(ADA, THERE) && !known.is_proven(ADA, THERE));
    assert!(known.open_read(other) && !known.open_read(other));
    assert!(
        !known.vouch_by_read(ADA, other, THERE) && !known.is_good(ADA, THERE),
        "it is open"
    );
    assert!(known.is_good(ADA, HERE), "another route is open");
    known.open_read(strict);
    assert!(
        !known.is_good(ADA, HERE) && !known.is_proven(ADA, HERE) && !known.was_taken(ADA, HERE)
    );
    assert!(!known.is_good_anywhere(ADA));
    known.vouch(ADA, false, HERE);
    assert!(known.is_good(ADA, HERE), "a call of the group's own");
}

#[test]
fn a_refusal_holds_in_each_group_until_a_success_there() {
    let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
    known.refuse(ADA, RefusedBy::Unauthorized);
    assert!(known.vouch(ADA, false, HERE).was_refused);
    assert!(!known.is_refused_in(ADA, HERE) && known.is_good(ADA, HERE));
    assert!(
        known.is_refused_in(ADA, THERE),
        "a success elsewhere says nothing of it"
    );
    assert!(!known.vouch_by_read(ADA, ReadIndex(0), THERE) && !known.is_good(ADA, THERE));
    assert!(!known.is_refused(ADA), "something of it was taken");
    assert!(known.vouch(ADA, false, THERE).was_refused && !known.is_refused_in(ADA, THERE));
    known.refuse_again(ADA, THERE);
    assert!(
        known.is_refused_in(ADA, THERE)
            && !known.is_refused_in(ADA, HERE)
            && !known.is_good(ADA, THERE)
    );
    assert!(known.vouch(ADA, false, THERE).was_refused && known.is_good(ADA, THERE));
}

#[test]
fn the_application_does_not_know_who_was_refused_by_401_last_and_nowhere_taken_since() {
    let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
    known.refuse(ADA, RefusedBy::Forbidden);
    assert!(known.is_refused(ADA) && !known.is_unknown(ADA));
    known.refuse(ADA, RefusedBy::Unauthorized);
    assert!(known.is_refused(ADA) && known.is_unknown(ADA));
    known.vouch(ADA, false, HERE);
    assert!(!known.is_unknown(ADA) && !known.is_unknown(NOBODY));
    known.refuse_again(ADA, HERE);
    assert!(known.is_unknown(ADA), "as it was");
}

#[test]
fn a_read_makes_nobody_good_who_is_refused() {
    let known = Reputation::new(1, None, Duration::from_secs(60), None, 100, shares());
    known.refuse(ADA, RefusedBy::Unauthorized);
    assert!(!known.vouch_by_read(ADA, ReadIndex(0), HERE));
    assert!(known.is_refused(ADA) && !known.is_good(ADA, HERE));
}

#[test]
fn of_many_read_routes_those_beyond_the_places_count_as_one() {
    let known = Reputation::new(1, None, Duration::from_secs(60), None, 100, shares());
    known.vouch_by_read(ADA, ReadIndex(70), HERE);
    known.open_read(ReadIndex(3));
    assert!(known.is_good(ADA, HERE));
    known.open_read(ReadIndex(99));
    assert!(!known.is_good(ADA, HERE) && known.is_open_read(ReadIndex(70)));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_when_an_answer_asks_for_it_once_a_minute() {
    let known = Reputation::new(1, None, Duration::from_hours(1), None, 100, shares());
    assert!(!known.wants_renewal(ADA));
    known.ask_renewal(ADA);
    assert!(known.wants_renewal(ADA) && !known.wants_renewal(ADA));
    known.ask_renewal(ADA);
    assert!(!known.wants_renewal(ADA));
    tokio::time::advance(RENEWALS).await;
    assert!(known.wants_renewal(ADA));
}
