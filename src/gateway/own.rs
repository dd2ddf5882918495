//! Paths of Tidegate's own on the public listener (ruling 11): the stream of invalidations, and a
//! look at what is pending. Each shows a caller what its own view has, and nothing else (P8).

use super::answers::Answers;
use super::callers::Callers;
use super::reply;
use crate::body::Body;
use crate::drain::Drain;
use crate::event::{Charge, GroupIndex, Keys};
use crate::identity::{Caller, Identity};
use crate::ingest::{Acceptor, CallerLanes};
use crate::json::{self, Object};
use crate::notices::{Heard, Listener, Notices};
use crate::peer::Peer;
use crate::read::user_of;
use crate::route::{Params, PreviewRoute};
use crate::template::Path;
use bytes::Bytes;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Where the stream of invalidations is.
pub(super) const INVALIDATIONS: &str = "/_tidegate/invalidations";
/// A silent stream says this often that it is still there: less than the idle time of common
/// proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Most events that a look shows.
const MOST_SHOWN: usize = 1_000;

/// Who asks, if they may be shown anything.
fn named_keys(identity: &Identity, caller: &Caller<'_>) -> Result<Keys, Box<Response<Body>>> {
    if let Err(why) = identity.answerable(caller) {
        let text = "this call lacks what the application checks first; it is shown nothing";
        return Err(Box::new(reply::problem(
            StatusCode::FORBIDDEN,
            why.as_str(),
            text,
        )));
    }
    let keys = identity.keys(caller, None);
    // P8: an Origin or a CSRF token says nothing of who calls, nor does what many callers have.
    if keys.nameless || !identity.has_own_name(caller) {
        let text = "only a caller with a token, a session or a key has anything of its own";
        return Err(Box::new(reply::problem(
            StatusCode::UNAUTHORIZED,
            "no_credential",
            text,
        )));
    }
    Ok(keys)
}

/// Whether a browser asks before a GET from another origin (a CORS preflight, WHATWG Fetch §3.3.5).
pub(super) fn asks_before_get(request: &Request<Body>) -> bool {
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    *request.method() == Method::OPTIONS && asked.is_some_and(|method| method == "GET")
}

/// Answers calls of Tidegate's own paths.
pub(super) struct OwnPaths {
    pub(super) answers: Answers,
    pub(super) callers: Callers,
    pub(super) acceptor: Acceptor,
    pub(super) lanes: CallerLanes,
    pub(super) notices: Arc<Notices>,
    /// Ends what would stream for ever.
    pub(super) drain: Drain,
}

impl OwnPaths {
    /// `GET /_tidegate/invalidations`: server-sent events (WHATWG HTML §9.2) with the tags that
    /// became old.
    pub(super) fn stream_invalidations(&self, parts: &Parts, peer: &Peer) -> Response<Body> {
        let mut response = self.listen(parts, peer).unwrap_or_else(|refusal| *refusal);
        self.answers.dress(parts, &mut response);
        response
    }

    fn listen(&self, parts: &Parts, peer: &Peer) -> Result<Response<Body>, Box<Response<Body>>> {
        if parts.method != Method::GET {
            let mut response =
                reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", "GET is allowed");
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET"));
            return Err(Box::new(response));
        }
        let caller = self.callers.identify(parts, peer);
        let Keys {
            principal, view, ..
        } = named_keys(&self.callers.identity, &caller)?;
        let last = parts
            .headers
            .get("last-event-id")
            .and_then(|id| id.to_str().ok());
        let charge = || {
            self.callers
                .standing
                .take_listener_place(principal, peer.client)
                .ok()
                .map(Charge::new)
        };
        let listener = self.notices.listen(view, last, charge).map_err(|crowded| {
            let mut response = reply::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "crowded",
                &crowded.to_string(),
            );
            reply::retry_after(&mut response, HEARTBEAT);
            Box::new(response)
        })?;
        let mut response = Response::new(events(listener, self.drain.clone()));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx in between would hold the stream back.
        headers.insert(
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        );
        Ok(response)
    }

    /// Such a question of one of Tidegate's own paths, which the application can't answer. `[cors]`
    /// says whose pages may call.
    pub(super) fn answer_preflight(&self, parts: &Parts) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let get = HeaderValue::from_static("GET");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, get);
        if let Some(asked) = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        self.answers.dress(parts, &mut response);
        response
    }

    /// A look at what is pending of the caller's own, for optimistic hints.
    pub(super) fn show_pending(
        &self,
        parts: &Parts,
        peer: &Peer,
        route: &PreviewRoute,
    ) -> Response<Body> {
        let mut response = self
            .look(parts, peer, route)
            .unwrap_or_else(|refusal| *refusal);
        self.answers.dress(parts, &mut response);
        response
    }

    fn look(
        &self,
        parts: &Parts,
        peer: &Peer,
        route: &PreviewRoute,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let caller = self.callers.identify(parts, peer);
        let Keys {
            principal, view, ..
        } = named_keys(&self.callers.identity, &caller)?;
        let user =
            user_of(&self.callers.identity, &caller, &Params::default()).ok_or_else(|| {
                Box::new(reply::problem(
                    StatusCode::BAD_REQUEST,
                    "no_user",
                    "the call names no user",
                ))
            })?;
        if caller
            .query("userId")
            .is_some_and(|named| named != user.as_str())
        {
            let text = "only the caller's own pending events are shown";
            return Err(Box::new(reply::problem(
                StatusCode::FORBIDDEN,
                "other_user",
                text,
            )));
        }
        let pending = self
            .lanes
            .look(&user, (principal, view), &route.groups, MOST_SHOWN + 1);
        let more = pending.len() > MOST_SHOWN;
        let wanted: Vec<_> = route
            .filter
            .iter()
            .filter_map(|(name, places)| Some((caller.query(name)?, places)))
            .collect();
        let shown = pending.iter().take(MOST_SHOWN).filter(|one| {
            wanted
                .iter()
                .all(|(value, places)| is_about(&one.json, value, places))
        });
        let mut body = format!(
            "{{\"userId\":{},\"pending\":[",
            serde_json::Value::from(user.as_str())
        )
        .into_bytes();
        for (place, one) in shown.enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(
                format!(
                    "{{\"group\":{},\"event\":",
                    serde_json::Value::from(self.group_name(one.group))
                )
                .as_bytes(),
            );
            body.extend_from_slice(&one.json);
            body.push(b'}');
        }
        body.extend_from_slice(format!("],\"more\":{more}}}").as_bytes());
        let mut response = Response::new(Body::from(body));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    fn group_name(&self, group: GroupIndex) -> &str {
        self.acceptor.group(group).map_or("", |group| &group.name)
    }
}

