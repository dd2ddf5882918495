//! What each way to set up the sidecar saves: the same learners in front of each, one run after the
//! other, and one table.
//!
//! `cargo bench --bench compare` takes seven minutes. `-- --rhythm pings` or `player` plays one
//! rhythm only; `--learners` and `--duration` (of each run, real time) make it smaller; `--json`
//! prints the runs' reports as one line; `--observe` adds what mode `observe` predicts of each, in real
//! time, since paper knows nothing of how long deliveries take. It ends with 1 if a run showed something that must not
//! happen.

mod table;

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use table::{Row, Wanted, runs, table};
use tidegate::demo::{self, Arrangement, Rhythm, Run};

#[derive(Debug, Parser)]
struct Arguments {
    /// Synthetic learners.
    #[arg(long, default_value_t = table::LEARNERS)]
    learners: usize,
    /// How long each run takes; without it what suits its rhythm.
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// pings or player; without it both.
    #[arg(long, value_parser = rhythm)]
    rhythm: Option<Rhythm>,
    /// Only arrangements whose name is this: shipped, minute, shared, collapse, collapse-minute or
    /// collapse-shared.
    #[arg(long, value_parser = arrangement)]
    arrangement: Option<Arrangement>,
    /// An observing sidecar before each: its prediction beside what was saved.
    #[arg(long)]
    observe: bool,
    /// One object with the report of each run.
    #[arg(long)]
    json: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn arrangement(name: &str) -> Result<Arrangement, String> {
    let mut known = Arrangement::ALL.into_iter();
    let found = known.find(|one| one.as_str() == name);
    found.ok_or_else(|| {
        let known: Vec<_> = Arrangement::ALL.iter().map(|one| one.as_str()).collect();
        known.join(", ")
    })
}

fn rhythm(name: &str) -> Result<Rhythm, String> {
    let known = [Rhythm::Pings, Rhythm::Player]
        .into_iter()
        .find(|rhythm| rhythm.as_str() == name);
    known.ok_or_else(|| "pings or player".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments {
        learners,
        duration,
        rhythm,
        arrangement,
        observe,
        json,
        bench: _,
    } = Arguments::parse();
    let wanted = runs(Wanted {
        learners,
        duration,
        rhythm,
        arrangement,
    });
    let (mut rows, mut reports) = (Vec::new(), Vec::new());
    for (number, run) in (1..).zip(&wanted) {
        let run = &Run {
            observed: observe,
            speed: if observe { 1 } else { run.speed },
            ..*run
        };
        writeln!(std::io::stderr(), "\n  {number} of {}: {run}", wanted.len())?;
        let report = demo::play(*run).await?;
        if let Some((predicted, saved)) = report.figures().prediction {
            let off = (predicted / saved - 1.0) * 100.0;
            writeln!(
                std::io::stderr(),
                "  observe predicted {predicted:.2} event calls in for each call out; {saved:.2} \
                 were: {off:+.1} %"
            )?;
        }
        if report.interrupted {
            anyhow::bail!("interrupted in run {number} of {}", wanted.len());
        }
        for finding in report.findings() {
            writeln!(std::io::stderr(), "  {finding}")?;
        }
        rows.push(Row {
            run: *run,
            figures: report.figures(),
        });
        reports.push(report.json());
    }
    let good = rows.iter().all(|row| row.figures.good);
    if json {
        let line = serde_json::json!({"runs": reports, "ok": good});
        writeln!(std::io::stdout(), "{line}")?;
    } else {
        write!(std::io::stdout(), "{}", table(&rows))?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
