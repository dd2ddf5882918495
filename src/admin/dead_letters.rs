//! Dead letters: all, those of a reason or a group, one by its key, or those of an event id.

use super::reply::{json, large_json, refuse_method, text};
use super::setup::Setup;
use crate::body::Body;
use crate::ingest::outcome::dead::{DeadLetters, Selection, Shown};
use crate::ingest::outcome::new_credential::NewCredential;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;
use std::sync::Arc;

/// Where they are.
pub(super) const PATH: &str = "/dead-letters";
/// Most bytes of a new credential's lines.
const MAX_CREDENTIAL: usize = 64 << 10;

/// Lists, shows, drops or replays what the path and its query name.
pub(super) async fn answer_letters(
    setup: &Arc<Setup>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let (meant, newest) = match read_query(query) {
        Ok(read) => read,
        Err(found) => {
            let allowed = "newest=NUMBER (to list), reason=REASON, group=GROUP";
            return text(
                StatusCode::BAD_REQUEST,
                &format!("found {found}; allowed: {allowed}\n"),
            );
        }
    };
    let path = head.uri.path();
    let rest = path.strip_prefix(PATH).unwrap_or_default();
    let (rest, is_replay) = match rest.strip_suffix("/replay") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let Some(name) = rest.strip_prefix('/') else {
        return answer_all(setup, (&head.method, is_replay), (meant, newest), body).await;
    };
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return text(StatusCode::BAD_REQUEST, "the name is not UTF-8\n");
    };
    let meant = Selection {
        name: Some(name.into_owned()),
        ..meant
    };
    answer_named(setup, (&head.method, is_replay), &meant, body).await
}

async fn answer_all(
    setup: &Arc<Setup>,
    asked: (&Method, bool),
    (meant, newest): (Selection, Option<usize>),
    body: Incoming,
) -> Response<Body> {
    match asked {
        (&Method::GET | &Method::HEAD, false) => {
            let show = move |letters: &DeadLetters| match newest {
                Some(most) => letters.list_newest(&meant, most),
                None => letters.list(&meant),
            };
            show_letters(setup, show).await
        }
        (&Method::DELETE, false) => drop_letters(setup, &meant),
        (&Method::POST, true) => replay_letters(setup, &meant, body).await,
        (_, false) => refuse_method("GET, DELETE"),
        (_, true) => refuse_method("POST"),
    }
}

/// Shows what is listed. Thousands of them take a while: off the runtime's threads.
async fn show_letters(
    setup: &Arc<Setup>,
    list: impl FnOnce(&DeadLetters) -> Vec<Shown> + Send + 'static,
) -> Response<Body> {
    let setup = Arc::clone(setup);
    let shown = tokio::task::spawn_blocking(move || {
        large_json(StatusCode::OK, &list(setup.operations.dead_letters()))
    });
    let failed = |error| text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n"));
    shown.await.unwrap_or_else(failed)
}

async fn answer_named(
    setup: &Arc<Setup>,
    asked: (&Method, bool),
    meant: &Selection,
    body: Incoming,
) -> Response<Body> {
    if setup.operations.dead_letters().count_meant(meant) == 0 {
        return text(StatusCode::NOT_FOUND, "there is no such dead letter\n");
    }
    match asked {
        (&Method::GET, false) => {
            let meant = meant.clone();
            show_letters(setup, move |letters| letters.list(&meant)).await
        }
        (&Method::DELETE, false) => drop_letters(setup, meant),
        (&Method::POST, true) => replay_letters(setup, meant, body).await,
        (_, false) => refuse_method("GET, DELETE"),
        (_, true) => refuse_method("POST"),
    }
}

fn drop_letters(setup: &Setup, meant: &Selection) -> Response<Body> {
    let dropped = setup.operations.drop_letters(meant);
    json(StatusCode::OK, &json!({ "dropped": dropped }))
}

/// With the credential whose header lines are the body, if it has any.
async fn replay_letters(setup: &Setup, meant: &Selection, body: Incoming) -> Response<Body> {
    let wrong = |what: &str| text(StatusCode::BAD_REQUEST, &format!("{what}\n"));
    let Ok(body) = Limited::new(body, MAX_CREDENTIAL).collect().await else {
        return wrong("the credential isn't whole, or over 64 KiB");
    };
    let body = body.to_bytes();
    let credential = match std::str::from_utf8(&body) {
        Ok("") => None,
        Ok(lines) => match NewCredential::try_new(lines) {
            Ok(credential) => Some(credential),
            Err(found) => return wrong(&format!("the credential: {found}")),
        },
        Err(_) => return wrong("the credential is not UTF-8"),
    };
    match setup.operations.replay(meant, credential).await {
        Ok(replayed) => json(StatusCode::OK, &json!(replayed)),
        Err(several) => wrong(&several.to_string()),
    }
}

/// # Errors
/// What was found that isn't allowed.
fn read_query(query: &str) -> Result<(Selection, Option<usize>), String> {
    let (mut meant, mut newest) = (Selection::default(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| format!("{key} that is not UTF-8"))?;
        match key {
            "reason" => meant.reason = Some(value.into_owned()),
            "group" => meant.group = Some(value.into_owned()),
            "newest" => newest = Some(value.parse().map_err(|_| pair.to_owned())?),
            _ => return Err(pair.to_owned()),
        }
    }
    Ok((meant, newest))
}
