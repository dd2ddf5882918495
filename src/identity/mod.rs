//! Who calls: the caller's keys ([`keys`]), the user, and whether Tidegate may answer at all
//! (design §4 `[identity]`, rulings 10, 15 to 17 and 22 to 24).

mod answerable;
mod caller;
mod cors;
mod families;
mod head;
pub mod keys;
pub mod lists;
mod plain;
mod settings;
mod token;
mod verify;

pub use answerable::NotAnswerable;
pub use caller::{Caller, KnownHead};
pub use families::Families;
pub use keys::{CallerKeys, Reading};
pub use lists::Kind;
pub use settings::{Admit, Cors, Forbid, IdentitySettings, Need, Part, PartError, Selection};
pub use verify::{KeySetError, TokenVerifier};

use crate::event::{Context, Principal, Succession, UserId};
use crate::peer::Peer;
use crate::template::{Found, Lookup, Source, Template};
use cors::CorsHeaders;
use head::{Heads, Recalled, Said};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;
use token::Token;

/// What the cookies of an answer are to the session of the caller that it is relayed to (ruling
/// 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing: they renew no cookie that the caller is known by, or make another user of it.
    None,
    /// They renew it under the name that it has.
    SameName,
    /// They renew it, and its bearer is another principal from now on.
    Successor(Succession),
}

/// Reads callers as the settings say.
pub struct Identity {
    settings: IdentitySettings,
    /// Of the hashes that its keys are.
    key: [u8; 16],
    families: Families,
    cors: Option<CorsHeaders>,
    heads: Heads,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn is_unsafe(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

impl Identity {
    /// `key`: made on first start, stays with the data directory. `most`: principals whose
    /// successors are remembered.
    #[must_use]
    pub fn new(settings: IdentitySettings, key: [u8; 32], most: u64) -> Self {
        let cors = settings.cors.as_ref().map(CorsHeaders::new);
        let mut short = [0; 16];
        blake3::derive_key("tidegate 2026 caller keys", &key)
            .iter()
            .zip(&mut short)
            .for_each(|(from, to)| *to = *from);
        Self {
            settings,
            key: short,
            families: Families::new(most),
            cors,
            heads: Heads::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &IdentitySettings {
        &self.settings
    }

    /// A call's head at a time of day.
    #[must_use]
    pub fn caller<'a>(&self, parts: &'a Parts, peer: &'a Peer, now: SystemTime) -> Caller<'a> {
        let place = self.heads.find_place(parts, peer);
        if let Some(recalled) = self.heads.recall(place, parts, peer) {
            let Recalled {
                said,
                is_same,
                number,
            } = recalled;
            return Caller {
                number,
                ..Caller::new((parts, peer), now, said, is_same)
            };
        }
        let mut caller = Caller::new((parts, peer), now, Arc::default(), true);
        let mut found = self
            .settings
            .token
            .iter()
            .flat_map(|part| caller.tokens(part));
        let first = found.next();
        // Which of them the application reads is not known: none speaks for the caller (ruling 16).
        // Nor is it known what the application makes of an Authorization that is no Bearer token,
        // where a token stands elsewhere too.
        let judged = self
            .settings
            .token
            .contains(&Part::Header(header::AUTHORIZATION));
        let differ = first.is_some_and(|first| {
            found.any(|other| other != first) || judged && caller.has_odd_authorization()
        });
        let token = first.filter(|_| !differ).and_then(Token::parse);
        drop(found);
        if token.is_some() || differ {
            caller.said = Arc::new(Said {
                token,
                has_several_tokens: differ,
                ..Said::default()
            });
        }
        self.heads
            .remember(place, (parts, peer), &caller.said, |name| {
                self.settings.is_free(name)
            });
        caller
    }

    /// Forgets the heads that are remembered.
    pub fn forget_heads(&self) {
        self.heads.clear();
    }

    /// Another number whenever a caller may have other keys than before: what depends on keys is of
    /// the version that was read before them.
    #[must_use]
    pub fn keys_version(&self) -> u64 {
        self.families.version()
    }

    /// The CORS headers of an answer of ours to this request.
    pub fn cors_headers(
        &self,
        headers: &HeaderMap,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.cors.iter().flat_map(|cors| cors.for_request(headers))
    }

    /// The user of a call, as its events have it.
    #[must_use]
    pub fn user(&self, scope: &impl Lookup) -> Option<UserId> {
        self.user_by(&self.settings.user, scope)
    }

    /// The user that this template names.
    #[must_use]
    pub fn user_by(&self, template: &Template, scope: &impl Lookup) -> Option<UserId> {
        let name = self.spelled(template.text(scope)?);
        UserId::try_new(&name).ok()
    }

    /// As [`user`](Self::user), of an event of this caller, whose user is remembered with its head.
    #[must_use]
    pub fn user_of(&self, caller: &Caller<'_>, scope: &impl Lookup) -> Option<UserId> {
        let name = self.spelled(self.settings.user.text(scope)?);
        let mut last = caller.said.user.lock();
        if let Some(user) = last.as_ref().filter(|user| user.as_str() == name) {
            return Some(user.clone());
        }
        let user = UserId::try_new(&name).ok()?;
        *last = Some(user.clone());
        Some(user)
    }

    /// A user's name as events have it.
    #[must_use]
    pub fn spelled<'n>(&self, name: Cow<'n, str>) -> Cow<'n, str> {
        if self.settings.lowercase_user {
            name.to_lowercase().into()
        } else {
            name
        }
    }

    fn user_text(&self, scope: &impl Lookup) -> Option<String> {
        let name = self.settings.user.text(scope)?;
        Some(self.spelled(name).into_owned())
    }

    /// The user that a caller's own token names, if `identity.user` looks into it.
    #[must_use]
    pub fn claimed<'c>(&self, caller: &'c Caller<'_>) -> Option<&'c str> {
        caller.said.token.as_ref()?;
        let claimed = || self.user_text(&OfToken(caller)).map(String::into_boxed_str);
        caller.said.claimed.get_or_init(claimed).as_deref()
    }

    /// What the caller's token is counted by, where it names the user: a hash of it alone, whatever
    /// stands beside it.
    #[must_use]
    pub fn claiming_token(&self, caller: &Caller<'_>) -> Option<Principal> {
        self.claimed(caller)?;
        let hash = || {
            let token = self.token_of(caller)?;
            Some(self.hash_token(token))
        };
        *caller.said.token_hash.get_or_init(hash)
    }

    /// What stands first where a token is looked for.
    fn token_of<'c>(&self, caller: &Caller<'c>) -> Option<&'c str> {
        let mut parts = self.settings.token.iter();
        parts.find_map(|part| caller.tokens(part).into_iter().next())
    }

