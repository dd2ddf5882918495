//! What templates can see of a call that is no event.

use crate::event::UserId;
use crate::identity::Caller;
use crate::json::Object;
use crate::read::find_in_head;
use crate::route::Params;
use crate::template::{Found, Lookup, Source};
use std::borrow::Cow;

/// A text that makes no user id.
const NO_ID: &str = "\0";

/// What templates can see of a call that is no event: its head, and its body where that was read.
/// What a template expects of an event is looked for in the body.
pub(super) struct HeadScope<'a, 'c> {
    pub(super) caller: &'a Caller<'c>,
    pub(super) params: &'a Params,
    pub(super) user: Option<&'a UserId>,
    pub(super) body: Option<&'a Object<'a>>,
}

impl Lookup for HeadScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Body | Source::Event => self.body?.at(path).map(Found::Json),
            _ => find_in_head((self.caller, self.params, self.user), source, path),
        }
    }
}

/// The head of a call whose body may hold anything: what a template finds there makes no user id.
pub(super) struct AnyBody<'a, 'c>(pub(super) HeadScope<'a, 'c>);

impl Lookup for AnyBody<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Body | Source::Event => Some(Found::Text(Cow::Borrowed(NO_ID))),
            _ => self.0.find(source, path),
        }
    }
}

/// As [`AnyBody`], of a call of which a query parameter that is there twice says nothing either.
pub(super) struct AnyOfTwo<'a, 'c>(pub(super) AnyBody<'a, 'c>);

impl Lookup for AnyOfTwo<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if (self.0).0.caller.is_repeated(source, path) {
            return Some(Found::Text(Cow::Borrowed(NO_ID)));
        }
        self.0.find(source, path)
    }
}
