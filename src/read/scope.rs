//! What templates of a read can see, and the user of a call without a body.

use crate::event::UserId;
use crate::identity::{Caller, Identity};
use crate::route::Params;
use crate::template::{Found, Lookup, Source};
use std::borrow::Cow;

/// What templates of a read can see.
pub(super) struct ReadScope<'a, 'c> {
    /// The call.
    pub caller: &'a Caller<'c>,
    /// Named segments of the path.
    pub params: &'a Params,
    /// The user, once known.
    pub user: Option<&'a UserId>,
}

impl Lookup for ReadScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        find_in_head((self.caller, self.params, self.user), source, path)
    }
}

/// What a template finds in the head of a call: its caller, the named segments of its path, and its
/// user, if that is known.
pub fn find_in_head<'a>(
    (caller, params, user): (&'a Caller<'_>, &'a Params, Option<&'a UserId>),
    source: Source,
    path: &'a [Box<str>],
) -> Option<Found<'a>> {
    match source {
        Source::User => user.map(|user| Found::Text(Cow::Borrowed(user.as_str()))),
        Source::Path => params
            .get(path.first()?)
            .map(|text| Found::Text(Cow::Borrowed(text))),
        _ => caller.look(source, path),
    }
}

/// The user of a call without a body.
#[must_use]
pub fn user_of(identity: &Identity, caller: &Caller<'_>, params: &Params) -> Option<UserId> {
    let scope = ReadScope {
        caller,
        params,
        user: None,
    };
    identity.user(&scope)
}
