//! What a call touches that the application answers: the lanes that go before it, and what it makes
//! old.

use super::callers::Callers;
use super::scope::HeadScope;
use crate::event::{EventId, GroupIndex, Keys, Subject, UserId};
use crate::identity::Caller;
use crate::ingest::accept::call::{Call, Scope};
use crate::ingest::accept::decode;
use crate::ingest::accept::preview::preview;
use crate::ingest::{Acceptor, Asker, CallerLanes};
use crate::json::Object;
use crate::rollout::Mode;
use crate::route::{EventRoute, Params, WriteRoute};
use bytes::Bytes;

/// What a forwarded call waits for, and what it changes.
pub(super) struct Touches {
    pub(super) asker: Asker,
    pub(super) keys: Keys,
    /// Groups whose lanes go first; none: it waits for nothing.
    pub(super) groups: Vec<GroupIndex>,
    /// Groups in which a success of it speaks for its principal.
    pub(super) proves: Vec<GroupIndex>,
    /// Names of the tags that it makes old.
    pub(super) tags: Vec<String>,
    /// Its route is in mode `observe`: if that is why it is forwarded, its event would be in a window
    /// else, and go after nothing.
    pub(super) is_observed: bool,
    /// The group whose older states it would replace, of what, and under which id.
    pub(super) state: Option<(GroupIndex, Subject, EventId)>,
}

/// Tells what calls touch.
#[derive(Clone)]
pub(super) struct TouchRules {
    pub(super) callers: Callers,
    pub(super) acceptor: Acceptor,
    pub(super) lanes: CallerLanes,
}

impl TouchRules {
    /// What an event call touches that is forwarded: the user and tags as the event would name
    /// them, else as the head does.
    pub(super) fn of_event(
        &self,
        call: &Call<'_>,
        candidates: &[&EventRoute],
        body: &Bytes,
    ) -> Touches {
        let parsed = decode::parse(body).ok();
        let object = parsed.as_ref().map(|(_, object)| object);
        let chosen = object.and_then(|object| decode::choose(candidates, object));
        let mapped = parsed
            .as_ref()
            .zip(chosen)
            .and_then(|((text, object), route)| {
                let scope = Scope {
                    call,
                    body: Some((*text, object)),
                    event: None,
                    user: None,
                };
                let found = preview(
                    &self.callers.identity,
                    Some(route),
                    self.acceptor.group(route.group)?,
                    &scope,
                );
                found.map(|found| (route.group, found))
            });
        let groups: Vec<_> = candidates.iter().map(|route| route.group).collect();
        let head = || self.callers.user_without_body(call.caller, call.params);
        let is_observed = chosen.is_some_and(|route| route.switch.setting().mode == Mode::Observe);
        let touches = match mapped {
            None => self.of_place(call.caller, call.params, (head(), &[]), &groups, object),
            Some((group, preview)) => {
                let names = chosen.map_or(&[][..], |route| &route.query);
                let user = (Some(preview.user), names);
                let touches = self.of_place(call.caller, call.params, user, &groups, object);
                let state = preview.state.map(|(subject, id)| (group, subject, id));
                Touches {
                    tags: preview.names,
                    state,
                    ..touches
                }
            }
        };
        Touches {
            is_observed,
            ..touches
        }
    }

    /// What a call touches whose body wasn't read.
    pub(super) fn of_head(
        &self,
        caller: &Caller<'_>,
        params: &Params,
        groups: &[GroupIndex],
    ) -> Touches {
        let user = self.callers.user_without_body(caller, params);
        self.of_place(caller, params, (user, &[]), groups, None)
    }

    /// What a client's own batch touches that is forwarded: all lanes of its caller, whatever users
    /// it names (ruling 26).
    pub(super) fn of_batch(&self, call: &Call<'_>, group: GroupIndex, body: &Bytes) -> Touches {
        let tags = self.acceptor.preview_batch(group, call, body);
        Touches {
            tags,
            ..self.of_place(call.caller, call.params, (None, &[]), &[group], None)
        }
    }

    /// What a write touches. `beside`: groups whose events come over its path; after them it goes,
    /// whatever else it drains.
    pub(super) fn of_write(
        &self,
        caller: &Caller<'_>,
        (route, params): (&WriteRoute, &Params),
        beside: Vec<GroupIndex>,
        raw: &[u8],
    ) -> Touches {
        let identity = &self.callers.identity;
        let parsed = decode::parse(raw).ok();
        let body = parsed.as_ref().map(|(_, object)| object);
        let keys = identity.keys(caller, body);
        let scope = HeadScope {
            caller,
            params,
            user: None,
            body,
        };
        let template = route.user.as_ref().unwrap_or(&identity.settings().user);
        let user = identity.user_by(template, &scope);
        let scope = HeadScope {
            user: user.as_ref(),
            ..scope
        };
        let tags: Vec<_> = route
            .invalidates
            .iter()
            .filter_map(|tag| tag.render(&scope))
            .collect();
        let mut groups = beside;
        groups.extend(route.groups.iter().filter(|_| !route.drains.is_empty()));
        let groups = if groups.is_empty() {
            groups
        } else {
            self.lanes.with_siblings(&groups)
        };
        let user = (self.callers).sure_user((caller, params), (template, &[]), user);
        let asker = self.callers.asker(caller, &keys, user, &groups);
        Touches {
            asker,
            keys,
            groups,
            proves: route.groups.clone(),
            tags,
            is_observed: false,
            state: None,
        }
    }

    /// What a call touches by its place: its caller's lanes in these groups, and the tags that its
    /// head can tell of. `names`: query parameters that its user may come of, beside those that
    /// `identity.user` looks at.
    fn of_place(
        &self,
        caller: &Caller<'_>,
        params: &Params,
        (user, names): (Option<UserId>, &[Box<str>]),
        groups: &[GroupIndex],
        body: Option<&Object<'_>>,
    ) -> Touches {
        let keys = self.callers.identity.keys(caller, body);
        let scope = HeadScope {
            caller,
            params,
            user: user.as_ref(),
            body,
        };
        let of = groups
            .iter()
            .filter_map(|group| self.acceptor.group(*group));
        let mut tags: Vec<_> = of
            .flat_map(|group| &group.invalidates)
            .filter_map(|tag| tag.render(&scope))
            .collect();
        tags.sort_unstable();
        tags.dedup();
        let waits_for = self.lanes.with_siblings(groups);
        let template = &self.callers.identity.settings().user;
        let user = (self.callers).sure_user((caller, params), (template, names), user);
        let asker = self.callers.asker(caller, &keys, user, &waits_for);
        Touches {
            asker,
            keys,
            groups: waits_for,
            proves: groups.to_vec(),
            tags,
            is_observed: false,
            state: None,
        }
    }
}
