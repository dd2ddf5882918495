//! The batch contract (design §6), pure: a body out of events. What comes back is read in [`reply`](super::reply).

use super::settings::Envelope;
use super::window::ENVELOPE_BYTES;
use crate::event::{Context, Fingerprint};
use crate::identity::{Caller, Identity, keys};
use crate::peer::{Connection, Peer};
use crate::template::{Found, Lookup, Source};
use http::request::Parts;
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// A batch that holds events of more than one credential; it is never sent (P3).
#[derive(Debug, thiserror::Error)]
#[error("a batch holds events of more than one credential")]
pub struct MixedCredentials;

/// The one context of all events.
///
/// # Errors
/// They differ, or there are none.
pub fn one_context<'a>(
    lane: Fingerprint,
    mut contexts: impl Iterator<Item = &'a Arc<Context>>,
) -> Result<Arc<Context>, MixedCredentials> {
    let first = contexts.next().ok_or(MixedCredentials)?;
    let same =
        |context: &Arc<Context>| context.keys.fingerprint == lane && (Arc::ptr_eq(context, first) || context == first);
    if same(first) && contexts.all(same) { Ok(Arc::clone(first)) } else { Err(MixedCredentials) }
}

/// What a context holds, as the head of a call that templates can look into.
#[derive(Debug)]
pub struct Head {
    parts: Parts,
    peer: Peer,
}

impl Head {
    /// Of a context.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = Peer::new(Connection { address: nowhere, secure: context.https });
        Self { parts: Identity::head_of(context), peer: Peer { host: context.host.clone(), ..peer } }
    }

    /// To look into.
    #[must_use]
    pub fn caller(&self, identity: &Identity, now: SystemTime) -> Caller<'_> {
        identity.caller(&self.parts, &self.peer, now)
    }
}

/// What templates of a batch can see: what its calls share, and what is the batch's own.
pub struct BatchScope<'a> {
    caller: Option<Caller<'a>>,
    context: Option<&'a Context>,
    user: Option<&'a str>,
    id: &'a str,
    now: SystemTime,
    now_ms: String,
    events: Cow<'a, str>,
}

impl<'a> BatchScope<'a> {
    /// Of a batch of one context (with its [`Head`]), or of none.
    #[must_use]
    pub fn new(
        identity: &Identity,
        of: Option<(&'a Head, &'a Context)>,
        user: Option<&'a str>,
        id: &'a str,
        now: SystemTime,
    ) -> Self {
        let caller = of.map(|(head, _)| head.caller(identity, now));
        let (context, now_ms) = (of.map(|(_, context)| context), crate::clock::millis(now).to_string());
        Self { caller, context, user, id, now, now_ms, events: Cow::Borrowed("[]") }
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
            Source::NowIso => Some(Found::Text(Cow::Owned(crate::clock::iso(self.now)))),
            Source::Header | Source::Cookie | Source::Jwt => self.caller.as_ref()?.look(source, path),
            Source::Body | Source::Query => keys::named(self.context?, source.name(), path).map(Found::Json),
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
        let mut body = String::with_capacity(scope.events.len() + 64);
        document.write(&scope, &mut body);
        body.into_bytes()
    }

    /// Bytes around the events of a batch of this user and context, commas left out.
    #[must_use]
    pub fn overhead(&self, identity: &Identity, context: &Context, user: &str, now: SystemTime) -> usize {
        let Self::Document(_) = self else { return ENVELOPE_BYTES };
        let head = Head::of(context);
        let id = uuid::Uuid::nil().to_string();
        self.wrap(std::iter::empty(), BatchScope::new(identity, Some((&head, context)), Some(user), &id, now)).len()
    }
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
