//! Dead letters by name: one by its key, or those of an event id.

use super::reply::{json, refuse_method, text};
use super::setup::Setup;
use crate::body::Body;
use crate::ingest::outcome::dead::DeadLetter;
use http::{Method, Response, StatusCode};
use serde_json::json;

/// `GET /dead-letters`: all, or with `newest=N` the newest N; oldest first.
pub(super) fn list_letters(setup: &Setup, query: &str) -> Response<Body> {
    let letters = setup.operations.dead_letters();
    match query.strip_prefix("newest=").map(str::parse) {
        None => json(StatusCode::OK, &json!(letters.list())),
        Some(Ok(most)) => json(StatusCode::OK, &json!(letters.list_newest(most))),
        Some(Err(_)) => text(
            StatusCode::BAD_REQUEST,
            "allowed: /dead-letters?newest=NUMBER\n",
        ),
    }
}

/// Shows, drops or replays what the path names.
pub(super) async fn answer_named(setup: &Setup, asked: &Method, path: &str) -> Response<Body> {
    let operations = &setup.operations;
    let name = path.trim_start_matches("/dead-letters/");
    let (name, replay) = name
        .strip_suffix("/replay")
        .map_or((name, false), |name| (name, true));
    let Ok(name) = percent_encoding::percent_decode_str(name).decode_utf8() else {
        return text(StatusCode::BAD_REQUEST, "the name is not UTF-8\n");
    };
    let found: Vec<_> = operations
        .dead_letters()
        .find(Some(&name))
        .iter()
        .map(DeadLetter::show)
        .collect();
    if found.is_empty() {
        return text(StatusCode::NOT_FOUND, "there is no such dead letter\n");
    }
    match (asked, replay) {
        (&Method::GET, false) => json(StatusCode::OK, &json!(found)),
        (&Method::DELETE, false) => json(
            StatusCode::OK,
            &json!({ "dropped": operations.drop_letters(Some(&name)) }),
        ),
        (&Method::POST, true) => json(StatusCode::OK, &json!(operations.replay(Some(&name)).await)),
        (_, false) => refuse_method("GET, DELETE"),
        (_, true) => refuse_method("POST"),
    }
}
