//! What each command does with what was given.

use super::admin_client::{self, AdminAddress};
use super::arguments::{
    DemoArguments, JournalCommand, LearnOptions, Letters, ModesCommand, ReportOptions,
};
use super::explain::ExplainOptions;
use super::failure::Failure;
use super::forget::ForgetOptions;
use super::serve::serve;
use super::{
    Arguments, explain, forget, inspect, learn, log, manual, modes, observe, parity, preflight,
    units,
};
use crate::admin::{Token, TokenError};
use crate::config::{self, Config};
use crate::demo;
use crate::ingest::outcome::dead::Selection;
use crate::ingest::outcome::new_credential::NewCredential;
use crate::logging::Format;
use crate::server::Passed;
use anyhow::Context as _;
use clap::CommandFactory as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For so long calls are recorded where nothing else is asked for.
const RECORDING: Duration = Duration::from_secs(60);

/// After its end a sidecar waits so long for threads that block.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// What every command is given.
pub(super) struct Given {
    /// The configuration's file.
    pub(super) config: PathBuf,
    /// How what is said on stderr looks, if that was asked for.
    pub(super) log: Option<Format>,
}

impl Given {
    fn load(&self) -> Result<Config, Failure> {
        Ok(config::load(&self.config, config::variables()?)?)
    }

    fn admin_address(&self) -> Result<AdminAddress, Failure> {
        let input = |error: anyhow::Error| Failure::Input(format!("{error:#}"));
        AdminAddress::of(&self.load()?.admin).map_err(input)
    }

    pub(super) fn serve(self, watch: bool) -> Result<(), Failure> {
        let text = config::read_text(&self.config)?;
        let name = self.config.display().to_string();
        let mut config = config::parse(&text, &name, config::variables()?)?;
        let format = self.log.or(config.log.format);
        let format = format.unwrap_or_else(log::format_of_stderr);
        config.log.format = Some(format);
        let log = log::begin(format, config.log.level);
        prove_token(&config)?;
        // Whatever this process writes is its owner's alone: the journal holds credentials.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        // ORDER: before the runtime has descriptors and threads.
        let passed = Passed::claim();
        let file = (self.config, text);
        let runtime = runtime()?;
        let ended = runtime.block_on(serve(config, file, log, (watch, passed)));
        // A look-up of a name, or a disk, may keep a thread that blocks for ever.
        runtime.shutdown_timeout(LEFT_OVER);
        Ok(ended?)
    }

    /// `journal`: it is looked into, too.
    pub(super) fn check(&self, journal: bool) -> Result<(), Failure> {
        let config = self.load()?;
        prove_token(&config)?;
        let findings = preflight::look(&config);
        let mut told = config::print::table(&config);
        let looked = if journal {
            inspect::groups(&config).map(|found| told.push_str(&found))
        } else {
            Ok(())
        };
        for warning in &findings.warnings {
            told.push_str(&format!("warning: {warning}\n"));
        }
        show(&units::wrap_lines(&told))?;
        if !findings.problems.is_empty() {
            return Err(Failure::Input(findings.problems.join("\n")));
        }
        looked?;
        show(&format!("{}: no problems\n", self.config.display()))
    }

