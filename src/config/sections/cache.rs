//! `[[cache]]`: reads that are answered from memory.

use crate::cache::policy::freshness;
use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::{HEAD, read_path};
use crate::config::section::Section;
use crate::event::ReadIndex;
use crate::route::CacheRoute;
use crate::template::{Source, Template};
use std::time;

keys! {
    /// parameters that are no part of the key
    IGNORE = Key::with("ignore", Said("list of names"), "[]");
}

keys! {
    "[[cache]]";
    /// GET and HEAD
    PATH = Key::without("path", Said("path"), "needed");
    /// where a response says nothing of its freshness. Like `force`, it doesn't speak for callers
    /// in whom no principal is recognised, unless the route is `public`
    TTL = Key::without("ttl", Duration, "none");
    /// `ttl` wins over `no-store`, `private` and whatever else a 200 says of its freshness; needs
    /// `ttl`, and can't be `public`
    FORCE = Key::with("force", Flag, "false");
    /// shared by all callers
    PUBLIC = Key::with("public", Flag, "false");
    /// guess from `Last-Modified`: up to a day, or never. Of callers without a principal only where
    /// the call has no header and no cookie that could be a key
    HEURISTIC = Key::without("heuristic", Flag, "a minute at most, without `ttl`");
    /// served stale while it is asked again
    STALE_WHILE_REVALIDATE = Key::without("stale_while_revalidate", Duration, "none");
    /// served stale while asking fails
    STALE_IF_ERROR = Key::without("stale_if_error", Duration, "none");
    /// what makes it old. A read whose tags can't be told passes the cache, and so does one that
    /// has a query parameter of them, or of `identity.user`, twice
    TAGS = Key::with("tags", Said("list of templates over `user`, `path` and the head"), "[]");
    /// what of a call's query counts
    QUERY = Key::without("query", Table(&[&IGNORE]), "");
    /// how long a read waits for its user's events
    BARRIER = Key::without("barrier", Duration, "`delivery.barrier`");
}

/// What the section says.
pub(in crate::config) struct Cache {
    /// The route, without its place, its groups, and a barrier that isn't its own.
    pub(in crate::config) route: CacheRoute,
    /// Its own barrier.
    pub(in crate::config) barrier: Option<time::Duration>,
}

pub(super) fn read(section: Section<'_>) -> Option<Cache> {
    let path = read_path(&section, &PATH);
    let allowed = [HEAD.as_slice(), &[Source::User, Source::Path]].concat();
    let ttl = section.maybe_duration(&TTL);
    let (force, public) = (section.flag(&FORCE), section.flag(&PUBLIC));
    let longest_guess = longest_guess(&section, ttl);
    let stale_while_revalidate = section
        .maybe_duration(&STALE_WHILE_REVALIDATE)
        .unwrap_or_default();
    let stale_if_error = section.maybe_duration(&STALE_IF_ERROR).unwrap_or_default();
    let tags = section
        .compiled_list(&TAGS, |text| Template::parse(text, &allowed))
        .unwrap_or_default();
    let ignore_query = read_ignored(section.section(&QUERY));
    let barrier = section.maybe_duration(&BARRIER);
    if force && public {
        section.wrong_key(
            &FORCE,
            "a forced entry is never public: it would show one user's answer to another",
        );
    }
    if force && !section.has(&TTL) {
        section.wrong_key(&FORCE, "needs a ttl");
    }
    section.refuse_gone(
        "overlay",
        "is gone: a page shows its own pending events by [preview]",
    );
    section.finish();
    let route = CacheRoute {
        of_own_user: false,
        path: path?,
        ttl,
        force,
        public,
        longest_guess,
        stale_while_revalidate,
        stale_if_error,
        tags,
        groups: Vec::new(),
        index: ReadIndex(0),
        proves: Vec::new(),
        ignore_query,
        barrier: barrier.unwrap_or_default(),
    };
    Some(Cache { route, barrier })
}

fn longest_guess(section: &Section<'_>, ttl: Option<time::Duration>) -> time::Duration {
    match section.maybe_flag(&HEURISTIC) {
        Some(true) => freshness::LONGEST_GUESS,
        None if ttl.is_none() => freshness::UNASKED_GUESS,
        Some(false) | None => time::Duration::ZERO,
    }
}

fn read_ignored(query: Section<'_>) -> Vec<Box<str>> {
    let names = query.names(&IGNORE);
    query.finish();
    names
}
