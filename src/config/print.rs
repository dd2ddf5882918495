//! What `tidegate check` prints: for every route, what will be done with its calls.

use super::settings::Config;
use super::{losses, shadows};
use crate::cache::policy::freshness;
use crate::event::GroupIndex;
use crate::identity::Admit;
use crate::ingest::settings::{ClientBatches, Fallback, Group, Keep, KeyPart, Pack, Shape, Target};
use crate::journal::settings::Durability;
use crate::rollout::Mode;
use crate::route::{CacheRoute, EventRoute, WriteRoute};

/// One line per route, in the order in which they are tried, then the groups and the warnings.
#[must_use]
pub fn table(config: &Config) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for (place, event) in config.events.iter().enumerate() {
        let path = event.path.source();
        rows.push(row(event.method.as_str(), path, event_line(config, event)));
        let others = shadows::other_methods(config, place);
        rows.extend(others.map(|what| row("others", path, what)));
    }
    let batches = config
        .groups
        .iter()
        .enumerate()
        .filter_map(|(place, group)| {
            let index = GroupIndex(place);
            batch_row(
                group,
                config.events.iter().any(|event| event.group == index),
            )
        });
    for batch in batches {
        let is_told = |[method, path, _]: &Row| *method == batch[0] && *path == batch[1];
        if !rows.iter().any(is_told) {
            rows.push(batch);
        }
    }
    rows.extend(config.writes.iter().map(write_row));
    rows.extend(config.caches.iter().map(cache_row));
    if let Some(preview) = &config.preview {
        let groups = preview.groups.iter();
        let names: Vec<_> = groups
            .filter_map(|index| config.groups.get(index.0))
            .map(|group| &*group.name)
            .collect();
        let what = format!("the caller's own pending events of {}", names.join(", "));
        rows.push(row("GET", preview.path.source(), what));
    }
    for relay in &config.upstream.relays {
        let what = format!(
            "may take {:?} until its response head",
            relay.response_timeout
        );
        rows.push(row("any", relay.path.source(), what));
    }
    let upstream = config.upstream.shown_url();
    let upstream = upstream.trim_end_matches('/');
    let what = format!("passes through to {upstream}");
    rows.push(row("any", "everything else", what));
    let mut out = align(&rows);
    for group in &config.groups {
        out.push_str(&group_line(config, group));
    }
    out.push_str(&needs(config));
    for warning in warnings(config) {
        out.push_str(&format!("note: {warning}\n"));
    }
    for note in losses::notes(config) {
        let grade = if note.loud { "WARNING" } else { "note" };
        out.push_str(&format!("{grade}: {}\n", note.text));
    }
    out
}

/// Method, path, and what is done with such calls.
type Row = [String; 3];

fn row(method: &str, path: &str, what: String) -> Row {
    [method.to_owned(), path.to_owned(), what]
}

/// One line each, in columns.
fn align(rows: &[Row]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    rows.iter()
        .map(|[method, path, what]| format!("{method:first$}  {path:second$}  {what}\n"))
        .collect()
}

/// What becomes of the batches that clients send to a group's own path.
fn batch_row(group: &Group, has_routes: bool) -> Option<Row> {
    let Shape::Batch(Target::Path(path)) = &group.shape else {
        return None;
    };
    let what = match group.client_batches {
        ClientBatches::TakeApart if has_routes => {
            "a client's own batch is taken apart and kept event by event, where an [[event]] of its \
             group acknowledges its user's calls"
        }
        ClientBatches::TakeApart => "a client's own batch is taken apart and kept event by event",
        ClientBatches::Forward => "a client's own batch is forwarded, after the user's lanes",
    };
    Some(row("POST", path, what.to_owned()))
}

fn write_row(write: &WriteRoute) -> Row {
    let methods: Vec<_> = write.methods.iter().map(ToString::to_string).collect();
    let methods = if methods.is_empty() {
        "writes".to_owned()
    } else {
        methods.join(",")
    };
    let drains = match (write.drains.is_empty(), write.groups.is_empty()) {
        (true, _) => "",
        (false, false) => " after the user's lanes are settled",
        (false, true) => {
            ", and no group makes old what its drains names: no lane is waited for on its account"
        }
    };
    let drops: Vec<_> = write.invalidates.iter().map(|tag| tag.source()).collect();
    let drops = if drops.is_empty() {
        String::new()
    } else {
        format!("; makes {} old", drops.join(", "))
    };
    let what = format!("forwarded{drains}{drops}");
    row(&methods, write.path.source(), what)
}

