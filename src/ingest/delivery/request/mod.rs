//! The calls that carry batches, and repeat single calls (P13).
//!
//! | of a batch | comes from |
//! |---|---|
//! | host, scheme, the headers and cookies that count | its context, which all its calls share |
//! | the client's address | its newest call |
//! | headers and cookies that say nothing of the caller (`Accept-Language`, balancers' cookies) | its newest call |
//! | any other header or cookie | all its calls, where they agree; else left out |
//! | `Accept-Encoding` | no call; the answer is read here, and `identity` is asked for |
//! | trace and request ids | no call; the batch begins a trace of its own, or that of its span |
//!
//! A single call that is repeated is the call as it came.

mod agreed;

use super::contract::{self, BatchScope, Head};
use super::load::{self, Ready, Under};
use crate::body::Body;
use crate::clock::Clock;
use crate::event::{Carried, Context, Event};
use crate::identity::Identity;
use crate::identity::keys::cookie_line;
use crate::ingest::lanes::shard::Kept;
use crate::ingest::lanes::window::{Batch, Form};
use crate::ingest::settings::{Group, HeaderText, Pack, Shape, Target};
use crate::peer::{Connection, Peer};
use agreed::Beside;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

/// Headers that a call has beside those of its context, as a rule.
const HEADERS: usize = 12;
/// A trace's version, id, parent and flags with their dashes.
const TRACE_BYTES: usize = 55;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Makes requests of loads.
#[derive(Debug)]
pub struct Assembler {
    /// Reads what a context holds, for envelopes and headers.
    pub identity: Arc<Identity>,
    /// Wall clock.
    pub clock: Clock,
}

/// A request, and whom it speaks for.
#[derive(Debug)]
pub struct Outgoing {
    /// The request, without what this hop adds.
    pub request: Request<Body>,
    /// Whose host, scheme and address it goes with; none: a service's own call.
    pub peer: Option<Peer>,
}

impl Assembler {
    /// The call that carries a load, or repeats a single call.
    ///
    /// # Errors
    /// Its events differ in their contexts (P3).
    pub fn request(
        &self,
        group: &Group,
        load: &[Ready],
    ) -> Result<Option<Outgoing>, contract::MixedCredentials> {
        let Some(first) = load.first() else {
            return Ok(None);
        };
        if let (Pack::Shared { credential, .. }, Under::Service) = (&group.pack, first.under) {
            return self.shared(group, load, credential);
        }
        let batch = &first.batch;
        let contexts = batch
            .events
            .iter()
            .map(|queued| &queued.entry.event().context);
        // P3: the key of the lane says so already; the assembler looks again.
        let context = contract::one_context(batch.key.credential, contexts)?;
        if load.len() > 1 {
            return Err(contract::MixedCredentials);
        }
        Ok(match batch.form {
            Form::Single => batch
                .events
                .last()
                .and_then(|queued| single(queued.entry.event(), &context)),
            Form::Batch => self.batch(group, batch, &context),
        })
    }

    /// Events of different users, under a service's credential; of one host and scheme.
    fn shared(
        &self,
        group: &Group,
        load: &[Ready],
        credential: &(HeaderName, HeaderValue),
    ) -> Result<Option<Outgoing>, contract::MixedCredentials> {
        let events = || {
            load.iter()
                .flat_map(|ready| ready.batch.events.iter())
                .map(|queued| queued.entry.event())
        };
        let Some(first) = events().next() else {
            return Ok(None);
        };
        let is_elsewhere = |event: &Event| {
            event.owner().realm != first.owner().realm
                || event.context.place() != first.context.place()
        };
        // P3: whoever took the batch up says so already; the assembler looks again.
        let is_others =
            |ready: &Ready| ready.under != Under::Service || !ready.batch.is_for_service();
        if load.iter().any(is_others) || events().any(is_elsewhere) {
            return Err(contract::MixedCredentials);
        }
        let id = load::id_of(load).to_string();
        let now = self.clock.now();
        let scope = || BatchScope::new(&self.identity, None, None, &id, now);
        let body = group
            .envelope
            .wrap(events().map(|event| event.json()), scope());
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.append(credential.0.clone(), credential.1.clone());
        let request = batch_request(group, &id, body, headers, &scope());
        let (host, https) = first.context.place();
        let connection = Connection {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            secure: https,
        };
        let peer = Peer {
            host: host.map(Into::into),
            ..Peer::new(connection)
        };
        Ok(request.map(|request| Outgoing {
            request,
            peer: Some(peer),
        }))
    }

