//! States of a few users, asked for at the application and at the shadow's target once nothing of
//! theirs is on its way (docs/parity.md). The application is asked twice: what differs between its
//! own two answers is noise.

use super::settings::StateSettings;
use super::stage::{Decided, Whose};
use crate::body::Body;
use crate::event::{Principal, UserId};
use crate::ingest::accept::copied::Copied;
use crate::migration::parity::{Batched, StateFinding, compare_states};
use crate::peer::Peer;
use crate::template::{Found, Lookup, Path, Source};
use crate::upstream::Upstream;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked whether a user is quiet.
const LOOK: Duration = Duration::from_secs(1);
/// Callers that are known to differ; where there are more, no further ones are looked at.
const MOST_SPOILED: usize = 65_536;
/// Longest state, bytes.
const MOST: usize = 1 << 20;
/// Longest time for one answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Headers of a call that its state isn't asked for with.
const LEFT_OUT: [header::HeaderName; 10] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// The callers whose states are looked at.
#[derive(Debug)]
pub(super) struct States {
    settings: Arc<StateSettings>,
    both: Arc<(Upstream, Upstream)>,
    watched: HashMap<Principal, Watched>,
    /// Callers of whom the target lacks something, or has something else.
    spoiled: HashSet<Principal>,
    is_busy: bool,
    look: Instant,
}

/// A caller.
#[derive(Debug)]
struct Watched {
    user: UserId,
    headers: HeaderMap,
    peer: Peer,
    last: Instant,
    /// Events without an outcome.
    pending: u64,
}

/// What was found of a caller's states.
#[derive(Debug)]
pub(super) struct Checked {
    principal: Principal,
    /// Its last call before it was looked at.
    last: Instant,
    found: Vec<Look>,
}

/// A path as it is configured, and what was found; `None`: a side had no answer.
pub(super) type Look = (String, Option<StateFinding>);

impl States {
    /// None, where no states are to be compared.
    pub(super) fn new(settings: StateSettings, both: Option<(Upstream, Upstream)>) -> Option<Self> {
        let both = both.filter(|_| !settings.paths.is_empty())?;
        Some(Self {
            settings: Arc::new(settings),
            both: Arc::new(both),
            watched: HashMap::new(),
            spoiled: HashSet::new(),
            is_busy: false,
            look: Instant::now(),
        })
    }

    /// Until it is time for [`check_next`](Self::check_next); for ever, where no states are compared.
    pub(super) async fn wait(states: Option<&Self>) {
        match states {
            Some(states) => tokio::time::sleep_until(states.look).await,
            None => std::future::pending().await,
        }
    }

    /// A call came.
    pub(super) fn see_call(
        &mut self,
        whose: &Whose,
        copied: &Copied,
        at: Instant,
        decided: &Decided,
    ) {
        let Some(user) = &whose.user else { return };
        // Another caller's calls for a user change what this one sees.
        let others: Vec<_> = self
            .watched
            .iter()
            .filter(|(principal, other)| **principal != whose.principal && other.user == *user)
            .map(|(principal, _)| *principal)
            .collect();
        for other in others {
            self.spoil(other);
            self.spoil(whose.principal);
        }
        if matches!(decided, Decided::Declined(_) | Decided::NotDrawn) {
            self.spoil(whose.principal);
        }
        if self.spoiled.contains(&whose.principal) {
            return;
        }
        let is_full = self.watched.len() >= self.settings.users;
        if is_full && !self.watched.contains_key(&whose.principal) {
            return;
        }
        let watched = self
            .watched
            .entry(whose.principal)
            .or_insert_with(|| Watched {
                user: user.clone(),
                headers: HeaderMap::new(),
                peer: copied.peer.clone(),
                last: at,
                pending: 0,
            });
        if watched.user != *user {
            return self.spoil(whose.principal);
        }
        watched.last = at;
        watched.headers.clone_from(&copied.parts.headers);
        if matches!(decided, Decided::Acknowledged(acknowledged) if !acknowledged.is_repetition) {
            watched.pending += 1;
        }
    }

    /// The target lacks something of this caller, or has something that the application hasn't:
    /// their states differ for good.
    pub(super) fn spoil(&mut self, principal: Principal) {
        self.watched.remove(&principal);
        if self.spoiled.len() < MOST_SPOILED {
            self.spoiled.insert(principal);
        } else {
            // Nobody is taken for whole who isn't.
            self.settings = Arc::new(StateSettings {
                users: 0,
                ..(*self.settings).clone()
            });
        }
    }

    /// An event of this caller has its outcome.
    pub(super) fn see_outcome(&mut self, principal: Principal, batched: &Batched) {
        if let Some(watched) = self.watched.get_mut(&principal) {
            watched.pending = watched.pending.saturating_sub(1);
        }
        if matches!(batched, Batched::Unanswered) {
            self.spoil(principal);
        }
    }

