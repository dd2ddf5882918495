//! The verdict: what the learners were promised against what the upstream saw.

use crate::demo::application::census::{Book, Sighting};
use crate::demo::learners::tally::{Acknowledged, Told};
use std::collections::{HashMap, HashSet};

/// Differences between promise and fact; all zero is the promise kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Events that were acknowledged but never applied by the upstream, and courses whose newest
    /// acknowledged snapshot was not: nor that one, nor a newer one.
    pub lost: u64,
    /// Applied more than once.
    pub duplicated: u64,
    /// Offered more than once: harmless where the upstream knows ids, so no fault.
    pub offered_again: u64,
    /// Of those the ones whose delivery was cut off or refused, so that they may be (at least once,
    /// ruling 3).
    pub may_repeat: u64,
    /// Came with another user's token or with none, or for another user's records.
    pub foreign: u64,
    /// Applied after something newer of the same lesson, assignment, course or group of analytics.
    pub out_of_order: u64,
}

impl Audit {
    /// Compares. `promised` is in the order of the acknowledgements; `trusted` is the token that
    /// may come in place of every user's own, if the run has one.
    #[must_use]
    pub fn of(promised: &[Acknowledged], book: &Book, trusted: Option<&str>) -> Self {
        let acknowledged = promised.len() as u64;
        let mut audit = Self {
            acknowledged,
            ..Self::default()
        };
        for (_, id, user) in events(promised) {
            let sighting = book.sightings.get(id);
            let (offered, applied) =
                sighting.map_or((0, 0), |sighting| (sighting.offered, sighting.applied));
            audit.lost += u64::from(applied == 0);
            audit.duplicated += u64::from(applied > 1);
            audit.may_repeat += u64::from(applied > 1 && book.unclear.contains(id));
            audit.offered_again += u64::from(offered > 1);
            audit.foreign +=
                u64::from(sighting.is_some_and(|sighting| is_foreign(sighting, user, trusted)));
        }
        audit.lost += lost_snapshots(promised, book);
        audit.foreign += book.foreign_snapshots;
        audit.out_of_order = late_events(promised, book)
            + book.snapshots.values().map(|told| falls(told)).sum::<u64>();
        audit
    }
}

/// The promised events: place, id, user.
fn events(promised: &[Acknowledged]) -> impl Iterator<Item = (usize, &str, &str)> {
    promised
        .iter()
        .enumerate()
        .filter_map(|(place, Acknowledged { user, told })| match told {
            Told::Event(id) => Some((place, &**id, &**user)),
            Told::Snapshot { .. } => None,
        })
}

fn is_foreign(sighting: &Sighting, user: &str, trusted: Option<&str>) -> bool {
    let strange = |token: &str| token != user && trusted != Some(token);
    sighting.tokens.iter().any(|token| strange(token))
        || sighting.owners.iter().any(|owner| **owner != *user)
}

/// Courses of which the newest promised snapshot never arrived. That a newer one took the place of
/// an older is no loss.
fn lost_snapshots(promised: &[Acknowledged], book: &Book) -> u64 {
    let mut newest: HashMap<(&str, &str), u64> = HashMap::new();
    for Acknowledged { user, told } in promised {
        if let Told::Snapshot { course, seconds } = told {
            newest.insert((user, course), *seconds);
        }
    }
    let missing = |((user, course), promised): (&(&str, &str), &u64)| {
        let applied = book
            .snapshots
            .get(&((*user).into(), (*course).into()))
            .and_then(|told| told.last());
        u64::from(applied.is_none_or(|applied| applied < promised))
    };
    newest.iter().map(missing).sum()
}

fn late_events(promised: &[Acknowledged], book: &Book) -> u64 {
    let places: HashMap<&str, usize> = events(promised).map(|(place, id, _)| (id, place)).collect();
    let late = |ids: &Vec<Box<str>>| {
        let mut newest = 0;
        let mut late = 0_u64;
        // A repetition is counted as such.
        let mut seen = HashSet::new();
        let first = ids.iter().filter(|id| seen.insert(&***id));
        for place in first.filter_map(|id| places.get(&**id).copied()) {
            late += u64::from(place < newest);
            newest = newest.max(place);
        }
        late
    };
    book.order.values().map(late).sum()
}