    fn batch(&self, group: &Group, batch: &Batch<Kept>, context: &Context) -> Option<Outgoing> {
        let id = batch.id.to_string();
        let (head, user, now) = (
            Head::of(context),
            Some(batch.key.user.as_str()),
            self.clock.now(),
        );
        let scope = || BatchScope::new(&self.identity, Some(&head), user, &id, now);
        let events = batch.events.iter().map(|queued| queued.entry.event());
        let body = group
            .envelope
            .wrap(events.clone().map(|event| event.json()), scope());
        let (beside, selection) = (
            Beside::of(events.map(|event| event.carried()))?,
            &self.identity.settings().selection,
        );
        let mut headers = context.said().header_map(HEADERS);
        beside.add_headers(selection, &mut headers);
        let line = beside.cookie_line(selection, context);
        if !line.is_empty() {
            headers.insert(header::COOKIE, sensitive(line.into())?);
        }
        let request = batch_request(group, &id, body, headers, &scope())?;
        Some(Outgoing {
            request,
            peer: Some(peer_of(context, &beside.newest)),
        })
    }
}

fn sensitive(value: Bytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whom a delivery speaks for.
fn peer_of(context: &Context, carried: &Carried<'_>) -> Peer {
    let (host, https) = context.place();
    let connection = Connection {
        address: SocketAddr::new(carried.from, 0),
        secure: https,
    };
    Peer {
        client: carried.client,
        https,
        host: host.map(Into::into),
        ..Peer::new(connection)
    }
}

/// A POST of JSON under an idempotency key.
fn batch_request(
    group: &Group,
    id: &str,
    body: Vec<u8>,
    headers: HeaderMap,
    scope: &BatchScope<'_>,
) -> Option<Request<Body>> {
    let Shape::Batch(target) = &group.shape else {
        return None;
    };
    let mut request = Request::new(Body::from(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address(target)?;
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers
        .entry(header::ACCEPT)
        .or_insert(HeaderValue::from_static("application/json"));
    // Whatever the clients can unpack: the answer is read here.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    headers.insert(TRACEPARENT, begin_trace(id)?);
    headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(id).ok()?);
    for (name, text) in &group.headers {
        let value = match text {
            HeaderText::Fixed(value) => Some(value.clone()),
            HeaderText::Rendered(template) => {
                template.render(scope).and_then(|text| text.try_into().ok())
            }
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    Some(request)
}

/// W3C Trace Context: the batch begins a trace of its own, under its id.
fn begin_trace(id: &str) -> Option<HeaderValue> {
    let mut trace = BytesMut::with_capacity(TRACE_BYTES);
    trace.extend_from_slice(b"00-");
    id.split('-')
        .for_each(|part| trace.extend_from_slice(part.as_bytes()));
    write!(trace, "-{:016x}-01", fastrand::u64(1..)).ok()?;
    HeaderValue::from_maybe_shared(trace.freeze()).ok()
}

/// The single call as it came: target, body and header values; under the event's id, where it came
/// without a key.
fn single(event: &Event, context: &Context) -> Option<Outgoing> {
    let carried = Carried::unpack(event.carried())?;
    let call = carried.legacy?;
    let mut request = Request::new(Body::from(Bytes::copy_from_slice(call.body.0)));
    *request.method_mut() = call.method.parse().ok()?;
    *request.uri_mut() = call.path.parse().ok()?;
    let mut headers = context.said().header_map(HEADERS);
    for (name, value) in &carried.headers {
        headers.append(
            HeaderName::try_from(*name).ok()?,
            HeaderValue::from_bytes(value.0).ok()?,
        );
    }
    if !carried.cookie.0.is_empty() {
        headers.insert(
            header::COOKIE,
            sensitive(cookie_line(carried.cookie.0, context).into())?,
        );
    }
    if !headers.contains_key(IDEMPOTENCY_KEY)
        && let Ok(id) = HeaderValue::try_from(event.id())
    {
        headers.insert(IDEMPOTENCY_KEY, id);
    }
    *request.headers_mut() = headers;
    Some(Outgoing {
        request,
        peer: Some(peer_of(context, &carried)),
    })
}

fn address(target: &Target) -> Option<Uri> {
    match target {
        Target::Path(path) => path.parse().ok(),
        Target::Url(url) => Some(url.clone()),
    }
}
