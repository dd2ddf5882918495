//! What the parity report says of routes in mode `shadow`.

use crate::admin::setup::Setup;
use crate::metrics::{Scrape, float};
use crate::migration::parity::Decision;

pub(super) fn read(setup: &Setup, scrape: &mut Scrape) {
    let report = setup.shadow.report();
    let compared = report.routes.iter().flat_map(|route| {
        [
            ("agree", route.agreements),
            ("disagree", route.disagreements),
        ]
        .map(|(result, count)| {
            let labels = vec![("route", route.route.as_str()), ("result", result)];
            (labels, float(count))
        })
    });
    scrape.counters(
        "tidegate_parity_events_total",
        "Events of routes in mode shadow whose batch was compared with their single call",
        compared,
    );
    let decisions = report.routes.iter().flat_map(|route| {
        [
            ("go", Decision::Go),
            ("no_go", Decision::NoGo),
            ("not_yet", Decision::NotYet),
        ]
        .map(|(word, decision)| {
            let labels = vec![("route", route.route.as_str()), ("decision", word)];
            let is_so = route.verdict.decision == decision;
            (labels, f64::from(u8::from(is_so)))
        })
    });
    scrape.gauges(
        "tidegate_parity_decision",
        "1 for what the parity report decides of a route, 0 for the others",
        decisions,
    );
}
