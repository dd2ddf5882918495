use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const BOUNDS: Bounds = Bounds {
    shards: 2,
    lanes: 32,
    bytes: 8_000,
    listeners: 16,
    user_events: 1_000,
};

fn shares() -> Arc<Shares> {
    Arc::new(Shares::new(BOUNDS))
}

fn address(number: u8) -> Address {
    Address::of(Ipv4Addr::new(192, 0, 2, number).into())
}

fn holder(principal: u8, from: u8) -> Holder {
    Holder {
        principal: Principal([principal; 16]),
        address: address(from),
    }
}

const fn event(shard: u32, lane: u64, bytes: u64) -> Takes {
    Takes::Event {
        shard,
        lane: LaneHash(lane),
        user: UserHash(lane / 2),
        bytes,
    }
}

#[test]
fn an_address_is_an_ipv4_address_or_a_site_of_ipv6_addresses() {
    let of = |text: &str| Address::of(text.parse().unwrap());
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::"));
    assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
}

#[test]
fn strangers_have_half_of_a_bound_and_those_of_one_address_a_quarter_of_that() {
    let shares = shares();
    let take = |who: u8, from: u8, shard: u32| {
        shares.take(holder(who, from), event(shard, 0, 1), || false)
    };
    // 32 lanes of a shard: 16 for strangers, 4 for an address.
    let mut held: Vec<_> = (0..4).map(|who| take(who, 1, 0).unwrap()).collect();
    assert_eq!(take(4, 1, 0).unwrap_err(), NoShare::Strangers);
    held.push(take(4, 1, 1).unwrap());
    held.extend((0..12).map(|who| take(10 + who, 2 + who / 4, 0).unwrap()));
    assert_eq!(
        take(30, 9, 0).unwrap_err(),
        NoShare::Strangers,
        "of an address that holds nothing"
    );
    assert_eq!(
        shares.held(),
        HeldByStrangers {
            lanes: 17,
            bytes: 17,
            listeners: 0,
            calls: 0
        }
    );
    let good = || shares.take(holder(31, 1), event(0, 0, 1), || true);
    held.extend((0..100).map(|_| good().unwrap()));
    assert_eq!(shares.held().lanes, 17, "the good count nowhere");
    drop(held);
    assert_eq!(shares.held(), HeldByStrangers::default());
}

#[test]
fn events_of_one_lane_take_one_lane_and_each_its_bytes() {
    let shares = shares();
    let take = |bytes| shares.take(holder(1, 1), event(0, 7, bytes), || false);
    let held: Vec<_> = (0..10).map(|_| take(100).unwrap()).collect();
    assert_eq!(
        shares.held(),
        HeldByStrangers {
            lanes: 1,
            bytes: 1_000,
            listeners: 0,
            calls: 0
        }
    );
    // 8,000 bytes: 4,000 for strangers, 1,000 for an address.
    assert_eq!(take(1).unwrap_err(), NoShare::Strangers);
    assert_eq!(
        shares
            .take(holder(2, 1), event(0, 8, 1), || false)
            .unwrap_err(),
        NoShare::Strangers
    );
    assert_eq!(
        shares.held().lanes,
        1,
        "of what doesn't fit no part is kept"
    );
    drop(held);
    assert!(take(1).is_ok());
}

#[test]
fn one_user_of_a_principal_has_a_bound_of_its_own_in_each_group_good_or_not() {
    let shares = Arc::new(Shares::new(Bounds {
        user_events: 2,
        ..BOUNDS
    }));
    for good in [true, false] {
        let take = |who, lane| shares.take(holder(who, 1), event(0, lane, 1), || good);
        // Lanes 0 and 1 are of one user, 2 is another's.
        let held = [take(1, 0).unwrap(), take(1, 1).unwrap()];
        assert_eq!(take(1, 0).unwrap_err(), NoShare::User);
        assert!(take(1, 2).is_ok() && take(2, 0).is_ok());
        drop(held);
        assert!(take(1, 0).is_ok());
    }
}

#[test]
fn listeners_nothing_speaks_for_have_a_share_too() {
    let shares = shares();
    let listen = |who, from| shares.take(holder(who, from), Takes::Listener, || false);
    let held = [listen(1, 1).unwrap(), listen(2, 1).unwrap()];
    assert_eq!(listen(3, 1).unwrap_err(), NoShare::Strangers);
    assert!(listen(3, 2).is_ok());
    assert_eq!(shares.held().listeners, 2);
    drop(held);
}

