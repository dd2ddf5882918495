//! What an acknowledgement costs. Each server is a process of its own, with the reference
//! configuration.
//!
//! | command | prints |
//! |---|---|
//! | `cargo bench --bench cost -- instructions` | instructions a call, by callgrind (valgrind must be installed) |
//! | `cargo bench --bench cost -- bytes` | bytes of a pending event, in memory and in the journal |
//! | `cargo bench --bench cost -- check` | instructions of an acknowledgement against the committed baseline; ends with 1 if they are 8 % more |
//! | `cargo bench --bench cost -- baseline` | writes what is measured in the place of the baseline |
//!
//! `TIDEGATE_BENCH_OTHER=FILE` names this benchmark as another version built it: its servers take
//! part in the first, as `other`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that can not go on ends"
)]

mod baseline;
mod bytes;
mod instructions;
mod load;
mod reference;

use std::path::PathBuf;
use std::process::ExitCode;

/// This program, and the other version's.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let this = std::env::current_exe().expect("this program");
    let other =
        std::env::var_os("TIDEGATE_BENCH_OTHER").map(|other| ("other", PathBuf::from(other)));
    other.into_iter().chain([("this", this)]).collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => load::serve(&arguments[1..]),
        Some("instructions") => instructions::print(),
        Some("bytes") => bytes::print(),
        Some("baseline") => baseline::write(),
        Some("check") if !baseline::check() => return ExitCode::FAILURE,
        Some("check") => {}
        _ => println!("say what to measure: -- instructions, -- bytes, -- check or -- baseline"),
    }
    ExitCode::SUCCESS
}
