//! The rules as the configuration has them: `[[event]]`, `[[write]]`, `[[cache]]` and `[preview]`.

use super::pattern::Pattern;
use crate::event::{GroupIndex, ReadIndex, UserId};
use crate::peer::Peer;
use crate::rollout::{Mode, Setting, Switch};
use crate::template::{JsonTemplate, ObjectTemplate, Path, Template};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// An `[[event]]` rule.
#[derive(Debug, Clone)]
pub struct EventRoute {
    /// `POST` unless said otherwise.
    pub method: Method,
    /// The path, with `{name}` segments or a final `{*rest}`.
    pub path: Pattern,
    /// Values that fields of the body must have; all must hold.
    pub matches: Vec<(Path, Vec<serde_json::Value>)>,
    /// Media types (lower case, no parameters) that are taken; empty: any. Others are forwarded.
    pub content_types: Vec<Box<str>>,
    /// Templates of which each must resolve to something not null and not ""; else the call is
    /// forwarded.
    pub forward_unless: Vec<Template>,
    /// The batch group.
    pub group: GroupIndex,
    /// Its name in reports and for operators.
    pub name: Option<Box<str>>,
    /// How it begins, as the configuration says.
    pub configured: Setting,
    /// How it stands. A clone shares it.
    pub switch: Arc<Switch>,
    /// Mapping to the batch event; `None`: the body as it is.
    pub event: Option<ObjectTemplate>,
    /// Parameters of the query that a template looks at; a call with another one is forwarded.
    pub query: Vec<Box<str>>,
    /// Other methods of its path don't wait for its caller's lanes.
    pub alone: bool,
    /// The acknowledgement.
    pub ack: Ack,
}

impl EventRoute {
    /// What it is, for a look whether two are the same: everything but its name and its mode.
    #[must_use]
    pub fn shape(&self) -> String {
        let Self {
            name: _,
            configured: _,
            switch: _,
            method,
            path,
            matches,
            content_types,
            forward_unless,
            group,
            event,
            query,
            alone,
            ack,
        } = self;
        format!(
            "{method} {path:?} {matches:?} {content_types:?} {forward_unless:?} {group:?} {event:?} \
             {query:?} {alone} {ack:?}"
        )
    }

    /// A clone with a switch of its own, which stands where the configuration says.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self {
            switch: Arc::new(self.switch.afresh(self.configured)),
            ..self.clone()
        }
    }

    /// Whether every parameter of a query is looked at, and none is there twice: which of them the
    /// application reads isn't known.
    #[must_use]
    pub fn knows_query(&self, query: &str) -> bool {
        let names = || {
            query
                .split('&')
                .map(|pair| pair.split('=').next().unwrap_or_default())
                .filter(|name| !name.is_empty())
        };
        let is_known = |name: &str| self.query.iter().any(|known| **known == *name);
        names().all(is_known)
            && (self.query.iter()).all(|known| names().filter(|name| **name == **known).count() < 2)
    }
}

/// How an event is acknowledged.
#[derive(Debug, Clone)]
pub struct Ack {
    /// 2xx.
    pub status: StatusCode,
    /// Extra headers.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body.
    pub body: JsonTemplate,
    /// The body for a duplicate, where it differs.
    pub duplicate: Option<JsonTemplate>,
}

/// What holds at a group's own path, where clients post batches that they made themselves.
#[derive(Debug, Clone)]
pub struct BatchRule {
    /// The group.
    pub group: GroupIndex,
    /// Of its `[[event]]` routes. Where it has none its batches are always taken apart.
    pub(super) switches: Vec<Arc<Switch>>,
}

impl BatchRule {
    /// Nobody's batches are forwarded for a mode.
    fn is_on_for_all(&self) -> bool {
        self.switches.is_empty() || self.switches.iter().any(|switch| switch.is_on_for_all())
    }

