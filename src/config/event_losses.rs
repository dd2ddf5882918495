//! What calls of `[[event]]` routes lose: members and segments that no batch carries, and calls
//! that are always forwarded.

use super::heads::{in_head, needs_token};
use super::note::{Note, loud, name_of, quiet};
use super::settings::Config;
use crate::ingest::settings::{Group, MissingId};
use crate::rollout::Mode;
use crate::route::EventRoute;
use crate::template::Source;
use http::Method;
use std::cell::RefCell;

/// Of each route, in the configuration's order.
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
    out
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
