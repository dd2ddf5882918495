//! `demo --compare`: the same learners in front of each arrangement, one run after the other, and one table.

use super::arrangement::Arrangement;
use super::learner::rhythm::Rhythm;
use super::moment::{grouped, micros};
use super::report::{REDUCTION, Report};
use super::run::Run;
use super::{DemoOptions, FAST, Stage};
use anyhow::bail;
use serde_json::{Value, json};
use std::fmt;
use std::io::Write as _;
use std::time::Duration;

/// Learners unless said otherwise.
const LEARNERS: usize = 1_000;

/// How fast each rhythm's clock runs, and how long, real time. Long enough for windows of a minute to show what they
/// save, slow enough for two cores to play all learners, the sidecar and the upstream, and short enough for all of them
/// to be over in eight minutes.
const fn clock(rhythm: Rhythm) -> (u32, Duration) {
    match rhythm {
        Rhythm::Pings => (10, Duration::from_secs(30)),
        Rhythm::Player => (2, Duration::from_secs(55)),
    }
}

/// Measures; `false`: a run broke a promise.
///
/// # Errors
/// A part could not be started, or somebody interrupted.
pub async fn run(options: &DemoOptions) -> anyhow::Result<bool> {
    let runs = runs(options);
    let mut comparison = Comparison::default();
    for (number, run) in (1..).zip(&runs) {
        writeln!(std::io::stderr(), "\n  {number} of {}: {run}", runs.len())?;
        let report = Stage::set(*run).await?.play().await;
        if report.interrupted {
            bail!("interrupted in run {number} of {}", runs.len());
        }
        comparison.0.push(report);
    }
    super::publish(options.json, &comparison.to_string(), &comparison.json())?;
    Ok(comparison.is_good())
}

/// Every arrangement on every rhythm that it plays.
fn runs(options: &DemoOptions) -> Vec<Run> {
    let rhythms = options.rhythm.map_or_else(|| vec![Rhythm::Pings, Rhythm::Player], |rhythm| vec![rhythm]);
    let run = |rhythm, arrangement| {
        let (speed, duration) = clock(rhythm);
        Run {
            learners: options.learners.unwrap_or(LEARNERS),
            rhythm,
            speed: if options.fast { FAST } else { speed },
            duration: options.duration.unwrap_or(duration),
            arrangement: Some(arrangement),
        }
    };
    let played = |rhythm| {
        let plays = Arrangement::ALL.into_iter().filter(move |arrangement| arrangement.plays(rhythm));
        plays.map(move |arrangement| run(rhythm, arrangement))
    };
    rhythms.into_iter().flat_map(played).collect()
}

/// What was measured, in the order of the runs.
#[derive(Debug, Default)]
struct Comparison(Vec<Report>);

impl Comparison {
    fn is_good(&self) -> bool {
        self.0.iter().all(Report::is_good)
    }

    /// One object, no line break.
    fn json(&self) -> Value {
        json!({"runs": self.0.iter().map(Report::json).collect::<Vec<_>>(), "ok": self.is_good()})
    }

    /// The first report of each rhythm.
    fn columns(&self) -> Vec<&Report> {
        let mut columns: Vec<&Report> = Vec::new();
        for report in &self.0 {
            if !columns.iter().any(|known| known.scene.run.rhythm == report.scene.run.rhythm) {
                columns.push(report);
            }
        }
        columns
    }