#[test]
fn calls_that_wait_are_bounded_for_each_good_principal_and_for_the_strangers_of_each_address() {
    let shares = shares();
    let call = |who, from, good| shares.take(holder(who, from), Takes::Call, || good);
    let of_address = WAITING_CALLS / TOGETHER / OF_ONE_ADDRESS;
    let held: Vec<_> = (0..of_address)
        .map(|number| call(u8::from(number % 2 == 0), 1, false).unwrap())
        .collect();
    assert_eq!(call(2, 1, false).unwrap_err(), NoShare::Strangers);
    assert_eq!(shares.held().calls, of_address);
    let own: Vec<_> = (0..OF_ONE_PRINCIPAL)
        .map(|number| call(8, 1 + (number % 3) as u8, true).unwrap())
        .collect();
    assert_eq!(
        call(8, 9, true).unwrap_err(),
        NoShare::User,
        "from whatever address"
    );
    assert!(call(2, 2, false).is_ok() && call(9, 1, true).is_ok());
    drop((held, own));
    assert!(call(8, 9, true).is_ok() && call(2, 1, false).is_ok());
}

#[test]
fn what_a_start_finds_counts_whatever_there_is() {
    let shares = shares();
    let found: Vec<_> = (0..20)
        .map(|who| shares.adopt(holder(who, 1), event(0, 0, 500), || false))
        .collect();
    assert_eq!(
        shares.held(),
        HeldByStrangers {
            lanes: 20,
            bytes: 10_000,
            listeners: 0,
            calls: 0
        }
    );
    assert_eq!(
        shares
            .take(holder(30, 2), event(1, 0, 1), || false)
            .unwrap_err(),
        NoShare::Strangers
    );
    drop(found);
    assert!(shares.take(holder(30, 2), event(1, 0, 1), || false).is_ok());
}

#[test]
fn shares_of_events_of_one_lane_go_back_as_one_and_others_each() {
    let shares = shares();
    let take = |who, lane, bytes| {
        shares
            .take(holder(who, 1), event(0, lane, bytes), || false)
            .unwrap()
    };
    let mut held = [
        take(1, 0, 1),
        take(1, 0, 2),
        take(1, 1, 4),
        take(1, 1, 8),
        take(2, 1, 16),
        take(2, 1, 32),
    ];
    let one_more = take(1, 1, 64);
    Share::join(&mut held);
    assert_eq!(held.each_ref().map(|share| share.count), [2, 0, 2, 0, 2, 0]);
    assert_eq!(shares.held().bytes, 127, "nothing is back yet");
    drop(held);
    assert_eq!(
        shares.held(),
        HeldByStrangers {
            lanes: 1,
            bytes: 64,
            listeners: 0,
            calls: 0
        }
    );
    drop(one_more);
    assert_eq!(shares.held(), HeldByStrangers::default());
}

#[derive(Debug, Clone)]
enum Step {
    Take(u8, u8, Takes),
    Adopt(u8, u8, Takes),
    /// An outcome, a dead letter's too; a caller that left; a listener that did.
    Drop(usize),
    /// Outcomes of so many events at once.
    DropTogether(usize, usize),
    Vouch(u8),
    Refuse(u8),
}

fn takes() -> impl Strategy<Value = Takes> {
    prop_oneof![
        6 => (0..2u32, 0..3u64, 1..400u64).prop_map(|(shard, lane, bytes)| event(shard, lane, bytes)),
        2 => (1..400u64).prop_map(|bytes| Takes::Context { bytes }),
        1 => Just(Takes::Listener),
        1 => Just(Takes::Call),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6u8, 0..3u8, takes()).prop_map(|(who, from, takes)| Step::Take(who, from, takes)),
        1 => (0..6u8, 0..3u8, takes()).prop_map(|(who, from, takes)| Step::Adopt(who, from, takes)),
        6 => any::<usize>().prop_map(Step::Drop),
        2 => (any::<usize>(), 1..8usize).prop_map(|(place, count)| Step::DropTogether(place, count)),
        2 => (0..6u8).prop_map(Step::Vouch),
        2 => (0..6u8).prop_map(Step::Refuse),
    ];
    proptest::collection::vec(step, 1..120)
}

