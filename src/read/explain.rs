//! What the read path would do with a read, for `tidegate explain`: what it examines, and nothing of
//! what is stored.

use super::Read;
use super::ask::{Beside, Reader};
use super::key::kept_pairs;
use super::scope::ReadScope;
use crate::body::Body;
use crate::event::{GroupIndex, UserId};
use crate::identity::Caller;
use crate::peer::Peer;
use crate::route::{CacheRoute, Params, Routes};
use http::request::Parts;

/// What is said of a read.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    /// Why the cache has no part in it, by its one name.
    pub(crate) bypass: Option<&'static str>,
    /// What is stored for it serves other callers too.
    pub(crate) is_shared: bool,
    /// Whose data it reads.
    pub(crate) user: Option<UserId>,
    /// Names of the query's parameters that are part of its key.
    pub(crate) parameters: Vec<String>,
    /// Its tags; of one that the call doesn't tell, as it is written.
    pub(crate) tags: Vec<Result<String, String>>,
    /// Groups whose pending events of its user come first.
    pub(crate) groups: Vec<GroupIndex>,
}

impl Read {
    /// What would be done with a read without a body.
    pub(crate) fn explain(
        &self,
        parts: &Parts,
        peer: &Peer,
        (route, params): (&CacheRoute, &Params),
        routes: &Routes,
    ) -> ReadPlan {
        let caller = self.identity.caller(parts, peer, self.clock.now());
        let beside = Beside::of(routes, parts.uri.path());
        let examined = self.examine(&caller, &Body::empty(), (route, params), &beside);
        let (bypass, reader) = match examined {
            Ok(ask) => (None, ask.reader),
            Err((why, reader)) => (Some(why), *reader),
        };
        let Reader {
            groups, is_shared, ..
        } = reader;
        let user = self.user_read_about(&caller, params);
        let tags = name_tags(&caller, (route, params), user.as_ref());
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
        ReadPlan {
            bypass,
            is_shared,
            parameters: kept_pairs(&parts.uri, route).map(name).collect(),
            tags,
            user,
            groups,
        }
    }
}

fn name_tags(
    caller: &Caller<'_>,
    (route, params): (&CacheRoute, &Params),
    user: Option<&UserId>,
) -> Vec<Result<String, String>> {
    let scope = ReadScope {
        caller,
        params,
        user,
    };
    let tags = route.tags.iter();
    let named = tags.map(|tag| tag.render(&scope).ok_or_else(|| tag.source().to_owned()));
    named.collect()
}
