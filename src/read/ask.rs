//! What a read asks for: its key, its tags, whose it is, and what its Cache-Control wishes.

use super::Read;
use super::key::{self, host};
use super::scope::{ReadScope, user_of};
use crate::body::Body;
use crate::cache::policy::invalidate;
use crate::cache::policy::precondition;
use crate::cache::policy::reuse::Wishes;
use crate::cache::policy::storable::Audience;
use crate::cache::store::Key;
use crate::cache::tags::Waiting;
use crate::event::{GroupIndex, Keys, Owner, Tag, UserId};
use crate::identity::{Caller, NotAnswerable};
use crate::ingest::Asker;
use crate::route::{CacheRoute, Params, Routes};
use crate::upstream::headers::asks_upgrade;
use http_body::Body as _;

/// Longer targets are not cached, bytes.
const MAX_TARGET: usize = 4096;
/// A read whose key would have a longer URI, with the fields that stand in it, is not stored, bytes.
const MAX_URI: usize = 8192;

/// Who reads, and which pending events come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    /// Whose lanes are the reader's.
    pub(super) asker: Asker,
    /// Its principal's own lanes may be under other users' names than the asker's: all of them are
    /// meant.
    pub(super) writes_for_others: bool,
    pub(super) keys: Keys,
    /// The route's tags, and that of the URI.
    pub(super) tags: Vec<Tag>,
    /// The route has more tags, of which this call doesn't tell.
    pub(super) is_untold: bool,
    /// What is stored for it serves other callers too.
    pub(super) is_shared: bool,
    /// Whose pending events concern the reader: its principal's, and those of the user that its
    /// token names.
    pub(super) waiting: Waiting,
    /// Groups whose events may touch what it reads.
    pub(super) groups: Vec<GroupIndex>,
    /// Of those the ones in which an answer speaks for the reader: whose read it is for certain, by
    /// its tags or its path.
    pub(super) proves: Vec<GroupIndex>,
}

/// Groups whose events come over the path of a read.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// As it is spelled.
    pub(super) exact: Vec<GroupIndex>,
    /// In any spelling that an application may take for the same.
    pub(super) loose: Vec<GroupIndex>,
}

impl Beside {
    pub(super) fn of(routes: &Routes, path: &str) -> Self {
        Self {
            exact: routes.groups_at(path),
            loose: routes.groups_around(&invalidate::loose_path(path)),
        }
    }
}

/// A read that may use the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) key: Key,
    pub(super) reader: Reader,
    pub(super) audience: Audience,
    /// Nothing of it could be a key that tells who calls.
    pub(super) is_plain: bool,
    pub(super) wishes: Wishes,
    /// It has a condition, or is for a part.
    pub(super) conditional: bool,
    /// It comes from a page of another origin, which `[cors]` doesn't allow.
    pub(super) is_foreign: bool,
}

impl Ask {
    /// Whether both ask for the same, of the same caller; what its standing is by now doesn't count.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let mut copy = self.clone();
        copy.reader.asker = other.reader.asker.clone();
        copy == *other
    }
}

/// Why the cache is passed by.
pub(super) type Bypass = &'static str;

impl Read {
    /// What is read, and whether the cache may answer it. Either way the reader's own writes come
    /// first.
    ///
    /// # Errors
    /// The cache has no part in it.
    pub(super) fn examine(
        &self,
        caller: &Caller<'_>,
        body: &Body,
        (route, params): (&CacheRoute, &Params),
        beside: &Beside,
    ) -> Result<Ask, (Bypass, Box<Reader>)> {
        let reader = self.reader(caller, (route, params), beside);
        let uri = match self.answerable(caller, body, route, &reader) {
            Ok(uri) => uri,
            Err(why) => return Err((why, Box::new(reader))),
        };
        let view = || self.identity.stored_view(caller, &reader.keys);
        Ok(Ask {
            // Callers without a name share what the application lets a shared cache store (P8).
            key: Key {
                uri,
                view: (!reader.is_shared).then(view),
                rule: route.index,
            },
            audience: self.audience(caller, route, reader.keys.nameless),
            is_plain: self.identity.is_plain(caller),
            reader,
            wishes: Wishes::of(&caller.parts().headers),
            conditional: precondition::is_conditional(&caller.parts().headers),
            is_foreign: !self.identity.is_allowed_origin(caller),
        })
    }

    /// The URI of a read's key.
    ///
    /// # Errors
    /// The application is to be asked, and what it answers is not to be stored.
    fn answerable(
        &self,
        caller: &Caller<'_>,
        body: &Body,
        route: &CacheRoute,
        reader: &Reader,
    ) -> Result<Box<str>, Bypass> {
        self.identity
            .readable(caller)
            .map_err(NotAnswerable::as_str)?;
        let (parts, peer) = (caller.parts(), caller.peer());
        if !body.is_end_stream() {
            return Err("body");
        }
        if precondition::is_for_the_application(&parts.headers) {
            return Err("conditional");
        }
        if asks_upgrade(parts) {
            return Err("upgrade");
        }
        if parts
            .uri
            .path_and_query()
            .is_some_and(|path| path.as_str().len() > MAX_TARGET)
        {
            return Err("long-target");
        }
        if route.public && key::is_odd(parts.uri.path(), &route.path) {
            return Err("odd-path");
        }
        if !route.public && self.identity.has_unlisted_key(caller) {
            return Err("unlisted-key");
        }
        let host = host(peer).ok_or("no-host")?;
        if reader.is_untold {
            return Err(if self.names_its_subject_twice(caller, route) {
                "repeated-parameter"
            } else {
                "no-tag"
            });
        }
        let is_foreign = !self.identity.is_allowed_origin(caller);
        let uri = key::write_uri((parts, peer), host, route, is_foreign);
        if uri.len() > MAX_URI {
            return Err("long-target");
        }
        Ok(uri.into())
    }

