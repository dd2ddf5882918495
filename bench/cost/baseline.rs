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

/// Those of all processors that were measured.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Baselines {
    baseline: Vec<Baseline>,
}

impl Baselines {
    fn read() -> Self {
        let text = std::fs::read_to_string(file()).expect("the baselines");
        toml::from_str(&text).expect("the baselines")
    }
}

/// Measures, and writes what was found in the place of this processor's baseline.
pub fn write() {
    let (found, mut all) = (measure(), Baselines::read());
    println!("{found:?}");
    all.baseline
        .retain(|known| known.processor != found.processor);
    all.baseline.push(found);
    std::fs::write(file(), toml::to_string(&all).expect("tables")).expect("the baselines");
}

/// Measures and compares; `false`: it takes too much more, on the same processor with the same
/// compiler.
pub fn check() -> bool {
    let (found, all) = (measure(), Baselines::read());
    let mut holds = true;
    let mut is_judged = false;
    for known in &all.baseline {
        let is_same = known.compiler == found.compiler && known.processor == found.processor;
        is_judged |= is_same;
        for (name, known_count, count) in [
            ("none", known.none, found.none),
            ("process", known.process, found.process),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
            let more = (count as f64 / known_count as f64 - 1.0) * 100.0;
            println!(
                "instructions of an acknowledgement, {name}: {count}, {more:+.1} % of {known_count} \
                 on {}",
                known.processor
            );
            holds &= more <= ALLOWED || !is_same;
        }
    }
    if !is_judged {
        println!(
            "not judged: no baseline is of {} on {}",
            found.compiler, found.processor
        );
    }
    holds
}
