//! The verdict: what the learners were promised against what the upstream saw.

use super::tally::Acknowledged;
use super::upstream::census::Book;
use std::collections::HashMap;

/// Differences between promise and fact; all zero is the promise kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Acknowledged events.
    pub acknowledged: u64,
    /// Acknowledged, but never applied by the upstream.
    pub lost: u64,
    /// Applied more than once.
    pub duplicated: u64,
    /// Offered more than once: harmless where the upstream knows ids, so no fault.
    pub offered_again: u64,
    /// Came with another user's token, or with none.
    pub foreign: u64,
    /// Progress applied after something newer of the same lesson.
    pub out_of_order: u64,
}

impl Audit {
    /// Compares. `promised` is in the order of the acknowledgements.
    #[must_use]
    pub fn of(promised: &[Acknowledged], book: &Book) -> Self {
        let mut audit = Self { acknowledged: promised.len() as u64, ..Self::default() };
        for event in promised {
            let sighting = book.sightings.get(&event.id);
            let (offered, applied) = sighting.map_or((0, 0), |sighting| (sighting.offered, sighting.applied));
            let stranger = sighting.is_some_and(|sighting| sighting.users.iter().any(|user| **user != *event.user));
            audit.lost += u64::from(applied == 0);
            audit.duplicated += u64::from(applied > 1);
            audit.offered_again += u64::from(offered > 1);
            audit.foreign += u64::from(stranger);
        }
        audit.out_of_order = out_of_order(promised, book);
        audit
    }

    /// Whether the run may be called good.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.foreign == 0
    }
}

fn out_of_order(promised: &[Acknowledged], book: &Book) -> u64 {
    let places: HashMap<&str, usize> = promised.iter().enumerate().map(|(place, event)| (&*event.id, place)).collect();
    let late = |ids: &Vec<Box<str>>| {
        let mut newest = 0;
        let mut late = 0_u64;
        for place in ids.iter().filter_map(|id| places.get(&**id).copied()) {
            late += u64::from(place < newest);
            newest = newest.max(place);
        }
        late
    };
    book.order.values().map(late).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::upstream::census::{Census, Offer};

    fn promised(ids: &[&str]) -> Vec<Acknowledged> {
        let event = |id: &&str| Acknowledged { id: (*id).into(), user: "ada".into(), lesson: Some("l1".into()) };
        ids.iter().map(event).collect()
    }

    fn audit(ids: &[&str], offers: &[(&str, &str, bool)]) -> Audit {
        let census = Census::default();
        for &(id, token, applied) in offers {
            census.offer(Offer { id, token, applied, lesson: Some(("ada", "l1")) });
        }
        census.look(|book| Audit::of(&promised(ids), book))
    }

    #[test]
    fn each_broken_promise_is_counted_under_its_name() {
        let clean = Audit { acknowledged: 3, ..Audit::default() };
        let ids = &["a", "b", "c"];
        let all = [("a", "ada", true), ("b", "ada", true), ("c", "ada", true)];
        assert_eq!(audit(ids, &all), clean);
        assert_eq!(audit(ids, &all[..2]), Audit { lost: 1, ..clean }, "never seen");
        let refused = [all[0], all[1], ("c", "ada", false)];
        assert_eq!(audit(ids, &refused), Audit { lost: 1, ..clean }, "seen, not applied");
        let again = [all[0], all[1], all[2], ("c", "ada", false)];
        assert_eq!(audit(ids, &again), Audit { offered_again: 1, ..clean });
        let twice = [all[0], all[1], all[2], all[2]];
        assert_eq!(audit(ids, &twice), Audit { offered_again: 1, duplicated: 1, ..clean });
        let foreign = [all[0], ("b", "eve", true), ("c", "", true)];
        assert_eq!(audit(ids, &foreign), Audit { foreign: 2, ..clean });
        assert_eq!(audit(ids, &[all[2], all[0], all[1]]), Audit { out_of_order: 2, ..clean });
    }

    #[test]
    fn an_event_whose_answer_got_lost_was_not_promised_and_counts_for_nothing() {
        let seen = [("a", "ada", true), ("unanswered", "eve", true)];
        assert_eq!(audit(&["a"], &seen), Audit { acknowledged: 1, ..Audit::default() });
    }
}
