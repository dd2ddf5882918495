//! `[batch.NAME]`: how a group gathers, packs and delivers its events.

use super::check::{document, meeting, seconds, sources, status, values};
use super::raw::{Node, Section, Spot};
use crate::event::GroupIndex;
use crate::identity::{IdentitySettings, Kind, Part, lists};
use crate::ingest::accept::refusal::REFUSABLE;
use crate::ingest::settings::{
    ClientBatches, Condition, Envelope, Fallback, Group, HeaderText, InOrder, Keep, KeyPart, Missing, MissingId, Pack,
    Places, Reply, Results, Shape, Success, Target,
};
use crate::route::Pattern;
use crate::template::{Path, Source, Template};
use http::{HeaderName, HeaderValue, Uri, header};
use std::cell::RefCell;
use std::sync::Arc;

/// One entry per `[batch.…]`, `None` where it is wrong, so that numbers stay with names.
pub fn all(root: &Section<'_>, identity: &IdentitySettings) -> Vec<Option<Group>> {
    let batch = root.section("batch");
    let sections = batch.named_sections();
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    sections.into_iter().map(|(name, section)| group(name, &names, section, identity)).collect()
}

/// The groups' names, in their order.
pub fn names<'a>(root: &Section<'a>) -> Vec<&'a str> {
    root.section("batch").named_sections().iter().map(|(name, _)| *name).collect()
}

/// A group of single calls keeps one order with the groups whose events touch the same tags; and an order is one for all
/// that take part in it.
pub fn keep_order(groups: &mut [Group]) {
    let mut sets: Vec<Vec<GroupIndex>> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let met = meeting(groups, &group.invalidates);
        let mut set = if group.is_single() { met } else { Vec::new() };
        set.push(GroupIndex(index));
        // Sets that share a group are one.
        while let Some(place) = sets.iter().position(|other| other.iter().any(|one| set.contains(one))) {
            set.extend(sets.swap_remove(place));
        }
        sets.push(set);
    }
    for (index, group) in groups.iter_mut().enumerate() {
        let set = sets.iter().find(|set| set.contains(&GroupIndex(index)));
        group.order_with = set.into_iter().flatten().copied().filter(|other| other.0 != index).collect();
        group.order_with.sort_unstable();
        group.order_with.dedup();
    }
}

fn fields(section: &Section<'_>, key: &'static str) -> Vec<Arc<str>> {
    section.texts(key).unwrap_or_default().into_iter().map(Into::into).collect()
}

fn places(section: &Section<'_>, key: &'static str) -> Vec<Path> {
    section.texts(key).unwrap_or_default().iter().map(|text| Path::parse(text)).collect()
}

fn target(section: &Section<'_>) -> Option<Target> {
    let url = section.compiled("url", |text| match text.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Ok(Target::Url(uri)),
        _ => Err(format!("found {text:?}; allowed is an absolute \"http://…\" address")),
    });
    let path = section.compiled("path", |text| {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        match Pattern::parse(path) {
            Ok(_) if path.contains('{') => Err("a batch path has no named segments".to_owned()),
            Ok(_) if text.parse::<Uri>().is_err() => {
                Err(format!("found the query {query:?}, which no address can have"))
            }
            Ok(_) => Ok(Target::Path(text.into())),
            Err(error) => Err(error.to_string()),
        }
    });
    path.or(url)
}

fn shape(section: &Section<'_>) -> Option<Shape> {
    let form = |text: &str| match text {
        "batch" => Ok(false),
        "single" => Ok(true),
        "latest" => Err("\"latest\" is form = \"single\" with keep = \"newest\" now".to_owned()),
        other => Err(format!("found {other:?}; one of \"batch\", \"single\" is allowed")),
    };
    let single = section.compiled("form", form).unwrap_or(false);
    let target = target(section);
    let there = ["path", "url"].iter().filter(|key| section.get(key).is_some()).count();
    match (single, there) {
        (true, 0) => return Some(Shape::Single),
        (true, _) => {
            section.wrong("form = \"single\" sends single calls on their own routes; path and url don't belong here")
        }
        (false, 1) => {}
        (false, _) => section.wrong("exactly one of path and url is needed"),
    }
    target.map(Shape::Batch)
}