    /// Whether a query parameter that names the read's user, or goes into one of its tags, is there
    /// twice: the application may read either of them.
    fn names_its_subject_twice(&self, caller: &Caller<'_>, route: &CacheRoute) -> bool {
        let is_twice = |source, path: &[Box<str>]| caller.is_repeated(source, path);
        let has_several = caller
            .parts()
            .uri
            .query()
            .is_some_and(|query| query.contains('&'));
        has_several
            && (route.tags.iter())
                .chain([&self.identity.settings().user])
                .any(|template| template.looks(&is_twice))
    }

    /// The reader, and which pending events come first.
    fn reader(
        &self,
        caller: &Caller<'_>,
        (route, params): (&CacheRoute, &Params),
        beside: &Beside,
    ) -> Reader {
        let keys = self.identity.keys(caller, None);
        let about = self.user_read_about(caller, params);
        let (mut tags, mut is_untold) = self.tagged(caller, route, params, about.as_ref());
        is_untold |= self.names_its_subject_twice(caller, route);
        let path = caller.parts().uri.path();
        let is_shared = route.public || self.identity.is_anyone(caller, keys.nameless);
        if let Some(host) = host(caller.peer()) {
            let resource = invalidate::resource(host, path);
            let own = if is_shared {
                Tag::shared(&resource)
            } else {
                Tag::own(&resource, keys.principal)
            };
            // What writes make old for all callers, and what events do for their own.
            tags.extend([Tag::new(&resource), own]);
        }
        let around = &with(&beside.exact, &beside.loose);
        let (groups, proves) = (
            with(&route.groups, around),
            with(&route.proves, &beside.exact),
        );
        let (asker, waiting) = self.asker(caller, &keys, params, &groups);
        // An event about another user, or one that touches a tag which isn't of one user, lies
        // under its own name.
        // What comes over its own address touches it whomever it names.
        let writes_for_others = !route.of_own_user || !around.is_empty() || asker.user != about;
        let user = asker.user.filter(|_| !writes_for_others || asker.joins);
        let asker = Asker { user, ..asker };
        Reader {
            asker,
            writes_for_others,
            keys,
            is_shared,
            tags,
            is_untold,
            waiting,
            groups,
            proves,
        }
    }

    /// The user that the address names, else the caller's own (ruling 17).
    pub(super) fn user_read_about(&self, caller: &Caller<'_>, params: &Params) -> Option<UserId> {
        let scope = ReadScope {
            caller,
            params,
            user: None,
        };
        let named = self
            .identity
            .named_in(&scope)
            .and_then(|text| UserId::try_new(&text).ok());
        named.or_else(|| user_of(&self.identity, caller, params))
    }

    /// The route's tags, of the user that it reads about; and whether there are more, of which
    /// nothing tells.
    fn tagged(
        &self,
        caller: &Caller<'_>,
        route: &CacheRoute,
        params: &Params,
        user: Option<&UserId>,
    ) -> (Vec<Tag>, bool) {
        // Room for the URI's own tags.
        let mut tags = Vec::with_capacity(route.tags.len() + 2);
        if route.tags.is_empty() {
            return (tags, false);
        }
        let scope = ReadScope {
            caller,
            params,
            user,
        };
        tags.extend(
            route
                .tags
                .iter()
                .filter_map(|tag| tag.render(&scope))
                .map(|name| Tag::new(&name)),
        );
        let is_untold = tags.len() < route.tags.len();
        (tags, is_untold)
    }

    /// The reader as its lanes know it, and whose pending events concern it.
    fn asker(
        &self,
        caller: &Caller<'_>,
        keys: &Keys,
        params: &Params,
        groups: &[GroupIndex],
    ) -> (Asker, Waiting) {
        let claimed = self
            .identity
            .claimed(caller)
            .and_then(|text| UserId::try_new(text).ok());
        let user = claimed
            .clone()
            .or_else(|| user_of(&self.identity, caller, params));
        let good = |group: &GroupIndex| self.callers.reputation().is_good(keys.principal, *group);
        let joins = claimed.is_some() && groups.iter().any(good);
        let Keys {
            principal,
            realm,
            view,
            ..
        } = *keys;
        let waiting = match &claimed {
            Some(user) => Waiting::of(
                &Owner {
                    principal,
                    realm,
                    view,
                    claimed: true,
                },
                user,
            ),
            None => Waiting::of_principal(principal),
        };
        (
            Asker {
                principal,
                realm,
                user,
                joins,
            },
            waiting,
        )
    }

    /// A principal's own only if the key holds everything that authorizes it.
    fn audience(&self, caller: &Caller<'_>, route: &CacheRoute, nameless: bool) -> Audience {
        let own = !route.public && self.identity.is_personal(caller, nameless);
        if own {
            Audience::Personal
        } else {
            Audience::Shared
        }
    }
}

/// Both, each group once.
fn with(groups: &[GroupIndex], more: &[GroupIndex]) -> Vec<GroupIndex> {
    let mut all: Vec<_> = groups.iter().chain(more).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
