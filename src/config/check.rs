//! From the tree of the file to a [`Config`]: every key read, every problem gathered.

use super::Config;
use super::raw::{Environment, Node, Problem, Section, Sink, Spot};
use super::{group, identity, server};
use crate::admin::AdminSettings;
use crate::cache::policy::freshness;
use crate::cache::settings::CacheSettings;
use crate::event::{GroupIndex, ReadIndex};
use crate::identity::{Cors, IdentitySettings, Part};
use crate::ingest::settings::{Backoff, Delivery, Group, KeyPart, Limited, Limits, Rate};
use crate::journal::settings::{Durability, JournalSettings};
use crate::memory;
use crate::route::{Ack, CacheRoute, EventRoute, Mode, Pattern, PreviewRoute, WriteRoute};
use crate::template::{JsonTemplate, ObjectTemplate, Path, Source, Template, TemplateError};
use http::{HeaderName, Method, StatusCode, Uri};
use std::time::Duration;

pub(super) const HEAD: [Source; 4] = [Source::Header, Source::Cookie, Source::Query, Source::Jwt];
const NOW: [Source; 4] = [Source::NowMs, Source::NowIso, Source::Uuid, Source::RequestId];

pub(super) fn sources(more: &[Source]) -> Vec<Source> {
    more.iter().chain(&HEAD).chain(&NOW).copied().collect()
}

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Proves a configuration.
///
/// # Errors
/// Every problem there is.
pub fn check(tree: &Spot, environment: Environment) -> Result<Config, Vec<Problem>> {
    let sink = Sink::new(environment);
    let root = Section::new(Some(tree), "", &sink);
    let server = server::server(root.section("server"));
    let (upstream, relaxed_paths) = server::upstream(root.section("upstream"), root.sections("relay"), &server);
    let delivery_section = root.section("delivery");
    let delivery = delivery(&delivery_section);
    delivery_section.finish();
    let mut identity = identity::read(root.section("identity"), cors(root.section("cors")));
    let groups = group::all(&root, &identity);
    identity.lowercase_user = groups.iter().flatten().any(|group| names_users_in_lowercase(group, &identity.user));
    let events = events(&root, &groups, &identity);
    let mut config = Config {
        explain: root.section("server").flag("explain").unwrap_or(false),
        server,
        admin: admin(root.section("admin")),
        identity,
        journal: journal(root.section("journal")),
        limits: limits(root.section("limits")),
        cache: store(root.section("store")),
        writes: root.sections("write").into_iter().filter_map(write).collect(),
        caches: root.sections("cache").into_iter().filter_map(|section| cache(section, delivery.barrier)).collect(),
        upstream,
        delivery,
        groups: groups.into_iter().flatten().collect(),
        events: events.into_iter().flatten().collect(),
        preview: root.get("preview").and_then(|_| preview(root.section("preview"), &group::names(&root))),
        relaxed_paths,
    };
    for write in &mut config.writes {
        write.groups = meeting(&config.groups, &write.drains);
    }
    for (index, cache) in config.caches.iter_mut().enumerate() {
        cache.index = ReadIndex(index);
        cache.groups = meeting(&config.groups, &cache.tags);
        cache.proves = sharing(&config.groups, &cache.tags);
    }
    group::keep_order(&mut config.groups);
    for group in config.preview.iter().flat_map(|preview| &preview.groups) {
        if let Some(group) = config.groups.get_mut(group.0) {
            group.shown = true;
        }
    }
    root.finish();
    let problems = sink.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// A group puts the field in lower case that users are named by. So are they everywhere, or a read would look for another
/// user than the one whose events came before it.
fn names_users_in_lowercase(group: &Group, user: &Template) -> bool {
    let is_named = |field: &str| {
        user.looks(&|source, path| source == Source::Event && path.first().is_some_and(|first| **first == *field))
    };
    group.lowercase.iter().any(|field| is_named(field))
}

/// The groups whose events may make one of these tags old: as far as can be told before the first placeholder.
pub(super) fn meeting(groups: &[Group], tags: &[Template]) -> Vec<GroupIndex> {
    let meets = |one: &Template, other: &Template| {
        let (one, other) = (literal_start(one), literal_start(other));
        one.starts_with(other) || other.starts_with(one)
    };
    concerned(groups, tags, meets)
}

/// The groups whose events make one of these tags old for certain: one of their tags begins with the same words, or is the
/// same.
fn sharing(groups: &[Group], tags: &[Template]) -> Vec<GroupIndex> {
    let shares = |one: &Template, other: &Template| {
        one.source() == other.source() || !literal_start(one).is_empty() && literal_start(one) == literal_start(other)
    };
    concerned(groups, tags, shares)
}

/// A template up to its first placeholder.
fn literal_start(template: &Template) -> &str {
    template.source().split('{').next().unwrap_or_default()
}

fn concerned(groups: &[Group], tags: &[Template], meets: impl Fn(&Template, &Template) -> bool) -> Vec<GroupIndex> {
    let is_met = |group: &Group| group.invalidates.iter().any(|one| tags.iter().any(|other| meets(one, other)));
    let found = groups.iter().enumerate().filter(|(_, group)| is_met(group));
    found.map(|(index, _)| GroupIndex(index)).collect()
}

fn admin(section: Section<'_>) -> AdminSettings {
    let listen = server::address(&section, 9901);
    if !listen.ip().is_loopback() {
        section.wrong_key("listen", format!("found {listen}; only loopback addresses are allowed in this version"));
    }
    section.finish();
    AdminSettings { listen }
}

fn cors(section: Section<'_>) -> Option<Cors> {
    let origin = |text: &str| match text.parse::<Uri>().map(Uri::into_parts) {
        Ok(parts)
            if parts.scheme.is_some()
                && !text.ends_with('/')
                && parts.path_and_query.as_ref().is_none_or(|path| path == "/") =>
        {
            Ok(Box::<str>::from(text.to_lowercase()))
        }
        _ => Err(
            "an origin such as \"https://app.example\" is allowed, without a path; without [cors] all are let through",
        ),
    };
    let origins = section.compiled_list("origins", origin);
    let cors = Cors {
        origins: origins.clone().unwrap_or_default(),
        credentials: section.flag("credentials").unwrap_or(false),
        expose: section.texts("expose").unwrap_or_default().into_iter().map(Into::into).collect(),
    };
    if origins.is_none() && (cors.credentials || !cors.expose.is_empty()) {
        section.wrong_key("origins", "is missing; without it no origin is checked and no CORS header is set");
    }
    section.finish();
    origins.map(|_| cors)
}

fn journal(section: Section<'_>) -> JournalSettings {
    let levels = [("disk", Durability::Disk), ("process", Durability::Process), ("none", Durability::None)];
    let settings = JournalSettings {
        path: section.text("path").unwrap_or_else(|| "data".to_owned()).into(),
        durability: section.choice("durability", &levels, Durability::Disk),
        max_bytes: section.size("max_bytes", 1 << 30),
        min_free: section.size("min_free", 128 << 20),
        key_file: section.text("key_file").map(Into::into),
        old_key_files: section.texts("old_key_files").unwrap_or_default().into_iter().map(Into::into).collect(),
    };
    section.finish();
    settings
}

fn delivery(section: &Section<'_>) -> Delivery {
    let server = section.section("retry_server");
    let limited = section.section("retry_limited");
    let timeout = section.duration("timeout", seconds(10));
    let settings = Delivery {
        timeout,
        max_in_flight: section.count("max_in_flight", 1, 65_536, 64),
        retry_network: section.durations("retry_network").unwrap_or_else(|| [2, 5, 10, 20].map(seconds).to_vec()),
        retry_server: Backoff { base: server.duration("base", seconds(2)), cap: server.duration("cap", seconds(30)) },
        retry_limited: Limited {
            base: limited.duration("base", seconds(5)),
            jitter: limited.duration("jitter", seconds(2)),
        },
        escalate_after: u32::try_from(section.count("escalate_after", 1, 1_000_000, 3)).unwrap_or(3),
        give_up_after: section.duration("give_up_after", seconds(24 * 3600)),
        token_margin: section.duration("token_margin", timeout),
        barrier: section.duration("barrier", Duration::from_millis(500)),
    };
    if section.get("forward_headers").is_some() {
        section.wrong_key(
            "forward_headers",
            "is void: what the calls of a batch share travels with it, and each single call is repeated as it came",
        );
    }
    if settings.retry_server.base > settings.retry_server.cap {
        section.wrong_key("retry_server", "base is longer than cap");
    }
    server.finish();
    limited.finish();
    settings
}

fn limits(section: Section<'_>) -> Limits {
    let rate = section.get("events_per_user").map(|_| {
        let section = section.section("events_per_user");
        let rate = section.count("rate", 1, 1_000_000, 8);
        let to_u32 = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let value = Rate {
            rate: to_u32(rate),
            per: section.duration("per", seconds(1)),
            burst: to_u32(section.count("burst", 1, 1_000_000, rate * 4)),
        };
        section.finish();
        value
    });
    let body = section.size("max_body", 1 << 20);
    let contexts = section.size("max_context_bytes", 256 << 10);
    let settings = Limits {
        events_per_user: rate,
        max_users: section.count("max_users", 1, 100_000_000, 1_000_000),
        max_lanes: section.count("max_lanes", 1, 100_000_000, 100_000),
        max_lane_events: section.count("max_lane_events", 1, 1_000_000_000, 10_000),
        max_seen: section.count("max_seen", 1, 1_000_000_000, 1_000_000),
        max_dead_letters: section.count("max_dead_letters", 1, 10_000_000, 10_000),
        max_body: usize::try_from(body).unwrap_or(usize::MAX),
        max_context_bytes: usize::try_from(contexts).unwrap_or(usize::MAX),
        max_body_memory: section.size("max_body_memory", 128 << 20),
    };
    if settings.max_body_memory < memory::LEAST {
        section.wrong_key("max_body_memory", "1MiB at least is allowed: a caller's share of less would hold no body");
    }
    section.finish();
    settings
}

fn store(section: Section<'_>) -> CacheSettings {
    let object = section.size("max_object", 1 << 20);
    let settings = CacheSettings {
        max_bytes: section.size("max_bytes", 64 << 20).max(1 << 20),
        max_object: usize::try_from(object).unwrap_or(1 << 20),
    };
    section.finish();
    settings
}

pub(super) fn values(section: &Section<'_>, key: &'static str) -> Vec<(String, Vec<serde_json::Value>)> {
    let Some(spot) = section.get(key) else { return Vec::new() };
    let Node::Table(members) = &spot.node else {
        section.wrong_key(key, "a table of lists is allowed, such as { type = [\"a\", \"b\"] }");
        return Vec::new();
    };
    let list = |spot: &Spot| match &spot.node {
        Node::List(all) => all.iter().map(|one| one.node.json()).collect(),
        other => vec![other.json()],
    };
    members.iter().map(|(name, spot)| (name.clone(), list(spot))).collect()
}

pub(super) fn status(section: &Section<'_>, default: u16) -> StatusCode {
    let code = section.number("status", 200, 299).and_then(|code| u16::try_from(code).ok()).unwrap_or(default);
    StatusCode::from_u16(code).unwrap_or_default()
}

pub(super) fn document(
    section: &Section<'_>,
    key: &'static str,
    allowed: &[Source],
) -> Option<Result<JsonTemplate, ()>> {
    let spot = section.get(key)?;
    Some(JsonTemplate::from_json(&spot.node.json(), allowed).map_err(|error| section.wrong_key(key, error.to_string())))
}

fn events(root: &Section<'_>, groups: &[Option<Group>], identity: &IdentitySettings) -> Vec<Option<EventRoute>> {
    let batch = root.section("batch");
    let names: Vec<&str> = batch.named_sections().iter().map(|(name, _)| *name).collect();
    root.sections("event").into_iter().map(|section| event(section, &names, groups, identity)).collect()
}

fn event(
    section: Section<'_>,
    names: &[&str],
    groups: &[Option<Group>],
    identity: &IdentitySettings,
) -> Option<EventRoute> {
    let path = pattern(&section);
    let index = section.compiled("batch", |text| {
        names
            .iter()
            .position(|name| *name == text)
            .ok_or_else(|| format!("found {text:?}; allowed are the groups {}", names.join(", ")))
    });
    if section.get("batch").is_none() {
        section.wrong_key("batch", format!("is missing; allowed are the groups {}", names.join(", ")));
    }
    let allowed = sources(&[Source::Body, Source::Path]);
    let mapping = section.get("event").map(|spot| match spot.node.json() {
        serde_json::Value::Object(map) => {
            ObjectTemplate::from_json(&map, &allowed).map_err(|error| section.wrong_key("event", error.to_string()))
        }
        _ => {
            section.wrong_key("event", "a table is allowed, such as { userId = \"{body.user_id}\" }");
            Err(())
        }
    });
    let group = index.and_then(|index| groups.get(index)?.as_ref());
    let id_field = group.map_or("clientEventId", |group| &group.id_field);
    let ack = ack(section.section("ack"), id_field);
    let modes = [("coalesce", Some(Mode::Coalesce)), ("off", Some(Mode::Off)), ("observe", None), ("shadow", None)];
    let mode = section.choice("mode", &modes, Some(Mode::Coalesce)).unwrap_or_else(|| {
        section.wrong_key("mode", "only \"off\" and \"coalesce\" are allowed in this version");
        Mode::Off
    });
    let method = method(&section, "method").unwrap_or(Method::POST);
    let bodiless = matches!(method, Method::GET | Method::HEAD);
    let body = |source: Source, _: &[Box<str>]| source == Source::Body;
    match &mapping {
        Some(Ok(mapping)) if bodiless && mapping.looks(&body) => {
            section.wrong_key("event", format!("{method} has no body; query, path, header and cookie are allowed"));
        }
        None if bodiless => section.wrong_key("event", format!("is needed: {method} has no body to be an event")),
        _ => {}
    }
    let forward_unless: Vec<Template> =
        section.compiled_list("forward_unless", |text| Template::parse(text, &allowed)).unwrap_or_default();
    let query = std::cell::RefCell::new(Vec::new());
    let note = |source: Source, path: &[Box<str>]| {
        if let (Source::Query, Some(name)) = (source, path.first()) {
            query.borrow_mut().push(name.clone());
        }
    };
    if let Some(Ok(mapping)) = &mapping {
        mapping.each_look(&note);
    }
    let group_keys = group.into_iter().flat_map(|group| &group.key).filter_map(|part| match part {
        KeyPart::Template(template) => Some(template),
        KeyPart::Places(..) => None,
    });
    for template in forward_unless.iter().chain([&identity.user]).chain(group_keys) {
        template.each_look(&note);
    }
    let named = identity.selection.named.iter().filter_map(|part| match part {
        Part::Query(name) => Some(name.clone()),
        _ => None,
    });
    query.borrow_mut().extend(named);
    let route = || {
        Some(EventRoute {
            method: method.clone(),
            query: query.into_inner(),
            alone: section.flag("alone").unwrap_or(false),
            matches: values(&section, "match").into_iter().map(|(name, values)| (path_of(&name), values)).collect(),
            content_types: section
                .texts("content_types")
                .unwrap_or_default()
                .into_iter()
                .map(|one| one.to_lowercase().into())
                .collect(),
            forward_unless,
            mode,
            rollout: u8::try_from(section.number("rollout", 0, 100).unwrap_or(100)).unwrap_or(100),
            path: path?,
            group: GroupIndex(index?),
            event: mapping.transpose().ok()?,
            ack: ack?,
        })
    };
    let route = route();
    section.finish();
    route
}

fn path_of(text: &str) -> Path {
    Path(text.split('.').map(Into::into).collect())
}

pub(super) fn pattern(section: &Section<'_>) -> Option<Pattern> {
    if section.get("path").is_none() {
        section.wrong_key("path", "is missing");
    }
    section.compiled("path", Pattern::parse)
}

fn method(section: &Section<'_>, key: &'static str) -> Option<Method> {
    section.compiled(key, |text| match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text == text.to_ascii_uppercase() => Ok(method),
        _ => Err(format!("found {text:?}; allowed is a method such as \"POST\"")),
    })
}

