//! `/parity`: whether batches do what the single calls of routes in mode `shadow` did.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use http::{Response, StatusCode};

/// `GET /parity`.
pub(super) fn show_report(setup: &Setup) -> Response<Body> {
    match serde_json::to_value(setup.shadow.report()) {
        Ok(report) => json(StatusCode::OK, &report),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
