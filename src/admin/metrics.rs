//! `/metrics`: instruments, and the levels at the time of the call.

use super::reply::{text, typed};
use super::setup::Setup;
use crate::body::Body;
use crate::metrics::Levels;
use http::{Response, StatusCode};

/// `/metrics`, in the text format of Prometheus.
pub(super) fn show_metrics(setup: &Setup) -> Response<Body> {
    let (operations, journal) = (&setup.operations, setup.operations.journal_health());
    let strangers = operations.held_by_strangers();
    let levels = Levels {
        lanes: operations.lanes(),
        pending_bytes: operations.pending_bytes(),
        strangers: [
            ("lanes", strangers.lanes),
            ("bytes", strangers.bytes),
            ("listeners", strangers.listeners),
            ("calls", strangers.calls),
        ],
        journal_failing: journal.failure().is_some(),
        journal_disk_low: journal.is_low(),
        dead_letters: operations.dead_letters().count().0,
        memory: operations.memory_usage(),
    };
    match setup.metrics.text(levels) {
        Ok(body) => typed(
            StatusCode::OK,
            body,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
