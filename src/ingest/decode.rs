//! From a call to an [`Event`]: one parse, the mapping, the checks of the group.

use super::changes::Changes;
use super::contexts::{Contexts, TooMuch};
use super::refusal::{Decline, Forward, Refusal};
use super::settings::{Condition, Fallback, Group, MissingId, Shape};
use super::shares::Address;
use crate::cache::policy::invalidate::resource;
use crate::clock::millis;
use crate::event::{
    Carried, Event, EventId, GroupIndex, IdError, LaneKey, Legacy, Raw, Subject, Succession, Tag, UserId, first_eight,
};
use crate::identity::{Caller, Identity};
use crate::json::{self, Object};
use crate::route::{EventRoute, Params};
use crate::template::{Found, JsonTemplate, Lookup, ObjectTemplate, Path, Source};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Most bytes of a call's head that travel with its event beside what its calls share (ruling 25).
const MAX_REMAINDER: usize = 16 << 10;

/// Tolerance for timestamps in the future (ruling 8).
const FUTURE: Duration = Duration::from_mins(5);

/// A call as the event path sees it.
pub struct Call<'a> {
    /// Who calls.
    pub caller: &'a Caller<'a>,
    /// Named segments of the path.
    pub params: &'a Params,
    /// `X-Request-Id` of the call, or a fresh one; the same in header and body of the answer.
    pub request_id: &'a str,
    /// Wall clock at arrival.
    pub now: SystemTime,
    now_ms: String,
    /// A template has looked at the clock, at chance or at the request's id: what it wrote is of this try only.
    drawn: AtomicBool,
    /// Those look the same at every try.
    still: AtomicBool,
}

impl<'a> Call<'a> {
    /// A call that arrived at `now`.
    #[must_use]
    pub fn new(caller: &'a Caller<'a>, params: &'a Params, request_id: &'a str, now: SystemTime) -> Self {
        let (drawn, still) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { caller, params, request_id, now, now_ms: millis(now).to_string(), drawn, still }
    }
}

/// What templates of the event path can see.
pub struct Scope<'a, 'c> {
    /// The call.
    pub call: &'a Call<'c>,
    /// The body: whole, and by field.
    pub body: Option<(&'a str, &'a Object<'a>)>,
    /// The mapped event.
    pub event: Option<View<'a>>,
    /// The user.
    pub user: Option<&'a UserId>,
}

impl<'s> Call<'s> {
    /// What needs no body: the call itself.
    #[must_use]
    pub fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if matches!(source, Source::NowMs | Source::NowIso | Source::Uuid | Source::RequestId) {
            self.drawn.store(true, Ordering::Relaxed);
            if self.still.load(Ordering::Relaxed) {
                return Some(Found::Json("0"));
            }
        }
        match source {
            Source::Path => self.params.get(path.first()?).map(|text| Found::Text(Cow::Borrowed(text))),
            Source::NowMs => Some(Found::Json(&self.now_ms)),
            Source::NowIso => Some(Found::Text(Cow::Owned(iso(self.now)))),
            Source::Uuid => Some(Found::Text(Cow::Owned(uuid::Uuid::new_v4().to_string()))),
            Source::RequestId => Some(Found::Text(Cow::Borrowed(self.request_id))),
            Source::Query | Source::Header | Source::Cookie | Source::Jwt => self.caller.look(source, path),
            Source::Body | Source::Event | Source::User | Source::Batch | Source::Events => None,
        }
    }
}

impl Lookup for Scope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Body if path.is_empty() => self.body.map(|(raw, _)| Found::Json(raw)),
            Source::Body => {
                let body = self.body?.1;
                body.at(path).map(Found::Json).or_else(|| body.length(path).map(Found::Number))
            }
            Source::Event => self.event?.at(path).map(Found::Json),
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user.as_str()))),
            _ => self.call.find(source, path),
        }
    }
}

/// ISO 8601 in UTC with milliseconds, as JavaScript writes it.
#[must_use]
pub fn iso(time: SystemTime) -> String {
    let stamp = i64::try_from(millis(time)).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

/// A mapped event to look into: its JSON and where its fields lie.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    json: &'a [u8],
    fields: &'a [(Arc<str>, Range<usize>)],
}

/// Where the top-level fields of an event lie: name, range of the value's raw JSON.
pub type Fields = Vec<(Arc<str>, Range<usize>)>;

