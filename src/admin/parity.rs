//! `/parity`.

use super::reply::json;
use super::setup::Setup;
use crate::body::Body;
use http::{Response, StatusCode};

pub(super) async fn show_report(setup: &Setup) -> Response<Body> {
    json(StatusCode::OK, &serde_json::to_value(setup.shadow.report()).unwrap())
}
