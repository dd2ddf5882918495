use super::*;
use crate::event::{
    Carried, Context, Event, EventId, GroupIndex, Keys, LaneKey, Principal, Texts, UserId,
};
use crate::ingest::accept::shares::{Bounds, Shares};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const PLENTY: u64 = 1 << 30;

fn reputation() -> Arc<Reputation> {
    let shares = Shares::new(Bounds {
        shards: 1,
        lanes: 100,
        bytes: 100,
        listeners: 100,
        user_events: 100,
    });
    Arc::new(Reputation::new(
        1,
        None,
        Duration::from_secs(60),
        None,
        100,
        Arc::new(shares),
    ))
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// A letter of a principal, from an address, of so many bytes and some more.
fn letter(key: u64, principal: u8, from: u8, bytes: usize) -> DeadLetter {
    let credential = Fingerprint([principal; 16]);
    let context = Context::bare(Keys::of(credential));
    let carried = Carried {
        client: address(from),
        ..Carried::bare(None)
    };
    let event = Event {
        texts: Texts::new(
            &EventId::try_new(&key.to_string()).unwrap(),
            vec![b' '; bytes],
            carried.pack(),
        ),
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new("u").unwrap(),
            credential,
        },
        context: Arc::new(context),
        claimed: false,
        has_single: false,
        tags: [].into(),
        priority: false,
        received_at: SystemTime::UNIX_EPOCH,
        token_life: None,
        subject: None,
        content: 0,
    };
    let (group, reason) = ("g".into(), "refused".into());
    DeadLetter {
        key,
        group,
        event,
        seen: [0; 16],
        reason,
        attempts: 0,
        status: 0,
        died_ms: 0,
        lost: false,
        answer: None,
    }
}

fn keys_of(dead: &DeadLetters) -> Vec<u64> {
    dead.list(&Selection::default())
        .iter()
        .map(|shown| shown.key)
        .collect()
}

