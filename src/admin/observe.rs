//! `/observe`: what windows would have saved of the calls of routes in mode `observe`.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use http::{Response, StatusCode};

/// `GET /observe`.
pub(super) async fn show_report(setup: &Setup) -> Response<Body> {
    let observer = setup.observer.clone();
    // It may wait for the observer's task.
    let report = tokio::task::spawn_blocking(move || serde_json::to_value(observer.report())).await;
    match report {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
