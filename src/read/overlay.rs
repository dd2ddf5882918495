//! Overlay: how a caller's own pending events show in an answer that could not wait for them (design §7). It is for
//! simple reads; the route says at which places of the body an event shows.
//!
//! Only when the barrier's deadline has passed, or the application fails: otherwise the events are delivered first, and
//! the application's own answer shows them. The events are looked at *after* the answer is there, so what is laid over
//! it is never older than what it shows. Where the application gives no answer, the last stored one may stand in, if
//! the caller's own pending events are all that has happened since.

use super::answer::with_status;
use super::ask::{Ask, Bypass, Reader};
use super::sent::Line;
use super::{Read, Relayed};
use crate::body::{Body, BodyError};
use crate::cache::policy::reuse;
use crate::cache::store::{Entry, Found as Stored};
use crate::event::{Tag, UserId};
use crate::json::Object;
use crate::memory::Lease;
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::template::{Found, JsonTemplate, Lookup, Path, Source};
use crate::upstream::UpstreamError;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most pending events that are laid over an answer; with more the newest count, and they are the last.
const MOST: usize = 10_000;

impl Read {
    /// An answer past the barrier's deadline, with the caller's own pending events over it.
    pub(super) async fn overlaid(
        &self,
        mut request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        why: Bypass,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.bypasses.fetch_add(1, Ordering::Relaxed);
        let line = Line::new(request.version(), self.upstream.hops());
        let stored = match self.store.get(&ask.key, &mut line.values(request.headers(), peer)) {
            Stored::Entry(entry) => Some(entry),
            Stored::Nothing | Stored::OtherVariants => None,
        };
        let asked = request.headers().clone();
        // A part, a confirmation or a coded body can't be laid over.
        for name in
            [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::ACCEPT_ENCODING]
        {
            request.headers_mut().remove(name);
        }
        let method = request.method().clone();
        let response = self.ask_for(request, peer, (route, &ask.reader), Relayed::Proof).await;
        let failed = response.as_ref().map_or(true, |response| reuse::is_failure(response.status()));
        if failed
            && let Some(entry) = stored
            && let Some(body) = self.over_stored(route, ask, &entry).await
        {
            let mut answer = Response::new(if method == http::Method::HEAD { Body::empty() } else { Body::from(body) });
            *answer.headers_mut() = plain(&entry.headers);
            answer.headers_mut().extend(asked.get("x-request-id").map(|id| (super::answer::REQUEST_ID, id.clone())));
            self.echo_cors(answer.headers_mut(), &asked);
            return Ok(with_status(answer, &format!("tidegate; fwd=stale; detail={why}-overlay")));
        }
        let response = response?;
        let is_json = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let laid = response.status() == StatusCode::OK
            && is_json
            && !response.headers().contains_key(header::CONTENT_ENCODING);
        if !laid || method != http::Method::GET {
            return Ok(with_status(response, &format!("tidegate; fwd=bypass; detail={why}")));
        }
        let (mut head, body) = response.into_parts();
        let (body, lease) = match gather(body, self.store.max_object(), self.share(ask, peer).lease()).await {
            Ok(gathered) => gathered,
            // Too large to lay anything over: what was read goes out, the rest after it.
            Err(Some(body)) => {
                return Ok(with_status(
                    Response::from_parts(head, body),
                    &format!("tidegate; fwd=bypass; detail={why}"),
                ));
            }
            Err(None) => return Err(UpstreamError::ConnectionTerminated("the body was cut off".to_owned())),
        };
        let (body, detail) = match self.lay(route, ask, &body).await {
            Some((body, _)) => (body, "-overlay"),
            None => (body, ""),
        };
        head.headers = plain(&head.headers);
        let response = Response::from_parts(head, Body::from(lease.bind(body)));
        Ok(with_status(response, &format!("tidegate; fwd=bypass; detail={why}{detail}")))
    }

    /// A stored body with what has happened since, if the caller's own pending events that are laid over it are all of that.
    /// P7: an event of the caller's under another view, another user's name or another group is none of them, and makes the
    /// stored answer useless.
    async fn over_stored(&self, route: &CacheRoute, ask: &Ask, entry: &Arc<Entry>) -> Option<Bytes> {
        if entry.status != StatusCode::OK {
            return None;
        }
        let (body, laid) = self.lay(route, ask, &entry.body).await?;
        let Reader { tags, waiting, .. } = &ask.reader;
        // ORDER: after the look at the events; one that came since has moved a generation.
        self.tags.moved_by_pending(tags, &entry.generations, (*waiting, &laid)).then_some(body)
    }

