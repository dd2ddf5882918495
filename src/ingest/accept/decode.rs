//! From a call to an [`Event`]: one parse, the mapping, the checks of the group.

use super::call::{Call, Scope};
use super::checks;
use super::draft::{Draft, Member, View};
use super::mapping::Writer;
use crate::cache::policy::invalidate::resource;
use crate::event::{
    Event, GroupIndex, LaneKey, Legacy, Principal, Raw, Succession, Tag, Texts, TokenLife, UserId,
};
use crate::identity::{Caller, Identity, NotAnswerable};
use crate::ingest::accept::changes::Changes;
use crate::ingest::accept::contexts::{Contexts, TooMuch};
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::accept::shares::Address;
use crate::ingest::settings::{Fallback, Group};
use crate::json::{self, Object};
use crate::route::EventRoute;
use crate::template::{ObjectTemplate, Path, Source};
use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a call's head that travel with its event beside what its calls share (ruling 25).
const MAX_REMAINDER: usize = 16 << 10;

/// An event, and where its members lie.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The event.
    pub event: Event,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Its context is in use, or may be. Else its context is counted nowhere, and the event can't
    /// be kept; that its id is known can be told all the same.
    pub fits: Result<(), TooMuch>,
    /// Its time and its token's allow that it is kept. A repetition of what is kept came later than
    /// that, and is one all the same.
    pub in_time: Result<(), Decline>,
    /// Its call, or its mapping, named its id.
    pub id_is_given: bool,
    members: Vec<Member<'a>>,
}

impl Decoded<'_> {
    /// To look into.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        // It was written as text.
        View::new(
            std::str::from_utf8(self.event.json()).unwrap_or_default(),
            &self.members,
        )
    }
}

/// Decodes the events of one group.
#[derive(Clone, Copy)]
pub struct Decoder<'a> {
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
    /// What is known of principals.
    pub reputation: &'a Reputation,
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

/// The group that may refuse a call which may meet any of these routes (`refuse`): none where
/// somebody's calls of one of them are forwarded, since those are the application's to judge.
pub fn refusing_group(candidates: &[&EventRoute]) -> Option<GroupIndex> {
    let first = candidates.first()?;
    candidates
        .iter()
        .all(|route| route.switch.is_on_for_all())
        .then_some(first.group)
}

/// The first of a path's rules whose `match` holds.
#[must_use]
pub fn choose<'a>(candidates: &[&'a EventRoute], body: &Object<'_>) -> Option<&'a EventRoute> {
    let holds = |route: &&EventRoute| find_unmet(route, body).is_none();
    candidates.iter().copied().find(holds)
}

/// The first place of a rule's `match` where a body has something else.
#[must_use]
pub fn find_unmet<'r>(route: &'r EventRoute, body: &Object<'_>) -> Option<&'r Path> {
    let is_met = |(path, values): &&(Path, Vec<serde_json::Value>)| {
        let found = body
            .at(&path.0)
            .and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
        found.is_some_and(|value| values.contains(&value))
    };
    let unmet = route.matches.iter().find(|one| !is_met(one));
    unmet.map(|(path, _)| path)
}

/// Whether a rule that lists these types takes a body of its call's.
///
/// # Errors
/// It lists others, or none and the body is of a type that pages of other sites may send.
pub fn check_type(
    identity: &Identity,
    caller: &Caller<'_>,
    listed: &[Box<str>],
) -> Result<(), Forward> {
    let kind = caller.body_type();
    if !listed.is_empty() {
        let is_listed = listed.iter().any(|one| **one == *kind);
        return is_listed.then_some(()).ok_or(Forward::ContentType);
    }
    let is_asked_for = identity.is_asked_for(caller, &kind);
    is_asked_for.then_some(()).ok_or(Forward::NotAskedFor)
}

/// The body of a call as JSON.
///
/// # Errors
/// Not UTF-8, not JSON, no object, nested too deep.
pub fn parse(body: &[u8]) -> Result<(&str, Object<'_>), Decline> {
    let refuse =
        |error: json::JsonError| Decline::Refuse(Refusal::NotJson(error.to_string().into()));
    let text = json::text_of(body).map_err(refuse)?;
    Ok((text, Object::parse(text).map_err(refuse)?))
}

/// The body of a call as JSON. One whose method needs no body may leave it out.
///
/// # Errors
/// As for [`parse`]; or its method is another one by what it says.
pub fn read_body<'a>(call: &Call<'_>, body: &'a Bytes) -> Result<(&'a str, Object<'a>), Decline> {
    let bodiless = matches!(
        call.caller.parts().method,
        Method::GET | Method::HEAD | Method::DELETE
    );
    if body.is_empty() && bodiless {
        return parse(b"{}");
    }
    let (text, object) = parse(body)?;
    if overrides_method(&object, &call.caller.parts().method) {
        return Err(Decline::Forward(Forward::NotAnswerable(
            NotAnswerable::Proof,
        )));
    }
    Ok((text, object))
}

