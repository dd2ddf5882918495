//! The figures: one table of what calls, users, starts and deliveries take, each against its peer
//! in the same run.
//!
//! `cargo bench --bench figures` prints all of it in about twelve minutes, `cargo bench --bench
//! figures -- relay` a part; [`PARTS`] names them. It needs Linux and two cores. The real binary,
//! or its peer, is a process of its own with one core; the load (64 connections, one call in flight
//! each) and the application have the other one. Processor time is user and system of all processes
//! and threads of a server, by the operating system's accounting, until the last event of a round
//! is delivered. Five rounds of two seconds go round the servers, after one that doesn't count;
//! found are medians, and a ratio is the median of the rounds' ratios. nginx, haproxy and Varnish
//! take part where they are installed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that can not go on ends"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times below 2^53"
)]

mod acknowledgements;
mod application;
mod calls;
mod contest;
mod journal;
mod load;
mod modes;
mod peers;
mod process;
mod proxies;
#[expect(dead_code, reason = "the benchmark `cost` needs the rest")]
#[path = "../cost/reference.rs"]
mod reference;
mod starts;
mod table;
mod users;

use application::Application;
use std::path::Path;
use std::process::ExitCode;
use table::Row;

/// What every part is given: a directory of its own on the disk that is built on, and the
/// application.
pub struct Bench<'a> {
    directory: &'a Path,
    application: Application,
}

/// Measures some rows.
type Part = fn(&Bench<'_>) -> Vec<Row>;

/// The parts by name, in the table's order.
const PARTS: [(&str, Part); 9] = [
    ("calls", acknowledgements::measure_calls),
    ("latency", acknowledgements::measure_latency),
    ("users", users::measure_users),
    ("memory", users::measure_memory),
    ("hits", proxies::measure_hits),
    ("relay", proxies::measure_relay),
    ("modes", modes::measure_modes),
    ("recovery", starts::measure_recovery),
    ("start", starts::measure_start),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    if wanted.first().is_some_and(|word| word == "serve") {
        application::serve_bare();
        return ExitCode::SUCCESS;
    }
    let names = PARTS.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|word| !names.contains(&word.as_str())) {
        eprintln!(
            "{unknown} is no part of the table; its parts: {}",
            names.join(", ")
        );
        return ExitCode::FAILURE;
    }
    process::pin_load();
    let application = Application::start();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut rows = Vec::new();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("measuring: {name}");
            let directory = directory.path().join(name);
            std::fs::create_dir(&directory).expect("a directory");
            rows.extend(measure(&Bench {
                directory: &directory,
                application,
            }));
            // A million events take half a gigabyte.
            std::fs::remove_dir_all(&directory).expect("a directory that is there");
        }
    }
    table::print(&rows);
    ExitCode::SUCCESS
}
