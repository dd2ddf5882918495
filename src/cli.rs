//! The command line (design §3). Arguments in, exit code out.

use crate::admin::{LogFilter, Reloaded, Token, TokenError};
use crate::app::{self, Options};
use crate::config::{self, Config, Problems};
use crate::demo::{self, DemoOptions, Rhythm};
use crate::ingest::outcome::dead::Selection;
use crate::ingest::outcome::new_credential::NewCredential;
use crate::journal::settings::Durability;
use crate::logging::Format;
use crate::migration::Change;
use crate::server::Passed;
use crate::spans;
use crate::version;
use admin_client::AdminAddress;
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

mod admin_client;
mod explain;
mod forget;
mod inspect;
mod learn;
mod log;
mod manual;
mod modes;
mod observe;
mod page;
mod parity;
mod preflight;
mod service_manager;
mod units;

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
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration.
    #[arg(long, default_value = "config.toml", global = true)]
    config: PathBuf,
    /// How what is said on stderr looks; text on a terminal, else json.
    #[arg(long, value_enum, global = true)]
    log: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    Learn {
        /// How long calls are recorded, up to 10m; 60s. Nothing of them is kept.
        #[arg(long = "for", value_name = "LENGTH", value_parser = humantime::parse_duration, conflicts_with = "har")]
        length: Option<Duration>,
        /// A session instead: a HAR 1.2 file.
        #[arg(long)]
        har: Option<PathBuf>,
        /// Where the application of the session listens, http://HOST:PORT.
        #[arg(long, requires = "har")]
        upstream: Option<String>,
        /// As JSON: the configuration, what is proposed, what is not and why, and what isn't known.
        #[arg(long)]
        json: bool,
    },
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
    Demo {
        /// Synthetic learners; 100.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        learners: Option<u32>,
        /// How long they learn; 20s.
        #[arg(long, value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
        /// player (the default): about a call a second; pings: two calls every 15 s.
        #[arg(long, value_enum)]
        rhythm: Option<RhythmName>,
        /// Run the whole clock ten times faster.
        #[arg(long)]
        fast: bool,
        /// Put a second sidecar before the first, whose routes are in mode observe, and tell what it
        /// predicts beside what is saved.
        #[arg(long)]
        observe: bool,
        /// The last line of stdout is the report as JSON.
        #[arg(long)]
        json: bool,
        /// After the report, go on serving the application, the sidecar and its dashboard until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// Gone: the comparison is a benchmark.
        #[arg(long, hide = true)]
        compare: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Letters {
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
struct MeantLetters {
    /// Key, or event id (`id:123` where it is digits).
    name: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with_all = ["name", "reason", "group"])]
    all: bool,
    /// Those of this reason, such as refused or credential_rejected.
    #[arg(long)]
    reason: Option<String>,
    /// Those of this batch group.
    #[arg(long)]
    group: Option<String>,
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
        }
    }
}

#[derive(Debug, Subcommand)]
enum ModesCommand {
    /// Change a route while it runs: from the next call on, and over restarts until the file says
    /// something else of it than now.
    Set {
        /// A route's name, or a path: then all routes of it.
        route: String,
        /// off, observe or coalesce.
        mode: String,
        /// Percent of users, 0 to 100; without it that stays.
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
        rollout: Option<u8>,
    },
}

#[derive(Debug, Subcommand)]
enum ObserveCommand {
    /// A table and a recommendation for each group.
    Report(ReportOptions),
}

#[derive(Debug, Subcommand)]
enum ParityCommand {
    /// For each route go, no go or not yet, and why. Ends with 1 unless every route is go.
    Report(ReportOptions),
}

#[derive(Debug, clap::Args)]
struct ReportOptions {
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Also write one page with plots to this file.
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
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
enum RhythmName {
    Player,
    Pings,
}

/// What ended a command other than well.
#[derive(Debug)]
enum Failure {
    /// Configuration, input, or what was looked at: exit code 1.
    Input(String),
    /// Anything at run time: exit code 2.
    Runtime(anyhow::Error),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(1),
            Self::Runtime(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) => f.write_str(text),
            Self::Runtime(error) => write!(f, "tidegate: {error:#}"),
        }
    }
}