/// Whether a body says that its call is of another method, as `_method` does in forms: Laravel,
/// Symfony, Rails and Express' method-override look for it in JSON too.
fn overrides_method(body: &Object<'_>, method: &Method) -> bool {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let named = body.get("_method").and_then(json::string);
    named.is_some_and(|named| {
        let is_method = METHODS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&named));
        is_method && !named.eq_ignore_ascii_case(method.as_str())
    })
}

/// How many members of a body no mapping names: they are left out of the batch.
#[must_use]
pub fn unmapped(route: &EventRoute, body: &Object<'_>) -> usize {
    unmapped_names(route, body).count()
}

/// The names of the members of a body that no mapping names.
pub fn unmapped_names<'a>(
    route: &'a EventRoute,
    body: &'a Object<'_>,
) -> impl Iterator<Item = &'a str> {
    let mapping = route.event.as_ref().filter(|mapping| !mapping.takes_rest());
    let is_named = move |name: &str| mapping.is_none_or(|mapping| mapping.names(name));
    let members = mapping.map(|_| body.iter()).into_iter().flatten();
    members
        .map(|(name, _)| name)
        .filter(move |name| !is_named(name))
}

impl<'a> Decoder<'a> {
    /// A single call's event.
    ///
    /// # Errors
    /// Refused (the caller is told why), or the application's to judge.
    pub fn decode_single(
        self,
        route: &'a EventRoute,
        call: &Call<'_>,
        payload: Payload<'a>,
    ) -> Result<Decoded<'a>, Decline> {
        let scope = Scope {
            call,
            body: Some((payload.text, payload.object)),
            event: None,
            user: None,
        };
        if route
            .forward_unless
            .iter()
            .any(|template| template.text(&scope).is_none_or(|text| text.is_empty()))
        {
            return Err(Decline::Forward(Forward::Unless));
        }
        let mut writer = Writer::new(self.group, true, payload.text.len());
        match &route.event {
            Some(mapping) => {
                let write = || writer.write_mapping(mapping, Some(payload.object), &scope);
                let (written, is_odd) = call.notes_odd(write);
                written?;
                // A single call is repeated as it came.
                if is_odd && !self.group.is_single() {
                    return Err(Decline::Forward(Forward::AmbiguousHead));
                }
            }
            None => writer.write_as_given(payload.object)?,
        }
        let repeats = self.group.fallback == Fallback::Single || self.group.is_single();
        let legacy = repeats.then(|| {
            let parts = call.caller.parts();
            let path = parts
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str);
            Legacy {
                method: parts.method.as_str(),
                path,
                body: Raw(payload.sent),
            }
        });
        let of = (route.event.as_ref(), legacy);
        self.finish(call, writer, of, (payload.text, payload.object))
    }

    /// One element of a client's own batch.
    ///
    /// # Errors
    /// As for [`decode_single`](Self::decode_single).
    pub fn decode_element(
        self,
        call: &Call<'_>,
        raw: &'a str,
        object: &'a Object<'a>,
    ) -> Result<Decoded<'a>, Decline> {
        let mut writer = Writer::new(self.group, false, raw.len());
        writer.write_as_given(object)?;
        let scope = Scope {
            call,
            body: Some((raw, object)),
            event: Some(writer.draft.view()),
            user: None,
        };
        // Ruling 26: an event that names another user than its caller's token is the application's
        // to judge.
        let own = self.identity.named_by_event(&scope);
        if own
            .zip(self.identity.claimed(call.caller))
            .is_some_and(|(named, claimed)| named != claimed)
        {
            return Err(Decline::Forward(Forward::OtherUser));
        }
        self.finish(call, writer, (None, None), (raw, object))
    }

    fn finish(
        self,
        call: &Call<'_>,
        writer: Writer<'a>,
        (mapping, legacy): (Option<&ObjectTemplate>, Option<Legacy<'_>>),
        body: (&str, &Object<'_>),
    ) -> Result<Decoded<'a>, Decline> {
        let (group, identity, caller) = (self.group, self.identity, call.caller);
        let content = writer.content();
        let mut draft = writer.draft;
        checks::require_members(group, &draft)?;
        let scope = Scope {
            call,
            body: Some(body),
            event: Some(draft.view()),
            user: None,
        };
        let user = identity
            .user_of(caller, &scope)
            .ok_or(Decline::Forward(Forward::NoUser))?;
        let has_address = !call.params.is_empty() || caller.parts().uri.query().is_some();
        if has_address && !group.is_single() && self.loses_user((&draft, mapping), &scope, &user) {
            return Err(Decline::Forward(Forward::OtherUser));
        }
        let is_other = |raw: &str| {
            json::string(raw).is_none_or(|text| identity.spelled(text) != user.as_str())
        };
        let foreign = |field: &Arc<str>| {
            draft
                .raw(field)
                .is_some_and(|raw| !json::is_null(raw) && is_other(raw))
        };
        if group.same_user.iter().any(foreign) {
            return Err(Decline::Forward(Forward::OtherUser));
        }
        let (received_at, expires) = (call.now, caller.expires_at());
        let token_life = expires.map(|at| at.duration_since(received_at).unwrap_or_default());
        let caller_keys = identity.caller_keys(caller, Some(body.1));
        let keys = caller_keys.keys;
        let id_is_given = checks::names_id(group, &draft);
        let id =
            checks::read_or_make_id(group, &mut draft, &(call, &user, body.0, &keys.principal.0))?;
        let in_time = if token_life.is_some_and(|life| life <= self.token_margin) {
            Err(Decline::Forward(Forward::TokenEnds))
        } else {
            checks::check_age(group, &draft, call.now)
        };
        let scope = Scope {
            call,
            body: Some(body),
            event: Some(draft.view()),
            user: Some(&user),
        };
        let subject = checks::find_subject(group, &scope);
        let tags = self.find_tags(&scope, keys.principal);
        let priority = group
            .flush_on
            .iter()
            .any(|(at, wanted)| checks::is_met(draft.view().at(&at.0), wanted));
        let claimed = identity
            .claimed(caller)
            .is_some_and(|named| named == user.as_str());
        let carried = identity.carry(caller, (claimed, group.is_shared()), legacy, MAX_REMAINDER);
        let carried = carried.map_err(|_| Decline::Forward(Forward::LargeHead))?;
        self.changes.note(
            identity,
            caller,
            &user,
            &keys,
            || identity.read(caller, Some(body.1)),
            || self.reputation.is_good_anywhere(keys.principal),
        );
        let make = || identity.read(caller, Some(body.1)).context(caller, keys);
        let context = self
            .contexts
            .share(&keys, Address::of(caller.peer().client), make);
        let fits = context.as_ref().map(|_| ()).map_err(|why| *why);
        let context = context.unwrap_or_else(|_| Arc::new(make()));
        let lane = LaneKey {
            group: self.index,
            user,
            credential: keys.fingerprint,
        };
        let (json, members) = draft.finish();
        let event = Event {
            texts: Texts::new(&id, json, carried),
            lane,
            context,
            claimed,
            has_single: legacy.is_some(),
            tags,
            priority,
            received_at,
            token_life: token_life.map(TokenLife::new),
            subject,
            content,
        };
        Ok(Decoded {
            event,
            succession: identity.succession(&caller_keys),
            fits,
            in_time,
            id_is_given,
            members,
        })
    }

    /// Whether the call's address names another user than its event has, and the event doesn't say so:
    /// no batch would. `mapping`: what the event is written by.
    fn loses_user(
        self,
        (draft, mapping): (&Draft<'_>, Option<&ObjectTemplate>),
        scope: &Scope<'_, '_>,
        user: &UserId,
    ) -> bool {
        let identity = self.identity;
        let named = identity.named_in(scope);
        let Some(named) = named.filter(|name| *name != user.as_str()) else {
            return false;
        };
        let looks = |body, event| {
            let scope = Scope {
                body,
                event,
                ..*scope
            };
            identity.named_by_event(&scope).as_ref() == Some(&named)
        };
        // What names a user where there is nothing to look at doesn't come of the address.
        let is_told = looks(None, scope.event) || looks(None, None);
        let of_address =
            |source: Source, _: &[Box<str>]| matches!(source, Source::Path | Source::Query);
        let takes_address = mapping.is_some_and(|mapping| mapping.looks(&of_address));
        let says_so = |raw: &str| {
            json::string(raw).map_or(raw == named, |text| identity.spelled(text) == named)
        };
        !(is_told || takes_address && draft.values().any(says_so))
    }

    /// What an event makes old.
    fn find_tags(self, scope: &Scope<'_, '_>, principal: Principal) -> Arc<[Tag]> {
        // A tag that can't be rendered for this event concerns nothing that this event could
        // change.
        let (caller, mut name) = (scope.call.caller, String::with_capacity(64));
        let named = self.group.invalidates.iter().filter_map(move |tag| {
            name.clear();
            tag.render_into(scope, &mut name)?;
            Some(caller.tag(&name))
        });
        // What is stored of the event's own address is old for its caller, and what callers share.
        // Whom else it concerns the group's tags say: an address may be everybody's, and its
        // answers each caller's own.
        let host = caller.peer().host.as_deref();
        let own = host.map(|host| {
            let name = || resource(host, caller.parts().uri.path());
            caller.own_tag(name).own_and_shared(principal)
        });
        let tags: SmallVec<[Tag; 4]> = named.chain(own.into_iter().flatten()).collect();
        Arc::from(&*tags)
    }
}
