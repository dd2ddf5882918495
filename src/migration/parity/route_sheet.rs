//! What came over one route.

use super::answers::Finding;
use super::bounds::Bounds;
use super::compared::{Batched, Compared, Rules, Sends};
use super::kind::Kind;
use super::learned::Learned;
use super::outcomes::{Answered, Said, Silence, judge_event, show_member, show_reason};
use super::report::{Example, KindReport, LeftOut, RouteReport, StateReport};
use super::tally::{Counts, Times};
use super::verdict::{Facts, judge_route};
use std::collections::{BTreeMap, BTreeSet};

/// Examples of a kind.
pub(super) const MOST_EXAMPLES: usize = 5;
/// Longest text in an example, characters.
const LONGEST_TEXT: usize = 160;
/// Places that are told of a kind.
pub(super) const MOST_PLACES: usize = 16;
/// Other names that are counted: members, reasons, statuses.
const MOST_NAMES: usize = 32;

/// Events of one kind.
#[derive(Debug, Default)]
struct KindSheet {
    events: u64,
    places: Counts<MOST_PLACES>,
    examples: Vec<Example>,
}

/// Calls that the application refused and that live would be acknowledged.
#[derive(Debug, Default)]
struct Refusals {
    /// Among those that were looked at.
    acknowledged: u64,
    /// Where refused calls are not looked at: how many there were, and all answers that say yes or no.
    /// Of those that aren't forwarded for their head it isn't known which would be acknowledged: all
    /// count.
    unlooked: u64,
    answers: u64,
}

impl Refusals {
    /// How many, and of how many calls. `looked_at`: those whose batches are known, or say nothing.
    fn of(&self, looked_at: u64) -> (u64, u64) {
        if self.answers > 0 {
            (self.unlooked, self.answers)
        } else {
            (self.acknowledged, looked_at)
        }
    }
}

/// What came over one route. Bounded: as many kinds as there are, and of each part as many entries
/// as its constant says; declined calls have as many reasons as the program.
#[derive(Debug, Default)]
pub(super) struct RouteSheet {
    pub(super) calls: u64,
    pub(super) declined: BTreeMap<&'static str, u64>,
    pub(super) shed: u64,
    agreements: u64,
    disagreements: u64,
    repetitions: u64,
    /// Events in batches, and repetitions.
    settled: u64,
    silent: Counts<MOST_NAMES>,
    unread: u64,
    refusals: Refusals,
    kinds: BTreeMap<Kind, KindSheet>,
    missed: Counts<MOST_NAMES>,
    refused: Counts<MOST_NAMES>,
    statuses: Counts<MOST_NAMES>,
    learned: Learned,
    single: Times,
    batch: Times,
    waited: Times,
}

impl RouteSheet {
    /// A call says nothing.
    pub(super) fn note_silent(&mut self, why: Silence) {
        self.silent.add(why.as_str());
    }

    /// The answer to a call that is looked at only if that is a success.
    pub(super) fn note_answer(&mut self, status: u16) {
        let answered = Answered::of(status);
        self.refusals.answers += u64::from(!matches!(answered, Answered::Silent(_)));
        self.refusals.unlooked += u64::from(matches!(answered, Answered::No));
    }

    /// Something came over it, if only calls that were refused and not looked at.
    pub(super) const fn is_seen(&self) -> bool {
        self.calls > 0 || self.refusals.answers > 0
    }

    /// Takes an event.
    pub(super) fn take(&mut self, compared: &Compared, rules: &Rules) {
        self.settled += 1;
        self.statuses.add(&compared.single.status.to_string());
        self.single.note(compared.single_took);
        if let Some(took) = compared.batch_took {
            self.batch.note(took);
        }
        if let Some(waited) = compared.waited {
            self.waited.note(waited);
        }
        if let Some(Batched::Refused(reason)) = &compared.batched {
            self.refused.add(show_reason(reason));
        }
        let missed: BTreeSet<_> = compared
            .missed
            .iter()
            .map(|name| show_member(name))
            .collect();
        missed.into_iter().for_each(|name| self.missed.add(name));
        let judged = judge_event(compared, rules, &mut self.learned);
        self.refusals.acknowledged += u64::from(judged.is_refusal);
        match judged.said {
            Said::Nothing(why) => return self.silent.add(why.as_str()),
            Said::Agrees => self.agreements += 1,
            Said::Disagrees(findings) => {
                self.disagreements += 1;
                self.take_findings(&compared.event, &findings);
            }
        }
        self.unread += u64::from(judged.is_unread);
        self.repetitions += u64::from(compared.is_repetition);
    }

    /// Counts each kind once, and each of its places once.
    fn take_findings(&mut self, event: &str, findings: &[Finding]) {
        let mut kinds = BTreeSet::new();
        let mut places = BTreeSet::new();
        for finding in findings {
            let sheet = self.kinds.entry(finding.kind).or_default();
            if places.insert((finding.kind, &*finding.place)) {
                sheet.places.add(&finding.place);
            }
            if !kinds.insert(finding.kind) {
                continue;
            }
            sheet.events += 1;
            if sheet.examples.len() < MOST_EXAMPLES {
                sheet.examples.push(Example {
                    event: shorten(event),
                    place: shorten(&finding.place),
                    batched: shorten(&finding.batched),
                    single: shorten(&finding.single),
                });
            }
        }
    }

    /// Events whose outcome is known: in batches, or repetitions.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    pub(super) fn report(
        &self,
        (route, group): (&str, &str),
        (rules, sends): (&Rules, &Sends),
        states: &[StateReport],
    ) -> RouteReport {
        let compared = self.agreements + self.disagreements;
        let bounds = Bounds::of(self.disagreements, compared);
        let kinds: Vec<_> = self.kinds.iter().map(report_kind).collect();
        let silent = self.silent.sum();
        let (acknowledged_refusals, answers) = self.refusals.of(compared + silent);
        let verdict = judge_route(&Facts {
            rules,
            sends,
            compared,
            disagreeing: self.disagreements,
            silent,
            shed: self.shed,
            unread: self.unread,
            acknowledged_refusals,
            answers,
            bounds,
            kinds: &kinds,
            states,
        });
        let known = self.declined.values().sum::<u64>() + self.shed + self.settled;
        let left_out = self.learned.left_out();
        RouteReport {
            route: route.to_owned(),
            group: group.to_owned(),
            verdict,
            calls: self.calls,
            declined: self
                .declined
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            shed: self.shed,
            pending: self.calls.saturating_sub(known),
            compared,
            agreements: self.agreements,
            disagreements: self.disagreements,
            repetitions: self.repetitions,
            silent: self.silent.all().clone(),
            unread: self.unread,
            acknowledged_refusals,
            rate: bounds.rate,
            rate_low: bounds.low,
            rate_high: bounds.high,
            kinds,
            missed: self.missed.all().clone(),
            refused: self.refused.all().clone(),
            statuses: self.statuses.all().clone(),
            left_out: left_out
                .map(|(place, what, answers)| LeftOut {
                    place: place.to_owned(),
                    what: what.to_owned(),
                    answers,
                })
                .collect(),
            single: self.single.report(),
            batch: self.batch.report(),
            waited: self.waited.report(),
        }
    }
}

fn report_kind((kind, sheet): (&Kind, &KindSheet)) -> KindReport {
    KindReport {
        kind: *kind,
        events: sheet.events,
        places: sheet.places.all().clone(),
        examples: sheet.examples.clone(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}