/// How often a state was overwritten with an older one. A repetition of the same is none.
fn falls(told: &[u64]) -> u64 {
    told.iter()
        .zip(told.iter().skip(1))
        .map(|(before, after)| u64::from(after < before))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::application::census::{Census, Offer, SERVICE, Snapshot};

    fn promised(ids: &[&str]) -> Vec<Acknowledged> {
        let event = |id: &&str| Acknowledged {
            user: "ada".into(),
            told: Told::Event((*id).into()),
        };
        ids.iter().map(event).collect()
    }

    /// Offers: id, token, applied.
    fn census(offers: &[(&str, &str, bool)]) -> Census {
        let census = Census::default();
        for &(id, token, applied) in offers {
            census.offer(Offer {
                id,
                token,
                owner: "ada",
                applied,
                target: Some("l1"),
            });
        }
        census
    }

    fn audit(ids: &[&str], offers: &[(&str, &str, bool)]) -> Audit {
        census(offers).look(|book| Audit::of(&promised(ids), book, None))
    }

    /// Snapshots of one course: what was promised against what was applied.
    fn snapshots(told: &[u64], applied: &[u64]) -> Audit {
        let census = Census::default();
        for &seconds in applied {
            census.snapshot(Snapshot {
                user: "ada",
                named: Some("ada"),
                course: "c1",
                seconds,
            });
        }
        let promise = |seconds: &u64| {
            let told = Told::Snapshot {
                course: "c1".into(),
                seconds: *seconds,
            };
            Acknowledged {
                user: "ada".into(),
                told,
            }
        };
        let promised: Vec<_> = told.iter().map(promise).collect();
        census.look(|book| Audit::of(&promised, book, None))
    }

    #[test]
    fn each_broken_promise_is_counted_under_its_name() {
        let clean = Audit {
            acknowledged: 3,
            ..Audit::default()
        };
        let ids = &["a", "b", "c"];
        let all = [("a", "ada", true), ("b", "ada", true), ("c", "ada", true)];
        assert_eq!(audit(ids, &all), clean);
        assert_eq!(
            audit(ids, &all[..2]),
            Audit { lost: 1, ..clean },
            "never seen"
        );
        let refused = [all[0], all[1], ("c", "ada", false)];
        assert_eq!(
            audit(ids, &refused),
            Audit { lost: 1, ..clean },
            "seen, not applied"
        );
        let again = [all[0], all[1], all[2], ("c", "ada", false)];
        assert_eq!(
            audit(ids, &again),
            Audit {
                offered_again: 1,
                ..clean
            }
        );
        let twice = [all[0], all[1], all[2], all[2]];
        assert_eq!(
            audit(ids, &twice),
            Audit {
                offered_again: 1,
                duplicated: 1,
                ..clean
            }
        );
        let foreign = [all[0], ("b", "eve", true), ("c", "", true)];
        assert_eq!(
            audit(ids, &foreign),
            Audit {
                foreign: 2,
                ..clean
            }
        );
        assert_eq!(
            audit(ids, &[all[2], all[0], all[1]]),
            Audit {
                out_of_order: 2,
                ..clean
            }
        );
    }

    #[test]
    fn an_event_whose_answer_got_lost_was_not_promised_and_counts_for_nothing() {
        let seen = [("a", "ada", true), ("unanswered", "eve", true)];
        assert_eq!(
            audit(&["a"], &seen),
            Audit {
                acknowledged: 1,
                ..Audit::default()
            }
        );
    }

    #[test]
    fn a_service_is_a_stranger_unless_the_run_trusts_it_and_never_writes_for_another() {
        let service = census(&[("a", "ada", true), ("b", SERVICE, true)]);
        let foreign = |census: &Census, trusted| {
            census
                .look(|book| Audit::of(&promised(&["a", "b"]), book, trusted))
                .foreign
        };
        assert_eq!(
            (foreign(&service, None), foreign(&service, Some(SERVICE))),
            (1, 0)
        );
        let eve = census(&[("a", "ada", true), ("b", "eve", true)]);
        assert_eq!(
            foreign(&eve, Some(SERVICE)),
            1,
            "trust in one is trust in nobody else"
        );
        service.offer(Offer {
            id: "b",
            token: SERVICE,
            owner: "eve",
            applied: false,
            target: None,
        });
        assert_eq!(foreign(&service, Some(SERVICE)), 1, "another user's record");
    }

    #[test]
    fn a_snapshot_is_lost_when_neither_it_nor_a_newer_one_arrived() {
        let clean = Audit {
            acknowledged: 3,
            ..Audit::default()
        };
        let told = &[10, 11, 12];
        assert_eq!(snapshots(told, &[10, 11, 12]), clean);
        assert_eq!(snapshots(told, &[12]), clean, "superseded ones are no loss");
        assert_eq!(
            snapshots(told, &[10, 10, 12, 12]),
            clean,
            "nor is a repetition a fault"
        );
        assert_eq!(
            snapshots(told, &[12, 13]),
            clean,
            "one whose answer got lost"
        );
        assert_eq!(snapshots(told, &[10, 11]), Audit { lost: 1, ..clean });
        assert_eq!(snapshots(told, &[]), Audit { lost: 1, ..clean });
        assert_eq!(
            snapshots(told, &[10, 12, 11]),
            Audit {
                lost: 1,
                out_of_order: 1,
                ..clean
            },
            "overwritten"
        );
        assert_eq!(
            snapshots(told, &[11, 10, 12]),
            Audit {
                out_of_order: 1,
                ..clean
            }
        );
    }

    #[test]
    fn courses_and_users_have_snapshots_of_their_own() {
        let promise = |user: &str, course: &str, seconds| Acknowledged {
            user: user.into(),
            told: Told::Snapshot {
                course: course.into(),
                seconds,
            },
        };
        let promised = [
            promise("ada", "c1", 50),
            promise("ada", "c2", 1),
            promise("eve", "c1", 7),
        ];
        let census = Census::default();
        for (user, named, course, seconds) in [
            ("ada", Some("ada"), "c1", 50),
            ("ada", None, "c2", 1),
            ("ada", Some("eve"), "c1", 51),
        ] {
            census.snapshot(Snapshot {
                user,
                named,
                course,
                seconds,
            });
        }
        let audit = census.look(|book| Audit::of(&promised, book, None));
        assert_eq!(
            audit,
            Audit {
                acknowledged: 3,
                lost: 1,
                foreign: 1,
                ..Audit::default()
            }
        );
    }

    #[test]
    fn a_repetition_is_excused_by_an_unclear_answer_to_itself_alone() {
        let census = census(&[("a", "ada", true), ("a", "ada", true), ("b", "ada", true)]);
        census.leave_unclear(vec!["b".into(), "x".into()]);
        let look = || census.look(|book| Audit::of(&promised(&["a", "b"]), book, None));
        assert_eq!(
            (look().duplicated, look().may_repeat, look().out_of_order),
            (1, 0, 0)
        );
        census.leave_unclear(vec!["a".into()]);
        assert_eq!((look().duplicated, look().may_repeat), (1, 1));
    }
}
