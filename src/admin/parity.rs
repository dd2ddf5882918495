//! `/parity`: whether batches do what the single calls of routes in mode `shadow` did.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use http::{Response, StatusCode};

/// `GET /parity`.
pub(super) async fn show_report(setup: &Setup) -> Response<Body> {
    let shadow = setup.shadow.clone();
    // It may wait for what compares.
    let report = tokio::task::spawn_blocking(move || serde_json::to_value(shadow.report())).await;
    match report {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