fn ack(section: Section<'_>, id_field: &str) -> Option<Ack> {
    let allowed = sources(&[Source::Body, Source::Event, Source::User, Source::Path]);
    let plain = section.get("body").is_none();
    let body = match document(&section, "body", &allowed) {
        Some(body) => body.ok(),
        None => {
            let default = serde_json::json!({ "accepted": [format!("{{event.{id_field}}}")] });
            JsonTemplate::from_json(&default, &allowed).ok()
        }
    };
    let duplicate = section.get("duplicate").map(|spot| {
        let mut whole = section.get("body").map(|spot| spot.node.json()).unwrap_or_default();
        match (whole.as_object_mut(), spot.node.json()) {
            (Some(whole), serde_json::Value::Object(more)) => whole.extend(more),
            _ => section.wrong_key("duplicate", "a table is allowed, and ack.body must be one too"),
        }
        JsonTemplate::from_json(&whole, &allowed)
            .map_err(|error| section.wrong_key("duplicate", error.to_string()))
            .ok()
    });
    let headers = headers(&section, &allowed);
    let status = status(&section, if plain { 202 } else { 200 });
    section.finish();
    Some(Ack { status, headers, body: body?, duplicate: duplicate.flatten() })
}

fn headers(section: &Section<'_>, allowed: &[Source]) -> Vec<(HeaderName, Template)> {
    let mut out = Vec::new();
    for (name, found) in values(section, "headers") {
        let template = found.first().and_then(serde_json::Value::as_str).map(|text| Template::parse(text, allowed));
        match (name.parse::<HeaderName>(), template) {
            (Ok(name), Some(Ok(template))) => out.push((name, template)),
            (_, Some(Err(error))) => section.wrong_key("headers", error.to_string()),
            _ => section.wrong_key("headers", format!("{name:?}: a header's name and a text are allowed")),
        }
    }
    out
}

