//! What must hold when all is over.

use super::upstream::{Book, Known, is_bad};
use super::{Acked, Done, Letter, Scene};
use std::collections::{HashMap, HashSet};
use tidegate::metrics::Ledger;

/// Everything that is wrong, in words.
pub fn faults(
    scene: Scene,
    book: &Book,
    done: &[Done],
    dead: &[Letter],
    ledger: &Ledger,
) -> Vec<String> {
    let mut found = book.wrong.clone();
    for (lane, acked) in done.iter().flat_map(|done| &done.acked) {
        losses(scene, book, acked, dead, &mut found);
        let kept: Vec<&Acked> = acked.iter().filter(|one| !one.forwarded).collect();
        order(scene, book, lane, &kept, &mut found);
    }
    conservation(done, dead, ledger, &mut found);
    found
}

/// P1: what was acknowledged was applied, or is a dead letter that the upstream asked for.
fn losses(scene: Scene, book: &Book, acked: &[Acked], dead: &[Letter], found: &mut Vec<String>) {
    let dead: HashMap<&String, &String> = dead
        .iter()
        .map(|letter| (&letter.id, &letter.why))
        .collect();
    let applied = |id: &str| book.events.get(id).is_some_and(|known| known.applied > 0);
    let mut newer = HashSet::new();
    for event in acked.iter().rev() {
        let there = applied(&event.id);
        // A newer one of its lesson stands for it where the scene says so.
        let replaced = scene.supersedes && newer.contains(&event.lesson);
        if there {
            newer.insert(event.lesson);
        }
        let died_of = dead.get(&event.id);
        match (is_bad(&event.id), died_of.is_some()) {
            (true, true) if !there => {}
            (true, false) if replaced && !there => {}
            (false, false) if there || replaced => {}
            (bad, _) => found.push(format!(
                "{}: bad {bad}, dead letter {died_of:?}, applied {there}",
                event.id
            )),
        }
    }
}

/// Events that may have gone in the stead of a newer one that the upstream refused for good: the
/// last good one of its lesson before it, and what was refused in between.
fn heirs<'a>(scene: Scene, acked: &[&'a Acked]) -> HashSet<&'a str> {
    let mut runs: HashMap<u32, Vec<&str>> = HashMap::new();
    let mut heirs = HashSet::new();
    for event in acked.iter().filter(|_| scene.supersedes) {
        let run = runs.entry(event.lesson).or_default();
        if is_bad(&event.id) {
            heirs.extend(run.iter().copied());
        } else {
            run.clear();
        }
        run.push(&event.id);
    }
    heirs
}

/// P4: first offers and first applications come in the order of acknowledgement, but for events
/// that the upstream itself let others pass, and for those that a forwarded call brought.
fn order(scene: Scene, book: &Book, lane: &str, acked: &[&Acked], found: &mut Vec<String>) {
    let heirs = heirs(scene, acked);
    let offers = book.offers.get(lane).map(Vec::as_slice).unwrap_or_default();
    let offers: Vec<&String> = offers.iter().filter(|id| !heirs.contains(&***id)).collect();
    let offered: HashSet<&String> = offers.iter().copied().collect();
    let wanted = acked
        .iter()
        .map(|one| &one.id)
        .filter(|id| !heirs.contains(&***id));
    let wanted: Vec<&String> = wanted
        .filter(|id| !scene.supersedes || offered.contains(id))
        .collect();
    if offers != wanted {
        let at = offers
            .iter()
            .zip(&wanted)
            .position(|(offer, acked)| offer != acked);
        let at = at.unwrap_or(offers.len().min(wanted.len()));
        let near = |ids: &[&String]| {
            ids.iter()
                .skip(at)
                .take(3)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        found.push(format!(
            "{lane}: offered {:?} where {:?} came next",
            near(&offers),
            near(&wanted)
        ));
    }
    let free = |known: &Known| known.forwarded || known.excused;
    let applied = book
        .order
        .get(lane)
        .into_iter()
        .flatten()
        .filter(|id| !heirs.contains(&***id));
    let applied: Vec<_> = applied
        .filter(|id| book.events.get(*id).is_some_and(|known| !free(known)))
        .collect();
    if let Some(pair) = applied.windows(2).find(|pair| pair[0] >= pair[1]) {
        found.push(format!(
            "{lane}: {} was applied before {}",
            pair[0], pair[1]
        ));
    }
}

/// P2: each acknowledgement is one received event, each event has one outcome.
fn conservation(done: &[Done], dead: &[Letter], ledger: &Ledger, found: &mut Vec<String>) {
    let repeats: u64 = done.iter().map(|done| done.repeats).sum();
    let acked = done.iter().flat_map(|done| done.acked.values().flatten());
    let acked = acked.filter(|one| !one.forwarded).count() as u64;
    if !ledger.balances() || ledger.pending > 0 || ledger.received != acked + repeats {
        found.push(format!(
            "{acked} events and {repeats} repeats were acknowledged: {ledger}"
        ));
    }
    let letters: HashSet<&String> = dead.iter().map(|letter| &letter.id).collect();
    let letters = letters.len();
    if letters != dead.len() || letters as u64 != ledger.dead || ledger.duplicate < repeats {
        found.push(format!(
            "{} dead letters of {letters} events: {ledger}",
            dead.len()
        ));
    }
}
