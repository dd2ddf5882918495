//! What a forwarded call would be as an event: whose lanes it must not overtake, and what it makes
//! old.

use super::call::Scope;
use super::checks::find_subject;
use super::mapping::Writer;
use crate::event::{EventId, Subject, UserId};
use crate::identity::Identity;
use crate::ingest::settings::{Group, Keep};
use crate::json;
use crate::route::EventRoute;

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

/// What a call would touch if it were an event of the group, without the other checks. `route`: its
/// mapping; none for an element of a client's own batch.
#[must_use]
pub fn preview<'a>(
    identity: &Identity,
    route: Option<&'a EventRoute>,
    group: &'a Group,
    scope: &Scope<'a, '_>,
) -> Option<Preview> {
    let mut writer = Writer::new(group, false, scope.body.map_or(0, |(text, _)| text.len()));
    match route.and_then(|route| route.event.as_ref()) {
        Some(mapping) => writer
            .write_mapping(mapping, scope.body.map(|(_, object)| object), scope)
            .ok()?,
        None => writer.write_as_given(scope.body?.1).ok()?,
    }
    let draft = writer.draft;
    let scope = Scope {
        event: Some(draft.view()),
        call: scope.call,
        body: scope.body,
        user: None,
    };
    let user = identity.user(&scope)?;
    let scope = Scope {
        user: Some(&user),
        ..scope
    };
    let names = group
        .invalidates
        .iter()
        .filter_map(|tag| tag.render(&scope))
        .collect();
    let named = draft
        .raw(&group.id_field)
        .and_then(json::string)
        .and_then(|id| EventId::try_new(&id).ok());
    let id = named.or_else(|| EventId::try_new(scope.call.request_id).ok());
    let state = find_subject(group, &scope)
        .filter(|_| group.is_single() && group.keep == Keep::Newest)
        .zip(id);
    Some(Preview { user, names, state })
}
