//! Starts: with a million pending events and their delivery, with nothing, and what is started.

use super::Bench;
use super::contest::median;
use super::journal;
use super::process::{Process, find_program, start_tidegate};
use super::reference;
use super::table::{Aim, Row};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

const EVENTS: u64 = 1_000_000;
/// Starts on the same million, each of which is killed.
const RECOVERIES: usize = 3;
const STARTS: usize = 5;

/// Windows are short, since what a start finds pending has waited long enough.
const CONFIGURATION: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://APPLICATION"
[journal]
path = "JOURNAL"
max_bytes = "4GiB"
[batch.progress]
path = "/batch"
window = "100ms"
flush_at = 25
max_events = 25
[[event]]
path = "/event"
batch = "progress"
"#;

fn start(directory: &Path, application: &str) -> (Process, Duration) {
    let text = CONFIGURATION
        .replace("APPLICATION", application)
        .replace("JOURNAL", &directory.join("journal").display().to_string());
    let (process, _, took) = start_tidegate(directory, &text);
    (process, took)
}

/// Seconds and memory until it serves, then how fast what was pending is delivered.
pub fn measure_recovery(bench: &Bench<'_>) -> Vec<Row> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(journal::fill(&bench.directory.join("journal"), EVENTS));
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..RECOVERIES {
        // Nothing listens there, so all of it stays pending.
        let (process, took) = start(bench.directory, "127.0.0.1:9");
        times.push(took.as_secs_f64());
        peaks.push(process.peak_resident() as f64 / f64::from(1 << 20));
    }
    let before = bench.application.taken();
    let (process, _) = start(bench.directory, &bench.application.address.to_string());
    let (early, began) = (bench.application.taken(), Instant::now());
    bench.application.wait_for(before + EVENTS);
    let rate = (before + EVENTS - early) as f64 / began.elapsed().as_secs_f64();
    drop(process);
    vec![
        Row::alone(
            "recovery of 1,000,000 pending events",
            median(times),
            "s",
            Aim::AtMost(2.0),
        ),
        Row::alone(
            "its peak of resident memory",
            median(peaks),
            "MiB",
            Aim::AtMost(700.0),
        ),
        Row::alone(
            "their delivery to a fast application",
            rate,
            "events/s",
            Aim::AtLeast(200_000.0),
        ),
    ]
}

/// From the start to serving with an empty journal, and the binary's size.
pub fn measure_start(bench: &Bench<'_>) -> Vec<Row> {
    let times = (0..STARTS).map(|number| {
        let directory = bench.directory.join(number.to_string());
        let address = bench.application.address;
        let text = reference::configuration(address, "disk", &directory.join("journal"));
        let (_process, _, took) = start_tidegate(&directory, &text);
        took.as_secs_f64() * 1_000.0
    });
    let start = median(times.collect());
    vec![
        Row::alone(
            "from start to serving, empty journal",
            start,
            "ms",
            Aim::AtMost(50.0),
        ),
        measure_binary(bench.directory),
    ]
}

fn measure_binary(directory: &Path) -> Row {
    let (name, aim) = ("the binary, stripped", Aim::AtMost(10.0));
    let Some(strip) = find_program("strip") else {
        return Row::absent(name, "binutils", aim);
    };
    let stripped = directory.join("stripped");
    let status = Command::new(strip)
        .arg("-o")
        .arg(&stripped)
        .arg(env!("CARGO_BIN_EXE_tidegate"))
        .status();
    assert!(status.expect("strip runs").success(), "strip failed");
    let bytes = std::fs::metadata(stripped).expect("a file").len();
    Row::alone(name, bytes as f64 / 1e6, "MB", aim)
}
