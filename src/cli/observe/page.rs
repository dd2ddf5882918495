//! The report as one page: no script, nothing from elsewhere, light and dark.

use super::escape::escape;
use super::plot::{Series, write_plot};
use super::{Row, exactness, millis, rows, seconds};
use crate::migration::observe::{GroupReport, Minute, Report};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--ground:#fff;--card:#f5f7fa;\
--line:#d5dbe3;--c0:#0b62b0;--c1:#b3470a;--c2:#1b7a44;--c3:#8a2f8f;--c4:#5b6675}\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a5b0bf;--ground:#12161c;\
--card:#1b212a;--line:#38424f;--c0:#6db3f2;--c1:#f0a060;--c2:#6fd095;--c3:#dd9ae0;--c4:#a5b0bf}}\
*{box-sizing:border-box}body{margin:0 auto;padding:16px;max-width:1240px;color:var(--ink);\
background:var(--ground);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.25rem;margin:1.6em 0 .3em}\
h3{font-size:1rem;margin:1.2em 0 .3em}p{margin:.4em 0;max-width:75ch}.soft{color:var(--soft)}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:16px}\
figure{margin:0;padding:12px;background:var(--card);border-radius:8px;min-width:0}\
figcaption{font-weight:600;margin-bottom:4px}svg{display:block;width:100%;height:auto}\
svg text{font-size:11px;fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}\
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke-width:2}\
.s0{stroke:var(--c0)}.s1{stroke:var(--c1);stroke-dasharray:6 3}.s2{stroke:var(--c2)}\
.s3{stroke:var(--c3);stroke-dasharray:6 3}.s4{stroke:var(--c4);stroke-dasharray:2 3}\
.dot{fill:var(--card);stroke-dasharray:none}.legend{list-style:none;margin:4px 0 0;padding:0;\
display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.85rem}.legend li{display:flex;\
align-items:center;gap:6px}.key{width:24px;height:8px;flex:none}.unit{color:var(--soft)}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;overflow-wrap:normal}\
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}.bar{display:block;height:10px;background:var(--c0);\
border-radius:2px}.bars{display:grid;grid-template-columns:minmax(0,auto) minmax(40px,1fr) auto;\
gap:4px 10px;align-items:center;max-width:640px;font-size:.9rem}\
.bars span{min-width:0}pre{background:var(--card);padding:12px;border-radius:8px;overflow-x:auto;\
font-size:.9rem}";

/// The whole page.
pub(super) fn write_page(report: &Report) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/><title>Tidegate: what batching would \
         save</title><style>{STYLE}</style></head><body><main><h1>What batching would save</h1>\
         <p class=\"soft\">Observed for {} since {}. Every call went to the application; windows \
         were run on paper, by the code that runs them live, with an application that takes every \
         delivery at once.</p>",
        escape(&seconds(report.seconds)),
        escape(&report.since)
    );
    for line in exactness(report) {
        out.push_str(&paragraph(&line));
    }
    if !report.splits.is_empty() {
        out.push_str(
            "<h3>What makes one caller's calls differ</h3><p>Calls that differ in these share no \
             batch; times that one did from the call before:</p>",
        );
        let parts = report.splits.iter();
        out.push_str(&write_bars(
            parts.map(|split| (split.part.clone(), split.calls)),
        ));
    }
    if report.groups.is_empty() {
        out.push_str(&paragraph("No call was observed yet."));
    }
    for group in &report.groups {
        push_group(&mut out, group);
    }
    out.push_str("</main></body></html>\n");
    out
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", escape(text))
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
        out.push_str(&paragraph(line));
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
        out.push_str(&paragraph(&format!(
            "{}: {} calls",
            route.route, route.calls
        )));
        let reasons = route.declined.iter();
        out.push_str(&write_bars(
            reasons.map(|(reason, count)| (reason.clone(), *count)),
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
    let seconds = |of: fn(&Row) -> u64| {
        let value = |row: &Row| std::time::Duration::from_millis(of(row)).as_secs_f64();
        rows.iter().map(|row| Some(value(row))).collect()
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
    let labels: Vec<_> = minutes.iter().map(|one| format!("-{}", one.ago)).collect();
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
            millis(row.wait_p50_ms),
            millis(row.wait_p95_ms)
        ));
    }
    out.push_str("</tbody></table></div>");
}

/// Names with bars as long as their counts.
fn write_bars(counts: impl Iterator<Item = (String, u64)>) -> String {
    let counts: Vec<_> = counts.collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return paragraph("None.");
    }
    let mut out = "<div class=\"bars\">".to_owned();
    for (name, count) in counts {
        out.push_str(&format!(
            "<span>{}</span><span><span class=\"bar\" style=\"width:{}%\"></span></span>\
             <span>{count}</span>",
            escape(&name),
            (count * 100 / most).max(1)
        ));
    }
    out.push_str("</div>");
    out
}
