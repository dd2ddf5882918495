//! The calls that carry batches, and repeat single calls (P13).
//!
//! | of a batch | comes from |
//! |---|---|
//! | host, scheme, the headers and cookies that count | its context, which all its calls share |
//! | the client's address | its newest call |
//! | headers and cookies that say nothing of the caller (`Accept-Language`, balancers' cookies) | its newest call |
//! | any other header or cookie | all its calls, where they agree; else left out |
//! | trace and request ids | no call; the batch begins a trace of its own |
//!
//! A single call that is repeated is the call as it came.

use super::contract::{self, BatchScope, Head};
use super::deliver::{Ready, Under, load_id};
use super::settings::{Group, HeaderText, Pack, Shape, Target};
use super::shard::Kept;
use super::window::{Batch, Form};
use crate::body::Body;
use crate::clock::Clock;
use crate::event::{COUNTED, Carried, Context, Event};
use crate::identity::keys::cookie_line;
use crate::identity::{Identity, Kind, lists};
use crate::peer::{Connection, Peer};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

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
    pub fn request(&self, group: &Group, load: &[Ready]) -> Result<Option<Outgoing>, contract::MixedCredentials> {
        let Some(first) = load.first() else { return Ok(None) };
        if let (Pack::Shared { credential, .. }, Under::Service) = (&group.pack, first.under) {
            return self.shared(group, load, credential);
        }
        let batch = &first.batch;
        let contexts = batch.events.iter().map(|queued| &queued.entry.event().context);
        // P3: the key of the lane says so already; the assembler looks again.
        let context = contract::one_context(batch.key.credential, contexts)?;
        if load.len() > 1 {
            return Err(contract::MixedCredentials);
        }
        Ok(match batch.form {
            Form::Single => batch.events.last().and_then(|queued| single(queued.entry.event(), &context)),
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
        let events = || load.iter().flat_map(|ready| ready.batch.events.iter()).map(|queued| queued.entry.event());
        let Some(first) = events().next() else { return Ok(None) };
        let place = |event: &Event| (event.owner.realm, event.context.https, event.context.host.clone());
        // P3: whoever took the batch up says so already; the assembler looks again.
        let is_others = |ready: &Ready| ready.under != Under::Service || !ready.batch.is_for_service();
        if load.iter().any(is_others) || events().any(|event| place(event) != place(first)) {
            return Err(contract::MixedCredentials);
        }
        let id = load_id(load).to_string();
        let scope = BatchScope::new(&self.identity, None, None, &id, self.clock.now());
        let body = group.envelope.wrap(events().map(|event| &*event.json), scope);
        let mut headers = HeaderMap::new();
        headers.append(credential.0.clone(), credential.1.clone());
        let scope = BatchScope::new(&self.identity, None, None, &id, self.clock.now());
        let request = batch_request(group, &id, body, headers, &scope);
        let connection = Connection { address: SocketAddr::from(([127, 0, 0, 1], 0)), secure: first.context.https };
        let peer = Peer { host: first.context.host.clone(), ..Peer::new(connection) };
        Ok(request.map(|request| Outgoing { request, peer: Some(peer) }))
    }

    fn batch(&self, group: &Group, batch: &Batch<Kept>, context: &Context) -> Option<Outgoing> {
        let id = batch.id.to_string();
        let (head, user) = (Head::of(context), Some(batch.key.user.as_str()));
        let scope = || BatchScope::new(&self.identity, Some((&head, context)), user, &id, self.clock.now());
        let events = batch.events.iter().map(|queued| &*queued.entry.event().json);
        let body = group.envelope.wrap(events, scope());
        let carried: Vec<_> =
            batch.events.iter().filter_map(|queued| Carried::unpack(&queued.entry.event().carried)).collect();
        let newest = carried.last()?;
        let mut headers = context_headers(context);
        self.add_agreed(&mut headers, &carried);
        if let Some(line) = self.agreed_cookies(context, &carried).filter(|line| !line.is_empty()) {
            headers.insert(header::COOKIE, sensitive(line.into())?);
        }
        let request = batch_request(group, &id, body, headers, &scope())?;
        Some(Outgoing { request, peer: Some(peer_of(context, newest)) })
    }

    /// Headers beside the context: the newest call's where they say nothing, else what all calls agree in.
    fn add_agreed(&self, headers: &mut HeaderMap, carried: &[Carried<'_>]) {
        let Some((newest, older)) = carried.split_last() else { return };
        for (name, value) in &newest.headers {
            let Ok(name) = HeaderName::try_from(*name) else { continue };
            let kind = self.identity.settings().selection.header(&name);
            let of = |one: &Carried<'_>| -> Vec<Vec<u8>> {
                let same = one.headers.iter().filter(|(other, _)| *other == name.as_str());
                same.map(|(_, value)| value.0.to_vec()).collect()
            };
            let travels = match kind {
                Kind::PerCall | Kind::Proof | Kind::Conditional => false,
                // What the way here has added is extended by the next hop; the rest belongs to the message.
                Kind::Framing => is_of_the_way(&name),
                // Listed credentials leave the rest to the operator's word; an own condition may differ, a name may not.
                _ => {
                    !lists::header(name.as_str()).counts()
                        || self.identity.settings().selection.ignores_header(&name)
                        || lists::header(name.as_str()) == Kind::Condition
                        || older.iter().all(|one| of(one) == of(newest))
                }
            };
            if let (true, Ok(value)) = (travels, HeaderValue::from_bytes(value.0)) {
                headers.append(name, value);
            }
        }
    }

    /// The newest Cookie line, without cookies that other calls had with another value, unless they say nothing.
    fn agreed_cookies(&self, context: &Context, carried: &[Carried<'_>]) -> Option<Vec<u8>> {
        let (newest, older) = carried.split_last()?;
        let pieces = |line| <[u8]>::split(line, |byte| *byte == b';').map(<[u8]>::trim_ascii).collect::<Vec<_>>();
        // A line that is the same agrees in every piece.
        let others = older.iter().map(|one| one.cookie.0).filter(|line| *line != newest.cookie.0);
        let others: Vec<HashSet<_>> = others.map(|line| pieces(line).into_iter().collect()).collect();
        let kept = pieces(newest.cookie.0).into_iter().filter(|piece| {
            let name = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = std::str::from_utf8(name).unwrap_or_default();
            let selection = &self.identity.settings().selection;
            piece.contains(&COUNTED)
                || selection.cookie(name) == Kind::Rolling
                || selection.ignores_cookie(name)
                || !lists::cookie(name).counts()
                || others.iter().all(|other| other.contains(piece))
        });
        let line = kept.filter(|piece| !piece.is_empty()).collect::<Vec<_>>().join(&b"; "[..]);
        Some(cookie_line(&line, context))
    }
}

/// Headers that name the way a call came, which this hop extends.
fn is_of_the_way(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || ["host", "via", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip"].contains(&name)
}

fn sensitive(value: Bytes) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn context_headers(context: &Context) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(context.headers.len() + 12);
    for (name, value) in &context.headers {
        headers.append(name, value.clone());
    }
    headers
}

/// Whom a delivery speaks for.
fn peer_of(context: &Context, carried: &Carried<'_>) -> Peer {
    let connection = Connection { address: SocketAddr::new(carried.from, 0), secure: context.https };
    Peer { client: carried.client, https: context.https, host: context.host.clone(), ..Peer::new(connection) }
}

/// A POST of JSON under an idempotency key.
fn batch_request(
    group: &Group,
    id: &str,
    body: Vec<u8>,
    headers: HeaderMap,
    scope: &BatchScope<'_>,
) -> Option<Request<Body>> {
    let Shape::Batch(target) = &group.shape else { return None };
    let mut request = Request::new(Body::from(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address(target)?;
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    // W3C Trace Context: the batch begins a trace of its own.
    let trace = format!("00-{}-{:016x}-01", id.replace('-', ""), fastrand::u64(1..));
    for (name, text) in [(HeaderName::from_static("traceparent"), trace), (IDEMPOTENCY_KEY, id.to_owned())] {
        headers.insert(name, text.try_into().ok()?);
    }
    for (name, text) in &group.headers {
        let value = match text {
            HeaderText::Fixed(value) => Some(value.clone()),
            HeaderText::Rendered(template) => template.render(scope).and_then(|text| text.try_into().ok()),
        };
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    Some(request)
}

/// The single call as it came: target, body and header values; under the event's id, where it came without a key.
fn single(event: &Event, context: &Context) -> Option<Outgoing> {
    let carried = Carried::unpack(&event.carried)?;
    let call = carried.legacy?;
    let mut request = Request::new(Body::from(Bytes::copy_from_slice(call.body.0)));
    *request.method_mut() = call.method.parse().ok()?;
    *request.uri_mut() = call.path.parse().ok()?;
    let mut headers = context_headers(context);
    for (name, value) in &carried.headers {
        headers.append(HeaderName::try_from(*name).ok()?, HeaderValue::from_bytes(value.0).ok()?);
    }
    if !carried.cookie.0.is_empty() {
        headers.insert(header::COOKIE, sensitive(cookie_line(carried.cookie.0, context).into())?);
    }
    if !headers.contains_key(IDEMPOTENCY_KEY)
        && let Ok(id) = HeaderValue::try_from(event.id.as_str())
    {
        headers.insert(IDEMPOTENCY_KEY, id);
    }
    *request.headers_mut() = headers;
    Some(Outgoing { request, peer: Some(peer_of(context, &carried)) })
}

fn address(target: &Target) -> Option<Uri> {
    match target {
        Target::Path(path) => path.parse().ok(),
        Target::Url(url) => Some(url.clone()),
    }
}
