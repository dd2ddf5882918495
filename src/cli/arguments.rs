//! What can be asked for: the commands and their options.

use super::{explain, forget, manual};
use crate::demo::{DemoOptions, Rhythm};
use crate::ingest::outcome::dead::Selection;
use crate::logging::Format;
use crate::spans;
use crate::version;
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// The version, and the features that the build has.
const VERSION: &str = if spans::IS_BUILT_IN {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (",
        env!("TIDEGATE_COMMIT"),
        ", with the feature otlp)"
    )
} else {
    version::SHOWN
};

#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version = VERSION,
    about = "Acknowledges single events at once and forwards them as batches",
    after_help = manual::ENDING
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    /// The configuration; the demo has its own.
    #[arg(long, default_value = "config.toml", global = true)]
    pub(super) config: PathBuf,
    /// How what is said on stderr looks; text on a terminal, else json.
    #[arg(long, value_enum, global = true)]
    pub(super) log: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve (the default).
    Run {
        /// Read the file anew whenever it has changed, as after SIGHUP; looked at every two seconds.
        #[arg(long)]
        watch: bool,
    },
    /// Validate the configuration and print what each route will do.
    Check {
        /// Also look into the journal: whose groups the configuration no longer has. No process may
        /// have it open.
        #[arg(long)]
        journal: bool,
    },
    /// Whether a running sidecar takes calls and keeps events: what /readyz says at its admin
    /// address. Ends with 2 if it doesn't. For probes of containers.
    Health {
        /// Only whether the process answers: /healthz.
        #[arg(long)]
        alive: bool,
    },
    /// Events that could not be delivered, at the admin address of a running sidecar.
    #[command(after_help = manual::OF_LETTERS)]
    DeadLetters {
        #[command(subcommand)]
        what: Letters,
    },
    /// Which [[event]] routes batch, and for how many users, at the admin address of a running
    /// sidecar.
    Modes {
        #[command(subcommand)]
        what: Option<ModesCommand>,
        /// As JSON.
        #[arg(long, global = true)]
        json: bool,
    },
    /// What windows would save of the calls of routes in mode observe, at the admin address of a
    /// running sidecar.
    Observe {
        #[command(subcommand)]
        what: ObserveCommand,
    },
    /// Whether batches do what the single calls of routes in mode shadow did, at the admin address
    /// of a running sidecar.
    Parity {
        #[command(subcommand)]
        what: ParityCommand,
    },
    /// Propose a configuration, on stdout: from the calls that a running sidecar forwards, at its
    /// admin address, or from those of a browser's session.
    Learn(LearnOptions),
    /// What would become of a call, and why, stage by stage. Nothing is sent, and nothing is kept.
    Explain(explain::ExplainOptions),
    /// Erase what a running sidecar keeps of one user, at its admin address: pending events, dead
    /// letters, stored answers, lives of events. Without --yes it only tells what would be.
    Forget(forget::ForgetOptions),
    /// A journal's directory that no process has open.
    Journal {
        #[command(subcommand)]
        what: JournalCommand,
    },
    /// Print what a shell completes lines of this command by.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write a manual page for each command into a directory, which is made if need be.
    Man {
        /// The directory.
        directory: PathBuf,
    },
    /// Reference upstream, sidecar and synthetic learners in one process, with a report at the end.
    ///
    /// Ends with 1 if an acknowledged event was lost, came as another user, was applied twice
    /// without a reason or after a newer one, or if a read showed old data and did not say so.
    /// NO_COLOR is obeyed.
    Demo(DemoArguments),
}

#[derive(Debug, Subcommand)]
pub(super) enum Letters {
    /// One line each, oldest first.
    List {
        /// Only those of this reason, such as refused or credential_rejected.
        #[arg(long)]
        reason: Option<String>,
        /// Only those of this batch group.
        #[arg(long)]
        group: Option<String>,
    },
    /// The whole letter of a key, or those of an event id, with what the application answered.
    Show {
        /// Key, or event id (`id:123` where it is digits).
        name: String,
    },
    /// Back into their windows, oldest first, each with the credential it came with; at most 50 a
    /// second.
    Replay {
        #[command(flatten)]
        meant: MeantLetters,
        /// A file with header lines, such as `Authorization: Bearer TOKEN`, that take the place of
        /// those which the letters came with, and are kept with them. The letters must be one
        /// user's, and the credential too.
        #[arg(long, value_name = "FILE")]
        credential_file: Option<PathBuf>,
    },
    /// Take them away for good: they are never delivered, and stay counted as dead.
    Drop {
        #[command(flatten)]
        meant: MeantLetters,
    },
}