fn cache_row(cache: &CacheRoute) -> Row {
    let ttl = cache
        .ttl
        .map_or("as long as the response says".to_owned(), |ttl| {
            format!("{ttl:?}")
        });
    let force = if cache.force {
        ", whatever the response says"
    } else {
        ""
    };
    let whose = if cache.public {
        "shared by all"
    } else {
        "per credential"
    };
    let tags: Vec<_> = cache.tags.iter().map(|tag| tag.source()).collect();
    let tags = match tags.as_slice() {
        [] => "no tags: no event makes it old".to_owned(),
        tags => format!("tags {}; barrier {:?}", tags.join(", "), cache.barrier),
    };
    let guess = match cache.longest_guess {
        longest if longest.is_zero() => String::new(),
        freshness::LONGEST_GUESS => ", or guessed from Last-Modified".to_owned(),
        longest => format!(", or guessed from Last-Modified ({longest:?} at most)"),
    };
    let what = format!(
        "cached {whose} for {ttl}{guess}{force}{}; {tags}",
        stale_line(cache)
    );
    row("GET", cache.path.source(), what)
}

fn stale_line(cache: &CacheRoute) -> String {
    let mut out = String::new();
    if !cache.stale_while_revalidate.is_zero() {
        out.push_str(&format!(
            ", then {:?} while it is asked again",
            cache.stale_while_revalidate
        ));
    }
    if !cache.stale_if_error.is_zero() {
        out.push_str(&format!(
            ", or {:?} while asking fails",
            cache.stale_if_error
        ));
    }
    out
}

fn event_line(config: &Config, event: &EventRoute) -> String {
    let group = config
        .groups
        .get(event.group.0)
        .map_or("?", |group| &*group.name);
    let mut only = if event.matches.is_empty() {
        String::new()
    } else {
        " (only bodies that match)".to_owned()
    };
    if event.configured.mode == Mode::Coalesce && !event.content_types.is_empty() {
        let types: Vec<_> = event
            .content_types
            .iter()
            .map(ToString::to_string)
            .collect();
        only.push_str(&format!(
            "; another type than {} is forwarded",
            types.join(", ")
        ));
    }
    if event.configured.mode == Mode::Coalesce && !event.forward_unless.is_empty() {
        let needs: Vec<_> = event
            .forward_unless
            .iter()
            .map(|one| one.source())
            .collect();
        only.push_str(&format!(
            "; forwarded unless there is {}",
            needs.join(" and ")
        ));
    }
    match event.configured.mode {
        mode @ (Mode::Off | Mode::Observe | Mode::Shadow) => {
            format!("forwarded: mode is {}{only}", mode.as_str())
        }
        Mode::Coalesce if event.configured.rollout < 100 => {
            format!(
                "acknowledged {} into batch {group} for {} % of users{only}",
                event.ack.status.as_u16(),
                event.configured.rollout
            )
        }
        Mode::Coalesce => format!(
            "acknowledged {} into batch {group}{only}",
            event.ack.status.as_u16()
        ),
    }
}

