//! The batch contract (design §6), pure: a body out of events. What comes back is read in [`reply`](super::reply).

use super::settings::Envelope;
use super::window::ENVELOPE_BYTES;
use crate::event::{Credential, Fingerprint};
use crate::identity::{Caller, Identity};
use crate::template::{Found, Lookup, Source};
use http::Request;
use http::request::Parts;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

/// A batch that holds events of more than one credential; it is never sent (P3).
#[derive(Debug, thiserror::Error)]
#[error("a batch holds events of more than one credential")]
pub struct MixedCredentials;

/// The one credential of all events.
///
/// # Errors
/// They differ, or there are none.
pub fn one_credential<'a>(
    lane: Fingerprint,
    mut credentials: impl Iterator<Item = &'a Arc<Credential>>,
) -> Result<Arc<Credential>, MixedCredentials> {
    let first = credentials.next().ok_or(MixedCredentials)?;
    let same = |credential: &Arc<Credential>| credential.fingerprint == lane && credential.headers == first.headers;
    if same(first) && credentials.all(same) { Ok(Arc::clone(first)) } else { Err(MixedCredentials) }
}

/// What templates of a batch can see: the credential's headers, and what is the batch's own.
pub struct BatchScope<'a> {
    caller: Option<Caller<'a>>,
    user: Option<&'a str>,
    id: &'a str,
    now: SystemTime,
    now_ms: String,
    events: Cow<'a, str>,
}

/// The head that a credential's headers make.
#[must_use]
pub fn head_of(credential: &Credential) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    for (name, value) in &credential.headers {
        parts.headers.append(name, value.clone());
    }
    parts
}

impl<'a> BatchScope<'a> {
    /// Of a batch of one credential (its [`head_of`]), or of none.
    #[must_use]
    pub fn new(
        identity: &Identity,
        head: Option<&'a Parts>,
        user: Option<&'a str>,
        id: &'a str,
        now: SystemTime,
    ) -> Self {
        let caller = head.map(|head| identity.caller(head, now));
        Self { caller, user, id, now, now_ms: crate::clock::millis(now).to_string(), events: Cow::Borrowed("[]") }
    }
}

impl Lookup for BatchScope<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Events => Some(Found::Json(&self.events)),
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user))),
            Source::Batch if path.first().is_some_and(|name| **name == *"id") => Some(Found::Text(self.id.into())),
            Source::Uuid => Some(Found::Text(self.id.into())),
            Source::NowMs => Some(Found::Json(&self.now_ms)),
            Source::NowIso => Some(Found::Text(Cow::Owned(super::decode::iso(self.now)))),
            Source::Header | Source::Cookie | Source::Jwt => self.caller.as_ref()?.look(source, path),
            _ => None,
        }
    }
}

impl Envelope {
    /// The body of a batch, exactly as long as the window counted it.
    #[must_use]
    pub fn wrap<'a>(&self, events: impl Iterator<Item = &'a [u8]>, mut scope: BatchScope<'_>) -> Vec<u8> {
        let mut list = match self {
            Self::Plain => b"{\"events\":[".to_vec(),
            Self::Document(_) => b"[".to_vec(),
        };
        for (index, event) in events.enumerate() {
            if index > 0 {
                list.push(b',');
            }
            list.extend_from_slice(event);
        }
        list.push(b']');
        let Self::Document(document) = self else {
            list.push(b'}');
            return list;
        };
        // Events are JSON, and so UTF-8.
        scope.events = String::from_utf8(list).unwrap_or_default().into();
        let mut body = Vec::with_capacity(scope.events.len() + 64);
        document.write(&scope, &mut body);
        body
    }

    /// Bytes around the events of a batch of this user and credential, commas left out.
    #[must_use]
    pub fn overhead(&self, identity: &Identity, credential: &Credential, user: &str, now: SystemTime) -> usize {
        let Self::Document(_) = self else { return ENVELOPE_BYTES };
        let head = head_of(credential);
        let id = uuid::Uuid::nil().to_string();
        self.wrap(std::iter::empty(), BatchScope::new(identity, Some(&head), Some(user), &id, now)).len()
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