/// An event, and where its fields lie.
#[derive(Debug)]
pub struct Decoded {
    /// The event.
    pub event: Event,
    /// Its fields, for the acknowledgement.
    pub fields: Fields,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Its context is in use, or may be. Else its context is counted nowhere, and the event can't be kept; that its id is
    /// known can be told all the same.
    pub fits: Result<(), TooMuch>,
}

impl Decoded {
    /// To look into.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { json: &self.event.json, fields: &self.fields }
    }
}

impl<'a> View<'a> {
    fn raw(self, name: &str) -> Option<&'a str> {
        let (_, range) = self.fields.iter().rev().find(|(field, _)| &**field == name)?;
        std::str::from_utf8(self.json.get(range.clone())?).ok()
    }

    fn at(self, path: &[Box<str>]) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        json::at(self.raw(first)?, rest)
    }
}

/// A batch event as it is being written.
#[derive(Debug, Default)]
pub struct Draft {
    json: Vec<u8>,
    fields: Fields,
}

impl Draft {
    fn view(&self) -> View<'_> {
        View { json: &self.json, fields: &self.fields }
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.view().raw(name)
    }

    fn begin(&mut self, name: &str) -> usize {
        self.json.push(if self.json.is_empty() { b'{' } else { b',' });
        json::write_string(&mut self.json, name);
        self.json.push(b':');
        self.json.len()
    }

    fn push(&mut self, name: &Arc<str>, raw: &str) {
        let start = self.begin(name);
        self.json.extend_from_slice(raw.as_bytes());
        self.fields.push((Arc::clone(name), start..self.json.len()));
    }

    fn push_text(&mut self, name: &Arc<str>, text: &str) {
        let start = self.begin(name);
        json::write_string(&mut self.json, text);
        self.fields.push((Arc::clone(name), start..self.json.len()));
    }

    /// Takes a field out again.
    fn forget(&mut self, name: &str) {
        let fields = std::mem::take(&mut self.fields);
        let json = std::mem::take(&mut self.json);
        for (field, range) in fields.into_iter().filter(|(field, _)| **field != *name) {
            if let Some(raw) = json.get(range).and_then(|raw| std::str::from_utf8(raw).ok()) {
                self.push(&field, raw);
            }
        }
    }

    fn finish(mut self) -> (Bytes, Fields) {
        if self.json.is_empty() {
            self.json.push(b'{');
        }
        self.json.push(b'}');
        (self.json.into(), self.fields)
    }
}

/// Writes fields under the rules of a group.
struct Writer<'a> {
    group: &'a Group,
    draft: Draft,
    scratch: Vec<u8>,
    /// What the event says, without what only this try of it says.
    content: Vec<u8>,
    /// A single call whose percent is no number is the application's to judge; in a client's batch it stays as it is.
    strict: bool,
}

impl<'a> Writer<'a> {
    fn new(group: &'a Group, strict: bool) -> Self {
        Self { group, draft: Draft::default(), scratch: Vec::new(), content: Vec::with_capacity(256), strict }
    }

    /// A field as it came, which says something.
    fn given(&mut self, name: &Arc<str>, raw: &str) -> Result<(), Decline> {
        self.says(name, raw.as_bytes());
        self.field(name, raw)
    }

    fn says(&mut self, name: &Arc<str>, raw: &[u8]) {
        if *name == self.group.id_field || self.group.volatile.contains(name) {
            return;
        }
        for bytes in [name.as_bytes(), raw] {
            self.content.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.content.extend_from_slice(bytes);
        }
    }

    fn field(&mut self, name: &Arc<str>, raw: &str) -> Result<(), Decline> {
        if self.group.percent.contains(name) && !json::is_null(raw) {
            return match percent(raw) {
                Some(value) => {
                    self.draft.push(name, &value.to_string());
                    Ok(())
                }
                None if self.strict => Err(Decline::Forward(Forward::NotANumber)),
                None => {
                    self.draft.push(name, raw);
                    Ok(())
                }
            };
        }
        match self.group.lowercase.contains(name).then(|| json::string(raw)).flatten() {
            Some(text) => self.draft.push_text(name, &text.to_lowercase()),
            None => self.draft.push(name, raw),
        }
        Ok(())
    }