/// A list of groups' names.
pub fn names_of(section: &Section<'_>, key: &'static str, names: &[&str]) -> Vec<GroupIndex> {
    let index = |text: &str| match names.iter().position(|name| *name == text) {
        Some(index) => Ok(GroupIndex(index)),
        None => Err(format!("there is no such group; allowed are {}", names.join(", "))),
    };
    section.compiled_list(key, index).unwrap_or_default()
}

fn group(name: &str, names: &[&str], section: Section<'_>, identity: &IdentitySettings) -> Option<Group> {
    let shape = shape(&section);
    let id_field: Arc<str> = section.text("id_field").unwrap_or_else(|| "clientEventId".to_owned()).into();
    let alternatives = |text: &String| text.split('|').map(|one| Arc::from(one.trim())).collect();
    let max_events = section.count("max_events", 1, 10_000, 25);
    let flush_at = section.count("flush_at", 1, 10_000, 10.min(max_events));
    let max_bytes = usize::try_from(section.size("max_bytes", 64 << 10)).unwrap_or(64 << 10);
    let reply = reply(&section);
    let pack = pack(&section);
    let shared = matches!(pack, Some(Pack::Shared { .. }));
    let seen = Seen { identity, shared };
    let envelope = envelope(&section, &seen);
    let plain = matches!(envelope, Some(Envelope::Plain));
    let taken_apart = if plain { ClientBatches::TakeApart } else { ClientBatches::Forward };
    let keyed = sources(&[Source::Body, Source::Event, Source::Path, Source::User]);
    // Every key is read before anything may end this early, so that all problems of a section are seen at once.
    let group = || {
        Some(Group {
            name: name.into(),
            window: section.duration("window", seconds(5)),
            max_events,
            max_bytes,
            max_age: section.duration("max_age", seconds(24 * 3600)),
            time_field: section.text("time_field").unwrap_or_else(|| "timestamp".to_owned()).into(),
            flush_on: conditions(&section),
            flush_on_change: changes(&section),
            flush_with: names_of(&section, "flush_with", names),
            order_with: Vec::new(),
            key: section.compiled_list("key", |text| KeyPart::parse(text, &keyed)).unwrap_or_default(),
            keep: section.choice("keep", &[("all", Keep::All), ("newest", Keep::Newest)], Keep::All),
            shown: false,
            headers: headers(&section, &seen),
            results: results(&section),
            success: success(&section),
            require: section.texts("require").unwrap_or_default().iter().map(alternatives).collect(),
            lowercase: fields(&section, "lowercase"),
            percent: fields(&section, "percent"),
            same_user: fields(&section, "same_user"),
            invalidates: section
                .compiled_list("invalidates", |text| Template::parse(text, &sources(&[Source::User, Source::Event])))
                .unwrap_or_default(),
            distinct: places(&section, "distinct"),
            fallback: section.choice(
                "fallback",
                &[("single", Fallback::Single), ("dead-letter", Fallback::DeadLetter)],
                Fallback::Single,
            ),
            missing_id: section.choice(
                "missing_id",
                &[("generate", MissingId::Generate), ("hash", MissingId::Hash)],
                MissingId::Generate,
            ),
            refuse: section.compiled_list("refuse", refusable).unwrap_or_default(),
            volatile: fields(&section, "volatile"),
            aliases: aliases(&section),
            client_batches: section.choice(
                "client_batches",
                &[("take-apart", ClientBatches::TakeApart), ("forward", ClientBatches::Forward)],
                taken_apart,
            ),
            permanent: section
                .texts("permanent")
                .map_or_else(|| vec!["validation_error".into()], |all| all.into_iter().map(Into::into).collect()),
            max_attempts: u32::try_from(section.count("max_attempts", 1, 1_000, 8)).unwrap_or(8),
            flush_at,
            id_field,
            shape: shape?,
            reply: reply?,
            pack: pack?,
            envelope: envelope?,
        })
    };
    let group = group();
    if flush_at > max_events {
        let text = format!("found {flush_at}; at most max_events = {max_events} is allowed");
        section.wrong_key("flush_at", text);
    }
    if max_bytes < 256 {
        section.wrong_key("max_bytes", "at least 256 bytes are needed for a batch of one event");
    }
    if let Some(group) = &group {
        fits(&section, group, plain);
        let own = names.iter().position(|one| *one == name).map(GroupIndex);
        if own.is_some_and(|own| group.flush_with.contains(&own)) {
            section.wrong_key("flush_with", format!("found {name:?}, which is this group; others are allowed"));
        }
    }
    section.finish();
    group
}

