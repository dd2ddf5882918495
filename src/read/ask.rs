//! What a read asks for: its key, its tags, whose it is, and what its Cache-Control wishes.

use super::{Read, ReadScope, user_of};
use crate::body::Body;
use crate::cache::policy::invalidate;
use crate::cache::policy::precondition;
use crate::cache::policy::reuse::Wishes;
use crate::cache::policy::storable::Audience;
use crate::cache::store::Key;
use crate::event::{Fingerprint, Tag, UserId};
use crate::identity::{Caller, NotAnswerable};
use crate::peer::Peer;
use crate::route::{CacheRoute, Params};
use http::request::Parts;
use http::{Uri, header};
use http_body::Body as _;
use std::borrow::Cow;
use tokio::time::Instant;

/// Longer targets are not cached, bytes.
const MAX_TARGET: usize = 4096;

/// A read that may use the cache.
pub(super) struct Ask {
    pub(super) key: Key,
    /// The route's tags, and that of the URI.
    pub(super) tags: Vec<Tag>,
    pub(super) user: Option<UserId>,
    pub(super) credential: Fingerprint,
    pub(super) audience: Audience,
    pub(super) wishes: Wishes,
    /// It has a condition, or is for a part.
    pub(super) conditional: bool,
    /// When it came.
    pub(super) now: Instant,
}

/// Why the cache is passed by.
pub(super) type Bypass = &'static str;

impl Read {
    pub(super) fn examine(
        &self,
        parts: &Parts,
        peer: &Peer,
        body: &Body,
        route: &CacheRoute,
        params: &Params,
    ) -> Result<Ask, Bypass> {
        let caller = self.identity.caller(parts, self.clock.now());
        self.identity.answerable(&caller).map_err(NotAnswerable::as_str)?;
        if !body.is_end_stream() {
            return Err("body");
        }
        if precondition::is_for_the_application(&parts.headers) {
            return Err("conditional");
        }
        if parts.uri.path_and_query().is_some_and(|path| path.as_str().len() > MAX_TARGET) {
            return Err("long-target");
        }
        let host = host(parts, peer).ok_or("no-host")?;
        let uri = uri(peer.https, &host, &parts.uri, route);
        let credential = self.identity.fingerprint(&caller);
        let (user, mut tags) = self.tagged(&caller, route, params)?;
        tags.push(Tag::new(&invalidate::resource(&host, parts.uri.path())));
        Ok(Ask {
            key: Key { uri, credential: (!route.public).then_some(credential) },
            tags,
            user,
            credential,
            audience: self.audience(&caller, route),
            wishes: Wishes::of(&parts.headers),
            conditional: precondition::is_conditional(&parts.headers),
            now: self.clock.instant(),
        })
    }

    fn tagged(
        &self,
        caller: &Caller<'_>,
        route: &CacheRoute,
        params: &Params,
    ) -> Result<(Option<UserId>, Vec<Tag>), Bypass> {
        if route.tags.is_empty() {
            return Ok((None, Vec::with_capacity(1)));
        }
        let user = user_of(&self.identity, caller, params);
        let scope = ReadScope { caller, params, user: user.as_ref() };
        // Room for the URI's own tag.
        let mut tags = Vec::with_capacity(route.tags.len() + 1);
        for tag in &route.tags {
            tags.push(Tag::new(&tag.render(&scope).ok_or("no-tag")?));
        }
        Ok((user, tags))
    }

    /// Somebody's own only if the key holds something that only they have, and everything that authorizes them.
    fn audience(&self, caller: &Caller<'_>, route: &CacheRoute) -> Audience {
        if route.public || !self.identity.is_personal(caller) { Audience::Shared } else { Audience::Personal }
    }
}

/// The host that was asked, in lower case; none if there is none, or what is there can't be one (RFC 3986 §3.2.2).
pub(super) fn host<'a>(parts: &'a Parts, peer: &'a Peer) -> Option<Cow<'a, str>> {
    let host: Cow<'a, str> = match &peer.host {
        Some(host) => Cow::Borrowed(&**host),
        None => {
            let authority = parts.uri.authority().map(http::uri::Authority::as_str);
            let host = authority.or_else(|| parts.headers.get(header::HOST)?.to_str().ok())?;
            if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(host.to_ascii_lowercase())
            } else {
                Cow::Borrowed(host)
            }
        }
    };
    let is_odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\');
    (!host.is_empty() && !host.bytes().any(is_odd)).then_some(host)
}

/// A key's URI: scheme, host and path, each with a line break after it, which none of them can hold, and the query
/// without the ignored parameters. The path is as it was sent: the application may tell its spellings apart.
fn uri(https: bool, host: &str, target: &Uri, route: &CacheRoute) -> Box<str> {
    let query = target.query();
    let length = host.len() + target.path().len() + query.map_or(0, |query| query.len() + 1);
    let mut uri = String::with_capacity(8 + length);
    uri.push_str(if https { "https\n" } else { "http\n" });
    uri.push_str(host);
    uri.push('\n');
    uri.push_str(target.path());
    uri.push('\n');
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !route.ignore_query.iter().any(|ignored| **ignored == *name)
    };
    let mut gap = '?';
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(is_kept) {
        uri.push(gap);
        uri.push_str(pair);
        gap = '&';
    }
    uri.into_boxed_str()
}