/// What an operator asked for and isn't allowed is wrong input.
fn input_if_refused(error: anyhow::Error) -> Failure {
    match error.downcast::<admin_client::Refused>() {
        Ok(refused) => Failure::Input(refused.to_string()),
        Err(error) => Failure::Runtime(error),
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Input(problems.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                ExitCode::from(1)
            } else {
                ExitCode::SUCCESS
            };
            return if error.print().is_ok() {
                code
            } else {
                ExitCode::from(2)
            };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let load =
        || -> Result<Config, Failure> { Ok(config::load(&arguments.config, std::env::vars())?) };
    let admin_address = || {
        let input = |error: anyhow::Error| Failure::Input(format!("{error:#}"));
        AdminAddress::of(&load()?.admin).map_err(input)
    };
    let log_format = arguments.log.map(|format| match format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    });
    match arguments.command.unwrap_or(Command::Run { watch: false }) {
        Command::Run { watch } => {
            let text = config::read_text(&arguments.config)?;
            let name = arguments.config.display().to_string();
            let mut config = config::parse(&text, &name, std::env::vars())?;
            let format = log_format.or(config.log.format);
            let format = format.unwrap_or_else(log::format_of_stderr);
            config.log.format = Some(format);
            let log = log::begin(format, config.log.level);
            prove_token(&config)?;
            // Whatever this process writes is its owner's alone: the journal holds credentials.
            rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
            // ORDER: before the runtime has descriptors and threads.
            let passed = Passed::claim();
            let file = (arguments.config, text);
            Ok(runtime()?.block_on(serve(config, file, log, (watch, passed)))?)
        }
        Command::Check { journal } => {
            let config = load()?;
            prove_token(&config)?;
            let findings = preflight::look(&config);
            let mut told = config::print::table(&config);
            if journal {
                told.push_str(&inspect::groups(&config)?);
            }
            for warning in &findings.warnings {
                told.push_str(&format!("warning: {warning}\n"));
            }
            print!("{}", units::wrap_lines(&told));
            if !findings.problems.is_empty() {
                return Err(Failure::Input(findings.problems.join("\n")));
            }
            println!("{}: no problems", arguments.config.display());
            Ok(())
        }
        Command::DeadLetters { what } => {
            let admin = admin_address()?;
            let mut credential = None;
            let (action, meant) = match what {
                Letters::List { reason, group } => {
                    let name = None;
                    let meant = Selection {
                        name,
                        reason,
                        group,
                    };
                    (inspect::Action::List, meant)
                }
                Letters::Show { name } => {
                    let name = Some(name);
                    let meant = Selection {
                        name,
                        ..Selection::default()
                    };
                    (inspect::Action::Show, meant)
                }
                Letters::Replay {
                    meant,
                    credential_file,
                } => {
                    credential = credential_file
                        .map(|file| read_credential(&file))
                        .transpose()?;
                    (inspect::Action::Replay, meant.into())
                }
                Letters::Drop { meant } => (inspect::Action::Drop, meant.into()),
            };
            let is_input = credential.is_some();
            let asked = inspect::dead_letters(&admin, action, &meant, credential);
            let (good, text) = match runtime()?.block_on(asked) {
                Err(error) if is_input => return Err(input_if_refused(error)),
                answered => answered?,
            };
            print!("{text}");
            if good {
                Ok(())
            } else {
                Err(Failure::Input("not every letter was replayed".to_owned()))
            }
        }
        Command::Forget(options) => {
            let asked = admin_address()?;
            let told = runtime()?.block_on(forget::forget_user(&asked, &options));
            print!("{}", told.map_err(input_if_refused)?);
            Ok(())
        }
        Command::Completions { shell } => {
            manual::print_completions(Arguments::command(), shell);
            Ok(())
        }
        Command::Man { directory } => {
            let shown = directory.display().to_string();
            let written = manual::write_pages(Arguments::command(), &directory).context(shown)?;
            for file in written {
                println!("{}", file.display());
            }
            Ok(())
        }
        Command::Health { alive } => {
            let path = if alive { "/healthz" } else { "/readyz" };
            let admin = admin_address()?;
            let asked = admin_client::ask_text(&admin, path);
            println!("{}", runtime()?.block_on(asked)?);
            Ok(())
        }
        Command::Modes { what, json } => {
            let admin = admin_address()?;
            let text = match what {
                None => runtime()?.block_on(modes::list(&admin, json))?,
                Some(ModesCommand::Set {
                    route,
                    mode,
                    rollout,
                }) => {
                    let set = modes::set(&admin, (&route, &mode, rollout), json);
                    runtime()?.block_on(set).map_err(input_if_refused)?
                }
            };
            print!("{text}");
            Ok(())
        }
        Command::Observe {
            what: ObserveCommand::Report(options),
        } => {
            let (admin, has_page) = (admin_address()?, options.html.is_some());
            let report = observe::report(&admin, options.json, has_page);
            let (text, page) = runtime()?.block_on(report)?;
            Ok(show_report(&text, options.html.zip(page))?)
        }
        Command::Parity {
            what: ParityCommand::Report(options),
        } => {
            let (admin, has_page) = (admin_address()?, options.html.is_some());
            let report = parity::report(&admin, options.json, has_page);
            let told = runtime()?.block_on(report)?;
            show_report(&told.text, options.html.zip(told.page))?;
            if told.is_go {
                Ok(())
            } else {
                Err(Failure::Input("not every route is go".to_owned()))
            }
        }
        Command::Learn {
            length,
            har,
            upstream,
            json,
        } => {
            let text = match har {
                Some(har) => learn::learn_file(&har, upstream, json)?,
                None => {
                    let length = length.unwrap_or(Duration::from_secs(60));
                    let admin = admin_address()?;
                    let recorded = runtime()?.block_on(learn::record_calls(&admin, length));
                    learn::show_recorded(recorded.map_err(input_if_refused)?.as_ref(), json)?
                }
            };
            print!("{text}");
            Ok(())
        }
        Command::Explain(options) => {
            let config = load()?;
            let text = runtime()?.block_on(explain::explain_call(&config, options))?;
            print!("{text}");
            Ok(())
        }
        Command::Journal { what } => {
            let (path, key_files, verify) = match what {
                JournalCommand::Verify { path, key_file } => (path, key_file, true),
                JournalCommand::Stats { path, key_file } => (path, key_file, false),
            };
            let (good, text) = inspect::journal(path, key_files, verify)?;
            print!("{text}");
            if good {
                Ok(())
            } else {
                Err(Failure::Input("the journal was damaged".to_owned()))
            }
        }
        Command::Demo { compare: true, .. } => Err(Failure::Input(COMPARE.to_owned())),
        Command::Demo {
            learners,
            duration,
            rhythm,
            fast,
            observe,
            json,
            keep,
            compare: false,
        } => {
            log::begin(log_format.unwrap_or_else(log::format_of_stderr), "error");
            let rhythm = rhythm.map(|rhythm| match rhythm {
                RhythmName::Player => Rhythm::Player,
                RhythmName::Pings => Rhythm::Pings,
            });
            let learners = learners.map(|learners| learners as usize);
            let options = DemoOptions {
                learners,
                duration,
                rhythm,
                fast,
                observe,
                json,
                keep,
            };
            verdict(runtime()?.block_on(demo::run(options))?)
        }
    }
}

