//! `/learn`: what is forwarded is recorded for a while, and a configuration is proposed of it. No
//! request waits for the calls: the one who asks begins a recording, asks how far it is, and takes
//! the proposal. Who doesn't ask for ten seconds has gone away, and nothing stays on.

use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use crate::migration::learn::{BeginError, LONGEST, Options, TakenRecording, propose};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Without `for`.
const LENGTH: Duration = Duration::from_secs(60);

/// `POST /learn?for=60s`: begins a recording.
pub(super) fn begin_recording(setup: &Setup, query: &str) -> Response<Body> {
    let length = match find_value(query, "for").map(humantime::parse_duration) {
        None => LENGTH,
        Some(Ok(length)) if !length.is_zero() && length <= LONGEST => length,
        Some(_) => {
            let allowed = "allowed: /learn?for=LENGTH, such as 60s, up to 10m\n";
            return text(StatusCode::BAD_REQUEST, allowed);
        }
    };
    match setup.recordings.begin(length) {
        Ok(progress) => json(StatusCode::ACCEPTED, &json!(progress)),
        Err(error @ BeginError::Busy(_)) => text(StatusCode::CONFLICT, &format!("{error}\n")),
        Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}\n")),
    }
}

/// `GET /learn?recording=N`: how far it is.
pub(super) fn show_progress(setup: &Setup, query: &str) -> Response<Body> {
    let progress = find_number(query).and_then(|number| setup.recordings.progress(number));
    progress.map_or_else(no_recording, |progress| {
        json(StatusCode::OK, &json!(progress))
    })
}

/// `DELETE /learn?recording=N`: ends it, and drops what it has.
pub(super) fn end_recording(setup: &Setup, query: &str) -> Response<Body> {
    if find_number(query).is_some_and(|number| setup.recordings.cancel(number)) {
        json(StatusCode::OK, &json!({ "ended": true }))
    } else {
        no_recording()
    }
}

/// `POST /learn/proposal?recording=N`: ends it, and answers with what it proposes.
pub(super) async fn show_proposal(setup: &Setup, query: &str) -> Response<Body> {
    let taken = find_number(query).and_then(|number| setup.recordings.take(number));
    let Some(taken) = taken else {
        return no_recording();
    };
    let upstream = setup.upstream.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, which a stop doesn't wait for.
    let thread = std::thread::Builder::new().name("learn".to_owned());
    // Whoever asked may have gone.
    let begun = thread.spawn(move || drop(tell.send(propose_of(taken, upstream))));
    let failed = |what: &str| text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{what}\n"));
    match (begun, told.await) {
        (Err(error), _) => failed(&error.to_string()),
        (Ok(_), Ok(proposal)) => json(StatusCode::OK, &proposal),
        (Ok(_), Err(_)) => failed("the proposal broke off"),
    }
}

fn propose_of(taken: TakenRecording, upstream: String) -> Value {
    let recorded = taken.into_exchanges();
    let options = Options {
        upstream: Some(upstream),
        host: None,
        recorded: Some(recorded.facts),
    };
    propose(&recorded.exchanges, &options).list()
}

fn no_recording() -> Response<Body> {
    let what = "there is no such recording, or no longer: it ends if nobody asks for it in ten \
                seconds\n";
    text(StatusCode::NOT_FOUND, what)
}

fn find_number(query: &str) -> Option<u64> {
    find_value(query, "recording")?.parse().ok()
}

fn find_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value)
        .next()
}
