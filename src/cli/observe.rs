//! `tidegate observe report`: what windows would have saved, from the admin address of a running
//! sidecar, as a table, as JSON or as a page.

mod page;

use super::admin_client::{AdminAddress, ask};
use super::units::{millis, push_wrapped, seconds};
use crate::migration::observe::{Figures, GroupReport, Report};
use http::Method;

/// What `tidegate observe report` prints, and the page if one is wanted.
///
/// # Errors
/// Nobody answers, or with an error.
pub(super) async fn report(
    admin: &AdminAddress,
    as_json: bool,
    with_page: bool,
) -> anyhow::Result<(String, Option<String>)> {
    let value = ask(admin, Method::GET, "/observe", None).await?;
    let text = format!("{}\n", serde_json::to_string_pretty(&value)?);
    let report: Report = serde_json::from_value(value)?;
    let page = with_page.then(|| page::write_page(&report));
    let text = if as_json { text } else { write_table(&report) };
    Ok((text, page))
}

/// The report for a terminal, at most 80 columns wide where names allow it.
fn write_table(report: &Report) -> String {
    let mut out = String::new();
    let since = format!(
        "Observed for {} since {}.",
        seconds(report.seconds),
        report.since
    );
    push_wrapped(&mut out, "", &since);
    for line in exactness(report) {
        push_wrapped(&mut out, "", &line);
    }
    for split in &report.splits {
        let line = format!(
            "{} differed from one call of a caller to the next {} times: such calls share no \
             batch.",
            split.part, split.calls
        );
        push_wrapped(&mut out, "", &line);
    }
    if report.groups.is_empty() {
        out.push_str("No call was observed: set a route to observe with `tidegate modes set`.\n");
    }
    for group in &report.groups {
        push_group(&mut out, group);
    }
    out
}

/// How exact the figures are: what was left out of them.
fn exactness(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.one_in > 1 {
        lines.push(format!(
            "The paper runs hold one user in {} ({} users): a saving may be off by {:.0} %, 19 \
             times in 20, and shared packing saves at least what is said. Counts of calls are \
             whole.",
            report.one_in, report.users, report.error_percent
        ));
    }
    if report.shed > 0 {
        lines.push(format!(
            "{} calls came while the observer was busy; they are in no figure.",
            report.shed
        ));
    }
    lines
}

fn push_group(out: &mut String, group: &GroupReport) {
    out.push_str(&format!("\n[batch.{}]\n", group.group));
    let counts = format!(
        "{} calls in {}: {} events, {} repetitions, {} would have been forwarded.",
        group.calls,
        seconds(group.seconds),
        group.events,
        group.duplicates,
        group.declined
    );
    push_wrapped(out, "", &counts);
    for route in &group.routes {
        out.push_str(&format!("  {}: {} calls\n", route.route, route.calls));
        for (reason, count) in &route.declined {
            out.push_str(&format!("    forwarded, {reason}: {count}\n"));
        }
    }
    let table = rows(group);
    out.push_str("\nCalls in for one call out:\n");
    out.push_str(&format!(
        "{:>8} {:>8} {:>8} {:>8} {:>8} {:>8}   {:>9} {:>9}\n",
        "window", "user", "full", "shared", "full", "newest", "half wait", "95 % wait"
    ));
    for row in &table {
        let [user, full, shared, shared_full, newest] = row
            .savings
            .map(|saving| saving.map_or_else(|| "-".to_owned(), |one| format!("{one:.2}")));
        out.push_str(&format!(
            "{:>8} {user:>8} {full:>8} {shared:>8} {shared_full:>8} {newest:>8}   {:>9} {:>9}\n",
            millis(row.window_ms),
            tell_wait(row.wait_p50_ms),
            tell_wait(row.wait_p95_ms)
        ));
    }
    out.push_str(
        "user, shared: pack, at the group's flush_at; full: sealed by count only when a\n\
         batch is full; newest: keep; waits: of pack = \"user\"\n\n",
    );
    for line in &group.advice.why {
        push_wrapped(out, "", line);
    }
    if let Some(toml) = &group.advice.toml {
        out.push('\n');
        toml.lines()
            .for_each(|line| out.push_str(&format!("    {line}\n")));
    }
}

/// One window of a group's table.
#[derive(Debug)]
struct Row {
    window_ms: u64,
    /// `user` at the group's count, `user` in full batches, `shared` in both ways, `newest`.
    savings: [Option<f64>; 5],
    /// Of `user` at the group's count. None here and above: no such window is over.
    wait_p50_ms: Option<u64>,
    wait_p95_ms: Option<u64>,
}

/// Milliseconds, or a dash where no window is over.
fn tell_wait(wait: Option<u64>) -> String {
    wait.map_or_else(|| "-".to_owned(), millis)
}

fn rows(group: &GroupReport) -> Vec<Row> {
    let all = &group.arrangements;
    let mut windows: Vec<u64> = all.iter().map(|one| one.window_ms).collect();
    windows.sort_unstable();
    windows.dedup();
    let find = |window: u64, pack: &str, full: bool, keep: &str| {
        all.iter().find(|one| {
            one.batches > 0
                && (one.window_ms, one.full) == (window, full)
                && (&*one.pack, &*one.keep) == (pack, keep)
        })
    };
    let row = |window: u64| {
        let user = find(window, "user", false, "all");
        Row {
            window_ms: window,
            savings: [
                user,
                find(window, "user", true, "all"),
                find(window, "shared", false, "all"),
                find(window, "shared", true, "all"),
                find(window, "user", false, "newest"),
            ]
            .map(|one| one.map(Figures::saving)),
            wait_p50_ms: user.map(|one| one.wait_p50_ms),
            wait_p95_ms: user.map(|one| one.wait_p95_ms),
        }
    };
    windows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests;
