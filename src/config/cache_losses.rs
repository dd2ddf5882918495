//! Reads of `[[cache]]` routes that never meet the cache, and tags that nothing makes old or
//! nothing carries.

use super::heads::{in_head, needs_token};
use super::note::{Note, loud, quiet};
use super::settings::Config;
use crate::identity::{Kind, Need, Part, lists};
use crate::route::CacheRoute;
use crate::template::{Source, Template};
use http::HeaderName;

/// Of each route, then of all of them.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let mut out: Vec<_> = config
        .caches
        .iter()
        .filter_map(|route| never_cached(config, route))
        .collect();
    out.extend(never_read(config));
    out.extend(tags(config));
    out
}

/// A read whose tags can't be told never meets the cache.
fn never_cached(config: &Config, route: &CacheRoute) -> Option<Note> {
    let names: Vec<_> = route.path.names().collect();
    let has = |source: Source, path: &[Box<str>]| in_head(config, &names, source, path);
    let with_user = |source: Source, path: &[Box<str>]| match source {
        Source::User => config.identity.user.can_render(&has),
        _ => has(source, path),
    };
    let Some(tag) = route.tags.iter().find(|tag| !tag.can_render(&with_user)) else {
        return maybe_cached(config, route);
    };
    Some(loud(format!(
        "GET {}: never answered from the cache: no read tells what its tag \"{}\" needs{}",
        route.path.source(),
        tag.source(),
        if tag.uses(Source::User) {
            format!(" (identity.user = \"{}\")", config.identity.user.source())
        } else {
            String::new()
        }
    )))
}

/// A read that names no user passes the cache: a session cookie alone names none.
fn maybe_cached(config: &Config, route: &CacheRoute) -> Option<Note> {
    let user = &config.identity.user;
    let names: Vec<_> = route.path.names().collect();
    let certain = |source: Source, path: &[Box<str>]| match source {
        Source::Jwt => needs_token(config),
        Source::Path => in_head(config, &names, source, path),
        _ => false,
    };
    let tag = route
        .tags
        .iter()
        .find(|tag| tag.uses(Source::User))
        .filter(|_| !user.can_render(&certain))?;
    Some(quiet(format!(
        "GET {}: a read in which identity.user = \"{}\" finds nothing passes the cache, since its \
         tag \"{}\" can't be told: a session cookie alone names no user",
        route.path.source(),
        user.source(),
        tag.source()
    )))
}

/// `identity.require` names only headers that reads don't have: the cache is never used.
fn never_read(config: &Config) -> Option<Note> {
    let is_missing = |need: &Need| match need {
        Need::Part(Part::Header(name)) => is_of_writes(config, name),
        Need::Part(_) | Need::Jwt => false,
    };
    let any = config
        .identity
        .require
        .iter()
        .find(|any| any.iter().all(is_missing))?;
    let names = any.iter().filter_map(|need| match need {
        Need::Part(part) => Some(part.to_string()),
        Need::Jwt => None,
    });
    let routes: Vec<_> = config
        .caches
        .iter()
        .map(|route| format!("GET {}", route.path.source()))
        .collect();
    (!routes.is_empty()).then(|| {
        loud(format!(
            "{}: never answered from the cache where a browser reads from the host's own origin: \
             identity.require names {}, which is sent with writes and not with reads; name a cookie \
             or \"jwt\", and what writes need under identity.double_submit",
            routes.join(", "),
            names.collect::<Vec<_>>().join(" or ")
        ))
    })
}

/// Whether a header tells of a condition of writes, which reads of a page's own host go without:
/// `Origin`, a CSRF token, the type of a body. Other conditions a browser sends with every call.
fn is_of_writes(config: &Config, name: &HeaderName) -> bool {
    const ALWAYS: [&str; 5] = [
        "user-agent",
        "accept",
        "sec-fetch-site",
        "sec-gpc",
        "x-requested-with",
    ];
    let kinds = [
        lists::header(name.as_str()),
        config.identity.selection.header(name),
    ];
    kinds.contains(&Kind::Condition) && !ALWAYS.contains(&name.as_str())
}

/// Whether two tags can be the same when they are rendered.
fn can_meet(one: &Template, other: &Template) -> bool {
    // Tags are the same in any letters.
    let lower = |template: &Template| {
        let pieces = template.frame().into_iter();
        pieces.map(str::to_lowercase).collect::<Vec<_>>()
    };
    let (one, other) = (lower(one), lower(other));
    match (one.as_slice(), other.as_slice()) {
        ([text], frame) | (frame, [text]) => fits(text, frame),
        (one, other) => one == other,
    }
}

/// Whether a text can be made by putting something into the gaps of a frame.
fn fits(text: &str, frame: &[String]) -> bool {
    let Some((first, rest)) = frame.split_first() else {
        return text.is_empty();
    };
    let Some(mut left) = text.strip_prefix(&**first) else {
        return false;
    };
    let Some((last, between)) = rest.split_last() else {
        return left.is_empty();
    };
    for piece in between {
        match left.split_once(&**piece) {
            Some((_, tail)) => left = tail,
            None => return false,
        }
    }
    left.ends_with(&**last)
}

/// Tags that nothing makes old, and tags that nothing carries.
fn tags(config: &Config) -> Vec<Note> {
    let mut out = Vec::new();
    let groups = || config.groups.iter().flat_map(|group| &group.invalidates);
    let makers = || groups().chain(config.writes.iter().flat_map(|write| &write.invalidates));
    for cache in &config.caches {
        for tag in cache
            .tags
            .iter()
            .filter(|tag| !makers().any(|maker| can_meet(maker, tag)))
        {
            out.push(loud(format!(
                "GET {}: no batch and no [[write]] makes its tag \"{}\" old: what is stored is \
                 served until it expires",
                cache.path.source(),
                tag.source()
            )));
        }
    }
    let carried = |tag: &Template| {
        config
            .caches
            .iter()
            .flat_map(|cache| &cache.tags)
            .any(|one| can_meet(one, tag))
    };
    for tag in makers().filter(|tag| !carried(tag)) {
        out.push(quiet(format!(
            "no [[cache]] route carries the tag \"{}\": only listeners of /_tidegate/invalidations \
             hear of it",
            tag.source()
        )));
    }
    out
}