/// The strangers' sums, counted anew from the shares that are out.
fn recount(held: &[(u8, u8, Takes, Share)], good: &HashSet<u8>) -> HashMap<(Address, Bound), u64> {
    let mut sums = HashMap::new();
    let mut lanes = HashSet::new();
    for (who, from, takes, _) in held.iter().filter(|(who, ..)| !good.contains(who)) {
        let mut add = |bound, amount| *sums.entry((address(*from), bound)).or_default() += amount;
        match takes {
            Takes::Event {
                shard, lane, bytes, ..
            } => {
                add(Bound::Bytes, *bytes);
                if lanes.insert((*who, *from, *shard, *lane)) {
                    add(Bound::Lanes(*shard), 1);
                }
            }
            Takes::Context { bytes } => add(Bound::Bytes, *bytes),
            Takes::Listener => add(Bound::Listeners, 1),
            Takes::Call => add(Bound::Calls, 1),
        }
    }
    sums
}

fn sums(shares: &Shares) -> HashMap<(Address, Bound), u64> {
    shares
        .strangers
        .addresses
        .iter()
        .flat_map(|shelf| shelf.lock().clone())
        .collect()
}

/// All strangers' sum of each bound, from the sums by address.
fn total(sums: &HashMap<(Address, Bound), u64>) -> HeldByStrangers {
    let mut out = HeldByStrangers::default();
    for ((_, bound), amount) in sums {
        match bound {
            Bound::Bytes => out.bytes += amount,
            Bound::Listeners => out.listeners += amount,
            Bound::Calls => out.calls += amount,
            Bound::Lanes(_) => out.lanes += amount,
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_strangers_hold_is_always_what_a_recount_finds_and_nothing_at_the_end(steps in steps()) {
        let shares = shares();
        let mut good = HashSet::new();
        let mut held: Vec<(u8, u8, Takes, Share)> = Vec::new();
        for step in steps {
            match step {
                Step::Take(who, from, takes) => {
                    let before = sums(&shares);
                    let is_good = good.contains(&who);
                    match shares.take(holder(who, from), takes, || is_good) {
                        Ok(share) => {
                            held.push((who, from, takes, share));
                            let (after, together) = (sums(&shares), total(&sums(&shares)));
                            // Whoever's share grew stays within it.
                            for ((from, bound), amount) in &after {
                                let grew = before.get(&(*from, *bound)).is_none_or(|before| before < amount);
                                prop_assert!(!grew || *amount <= BOUNDS.shares(*bound).1);
                            }
                            let grew = total(&before).bytes < together.bytes;
                            prop_assert!(!grew || together.bytes <= BOUNDS.bytes / 2);
                        }
                        Err(_) => prop_assert!(!is_good),
                    }
                }
                Step::Adopt(who, from, takes) => {
                    let is_good = good.contains(&who);
                    held.push((who, from, takes, shares.adopt(holder(who, from), takes, || is_good)));
                }
                Step::Drop(place) if !held.is_empty() => drop(held.swap_remove(place % held.len())),
                Step::DropTogether(place, count) if !held.is_empty() => {
                    let place = place % held.len();
                    let mut gone: Vec<_> = held.drain(place..held.len().min(place + count)).collect();
                    Share::join(gone.iter_mut().map(|(.., share)| share));
                }
                Step::Drop(_) | Step::DropTogether(..) => {}
                Step::Vouch(who) => {
                    good.insert(who);
                    shares.reconsider(Principal([who; 16]), || true);
                }
                Step::Refuse(who) => {
                    good.remove(&who);
                    shares.reconsider(Principal([who; 16]), || false);
                }
            }
            let counted = recount(&held, &good);
            prop_assert_eq!(&sums(&shares), &counted);
            prop_assert_eq!(shares.held(), total(&counted));
        }
        held.clear();
        prop_assert!(sums(&shares).is_empty());
        prop_assert_eq!(shares.held(), HeldByStrangers::default());
        prop_assert!(shares.accounts.iter().all(|shelf| shelf.lock().is_empty()));
    }
}
