//! A call as the event path sees it, and what templates find in it.

use super::draft::View;
use crate::clock::{iso, millis};
use crate::event::UserId;
use crate::identity::Caller;
use crate::json::Object;
use crate::logging::CallNote;
use crate::route::Params;
use crate::spans::{self, Origin};
use crate::template::{Found, Lookup, Source};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

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
    /// A template has looked at the clock, at chance or at the request's id: what it wrote is of
    /// this try only.
    drawn: AtomicBool,
    /// Those look the same at every try.
    still: AtomicBool,
    /// It matters now whether the head is read alike by all.
    judges: AtomicBool,
    /// A template has then looked at what isn't.
    odd: AtomicBool,
}

impl<'a> Call<'a> {
    /// The call of this caller.
    #[must_use]
    pub fn new(caller: &'a Caller<'a>, params: &'a Params, request_id: &'a str) -> Self {
        let now = caller.now();
        let [drawn, still, judges, odd] = [const { AtomicBool::new(false) }; 4];
        Self {
            caller,
            params,
            request_id,
            now,
            drawn,
            still,
            judges,
            odd,
        }
    }

    /// Its span, for the span of the batch that its event goes in.
    pub(super) fn origin(&self) -> Origin {
        if !spans::IS_BUILT_IN {
            return Origin::default();
        }
        let note = self.caller.parts().extensions.get::<CallNote>();
        note.map_or_else(Origin::default, |note| note.span().origin())
    }

    /// Whether a template that writes meanwhile draws what differs from try to try.
    pub(super) fn notes_draws(&self, write: impl FnOnce()) -> bool {
        self.drawn.store(false, Ordering::Relaxed);
        write();
        self.drawn.load(Ordering::Relaxed)
    }

    /// Whether a template that writes meanwhile takes what in the head is not read alike by all.
    pub(super) fn notes_odd<R>(&self, write: impl FnOnce() -> R) -> (R, bool) {
        self.judges.store(true, Ordering::Relaxed);
        let written = write();
        self.judges.store(false, Ordering::Relaxed);
        (written, self.odd.swap(false, Ordering::Relaxed))
    }

    /// What is drawn meanwhile is the same at every try.
    pub(super) fn standing_still(&self, write: impl FnOnce()) {
        self.still.store(true, Ordering::Relaxed);
        write();
        self.still.store(false, Ordering::Relaxed);
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
        if matches!(
            source,
            Source::NowMs | Source::NowIso | Source::Uuid | Source::RequestId
        ) {
            self.drawn.store(true, Ordering::Relaxed);
            if self.still.load(Ordering::Relaxed) {
                return Some(Found::Json("0"));
            }
        }
        match source {
            Source::Path => self
                .params
                .get(path.first()?)
                .map(|text| Found::Text(Cow::Borrowed(text))),
            Source::NowMs => Some(Found::Number(millis(self.now))),
            Source::NowIso => Some(Found::Text(Cow::Owned(iso(self.now)))),
            Source::Uuid => Some(Found::Text(Cow::Owned(uuid::Uuid::new_v4().to_string()))),
            Source::RequestId => Some(Found::Text(Cow::Borrowed(self.request_id))),
            Source::Query | Source::Header | Source::Cookie | Source::Jwt => {
                if self.judges.load(Ordering::Relaxed)
                    && !self.caller.has_one_reading(source, path.first()?)
                {
                    self.odd.store(true, Ordering::Relaxed);
                }
                self.caller.look(source, path)
            }
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
                body.at(path)
                    .map(Found::Json)
                    .or_else(|| body.length(path).map(|count| Found::Number(count as u64)))
            }
            Source::Event => self.event?.at(path).map(Found::Json),
            Source::User => self
                .user
                .map(|user| Found::Text(Cow::Borrowed(user.as_str()))),
            _ => self.call.find(source, path),
        }
    }
}
