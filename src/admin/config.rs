//! `/config`: the configuration as the process has it, without secrets.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// `GET /config`: as at the start, but for the rules that a reload replaced and the modes of routes,
/// which are those of now.
pub(super) fn show_config(setup: &Setup) -> Response<Body> {
    let Some(mut shown) = setup.config.as_ref().map(|shown| shown.lock().clone()) else {
        return text(
            StatusCode::NOT_IMPLEMENTED,
            "this process was started without a file\n",
        );
    };
    for route in setup.modes.list() {
        let event = shown
            .get_mut("event")
            .and_then(|all| all.get_mut(route.place));
        if let Some(event) = event.and_then(Value::as_object_mut) {
            event.insert("mode".to_owned(), json!(route.now.mode.as_str()));
            event.insert("rollout".to_owned(), json!(route.now.rollout));
        }
    }
    json(StatusCode::OK, &shown)
}
