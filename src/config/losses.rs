//! What a configuration loses, leaves to the application or never does, in sentences for `tidegate
//! check`.

use super::connections;
use super::note::{Note, loud, name_of, quiet};
use super::settings::Config;
use super::shadows;
use crate::identity::{Kind, Need, Part, lists};
use crate::ingest::settings::{Group, MissingId};
use crate::rollout::Mode;
use crate::route::{CacheRoute, EventRoute};
use crate::template::{Source, Template};
use http::{HeaderName, Method, header};
use std::cell::RefCell;

/// All of them, loud ones first.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    let mut out = Vec::new();
    for route in &config.events {
        let Some(group) = config.groups.get(route.group.0) else {
            continue;
        };
        let of_route = [
            left_out(route, group),
            path_left_out(route, group),
            never_whole(route, group),
            nobodys(config, route, group),
        ];
        let found = of_route.into_iter().flatten();
        out.extend(found.map(|note| as_its_mode_has_it(route, note)));
    }
    out.extend(
        config
            .caches
            .iter()
            .filter_map(|route| never_cached(config, route)),
    );
    out.extend(never_read(config));
    out.extend(tags(config));
    out.extend(shadows::notes(config));
    out.extend(config.groups.iter().filter_map(too_long));
    out.extend(unlisted(config));
    out.extend(origins(config));
    out.extend(connections::notes(config));
    // A rule that stands twice says the same twice.
    let mut told: Vec<Note> = Vec::new();
    for note in out {
        if !told.contains(&note) {
            told.push(note);
        }
    }
    told.sort_by_key(|note| !note.loud);
    told
}

