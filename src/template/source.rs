//! Where a placeholder may look, what it finds there, and the trait that gives the values.

use std::borrow::Cow;

/// Where a placeholder looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request's body.
    Body,
    /// The mapped event.
    Event,
    /// The query string.
    Query,
    /// Named segments of the route's path.
    Path,
    /// Request headers.
    Header,
    /// Request cookies.
    Cookie,
    /// Claims of the request's JWT.
    Jwt,
    /// The user.
    User,
    /// Unix milliseconds, a number.
    NowMs,
    /// ISO 8601.
    NowIso,
    /// A fresh UUID.
    Uuid,
    /// The request's id.
    RequestId,
    /// The lists of a client's batch; of a batch that goes out, its `id`.
    Batch,
    /// The events of a batch that goes out, as an array.
    Events,
}

pub(super) const SOURCES: [(&str, Source); 14] = [
    ("body", Source::Body),
    ("event", Source::Event),
    ("query", Source::Query),
    ("path", Source::Path),
    ("header", Source::Header),
    ("cookie", Source::Cookie),
    ("jwt", Source::Jwt),
    ("user", Source::User),
    ("now.ms", Source::NowMs),
    ("now.iso", Source::NowIso),
    ("uuid", Source::Uuid),
    ("request_id", Source::RequestId),
    ("batch", Source::Batch),
    ("events", Source::Events),
];

impl Source {
    /// As a template names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        SOURCES
            .iter()
            .find(|(_, source)| *source == self)
            .map_or("", |(name, _)| name)
    }
}

/// What a placeholder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Raw JSON.
    Json(&'a str),
    /// Text.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
}

/// Whoever knows the values.
pub trait Lookup {
    /// The value at a path of a source.
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>>;
}