/// Which letters; without any of these there is an error, not all of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct MeantLetters {
    /// Key, or event id (`id:123` where it is digits).
    pub(super) name: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with_all = ["name", "reason", "group"])]
    pub(super) all: bool,
    /// Those of this reason, such as refused or credential_rejected.
    #[arg(long)]
    pub(super) reason: Option<String>,
    /// Those of this batch group.
    #[arg(long)]
    pub(super) group: Option<String>,
}

impl From<MeantLetters> for Selection {
    fn from(meant: MeantLetters) -> Self {
        let MeantLetters {
            name,
            all: _,
            reason,
            group,
        } = meant;
        Self {
            name,
            reason,
            group,
            user: None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ModesCommand {
    /// Change a route while it runs: from the next call on, and over restarts until the file says
    /// something else of it than now.
    Set {
        /// A route's name, or a path: then all routes of it.
        route: String,
        /// off, observe, shadow or coalesce.
        mode: String,
        /// Percent of users, 0 to 100; without it that stays.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
        rollout: Option<u8>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ObserveCommand {
    /// A table and a recommendation for each group.
    Report(ReportOptions),
}

#[derive(Debug, Subcommand)]
pub(super) enum ParityCommand {
    /// For each route go, no go or not yet, and why. Ends with 1 unless every route is go.
    Report(ReportOptions),
}

#[derive(Debug, clap::Args)]
pub(super) struct LearnOptions {
    /// How long calls are recorded, up to 10m; 60s. Nothing of them is kept.
    #[arg(long = "for", value_name = "LENGTH", value_parser = humantime::parse_duration, conflicts_with = "har")]
    pub(super) length: Option<Duration>,
    /// A session instead: a HAR 1.2 file.
    #[arg(long)]
    pub(super) har: Option<PathBuf>,
    /// Where the application of the session listens, http://HOST:PORT.
    #[arg(long, requires = "har")]
    pub(super) upstream: Option<String>,
    /// The application's host in the session, as its addresses have it, with a port that isn't the
    /// scheme's; the one that most calls with JSON objects went to.
    #[arg(long, requires = "har")]
    pub(super) host: Option<String>,
    /// As JSON: the configuration, what is proposed, what is not and why, and what isn't known.
    #[arg(long)]
    pub(super) json: bool,
}

/// How long something goes on.
fn parse_length(text: &str) -> Result<Duration, String> {
    /// A time that a clock can tell when it is added to now.
    const LONGEST: Duration = Duration::from_hours(24);
    let length = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    (length <= LONGEST)
        .then_some(length)
        .ok_or_else(|| format!("found {text}, at most 24h is allowed"))
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoArguments {
    /// Synthetic learners; 100.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) learners: Option<u32>,
    /// How long they learn; 20s.
    #[arg(long, value_parser = parse_length)]
    pub(super) duration: Option<Duration>,
    /// player (the default): about a call a second; pings: two calls every 15 s.
    #[arg(long, value_enum)]
    pub(super) rhythm: Option<RhythmName>,
    /// Run the whole clock ten times faster.
    #[arg(long)]
    pub(super) fast: bool,
    /// Put a second sidecar before the first, whose routes are in mode observe, and tell what it
    /// predicts beside what is saved.
    #[arg(long)]
    pub(super) observe: bool,
    /// The last line of stdout is the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// After the report, go on serving the application, the sidecar and its dashboard until Ctrl-C.
    #[arg(long)]
    pub(super) keep: bool,
    /// Gone: the comparison is a benchmark.
    #[arg(long, hide = true)]
    pub(super) compare: bool,
}

impl From<DemoArguments> for DemoOptions {
    fn from(given: DemoArguments) -> Self {
        Self {
            learners: given.learners.map(|learners| learners as usize),
            duration: given.duration,
            rhythm: given.rhythm.map(Into::into),
            fast: given.fast,
            observe: given.observe,
            json: given.json,
            keep: given.keep,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportOptions {
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Also write one page with plots to this file.
    #[arg(long)]
    pub(super) html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Read every record; exit code 1 if one was damaged.
    Verify {
        /// The directory.
        #[arg(long)]
        path: PathBuf,
        /// The key that its records were sealed with; may be given again for older ones.
        #[arg(long)]
        key_file: Vec<PathBuf>,
    },
    /// Count what is in it.
    Stats {
        /// The directory.
        #[arg(long)]
        path: PathBuf,
        /// The key that its records were sealed with; may be given again for older ones.
        #[arg(long)]
        key_file: Vec<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RhythmName {
    Player,
    Pings,
}

impl From<RhythmName> for Rhythm {
    fn from(name: RhythmName) -> Self {
        match name {
            RhythmName::Player => Self::Player,
            RhythmName::Pings => Self::Pings,
        }
    }
}
