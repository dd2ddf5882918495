//! `/metrics`: instruments, and what is read at the time of the call. docs/operations.md has the
//! table of all metrics.

mod event_path;
mod journal;
mod migration;
mod surroundings;

use super::reply::{text, typed};
use super::setup::Setup;
use crate::body::Body;
use crate::metrics::Scrape;
use http::{Response, StatusCode};
use std::sync::Arc;

/// `/metrics`, in the text format of Prometheus. Looking at every lane and at the journal's files
/// may take a while: off the runtime's threads.
pub(super) async fn show_metrics(setup: &Arc<Setup>) -> Response<Body> {
    let reading = Arc::clone(setup);
    let text_of_all = tokio::task::spawn_blocking(move || {
        let mut scrape = Scrape::default();
        event_path::read(&reading, &mut scrape);
        journal::read(&reading, &mut scrape);
        surroundings::read(&reading, &mut scrape);
        migration::read(&reading, &mut scrape);
        reading.metrics.text(scrape)
    });
    match text_of_all.await {
        Ok(Ok(body)) => typed(
            StatusCode::OK,
            body,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
