//! `tidegate demo`: a reference application, the sidecar with its shipped configuration and
//! synthetic learners in one process; a summary while it runs, and at the end a report whose
//! verdict is the application's own count.
//!
//! Three rooms, of which none knows a later one: `application` answers and counts, `learners` call
//! and remember what they were promised, `report` compares the two and shows it. `arrangement` has
//! the ways to set up the sidecar that the benchmark `compare` measures, `stage` brings all of them
//! together for one run, and `prediction` an observing sidecar before the other.
//!
//! The fast clock is one factor applied to everything that has a rhythm: the learners, the
//! sidecar's windows, retries and freshness, the application's rate limit and token life. The
//! application's latency stays what it is, so the saving that the fast clock shows is not better
//! than the true one.

mod application;
mod arrangement;
mod learners;
mod prediction;
mod report;
mod stage;

pub use arrangement::Arrangement;
pub use learners::rhythm::Rhythm;
pub use report::numbers::{grouped, micros};
pub use report::run::Run;
pub(crate) use report::style::Style;
pub use report::{Figures, Report};

use serde_json::Value;
use stage::Stage;
use std::io::Write as _;
use std::time::Duration;

/// The fast clock.
const FAST: u32 = 10;

/// What can be asked of the demo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DemoOptions {
    /// Synthetic learners.
    pub learners: Option<usize>,
    /// How long they play, real time.
    pub duration: Option<Duration>,
    /// How often they call.
    pub rhythm: Option<Rhythm>,
    /// The whole clock ten times faster.
    pub fast: bool,
    /// Another sidecar before it observes the same calls, and predicts what it saves.
    pub observe: bool,
    /// The last line of stdout is a JSON object.
    pub json: bool,
    /// After the report, application, sidecar and dashboard go on until Ctrl-C.
    pub keep: bool,
}

impl DemoOptions {
    /// The run that this asks for.
    fn run(&self) -> Run {
        Run {
            learners: self.learners.unwrap_or(100),
            rhythm: self.rhythm.unwrap_or_default(),
            speed: if self.fast { FAST } else { 1 },
            duration: self.duration.unwrap_or(Duration::from_secs(20)),
            arrangement: None,
            observed: self.observe,
        }
    }
}

/// Runs the demo; `false`: its report names something that must not happen.
///
/// # Errors
/// A part of it could not be started, or its report can't be written.
pub async fn run(options: DemoOptions) -> anyhow::Result<bool> {
    let tell = |report: &Report| publish(options.json, &report.to_string(), &report.json());
    let stage = Stage::set(options.run()).await?;
    if options.keep {
        return Ok(stage.play_and_keep(tell).await?.is_good());
    }
    let report = stage.play().await;
    tell(&report)?;
    Ok(report.is_good())
}

/// Plays one run to its end and reports it, without printing the report.
///
/// # Errors
/// A part of it could not be started.
pub async fn play(run: Run) -> anyhow::Result<Report> {
    Ok(Stage::set(run).await?.play().await)
}

fn publish(json: bool, page: &str, line: &Value) -> std::io::Result<()> {
    if json {
        // The page is for people; stdout belongs to the program that reads the line.
        std::io::stderr().write_all(page.as_bytes())?;
        writeln!(std::io::stdout(), "{line}")
    } else {
        std::io::stdout().write_all(page.as_bytes())
    }
}