fn group_line(config: &Config, group: &Group) -> String {
    let names = |groups: &[GroupIndex]| {
        let names = groups
            .iter()
            .filter_map(|index| config.groups.get(index.0))
            .map(|group| &*group.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut line = match &group.shape {
        Shape::Batch(target) => {
            let target = match target {
                Target::Path(path) => path.to_string(),
                Target::Url(url) => url.to_string(),
            };
            let fallback = match group.fallback {
                Fallback::Single => "the single call, then a dead letter",
                Fallback::DeadLetter => "a dead letter",
            };
            format!(
                "batch {}: POST {target} after {:?} or {} events, at most {} events and {} bytes; a \
                 refused event becomes {fallback}",
                group.name, group.window, group.flush_at, group.max_events, group.max_bytes
            )
        }
        Shape::Single => {
            format!(
                "batch {}: after {:?} each goes out as the single call that it is",
                group.name, group.window
            )
        }
    };
    if let Pack::Shared { wait, credential } = &group.pack {
        line.push_str(&format!(
            "; windows of different users share a batch after at most {wait:?}, sent with {} of the \
             service",
            credential.0
        ));
    }
    if group.keep == Keep::Newest {
        let keys: Vec<_> = group.key.iter().map(KeyPart::source).collect();
        let of = if keys.is_empty() {
            "its route".to_owned()
        } else {
            keys.join(", ")
        };
        line.push_str(&format!(
            "; of those of one {of} only the newest is sent, the older ones are superseded"
        ));
    }
    if !group.order_with.is_empty() {
        line.push_str(&format!("; in one order with {}", names(&group.order_with)));
    }
    if !group.refuse.is_empty() {
        line.push_str(&format!(
            "; refuses by itself, and doesn't forward: {}",
            group.refuse.join(", ")
        ));
    }
    if !group.flush_with.is_empty() {
        line.push_str(&format!(
            "; sealed by priority events of {} too",
            names(&group.flush_with)
        ));
    }
    line.push('\n');
    line
}

/// What a call needs to be answered by Tidegate and not by the application.
fn needs(config: &Config) -> String {
    let identity = &config.identity;
    let mut needs: Vec<String> = Vec::new();
    for any in &identity.require {
        needs.push(
            any.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or "),
        );
    }
    if let Some((first, second)) = &identity.double_submit {
        needs.push(format!("{first} equal to {second} (writes)"));
    }
    if let Some(cors) = &identity.cors {
        needs.push(format!(
            "no origin, the host's own, or one of {}",
            cors.origins.join(", ")
        ));
    } else {
        needs.push("no origin, or the host's own".to_owned());
    }
    for rule in &identity.forbid {
        let unless = rule
            .unless
            .as_ref()
            .map_or_else(String::new, |part| format!(" (unless with {part})"));
        needs.push(format!("no {}{unless}", rule.part));
    }
    for (claim, values) in &identity.claims {
        let values = values.iter().map(ToString::to_string).collect::<Vec<_>>();
        needs.push(format!(
            "a token whose {claim}, if it has one, is {}",
            values.join(" or ")
        ));
    }
    needs.push("no token that has expired or isn't valid yet".to_owned());
    let admit = match identity.admit {
        Admit::Optimistic => "",
        Admit::Proven => "; a credential's first call is forwarded",
    };
    let refresh = identity.refresh.map_or_else(String::new, |every| {
        format!("; one call of each caller is forwarded every {every:?}, for its session")
    });
    format!(
        "answered only with {}; else forwarded{admit}{refresh}\n",
        needs.join(", ")
    )
}

/// Names of segments as other routers write them, which are texts like any other here.
fn foreign_names(config: &Config) -> impl Iterator<Item = String> {
    let events = config.events.iter().map(|route| &route.path);
    let writes = config.writes.iter().map(|route| &route.path);
    let caches = config.caches.iter().map(|route| &route.path);
    let relays = config.upstream.relays.iter().map(|relay| &relay.path);
    let paths = events.chain(writes).chain(caches).chain(relays);
    let is_foreign = |segment: &str| {
        segment.starts_with(':')
            || ["*", "**"].contains(&segment)
            || segment.starts_with('<') && segment.ends_with('>')
    };
    paths.filter_map(move |path| {
        let segment = path
            .source()
            .split('/')
            .find(|segment| is_foreign(segment))?;
        Some(format!(
            "{} matches a path with {segment:?} in it only, letter by letter; a named segment is \
             written {{name}}, and any rest {{*rest}}",
            path.source()
        ))
    })
}

fn warnings(config: &Config) -> Vec<String> {
    let mut out: Vec<_> = foreign_names(config).collect();
    let coalesces = config
        .events
        .iter()
        .any(|event| event.configured.mode == Mode::Coalesce);
    if coalesces && config.journal.durability == Durability::None {
        out.push(
            "journal.durability is \"none\": acknowledged events live in memory until their batch \
             is delivered; a crash loses them, a clean stop delivers what it can within \
             server.drain"
                .to_owned(),
        );
    }
    if coalesces && config.journal.durability == Durability::Process {
        out.push(
            "journal.durability is \"process\": a power cut may lose the last acknowledged events"
                .to_owned(),
        );
    }
    if coalesces
        && config.journal.durability != Durability::None
        && config.journal.key_file.is_none()
    {
        out.push(format!(
            "journal.key_file is not set: pending events and their credentials lie open in {}, \
             readable by their owner only",
            config.journal.path.display()
        ));
    }
    for group in config
        .groups
        .iter()
        .filter(|group| matches!(group.pack, Pack::Shared { .. }))
    {
        out.push(format!(
            "batch {} is packed shared: what users send is delivered under the service's \
             credential, so the application trusts the user id in each event and Tidegate is where \
             users are told apart{}{}",
            group.name,
            match config.identity.admit {
                Admit::Proven => "",
                Admit::Optimistic => {
                    "; with identity.admit = \"optimistic\" a forged token is believed: set \
                     \"proven\" wherever callers are not trusted"
                }
            },
            if group.same_user.is_empty() {
                "; same_user is empty: a caller may name another user in an event"
            } else {
                ""
            }
        ));
    }
    if config.identity.require.is_empty() && !config.events.is_empty() {
        out.push(
            "identity.require is empty: calls without any credential are acknowledged too, and \
             learn of a refusal from nobody"
                .to_owned(),
        );
    }
    out
}