fn write(section: Section<'_>) -> Option<WriteRoute> {
    let path = pattern(&section);
    let allowed = [HEAD.as_slice(), &[Source::User, Source::Path, Source::Body]].concat();
    let template = |text: &str| Template::parse(text, &allowed);
    let named = [HEAD.as_slice(), &[Source::Path, Source::Body]].concat();
    let drains = |text: &str| match Template::parse(text, &allowed) {
        Ok(template) if template.uses(Source::User) => Ok(template),
        Ok(_) => Err("a call waits for its own user's lanes only: {user} must be in it".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let known = |text: &str| match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text == text.to_ascii_uppercase() => Ok(method),
        _ => Err("a method such as \"POST\" is allowed"),
    };
    let route = || {
        Some(WriteRoute {
            methods: section.compiled_list("method", known).unwrap_or_default(),
            drains: section.compiled_list("drains", drains).unwrap_or_default(),
            groups: Vec::new(),
            invalidates: section.compiled_list("invalidates", template).unwrap_or_default(),
            user: section.compiled("user", |text| Template::parse(text, &named)),
            path: path?,
        })
    };
    let route = route();
    section.finish();
    route
}

/// `[preview]`: where a caller may look at its own pending events.
fn preview(section: Section<'_>, names: &[&str]) -> Option<PreviewRoute> {
    let path = pattern(&section);
    let groups = group::names_of(&section, "batch", names);
    let filter = values(&section, "filter").into_iter().map(|(name, places)| {
        let places = places.iter().filter_map(|place| match place.as_str() {
            Some(place) => Some(Path::parse(place)),
            None => {
                section.wrong_key(
                    "filter",
                    format!("{name}: found {place}; a list of fields or JSON Pointers is allowed"),
                );
                None
            }
        });
        (name.as_str().into(), places.collect())
    });
    let filter = filter.collect();
    if groups.is_empty() {
        section.wrong_key("batch", format!("at least one group is needed; there are {}", names.join(", ")));
    }
    section.finish();
    Some(PreviewRoute { path: path?, groups, filter })
}

fn cache(section: Section<'_>, barrier: Duration) -> Option<CacheRoute> {
    let path = pattern(&section);
    let allowed = [HEAD.as_slice(), &[Source::User, Source::Path]].concat();
    let query = section.section("query");
    let template = |text: &str| -> Result<Template, TemplateError> { Template::parse(text, &allowed) };
    let ttl = section.maybe_duration("ttl");
    let (force, public) = (section.flag("force").unwrap_or(false), section.flag("public").unwrap_or(false));
    let route = || {
        Some(CacheRoute {
            ttl,
            force,
            public,
            longest_guess: match section.flag("heuristic") {
                Some(true) => freshness::LONGEST_GUESS,
                None if ttl.is_none() => freshness::UNASKED_GUESS,
                Some(false) | None => Duration::ZERO,
            },
            stale_while_revalidate: section.maybe_duration("stale_while_revalidate").unwrap_or_default(),
            stale_if_error: section.maybe_duration("stale_if_error").unwrap_or_default(),
            tags: section.compiled_list("tags", template).unwrap_or_default(),
            groups: Vec::new(),
            index: ReadIndex(0),
            proves: Vec::new(),
            ignore_query: query.texts("ignore").unwrap_or_default().into_iter().map(Into::into).collect(),
            barrier: section.duration("barrier", barrier),
            path: path?,
        })
    };
    let route = route();
    if force && public {
        section.wrong_key("force", "a forced entry is never public: it would show one user's answer to another");
    }
    if force && section.get("ttl").is_none() {
        section.wrong_key("force", "needs a ttl");
    }
    section.refuse_gone("overlay", "is gone: a page shows its own pending events by [preview]");
    query.finish();
    section.finish();
    route
}
