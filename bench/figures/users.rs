//! What it takes to know many users: processor time of a call, and memory of a buffered event.

use super::Bench;
use super::calls::{self, BURSTS_CYCLE, CONNECTIONS};
use super::contest::{ACKNOWLEDGED, Contestant, alternate};
use super::load::{Load, Plan, Until};
use super::process::start_tidegate;
use super::reference;
use super::table::{Aim, Row};

const MANY: u64 = 1_000_000;
const FEW: u64 = 1_000;
/// Users with one pending event each.
const BUFFERED: u64 = 100_000;
/// Bytes of such an event's body.
const EVENT: usize = 250;

/// A sidecar that has acknowledged and delivered an event of each user. A user's events then come
/// ten in a row, so that batches are as large whatever the number of users.
fn enter(bench: &Bench<'_>, users: u64) -> Contestant {
    let directory = bench.directory.join(users.to_string());
    let text = reference::configuration(
        bench.application.address,
        "process",
        &directory.join("journal"),
    )
    // Counted for each user, but never reached.
    .replace(
        "# events_per_user = { rate = 8, per = \"1s\", burst = 32 }",
        UNREACHED,
    )
    // What lies in the windows at once while each user sends its first event stays below
    // `max_lanes`.
    .replace("window = \"5s\"", "window = \"500ms\"");
    let (process, address, _) = start_tidegate(&directory, &text);
    let first = Plan {
        address,
        calls: Box::new(|connection| calls::write_first_events(EVENT, connection)),
        cycle: 1,
        mark: ACKNOWLEDGED,
    };
    let taken = bench.application.taken();
    let count = Load::new(first).run(Until::Calls(users.div_ceil(CONNECTIONS as u64)));
    bench.application.wait_for(taken + count.marked);
    let bursts = Plan {
        address,
        calls: Box::new(move |connection| calls::write_bursts(users, connection)),
        cycle: BURSTS_CYCLE,
        mark: ACKNOWLEDGED,
    };
    Contestant::new(process, bench.application, bursts)
}

const UNREACHED: &str = "events_per_user = { rate = 10_000, per = \"1s\", burst = 10_000 }";

/// Processor time of a call where many users are known, and where few are.
pub fn measure_users(bench: &Bench<'_>) -> Vec<Row> {
    // In this order: the second takes minutes less, and idle connections are closed.
    let (mut many, mut few) = (enter(bench, MANY), enter(bench, FEW));
    let [of_few, of_many] = alternate([&mut few, &mut many], Contestant::measure_call);
    let fault = few.fault().or_else(|| many.fault());
    let ratio = of_many.ratio_to(&of_few);
    let name = "time of a call, 1,000,000 users / 1,000, `process`";
    vec![Row::compared(
        name,
        [&of_many, &of_few],
        ratio,
        Aim::AtMost(1.2),
        fault,
    )]
}

/// Growth of the resident memory by each user whose one event waits.
pub fn measure_memory(bench: &Bench<'_>) -> Vec<Row> {
    let text = reference::configuration(
        bench.application.address,
        "process",
        &bench.directory.join("journal"),
    )
    .replace("window = \"5s\"", "window = \"1h\"")
    .replace("max_lanes = 100_000", "max_lanes = 1_000_000")
    // Users of one address, of whom nothing is known, have an eighth of it.
    .replace("max_bytes = \"1GiB\"", "max_bytes = \"8GiB\"");
    let (process, address, _) = start_tidegate(bench.directory, &text);
    let mut load = Load::new(Plan {
        address,
        calls: Box::new(|connection| calls::write_first_events(EVENT, connection)),
        cycle: 1,
        mark: ACKNOWLEDGED,
    });
    // The first of each connection warm up.
    load.run(Until::Calls(1));
    let before = process.resident();
    let count = load.run(Until::Calls(BUFFERED / CONNECTIONS as u64));
    let grown = process.resident().saturating_sub(before);
    assert_eq!(count.marked, count.calls, "not all were acknowledged");
    let each = grown as f64 / count.marked as f64;
    vec![Row::alone(
        "resident memory of a user's one event of 250 bytes, `process`",
        each,
        "B",
        Aim::AtMost(900.0),
    )]
}
