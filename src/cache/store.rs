//! Stored responses: moka, weighed in bytes, each with an expiry of its own; and one flight per
//! missing key.
//!
//! A key has variants, newest first (RFC 9111 §4.1). What is read is decided by
//! [`policy`](super::policy) with a clock that tests can move; moka's own expiry only throws away
//! what nobody could use any more.

use super::policy::fields;
use super::policy::freshness::Terms;
use super::policy::parts::{self, Parts};
use super::policy::vary::{self, Fit, Selecting};
use super::settings::CacheSettings;
use super::tags::Generations;
use crate::event::{ReadIndex, View};
use crate::memory::Lease;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Variants kept under one key; the oldest goes first.
const MAX_VARIANTS: usize = 32;
/// How long a response is kept after it became stale: to be validated, or to stand in for an error.
const KEPT_STALE: Duration = Duration::from_secs(3_600);
/// How long a key of no storable response is known: its readers don't queue for one another.
const SHUNNED: Duration = Duration::from_secs(10);
const MAX_SHUNNED: u64 = 10_000;

/// What a stored response is found under. Without a view only for routes declared public (P8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Scheme, host in lower case, path as it was sent, and the query without ignored parameters;
    /// the first three each end with a line break, which none of them can hold. The tag that a
    /// write moves has a name of its own ([`resource`](super::policy::invalidate::resource)).
    pub uri: Box<str>,
    /// Whose response it is.
    pub view: Option<View>,
    /// The rule that it was stored by: no other one finds it.
    pub rule: ReadIndex,
}

/// Requests of which origin a stored response is for, besides its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Any: its CORS headers are made anew for each request.
    Any,
    /// This one, and requests without Origin: it carries no Access-Control-Allow-Origin, but might
    /// for another.
    OwnOrNone(Option<Box<[u8]>>),
    /// This one only: it carries an Access-Control-Allow-Origin.
    Own(Option<Box<[u8]>>),
}

impl Origins {
    fn has(&self, asked: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::OwnOrNone(own) => asked.is_none() || asked == own.as_deref(),
            Self::Own(own) => asked == own.as_deref(),
        }
    }
}

/// A stored response.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its status; 206 while only some of its bytes are stored.
    pub status: StatusCode,
    /// Its head as it is served, without Age.
    pub headers: HeaderMap,
    /// Its body; empty where `parts` is there.
    pub body: Bytes,
    /// What of its body is there, if that isn't all.
    pub parts: Option<Parts>,
    /// Generations of its tags when it was asked for.
    pub generations: Generations,
    /// When it came, or was confirmed.
    pub stored_at: Instant,
    /// How it may be used.
    pub terms: Terms,
    /// The request's fields that it varies by.
    pub vary: Selecting,
    /// Requests of which origin it is for.
    pub origins: Origins,
}

impl Entry {
    /// Its current age (RFC 9111 §4.2.3).
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        self.terms
            .initial_age
            .saturating_add(now.saturating_duration_since(self.stored_at))
    }

    fn fit(&self, asked: &mut dyn FnMut(&HeaderName) -> Option<Box<[u8]>>) -> Fit {
        let origin = if self.origins == Origins::Any {
            None
        } else {
            asked(&header::ORIGIN)
        };
        if self.origins.has(origin.as_deref()) {
            vary::fit(&self.vary, &self.headers, asked)
        } else {
            Fit::Not
        }
    }

    fn is_variant_of(&self, other: &Self) -> bool {
        self.vary == other.vary && self.origins == other.origins
    }

    /// A part put together with what is stored of the same representation (RFC 9111 §3.4).
    /// INVARIANT: only if no tag has moved since that was asked for.
    fn combined(self, stored: &Self, most: usize) -> Self {
        let Some(part) = &self.parts else { return self };
        if !parts::is_same(&self.headers, &stored.headers)
            || !self.generations.are_unmoved_from(&stored.generations)
        {
            return self;
        }
        let known = match &stored.parts {
            Some(parts) => parts.join(part),
            None => part.join_whole(&stored.body),
        };
        let Some(joined) = known.filter(|joined| joined.len() <= most) else {
            return self;
        };
        let mut headers = fields::merged(&stored.headers, &self.headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(joined.total()));
        match joined.whole() {
            Some(body) => Self {
                status: StatusCode::OK,
                headers,
                body,
                parts: None,
                ..self
            },
            None => Self {
                headers,
                parts: Some(joined),
                ..self
            },
        }
    }

    fn weight(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum();
        let vary: usize = self
            .vary
            .iter()
            .map(|(_, value)| value.as_ref().map_or(0, |value| value.len()) + 64)
            .sum();
        let parts = self.parts.as_ref().map_or(0, Parts::len);
        self.body.len() + parts + headers + vary + 256
    }

    /// How long it is worth keeping from the moment it came.
    fn worth(&self) -> Duration {
        let terms = &self.terms;
        let stale = KEPT_STALE
            .max(terms.stale_if_error)
            .max(terms.stale_while_revalidate);
        let stale = stale.max(terms.stale_if_unreachable);
        terms
            .lifetime
            .saturating_sub(terms.initial_age)
            .saturating_add(stale)
    }
}