/// What doesn't go together.
fn fits(section: &Section<'_>, group: &Group, plain: bool) {
    section.refuse_gone("supersede", "is key and keep now: key = [\"type\", \"lessonId\"], keep = \"newest\"");
    section.refuse_gone(
        "order_with",
        "is gone: a group with form = \"single\" keeps one order with those whose tags it shares",
    );
    let wrong = |there: bool, key: &str, why: &str| {
        if there {
            section.wrong_key(key, why);
        }
    };
    let (single, for_batches) = (group.is_single(), "form = \"single\" sends single calls; this is for batches");
    wrong(single && !group.distinct.is_empty(), "distinct", for_batches);
    wrong(single && !plain, "envelope", for_batches);
    wrong(single && !group.headers.is_empty(), "headers", for_batches);
    wrong(single && group.pack != Pack::User, "pack", for_batches);
    let newest = group.keep == Keep::Newest;
    let is_used = newest || !group.flush_on_change.is_empty();
    wrong(!is_used && !group.key.is_empty(), "key", "is for keep = \"newest\" and flush_on_change; there is neither");
    wrong(
        newest && !single && group.key.is_empty(),
        "keep",
        "needs a key, such as key = [\"type\", \"lessonId\"]: what an event tells the state of",
    );
    let apart = group.client_batches == ClientBatches::TakeApart;
    wrong(
        !plain && apart,
        "client_batches",
        "a client's own batch is taken apart in the plain envelope only; \"forward\" is allowed",
    );
}

/// `pack` and what it needs.
fn pack(section: &Section<'_>) -> Option<Pack> {
    let shared = section.choice("pack", &[("user", false), ("shared", true)], false);
    let wait = section.duration("pack_wait", seconds(1));
    let credential = section.get("service_credential").map(|_| {
        let section = section.section("service_credential");
        let name = section.compiled("header", credential_header);
        let value = section.secret().and_then(|text| secret_value(&section, &text));
        if section.get("header").is_none() {
            section.wrong_key("header", "is missing; a header's name such as \"authorization\" is needed");
        }
        section.finish();
        name.zip(value)
    });
    match (shared, credential) {
        (false, None) => {
            if section.get("pack_wait").is_some() {
                section.wrong_key("pack_wait", "is for pack = \"shared\" only");
            }
            Some(Pack::User)
        }
        (false, Some(_)) => {
            section.wrong_key(
                "service_credential",
                "is for pack = \"shared\" only; with pack = \"user\" events go with the credential they came with",
            );
            None
        }
        (true, None) => {
            section.wrong_key(
                "pack",
                "\"shared\" puts events of different users into one batch. Their own credentials are then not sent: \
                 service_credential = { header = \"authorization\", env = \"…\" } is needed, and the application must \
                 trust the user id in each event",
            );
            None
        }
        (true, Some(credential)) => Some(Pack::Shared { wait, credential: credential? }),
    }
}

fn credential_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("found {text:?}; a header's name is allowed"))?;
    if OWN.contains(&name) {
        return Err(format!("{name} is Tidegate's own in a batch"));
    }
    Ok(name)
}

fn secret_value(section: &Section<'_>, text: &str) -> Option<HeaderValue> {
    match HeaderValue::try_from(text) {
        Ok(mut value) if !text.is_empty() => {
            value.set_sensitive(true);
            Some(value)
        }
        // What it holds is not shown.
        _ => {
            section.wrong("the secret is empty or holds what no header may carry");
            None
        }
    }
}

/// Headers of a batch that nobody else may set.
const OWN: [HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
];

/// What a batch's own templates may look at.
struct Seen<'a> {
    identity: &'a IdentitySettings,
    shared: bool,
}