/// The header lines of a file, which must be a credential's.
fn read_credential(file: &Path) -> Result<String, Failure> {
    let wrong = |found: String| Failure::Input(format!("{}: {found}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    NewCredential::try_new(&text).map_err(|found| wrong(found.to_string()))?;
    Ok(text)
}

/// The token's file holds a token, if one is named.
fn prove_token(config: &Config) -> Result<(), Failure> {
    let read = config.admin.token_file.as_deref().map(Token::read);
    let wrong = |error: TokenError| Failure::Input(error.to_string());
    read.transpose().map(drop).map_err(wrong)
}

/// Prints a report, and writes its page to a file if one is wanted.
fn show_report(text: &str, page: Option<(PathBuf, String)>) -> anyhow::Result<()> {
    print!("{text}");
    if let Some((file, page)) = page {
        std::fs::write(&file, page).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Where the comparison went.
const COMPARE: &str = "demo --compare is a benchmark now: cargo bench --bench compare";

/// What the demo's command ends with.
fn verdict(good: bool) -> Result<(), Failure> {
    if good {
        Ok(())
    } else {
        Err(Failure::Input(
            "the demo's report names what must not happen".to_owned(),
        ))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")
}

async fn serve(
    config: Config,
    (file, text): (PathBuf, String),
    log: Arc<dyn LogFilter>,
    (watch, passed): (bool, Passed),
) -> anyhow::Result<()> {
    let journal = match config.journal.durability {
        Durability::Disk | Durability::Process if !config.groups.is_empty() => {
            let path = std::path::absolute(&config.journal.path).context("journal.path")?;
            format!(", journal in {}", path.display())
        }
        Durability::Disk | Durability::Process | Durability::None => String::new(),
    };
    // ORDER: caught before anybody can call: a signal in between must not end the process without
    // its clean stop.
    let mut signals = Signals::caught()?;
    // The process may be told to read it anew from another directory.
    let file = std::path::absolute(&file).context("--config")?;
    let listener = passed.open()?;
    let watched = watch.then(|| (file.clone(), text.clone()));
    let options = Options {
        file: Some((file, text)),
        log: Some(log),
        listener,
        ..Options::default()
    };
    let running = tokio::select! {
        started = app::start(config, options) => started?,
        // It may wait for the process before.
        () = signals.end() => return Ok(()),
    };
    tell(&format!(
        "tidegate serves on {}, admin on http://{}{journal}",
        running.shown_address(),
        running.admin
    ));
    service_manager::tell_ready(&running.shown_address());
    let _watching = watched.map(|(file, text)| {
        let reload = running.reloader();
        AbortOnDropHandle::new(tokio::spawn(watch_file(file, text, reload)))
    });
    let _alive = AbortOnDropHandle::new(tokio::spawn(service_manager::keep_alive()));
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::End => break,
                // A disk that doesn't answer must not keep it from hearing the next signal.
                Told::Reload => drop(tokio::spawn(tell_reloaded(running.reload()))),
            },
            () = running.draining() => break,
        }
    }
    service_manager::tell_stopping();
    let (haste, loses_pending) = (running.haste(), running.loses_pending());
    drop(tokio::spawn(async move {
        signals.end().await;
        haste.cancel();
    }));
    let ledger = running.stop_and_tell(tell).await;
    // The ledger is the last word, on stdout, whatever the log's level.
    drop(writeln!(std::io::stdout(), "{ledger}"));
    if ledger.pending > 0 {
        let pending = ledger.pending;
        tell(&if loses_pending {
            format!("{pending} events were still pending; with durability = \"none\" they are lost")
        } else {
            format!("{pending} events are still pending; the next start delivers them")
        });
    }
    Ok(())
}

/// How often a watched file is looked at.
const WATCH: Duration = Duration::from_secs(2);

/// Reads a file anew when it has changed and has been the same at two looks: one that is being
/// written is not read by halves. `text`: what it held at the start.
async fn watch_file<F>(file: PathBuf, text: String, reload: impl Fn() -> F)
where
    F: Future<Output = Option<Result<Reloaded, String>>>,
{
    let mut known = Some(text.into_bytes());
    let mut last = known.clone();
    loop {
        tokio::time::sleep(WATCH).await;
        let found = tokio::fs::read(&file).await.ok();
        if found.is_some() && found == last && found != known {
            known.clone_from(&found);
            tell_reloaded(reload()).await;
        }
        last = found;
    }
}

async fn tell_reloaded(reload: impl Future<Output = Option<Result<Reloaded, String>>>) {
    match reload.await {
        None => tell("nothing was read anew"),
        Some(Err(problems)) => tell(&format!("{problems}\nnothing has changed")),
        Some(Ok(reloaded)) => {
            for change in &reloaded.changes {
                let Change { route, was, now } = change;
                tell(&format!("{route}: was {was}, is {now}"));
            }
            if let Some(error) = &reloaded.failed {
                tell(&format!("modes hold until the process ends: {error}"));
            }
            if !reloaded.rules.is_empty() {
                let sections = reloaded.rules.join(", ");
                tell(&format!("rules of {sections} were replaced"));
            }
            if !reloaded.needs_restart.is_empty() {
                let sections = reloaded.needs_restart.join(", ");
                tell(&format!("changes of {sections} hold after a restart"));
            }
        }
    }
}

/// A line on stderr. Nobody may be there to read it any more; that must not end a stop halfway.
fn tell(what: &str) {
    drop(writeln!(std::io::stderr(), "{what}"));
}

/// What a server is told: SIGTERM and Ctrl-C end it, SIGHUP makes it read its file anew, unless it
/// was started to ignore that (`nohup`).
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// To stop; a second one, to stop at once.
    End,
    /// To read the file anew.
    Reload,
}

impl Signals {
    fn caught() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
        let interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
        let hangup = if ignores_hangups() {
            None
        } else {
            Some(signal(SignalKind::hangup()).context("SIGHUP can't be caught")?)
        };
        Ok(Self {
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Until it is told to stop.
    async fn end(&mut self) {
        while self.next().await == Told::Reload {}
    }

    /// Until one of them comes.
    async fn next(&mut self) -> Told {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = hangup => Told::Reload,
        }
    }
}

/// Whether this process was started with SIGHUP ignored, as far as the system tells (proc(5)).
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_that_found_something_ends_with_1() {
        assert!(verdict(true).is_ok());
        assert_eq!(verdict(false).unwrap_err().code(), ExitCode::from(1));
    }

    #[test]
    fn compare_is_an_error_that_names_the_benchmark() {
        let arguments = Arguments::try_parse_from(["tidegate", "demo", "--compare"]).unwrap();
        let failure = run(arguments).unwrap_err();
        assert!(
            failure.to_string().contains("cargo bench --bench compare"),
            "{failure}"
        );
        assert_eq!(failure.code(), ExitCode::from(1));
    }
}
