//! What a read asks for: its key, its tags, whose it is, and what its Cache-Control wishes.

use super::{Read, ReadScope, user_of};
use crate::body::Body;
use crate::cache::policy::precondition;
use crate::cache::policy::reuse::Wishes;
use crate::cache::policy::storable::Audience;
use crate::cache::store::Key;
use crate::event::{Fingerprint, Tag, UserId};
use crate::identity::{Caller, NotAnswerable};
use crate::route::{CacheRoute, Params};
use http::header;
use http::request::Parts;
use http_body::Body as _;
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
        let uri = uri(host(parts).ok_or("no-host")?, parts.uri.path(), parts.uri.query(), route);
        let credential = self.identity.fingerprint(&caller);
        let (user, mut tags) = self.tagged(&caller, route, params)?;
        tags.push(Tag::new(&uri));
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

pub(super) fn host(parts: &Parts) -> Option<&str> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(|| parts.headers.get(header::HOST)?.to_str().ok())
}

/// A key's URI: `uri:`, the host in lower case, the path, and the query without the ignored parameters.
pub(super) fn uri(host: &str, path: &str, query: Option<&str>, route: &CacheRoute) -> Box<str> {
    let mut uri = String::with_capacity(5 + host.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    uri.push_str("uri:");
    uri.push_str(host);
    uri.make_ascii_lowercase();
    uri.push_str(path);
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
