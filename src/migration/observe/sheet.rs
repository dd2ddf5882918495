//! All that was observed: every arrangement's run, and the counts beside them.

use super::advice::{self, Facts};
use super::arrangement::Arrangement;
use super::paper::{Plan, Run};
use super::report::{Advice, Figures, GroupReport, Minute, Report, RouteReport, Split};
use super::sample::{MOST_LANES, Sample};
use super::tally::{MINUTES, Minutes, Tally, minute_of};
use super::trace::{Trace, Wait};
use crate::event::first_eight;
use crate::ingest::accept::seen::SeenKey;
use crate::ingest::settings::{Group, Keep};
use crate::keyed::Keyed;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Ids by which repetitions are known; at most twice as many are kept.
const MOST_IDS: usize = 20_000;

/// What is not known here, for a report.
#[derive(Debug)]
pub(super) struct Beside {
    /// Since when, RFC 3339.
    pub(super) since: String,
    /// Calls that were shed.
    pub(super) shed: u64,
    /// What makes fingerprints differ.
    pub(super) splits: Vec<Split>,
}

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Yes,
    OtherContent,
}

/// Ids that came lately, as keyed hashes, with hashes of what they said.
#[derive(Debug, Default)]
struct RecentIds {
    young: Keyed<u64, u64>,
    old: Keyed<u64, u64>,
}

impl RecentIds {
    fn note(&mut self, key: SeenKey) -> Known {
        let (id, content) = key.0.split_at(8);
        let (id, content) = (first_eight(id), first_eight(content));
        if let Some(said) = self.young.get(&id).or_else(|| self.old.get(&id)) {
            return if *said == content {
                Known::Yes
            } else {
                Known::OtherContent
            };
        }
        if self.young.len() >= MOST_IDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, content);
        Known::No
    }
}

#[derive(Debug)]
struct GroupCounts {
    calls: u64,
    events: u64,
    /// Those that went into the runs since they began.
    worked: u64,
    duplicates: u64,
    declined: u64,
    /// When the first call came, and the last.
    seen: Option<(Instant, Instant)>,
    calls_by_minute: Minutes,
    declined_by_minute: Minutes,
}

#[derive(Debug, Clone, Default)]
struct RouteCounts {
    calls: u64,
    declined: BTreeMap<&'static str, u64>,
}

/// All runs and counts. Bounded: each run has [`MOST_LANES`] lanes at most, each lane a full batch.
#[derive(Debug)]
pub(super) struct Sheet {
    plan: Arc<Plan>,
    runs: Vec<Run>,
    groups: Vec<GroupCounts>,
    routes: Vec<RouteCounts>,
    ids: RecentIds,
    sample: Sample,
    began: Instant,
    /// When the runs began: at the last halving of the sample.
    runs_began: Instant,
    /// Time that no event is before.
    now: Instant,
    seq: u64,
}

impl Sheet {
    /// Empty, from now on.
    pub(super) fn new(plan: &Arc<Plan>, now: Instant) -> Self {
        let group = |_: &Group| GroupCounts {
            calls: 0,
            worked: 0,
            events: 0,
            duplicates: 0,
            declined: 0,
            seen: None,
            calls_by_minute: Minutes::new(),
            declined_by_minute: Minutes::new(),
        };
        Self {
            plan: Arc::clone(plan),
            runs: new_runs(plan, now, 1),
            runs_began: now,
            groups: plan.groups.iter().map(group).collect(),
            routes: vec![RouteCounts::default(); plan.routes.len()],
            ids: RecentIds::default(),
            sample: Sample::new(),
            began: now,
            now,
            seq: 0,
        }
    }