/// Whether an event is about this value; one that says nothing of it may be.
fn is_about(event: &Bytes, wanted: &str, places: &[Path]) -> bool {
    let Some(object) = std::str::from_utf8(event)
        .ok()
        .and_then(|text| Object::parse(text).ok())
    else {
        return false;
    };
    let found = places
        .iter()
        .find_map(|place| object.at(&place.0))
        .filter(|raw| !json::is_null(raw));
    found.is_none_or(|raw| json::string(raw).map_or(raw == wanted, |text| text == wanted))
}

/// The stream: messages, heartbeats, and an end when a drain is announced, or begins if this stream
/// began after that.
fn events(listener: Listener, drain: Drain) -> Body {
    let is_late = drain.is_announced();
    let first = Some(Bytes::from_static(b"retry: 3000\n\n"));
    let stream = stream::unfold(
        (listener, drain, first),
        move |(mut listener, drain, first)| async move {
            let text = match first {
                Some(first) => first,
                None => tokio::select! {
                    () = drain.announced(), if !is_late => return None,
                    () = drain.draining() => return None,
                    heard = tokio::time::timeout(HEARTBEAT, listener.next()) => match heard {
                        Ok((id, heard)) => message(&id, heard),
                        Err(_) => Bytes::from_static(b": still here\n\n"),
                    },
                },
            };
            Some((
                Ok::<_, Infallible>(Frame::data(text)),
                (listener, drain, None),
            ))
        },
    );
    Body::boxed(StreamBody::new(stream))
}

fn message(id: &str, heard: Heard) -> Bytes {
    match heard {
        // JSON has no line breaks of its own, so one data line holds it.
        Heard::Invalidated(tags) => format!(
            "id: {id}\nevent: invalidated\ndata: {}\n\n",
            serde_json::json!({ "tags": tags })
        )
        .into(),
        Heard::Reset => format!("id: {id}\nevent: reset\ndata: {{}}\n\n").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_block_of_lines() {
        let heard = Heard::Invalidated(vec!["progress:a\nb".into(), "c".into()]);
        assert_eq!(
            message("7-1", heard),
            "id: 7-1\nevent: invalidated\ndata: {\"tags\":[\"progress:a\\nb\",\"c\"]}\n\n"
        );
        assert_eq!(
            message("7-2", Heard::Reset),
            "id: 7-2\nevent: reset\ndata: {}\n\n"
        );
    }

    #[test]
    fn an_event_about_another_value_is_left_out_and_one_that_says_nothing_is_not() {
        let places = [Path::parse("courseId"), Path::parse("/course/id")];
        for (event, wanted) in [
            (r#"{"courseId":"c1"}"#, true),
            (r#"{"courseId":"c2"}"#, false),
            (r#"{"course":{"id":"c1"}}"#, true),
            (r#"{"course":{"id":"c2"}}"#, false),
            (r#"{"lessonId":"l1"}"#, true),
            (r#"{"courseId":null}"#, true),
            (r#"{"courseId":7}"#, false),
        ] {
            assert_eq!(
                is_about(&Bytes::from(event), "c1", &places),
                wanted,
                "{event}"
            );
        }
    }
}
