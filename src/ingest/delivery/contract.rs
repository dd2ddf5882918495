//! The batch contract (design §6), pure: a body out of events. What comes back is read in
//! [`reply`](super::reply).

use crate::clock::millis;
use crate::event::{Context, Fingerprint};
use crate::identity::{Caller, Identity, keys};
use crate::ingest::lanes::window::ENVELOPE_BYTES;
use crate::ingest::settings::Envelope;
use crate::peer::{Connection, Peer};
use crate::template::{Found, Lookup, Source};
use http::request::Parts;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes that a document has around its events, where it has no long texts.
const AROUND: usize = 256;

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
    let same = |context: &Arc<Context>| {
        context.keys.fingerprint == lane && (Arc::ptr_eq(context, first) || context == first)
    };
    if same(first) && contexts.all(same) {
        Ok(Arc::clone(first))
    } else {
        Err(MixedCredentials)
    }
}

/// What a context holds, as the head of a call that templates can look into. It is made when one
/// does.
#[derive(Debug)]
pub struct Head<'a> {
    context: &'a Context,
    made: OnceCell<(Parts, Peer)>,
}

impl<'a> Head<'a> {
    /// Of a context.
    #[must_use]
    pub const fn of(context: &'a Context) -> Self {
        Self {
            context,
            made: OnceCell::new(),
        }
    }

    /// To look into.
    #[must_use]
    pub fn caller(&self, identity: &Identity, now: SystemTime) -> Caller<'_> {
        let (parts, peer) = self.made.get_or_init(|| {
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let (host, https) = self.context.place();
            let peer = Peer::new(Connection {
                address: nowhere,
                secure: https,
            });
            (
                Identity::head_of(self.context),
                Peer {
                    host: host.map(Into::into),
                    ..peer
                },
            )
        });
        identity.caller(parts, peer, now)
    }
}

/// What templates of a batch can see: what its calls share, and what is the batch's own.
pub struct BatchScope<'a> {
    identity: &'a Identity,
    head: Option<&'a Head<'a>>,
    caller: OnceCell<Caller<'a>>,
    user: Option<&'a str>,
    id: &'a str,
    now: SystemTime,
    now_ms: OnceCell<String>,
    events: Cow<'a, str>,
}

impl<'a> BatchScope<'a> {
    /// Of a batch of one context, or of none.
    #[must_use]
    pub fn new(
        identity: &'a Identity,
        head: Option<&'a Head<'a>>,
        user: Option<&'a str>,
        id: &'a str,
        now: SystemTime,
    ) -> Self {
        let (caller, now_ms) = (OnceCell::new(), OnceCell::new());
        Self {
            identity,
            head,
            caller,
            user,
            id,
            now,
            now_ms,
            events: Cow::Borrowed("[]"),
        }
    }

    fn caller(&self) -> Option<&Caller<'a>> {
        let head = self.head?;
        Some(
            self.caller
                .get_or_init(|| head.caller(self.identity, self.now)),
        )
    }
}

impl Lookup for BatchScope<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Events => Some(Found::Json(&self.events)),
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user))),
            Source::Batch if path.first().is_some_and(|name| **name == *"id") => {
                Some(Found::Text(self.id.into()))
            }
            Source::Uuid => Some(Found::Text(self.id.into())),
            Source::NowMs => Some(Found::Json(
                self.now_ms.get_or_init(|| millis(self.now).to_string()),
            )),
            Source::NowIso => Some(Found::Text(Cow::Owned(crate::clock::iso(self.now)))),
            Source::Header | Source::Cookie | Source::Jwt => self.caller()?.look(source, path),
            Source::Body | Source::Query => {
                keys::named(self.head?.context, source.name(), path).map(Found::Json)
            }
            _ => None,
        }
    }
}

impl Envelope {
    /// The body of a batch, exactly as long as the window counted it.
    #[must_use]
    pub fn wrap<'a>(
        &self,
        events: impl Iterator<Item = &'a [u8]> + Clone,
        mut scope: BatchScope<'_>,
    ) -> Vec<u8> {
        let Self::Document(document) = self else {
            return joined(b"{\"events\":[", events, b"]}");
        };
        // Events are JSON, and so UTF-8.
        scope.events = String::from_utf8(joined(b"[", events, b"]"))
            .unwrap_or_default()
            .into();
        let mut body = String::with_capacity(scope.events.len() + AROUND);
        document.write(&scope, &mut body);
        body.into_bytes()
    }

    /// Bytes around the events of a batch of this user and context, commas left out.
    #[must_use]
    pub fn overhead(
        &self,
        identity: &Identity,
        context: &Context,
        user: &str,
        now: SystemTime,
    ) -> usize {
        let Self::Document(_) = self else {
            return ENVELOPE_BYTES;
        };
        let head = Head::of(context);
        let id = uuid::Uuid::nil().to_string();
        self.wrap(
            std::iter::empty(),
            BatchScope::new(identity, Some(&head), Some(user), &id, now),
        )
        .len()
    }
}

/// All events with commas between them, in one piece of memory.
fn joined<'a>(
    before: &[u8],
    events: impl Iterator<Item = &'a [u8]> + Clone,
    after: &[u8],
) -> Vec<u8> {
    let all: usize = events.clone().map(|event| event.len() + 1).sum();
    let mut list = Vec::with_capacity(before.len() + all + after.len());
    list.extend_from_slice(before);
    for (index, event) in events.enumerate() {
        if index > 0 {
            list.push(b',');
        }
        list.extend_from_slice(event);
    }
    list.extend_from_slice(after);
    list
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