impl Seen<'_> {
    /// Sources, beside the events.
    fn sources(&self) -> Vec<Source> {
        let own = [Source::NowMs, Source::NowIso, Source::Uuid, Source::Batch];
        let caller = [Source::Header, Source::Cookie, Source::Jwt, Source::User, Source::Body, Source::Query];
        // A batch of several users has no caller.
        if self.shared { own.to_vec() } else { [own.as_slice(), &caller].concat() }
    }

    /// What is no part of the credential may differ from event to event of one batch.
    fn differs(&self, source: Source, path: &[Box<str>]) -> bool {
        let selection = &self.identity.selection;
        let part = |kind: &str, name: &str| Part::parse_any(&format!("{kind}:{name}"));
        let counts = |kind: &str, name: &str| part(kind, name).is_ok_and(|part| selection.counts(&part));
        match (source, path.first()) {
            (Source::Header, Some(name)) => !counts("header", name),
            (Source::Cookie, Some(name)) => !counts("cookie", name),
            (Source::Query, Some(name)) => !counts("query", name),
            (Source::Body, _) => !selection.counts(&Part::Body(Path(path.to_vec()))),
            (Source::Jwt, _) => !self.identity.token.iter().all(|part| selection.counts(part)),
            (Source::Batch, Some(name)) => **name != *"id",
            _ => false,
        }
    }

    /// Of what a template looks at, something that may differ; `looks` is the template's own.
    fn differing(&self, looks: impl Fn(&dyn Fn(Source, &[Box<str>]) -> bool) -> bool) -> Option<String> {
        let found = RefCell::new(None);
        looks(&|source, path| {
            let differs = self.differs(source, path);
            if differs {
                let steps = std::iter::once(source.name()).chain(path.iter().map(|step| &**step));
                found.replace(Some(steps.collect::<Vec<_>>().join(".")));
            }
            differs
        });
        found.into_inner()
    }
}

const DIFFERS: &str = "what it looks at must count as the caller's, so that it is the same for all events of a batch: list it \
                       in identity.credentials or identity.principal; of batch there is batch.id";

fn envelope(section: &Section<'_>, seen: &Seen<'_>) -> Option<Envelope> {
    let mut allowed = seen.sources();
    allowed.push(Source::Events);
    match document(section, "envelope", &allowed) {
        None => Some(Envelope::Plain),
        Some(Err(())) => None,
        Some(Ok(document)) if (document.wholes(Source::Events), document.count(Source::Events)) != (1, 1) => {
            let text = "\"{events}\" must be in it once, as a whole value, such as { events = \"{events}\" }";
            section.wrong_key("envelope", text);
            None
        }
        Some(Ok(document)) => match seen.differing(|test| document.looks(test)) {
            Some(found) => {
                section.wrong_key("envelope", format!("found {{{found}}}; {DIFFERS}"));
                None
            }
            None => Some(Envelope::Document(document)),
        },
    }
}

fn batch_header(name: &str, seen: &Seen<'_>) -> Result<HeaderName, String> {
    let header = credential_header(name)?;
    let counts = seen.identity.selection.counts(&Part::Header(header.clone()));
    let is_condition = lists::header(header.as_str()) == Kind::Condition;
    // In the built-in lists whatever is unknown counts: only what is known to say who calls is denied there.
    let denied = if seen.identity.selection.by_default {
        seen.identity.selection.header(&header) == Kind::Principal
    } else {
        counts && !is_condition
    };
    if denied || header == header::COOKIE {
        return Err(format!(
            "{name} is part of the credential that events come with, and they leave with no other; a service's own is for \
             pack = \"shared\""
        ));
    }
    Ok(header)
}

/// Headers of every batch: text, a template, or `{ env = "…" }`.
fn headers(section: &Section<'_>, seen: &Seen<'_>) -> Vec<(HeaderName, HeaderText)> {
    let table = section.section("headers");
    let mut out = Vec::new();
    for (name, spot) in table.members() {
        let header = match batch_header(name, seen) {
            Ok(header) => header,
            Err(error) => {
                table.wrong(error);
                continue;
            }
        };
        let text = match &spot.node {
            Node::Table(_) => {
                let inner = table.member(name, spot);
                let value = inner.secret().and_then(|text| secret_value(&inner, &text));
                inner.finish();
                value.map(HeaderText::Fixed)
            }
            Node::Text(text) => header_text(&table, (name, text), seen),
            _ => {
                table.wrong(format!("{name}: a text or {{ env = \"…\" }} is allowed"));
                None
            }
        };
        out.extend(text.map(|text| (header, text)));
    }
    out
}