    fn template(&mut self, name: &Arc<str>, template: &JsonTemplate, scope: &Scope<'_, '_>) -> Result<(), Decline> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scope.call.drawn.store(false, Ordering::Relaxed);
        let done = match template.write(scope, &mut scratch) {
            false => Ok(()),
            true => match std::str::from_utf8(&scratch) {
                Ok(raw) => self.field(name, raw),
                Err(_) => Err(Decline::Refuse(Refusal::NotJson("text is not UTF-8".into()))),
            },
        };
        if scope.call.drawn.load(Ordering::Relaxed) {
            scratch.clear();
            scope.call.still.store(true, Ordering::Relaxed);
            template.write(scope, &mut scratch);
            scope.call.still.store(false, Ordering::Relaxed);
        }
        self.says(name, &scratch);
        self.scratch = scratch;
        done
    }

    /// The mapping's fields, then what is left of the body, if it takes that.
    fn mapping(&mut self, mapping: &ObjectTemplate, scope: &Scope<'_, '_>) -> Result<(), Decline> {
        for (name, template) in mapping.fields() {
            self.template(name, template, scope)?;
        }
        let (true, Some((_, body))) = (mapping.takes_rest(), scope.body) else { return Ok(()) };
        // Compared with the mapping's own fields only, before any member is added: a body may have 100,000 of them.
        let is_rest = |(name, _): &(&str, &str)| !mapping.names(name) && self.draft.raw(name).is_none();
        let rest: Vec<_> = last_of_each(body).filter(is_rest).collect();
        for (name, raw) in rest {
            self.given(&Arc::from(name), raw)?;
        }
        Ok(())
    }
}

/// The members of an object; of a repeated name the last one, as everywhere in JSON.
fn last_of_each<'o>(object: &'o Object<'_>) -> impl Iterator<Item = (&'o str, &'o str)> {
    let last: HashMap<&str, &str> = object.iter().collect();
    object.iter().filter(move |(name, raw)| last.get(name).is_some_and(|last| std::ptr::eq(*last, *raw)))
}

/// A JSON number, rounded and clamped to 0..=100.
fn percent(raw: &str) -> Option<i64> {
    let value: f64 = serde_json::from_str(raw).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=100 before")]
    value.is_finite().then(|| value.clamp(0.0, 100.0).round() as i64)
}

/// Where decoded events belong.
#[derive(Clone, Copy)]
pub struct Into<'a> {
    /// The group's number.
    pub index: GroupIndex,
    /// The group.
    pub group: &'a Group,
    /// Who is who.
    pub identity: &'a Identity,
    /// The contexts in use.
    pub contexts: &'a Contexts,
    /// What makes fingerprints change.
    pub changes: &'a Changes,
    /// A token that ends sooner than this can't outlive its first attempt (ruling 23).
    pub token_margin: Duration,
}

/// A body as it came and as it reads.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    /// As it came, in its content coding.
    pub sent: &'a Bytes,
    /// Without it, whole.
    pub text: &'a str,
    /// And by member.
    pub object: &'a Object<'a>,
}

/// The first of a path's rules whose `match` holds.
#[must_use]
pub fn choose<'a>(candidates: &[&'a EventRoute], body: &Object<'_>) -> Option<&'a EventRoute> {
    let holds = |route: &EventRoute| {
        route.matches.iter().all(|(path, values)| {
            let found = body.at(&path.0).and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
            found.is_some_and(|value| values.contains(&value))
        })
    };
    candidates.iter().copied().find(|route| holds(route))
}

/// The body of a call as JSON.
///
/// # Errors
/// Not UTF-8, not JSON, no object, nested too deep.
pub fn parse(body: &[u8]) -> Result<(&str, Object<'_>), Decline> {
    let refuse = |error: json::JsonError| Decline::Refuse(Refusal::NotJson(error.to_string().into()));
    let text = json::text_of(body).map_err(refuse)?;
    Ok((text, Object::parse(text).map_err(refuse)?))
}

/// A single call's event.
///
/// # Errors
/// Refused (the caller is told why), or the application's to judge.
pub fn single(into: Into<'_>, route: &EventRoute, call: &Call<'_>, payload: Payload<'_>) -> Result<Decoded, Decline> {
    let scope = Scope { call, body: Some((payload.text, payload.object)), event: None, user: None };
    if route.forward_unless.iter().any(|template| template.render(&scope).is_none_or(|text| text.is_empty())) {
        return Err(Decline::Forward(Forward::Unless));
    }
    let mut writer = Writer::new(into.group, true);
    match &route.event {
        Some(mapping) => writer.mapping(mapping, &scope)?,
        None => copy(&mut writer, payload.object)?,
    }
    let repeats = into.group.fallback == Fallback::Single || into.group.shape == Shape::Latest;
    let legacy = repeats.then(|| {
        let parts = call.caller.parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Legacy { method: parts.method.as_str(), path, body: Raw(payload.sent) }
    });
    finish(into, call, writer, legacy, (payload.text, payload.object))
}

