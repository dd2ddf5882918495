//! The calls that carry batches, and repeat single calls.

use super::contract::{self, BatchScope};
use super::deliver::{Ready, load_id};
use super::settings::{Group, HeaderText, Pack, Shape, Target};
use super::window::Form;
use crate::body::Body;
use crate::clock::Clock;
use crate::event::{Carried, Credential};
use crate::identity::Identity;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use std::sync::Arc;

/// Makes requests of loads.
#[derive(Debug)]
pub struct Assembler {
    /// Reads what a credential holds, for envelopes and headers.
    pub identity: Arc<Identity>,
    /// Wall clock.
    pub clock: Clock,
}

impl Assembler {
    /// The call that carries a load, or repeats a single call.
    ///
    /// # Errors
    /// Its events differ in credential (P3).
    pub fn request(&self, group: &Group, load: &[Ready]) -> Result<Option<Request<Body>>, contract::MixedCredentials> {
        let Some(first) = load.first() else { return Ok(None) };
        if let (Pack::Shared { credential, .. }, Form::Batch) = (&group.pack, first.batch.form) {
            let events = load.iter().flat_map(|ready| ready.batch.events.iter());
            let events = events.map(|queued| &*queued.entry.event().json);
            let id = load_id(load).to_string();
            let scope = BatchScope::new(&self.identity, None, None, &id, self.clock.now());
            let body = group.envelope.wrap(events, scope);
            return Ok(self.batch_request(group, &id, body, (None, None), std::slice::from_ref(credential)));
        }
        let batch = &first.batch;
        let credentials = batch.events.iter().map(|queued| &queued.entry.event().credential);
        // P3: the key of the lane says so already; the assembler looks again.
        let credential = contract::one_credential(batch.key.credential, credentials)?;
        if load.len() > 1 {
            return Err(contract::MixedCredentials);
        }
        let Some(newest) = batch.events.last().map(|queued| queued.entry.event()) else { return Ok(None) };
        let Some(carried) = Carried::unpack(&newest.carried) else { return Ok(None) };
        let id = batch.id.to_string();
        let request = match batch.form {
            Form::Single => single_request(&id, &carried, &credential),
            Form::Batch => {
                let head = contract::head_of(&credential);
                let user = Some(batch.key.user.as_str());
                let scope = BatchScope::new(&self.identity, Some(&head), user, &id, self.clock.now());
                let events = batch.events.iter().map(|queued| &*queued.entry.event().json);
                let body = group.envelope.wrap(events, scope);
                let request = self.batch_request(group, &id, body, (Some(&head), user), &credential.headers);
                request.map(|request| with_carried(request, &carried))
            }
        };
        Ok(request)
    }

    fn batch_request(
        &self,
        group: &Group,
        id: &str,
        body: Vec<u8>,
        (head, user): (Option<&http::request::Parts>, Option<&str>),
        credential: &[(HeaderName, HeaderValue)],
    ) -> Option<Request<Body>> {
        let Shape::Batch(target) = &group.shape else { return None };
        let mut request = call(Method::POST, address(target)?, body.into(), id, credential);
        let scope = BatchScope::new(&self.identity, head, user, id, self.clock.now());
        for (name, text) in &group.headers {
            let value = match text {
                HeaderText::Fixed(value) => Some(value.clone()),
                HeaderText::Rendered(template) => template.render(&scope).and_then(|text| text.try_into().ok()),
            };
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        }
        Some(request)
    }
}

/// A POST of JSON under an idempotency key, with what authenticates it.
fn call(method: Method, uri: Uri, body: Bytes, id: &str, credential: &[(HeaderName, HeaderValue)]) -> Request<Body> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for (name, value) in credential {
        headers.append(name, value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let mut set = |name: &'static str, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    // W3C Trace Context: the batch begins a trace of its own.
    set("traceparent", format!("00-{}-{:016x}-01", id.replace('-', ""), fastrand::u64(1..)));
    set("idempotency-key", id.to_owned());
    request
}

/// The headers that travel with an event; none that is there already.
fn with_carried(mut request: Request<Body>, carried: &Carried<'_>) -> Request<Body> {
    let there: Vec<HeaderName> = request.headers().keys().cloned().collect();
    for (name, value) in &carried.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::from_bytes(value.0))
            && !there.contains(&name)
        {
            request.headers_mut().append(name, value);
        }
    }
    request
}

fn single_request(id: &str, carried: &Carried<'_>, credential: &Credential) -> Option<Request<Body>> {
    let single = carried.legacy?;
    let body = Bytes::copy_from_slice(single.body.0);
    let request = call(single.method.parse().ok()?, single.path.parse().ok()?, body, id, &credential.headers);
    Some(with_carried(request, carried))
}

fn address(target: &Target) -> Option<Uri> {
    match target {
        Target::Path(path) => path.parse().ok(),
        Target::Url(url) => Some(url.clone()),
    }
}
