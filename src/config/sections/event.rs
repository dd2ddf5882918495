//! `[[event]]`: single calls that are acknowledged, and the events that they become.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::problem::Position;
use crate::config::readers::{
    Reported, parse_method, read_document, read_lists, read_path, read_status, sources,
};
use crate::config::section::{Reference, Section};
use crate::config::tree::Node;
use crate::event::GroupIndex;
use crate::rollout::{Exceptions, Mode, Sampling, Setting, Switch};
use crate::route::{Ack, EventRoute, Pattern};
use crate::template::{JsonTemplate, ObjectTemplate, Path, Source, Template, TemplateError};
use crate::upstream::headers;
use http::{HeaderName, Method, StatusCode, header};
use serde_json::Value;

mod ack {
    use crate::config::key::{
        Key,
        Kind::{Number, Said},
        keys,
    };
    keys! {
        STATUS = Key::without("status", Number(200, 299), "202; 200 with a `body`");
        /// a document of templates over `event`, `body`, `user` and what `event` may look at. A text is sent
        /// without quotes where `headers` has a `content-type` that is no JSON's
        BODY = Key::without("body", Said("document"), "`{ accepted = [ID] }`");
        /// what the answer to a repetition has in place of members of `body`
        DUPLICATE = Key::without("duplicate", Said("table"), "none");
        /// templates as in `body`
        HEADERS = Key::with("headers", Said("table of templates"), "{}");
    }
}

keys! {
    "[[event]]";
    /// names the route for `tidegate modes` and in reports; each name once
    NAME = Key::without("name", Said("text"), "the path");
    PATH = Key::without("path", Said("path"), "needed");
    METHOD = Key::text("method", Said("method"), "POST");
    BATCH = Key::without("batch", Said("group"), "needed");
    /// values that members of the body must have (`"/a/b"` for a member of a member)
    MATCH = Key::with("match", Said("table of lists"), "{}");
    /// the batch's event. `"..." = "{body.*}"` takes along every member of the body that no other
    /// entry takes whole. A call is forwarded if a header or a cookie that an entry takes its value
    /// from is there twice or not in plain text, or the cookie has an escape, a `+` or quotes
    EVENT = Key::without(
        "event",
        Said("table of templates over `body`, `path`, the head, `now`, `uuid`, `request_id`"),
        "the body as it is",
    );
    /// `"off"`: forwarded, after the caller's events. `"observe"`: as `"off"`, and `tidegate observe
    /// report` says what windows of several lengths would have saved. `"shadow"`: as `"off"`, and a
    /// copy of each call is batched beside as `[shadow]` says; `tidegate parity report` compares
    MODE = Key::text("mode", OneOf(&["off", "observe", "shadow", "coalesce"]), "coalesce");
    /// percent of users, sticky; the others' calls are forwarded, after their events
    ROLLOUT = Key::with("rollout", Number(0, 100), "100");
    /// users whose events are batched whatever `rollout` says
    ALLOW = Key::with("allow", Said("list of users"), "[]");
    /// users whose calls are forwarded whatever `rollout`, `allow` and testers say
    DENY = Key::with("deny", Said("list of users"), "[]");
    /// others are forwarded, and those with another charset than UTF-8. Forms and `text/plain`
    /// count by themselves only with a word that they come from the same site
    CONTENT_TYPES = Key::without("content_types", Said("list of media types"), "any");
    /// a call in which one finds nothing, or `""`, is forwarded
    FORWARD_UNLESS = Key::with("forward_unless", Said("list of templates"), "[]");
    /// other methods on this path don't wait for its caller's events
    ALONE = Key::with("alone", Flag, "false");
    /// the acknowledgement
    ACK = Key::without("ack", Table(&[&ack::STATUS, &ack::BODY, &ack::DUPLICATE, &ack::HEADERS]), "");
}

/// What the section says.
pub(in crate::config) struct Event {
    name: Option<Box<str>>,
    named: Position,
    /// Its group; `None` where that is no text.
    pub(in crate::config) batch: Option<Reference>,
    /// The rest; `None` where it is wrong.
    pub(in crate::config) rule: Option<Rule>,
}

impl Event {
    /// Its name, and where it stands.
    pub(in crate::config) fn name(&self) -> Option<(Box<str>, Position)> {
        Some((self.name.clone()?, self.named.clone()))
    }
}

/// A rule without its group.
pub(in crate::config) struct Rule {
    /// What its templates look at.
    pub(in crate::config) event: Option<ObjectTemplate>,
    /// Templates of which each must find something.
    pub(in crate::config) forward_unless: Vec<Template>,
    method: Method,
    path: Pattern,
    alone: bool,
    matches: Vec<(Path, Vec<Value>)>,
    content_types: Vec<Box<str>>,
    name: Option<Box<str>>,
    setting: Setting,
    exceptions: Exceptions,
    ack: GivenAck,
}