    /// An event came over this route.
    pub(super) fn take_event(&mut self, route: usize, mut trace: Trace, key: SeenKey) {
        self.now = self.now.max(trace.at);
        trace.at = self.now;
        match self.ids.note(key) {
            Known::OtherContent => return self.count_declined(route, "other_content"),
            Known::Yes => {
                if let Some(group) = self.count_call(route) {
                    group.duplicates += 1;
                }
                return;
            }
            Known::No => {}
        }
        if let Some(group) = self.count_call(route) {
            group.events += 1;
        }
        let before = self.sample.one_in();
        if !self.sample.takes(trace.user, self.now) {
            return;
        }
        // What is due is done when the next event comes that is worked on, each at its time.
        self.run_until(self.now);
        self.seq += 1;
        trace.seq = self.seq;
        let trace = Arc::new(trace);
        let mut widest = 0;
        for run in &mut self.runs {
            run.push(self.now, Arc::clone(&trace));
            widest = widest.max(run.lanes());
        }
        let group = self.plan.routes.get(route).map(|(_, group)| *group);
        if let Some(counts) = group.and_then(|group| self.groups.get_mut(group)) {
            counts.worked += 1;
        }
        if widest >= MOST_LANES {
            self.sample.halve();
        }
        if self.sample.one_in() != before {
            self.begin_anew();
        }
    }

    /// The runs begin anew with a smaller sample, so that no figure mixes two, and what the users
    /// who left had in their lanes is gone.
    fn begin_anew(&mut self) {
        self.runs = new_runs(&self.plan, self.began, self.sample.one_in());
        self.runs_began = self.now;
        self.groups.iter_mut().for_each(|group| group.worked = 0);
    }

    /// A call came over this route that would have been forwarded or refused.
    pub(super) fn take_declined(&mut self, route: usize, reason: &'static str, at: Instant) {
        self.now = self.now.max(at);
        self.count_declined(route, reason);
    }

    /// A call goes after what its caller has on paper.
    pub(super) fn take_wait(&mut self, wait: &Wait) {
        self.run_until(wait.at);
        let Wait { asker, groups, .. } = wait;
        for run in &mut self.runs {
            run.wait(self.now, asker, groups);
        }
    }

    fn count_declined(&mut self, route: usize, reason: &'static str) {
        let minute = minute_of(self.began, self.now);
        if let Some(group) = self.count_call(route) {
            group.declined += 1;
            group.declined_by_minute.count(minute, 1);
        }
        if let Some(counts) = self.routes.get_mut(route) {
            *counts.declined.entry(reason).or_default() += 1;
        }
    }

    fn count_call(&mut self, route: usize) -> Option<&mut GroupCounts> {
        let (now, minute) = (self.now, minute_of(self.began, self.now));
        self.routes.get_mut(route)?.calls += 1;
        let (_, group) = self.plan.routes.get(route)?;
        let group = self.groups.get_mut(*group)?;
        group.calls += 1;
        group.calls_by_minute.count(minute, 1);
        group.seen.get_or_insert((now, now)).1 = now;
        Some(group)
    }

    /// Everything that is due by now is done, each at its time.
    pub(super) fn run_until(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        self.runs.iter_mut().for_each(|run| run.run_until(now));
    }

