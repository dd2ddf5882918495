//! The command line (design §3). Arguments in, exit code out.

use arguments::{Arguments, Command, ObserveCommand, ParityCommand};
use clap::Parser as _;
use commands::Given;
use failure::Failure;
use std::io::Write as _;
use std::process::ExitCode;

mod admin_client;
mod arguments;
mod commands;
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
            // A stderr that is closed changes nothing of how it ended.
            drop(writeln!(std::io::stderr(), "{failure}"));
            failure.code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let given = Given {
        config: arguments.config,
        log: arguments.log.map(Into::into),
    };
    match arguments.command.unwrap_or(Command::Run { watch: false }) {
        Command::Run { watch } => given.serve(watch),
        Command::Check { journal } => given.check(journal),
        Command::DeadLetters { what } => given.handle_letters(what),
        Command::Forget(options) => given.forget_user(&options),
        Command::Completions { shell } => commands::print_completions(shell),
        Command::Man { directory } => commands::write_manual(&directory),
        Command::Health { alive } => given.ask_health(alive),
        Command::Modes { what, json } => given.list_or_set_modes(what, json),
        Command::Observe {
            what: ObserveCommand::Report(options),
        } => given.report_savings(options),
        Command::Parity {
            what: ParityCommand::Report(options),
        } => given.report_parity(options),
        Command::Learn(options) => given.learn_routes(options),
        Command::Explain(options) => given.explain_call(options),
        Command::Journal { what } => commands::inspect_journal(what),
        Command::Demo(options) => given.run_demo(options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
