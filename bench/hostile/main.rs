//! A hostile soak: do good users notice what others send?
//!
//! `cargo bench --bench hostile` takes about fourteen minutes: ten seconds that measure how many
//! forged events a second the sidecar answers, three quiet minutes with 500 good users, ten minutes
//! with the same users beside all attacks of [`attacks`], and a stop. `TIDEGATE_HOSTILE` is the
//! attacks' time in seconds (600 without it; the quiet time is three tenths of that);
//! `TIDEGATE_HOSTILE_ATTACKS`, names with commas between them, leaves the other attacks out. It ends
//! with 1 where a bound is broken. The sidecar is the real binary, with the configuration of
//! [`CONFIGURATION`]. All share the machine, in four processes: the sidecar; the application; good
//! users; attackers, who have the lowest priority, so that what is measured is what the sidecar
//! does to good users' calls, and not how long a good user's task waits behind attackers' tasks. The
//! application's priority lies between: what it does for answers that nobody reads isn't what is
//! measured either.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that can not go on ends"
)]

mod application;
mod attackers;
mod attacks;
mod sidecar;
mod users;

use application::Application;
use attackers::Attackers;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sidecar::Sidecar;
use std::process::ExitCode;
use std::time::Duration;
use users::Tally;

/// Good users; each has a connection and an address of its own.
pub const USERS: usize = 500;
/// Resident memory that the sidecar may have at any time, in MiB: the bounds of its defaults.
/// 50,000 strangers' events with a context each (about 10 KiB: 500), bodies (128), answers over
/// HTTP/2 (64), stored answers (64), 600 connections with their buffers (100), and what a quiet
/// sidecar has (40), rounded up.
const BUDGET: u64 = 1_024;
/// A window, and how much later at most an event of a good user may arrive.
const WINDOW: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(2);
/// An operator's call waits for a place as long as callers that say nothing may keep one, twice,
/// and some.
const ADMIN: Duration = Duration::from_secs(10);
/// File descriptors for the application's ends of connections, and for users and attackers.
const DESCRIPTORS: u64 = 8_192;

/// The README's configuration with a freshness for the stored reads; every limit is the default.
const CONFIGURATION: &str = r#"
[server]
listen = "127.0.0.1:0"
trusted_proxies = []
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://APPLICATION"
[journal]
path = "JOURNAL"
[batch.progress]
path = "/api/progress/batch"
window = "5s"
invalidates = ["progress:{user}"]
[[event]]
path = "/api/progress"
batch = "progress"
event = { clientEventId = "{body.id}", userId = "{body.user_id}", "..." = "{body.*}" }
[[cache]]
path = "/api/progress/summary"
ttl = "30s"
tags = ["progress:{user}"]
"#;

/// What good users met in one phase.
struct Phase {
    tally: Tally,
    latest: Duration,
    memory: u64,
    /// The longest that the admin listener took to answer.
    admin: Duration,
}