    /// Lanes of all runs, and ids and users that are known.
    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize, usize) {
        let lanes = self.runs.iter().map(Run::lanes).sum();
        let ids = self.ids.young.len() + self.ids.old.len();
        (lanes, ids, self.sample.users())
    }

    /// What was observed by now.
    pub(super) fn report(&mut self, now: Instant, beside: Beside) -> Report {
        self.run_until(now);
        let seen = (0..self.groups.len()).filter_map(|index| self.report_group(index));
        Report {
            schema: 1,
            since: beside.since,
            seconds: self.now.saturating_duration_since(self.began).as_secs(),
            shed: beside.shed,
            one_in: self.sample.one_in(),
            users: self.sample.users() as u64,
            error_percent: self.sample.error_percent(),
            splits: beside.splits,
            groups: seen.collect(),
        }
    }

    fn report_group(&self, index: usize) -> Option<GroupReport> {
        let (group, counts) = (self.plan.groups.get(index)?, self.groups.get(index)?);
        let (first, last) = counts.seen?;
        let span = last.saturating_duration_since(first);
        let worked_span = last.saturating_duration_since(first.max(self.runs_began));
        let tried = self
            .runs
            .iter()
            .filter(|run| run.arrangement.concerns(group));
        let arrangements: Vec<_> = tried
            .filter_map(|run| Some(figures(group, run.arrangement, run.tallies.get(index)?)))
            .collect();
        let facts = Facts {
            group: &group.name,
            events: counts.worked,
            span: worked_span,
            pack: pack_word(group.is_shared()),
            keep: keep_word(group.keep == Keep::Newest),
        };
        let advice = advice::advise(&facts, &arrangements);
        let routes = self.plan.routes.iter().zip(&self.routes);
        let routes = routes.filter(|((_, of), counts)| *of == index && counts.calls > 0);
        Some(GroupReport {
            group: group.name.to_string(),
            seconds: span.as_secs(),
            calls: counts.calls,
            events: counts.events,
            duplicates: counts.duplicates,
            declined: counts.declined,
            routes: routes
                .map(|((name, _), counts)| RouteReport {
                    route: name.clone(),
                    calls: counts.calls,
                    declined: counts
                        .declined
                        .iter()
                        .map(|(reason, count)| ((*reason).to_owned(), *count))
                        .collect(),
                })
                .collect(),
            minutes: self.minutes(index, &advice),
            arrangements,
            advice,
        })
    }

    fn minutes(&self, index: usize, advice: &Advice) -> Vec<Minute> {
        let (Some(group), Some(counts)) = (self.plan.groups.get(index), self.groups.get(index))
        else {
            return Vec::new();
        };
        let tally = |wanted: &dyn Fn(Arrangement) -> bool| {
            let run = self.runs.iter().find(|run| wanted(run.arrangement))?;
            run.tallies.get(index)
        };
        let configured = tally(&|one| one.is_configured(group));
        let advised = advice.arrangement.as_ref();
        let advised = advised
            .and_then(|wanted| tally(&|one| one.concerns(group) && is_same(group, one, wanted)));
        let newest = minute_of(self.began, self.now);
        let oldest = newest.saturating_sub(MINUTES as u64 - 1);
        let oldest = oldest.max(minute_of(self.began, self.runs_began));
        let after = |tally: &Tally, minute: u64| {
            counts.declined_by_minute.of(minute) + tally.minutes.of(minute)
        };
        (oldest..=newest)
            .map(|minute| Minute {
                ago: newest - minute,
                calls: counts.calls_by_minute.of(minute),
                after_configured: configured.map_or(0, |tally| after(tally, minute)),
                after_advised: advised.map(|tally| after(tally, minute)),
            })
            .collect()
    }
}

fn new_runs(plan: &Plan, began: Instant, weight: u64) -> Vec<Run> {
    let arrangements = Arrangement::all_for(&plan.groups).into_iter();
    arrangements
        .map(|one| Run::new(one, plan, MOST_LANES, (began, weight)))
        .collect()
}

const fn pack_word(shared: bool) -> &'static str {
    if shared { "shared" } else { "user" }
}

const fn keep_word(newest: bool) -> &'static str {
    if newest { "newest" } else { "all" }
}

fn window_of(group: &Group, arrangement: Arrangement) -> u64 {
    let window: Duration = arrangement.window.unwrap_or(group.window);
    u64::try_from(window.as_millis()).unwrap_or(u64::MAX)
}

fn is_same(group: &Group, one: Arrangement, figures: &Figures) -> bool {
    window_of(group, one) == figures.window_ms
        && one.full == figures.full
        && pack_word(one.shared) == figures.pack
        && keep_word(one.newest) == figures.keep
}

fn figures(group: &Group, arrangement: Arrangement, tally: &Tally) -> Figures {
    Figures {
        window_ms: window_of(group, arrangement),
        flush_at: if arrangement.full {
            group.max_events
        } else {
            group.flush_at
        },
        full: arrangement.full,
        pack: pack_word(arrangement.shared).to_owned(),
        keep: keep_word(arrangement.newest).to_owned(),
        configured: arrangement.is_configured(group),
        batches: tally.batches,
        sent: tally.events,
        superseded: tally.superseded,
        wait_p50_ms: tally.wait_ms(0.5),
        wait_p95_ms: tally.wait_ms(0.95),
        wait_longest_ms: tally.wait_ms(1.0),
    }
}