/// Members of a body that no mapping names: they are left out of the batch.
#[must_use]
pub fn unmapped(route: &EventRoute, body: &Object<'_>) -> usize {
    let Some(mapping) = route.event.as_ref().filter(|mapping| !mapping.takes_rest()) else { return 0 };
    body.iter().filter(|(name, _)| !mapping.names(name)).count()
}

/// What a call would be as an event of its group.
#[derive(Debug)]
pub struct Preview {
    /// Whose lanes it must not overtake.
    pub user: UserId,
    /// Names of the tags that it makes old.
    pub names: Vec<String>,
    /// What it would replace, and under which id, if its group sends the newest of a state only.
    pub state: Option<(Subject, EventId)>,
}

/// What a call would touch if it were an event of the group, without the other checks. `route`: its mapping; none for an element of a client's own batch.
#[must_use]
pub fn preview(
    identity: &Identity,
    route: Option<&EventRoute>,
    group: &Group,
    scope: &Scope<'_, '_>,
) -> Option<Preview> {
    let mut writer = Writer::new(group, false);
    match route.and_then(|route| route.event.as_ref()) {
        Some(mapping) => writer.mapping(mapping, scope).ok()?,
        None => copy(&mut writer, scope.body?.1).ok()?,
    }
    let draft = writer.draft;
    let scope = Scope { event: Some(draft.view()), call: scope.call, body: scope.body, user: None };
    let user = user_of(identity, &scope).ok()?;
    let scope = Scope { user: Some(&user), ..scope };
    let names = group.invalidates.iter().filter_map(|tag| tag.render(&scope)).collect();
    let named = draft.raw(&group.id_field).and_then(json::string).and_then(|id| EventId::try_new(&id).ok());
    let id = named.or_else(|| EventId::try_new(scope.call.request_id).ok());
    let state = subject(group, &scope).filter(|_| group.shape == Shape::Latest).zip(id);
    Some(Preview { user, names, state })
}

/// One element of a client's own batch.
///
/// # Errors
/// As for [`single`].
pub fn element(into: Into<'_>, call: &Call<'_>, raw: &str) -> Result<Decoded, Decline> {
    let refuse = |error: json::JsonError| Decline::Refuse(Refusal::NotJson(error.to_string().into()));
    let object = Object::parse(raw).map_err(refuse)?;
    let mut writer = Writer::new(into.group, false);
    copy(&mut writer, &object)?;
    let scope = Scope { call, body: Some((raw, &object)), event: Some(writer.draft.view()), user: None };
    // Ruling 26: an event that names another user than its caller's token is the application's to judge.
    let own = into.identity.named_by_event(&scope);
    if own.zip(into.identity.claimed(call.caller)).is_some_and(|(named, claimed)| named != claimed) {
        return Err(Decline::Forward(Forward::OtherUser));
    }
    finish(into, call, writer, None, (raw, &object))
}

/// The fields as they came, under their canonical names.
fn copy(writer: &mut Writer<'_>, object: &Object<'_>) -> Result<(), Decline> {
    let group = writer.group;
    for (name, raw) in last_of_each(object) {
        let alias = group.aliases.iter().find(|(found, _)| **found == *name);
        // A canonical field that is there itself wins over its alias.
        match alias {
            Some((_, canonical)) if object.get(canonical).is_some() => {}
            Some((_, canonical)) => writer.given(canonical, raw)?,
            None => writer.given(&Arc::from(name), raw)?,
        }
    }
    Ok(())
}

fn user_of(identity: &Identity, scope: &Scope<'_, '_>) -> Result<UserId, Decline> {
    identity.user(scope).ok_or(Decline::Forward(Forward::NoUser))
}

