//! What an acknowledgement takes, its delivery included, of a bare hyper server's call.

use super::Bench;
use super::calls::{self, EVENTS_CYCLE};
use super::contest::{ACKNOWLEDGED, Contestant, alternate, median};
use super::load::{Order, Pace, Plan, Until};
use super::process::{start_bare, start_tidegate};
use super::reference::{self, Head};
use super::table::{Aim, Row};
use std::time::Duration;

/// Rounds that find the peak rate.
const PEAKS: usize = 3;
/// How long a server is sent half of it in a round; whole cycles make it somewhat longer.
const PACED: Duration = Duration::from_secs(6);

fn enter_bare(bench: &Bench<'_>, head: Head) -> Contestant {
    let (process, address) = start_bare();
    let calls = Box::new(move |connection| calls::write_events(head, connection));
    let plan = Plan {
        address,
        calls,
        cycle: EVENTS_CYCLE,
        mark: "",
    };
    Contestant::new(process, bench.application, plan)
}

/// With the reference configuration, but for its limit per user.
fn enter_tidegate(bench: &Bench<'_>, head: Head, durability: &str) -> Contestant {
    let directory = bench.directory.join(format!("{durability}-{head:?}"));
    let journal = directory.join("journal");
    let text = reference::configuration(bench.application.address, durability, &journal);
    let (process, address, _) = start_tidegate(&directory, &text);
    let calls = Box::new(move |connection| calls::write_events(head, connection));
    let plan = Plan {
        address,
        calls,
        cycle: EVENTS_CYCLE,
        mark: ACKNOWLEDGED,
    };
    Contestant::new(process, bench.application, plan)
}

/// Processor time a call.
pub fn measure_calls(bench: &Bench<'_>) -> Vec<Row> {
    let mut bare = enter_bare(bench, Head::Small);
    let mut none = enter_tidegate(bench, Head::Small, "none");
    let mut process = enter_tidegate(bench, Head::Small, "process");
    let mut disk = enter_tidegate(bench, Head::Small, "disk");
    let mut bare_browser = enter_bare(bench, Head::Browser);
    let mut browser = enter_tidegate(bench, Head::Browser, "disk");
    let all = [
        &mut bare,
        &mut none,
        &mut process,
        &mut disk,
        &mut bare_browser,
        &mut browser,
    ];
    let [
        of_bare,
        of_none,
        of_process,
        of_disk,
        of_bare_browser,
        of_browser,
    ] = alternate(all, Contestant::measure_call);
    [
        (
            "time of a call, bare hyper / `none`",
            &none,
            [&of_none, &of_bare],
            0.60,
        ),
        (
            "the same at `process`",
            &process,
            [&of_process, &of_bare],
            0.52,
        ),
        ("the same at `disk`", &disk, [&of_disk, &of_bare], 0.45),
        (
            "a browser's headers, `disk`",
            &browser,
            [&of_browser, &of_bare_browser],
            0.45,
        ),
    ]
    .map(|(name, contestant, [found, peer], aim)| {
        let ratio = peer.ratio_to(found);
        Row::compared(
            name,
            [found, peer],
            ratio,
            Aim::AtLeast(aim),
            contestant.fault(),
        )
    })
    .into()
}

/// How long acknowledgements take at half of the peak rate.
pub fn measure_latency(bench: &Bench<'_>) -> Vec<Row> {
    let mut bare = enter_bare(bench, Head::Small);
    let mut disk = enter_tidegate(bench, Head::Small, "disk");
    let peaks = (0..=PEAKS).map(|_| {
        let count = disk.warm(Until::Time(Duration::from_secs(2)));
        count.calls as f64 / count.took.as_secs_f64()
    });
    let rate = median(peaks.skip(1).collect()) / 2.0;
    let mut of_orders = |order| {
        let pace = Pace {
            rate,
            time: PACED,
            order,
        };
        alternate([&mut bare, &mut disk], |one: &mut Contestant| {
            one.measure_p99(pace)
        })
    };
    let (spread, in_step) = (of_orders(Order::Spread), of_orders(Order::InStep));
    let half = format!("p99 at {rate:.0} calls/s, half of the peak, `disk` / bare hyper");
    [
        (half.as_str(), spread),
        ("the same, all batches due at once", in_step),
    ]
    .map(|(name, [of_bare, of_disk])| {
        let ratio = of_disk.ratio_to(&of_bare);
        Row::compared(
            name,
            [&of_disk, &of_bare],
            ratio,
            Aim::AtMost(3.0),
            disk.fault(),
        )
    })
    .into()
}