/// The variants under a key, newest first; never empty.
type Variants = Arc<[Arc<Entry>]>;

/// What the store has for a request.
#[derive(Debug)]
pub enum Found {
    /// Nothing under its key.
    Nothing,
    /// Only variants for other requests.
    OtherVariants,
    /// The newest variant for it, fresh or not, of whatever generation.
    Entry(Arc<Entry>),
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Served from the store.
    pub hits: AtomicU64,
    /// Those of them that were stale, and are asked for again.
    pub stale: AtomicU64,
    /// Asked of the application, and could have been stored.
    pub misses: AtomicU64,
    /// Passed by.
    pub bypasses: AtomicU64,
    /// Put into the store.
    pub stored: AtomicU64,
}

/// The store.
pub struct Store {
    entries: moka::sync::Cache<Key, Variants>,
    /// Keys whose last response could not be used again, by their hash, until when.
    shunned: moka::sync::Cache<u64, Instant>,
    shun: RandomState,
    /// Keys that somebody is asking for; bounded by the number of connections. A plain lock: held
    /// for one look-up.
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
    /// Bytes of responses that are just being stored.
    filling: AtomicU64,
    settings: CacheSettings,
    /// Counters.
    pub counts: Counts,
}

/// Leads a flight; its end wakes the followers, whatever way it comes.
pub struct Lead {
    store: Arc<Store>,
    key: Key,
    // Dropping it wakes the followers.
    _done: watch::Sender<()>,
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.store.flights.lock().remove(&self.key);
    }
}

/// A place in a flight.
pub enum Flight {
    /// Go and ask.
    Lead(Lead),
    /// Somebody asks already; this ends when they are done.
    Follow(watch::Receiver<()>),
}

/// Bytes of a response that is being stored, counted until it is or isn't.
pub struct Room {
    store: Arc<Store>,
    taken: u64,
    lease: Lease,
}

impl Room {
    /// Room for more bytes, in a buffer of this capacity; `false`: there is none.
    pub fn grow(&mut self, by: usize, capacity: usize) -> bool {
        let by = by as u64;
        let before = self.store.filling.fetch_add(by, Ordering::Relaxed);
        self.taken += by;
        before + by <= self.store.settings.max_bytes
            && self.taken <= self.store.settings.max_object as u64
            && self.lease.resize(capacity).is_ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.filling.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Throws away what nobody could use any more.
struct Expiry;

impl moka::Expiry<Key, Variants> for Expiry {
    #[expect(
        clippy::disallowed_types,
        reason = "moka's clock; only housekeeping depends on it"
    )]
    fn expire_after_create(
        &self,
        _: &Key,
        variants: &Variants,
        _: std::time::Instant,
    ) -> Option<Duration> {
        variants.iter().map(|entry| entry.worth()).max()
    }