impl Phase {
    fn print(&self, name: &str) {
        let Tally {
            acknowledged,
            forwarded,
            failed,
            hits,
            reads,
            failures,
            slow,
            ..
        } = &self.tally;
        println!(
            "{name:>8}: {acknowledged} acknowledged, {forwarded} forwarded, {failed} failed; p50 \
             {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms; {reads} reads, {:.1} % hits; latest arrival \
             {:.2} s; {} MiB at most; the admin listener took {:.2} s at most",
            self.tally.milliseconds(0.5),
            self.tally.milliseconds(0.99),
            self.tally.milliseconds(0.999),
            100.0 * hits_of(*hits, *reads),
            self.latest.as_secs_f64(),
            self.memory,
            self.admin.as_secs_f64(),
        );
        let slow: Vec<_> = slow
            .iter()
            .map(|(second, (count, longest))| {
                format!("{second} s: {count}, {} ms", longest.as_millis())
            })
            .collect();
        println!(
            "          acknowledgements of 50 ms and more, by the second in which they began: {}",
            slow.join("; ")
        );
        failures
            .iter()
            .for_each(|(met, count)| println!("          {count} of its calls met: {met}"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn hits_of(hits: u64, reads: u64) -> f64 {
    if reads == 0 {
        0.0
    } else {
        hits as f64 / reads as f64
    }
}

async fn phase(sidecar: &Sidecar, application: &mut Application, time: Duration) -> Phase {
    application.forget_delays();
    let memory = sidecar.watch_memory();
    let operator = tokio::spawn(sidecar::ask_admin(sidecar.admin, time));
    let tally = users::run(sidecar.address, time).await;
    // What was acknowledged last still waits for the end of its window.
    tokio::time::sleep(WINDOW + GRACE + Duration::from_secs(1)).await;
    let admin = operator.await.expect("an operator");
    Phase {
        tally,
        latest: application.longest_delay(),
        memory: memory.highest(),
        admin,
    }
}

/// One bound, held or broken.
fn judge(holds: bool, what: &str, found: &str) -> bool {
    println!(
        "{:>8}  {what}: {found}",
        if holds { "held" } else { "BROKEN" }
    );
    holds
}

async fn soak() -> bool {
    let seconds = std::env::var("TIDEGATE_HOSTILE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(600);
    let time = Duration::from_secs(seconds);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut application = Application::start();
    let configuration = CONFIGURATION
        .replace("APPLICATION", &application.address.to_string())
        .replace(
            "JOURNAL",
            &directory.path().join("journal").display().to_string(),
        );
    let sidecar = Sidecar::start(directory.path(), &configuration);

    let quiet = phase(&sidecar, &mut application, time * 3 / 10).await;
    quiet.print("quiet");
    let peak = attackers::measure_peak(sidecar.address);
    println!("    peak: {peak} forged events a second are answered");
    let attackers = Attackers::begin(sidecar.address, sidecar.admin, peak / 2);
    let hostile = phase(&sidecar, &mut application, time).await;
    let sent = attackers.end();
    hostile.print("hostile");
    println!("  beside: {sent}");
    let ledger = sidecar.stop();
    println!("  ledger: {}", ledger.line);

    let ratio = hostile.tally.milliseconds(0.99) / quiet.tally.milliseconds(0.99);
    let [before, beside] =
        [&quiet, &hostile].map(|phase| hits_of(phase.tally.hits, phase.tally.reads));
    let missing = application.end(&[&quiet.tally, &hostile.tally]);
    [
        judge(
            ratio <= 3.0,
            "p99 of an acknowledgement, at most 3 times the quiet one",
            &format!("{ratio:.2} times"),
        ),
        judge(
            hostile.latest <= WINDOW + GRACE,
            "no event of a good user later than its window and 2 s",
            &format!("{:.2} s", hostile.latest.as_secs_f64()),
        ),
        judge(
            (before - beside).abs() <= 0.05,
            "hits within 5 points of the quiet ones",
            &format!("{:.1} % and {:.1} %", 100.0 * before, 100.0 * beside),
        ),
        judge(
            hostile.memory.max(quiet.memory) <= BUDGET,
            &format!("at most {BUDGET} MiB resident"),
            &format!("{} MiB", hostile.memory.max(quiet.memory)),
        ),
        judge(
            hostile.tally.failed == 0,
            "no call of a good user fails",
            &format!("{} failed", hostile.tally.failed),
        ),
        judge(
            missing == 0,
            "every acknowledged event of a good user arrives",
            &format!("{missing} are missing"),
        ),
        judge(
            hostile.admin <= ADMIN,
            &format!("the admin listener answers within {} s", ADMIN.as_secs()),
            &format!("{:.2} s at most", hostile.admin.as_secs_f64()),
        ),
        judge(ledger.balances, "the ledger balances", &ledger.line),
    ]
    .iter()
    .all(|held| *held)
}

/// As many descriptors as the soak opens, where the system gives them.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let wanted = DESCRIPTORS.min(now.maximum.unwrap_or(u64::MAX));
    if now.current.is_some_and(|current| current < wanted) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: now.maximum,
            },
        )
        .expect("descriptors");
    }
}

/// For this thread and those that it starts from now on.
fn lower_priority(nice: i32) {
    rustix::process::nice(nice).expect("a lower priority");
}

fn main() -> ExitCode {
    raise_descriptors();
    let (order, is_application) = (attackers::order(), application::is_this());
    if order.is_some() {
        lower_priority(attackers::NICE);
    } else if is_application {
        lower_priority(application::NICE);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let held = match order {
        Some(order) => runtime.block_on(order.carry_out()),
        None if is_application => runtime.block_on(application::serve()),
        None => runtime.block_on(soak()),
    };
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