    /// The group, if it may refuse batches (`refuse`): none where somebody's are forwarded, since
    /// those are the application's to judge.
    #[must_use]
    pub fn refusing_group(&self) -> Option<GroupIndex> {
        self.is_on_for_all().then_some(self.group)
    }

    /// Everybody's are.
    #[must_use]
    pub fn is_off_for_all(&self) -> bool {
        let is_on = |switch: &Arc<Switch>| switch.setting().mode == Mode::Coalesce;
        !self.switches.is_empty() && !self.switches.iter().any(is_on)
    }

    /// No event of its routes was ever acknowledged, nor is one now.
    #[must_use]
    pub fn was_never_on(&self) -> bool {
        let mut switches = self.switches.iter();
        !self.switches.is_empty() && switches.all(|switch| switch.was_never_on())
    }

    /// Whether batches of this user are taken apart: where the single calls of one route are
    /// acknowledged.
    #[must_use]
    pub fn is_on_for(&self, user: &UserId, headers: &HeaderMap, peer: &Peer) -> bool {
        let is_on = |switch: &Arc<Switch>| {
            switch.mode_for(user, switch.tester(headers, peer)) == Mode::Coalesce
        };
        self.switches.is_empty() || self.switches.iter().any(is_on)
    }
}

/// A `[[write]]` rule.
#[derive(Debug, Clone)]
pub struct WriteRoute {
    /// Methods; empty: every unsafe one.
    pub methods: Vec<Method>,
    /// The path.
    pub path: Pattern,
    /// Tags of the lanes that are settled first (templates over user, query, path).
    pub drains: Vec<Template>,
    /// Groups whose lanes those are.
    pub groups: Vec<GroupIndex>,
    /// Tags made old by a forwarded call.
    pub invalidates: Vec<Template>,
    /// Whose call it is, where `identity.user` can't tell: a template over body, query, header,
    /// cookie, jwt and path.
    pub user: Option<Template>,
}

impl WriteRoute {
    /// Whether it speaks of this method.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        if self.methods.is_empty() {
            return matches!(
                *method,
                Method::POST | Method::PUT | Method::PATCH | Method::DELETE
            );
        }
        self.methods.contains(method)
    }
}

/// A `[[cache]]` rule; GET and HEAD.
#[derive(Debug, Clone)]
pub struct CacheRoute {
    /// The path.
    pub path: Pattern,
    /// Freshness where the response says nothing (or, with `force`, whatever it says).
    pub ttl: Option<Duration>,
    /// `ttl` wins over `no-store` and `private`. Never with `public`.
    pub force: bool,
    /// Shared by all credentials.
    pub public: bool,
    /// Longest freshness that is guessed from Last-Modified where a response says nothing; zero:
    /// none.
    pub longest_guess: Duration,
    /// Served this long after it became stale, while it is asked again; what the response says
    /// wins.
    pub stale_while_revalidate: Duration,
    /// Served this long after it became stale, when asking fails; what the response says wins.
    pub stale_if_error: Duration,
    /// Tags of the answer.
    pub tags: Vec<Template>,
    /// Groups whose events may touch them.
    pub groups: Vec<GroupIndex>,
    /// An event of theirs touches them for its own user only.
    pub of_own_user: bool,
    /// Its place in the configuration.
    pub index: ReadIndex,
    /// Of those groups the ones whose reads it is for certain: a 2xx of it speaks for its caller
    /// there (ruling 16).
    pub proves: Vec<GroupIndex>,
    /// Query parameters that are not part of the key.
    pub ignore_query: Vec<Box<str>>,
    /// How long a reader waits for its own pending events.
    pub barrier: Duration,
}

/// `[preview]`: a look at a caller's own pending events; GET.
#[derive(Debug, Clone)]
pub struct PreviewRoute {
    /// The path.
    pub path: Pattern,
    /// Whose events are shown.
    pub groups: Vec<GroupIndex>,
    /// Query parameters, and where an event may have what they name.
    pub filter: Vec<(Box<str>, Vec<Path>)>,
}