fn gone(gone: Gone) -> Vec<u64> {
    gone.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn while_there_is_room_nothing_goes_and_then_the_oldest_does() {
    let dead = DeadLetters::new(4, PLENTY, reputation());
    // Two strangers are no more than half.
    for (key, principal) in [(1, 1), (2, 9), (3, 2), (4, 9)] {
        if principal == 9 {
            dead.reputation
                .vouch(Principal([9; 16]), false, GroupIndex(0));
        }
        assert!(dead.bury(letter(key, principal, 1, 10)).is_empty());
    }
    assert_eq!(gone(dead.bury(letter(5, 9, 1, 10))), [1]);
    assert_eq!((keys_of(&dead), dead.count().1), (vec![2, 3, 4, 5], 1));
}

#[test]
fn strangers_letters_push_out_no_good_principals_and_the_address_that_has_most_loses_first() {
    let dead = DeadLetters::new(8, PLENTY, reputation());
    dead.reputation
        .vouch(Principal([200; 16]), false, GroupIndex(0));
    for key in 1..=4 {
        dead.bury(letter(key, 200, 9, 10));
    }
    for key in 5..=7 {
        assert!(
            dead.bury(letter(key, u8::try_from(key).unwrap(), 1, 10))
                .is_empty()
        );
    }
    assert!(dead.bury(letter(8, 8, 2, 10)).is_empty());
    assert_eq!(
        gone(dead.bury(letter(9, 9, 1, 10))),
        [5],
        "of the address that has three"
    );
    for key in 10..=100 {
        assert_eq!(
            dead.bury(letter(key, u8::try_from(key).unwrap(), 1, 10))
                .len(),
            1
        );
    }
    assert_eq!(keys_of(&dead), [1, 2, 3, 4, 8, 98, 99, 100]);
    assert_eq!(
        gone(dead.bury(letter(101, 200, 9, 10))),
        [1],
        "strangers have a half, and keep it"
    );
}

#[test]
fn a_letter_whose_principal_became_good_is_no_strangers_any_more() {
    let dead = DeadLetters::new(4, PLENTY, reputation());
    for key in 1..=4 {
        dead.bury(letter(key, u8::try_from(key).unwrap(), 1, 10));
    }
    for principal in [1, 2] {
        dead.reputation
            .vouch(Principal([principal; 16]), false, GroupIndex(0));
    }
    assert_eq!(gone(dead.bury(letter(5, 5, 2, 10))), [3]);
    dead.remove(4);
    assert!(
        dead.bury(letter(6, 6, 1, 10)).is_empty(),
        "one that was taken away makes room"
    );
    assert_eq!(keys_of(&dead), [1, 2, 5, 6]);
}

#[test]
fn letters_are_bounded_in_bytes_and_one_that_can_have_no_room_takes_nobodys() {
    // A letter of 1,000 bytes takes under 2,000.
    let dead = DeadLetters::new(1_000, 20_000, reputation());
    for key in 1..=100 {
        dead.bury(letter(key, 1, 1, 1_000));
    }
    let kept = dead.list(&Selection::default()).len();
    assert!((10..=19).contains(&kept), "{kept}");
    assert_eq!(gone(dead.bury(letter(101, 1, 1, 30_000))), [101]);
    assert_eq!(
        (dead.list(&Selection::default()).len(), dead.count().1),
        (kept, 101 - kept as u64)
    );
}

#[test]
fn digits_name_a_key_and_never_an_id_that_a_client_chose() {
    let dead = DeadLetters::new(16, PLENTY, reputation());
    let named = |key, id: &str| {
        let letter = letter(key, 1, 1, 10);
        let (id, event) = (EventId::try_new(id).unwrap(), &letter.event);
        DeadLetter {
            event: Event {
                texts: Texts::new(&id, event.json(), event.carried()),
                ..letter.event.clone()
            },
            ..letter
        }
    };
    let ids = ["a", "1", "id:1", "a", "+1", "007"];
    for (key, id) in (1..).zip(ids) {
        dead.bury(named(key, id));
    }
    let found = |name: &str| {
        dead.find(&Selection {
            name: Some(name.to_owned()),
            ..Selection::default()
        })
        .iter()
        .map(|letter| letter.key)
        .collect::<Vec<_>>()
    };
    assert_eq!(
        (found("1"), found("2"), found("9")),
        (vec![1], vec![2], vec![])
    );
    assert_eq!(
        (found("id:1"), found("id:id:1"), found("id:a"), found("a")),
        (vec![2], vec![3], vec![1, 4], vec![1, 4])
    );
    assert_eq!((found("+1"), found("007")), (vec![5], vec![6]));
}

#[test]
fn letters_are_meant_by_reason_and_group_and_both() {
    let dead = DeadLetters::new(16, PLENTY, reputation());
    for (key, reason, group) in [(1, "a", "g"), (2, "b", "g"), (3, "a", "h")] {
        dead.bury(DeadLetter {
            reason: reason.into(),
            group: group.into(),
            ..letter(key, 1, 1, 10)
        });
    }
    let found = |reason: Option<&str>, group: Option<&str>| {
        let meant = Selection {
            reason: reason.map(str::to_owned),
            group: group.map(str::to_owned),
            ..Selection::default()
        };
        let listed: Vec<_> = dead.list(&meant).iter().map(|shown| shown.key).collect();
        let newest = dead.list_newest(&meant, 9).len();
        assert_eq!(newest, listed.len());
        listed
    };
    assert_eq!(found(None, None), [1, 2, 3]);
    assert_eq!(found(Some("a"), None), [1, 3]);
    assert_eq!(found(None, Some("g")), [1, 2]);
    assert_eq!(found(Some("a"), Some("g")), [1]);
    assert!(found(Some("c"), None).is_empty());
}

#[test]
fn the_piles_sums_are_what_a_recount_finds() {
    let dead = DeadLetters::new(16, PLENTY, reputation());
    for key in 1..=200 {
        let number = u8::try_from(key).unwrap();
        dead.bury(letter(key, number % 7, number % 3, 10));
        if key % 5 == 0 {
            dead.reputation
                .vouch(Principal([number % 7; 16]), false, GroupIndex(0));
        }
        if key % 4 == 0 {
            dead.remove(key - 2);
        }
        let pile = dead.pile.lock();
        let strangers = pile.letters.values().filter(|kept| kept.address.is_some());
        assert_eq!(
            pile.weight,
            pile.letters.values().map(|kept| kept.weight).sum::<u64>()
        );
        assert_eq!(
            pile.strangers.weight,
            strangers.map(|kept| kept.weight).sum::<u64>()
        );
        assert_eq!(pile.strangers.order.len(), pile.strangers.addresses.len());
        assert!(pile.letters.len() <= 16);
    }
    assert!(
        dead.find(&Selection::default())
            .iter()
            .all(|letter| dead.remove(letter.key))
    );
    let pile = dead.pile.lock();
    assert_eq!(
        (
            pile.weight,
            pile.strangers.weight,
            pile.strangers.addresses.len()
        ),
        (0, 0, 0)
    );
    assert!(pile.strangers.order.is_empty());
}
