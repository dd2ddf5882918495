//! The command line (design §3). Arguments in, exit code out.

use crate::admin::{Token, TokenError};
use crate::config::{self, Config};
use crate::demo::{self, DemoOptions, Rhythm};
use crate::ingest::outcome::dead::Selection;
use crate::ingest::outcome::new_credential::NewCredential;
use crate::logging::Format;
use crate::server::Passed;
use admin_client::AdminAddress;
use anyhow::Context as _;
use arguments::{
    Arguments, Command, JournalCommand, Letters, LogFormat, ModesCommand, ObserveCommand,
    ParityCommand, RhythmName,
};
use clap::{CommandFactory as _, Parser as _};
use failure::{Failure, input_if_refused};
use serve::serve;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod admin_client;
mod arguments;
mod explain;
mod failure;
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
mod serve;
mod service_manager;
mod units;

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
