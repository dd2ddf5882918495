//! The report as one page: no script, nothing from elsewhere, light and dark.

use super::{Row, exactness, rows, tell_wait};
use crate::cli::page::{Series, escape, write_bars, write_frame, write_paragraph, write_plot};
use crate::cli::units::{millis, seconds};
use crate::migration::observe::{GroupReport, Minute, Report};

/// The whole page.
pub(super) fn write_page(report: &Report) -> String {
    let mut out = format!(
        "<h1>What batching would save</h1><p class=\"soft\">Observed for {} since {}. Every call \
         went to the application; windows were run on paper, by the code that runs them live, with \
         an application that takes every delivery at once.</p>",
        escape(&seconds(report.seconds)),
        escape(&report.since)
    );
    for line in exactness(report) {
        out.push_str(&write_paragraph(&line));
    }
    if !report.splits.is_empty() {
        out.push_str(
            "<h3>What makes one caller's calls differ</h3><p>Calls that differ in these share no \
             batch; times that one did from the call before:</p>",
        );
        let parts = report.splits.iter();
        out.push_str(&write_bars(
            parts.map(|split| (split.part.clone(), split.calls)),
            |count| count.to_string(),
        ));
    }
    if report.groups.is_empty() {
        out.push_str(&write_paragraph("No call was observed yet."));
    }
    for group in &report.groups {
        push_group(&mut out, group);
    }
    write_frame("what batching would save", &out)
}

fn push_group(out: &mut String, group: &GroupReport) {
    out.push_str(&format!(
        "<section><h2>batch.{}</h2><p>{} calls in {}: {} events, {} repetitions, {} would have been \
         forwarded.</p>",
        escape(&group.group),
        group.calls,
        escape(&seconds(group.seconds)),
        group.events,
        group.duplicates,
        group.declined
    ));
    out.push_str("<h3>Recommendation</h3>");
    for line in &group.advice.why {
        out.push_str(&write_paragraph(line));
    }
    if let Some(toml) = &group.advice.toml {
        out.push_str(&format!("<pre>{}</pre>", escape(toml)));
    }
    let rows = rows(group);
    out.push_str("<div class=\"plots\">");
    out.push_str(&plot_savings(&rows));
    out.push_str(&plot_waits(&rows));
    out.push_str(&plot_minutes(&group.minutes));
    out.push_str("</div>");
    push_table(out, &rows);
    out.push_str("<h3>Routes, and why calls would have been forwarded</h3>");
    for route in &group.routes {
        out.push_str(&write_paragraph(&format!(
            "{}: {} calls",
            route.route, route.calls
        )));
        let reasons = route.declined.iter();
        out.push_str(&write_bars(
            reasons.map(|(reason, count)| (reason.clone(), *count)),
            |count| count.to_string(),
        ));
    }
    out.push_str("</section>");
}

const COLUMNS: [&str; 5] = [
    "user",
    "user, full batches",
    "shared",
    "shared, full batches",
    "user, newest",
];

fn plot_savings(rows: &[Row]) -> String {
    let series = |(place, name): (usize, &'static str)| Series {
        name,
        values: rows
            .iter()
            .map(|row| row.savings.get(place).copied().flatten())
            .collect(),
    };
    let series: Vec<_> = COLUMNS.into_iter().enumerate().map(series).collect();
    let heading = "Calls in for one call out, by window";
    write_plot(heading, "times", &labels(rows), &series)
}

fn plot_waits(rows: &[Row]) -> String {
    let seconds = |of: fn(&Row) -> Option<u64>| {
        let value = |millis: u64| std::time::Duration::from_millis(millis).as_secs_f64();
        rows.iter().map(|row| of(row).map(value)).collect()
    };
    let series = [
        Series {
            name: "half of the events",
            values: seconds(|row| row.wait_p50_ms),
        },
        Series {
            name: "95 % of them",
            values: seconds(|row| row.wait_p95_ms),
        },
    ];
    let heading = "How long events wait at most, by window";
    write_plot(heading, "seconds, pack = \"user\"", &labels(rows), &series)
}

fn plot_minutes(minutes: &[Minute]) -> String {
    let count = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let of = |value: &dyn Fn(&Minute) -> Option<u64>| {
        minutes.iter().map(|one| value(one).map(count)).collect()
    };
    let series = [
        Series {
            name: "now",
            values: of(&|one| Some(one.calls)),
        },
        Series {
            name: "as configured",
            values: of(&|one| Some(one.after_configured)),
        },
        Series {
            name: "as recommended",
            values: of(&|one| one.after_advised),
        },
    ];
    let labels: Vec<_> = minutes.iter().map(|one| one.ago.to_string()).collect();
    let heading = "Calls that the application has in a minute";
    write_plot(heading, "by minutes before the report", &labels, &series)
}

fn labels(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| millis(row.window_ms)).collect()
}

fn push_table(out: &mut String, rows: &[Row]) {
    out.push_str(
        "<h3>Calls in for one call out</h3><div class=\"wide\"><table><thead><tr><th>window</th>",
    );
    for name in COLUMNS {
        out.push_str(&format!("<th>{}</th>", escape(name)));
    }
    out.push_str("<th>half wait</th><th>95 % wait</th></tr></thead><tbody>");
    for row in rows {
        out.push_str(&format!("<tr><td>{}</td>", millis(row.window_ms)));
        for saving in row.savings {
            let text = saving.map_or_else(|| "-".to_owned(), |one| format!("{one:.2}"));
            out.push_str(&format!("<td>{text}</td>"));
        }
        out.push_str(&format!(
            "<td>{}</td><td>{}</td></tr>",
            tell_wait(row.wait_p50_ms),
            tell_wait(row.wait_p95_ms)
        ));
    }
    out.push_str("</tbody></table></div>");
}