/// What is said of the acknowledgement.
struct GivenAck {
    status: StatusCode,
    /// Without one: the list of the event's id.
    body: Option<JsonTemplate>,
    duplicate: Option<JsonTemplate>,
    headers: Vec<(HeaderName, Template)>,
}

impl Rule {
    /// Users in lists, as events have them.
    pub(in crate::config) fn spell_users(&mut self, spell: impl Fn(String) -> String) {
        for list in [&mut self.exceptions.allow, &mut self.exceptions.deny] {
            *list = list
                .iter()
                .map(|name| spell((**name).to_owned()).into())
                .collect();
        }
    }

    /// The route, once its group is known: its number, and the field of its events that holds the
    /// id. `query`: parameters that a template looks at.
    ///
    /// # Errors
    /// No template can name that field.
    pub(in crate::config) fn into_route(
        self,
        group: GroupIndex,
        id_field: &str,
        query: Vec<Box<str>>,
        sampling: &Sampling,
    ) -> Result<EventRoute, TemplateError> {
        let GivenAck {
            status,
            body,
            duplicate,
            headers,
        } = self.ack;
        let body = body.map_or_else(|| id_listed(id_field), Ok)?;
        Ok(EventRoute {
            method: self.method,
            path: self.path,
            matches: self.matches,
            content_types: self.content_types,
            forward_unless: self.forward_unless,
            group,
            name: self.name,
            configured: self.setting,
            switch: Switch::new(self.setting, self.exceptions, sampling.clone()).into(),
            event: self.event,
            query,
            alone: self.alone,
            ack: Ack {
                status,
                headers,
                body,
                duplicate,
            },
        })
    }
}

/// `{"accepted":[ID]}`.
fn id_listed(id_field: &str) -> Result<JsonTemplate, TemplateError> {
    let body = serde_json::json!({ "accepted": [format!("{{event.{id_field}}}")] });
    JsonTemplate::from_json(&body, &[Source::Event])
}

pub(super) fn read(section: Section<'_>) -> Event {
    let name: Option<Box<str>> = section.compiled(&NAME, name_of);
    let event = Event {
        name: name.clone(),
        named: section.position(&NAME),
        batch: section.reference(&BATCH),
        rule: read_rule(&section, name),
    };
    section.finish();
    event
}

fn read_rule(section: &Section<'_>, name: Option<Box<str>>) -> Option<Rule> {
    let path = read_path(section, &PATH);
    let allowed = sources(&[Source::Body, Source::Path]);
    let event = read_mapping(section, &allowed);
    let ack = read_ack(section.section(&ACK));
    let mode = read_mode(section);
    let method = section.compiled(&METHOD, method_of).unwrap_or(Method::POST);
    check_body(section, &method, &event);
    let forward_unless =
        section.compiled_list(&FORWARD_UNLESS, |text| Template::parse(text, &allowed));
    let matches = read_lists(section, &MATCH).into_iter();
    let matches = matches
        .filter_map(|(name, values)| Some((read_place(section, &name)?, values)))
        .collect();
    let content_types = section.names::<String>(&CONTENT_TYPES).into_iter();
    let content_types = content_types.map(|one| one.to_lowercase().into()).collect();
    let alone = section.flag(&ALONE);
    let setting = Setting {
        mode,
        rollout: section.number(&ROLLOUT),
    };
    let users = |key| section.names::<String>(key).into_iter().map(Into::into);
    let exceptions = Exceptions {
        allow: users(&ALLOW).collect(),
        deny: users(&DENY).collect(),
    };
    Some(Rule {
        event: event.transpose().ok()?,
        forward_unless: forward_unless.unwrap_or_default(),
        method,
        path: path?,
        alone,
        matches,
        content_types,
        name,
        setting,
        exceptions,
        ack: ack?,
    })
}

type Mapping = Option<Result<ObjectTemplate, Reported>>;

/// `event`, if given. What is wrong with it is reported.
fn read_mapping(section: &Section<'_>, allowed: &[Source]) -> Mapping {
    let Value::Object(map) = section.get(&EVENT)?.node.json() else {
        section.wrong_key(
            &EVENT,
            "a table is allowed, such as { userId = \"{body.user_id}\" }",
        );
        return Some(Err(Reported));
    };
    Some(ObjectTemplate::from_json(&map, allowed).map_err(|error| {
        section.wrong_key(&EVENT, error.to_string());
        Reported
    }))
}

