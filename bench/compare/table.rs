//! Which runs are compared, and the table of what they showed. No line is wider than 80 columns.

use std::fmt::Write as _;
use std::time::Duration;
use tidegate::demo::{Arrangement, Figures, Rhythm, Run, grouped, micros};

/// Learners unless said otherwise.
pub const LEARNERS: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Synthetic learners.
    pub learners: usize,
    /// How long each run takes; none: what suits its rhythm.
    pub duration: Option<Duration>,
    /// None: both.
    pub rhythm: Option<Rhythm>,
    /// None: all of them.
    pub arrangement: Option<Arrangement>,
}

/// One run and what it showed.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What was run.
    pub run: Run,
    /// What it showed.
    pub figures: Figures,
}

/// How fast each rhythm's clock runs, and how long, real time. Long enough for windows of a minute
/// to show what they save, slow enough for two cores to play all learners, the sidecar and the
/// application, and short enough for all of them to be over in eight minutes.
pub const fn clock(rhythm: Rhythm) -> (u32, Duration) {
    match rhythm {
        Rhythm::Pings => (10, Duration::from_secs(30)),
        Rhythm::Player => (2, Duration::from_secs(55)),
    }
}

/// Every arrangement on every rhythm that it plays.
pub fn runs(wanted: Wanted) -> Vec<Run> {
    let rhythms = wanted.rhythm.map_or_else(
        || vec![Rhythm::Pings, Rhythm::Player],
        |rhythm| vec![rhythm],
    );
    let run = |rhythm, arrangement| {
        let (speed, duration) = clock(rhythm);
        let duration = wanted.duration.unwrap_or(duration);
        Run {
            learners: wanted.learners,
            rhythm,
            speed,
            duration,
            arrangement: Some(arrangement),
            observed: false,
        }
    };
    let played = |rhythm| {
        let plays = Arrangement::ALL
            .into_iter()
            .filter(move |arrangement| arrangement.plays(rhythm))
            .filter(move |one| wanted.arrangement.is_none_or(|only| only == *one));
        plays.map(move |arrangement| run(rhythm, arrangement))
    };
    rhythms.into_iter().flat_map(played).collect()
}

/// What all runs showed, for people.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let written = write_savings(&mut out, rows).and_then(|()| write_details(&mut out, rows));
    debug_assert!(written.is_ok(), "writing into a text can't fail");
    out
}

/// The first run of each rhythm.
fn columns(rows: &[Row]) -> Vec<&Row> {
    let mut columns: Vec<&Row> = Vec::new();
    for row in rows {
        if !columns
            .iter()
            .any(|known| known.run.rhythm == row.run.rhythm)
        {
            columns.push(row);
        }
    }
    columns
}

fn cell(rows: &[Row], arrangement: Arrangement, rhythm: Rhythm) -> String {
    let here = |row: &&Row| row.run.arrangement == Some(arrangement) && row.run.rhythm == rhythm;
    let Some(Row { figures, .. }) = rows.iter().find(here) else {
        return "-".to_owned();
    };
    format!(
        "{:.2}× ({}→{})",
        figures.reduction,
        grouped(figures.calls),
        grouped(figures.sent_on)
    )
}

fn write_savings(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    let rhythms: Vec<Rhythm> = columns(rows).iter().map(|row| row.run.rhythm).collect();
    let mut line = |title: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>25}")).collect();
        writeln!(out, "{title:<29}{cells}")
    };
    line(
        "fewer calls",
        rhythms
            .iter()
            .map(|rhythm| rhythm.as_str().to_owned())
            .collect(),
    )?;
    for arrangement in Arrangement::ALL {
        line(
            arrangement.title(),
            rhythms
                .iter()
                .map(|rhythm| cell(rows, arrangement, *rhythm))
                .collect(),
        )?;
    }
    for row in columns(rows) {
        let (rhythm, learners) = (row.run.rhythm.as_str(), grouped(row.run.learners as u64));
        writeln!(out, "  {rhythm}: {learners} learners, {}", row.run.clock())?;
    }
    Ok(())
}

fn write_details(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    for row in columns(rows) {
        let rhythm = row.run.rhythm;
        writeln!(
            out,
            "\n  {:<29}{:>8}{:>12}{:>14}{:>14}",
            rhythm.as_str(),
            "writes",
            "superseded",
            "ack p50",
            "ack p99"
        )?;
        for Row { run, figures } in rows.iter().filter(|row| row.run.rhythm == rhythm) {
            let title = run.arrangement.map_or("as configured", Arrangement::title);
            let (writes, superseded) = (
                format!("{:.2}×", figures.write_reduction),
                grouped(figures.superseded),
            );
            let (p50, p99) = (micros(figures.p50), micros(figures.p99));
            writeln!(
                out,
                "  {title:<29}{writes:>8}{superseded:>12}{p50:>14}{p99:>14}"
            )?;
        }
        writeln!(
            out,
            "\n  {:<29}{:>8}{:>8}{:>11}{:>8}{:>10}",
            rhythm.as_str(),
            "lost",
            "foreign",
            "reordered",
            "stale",
            "declared"
        )?;
        for Row { run, figures } in rows.iter().filter(|row| row.run.rhythm == rhythm) {
            let title = run.arrangement.map_or("as configured", Arrangement::title);
            let Figures {
                lost,
                foreign,
                out_of_order,
                stale,
                declared,
                good,
                ..
            } = figures;
            let verdict = if *good { "" } else { " !" };
            writeln!(
                out,
                "  \
                 {title:<29}{lost:>8}{foreign:>8}{out_of_order:>11}{stale:>8}{declared:>10}{verdict}"
            )?;
        }
    }
    writeln!(out)?;
    writeln!(
        out,
        "  writes: the same for writes alone, without the reads of dashboards"
    )?;
    writeln!(
        out,
        "  superseded: acknowledged states, replaced by newer ones before they were sent"
    )?;
    writeln!(
        out,
        "  stale: reads that showed less than was acknowledged; declared: those of them"
    )?;
    writeln!(
        out,
        "  whose Cache-Status said so (barrier-timeout); !: what must not happen"
    )?;
    writeln!(
        out,
        "  calls: reads and writes, a repeated call once → batches and retries,"
    )?;
    writeln!(
        out,
        "  reads, forwarded calls; logins and token refreshes are left out of both"
    )
}
