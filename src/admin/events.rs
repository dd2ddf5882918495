//! `/events/{id}`: the life of one event, as far as it is known.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use crate::ingest::MOST_ENDED;
use http::{Response, StatusCode};
use serde_json::json;

/// What comes before an id, in an address.
pub(super) const PREFIX: &str = "/events/";

/// `GET /events/{id}`: one life; a list where several events have the id.
pub(super) async fn show_event(setup: &Setup, path: &str) -> Response<Body> {
    let id = path.strip_prefix(PREFIX).unwrap_or_default();
    let Ok(id) = percent_encoding::percent_decode_str(id).decode_utf8() else {
        return text(StatusCode::BAD_REQUEST, "the id is not UTF-8\n");
    };
    let (operations, id) = (setup.operations.clone(), id.into_owned());
    // It looks at every pending event.
    let found = tokio::task::spawn_blocking(move || operations.find_event(&id)).await;
    match found.as_deref() {
        Ok([]) => text(
            StatusCode::NOT_FOUND,
            &format!(
                "no event of this id is pending, is a dead letter, or is among the last \
                 {MOST_ENDED} that were settled since the start\n"
            ),
        ),
        Ok([life]) => json(StatusCode::OK, &json!(life)),
        Ok(lives) => json(StatusCode::OK, &json!(lives)),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}
