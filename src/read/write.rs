//! What a forwarded write makes old of what is stored (RFC 9111 §4.4): one tag per resource, so nothing is searched.
//!
//! The tag has one name for all spellings of a URI ([`invalidate::resource`]), and a write need not be spelled like the
//! read that it makes old, nor match its route.

use super::Read;
use super::ask::host;
use crate::body::Body;
use crate::cache::policy::invalidate;
use crate::cache::tags::Tags;
use crate::event::Tag;
use crate::peer::Peer;
use crate::route::Routes;
use crate::upstream::UpstreamError;
use http::Response;
use http::request::Parts;
use std::sync::Arc;

/// What a write in progress will have made old. If nobody hears its end, nobody knows whether it was applied: then it
/// was, as far as the store is concerned.
pub struct Old {
    tags: Arc<Tags>,
    host: String,
    /// Path and query.
    target: String,
    names: Vec<Tag>,
}

impl Read {
    /// The target of an unsafe request; `None` for a safe one.
    #[must_use]
    pub fn makes_old(&self, parts: &Parts, peer: &Peer, routes: &Routes) -> Option<Old> {
        if !invalidate::is_unsafe(&parts.method) {
            return None;
        }
        let host = host(parts, peer)?.into_owned();
        let target = parts.uri.path_and_query()?.as_str().to_owned();
        let mut old = Old { tags: Arc::clone(&self.tags), host, target: target.clone(), names: Vec::new() };
        old.add(routes, &target);
        Some(old)
    }
}

impl Old {
    fn add(&mut self, routes: &Routes, target: &str) {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if !is_near_a_cached_one(routes, path) {
            return;
        }
        let tag = Tag::new(&invalidate::resource(&self.host, path));
        if !self.names.contains(&tag) {
            self.names.push(tag);
        }
    }

    /// The answer is there: an error changes nothing, another may name more URIs.
    pub fn end(mut self, routes: &Routes, response: &Result<Response<Body>, UpstreamError>) {
        let Ok(response) = response else { return };
        if !invalidate::invalidates(response.status()) {
            self.names.clear();
            return;
        }
        for target in invalidate::named(&self.host, &self.target, response.headers()) {
            self.add(routes, &target);
        }
    }
}

/// Whether a cache route begins like this path, in whatever spelling. Other paths move no tag: the table of tags has only
/// so many places, and whatever shares one with a moved tag is asked for anew.
fn is_near_a_cached_one(routes: &Routes, path: &str) -> bool {
    let path = invalidate::loose_path(path);
    routes.cached_paths().any(|pattern| {
        let literal = pattern.split_once('{').map_or(pattern, |(literal, _)| literal);
        path.starts_with(&invalidate::loose_path(literal))
    })
}

impl Drop for Old {
    fn drop(&mut self) {
        self.tags.invalidate(&self.names);
    }
}
