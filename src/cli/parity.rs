//! `tidegate parity report`: whether batches do what single calls did, from the admin address of a
//! running sidecar, as a table, as JSON or as a page.

mod page;

use super::admin_client::{AdminAddress, ask};
use super::units::{micros, push_wrapped, seconds};
use crate::migration::parity::{
    Decision, Durations, GroupReport, KindReport, Report, RouteReport, StateReport,
};
use http::Method;
use std::collections::BTreeMap;

/// What `tidegate parity report` says.
pub(super) struct Told {
    /// On stdout.
    pub(super) text: String,
    /// The page, if one is wanted.
    pub(super) page: Option<String>,
    /// Every route is `go`.
    pub(super) is_go: bool,
}

/// Asks for the report, and writes it.
///
/// # Errors
/// Nobody answers, or with an error.
pub(super) async fn report(
    admin: &AdminAddress,
    as_json: bool,
    with_page: bool,
) -> anyhow::Result<Told> {
    let value = ask(admin, Method::GET, "/parity", None).await?;
    let text = format!("{}\n", serde_json::to_string_pretty(&value)?);
    let report: Report = serde_json::from_value(value)?;
    Ok(Told {
        text: if as_json { text } else { write_table(&report) },
        page: with_page.then(|| page::write_page(&report)),
        is_go: report.is_go(),
    })
}

/// The report for a terminal, at most 80 columns wide where names allow it.
fn write_table(report: &Report) -> String {
    let mut out = String::new();
    push_wrapped(&mut out, "", &introduce(report));
    if report.routes.is_empty() {
        out.push_str("No call was compared: set a route to shadow with `tidegate modes set`.\n");
    }
    for route in &report.routes {
        push_route(&mut out, route);
    }
    for group in &report.groups {
        push_wrapped(&mut out, "", &tell_saving(group));
    }
    for state in &report.states {
        push_state(&mut out, state);
    }
    out
}

/// What was compared, and with what.
fn introduce(report: &Report) -> String {
    let target = match &report.target {
        None => "A dry run: batches were built and checked, and sent to no target.".to_owned(),
        Some(target) => format!("Batches were sent to {target}."),
    };
    format!(
        "Compared for {} since {}. {target}",
        seconds(report.seconds),
        report.since
    )
}

const fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Go => "GO",
        Decision::NoGo => "NO GO",
        Decision::NotYet => "NOT YET",
    }
}

fn tell_saving(group: &GroupReport) -> String {
    let saving = group.saving().map_or_else(String::new, |saving| {
        format!(": {saving:.2} in for one out")
    });
    format!(
        "[batch.{}] {} calls in, {} batches out{saving}.",
        group.group, group.calls, group.batches
    )
}

/// Where the calls of a route are.
fn tell_counts(route: &RouteReport) -> String {
    let declined: u64 = route.declined.values().sum();
    let silent: u64 = route.silent.values().sum();
    format!(
        "{} calls: {} compared ({} of them repetitions), {declined} that live wouldn't be \
         acknowledged, {} without room, {silent} that say nothing, {} pending.",
        route.calls, route.compared, route.repetitions, route.shed, route.pending
    )
}

fn push_route(out: &mut String, route: &RouteReport) {
    let verdict = decision(route.verdict.decision);
    out.push('\n');
    let heading = format!("{} in [batch.{}]: {verdict}", route.route, route.group);
    push_wrapped(out, "", &heading);
    for line in &route.verdict.why {
        push_wrapped(out, "  ", line);
    }
    push_wrapped(out, "  ", &tell_counts(route));
    for (heading, counts) in reasons(route) {
        for (name, count) in counts {
            push_wrapped(out, "    ", &format!("{heading}, {name}: {count}"));
        }
    }
    if !route.kinds.is_empty() {
        out.push_str("\n  Events that disagree, by kind:\n");
    }
    for kind in &route.kinds {
        push_kind(out, kind);
    }
    if !route.left_out.is_empty() {
        let places = route
            .left_out
            .iter()
            .map(|one| format!("{} ({}, {} answers)", one.place, one.what, one.answers));
        let places = places.collect::<Vec<_>>().join(", ");
        let line = format!("Left out as what only the application can know: {places}.");
        push_wrapped(out, "  ", &line);
    }
    out.push_str(&format!(
        "\n  {:<24} {:>10} {:>10} {:>10} {:>10}\n",
        "", "half", "95 %", "longest", "events"
    ));
    for (name, times) in latencies(route) {
        out.push_str(&format!(
            "  {name:<24} {:>10} {:>10} {:>10} {:>10}\n",
            micros(times.p50_us),
            micros(times.p95_us),
            micros(times.longest_us),
            times.count
        ));
    }
    out.push('\n');
}

/// Counts by reason, each with what they are of.
fn reasons(route: &RouteReport) -> [(&'static str, &BTreeMap<String, u64>); 5] {
    [
        ("would be forwarded or refused", &route.declined),
        ("says nothing", &route.silent),
        ("the application answered", &route.statuses),
        ("refused by the batch", &route.refused),
        ("missed by the batch", &route.missed),
    ]
}

fn latencies(route: &RouteReport) -> [(&'static str, Durations); 3] {
    [
        ("the single call", route.single),
        ("its batch", route.batch),
        ("from call to outcome", route.waited),
    ]
}

fn push_kind(out: &mut String, kind: &KindReport) {
    let name = kind.kind.as_str();
    let line = format!(
        "{name} ({} events): {}",
        kind.events,
        kind.kind.explanation()
    );
    push_wrapped(out, "    ", &line);
    let places = kind.places.iter();
    let places = places.map(|(place, count)| format!("{place} ({count})"));
    let places = places.collect::<Vec<_>>().join(", ");
    push_wrapped(out, "      ", &format!("at {places}"));
    // The others stand in the JSON and on the page.
    if let Some(example) = kind.examples.first() {
        let line = format!(
            "as {}, at {}: {}; the single call: {}",
            example.event, example.place, example.batched, example.single
        );
        push_wrapped(out, "      ", &line);
    }
}

fn push_state(out: &mut String, state: &StateReport) {
    let line = format!(
        "state {}: {} of {} checks differ, {} failed.",
        state.path, state.differing, state.checks, state.failed
    );
    push_wrapped(out, "", &line);
    for (place, count) in &state.places {
        push_wrapped(out, "  ", &format!("{place}: {count}"));
    }
}

#[cfg(test)]
mod tests;