/// What a route would lose in mode `coalesce` is no warning in another one.
fn as_its_mode_has_it(route: &EventRoute, note: Note) -> Note {
    match route.configured.mode {
        Mode::Coalesce => note,
        mode => quiet(format!(
            "{} (once its mode is coalesce; it is {})",
            note.text,
            mode.as_str()
        )),
    }
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Members of a body that no batch would carry.
fn left_out(route: &EventRoute, group: &Group) -> Option<Note> {
    let mapping = route.event.as_ref().filter(|_| !group.is_single())?;
    let bodiless = matches!(route.method, Method::GET | Method::HEAD);
    if mapping.takes_rest() || mapping.takes_all() || bodiless {
        return None;
    }
    let named = RefCell::new(Vec::new());
    mapping.each_look(&|source, path| {
        let name = path.join(".");
        if source == Source::Body && !named.borrow().contains(&name) {
            named.borrow_mut().push(name);
        }
    });
    let (route, group, named) = (name_of(route), &group.name, named.into_inner());
    let only = if named.is_empty() {
        "nothing".to_owned()
    } else {
        format!("only {}", listed(&named))
    };
    Some(quiet(format!(
        "{route}: of a body {only} reaches batch {group}; other members are left out, and counted \
         by tidegate_unmapped_members_total. event = {{ …, \"...\" = \"{{body.*}}\" }} takes them \
         along"
    )))
}

/// Segments of the path that no batch would carry.
fn path_left_out(route: &EventRoute, group: &Group) -> Option<Note> {
    if group.is_single() {
        return None;
    }
    let looked = |name: &str| {
        let here = |source, path: &[Box<str>]| {
            source == Source::Path && path.first().is_some_and(|one| **one == *name)
        };
        route
            .event
            .as_ref()
            .is_some_and(|mapping| mapping.looks(&here))
    };
    let lost: Vec<_> = route
        .path
        .names()
        .filter(|name| !looked(name))
        .map(|name| format!("{{path.{name}}}"))
        .collect();
    (!lost.is_empty()).then(|| {
        loud(format!(
            "{}: {} of its path is in no event of batch {}",
            name_of(route),
            listed(&lost),
            group.name
        ))
    })
}

/// Whether events of a route can have this field.
fn produces(route: &EventRoute, group: &Group, field: &str) -> bool {
    let Some(mapping) = &route.event else {
        return true;
    };
    let made = *group.id_field == *field && group.missing_id == MissingId::Generate;
    made || mapping.takes_rest() || mapping.fields().iter().any(|one| *one.name == *field)
}

/// The group requires what the route's events never have: nothing is ever acknowledged.
fn never_whole(route: &EventRoute, group: &Group) -> Option<Note> {
    let id = &group.id_field;
    let missing = group.require.iter().find(|any| {
        !any.iter()
            .any(|field| field == id || produces(route, group, field))
    })?;
    Some(loud(format!(
        "{}: every call is forwarded: batch {} requires {}, which no event of this route has",
        name_of(route),
        group.name,
        missing.join(" or ")
    )))
}

/// Whether a part of the head may be there that a template of a route looks at.
fn in_head(config: &Config, names: &[&str], source: Source, path: &[Box<str>]) -> bool {
    match source {
        Source::Jwt => !config.identity.token.is_empty(),
        Source::Path => path.first().is_some_and(|name| names.contains(&&**name)),
        Source::Header | Source::Cookie | Source::Query => true,
        _ => false,
    }
}

/// The user of a route's calls can't be told, or only by what the calls say themselves.
fn nobodys(config: &Config, route: &EventRoute, group: &Group) -> Option<Note> {
    let names: Vec<_> = route.path.names().collect();
    let user = &config.identity.user;
    let has = |source: Source, path: &[Box<str>]| match (source, path.first()) {
        (Source::Event, Some(field)) => produces(route, group, field),
        _ => in_head(config, &names, source, path),
    };
    let name = name_of(route);
    if !user.can_render(&has) {
        return Some(loud(format!(
            "{name}: every call is forwarded: identity.user = \"{}\" finds nothing in its calls \
             (its events have {})",
            user.source(),
            route.event.as_ref().map_or_else(String::new, |mapping| {
                listed(
                    &mapping
                        .fields()
                        .iter()
                        .map(|field| &field.name)
                        .collect::<Vec<_>>(),
                )
            })
        )));
    }
    let all = |source: Source, path: &[Box<str>]| match source {
        Source::Header | Source::Cookie | Source::Query => false,
        // A token that need not be there may be missing.
        Source::Jwt => needs_token(config),
        _ => has(source, path),
    };
    (!user.can_render(&all)).then(|| {
        quiet(format!(
            "{name}: a call in which identity.user = \"{}\" finds nothing is forwarded: neither a \
             token's claim nor the event has it for certain",
            user.source()
        ))
    })
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
            listed(&routes),
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

/// Calls without a token are forwarded.
fn needs_token(config: &Config) -> bool {
    config
        .identity
        .require
        .iter()
        .any(|any| any.as_slice() == [Need::Jwt])
}

/// Whether two tags can be the same when they are rendered.
fn can_meet(one: &Template, other: &Template) -> bool {
    let (one, other) = (one.frame(), other.frame());
    match (one.as_slice(), other.as_slice()) {
        ([text], frame) | (frame, [text]) => fits(text, frame),
        (one, other) => one == other,
    }
}

/// Whether a text can be made by putting something into the gaps of a frame.
fn fits(text: &str, frame: &[&str]) -> bool {
    let Some((first, rest)) = frame.split_first() else {
        return text.is_empty();
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let Some((last, between)) = rest.split_last() else {
        return left.is_empty();
    };
    for piece in between {
        match left.split_once(piece) {
            Some((_, tail)) => left = tail,
            None => return false,
        }
    }
    left.ends_with(last)
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

fn too_long(group: &Group) -> Option<Note> {
    (group.window > group.max_age).then(|| {
        loud(format!(
            "batch {}: window {:?} is longer than max_age {:?}: events are older than that when \
             they are sent, and a client's repetition is no longer known as one",
            group.name, group.window, group.max_age
        ))
    })
}

/// What the application checks first, but doesn't tell callers apart.
fn unlisted(config: &Config) -> Vec<Note> {
    let identity = &config.identity;
    let mut parts: Vec<(&str, Part)> = Vec::new();
    for need in identity.require.iter().flatten() {
        match need {
            Need::Part(part) => parts.push(("identity.require", part.clone())),
            Need::Jwt => parts.extend(
                identity
                    .token
                    .iter()
                    .map(|part| ("identity.token", part.clone())),
            ),
        }
    }
    if let Some((first, second)) = &identity.double_submit {
        parts.extend([
            ("identity.double_submit", first.clone()),
            ("identity.double_submit", second.clone()),
        ]);
    }
    let why = if identity.selection.by_default {
        "identity.ignore takes out"
    } else {
        "identity.credentials lacks"
    };
    let mut out: Vec<_> = parts
        .into_iter()
        .filter(|(_, part)| !identity.selection.counts(part))
        .map(|(key, part)| {
            loud(format!(
                "{key} names {part}, which {why}: calls that differ in it share batches and stored \
                 answers, and a batch goes with the newest one's"
            ))
        })
        .collect();
    let claims = identity.user.uses(Source::Jwt) && identity.require.is_empty();
    let authorization = Part::Header(header::AUTHORIZATION);
    if claims
        && identity.token.contains(&authorization)
        && !identity.selection.counts(&authorization)
    {
        out.push(loud(format!(
            "identity.user is a claim of {authorization}, which {why}: whoever calls with another \
             token under the same name shares its batches"
        )));
    }
    out
}

/// How a call of a browser is told from one of another site.
fn origins(config: &Config) -> Option<Note> {
    let answers = config
        .events
        .iter()
        .any(|route| route.configured.mode == Mode::Coalesce);
    let listed = match &config.identity.cors {
        Some(cors) => format!("beside {}", cors.origins.join(", ")),
        None => "alone (no [cors] origins)".to_owned(),
    };
    // Without a list all that is saved hangs on it.
    let grade = if config.identity.cors.is_none() {
        loud
    } else {
        quiet
    };
    answers.then(|| {
        grade(format!(
            "browsers' calls are answered from the host's own origin {listed}: a front before \
             Tidegate must pass Host on, or say it in X-Forwarded-Host, else every browser's write \
             counts as cross-origin and is forwarded"
        ))
    })
}