    #[expect(
        clippy::disallowed_types,
        reason = "moka's clock; only housekeeping depends on it"
    )]
    fn expire_after_update(
        &self,
        _: &Key,
        variants: &Variants,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        variants.iter().map(|entry| entry.worth()).max()
    }
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let weigh = |key: &Key, variants: &Variants| {
            let weight =
                variants.iter().map(|entry| entry.weight()).sum::<usize>() + key.uri.len() + 128;
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder()
            .max_capacity(settings.max_bytes)
            .weigher(weigh)
            .expire_after(Expiry);
        let shunned = moka::sync::Cache::builder()
            .max_capacity(MAX_SHUNNED)
            .time_to_live(SHUNNED);
        Self {
            entries: entries.build(),
            shunned: shunned.build(),
            shun: RandomState::new(),
            flights: Mutex::default(),
            filling: AtomicU64::new(0),
            settings,
            counts: Counts::default(),
        }
    }

    /// What there is for a request with these fields, as the application would be sent them and as
    /// [`vary::value`] reads them. Of several variants the newest that the request asks for in the
    /// same words comes first.
    #[must_use]
    pub fn get(&self, key: &Key, asked: &mut dyn FnMut(&HeaderName) -> Option<Box<[u8]>>) -> Found {
        let Some(variants) = self.entries.get(key) else {
            return Found::Nothing;
        };
        let mut found = None;
        for entry in variants.iter() {
            match entry.fit(asked) {
                Fit::Same => return Found::Entry(Arc::clone(entry)),
                Fit::Equivalent => found = found.or(Some(entry)),
                Fit::Not => {}
            }
        }
        found.map_or(Found::OtherVariants, |entry| {
            Found::Entry(Arc::clone(entry))
        })
    }

    /// Stores a response in the place of the one for the same requests; a part is put together with
    /// what is stored of the same representation.
    pub fn put(&self, key: &Key, entry: Entry) {
        self.entries.entry_by_ref(key).and_upsert_with(|before| {
            let before = before.map(moka::Entry::into_value);
            let (same, others): (Vec<_>, Vec<_>) = before
                .iter()
                .flat_map(|variants| variants.iter())
                .partition(|other| other.is_variant_of(&entry));
            let entry = match same.first() {
                Some(stored) => entry.combined(stored, self.settings.max_object),
                None => entry,
            };
            let others = others.into_iter().take(MAX_VARIANTS - 1).cloned();
            std::iter::once(Arc::new(entry)).chain(others).collect()
        });
        self.counts.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets everything under a key: the application has said something else since.
    pub fn remove(&self, key: &Key) {
        self.entries.invalidate(key);
    }

    /// Remembers that this key's response can't be used again without asking.
    pub fn shun(&self, key: &Key, now: Instant) {
        self.shunned.insert(self.shun.hash_one(key), now + SHUNNED);
    }

    /// It can, after all.
    pub fn welcome(&self, key: &Key) {
        self.shunned.invalidate(&self.shun.hash_one(key));
    }

    /// Whether waiting for another's answer to this key is likely to be in vain.
    #[must_use]
    pub fn is_shunned(&self, key: &Key, now: Instant) -> bool {
        (self.shunned.get(&self.shun.hash_one(key))).is_some_and(|until| now < until)
    }

    /// Joins the flight for a key.
    pub fn join(self: &Arc<Self>, key: &Key) -> Flight {
        let mut flights = self.flights.lock();
        if let Some(follow) = flights.get(key) {
            return Flight::Follow(follow.clone());
        }
        let (done, follow) = watch::channel(());
        flights.insert(key.clone(), follow);
        Flight::Lead(Lead {
            store: Arc::clone(self),
            key: key.clone(),
            _done: done,
        })
    }

    /// Largest body that is stored, bytes.
    #[must_use]
    pub const fn max_object(&self) -> usize {
        self.settings.max_object
    }

    /// Whether a body of this length, if it is known, may be stored.
    #[must_use]
    pub fn takes(&self, length: Option<u64>) -> bool {
        length.is_none_or(|length| length <= self.settings.max_object as u64)
    }

    /// Room to gather a response in, of its reader's share of the memory.
    #[must_use]
    pub fn room(self: &Arc<Self>, lease: Lease) -> Room {
        Room {
            store: Arc::clone(self),
            taken: 0,
            lease,
        }
    }

    /// How many answers are stored, variants of one request counted once.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Forgets every answer.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// Bytes in the store, by its own estimate.
    #[must_use]
    pub fn weight(&self) -> u64 {
        // Else what was stored last shows only once something else is asked for.
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}
