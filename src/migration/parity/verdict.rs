//! Go, no go or not yet.
//!
//! | decision | when |
//! |---|---|
//! | `no_go` | a kind came that is [certain](super::Kind::is_certain); or a state differed at one place in two checks; or two events or more disagree, and even the lower bound of their rate is above `max_rate`; or even the lower bound of acknowledged refusals is 5 percent |
//! | `not_yet` | else if too few events were compared, the upper bound of the rate is above `max_rate`, events that say nothing, bodies that weren't read or acknowledged refusals are 5 percent or more, a state differed once, was never compared, or couldn't be in 5 percent of the looks |
//! | `go` | else |
//!
//! Other kinds count by their rate: one of them may come of a deployment or a race in the
//! application. One difference of state may be a write between two reads; at one place twice it is
//! none. Checks of states aren't laid at a route, so they count for every one.

use super::bounds::{Bounds, as_float};
use super::compared::{Rules, Sends};
use super::report::{Decision, KindReport, StateReport, Verdict};

/// One in so many events may say nothing, or be refused where its acknowledgement says yes; so many
/// looks at a state may fail.
const SILENT_ONE_IN: u64 = 20;

/// What a verdict rests on.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) rules: &'a Rules,
    pub(super) sends: &'a Sends,
    pub(super) compared: u64,
    pub(super) disagreeing: u64,
    pub(super) silent: u64,
    pub(super) shed: u64,
    pub(super) unread: u64,
    pub(super) acknowledged_refusals: u64,
    /// Answers that could be such refusals.
    pub(super) answers: u64,
    pub(super) bounds: Bounds,
    pub(super) kinds: &'a [KindReport],
    pub(super) states: &'a [StateReport],
}

/// The verdict, with its reasons.
pub(super) fn judge_route(facts: &Facts<'_>) -> Verdict {
    let mut decision = Decision::NoGo;
    let mut why = find_reasons_against(facts);
    if why.is_empty() {
        why = find_reasons_to_wait(facts);
        decision = if why.is_empty() {
            Decision::Go
        } else {
            Decision::NotYet
        };
    }
    why.push(format!(
        "{} events were compared; {} of them disagree. Of all events at most {} disagree, 19 times \
         in 20; {} may.",
        facts.compared,
        facts.disagreeing,
        percent(facts.bounds.high),
        percent(facts.rules.max_rate)
    ));
    why.extend(tell_limits(facts));
    Verdict { decision, why }
}

fn find_reasons_against(facts: &Facts<'_>) -> Vec<String> {
    let mut why = Vec::new();
    for kind in facts.kinds.iter().filter(|one| one.kind.is_certain()) {
        why.push(format!(
            "{} ({} events): {}. That can't come of chance, so one is enough.",
            kind.kind.as_str(),
            kind.events,
            kind.kind.explanation()
        ));
    }
    for state in facts.states {
        for (place, checks) in state.places.iter().filter(|(_, checks)| **checks > 1) {
            let place = if place.is_empty() { "its root" } else { place };
            why.push(format!(
                "state: {} differs at {place} in {checks} of {} checks.",
                state.path, state.checks
            ));
        }
    }
    if facts.disagreeing > 1 && facts.bounds.low > facts.rules.max_rate {
        let worst = facts.kinds.iter().max_by_key(|kind| kind.events);
        why.push(format!(
            "At least {} of all events disagree, 19 times in 20; {} may.{}",
            percent(facts.bounds.low),
            percent(facts.rules.max_rate),
            worst.map_or_else(String::new, |kind| format!(
                " Most often it is {} ({} events).",
                kind.kind.as_str(),
                kind.events
            ))
        ));
    }
    let bounds = Bounds::of(facts.acknowledged_refusals, facts.answers);
    if facts.acknowledged_refusals > 0 && bounds.low * as_float(SILENT_ONE_IN) >= 1.0 {
        why.push(tell_refusals(facts));
    }
    why
}

/// How often a client would have been told yes where the application says no.
fn tell_refusals(facts: &Facts<'_>) -> String {
    format!(
        "The application refused {} of {} calls that live would be acknowledged: their clients would \
         hear yes. Forward them, or have the client not send them.",
        facts.acknowledged_refusals, facts.answers
    )
}

fn find_reasons_to_wait(facts: &Facts<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if facts.compared < facts.rules.min_events {
        why.push(format!(
            "Too few events were compared: {} are needed at least.",
            facts.rules.min_events
        ));
    }
    if facts.bounds.high > facts.rules.max_rate {
        why.push(if facts.disagreeing == 0 && facts.rules.max_rate > 0.0 {
            format!(
                "That no event disagrees says enough from {:.0} events on.",
                (3.0 / facts.rules.max_rate).ceil()
            )
        } else {
            format!(
                "{} of {} compared events disagree: too many to be sure.",
                facts.disagreeing, facts.compared
            )
        });
    }
    if facts.unread * SILENT_ONE_IN >= facts.compared && facts.unread > 0 {
        why.push(format!(
            "Of {} of {} compared events a body was cut off, or packed in a way that can't be read, \
             so that its members were not compared: 5 % or more.",
            facts.unread, facts.compared
        ));
    }
    let all = facts.compared + facts.silent;
    if facts.silent * SILENT_ONE_IN >= all && facts.silent > 0 {
        why.push(format!(
            "{} of {all} events say nothing (the application or the target failed, or it was not \
             asked): 5 % or more.",
            facts.silent
        ));
    }
    if facts.acknowledged_refusals * SILENT_ONE_IN >= facts.answers
        && facts.acknowledged_refusals > 0
    {
        why.push(format!("{} That are 5 % or more.", tell_refusals(facts)));
    }
    why.extend(facts.states.iter().filter_map(find_doubt_of_state));
    why
}

/// What is doubtful of a state that is to be compared.
fn find_doubt_of_state(state: &StateReport) -> Option<String> {
    let path = &state.path;
    let looks = state.checks + state.failed;
    if state.differing > 0 {
        Some(format!(
            "state: {path} differs in {} of {} checks.",
            state.differing, state.checks
        ))
    } else if state.checks == 0 {
        Some(format!(
            "state: {path} was never compared; {} looks failed.",
            state.failed
        ))
    } else if state.failed > 0 && state.failed * SILENT_ONE_IN >= looks {
        Some(format!(
            "state: {path} could not be compared in {} of {looks} looks: 5 % or more.",
            state.failed
        ))
    } else {
        None
    }
}

/// What was not looked at.
fn tell_limits(facts: &Facts<'_>) -> Vec<String> {
    let mut limits = Vec::new();
    if *facts.sends == Sends::Nowhere {
        limits.push(
            "This was a dry run: batches were built and checked, and the batch endpoint itself was \
             not tried."
                .to_owned(),
        );
    }
    if facts.shed > 0 {
        limits.push(format!(
            "Calls that were not compared for want of room: {}. The figures hold if those are like \
             the others.",
            facts.shed
        ));
    }
    if facts.unread > 0 {
        limits.push(format!(
            "Events of which a body was cut off or packed, so that its members were not compared: \
             {}.",
            facts.unread
        ));
    }
    if facts.acknowledged_refusals > 0 {
        limits.push(format!(
            "Calls that the application refused and that live would be acknowledged: {}.",
            facts.acknowledged_refusals
        ));
    }
    for state in facts.states.iter().filter(|state| state.failed > 0) {
        limits.push(format!(
            "Looks at {} of which a side had no answer: {}.",
            state.path, state.failed
        ));
    }
    limits
}

/// A part as a percentage, with three digits after the point where it is small.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent >= 10.0 || percent.fract() == 0.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.3} %")
    }
}