    /// The user that the address of a call names (its query or path), whatever its token says: an
    /// administrator's read of a user is about that user (ruling 17).
    #[must_use]
    pub fn named_in(&self, scope: &impl Lookup) -> Option<String> {
        self.user_text(&OfAddress(scope))
    }

    /// The user that an event itself names.
    #[must_use]
    pub fn named_by_event(&self, scope: &impl Lookup) -> Option<String> {
        self.user_text(&OfEvent(scope))
    }

    /// An answer that is relayed to this caller sets cookies: whoever comes back with them is the
    /// same principal (ruling 24). `good`: the principal is known to be good.
    pub fn renew<'h>(
        &self,
        caller: &Caller<'_>,
        set: impl Iterator<Item = &'h HeaderValue>,
        good: bool,
    ) -> Renewal {
        let now = self.caller_keys(caller, None);
        if now.keys.nameless {
            return Renewal::None;
        }
        // A cookie that it didn't have before begins a session and renews none: what many callers
        // share until they sign in (a consent, say) must not make one principal of them.
        let set: Vec<_> = self
            .sessions(set)
            .filter(|(name, _)| caller.cookie(name).is_some())
            .collect();
        if set.is_empty() {
            return Renewal::None;
        }
        let others = caller
            .cookies()
            .filter(|(name, _)| set.iter().all(|(new, _)| new != name));
        let pairs = others
            .chain(set.iter().copied())
            .map(|(name, value)| format!("{name}={value}"));
        let Ok(line) = HeaderValue::try_from(pairs.collect::<Vec<_>>().join("; ")) else {
            return Renewal::None;
        };
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = caller.parts.headers.clone();
        parts.headers.insert(header::COOKIE, line);
        let renewed = self.caller(&parts, caller.peer, caller.now);
        let next = self.caller_keys(&renewed, None);
        // A token that names another user is no renewal: another one has signed in.
        if self.claimed(&renewed) != self.claimed(caller) {
            return Renewal::None;
        }
        if next.keys.principal == now.keys.principal {
            return Renewal::SameName;
        }
        Renewal::Successor(self.families.succeed(next.bearer, now.bearer, good))
    }

    /// Whom the bearer that was read counts as; `None`: it succeeded no other principal.
    #[must_use]
    pub fn succession(&self, keys: &CallerKeys) -> Option<Succession> {
        let bearer = keys.bearer;
        (keys.keys.principal != bearer || self.families.known(bearer) != bearer)
            .then(|| self.families.succession(bearer))
    }

    /// A journal kept whom this bearer counts as.
    pub fn restore(&self, succession: &Succession) {
        self.families.restore(succession);
    }

    /// Whether an answer with these Set-Cookie lines renews what its caller is known by.
    pub fn is_renewal<'h>(&self, set: impl Iterator<Item = &'h HeaderValue>) -> bool {
        self.sessions(set).next().is_some()
    }

    /// Whether an answer to a call with these headers sets a cookie that tells who calls, of a name
    /// that the call had none of, where no token told who called: a key or a password may be many
    /// callers'.
    #[must_use]
    pub fn begins_session(&self, asked: &HeaderMap, answer: &HeaderMap) -> bool {
        let is_token = |line: &HeaderValue| {
            caller::behind_scheme(line.as_bytes(), b"Bearer ")
                .is_some_and(|token| !keys::is_placeholder(token))
        };
        let has_token = || {
            let counts = self.settings.selection.header(&header::AUTHORIZATION);
            counts == Kind::Principal && asked.get(header::AUTHORIZATION).is_some_and(is_token)
        };
        let has_sent = |name: &str| {
            let lines = asked.get_all(header::COOKIE).iter();
            let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
            pairs.any(|pair| {
                let sent = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
                sent.trim_ascii() == name.as_bytes()
            })
        };
        let mut set = self.sessions(answer.get_all(header::SET_COOKIE).iter());
        set.any(|(name, _)| !has_sent(name)) && !has_token()
    }

    /// Whether a call had a cookie that may be renewed: one of its context, or one that rolls and
    /// travels beside it.
    #[must_use]
    pub fn has_session(&self, context: &Context, carried: &[u8]) -> bool {
        let line = std::str::from_utf8(carried).unwrap_or_default();
        let names = line
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, _)| name.trim());
        let mut kinds = names.map(|name| self.settings.selection.cookie(name));
        !context.said().cookies.is_empty() || kinds.any(|kind| kind == Kind::Rolling)
    }

    /// Cookies that are set and tell who calls.
    fn sessions<'h>(
        &self,
        set: impl Iterator<Item = &'h HeaderValue>,
    ) -> impl Iterator<Item = (&'h str, &'h str)> {
        let tells = |name: &str| {
            matches!(
                self.settings.selection.cookie(name),
                Kind::Principal | Kind::Rolling
            )
        };
        set.filter_map(families::kept_cookie)
            .filter(move |(name, _)| tells(name))
    }

    /// The head that a context makes, for templates that look at what all its calls share.
    #[must_use]
    pub fn head_of(context: &Context) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        let said = context.said();
        parts.headers = said.header_map(1);
        if !said.cookies.is_empty()
            && let Ok(line) = HeaderValue::try_from(said.cookies.join("; "))
        {
            parts.headers.insert(header::COOKIE, line);
        }
        parts
    }
}

/// What a token says, and nothing else.
struct OfToken<'a, 'c>(&'a Caller<'c>);

impl Lookup for OfToken<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if source == Source::Jwt {
            self.0.look(source, path)
        } else {
            None
        }
    }
}

/// What an address says, and nothing else.
struct OfAddress<'a, L>(&'a L);

impl<L: Lookup> Lookup for OfAddress<'_, L> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if matches!(source, Source::Query | Source::Path) {
            self.0.find(source, path)
        } else {
            None
        }
    }
}

/// What an event says, and nothing else.
struct OfEvent<'a, L>(&'a L);

impl<L: Lookup> Lookup for OfEvent<'_, L> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if matches!(source, Source::Event | Source::Body) {
            self.0.find(source, path)
        } else {
            None
        }
    }
}

/// Principals by principal: what another one was before its session was renewed.
pub(crate) type Predecessors = moka::sync::Cache<Principal, Principal>;

#[cfg(test)]
mod tests;
