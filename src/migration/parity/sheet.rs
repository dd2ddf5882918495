//! All that was compared.

use super::compared::{Compared, Rules, Sends};
use super::outcomes::Silence;
use super::report::{Example, GroupReport, Report, StateReport};
use super::route_sheet::{MOST_EXAMPLES, MOST_PLACES, RouteSheet};
use super::state::StateFinding;
use super::tally::Counts;
use std::collections::BTreeMap;

/// Paths whose state is told apart; more are counted together.
const MOST_PATHS: usize = 16;
/// Under this name.
const OTHER_PATHS: &str = "other";

#[derive(Debug, Default)]
struct StateSheet {
    checks: u64,
    failed: u64,
    differing: u64,
    places: Counts<MOST_PLACES>,
    left_out: Counts<MOST_PLACES>,
    examples: Vec<Example>,
}

/// All that was compared. Bounded: the routes that it was made with, 200 KiB each at most; the paths of
/// states that are configured, and 16 others.
#[derive(Debug)]
pub struct Sheet {
    rules: Rules,
    sends: Sends,
    /// A route, its group, and what came over it.
    routes: Vec<(String, String, RouteSheet)>,
    /// Calls out of each group.
    batches: BTreeMap<String, u64>,
    states: BTreeMap<String, StateSheet>,
}

impl Sheet {
    /// Empty. `routes`: each route's name, and its group's; a route is told by its place there.
    #[must_use]
    pub fn new(rules: Rules, routes: Vec<(String, String)>, sends: Sends) -> Self {
        let empty = |(route, group)| (route, group, RouteSheet::default());
        Self {
            rules,
            sends,
            routes: routes.into_iter().map(empty).collect(),
            batches: BTreeMap::new(),
            states: BTreeMap::new(),
        }
    }

    fn route(&mut self, route: usize) -> Option<&mut RouteSheet> {
        self.routes.get_mut(route).map(|(_, _, sheet)| sheet)
    }

    /// A call came over this route. Each call is noted here first, and is then declined, shed or
    /// taken, once.
    pub fn note_call(&mut self, route: usize) {
        if let Some(sheet) = self.route(route) {
            sheet.calls += 1;
        }
    }

    /// A noted call would be forwarded or refused live; why.
    pub fn note_declined(&mut self, route: usize, reason: &'static str) {
        if let Some(sheet) = self.route(route) {
            *sheet.declined.entry(reason).or_default() += 1;
        }
    }

    /// There was no room to copy a noted call, or to keep it until its outcome.
    pub fn note_shed(&mut self, route: usize) {
        if let Some(sheet) = self.route(route) {
            sheet.shed += 1;
        }
    }

    /// The client of a noted call went away before its answer, so that there is nothing to compare.
    pub fn note_gone(&mut self, route: usize) {
        if let Some(sheet) = self.route(route) {
            sheet.note_silent(Silence::ClientGone);
        }
    }

    /// The rest of a noted call didn't come.
    pub fn note_late(&mut self, route: usize) {
        if let Some(sheet) = self.route(route) {
            sheet.note_silent(Silence::Late);
        }
    }

    /// Calls out of the route's group so far.
    pub fn note_batches(&mut self, route: usize, batches: u64) {
        let Some((_, group, _)) = self.routes.get(route) else {
            return;
        };
        let known = self.batches.entry(group.clone()).or_default();
        *known = batches.max(*known);
    }

    /// How the application answered a call that is looked at only where it was taken, since its batch
    /// goes to the same application.
    pub fn note_answer(&mut self, route: usize, status: u16) {
        if let Some(sheet) = self.route(route) {
            sheet.note_answer(status);
        }
    }

    /// The outcome of a noted call is known.
    pub fn take(&mut self, route: usize, compared: &Compared) {
        if let Some((_, _, sheet)) = self.routes.get_mut(route) {
            sheet.take(compared, &self.rules);
        }
    }

    /// This state is to be compared, as it is configured. Until it was, no route is `go`.
    pub fn expect_state(&mut self, path: &str) {
        self.states.entry(path.to_owned()).or_default();
    }

    fn state(&mut self, path: &str) -> &mut StateSheet {
        let has_room = self.states.contains_key(path) || self.states.len() < MOST_PATHS;
        let path = if has_room { path } else { OTHER_PATHS };
        self.states.entry(path.to_owned()).or_default()
    }

    /// A state couldn't be compared: a side had no answer.
    pub fn note_failed_look(&mut self, path: &str) {
        self.state(path).failed += 1;
    }

    /// A state was checked; `path`: what was read, as it is configured.
    pub fn take_state(&mut self, path: &str, found: &StateFinding) {
        let sheet = self.state(path);
        sheet.checks += 1;
        sheet.differing += u64::from(!found.differences.is_empty());
        found
            .left_out
            .iter()
            .for_each(|place| sheet.left_out.add(place));
        for difference in &found.differences {
            sheet.places.add(&difference.place);
            if sheet.examples.len() < MOST_EXAMPLES {
                sheet.examples.push(Example {
                    event: String::new(),
                    place: difference.place.clone(),
                    batched: difference.candidate.clone(),
                    single: difference.control.clone(),
                });
            }
        }
    }

    /// What was compared so far, `seconds` after it began. Routes without a call or an answer are
    /// left out.
    #[must_use]
    pub fn report(&self, since: String, seconds: u64) -> Report {
        let states: Vec<_> = self.states.iter().map(report_state).collect();
        let seen = || self.routes.iter().filter(|(_, _, sheet)| sheet.is_seen());
        let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, group, sheet) in seen() {
            *groups.entry(group).or_default() += sheet.settled();
        }
        let route = |(route, group, sheet): &(String, String, RouteSheet)| {
            sheet.report((route, group), (&self.rules, &self.sends), &states)
        };
        let group = |(group, calls): (&str, u64)| GroupReport {
            group: group.to_owned(),
            calls,
            batches: self.batches.get(group).copied().unwrap_or(0),
        };
        Report {
            schema: 1,
            since,
            seconds,
            target: match &self.sends {
                Sends::Nowhere => None,
                Sends::To(target) => Some(target.clone()),
            },
            target_holds_singles: self.rules.target_holds_singles,
            min_events: self.rules.min_events,
            max_rate: self.rules.max_rate,
            routes: seen().map(route).collect(),
            groups: groups.into_iter().map(group).collect(),
            states,
        }
    }
}

fn report_state((path, sheet): (&String, &StateSheet)) -> StateReport {
    StateReport {
        path: path.clone(),
        checks: sheet.checks,
        failed: sheet.failed,
        differing: sheet.differing,
        places: sheet.places.all().clone(),
        left_out: sheet.left_out.all().clone(),
        examples: sheet.examples.clone(),
    }
}
