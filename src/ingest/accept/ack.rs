//! What a client hears of its event.

use super::call::{Call, Scope};
use super::decode::Decoded;
use crate::event::EventId;
use crate::json::Object;
use crate::route::EventRoute;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};

/// An acknowledgement, ready to be sent.
#[derive(Debug)]
pub struct Ack {
    /// Status.
    pub status: StatusCode,
    /// The route's headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body: JSON, or the text of it where the route's `Content-Type` is no JSON's.
    pub body: Bytes,
    /// The event's id (`Tidegate-Event`); none for a batch.
    pub event: Option<EventId>,
    /// The event was known already.
    pub duplicate: bool,
}

/// What a client hears of its event. `None`: a header can't hold what it would have to.
pub(super) fn acknowledge(
    route: &EventRoute,
    call: &Call<'_>,
    body: (&str, &Object<'_>),
    decoded: &Decoded<'_>,
    duplicate: bool,
) -> Option<Ack> {
    let event = &decoded.event;
    let scope = Scope {
        call,
        body: Some(body),
        event: Some(decoded.view()),
        user: Some(&event.lane.user),
    };
    let template = route
        .ack
        .duplicate
        .as_ref()
        .filter(|_| duplicate)
        .unwrap_or(&route.ack.body);
    let mut out = String::with_capacity(512);
    template.write(&scope, &mut out);
    let rendered = route
        .ack
        .headers
        .iter()
        .filter_map(|(name, template)| Some((name, template.render(&scope)?)));
    let headers: Result<Vec<_>, _> = rendered
        .map(|(name, text)| HeaderValue::try_from(text).map(|value| (name.clone(), value)))
        .collect();
    let (headers, event) = (headers.ok()?, Some(event.texts.event_id()));
    let plain = plain_text(&headers, &out);
    Some(Ack {
        status: route.ack.status,
        headers,
        body: plain.unwrap_or(out).into(),
        event,
        duplicate,
    })
}

/// The text that a body holds, where its type says that it is no JSON.
fn plain_text(headers: &[(HeaderName, HeaderValue)], json: &str) -> Option<String> {
    if !json.starts_with('"') {
        return None;
    }
    let is_json = |kind: &HeaderValue| {
        let kind = kind.to_str().unwrap_or_default();
        kind.to_ascii_lowercase().contains("json")
    };
    let mut kinds = headers.iter().filter(|(name, _)| *name == CONTENT_TYPE);
    let (_, kind) = kinds.next()?;
    if is_json(kind) {
        None
    } else {
        serde_json::from_str(json).ok()
    }
}