    /// A caller who is quiet, to be looked at, if there is one; one at a time.
    pub(super) fn check_next(&mut self, now: Instant) -> Option<Check> {
        self.look = now + LOOK;
        if self.is_busy {
            return None;
        }
        let quiet = self.settings.quiet;
        let is_quiet = |watched: &Watched| {
            watched.pending == 0 && now.saturating_duration_since(watched.last) >= quiet
        };
        let (principal, watched) = self.watched.iter().find(|(_, one)| is_quiet(one))?;
        self.is_busy = true;
        Some(Check {
            principal: *principal,
            last: watched.last,
            settings: Arc::clone(&self.settings),
            both: Arc::clone(&self.both),
            user: watched.user.clone(),
            headers: watched.headers.clone(),
            peer: watched.peer.clone(),
        })
    }

    /// What was found, if its caller has been quiet meanwhile.
    pub(super) fn end_check(&mut self, checked: Checked) -> Vec<Look> {
        self.is_busy = false;
        let Some(watched) = self.watched.get(&checked.principal) else {
            return Vec::new();
        };
        if watched.last != checked.last {
            return Vec::new();
        }
        self.watched.remove(&checked.principal);
        checked.found
    }
}

/// One look at a caller's states.
pub(super) struct Check {
    principal: Principal,
    last: Instant,
    settings: Arc<StateSettings>,
    both: Arc<(Upstream, Upstream)>,
    user: UserId,
    headers: HeaderMap,
    peer: Peer,
}

/// What a side says when it is asked for a state.
enum Seen {
    State(Value),
    /// It is there, and doesn't have it, or doesn't understand who asks for what.
    Refused(StatusCode),
    /// It didn't answer, or with nothing that can be compared.
    Nothing,
}

/// A refusal that is about the state: not one of the caller or of the moment.
fn is_told_of_state(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 408 | 425 | 429)
}

/// What a path is made of.
struct PathScope<'a>(&'a UserId);

impl Lookup for PathScope<'_> {
    fn find<'a>(&'a self, source: Source, _: &'a [Box<str>]) -> Option<Found<'a>> {
        let encoded = || utf8_percent_encode(self.0.as_str(), NON_ALPHANUMERIC).to_string();
        (source == Source::User).then(|| Found::Text(Cow::Owned(encoded())))
    }
}

impl Check {
    /// Asks both sides.
    pub(super) async fn run(self) -> Checked {
        Checked {
            principal: self.principal,
            last: self.last,
            found: self.compare().await,
        }
    }

    async fn compare(&self) -> Vec<Look> {
        let mut found = Vec::new();
        for template in &self.settings.paths {
            let finding = match template.render(&PathScope(&self.user)) {
                Some(path) => self.compare_at(&path).await,
                None => None,
            };
            found.push((template.source().to_owned(), finding));
        }
        found
    }

    /// What can't be had says nothing, and is counted: it is no proof either. A target that refuses
    /// what the application tells twice lacks it.
    async fn compare_at(&self, path: &str) -> Option<StateFinding> {
        let (application, target) = &*self.both;
        let first = self.ask(application, path).await;
        let candidate = self.ask(target, path).await;
        let second = self.ask(application, path).await;
        let ignore: &[Path] = &self.settings.ignore;
        let (Seen::State(first), Seen::State(second)) = (first, second) else {
            return None;
        };
        match candidate {
            Seen::State(candidate) => Some(compare_states([&first, &second], &candidate, ignore)),
            Seen::Refused(status) => Some(StateFinding::of_refused(&first, status.as_u16())),
            Seen::Nothing => None,
        }
    }

    async fn ask(&self, upstream: &Upstream, path: &str) -> Seen {
        let asking = self.read_state(upstream, path);
        let seen = tokio::time::timeout(WITHIN, asking).await;
        seen.ok().flatten().unwrap_or(Seen::Nothing)
    }

    async fn read_state(&self, upstream: &Upstream, path: &str) -> Option<Seen> {
        let mut request = Request::builder().method(Method::GET).uri(path);
        let headers = request.headers_mut()?;
        headers.clone_from(&self.headers);
        for name in LEFT_OUT {
            headers.remove(name);
        }
        let request = request.body(Body::empty()).ok()?;
        let answer = upstream.send_for(request, &self.peer).await.ok()?;
        let status = answer.status();
        if !status.is_success() {
            return is_told_of_state(status).then_some(Seen::Refused(status));
        }
        let body = Limited::new(answer.into_body(), MOST)
            .collect()
            .await
            .ok()?;
        let state = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some(Seen::State(state))
    }
}