    /// The body with the caller's own pending events over it, oldest first; and the tags of all of them.
    async fn lay(&self, route: &CacheRoute, ask: &Ask, body: &Bytes) -> Option<(Bytes, Vec<Tag>)> {
        let Reader { about, keys, .. } = &ask.reader;
        let user = about.as_ref()?;
        let pending = self.ingest.look(user, (keys.principal, keys.view), &route.groups, MOST).await;
        let mut document: Value = serde_json::from_slice(body).ok()?;
        for one in &pending {
            lay_one(&mut document, route.overlay.iter(), user, &one.json);
        }
        let body = serde_json::to_vec(&document).ok().map(Bytes::from)?;
        Some((body, pending.into_iter().flat_map(|one| one.tags).collect()))
    }
}

/// The whole body and its room if it has no more than `most` bytes and finds room, else the body as it was; `Err(None)`:
/// it was cut off.
async fn gather(mut body: Body, most: usize, mut lease: Lease) -> Result<(Bytes, Lease), Option<Body>> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(None) };
        let size = read.len() + frame.data_ref().map_or(0, Bytes::len);
        if size > most || lease.resize(size.saturating_mul(2)).is_err() {
            // The frame in hand is on its way already.
            let first = [Frame::data(lease.bind(read.freeze())), frame].map(Ok::<_, BodyError>);
            let rest = stream::unfold(body, |mut body| async move { body.frame().await.map(|frame| (frame, body)) });
            return Err(Some(Body::boxed(StreamBody::new(stream::iter(first).chain(rest)))));
        }
        read.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok((read.freeze(), lease))
}

/// A head without what a change of the body makes wrong, and not to be stored by anybody.
fn plain(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH, header::AGE, header::ACCEPT_RANGES] {
        headers.remove(name);
    }
    headers.remove("content-digest");
    headers.remove("repr-digest");
    headers.remove("cache-status");
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers
}

struct EventScope<'a> {
    user: &'a UserId,
    event: Object<'a>,
}

impl Lookup for EventScope<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::User => Some(Found::Text(Cow::Borrowed(self.user.as_str()))),
            Source::Event => self.event.at(path).map(Found::Json),
            _ => None,
        }
    }
}

/// Writes what an event shows to its places; what it says nothing of stays.
fn lay_one<'a>(
    document: &mut Value,
    overlay: impl Iterator<Item = &'a (Path, JsonTemplate)>,
    user: &UserId,
    event: &Bytes,
) {
    let Some(event) = std::str::from_utf8(event).ok().and_then(|text| Object::parse(text).ok()) else { return };
    let scope = EventScope { user, event };
    for (place, template) in overlay {
        let mut raw = String::new();
        if template.write(&scope, &mut raw)
            && let Ok(value) = serde_json::from_str(&raw)
        {
            put(document, &place.0, value);
        }
    }
}

/// Puts a value at a place whose parent is there.
fn put(document: &mut Value, place: &[Box<str>], value: Value) {
    let Some((last, parents)) = place.split_last() else { return };
    let mut parent = document;
    for name in parents {
        let next = match parent {
            Value::Object(members) => members.get_mut(&**name),
            Value::Array(all) => name.parse::<usize>().ok().and_then(|index| all.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return };
        parent = next;
    }
    match parent {
        Value::Object(members) => drop(members.insert(last.to_string(), value)),
        Value::Array(all) => {
            if let Some(old) = last.parse::<usize>().ok().and_then(|index| all.get_mut(index)) {
                *old = value;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_shows_at_its_places_and_nowhere_else() {
        let template = |text: &str| JsonTemplate::from_json(&json!(text), &[Source::Event, Source::User]).unwrap();
        let overlay = [
            (Path::parse("/data/percent"), template("{event.percent}")),
            (Path::parse("/data/lessons/0/position"), template("{event.at.seconds}")),
            (Path::parse("/data/who"), template("by {user}")),
            (Path::parse("/none/percent"), template("{event.percent}")),
            (Path::parse("/data/percent/deep"), template("{event.percent}")),
            (Path::parse("/data/lessons/7"), template("{event.percent}")),
            (Path::parse("/data/status"), template("{event.status}")),
        ];
        let user = UserId::try_new("ada").unwrap();
        let mut document = json!({ "data": { "percent": 1, "status": "old", "lessons": [{ "position": 0 }] } });
        lay_one(&mut document, overlay.iter(), &user, &Bytes::from(r#"{"percent":40.5,"at":{"seconds":12}}"#));
        lay_one(&mut document, overlay.iter(), &user, &Bytes::from("no event"));
        let wanted =
            json!({ "data": { "percent": 40.5, "status": "old", "who": "by ada", "lessons": [{ "position": 12 }] } });
        assert_eq!(document, wanted);
    }
}
