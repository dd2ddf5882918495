use super::*;
use std::time::Duration;

const LIMIT: u64 = 8 << 20;
const MIB: usize = 1 << 20;

fn principal(number: u8) -> Principal {
    Principal([number; 16])
}

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

/// A lease of so much, if there is room.
fn lease(share: &Share, bytes: usize) -> Result<Lease, NoRoom> {
    let mut lease = share.lease();
    lease.resize(bytes).map(|()| lease)
}

#[test]
fn a_caller_has_a_quarter_and_cannot_use_up_anothers() {
    let memory = Memory::new(LIMIT);
    let (one, other) = (
        memory.share(principal(1), None),
        memory.share(principal(2), None),
    );
    let kept: Vec<_> = std::iter::from_fn(|| lease(&one, MIB / 4).ok()).collect();
    // A quarter, less the eighth that is kept back.
    assert_eq!(kept.len(), 7);
    assert_eq!(one.largest(), 7 * MIB as u64 / 4);
    assert!(
        lease(&other, MIB).is_ok(),
        "another caller has its own share"
    );
    assert_eq!(memory.usage().bytes, 7 * MIB as u64 / 4);
    drop(kept);
    assert_eq!(memory.usage().bytes, 0);
    assert_eq!(memory.usage().highest, 11 * MIB as u64 / 4);
}

#[test]
fn callers_that_nothing_speaks_for_share_a_half_by_address_and_leave_the_rest_to_others() {
    let memory = Memory::new(LIMIT);
    let forged = |number| memory.share(principal(number), address(1));
    let kept: Vec<_> = (1..20)
        .filter_map(|number| lease(&forged(number), MIB).ok())
        .collect();
    assert_eq!(kept.len(), 3, "a half, less what is kept back");
    assert!(
        lease(&memory.share(principal(20), address(2)), MIB).is_ok(),
        "another address"
    );
    assert!(
        lease(&memory.share(principal(21), None), MIB).is_ok(),
        "a principal that something speaks for"
    );
    // Any address of one IPv6 network is one subscriber's.
    let six = |text: &str| memory.share(principal(30), Some(text.parse().unwrap()));
    let (one, two) = (six("2001:db8::1"), six("2001:db8::2"));
    assert!(Arc::ptr_eq(&one.0.places[1], &two.0.places[1]));
}

#[test]
fn what_has_been_read_already_may_use_what_is_kept_back_and_never_more_than_the_limit() {
    let memory = Memory::new(LIMIT);
    let share = memory.share(principal(1), None);
    let mut first = lease(&share, 7 * MIB / 4).unwrap();
    assert_eq!(first.resize(2 * MIB), Err(NoRoom));
    assert_eq!(first.stretch(2 * MIB), Ok(()));
    assert_eq!(first.stretch(2 * MIB + 1), Err(NoRoom));
    assert_eq!(
        (first.bytes(), memory.usage().bytes),
        (2 * MIB as u64, 2 * MIB as u64)
    );
    assert_eq!(memory.usage().no_room, 2);
}

#[test]
fn a_lease_that_finds_its_caller_counts_there_and_among_all_bodies_once() {
    let memory = Memory::new(LIMIT);
    let share = memory.share(principal(1), address(1));
    let large = lease(memory.unnamed(), 2 * MIB)
        .unwrap()
        .give_to(&share)
        .unwrap();
    assert!(large.is_named());
    assert_eq!(memory.usage().bytes, 2 * MIB as u64);
    let small = lease(memory.unnamed(), 1)
        .unwrap()
        .give_to(&share)
        .unwrap_err();
    assert!(!small.is_named(), "its caller has no room for it");
    drop(large);
    assert_eq!(memory.usage().bytes, 1);
    let small = small.give_to(&share).unwrap();
    drop((small, share));
    assert_eq!((memory.usage().bytes, memory.usage().callers), (0, 0));
}

#[test]
fn a_place_is_there_as_long_as_something_of_its_caller_is() {
    let memory = Memory::new(LIMIT);
    let kept = lease(&memory.share(principal(1), address(1)), 1).unwrap();
    drop(memory.share(principal(1), None));
    assert_eq!(memory.usage().callers, 2);
    assert!(
        lease(&memory.share(principal(1), None), 7 * MIB / 4).is_err(),
        "what it has counts"
    );
    drop(kept);
    assert_eq!(memory.usage().callers, 0);
}

#[test]
fn bytes_that_are_bound_keep_their_room_until_the_last_of_them_is_gone() {
    let memory = Memory::new(LIMIT);
    let mut whole = lease(&memory.share(principal(1), None), 10).unwrap();
    let tail = whole.split_off(4);
    let bytes = whole.bind(Bytes::from_static(b"abcdef"));
    let part = bytes.slice(2..3);
    drop(bytes);
    assert_eq!((memory.usage().bytes, &*part), (10, &b"c"[..]));
    drop(tail);
    assert_eq!(memory.usage().bytes, 6);
    drop(part);
    assert_eq!(memory.usage().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn all_that_wait_for_room_get_it_when_there_is_some() {
    let memory = Memory::new(LIMIT);
    let share = memory.share(principal(1), None);
    let first = lease(&share, 7 * MIB / 4).unwrap();
    let wait = |share: Share| async move {
        share.free(1_000).await;
        lease(&share, 1_000).unwrap()
    };
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(wait(share.clone()))).collect();
    // Those that give up take no wake-up along.
    assert!(
        tokio::time::timeout(Duration::from_secs(1), share.free(1))
            .await
            .is_err()
    );
    drop(first);
    // All of them keep what they have got, so that no return of it wakes the next.
    let mut kept = Vec::new();
    for one in waiting {
        kept.push(
            tokio::time::timeout(Duration::from_secs(1), one)
                .await
                .expect("it is woken")
                .unwrap(),
        );
    }
    assert_eq!(memory.usage().bytes, 10_000);
}