    pub(super) fn handle_letters(&self, what: Letters) -> Result<(), Failure> {
        let admin = self.admin_address()?;
        let mut credential = None;
        let (action, meant) = match what {
            Letters::List { reason, group } => {
                let meant = Selection {
                    reason,
                    group,
                    ..Selection::default()
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
        let asked = inspect::dead_letters(&admin, action, &meant, credential);
        let (good, text) = runtime()?.block_on(asked)?;
        show(&text)?;
        input_unless(good, "not every letter was replayed")
    }

    pub(super) fn forget_user(&self, options: &ForgetOptions) -> Result<(), Failure> {
        let admin = self.admin_address()?;
        let told = runtime()?.block_on(forget::forget_user(&admin, options))?;
        show(&told.text)?;
        input_unless(told.is_done, "not everything of this user was erased")
    }

    pub(super) fn ask_health(&self, alive: bool) -> Result<(), Failure> {
        let path = if alive { "/healthz" } else { "/readyz" };
        let admin = self.admin_address()?;
        let asked = admin_client::ask_text(&admin, path);
        show(&format!("{}\n", runtime()?.block_on(asked)?))
    }

    pub(super) fn list_or_set_modes(
        &self,
        what: Option<ModesCommand>,
        json: bool,
    ) -> Result<(), Failure> {
        let admin = self.admin_address()?;
        let text = match what {
            None => runtime()?.block_on(modes::list(&admin, json))?,
            Some(ModesCommand::Set {
                route,
                mode,
                rollout,
            }) => {
                let set = modes::set(&admin, (&route, &mode, rollout), json);
                runtime()?.block_on(set)?
            }
        };
        show(&text)
    }

    pub(super) fn report_savings(&self, options: ReportOptions) -> Result<(), Failure> {
        let (admin, has_page) = (self.admin_address()?, options.html.is_some());
        let report = observe::report(&admin, options.json, has_page);
        let (text, page) = runtime()?.block_on(report)?;
        show_report(&text, options.html.zip(page))
    }

    pub(super) fn report_parity(&self, options: ReportOptions) -> Result<(), Failure> {
        let (admin, has_page) = (self.admin_address()?, options.html.is_some());
        let report = parity::report(&admin, options.json, has_page);
        let told = runtime()?.block_on(report)?;
        show_report(&told.text, options.html.zip(told.page))?;
        input_unless(told.is_go, "not every route is go")
    }

    pub(super) fn learn_routes(&self, options: LearnOptions) -> Result<(), Failure> {
        let LearnOptions {
            length,
            har,
            upstream,
            host,
            json,
        } = options;
        let text = if let Some(har) = har {
            learn::learn_file(&har, (upstream, host), json)?
        } else {
            let admin = self.admin_address()?;
            let recording = learn::record_calls(&admin, length.unwrap_or(RECORDING));
            let recorded = runtime()?.block_on(recording)?;
            learn::show_recorded(recorded.as_ref(), json)?
        };
        show(&text)
    }

    pub(super) fn explain_call(&self, options: ExplainOptions) -> Result<(), Failure> {
        let config = self.load()?;
        let text = runtime()?.block_on(explain::explain_call(&config, options))?;
        show(&text)
    }

    pub(super) fn run_demo(&self, arguments: DemoArguments) -> Result<(), Failure> {
        if arguments.compare {
            return Err(Failure::Input(COMPARE.to_owned()));
        }
        log::begin(self.log.unwrap_or_else(log::format_of_stderr), "error");
        let good = runtime()?.block_on(demo::run(arguments.into()))?;
        input_unless(good, "the demo's report names what must not happen")
    }
}

/// Prints what a shell completes this command's lines by.
pub(super) fn print_completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    show_bytes(&manual::make_completions(Arguments::command(), shell))
}

pub(super) fn write_manual(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display().to_string();
    let written = manual::write_pages(Arguments::command(), directory).context(shown)?;
    for file in written {
        show(&format!("{}\n", file.display()))?;
    }
    Ok(())
}

pub(super) fn inspect_journal(what: JournalCommand) -> Result<(), Failure> {
    let (path, key_files, verify) = match what {
        JournalCommand::Verify { path, key_file } => (path, key_file, true),
        JournalCommand::Stats { path, key_file } => (path, key_file, false),
    };
    let (good, text) = inspect::journal(path, key_files, verify)?;
    show(&text)?;
    input_unless(good, "the journal was damaged")
}

/// Where the comparison went.
const COMPARE: &str = "demo --compare is a benchmark now: cargo bench --bench compare";

/// What a command ends with that looked at something: `found` where that isn't good.
fn input_unless(good: bool, found: &str) -> Result<(), Failure> {
    if good {
        Ok(())
    } else {
        Err(Failure::Input(found.to_owned()))
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
fn show_report(text: &str, page: Option<(PathBuf, String)>) -> Result<(), Failure> {
    show(text)?;
    if let Some((file, page)) = page {
        std::fs::write(&file, page).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Writes to stdout what a command says. Who reads it may have gone (`| head`), and then wants no
/// more of it.
fn show(text: &str) -> Result<(), Failure> {
    show_bytes(text.as_bytes())
}

fn show_bytes(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(anyhow::Error::new(error)
            .context("stdout takes nothing")
            .into()),
        _ => Ok(()),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitCode;

    #[test]
    fn a_demo_that_found_something_ends_with_1() {
        assert!(input_unless(true, "").is_ok());
        assert_eq!(
            input_unless(false, "").unwrap_err().code(),
            ExitCode::from(1)
        );
    }
}
