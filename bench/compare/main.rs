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
use tidegate::demo::{self, Rhythm, Run};

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
        observe,
        json,
        bench: _,
    } = Arguments::parse();
    let wanted = runs(Wanted {
        learners,
        duration,
        rhythm,
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