fn finish(
    into: Into<'_>,
    call: &Call<'_>,
    writer: Writer<'_>,
    legacy: Option<Legacy<'_>>,
    body: (&str, &Object<'_>),
) -> Result<Decoded, Decline> {
    let (group, identity, caller) = (into.group, into.identity, call.caller);
    let Writer { mut draft, content, .. } = writer;
    require(group, &draft)?;
    let user = user_of(identity, &Scope { call, body: Some(body), event: Some(draft.view()), user: None })?;
    let is_other = |raw: &str| json::string(raw).is_none_or(|text| identity.spelled(text.into()) != user.as_str());
    let foreign = |field: &Arc<str>| draft.raw(field).is_some_and(|raw| !json::is_null(raw) && is_other(raw));
    if group.same_user.iter().any(foreign) {
        return Err(Decline::Forward(Forward::OtherUser));
    }
    let (received_at, expires) = (call.now, caller.expires_at());
    let token_life = expires.map(|at| at.duration_since(received_at).unwrap_or_default());
    if token_life.is_some_and(|life| life <= into.token_margin) {
        return Err(Decline::Forward(Forward::TokenEnds));
    }
    let reading = identity.read(caller, Some(body.1));
    let id = id_of(group, &mut draft, &(call, &user, body.0, &reading.keys.principal.0))?;
    age(group, &draft, call.now)?;
    let scope = Scope { call, body: Some(body), event: Some(draft.view()), user: Some(&user) };
    let subject = subject(group, &scope);
    // A tag that can't be rendered for this event concerns nothing that this event could change.
    let named = group.invalidates.iter().filter_map(|tag| tag.render(&scope));
    // What is stored of the event's own address is old for its caller, and what callers share. Whom else it concerns the
    // group's tags say: an address may be everybody's, and its answers each caller's own.
    let own = caller.peer().host.as_deref().map(|host| resource(host, caller.parts().uri.path()));
    let own = own.map(|name| [Tag::own(&name, reading.keys.principal), Tag::shared(&name)]);
    let tags = named.map(|name| Tag::new(&name)).chain(own.into_iter().flatten()).collect();
    let priority = group.flush_on.iter().any(|(place, condition)| holds(draft.view().at(&place.0), condition));
    if reading.remainder_bytes() > MAX_REMAINDER {
        return Err(Decline::Forward(Forward::LargeHead));
    }
    into.changes.note(identity, caller, &user, &reading);
    let address = Address::of(caller.peer().client);
    let context = into.contexts.share(&reading.keys, address, || reading.context(caller));
    let fits = context.as_ref().map(|_| ()).map_err(|why| *why);
    let context = context.unwrap_or_else(|_| Arc::new(reading.context(caller)));
    let claimed = identity.claimed(caller).is_some_and(|named| named == user.as_str());
    let owner = context.owner(claimed);
    let lane = LaneKey { group: into.index, user, credential: reading.keys.fingerprint };
    let carried = Carried::mark_for_service(reading.carry(caller, claimed, legacy), group.is_shared());
    let (json, fields) = draft.finish();
    let succession = identity.succession(&reading);
    let event = Event {
        id,
        lane,
        context,
        json,
        carried,
        owner,
        has_single: legacy.is_some(),
        tags,
        priority,
        received_at,
        token_life,
        subject,
        content: digest(&content),
    };
    Ok(Decoded { event, fields, succession, fits })
}

/// 64 bits of a hash of what an event says. It is only compared with that of another try under the same id.
fn digest(content: &[u8]) -> u64 {
    first_eight(blake3::hash(content).as_bytes())
}

/// Whether a value makes its event urgent.
fn holds(raw: Option<&str>, condition: &Condition) -> bool {
    let Some(raw) = raw else { return false };
    match condition {
        Condition::Set => !json::is_null(raw) && !json::is_empty_string(raw),
        Condition::AtLeast(least) => serde_json::from_str::<f64>(raw).is_ok_and(|value| value >= *least),
        Condition::Among(values) => {
            serde_json::from_str::<serde_json::Value>(raw).is_ok_and(|value| values.contains(&value))
        }
    }
}

/// What an event tells the state of: its `key`, or its type and its `supersede` fields. An event that lacks a part of its
/// key, or all of the fields, tells the state of nothing: nothing replaces it. Of a collapse group, calls of another
/// route are about something else; without a key, all calls of a route are about the same. How a subject is told is part
/// of it, so that events from before a change of the configuration meet none from after it.
fn subject(group: &Group, scope: &Scope<'_, '_>) -> Option<Subject> {
    if !group.key.is_empty() || group.shape == Shape::Latest {
        let values: Vec<_> = group.key.iter().map(|template| template.render(scope)).collect::<Option<_>>()?;
        let told = group.key.iter().map(|template| template.source().as_bytes());
        let parts = scope.call.caller.parts();
        let route = [parts.method.as_str(), parts.uri.path()].map(str::as_bytes);
        let route = route.into_iter().filter(|_| group.shape == Shape::Latest);
        return Some(Subject::of(told.chain(route).chain(values.iter().map(String::as_bytes)).map(Some)));
    }
    let event = scope.event?;
    let there = |raw: &&str| !json::is_null(raw) && !json::is_empty_string(raw);
    let values: Vec<_> = group.supersede.iter().map(|field| event.at(&field.0).filter(there)).collect();
    values.iter().flatten().next()?;
    let told = group.supersede.iter().flat_map(|field| &field.0).map(|step| Some(step.as_bytes()));
    let kind = event.at(&Path::of(&["type"]).0);
    Some(Subject::of(told.chain(std::iter::once(kind).chain(values).map(|value| value.map(str::as_bytes)))))
}

fn require(group: &Group, draft: &Draft) -> Result<(), Decline> {
    let there =
        |field: &Arc<str>| draft.raw(field).is_some_and(|raw| !json::is_null(raw) && !json::is_empty_string(raw));
    // The id may be made up later, unless it must be sent.
    let made = |field: &Arc<str>| *field == group.id_field;
    match group.require.iter().find(|any| !any.iter().any(|field| there(field) || made(field))) {
        Some(missing) => Err(Decline::Refuse(Refusal::MissingField(missing.join(" or ").into()))),
        None => Ok(()),
    }
}

/// What an id that hashes the whole call is made of: the call, its user, its body, its principal.
type Hashed<'a, 'c> = (&'a Call<'c>, &'a UserId, &'a str, &'a [u8; 16]);

fn id_of(group: &Group, draft: &mut Draft, hashed: &Hashed<'_, '_>) -> Result<EventId, Decline> {
    let refuse = |error: IdError| Decline::Refuse(Refusal::BadId { field: Arc::clone(&group.id_field), error });
    match draft.raw(&group.id_field) {
        Some(raw) if !json::is_null(raw) && !json::is_empty_string(raw) => {
            let text = json::string(raw).ok_or_else(|| {
                Decline::Refuse(Refusal::WrongType { field: Arc::clone(&group.id_field), allowed: "a string" })
            })?;
            return EventId::try_new(&text).map_err(refuse);
        }
        // An id that is there and says nothing would stand in the event twice.
        Some(_) => draft.forget(&group.id_field),
        None => {}
    }
    if group.refuse.iter().any(|name| &**name == "missing_id") {
        return Err(Decline::Refuse(Refusal::MissingId(Arc::clone(&group.id_field))));
    }
    let text = match group.missing_id {
        MissingId::Generate => uuid::Uuid::new_v4().to_string(),
        MissingId::Hash => {
            let (call, user, body, principal) = hashed;
            let parts = call.caller.parts();
            let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let mut hasher = blake3::Hasher::new();
            for text in [&*group.name, parts.method.as_str(), target, user.as_str(), body] {
                hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
            }
            hasher.update(*principal);
            let mut short = [0; 16];
            hasher.finalize_xof().fill(&mut short);
            uuid::Builder::from_custom_bytes(short).into_uuid().to_string()
        }
    };
    draft.push_text(&Arc::clone(&group.id_field), &text);
    EventId::try_new(&text).map_err(refuse)
}

/// `max_age` by the wall clock, with five minutes of tolerance for the future (ruling 8). A time that can't be read is
/// not judged.
fn age(group: &Group, draft: &Draft, now: SystemTime) -> Result<(), Decline> {
    let Some(at) = draft.raw(&group.time_field).and_then(time_of) else { return Ok(()) };
    let now = i128::from(millis(now));
    let oldest = now - i128::try_from(group.max_age.as_millis()).unwrap_or(i128::MAX / 2);
    if at < oldest {
        return Err(Decline::Refuse(Refusal::TooOld { field: Arc::clone(&group.time_field), limit: group.max_age }));
    }
    if at > now + i128::try_from(FUTURE.as_millis()).unwrap_or(0) {
        return Err(Decline::Refuse(Refusal::InTheFuture { field: Arc::clone(&group.time_field), limit: FUTURE }));
    }
    Ok(())
}

/// Unix milliseconds: a number, or ISO 8601 text.
fn time_of(raw: &str) -> Option<i128> {
    if let Some(text) = json::string(raw) {
        return text.parse::<jiff::Timestamp>().ok().map(|stamp| i128::from(stamp.as_millisecond()));
    }
    let value: f64 = serde_json::from_str(raw).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and any such time is out of range")]
    value.is_finite().then_some(value as i128)
}
