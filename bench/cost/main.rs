//! What an acknowledgement costs. Each server is a process of its own, with the reference configuration.
//!
//! | command | prints |
//! |---|---|
//! | `cargo bench --bench cost -- instructions` | instructions a call, by callgrind (valgrind must be installed) |
//! | `cargo bench --bench cost -- time` | processor time a call, of a bare hyper server's in the same rounds |
//! | `cargo bench --bench cost -- bytes` | bytes of a pending event, in memory and in the journal |
//!
//! `TIDEGATE_BENCH_OTHER=FILE` names this benchmark as another version built it: its servers take part in the first two, as
//! `other`.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that can not go on ends")]

mod bytes;
mod instructions;
mod load;
mod time;

use std::path::PathBuf;

/// This program, and the other version's.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let this = std::env::current_exe().expect("this program");
    let other = std::env::var_os("TIDEGATE_BENCH_OTHER").map(|other| ("other", PathBuf::from(other)));
    other.into_iter().chain([("this", this)]).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => load::serve(&arguments[1..]),
        Some("instructions") => instructions::print(),
        Some("time") => time::print(),
        Some("bytes") => bytes::print(),
        _ => println!("say what to measure: -- instructions, -- time or -- bytes"),
    }
}