fn header_text(table: &Section<'_>, (name, text): (&str, &str), seen: &Seen<'_>) -> Option<HeaderText> {
    let template =
        Template::parse(text, &seen.sources()).map_err(|error| table.wrong(format!("{name}: {error}"))).ok()?;
    if let Some(found) = seen.differing(|test| template.looks(test)) {
        table.wrong(format!("{name}: found {{{found}}}; {DIFFERS}"));
        return None;
    }
    if template.looks(&|_, _| true) {
        return Some(HeaderText::Rendered(template));
    }
    let value = HeaderValue::try_from(text);
    value
        .map(HeaderText::Fixed)
        .map_err(|_| table.wrong(format!("{name}: found {text:?}, which no header may carry")))
        .ok()
}

/// A reason for which a group refuses calls.
fn refusable(text: &str) -> Result<Box<str>, String> {
    if REFUSABLE.contains(&text) { Ok(text.into()) } else { Err(format!("allowed are {}", REFUSABLE.join(", "))) }
}

/// A name at the top of a body, or a JSON Pointer (`""`: the whole).
fn place(section: &Section<'_>, key: &'static str) -> Option<Path> {
    section.compiled(key, |text| {
        // `data.accepted` is meant as a path by whoever writes it; a member of that name can be told by a pointer.
        let is_name = !text.contains(['/', '.']);
        (is_name || text.starts_with('/')).then(|| Path::parse(text)).ok_or_else(|| {
            format!(
                "found {text:?}; the name of a member or a JSON Pointer such as \"/data/accepted\" is allowed, \"\" for the \
                 whole reply"
            )
        })
    })
}

/// Texts, numbers, booleans or null; one, or a list of them.
fn scalars(section: &Section<'_>, key: &'static str) -> Option<Vec<serde_json::Value>> {
    let spot = section.get(key)?;
    let values: Vec<_> = match &spot.node {
        Node::List(all) => all.iter().map(|one| one.node.json()).collect(),
        node => vec![node.json()],
    };
    if values.is_empty() {
        section.wrong_key(key, "found an empty list; at least one value is needed");
    }
    for value in values.iter().filter(|value| value.is_object() || value.is_array()) {
        section.wrong_key(key, format!("found {value}; texts, numbers and booleans are allowed"));
    }
    Some(values)
}

/// `success = { pointer = "/status", equals = [1, "ok"] }`: what makes a 2xx a success.
fn success(group: &Section<'_>) -> Option<Success> {
    group.get("success")?;
    let table = group.section("success");
    let (place, values) = (place(&table, "pointer"), scalars(&table, "equals"));
    if table.get("pointer").is_none() {
        let text = "is missing; a name or a JSON Pointer such as \"/status\" is needed, \"\" for the whole reply";
        table.wrong_key("pointer", text);
    }
    if values.is_none() {
        table.wrong_key("equals", "is missing; a value or a list of values such as [1, \"ok\"] is needed");
    }
    table.finish();
    Some(Success { place: place?, values: values? })
}

/// Where a reply speaks of single events; names or JSON Pointers.
fn results(section: &Section<'_>) -> Results {
    let table = section.section("results");
    let places = Places {
        accepted: place(&table, "accepted"),
        duplicates: place(&table, "duplicates"),
        failed: place(&table, "failed"),
    };
    let in_order = in_order(&table, &places);
    let plain = Results::default();
    let needed = places != Places::default();
    let names = |key: &'static str, default: Vec<Arc<str>>| {
        let given = fields(&table, key);
        if given.is_empty() { default } else { given }
    };
    let results = Results {
        places: if needed { vec![places] } else { plain.places },
        id: names("id", plain.id),
        reason: names("reason", plain.reason),
        missing: table.choice(
            "missing",
            &[("retry", Missing::Retry), ("duplicate", Missing::Duplicate), ("accepted", Missing::Accepted)],
            Missing::Retry,
        ),
        needed: needed || in_order.is_some(),
        in_order,
    };
    table.finish();
    results
}