    fn cell(&self, arrangement: Arrangement, rhythm: Rhythm) -> String {
        let here =
            |report: &&Report| report.scene.run.arrangement == Some(arrangement) && report.scene.run.rhythm == rhythm;
        self.0.iter().find(here).map_or_else(
            || "-".to_owned(),
            |Report { last, .. }| {
                format!("{:.2}× ({} → {})", last.reduction(), grouped(last.calls()), grouped(last.upstream.work()))
            },
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let rhythms: Vec<Rhythm> = columns.iter().map(|report| report.scene.run.rhythm).collect();
        let line = |f: &mut fmt::Formatter<'_>, title: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>30}")).collect();
            writeln!(f, "  {title:<36}{cells}")
        };
        writeln!(f)?;
        line(f, "fewer calls", rhythms.iter().map(|rhythm| rhythm.as_str().to_owned()).collect())?;
        for arrangement in Arrangement::ALL {
            line(f, arrangement.title(), rhythms.iter().map(|rhythm| self.cell(arrangement, *rhythm)).collect())?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "  {:<44}{:>9}{:>12}{:>10}{:>10}{:>7}{:>9}{:>14}{:>7}{:>7}",
            "run", "writes", "superseded", "ack p50", "ack p99", "lost", "foreign", "out of order", "stale", "late"
        )?;
        for report in &self.0 {
            let Report { last, audit, scene, .. } = report;
            let name = scene.run.arrangement.map_or_else(String::new, |arrangement| {
                format!("{}: {}", scene.run.rhythm.as_str(), arrangement.title())
            });
            let (p50, p99) = (micros(last.latency.p50), micros(last.latency.p99));
            let verdict = if report.is_good() { "" } else { "  not good" };
            writeln!(
                f,
                "  {name:<44}{:>9}{:>12}{p50:>10}{p99:>10}{:>7}{:>9}{:>14}{:>7}{:>7}{verdict}",
                format!("{:.2}×", last.write_reduction()),
                grouped(report.ledger.superseded),
                audit.lost,
                audit.foreign,
                audit.out_of_order,
                last.stale,
                report.stale_past_barrier,
            )?;
        }
        writeln!(f)?;
        for Report { scene, .. } in columns {
            writeln!(
                f,
                "  {}: {} learners, {}",
                scene.run.rhythm.as_str(),
                grouped(scene.run.learners as u64),
                scene.run.clock()
            )?;
        }
        writeln!(f, "  late: stale reads that waited for the barrier in vain and were sent past the cache")?;
        writeln!(f, "  writes: the same for writes alone, without the reads of dashboards")?;
        writeln!(f, "  superseded: acknowledged snapshots that a newer one made needless before they were sent")?;
        writeln!(f, "  {REDUCTION}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::audit::Audit;
    use crate::demo::moment::{Moment, Scene};
    use crate::demo::tally::Tally;
    use crate::demo::upstream::census::Calls;
    use crate::metrics::Ledger;

    fn report(run: Run, lost: u64) -> Report {
        let address = "127.0.0.1:1".parse().unwrap();
        let tally = Tally::try_new().unwrap();
        (0..6_000).for_each(|_| tally.writes.add());
        (0..1_000).for_each(|_| tally.reads.add());
        let upstream = Calls { progress_batches: 1_500, reads: 500, ..Calls::default() };
        let last = Moment::of(run.duration, &tally, upstream, Ledger::default(), None);
        let audit = Audit { acknowledged: 6_000, lost, ..Audit::default() };
        Report::new(Scene { run, address, admin: address }, last, audit, &tally)
    }

    #[test]
    fn every_arrangement_is_measured_on_every_rhythm_that_it_plays_unless_one_is_named() {
        let asked = runs(&DemoOptions::default());
        let measured: Vec<_> = asked.iter().map(|run| (run.rhythm, run.arrangement)).collect();
        let pings = [Arrangement::Shipped, Arrangement::Minute, Arrangement::Shared];
        let pings = pings.map(|arrangement| (Rhythm::Pings, Some(arrangement)));
        let player = Arrangement::ALL.map(|arrangement| (Rhythm::Player, Some(arrangement)));
        assert_eq!(measured, [pings.as_slice(), player.as_slice()].concat());
        assert!(asked.iter().all(|run| run.learners == LEARNERS && (run.speed, run.duration) == clock(run.rhythm)));
        let theirs = asked.iter().map(|run| run.duration * run.speed);
        assert!(theirs.min() >= Some(Duration::from_secs(110)), "windows of a minute must matter");
        let all: Duration = asked.iter().map(|run| run.duration).sum();
        assert!(all <= Duration::from_secs(430), "nobody waits longer than for a coffee: {all:?}");

        let duration = Duration::from_secs(9);
        let options = DemoOptions {
            learners: Some(7),
            duration: Some(duration),
            rhythm: Some(Rhythm::Player),
            fast: true,
            ..DemoOptions::default()
        };
        let run = Run { learners: 7, rhythm: Rhythm::Player, speed: FAST, duration, arrangement: None };
        let arranged = Arrangement::ALL.map(|arrangement| Run { arrangement: Some(arrangement), ..run });
        assert_eq!(runs(&options), arranged);
    }

    #[test]
    fn one_broken_promise_spoils_the_comparison() {
        let asked = runs(&DemoOptions::default());
        let compared = |lost: fn(usize) -> u64| {
            Comparison(asked.iter().enumerate().map(|(place, run)| report(*run, lost(place))).collect())
        };
        assert!(compared(|_| 0).is_good());
        let broken = compared(|place| u64::from(place == 1));
        assert!(!broken.is_good());
        assert_eq!(
            (broken.json()["ok"].as_bool(), broken.json()["runs"][1]["ok"].as_bool()),
            (Some(false), Some(false))
        );
        assert_eq!(broken.to_string().matches("not good").count(), 1);
    }

    #[test]
    fn the_table_has_a_row_for_each_arrangement_and_a_column_for_each_rhythm() {
        let asked = runs(&DemoOptions::default());
        let comparison = Comparison(asked.iter().map(|run| report(*run, 0)).collect());
        let (table, json) = (comparison.to_string(), comparison.json());
        for arrangement in Arrangement::ALL {
            let row = table.lines().find(|line| line.trim_start().starts_with(arrangement.title())).unwrap();
            let collapse = arrangement.as_str().starts_with("collapse");
            let cells = if collapse { ["-", "3.50×"] } else { ["3.50×", "3.50×"] };
            let found: Vec<_> = row.split_whitespace().filter(|word| *word == "-" || *word == "3.50×").collect();
            assert_eq!(found, cells, "{table}");
            let details = table.lines().filter(|line| line.contains(&format!(": {}", arrangement.title())));
            let played = if collapse { 1 } else { 2 };
            assert_eq!(details.filter(|line| line.contains("4.00×")).count(), played, "{table}");
        }
        let named: Vec<_> = json["runs"].as_array().unwrap().iter().map(|run| run["arrangement"].as_str()).collect();
        let expected: Vec<_> = asked.iter().map(|run| run.arrangement.map(Arrangement::as_str)).collect();
        assert_eq!(named, expected);
        assert!(!json.to_string().contains('\n'));
    }
}
