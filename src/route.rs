//! Which rule a call meets. First match wins, in the order of the configuration.

use crate::event::GroupIndex;
use crate::template::{JsonTemplate, ObjectTemplate, Path, Template};
use http::{HeaderName, Method, StatusCode};
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
    /// Templates of which each must resolve to something not null and not ""; else the call is forwarded.
    pub forward_unless: Vec<Template>,
    /// The batch group.
    pub group: GroupIndex,
    /// What is done.
    pub mode: Mode,
    /// Percent of users, sticky, 0..=100; the others' calls are forwarded.
    pub rollout: u8,
    /// Mapping to the batch event; `None`: the body as it is.
    pub event: Option<ObjectTemplate>,
    /// The acknowledgement.
    pub ack: Ack,
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

/// DESIGN §8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwarded.
    Off,
    /// Acknowledged and batched.
    Coalesce,
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
    /// Tags made old by a forwarded call.
    pub invalidates: Vec<Template>,
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
    /// Tags of the answer.
    pub tags: Vec<Template>,
    /// Query parameters that are not part of the key.
    pub ignore_query: Vec<Box<str>>,
    /// How long a reader waits for its own pending events.
    pub barrier: Duration,
}
