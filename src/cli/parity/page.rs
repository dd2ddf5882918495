//! The report as one page.

use super::{decision, introduce, latencies, reasons, tell_counts, tell_saving};
use crate::cli::page::{
    Interval, escape, write_bars, write_frame, write_intervals, write_paragraph,
};
use crate::cli::units::micros;
use crate::migration::parity::{Decision, KindReport, Report, RouteReport, StateReport};

/// The whole page.
pub(super) fn write_page(report: &Report) -> String {
    let mut out = format!(
        "<h1>Whether batches do what single calls did</h1><p class=\"soft\">{}</p>",
        escape(&introduce(report))
    );
    if report.routes.is_empty() {
        out.push_str(&write_paragraph("No call was compared yet."));
    } else {
        out.push_str(&write_overview(report));
    }
    for route in &report.routes {
        push_route(&mut out, route);
    }
    for state in &report.states {
        push_state(&mut out, state);
    }
    write_frame("parity", &out)
}

/// All routes: verdicts, rates, savings.
fn write_overview(report: &Report) -> String {
    let mut out = "<div class=\"plots\">".to_owned();
    let interval = |route: &RouteReport| Interval {
        name: format!("{}: {}", route.route, decision(route.verdict.decision)),
        low: route.rate_low,
        rate: route.rate,
        high: route.rate_high,
    };
    let intervals: Vec<_> = report.routes.iter().map(interval).collect();
    let heading = "Events that disagree, of all, by route";
    out.push_str(&write_intervals(heading, report.max_rate, &intervals));
    out.push_str("<figure><figcaption>Calls in for batches out</figcaption>");
    for group in &report.groups {
        out.push_str(&write_paragraph(&tell_saving(group)));
    }
    out.push_str("</figure></div>");
    out
}

const fn class_of(decision: Decision) -> &'static str {
    match decision {
        Decision::Go => "go",
        Decision::NoGo => "no_go",
        Decision::NotYet => "not_yet",
    }
}

fn push_route(out: &mut String, route: &RouteReport) {
    let verdict = route.verdict.decision;
    out.push_str(&format!(
        "<section><h2>{}</h2><p><span class=\"verdict {}\">{}</span> batch.{}</p>",
        escape(&route.route),
        class_of(verdict),
        decision(verdict),
        escape(&route.group)
    ));
    for line in &route.verdict.why {
        out.push_str(&write_paragraph(line));
    }
    out.push_str(&write_paragraph(&tell_counts(route)));
    out.push_str("<h3>Kinds of disagreement, by events</h3>");
    out.push_str(&write_bars(
        route
            .kinds
            .iter()
            .map(|kind| (kind.kind.as_str().to_owned(), kind.events)),
        |count| count.to_string(),
    ));
    route.kinds.iter().for_each(|kind| push_kind(out, kind));
    out.push_str("<div class=\"plots\">");
    push_latencies(out, route);
    for (heading, counts) in reasons(route) {
        if !counts.is_empty() {
            let counts = counts.iter().map(|(name, count)| (name.clone(), *count));
            push_figure(out, heading, &write_bars(counts, |count| count.to_string()));
        }
    }
    if !route.left_out.is_empty() {
        let places = route.left_out.iter();
        let places = places.map(|one| (format!("{} ({})", one.place, one.what), one.answers));
        let bars = write_bars(places, |count| count.to_string());
        push_figure(out, "left out: what only the application can know", &bars);
    }
    out.push_str("</div></section>");
}

fn push_figure(out: &mut String, heading: &str, content: &str) {
    out.push_str(&format!(
        "<figure><figcaption>{}</figcaption>{content}</figure>",
        escape(heading)
    ));
}

fn push_latencies(out: &mut String, route: &RouteReport) {
    for (name, times) in latencies(route) {
        let bars = [
            ("half", times.p50_us),
            ("95 %", times.p95_us),
            ("longest", times.longest_us),
        ];
        let bars = bars.map(|(name, took)| (name.to_owned(), took));
        let heading = format!("How long it took: {name} ({} events)", times.count);
        push_figure(out, &heading, &write_bars(bars.into_iter(), micros));
    }
}

fn push_kind(out: &mut String, kind: &KindReport) {
    out.push_str(&format!(
        "<h3>{}: {} events</h3><p>{}.</p>",
        kind.kind.as_str(),
        kind.events,
        escape(kind.kind.explanation())
    ));
    let places = kind.places.iter();
    out.push_str(&write_bars(
        places.map(|(place, count)| (place.clone(), *count)),
        |count| count.to_string(),
    ));
    out.push_str(
        "<div class=\"wide\"><table class=\"left\"><thead><tr><th>event</th><th>where</th>\
         <th>acknowledgement or batch</th><th>single call</th></tr></thead><tbody>",
    );
    for one in &kind.examples {
        let cells = [&one.event, &one.place, &one.batched, &one.single];
        let cells = cells.map(|text| format!("<td>{}</td>", escape(text)));
        out.push_str(&format!("<tr>{}</tr>", cells.concat()));
    }
    out.push_str("</tbody></table></div>");
}

fn push_state(out: &mut String, state: &StateReport) {
    out.push_str(&format!(
        "<section><h2>State: {}</h2><p>{} of {} checks differ, {} failed.</p>",
        escape(&state.path),
        state.differing,
        state.checks,
        state.failed
    ));
    for (heading, counts) in [
        ("where states differ", &state.places),
        (
            "left out: noise, and what each application makes by itself",
            &state.left_out,
        ),
    ] {
        if !counts.is_empty() {
            let counts = counts.iter().map(|(place, count)| (place.clone(), *count));
            push_figure(out, heading, &write_bars(counts, |count| count.to_string()));
        }
    }
    out.push_str("</section>");
}
