//! What is remembered of windows and attempts.

use super::*;

fn attempts(trace: &Trace) -> Vec<(&'static str, u32)> {
    let all = trace.attempts.iter();
    all.map(|attempt| (attempt.verdict, attempt.events))
        .collect()
}

#[test]
fn each_window_is_remembered_with_why_it_was_sealed() {
    let now = Instant::now();
    let sealed_by = |lanes: &mut Lanes<Model>, seq: u64| {
        let batch = one(lanes);
        accept(lanes, now, batch);
        let window = lanes.trace(seq).window.unwrap();
        assert_eq!(window.opened, now);
        window.cause
    };
    let mut all = lanes(rules());
    (1..=4).for_each(|seq| all.push(now, event(seq, 1, 1)));
    assert_eq!(sealed_by(&mut all, 2), "count");
    let large = Model {
        bytes: 287,
        ..event(5, 1, 1)
    };
    all.push(now, large);
    assert_eq!(sealed_by(&mut all, 5), "bytes");
    let priority = Model {
        priority: true,
        ..event(6, 1, 1)
    };
    all.push(now, priority);
    assert_eq!(sealed_by(&mut all, 6), "priority");
    all.push(now, event(7, 1, 1));
    all.seal_all();
    assert_eq!(sealed_by(&mut all, 7), "asked");
    all.push(now, event(8, 1, 1));
    all.tick(now + WINDOW);
    assert_eq!(sealed_by(&mut all, 8), "deadline");
    assert!(all.trace(9).window.is_none());
}

#[test]
fn an_events_attempts_are_those_of_the_batches_that_it_was_in() {
    let now = Instant::now();
    let mut all = lanes(rules());
    (1..=4).for_each(|seq| all.push(now, event(seq, 1, 1)));
    let whole = one(&mut all);
    let (id, pause) = (whole.id, Duration::ZERO);
    all.verdict(now, whole, Verdict::Deferred { pause }, pause);
    all.tick(now);
    let whole = one(&mut all);
    all.verdict(now, whole, Verdict::Retry { pause }, pause);
    all.tick(now);
    let whole = one(&mut all);
    let named = Vec::new();
    all.verdict(now, whole, Verdict::Refused { named }, pause);
    while let Some(batch) = all.take_ready().pop_front() {
        accept(&mut all, now, batch);
    }
    for seq in 1..=4 {
        let trace = all.trace(seq);
        assert_eq!(
            attempts(&trace),
            [("retry", 4), ("refused", 4), ("answered", 2)]
        );
        let [first, second, third] = [0, 1, 2].map(|place| trace.attempts[place].batch);
        assert!(first == id && second == id && third != id);
    }
}

#[test]
fn the_oldest_attempts_are_forgotten_and_a_long_batch_is_found_while_it_is_whole() {
    let now = Instant::now();
    let mut all = lanes(rules());
    for seq in 1..=10_000 {
        all.push(now, event(seq, 1, 1));
        all.seal_all();
        let batch = one(&mut all);
        accept(&mut all, now, batch);
        all.take_settled();
    }
    assert!(all.trace(1).attempts.is_empty() && all.trace(1).window.is_none());
    assert_eq!(attempts(&all.trace(10_000)), [("answered", 1)]);
    assert!(all.trace(10_000).window.is_some());
}

#[test]
fn a_pending_event_is_found_with_what_it_waits_for() {
    let now = Instant::now();
    let mut all = lanes(rules());
    let find = |all: &Lanes<Model>, seq: u64| {
        let (mut found, mut flights) = (Vec::new(), 0);
        let id = event(seq, 1, 1).id;
        let see = |one: Found<'_, Model>| found.push((one.entry.seq, one.wait.as_str()));
        let shown = all.find_in(0..all.slots(), (id.as_str(), 7), see, |_| flights += 1);
        assert_eq!(shown, found.len());
        (found, flights)
    };
    all.push(now, event(1, 1, 1));
    assert_eq!(find(&all, 1), (vec![(1, "window")], 0));
    assert_eq!(find(&all, 2), (vec![], 0));
    all.seal_all();
    let batch = one(&mut all);
    assert_eq!(find(&all, 1), (vec![], 1), "it is on its way");
    (2..=5).for_each(|seq| all.push(now, event(seq, 1, 1)));
    assert_eq!(find(&all, 2), (vec![(2, "order")], 1));
    let pause = Duration::from_secs(1);
    all.verdict(now, batch, Verdict::Retry { pause }, pause);
    assert_eq!(find(&all, 1), (vec![(1, "backoff")], 0));
    all.tick(now + pause);
    let batch = one(&mut all);
    all.verdict(now, batch, Verdict::Rejected, pause);
    assert_eq!(find(&all, 1), (vec![(1, "credential")], 0));
}