/// `results = { in_order = "/items", status = "code" }`: one entry per event, in the order of the batch.
fn in_order(table: &Section<'_>, places: &Places) -> Option<InOrder> {
    let list = place(table, "in_order");
    let status = place(table, "status");
    let (accepted, duplicate) = (scalars(table, "accepted_values"), scalars(table, "duplicate_values"));
    let Some(list) = list else {
        for key in ["status", "accepted_values", "duplicate_values"] {
            if table.get(key).is_some() {
                table.wrong_key(key, "is for results.in_order, which is missing: where the list of entries stands");
            }
        }
        return None;
    };
    if *places != Places::default() {
        table.wrong_key("in_order", "can't be had together with accepted, duplicates or failed, which go by id");
    }
    for key in ["id", "missing"] {
        if table.get(key).is_some() {
            table.wrong_key(key, "is for lists of ids; with in_order an entry's place says which event is meant");
        }
    }
    let words = |words: &[&str]| words.iter().map(|word| serde_json::Value::from(*word)).collect();
    Some(InOrder {
        list,
        status: status.unwrap_or_else(|| Path::of(&["status"])),
        accepted: accepted.unwrap_or_else(|| words(&["accepted", "created", "ok", "success", "updated"])),
        duplicate: duplicate.unwrap_or_else(|| words(&["duplicate", "exists"])),
    })
}

/// `flush_on`: a place and the values that seal, or `{ at_least = 100 }`, or `{ set = true }`.
fn conditions(section: &Section<'_>) -> Vec<(Path, Condition)> {
    let table = section.section("flush_on");
    let condition = |(name, spot): (&str, &Spot)| {
        let condition = match &spot.node {
            Node::List(all) => Condition::Among(all.iter().map(|one| one.node.json()).collect()),
            Node::Table(_) => {
                let inner = table.member(name, spot);
                let (least, set) = (inner.float("at_least"), inner.flag("set"));
                let found = match (least, set) {
                    (Some(least), None) => Some(Condition::AtLeast(least)),
                    (None, Some(true)) => Some(Condition::Set),
                    _ => {
                        inner.wrong("a list of values, { at_least = 100 } or { set = true } is allowed");
                        None
                    }
                };
                inner.finish();
                found?
            }
            other => Condition::Among(vec![other.json()]),
        };
        Some((Path::parse(name), condition))
    };
    table.members().filter_map(condition).collect()
}

/// `flush_on_change`: a place and a step above zero.
fn changes(section: &Section<'_>) -> Vec<(Path, f64)> {
    let table = section.section("flush_on_change");
    let change = |(name, spot): (&str, &Spot)| match spot.node.json().as_f64().filter(|step| *step > 0.0) {
        Some(step) => Some((Path::parse(name), step)),
        None => {
            table.wrong(format!("{name}: found {}; a number above zero is allowed", spot.node.json()));
            None
        }
    };
    table.members().filter_map(change).collect()
}

fn aliases(section: &Section<'_>) -> Vec<(Arc<str>, Arc<str>)> {
    let all = values(section, "aliases");
    let pairs = all.iter().flat_map(|(canonical, found)| {
        found.iter().filter_map(move |name| match name.as_str() {
            Some(name) => Some((Arc::from(name), Arc::from(canonical.as_str()))),
            None => {
                section.wrong_key("aliases", format!("{canonical}: found {name}; a list of names is allowed"));
                None
            }
        })
    });
    pairs.collect()
}

fn reply(group: &Section<'_>) -> Option<Reply> {
    let section = group.section("reply");
    let allowed = sources(&[Source::Batch]);
    let default = serde_json::json!({ "accepted": "{batch.accepted}", "duplicates": "{batch.duplicates}", "failed": "{batch.failed}" });
    let body = match document(&section, "body", &allowed) {
        Some(body) => body.ok(),
        None => crate::template::JsonTemplate::from_json(&default, &allowed).ok(),
    };
    let reply = body.map(|body| Reply { status: status(&section, 200), body });
    section.finish();
    reply
}
