//! What a read asks for: its key, its tags, whose it is, and what its Cache-Control wishes.

use super::Read;
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
use crate::peer::Peer;
use crate::route::{CacheRoute, Params};
use crate::template::Source;
use crate::upstream::headers::{asks_upgrade, told_beside};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri, header};
use http_body::Body as _;
use std::borrow::Cow;

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
        beside: &[GroupIndex],
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
        if route.public && is_odd(parts.uri.path()) {
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
        let uri = uri(peer.https, &both_hosts(host, parts), &parts.uri, route);
        let mut uri = String::from(uri);
        if !self.identity.is_allowed_origin(caller) {
            // What such a page gets may depend on its origin, whether the application says so or
            // not.
            let origins = parts.headers.get_all(header::ORIGIN).iter();
            origins.for_each(|origin| add_field(&mut uri, "origin", origin.as_bytes()));
        }
        let fields = parts.headers.iter();
        for (name, value) in fields.filter(|(name, _)| says_what_was_asked(name)) {
            add_field(&mut uri, name.as_str(), value.as_bytes());
        }
        if let Some(told) = told_beside(&parts.headers, peer) {
            add_field(&mut uri, "forwarded", told.as_bytes());
        }
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
        beside: &[GroupIndex],
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
        let [groups, proves] = [&route.groups, &route.proves].map(|groups| with(groups, beside));
        let (asker, waiting) = self.asker(caller, &keys, params, &groups);
        // An event about another user, or one that touches a tag which isn't of one user, lies
        // under its own name.
        let of_one_user =
            !route.tags.is_empty() && route.tags.iter().all(|tag| tag.uses(Source::User));
        let writes_for_others = !of_one_user || asker.user != about;
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

/// A field that stands in a key beside the target. Written so that no other fields look the same.
fn add_field(uri: &mut String, name: &str, value: &[u8]) {
    uri.push_str(&format!(" {name}=\"{}\"", value.escape_ascii()));
}

/// Whether some applications read another path out of it: one that climbs, or has slashes within a
/// segment. What is declared of this path is no word on that one.
fn is_odd(path: &str) -> bool {
    if !path.contains(['%', '\\', ';']) && !path.contains("/.") {
        return false;
    }
    // Twice: some read an escape of an escape, too.
    let path = path.to_ascii_lowercase().replace("%25", "%");
    if path.contains('\\') || path.contains("%2f") || path.contains("%5c") {
        return true;
    }
    let path = path.replace("%2e", ".").replace("%3b", ";");
    path.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    })
}

/// Fields by which applications and their frameworks learn, instead of from the target and Host,
/// what was asked for: their answers name them in no Vary. What `X-Forwarded-Proto` and `-Host` of
/// a trusted proxy say is in the key already.
fn says_what_was_asked(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Some read `_` as `-`. What is spelled so is believed by no one here.
    let is_other_spelling = name.contains('_');
    let spelled = if is_other_spelling {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    };
    let name = &*spelled;
    let is_of_family = || {
        ["x-forwarded-", "x-original-", "x-rewrite-"]
            .iter()
            .any(|family| name.starts_with(family))
    };
    match name {
        "x-host"
        | "x-real-host"
        | "x-proxy-host"
        | "x-http-host-override"
        | "x-scheme"
        | "x-url-scheme"
        | "x-script-name"
        | "x-forwarded"
        | "front-end-https" => true,
        "x-forwarded-proto" | "x-forwarded-host" => is_other_spelling,
        // Where a call came from is no part of what it asks for.
        _ => is_of_family() && !name.ends_with("-for"),
    }
}

/// Both, each group once.
fn with(groups: &[GroupIndex], more: &[GroupIndex]) -> Vec<GroupIndex> {
    let mut all: Vec<_> = groups.iter().chain(more).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The host that was asked, in lower case; none if there is none, or what is there can't be one
/// (RFC 3986 §3.2.2).
pub(super) fn host(peer: &Peer) -> Option<&str> {
    let host = peer.host.as_deref()?;
    let is_odd =
        |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\');
    (!host.is_empty() && !host.bytes().any(is_odd)).then_some(host)
}

/// Behind a proxy that names the host beside `Host`, either may be the one that the application
/// goes by: both.
fn both_hosts<'a>(host: &'a str, parts: &'a Parts) -> Cow<'a, str> {
    let line = parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if line.is_empty() || line.eq_ignore_ascii_case(host.as_bytes()) {
        return Cow::Borrowed(host);
    }
    Cow::Owned(format!(
        "{host}\n{}",
        String::from_utf8_lossy(line).to_ascii_lowercase()
    ))
}

/// A key's URI: scheme, hosts and path, each with a line break after it, which none of them can
/// hold (the path begins with a slash, which no host has), and the query without the ignored parameters. The path is as it was sent: the application
/// may tell its spellings apart.
fn uri(https: bool, host: &str, target: &Uri, route: &CacheRoute) -> Box<str> {
    let query = target.query();
    let length = host.len() + target.path().len() + query.map_or(0, |query| query.len() + 1);
    let mut uri = String::with_capacity(8 + length);
    uri.push_str(if https { "https\n" } else { "http\n" });
    uri.push_str(host);
    uri.push('\n');
    uri.push_str(target.path());
    uri.push('\n');
    let mut gap = '?';
    for pair in kept_pairs(target, route) {
        uri.push(gap);
        uri.push_str(pair);
        gap = '&';
    }
    uri.into_boxed_str()
}

/// The parameters of a query that are part of a read's key.
pub(super) fn kept_pairs<'t>(target: &'t Uri, route: &CacheRoute) -> impl Iterator<Item = &'t str> {
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let is_ignored = route.ignore_query.iter().any(|ignored| **ignored == *name);
        // Some applications end a parameter at a semicolon too, so that this may hold another one.
        let may_hold_another = || pair.contains(';') || pair.to_ascii_lowercase().contains("%3b");
        !is_ignored || may_hold_another()
    };
    let query = target.query().into_iter();
    query.flat_map(|query| query.split('&')).filter(is_kept)
}
