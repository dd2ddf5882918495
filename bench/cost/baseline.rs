//! The committed figures of [`super::instructions`], and whether a build takes more.

use super::reference::Head;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::Command;

/// More than the baseline by this much is a failure, in hundredths.
const ALLOWED: f64 = 8.0;

/// What an acknowledgement took, and where that was measured.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Baseline {
    /// As `rustc --version` says it.
    compiler: String,
    /// As `/proc/cpuinfo` says it.
    processor: String,
    /// Instructions of a small event call, delivery included, at `durability = "none"`.
    none: u64,
    /// At `durability = "process"`.
    process: u64,
}

fn file() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/bench/cost/baseline.toml"
    ))
}

fn compiler() -> String {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("the compiler");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1))
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}

fn measure() -> Baseline {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let this = std::env::current_exe().expect("this program");
    let of = |durability| {
        let name = format!("baseline-{durability}");
        super::instructions::each(
            &this,
            &name,
            Some(durability),
            Head::Small,
            directory.path(),
        )
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts below 2^53"
    )]
    let [none, process] = ["none", "process"].map(|durability| of(durability) as u64);
    Baseline {
        compiler: compiler(),
        processor: processor(),
        none,
        process,
    }
}

/// Measures, and writes what was found in the place of the baseline.
pub fn write() {
    let found = measure();
    std::fs::write(file(), toml::to_string(&found).expect("a table")).expect("the baseline");
    println!("{found:?}");
}

/// Measures and compares; `false`: it takes too much more, on the same processor with the same
/// compiler.
pub fn check() -> bool {
    let text = std::fs::read_to_string(file()).expect("the baseline");
    let (known, found): (Baseline, _) = (toml::from_str(&text).expect("the baseline"), measure());
    let is_comparable = known.compiler == found.compiler && known.processor == found.processor;
    let mut holds = true;
    for (name, known, found) in [
        ("none", known.none, found.none),
        ("process", known.process, found.process),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
        let more = (found as f64 / known as f64 - 1.0) * 100.0;
        println!(
            "instructions of an acknowledgement, {name}: {found}, baseline {known}, {more:+.1} %"
        );
        holds &= more <= ALLOWED;
    }
    if is_comparable {
        return holds;
    }
    println!(
        "not judged: the baseline is of {} on {}, this is {} on {}",
        known.compiler, known.processor, found.compiler, found.processor
    );
    true
}