/// A call without a body becomes no event by it.
fn check_body(section: &Section<'_>, method: &Method, mapping: &Mapping) {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return;
    }
    match mapping {
        Some(Ok(mapping)) if mapping.looks(&|source, _| source == Source::Body) => {
            section.wrong_key(
                &EVENT,
                format!("{method} has no body; query, path, header and cookie are allowed"),
            );
        }
        None => section.wrong_key(
            &EVENT,
            format!("is needed: {method} has no body to be an event"),
        ),
        _ => {}
    }
}

fn read_mode(section: &Section<'_>) -> Mode {
    let modes = Mode::ALL.map(|mode| (mode.as_str(), mode));
    section.choice(&MODE, &modes, Mode::Off)
}

/// A text with a slash in it is a path to those who name routes, and one with a space a method and
/// a path.
fn name_of(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.contains(['/', ' ']) {
        Err(format!(
            "found {text:?}; allowed is a name without slashes and spaces"
        ))
    } else {
        Ok(text.into())
    }
}

fn method_of(text: &str) -> Result<Method, String> {
    parse_method(text)
        .ok_or_else(|| format!("found {text:?}; allowed is a method such as \"POST\""))
}

/// A place that `match` looks at. With a dot it was a member of a member once.
fn read_place(section: &Section<'_>, name: &str) -> Option<Path> {
    if name.starts_with('/') || !name.contains('.') {
        return Some(Path::parse(name));
    }
    let (pointer, whole) = (name.replace('.', "/"), name);
    section.wrong_key(
        &MATCH,
        format!(
            "found {name:?}: a member of a member is written \"/{pointer}\", one whose name has a \
             dot \"/{whole}\""
        ),
    );
    None
}

fn read_ack(section: Section<'_>) -> Option<GivenAck> {
    let allowed = sources(&[Source::Body, Source::Event, Source::User, Source::Path]);
    let plain = if section.has(&ack::BODY) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let status = read_status(&section, &ack::STATUS).unwrap_or(plain);
    let body = read_document(&section, &ack::BODY, &allowed).transpose();
    let duplicate = read_duplicate(&section, &allowed);
    let headers = read_headers(&section, &allowed);
    section.finish();
    Some(GivenAck {
        status,
        body: body.ok()?,
        duplicate,
        headers,
    })
}

/// `duplicate`, laid over `body`.
fn read_duplicate(section: &Section<'_>, allowed: &[Source]) -> Option<JsonTemplate> {
    let more = section.get(&ack::DUPLICATE)?.node.json();
    let mut whole = section
        .get(&ack::BODY)
        .map(|spot| spot.node.json())
        .unwrap_or_default();
    match (whole.as_object_mut(), more) {
        (Some(whole), Value::Object(more)) => whole.extend(more),
        _ => section.wrong_key(
            &ack::DUPLICATE,
            "a table is allowed, and ack.body must be one too",
        ),
    }
    let report = |error: crate::template::TemplateError| {
        section.wrong_key(&ack::DUPLICATE, error.to_string())
    };
    JsonTemplate::from_json(&whole, allowed)
        .map_err(report)
        .ok()
}

fn read_headers(section: &Section<'_>, allowed: &[Source]) -> Vec<(HeaderName, Template)> {
    let Some(spot) = section.get(&ack::HEADERS) else {
        return Vec::new();
    };
    let Node::Table(members) = &spot.node else {
        section.wrong_key(
            &ack::HEADERS,
            format!(
                "found {}; a table of templates is allowed",
                spot.node.kind()
            ),
        );
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, spot) in members {
        let template = spot.text().map(|text| Template::parse(text, allowed));
        match (name.parse::<HeaderName>(), template) {
            (Ok(name), _) if is_own(&name) => section.wrong_key(
                &ack::HEADERS,
                format!("{name} is Tidegate's own in an acknowledgement"),
            ),
            (Ok(name), Some(Ok(template))) => out.push((name, template)),
            (_, Some(Err(error))) => section.wrong_key(&ack::HEADERS, error.to_string()),
            _ => section.wrong_key(
                &ack::HEADERS,
                format!(
                    "{name:?}: found {}; a header's name and a text are allowed",
                    spot.node.kind()
                ),
            ),
        }
    }
    out
}

/// Headers of an acknowledgement that nothing else may set: those by which HTTP tells where it ends
/// and who holds the connection, and what Tidegate says of its own.
fn is_own(name: &HeaderName) -> bool {
    const OWN: [HeaderName; 7] = [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::TRAILER,
        header::DATE,
        HeaderName::from_static("tidegate-event"),
        HeaderName::from_static("tidegate-forwarded"),
    ];
    headers::is_hop_by_hop(name) || OWN.contains(name)
}
