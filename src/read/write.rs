//! What a forwarded write makes old of what is stored (RFC 9111 §4.4): one tag per URI, so nothing is searched.

use super::Read;
use super::ask::{host, uri};
use crate::body::Body;
use crate::cache::policy::invalidate;
use crate::cache::tags::Tags;
use crate::event::Tag;
use crate::route::{Found, Routes};
use crate::upstream::UpstreamError;
use http::request::Parts;
use http::{Method, Response};
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
    pub fn makes_old(&self, parts: &Parts, routes: &Routes) -> Option<Old> {
        if !invalidate::is_unsafe(&parts.method) {
            return None;
        }
        let host = host(parts)?.to_owned();
        let target = parts.uri.path_and_query()?.as_str().to_owned();
        let mut old = Old { tags: Arc::clone(&self.tags), host, target: target.clone(), names: Vec::new() };
        old.names.extend(old.tag(routes, &target));
        Some(old)
    }
}

impl Old {
    fn tag(&self, routes: &Routes, target: &str) -> Option<Tag> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let Found::Cache(route, _) = routes.find(&Method::GET, path) else { return None };
        Some(Tag::new(&uri(&self.host, path, query, route)))
    }

    /// The answer is there: an error changes nothing, another may name more URIs.
    pub fn end(mut self, routes: &Routes, response: &Result<Response<Body>, UpstreamError>) {
        let Ok(response) = response else { return };
        if !invalidate::invalidates(response.status()) {
            self.names.clear();
            return;
        }
        let named = invalidate::named(&self.host, &self.target, response.headers());
        let more: Vec<_> = named.iter().filter_map(|target| self.tag(routes, target)).collect();
        self.names.extend(more);
    }
}

impl Drop for Old {
    fn drop(&mut self) {
        self.tags.invalidate(&self.names);
    }
}
