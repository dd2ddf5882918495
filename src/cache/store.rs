//! Stored responses: moka, weighed in bytes, each with an expiry of its own; and one flight per missing key.

use super::settings::CacheSettings;
use super::tags::Generations;
use crate::event::Fingerprint;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a stored response is found under. Without a credential only for routes declared public (P8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// `Host` of the request, lower case.
    pub host: Box<str>,
    /// Path, and the query without ignored parameters.
    pub target: Box<str>,
    /// Whose response it is.
    pub credential: Option<Fingerprint>,
}

/// A key with the request headers that the response varies by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Variant {
    key: Key,
    values: Vec<Vec<Box<[u8]>>>,
}

/// A stored response.
#[derive(Debug)]
pub struct Entry {
    /// Headers as stored.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Generations of its tags when it was asked for.
    pub generations: Generations,
    /// When it came.
    pub stored_at: Instant,
    /// Its age when it came, seconds.
    pub age: u64,
    /// Fresh until.
    pub expires: Instant,
}

/// How often what happened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Served from the store.
    pub hits: AtomicU64,
    /// Asked of the application, and could have been stored.
    pub misses: AtomicU64,
    /// Passed by.
    pub bypasses: AtomicU64,
    /// Put into the store.
    pub stored: AtomicU64,
}

/// The store.
pub struct Store {
    entries: moka::sync::Cache<Variant, Arc<Entry>>,
    /// Which headers the responses under a key vary by.
    varies: moka::sync::Cache<Key, Arc<[HeaderName]>>,
    /// Keys that somebody is asking for; bounded by the number of connections.
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
    /// Largest body.
    pub max_object: usize,
    /// Counters.
    pub counts: Counts,
}

/// Leads a flight; its end wakes the followers, whatever way it comes.
pub struct Lead<'a> {
    store: &'a Store,
    key: Key,
    // Dropping it wakes the followers.
    _done: watch::Sender<()>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.store.flights.lock().remove(&self.key);
    }
}

/// A place in a flight.
pub enum Flight<'a> {
    /// Go and ask.
    Lead(Lead<'a>),
    /// Somebody asks already; this ends when they are done.
    Follow(watch::Receiver<()>),
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let weigh = |variant: &Variant, entry: &Arc<Entry>| {
            let headers: usize = entry.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
            let key = variant.key.host.len() + variant.key.target.len();
            let values: usize = variant.values.iter().flatten().map(|value| value.len() + 32).sum();
            u32::try_from(entry.body.len() + headers + key + values + 256).unwrap_or(u32::MAX)
        };
        let weigh_key = |key: &Key, names: &Arc<[HeaderName]>| {
            u32::try_from(key.host.len() + key.target.len() + 32 * names.len() + 128).unwrap_or(u32::MAX)
        };
        Self {
            entries: moka::sync::Cache::builder().max_capacity(settings.max_bytes).weigher(weigh).build(),
            varies: moka::sync::Cache::builder().max_capacity(settings.max_bytes / 4).weigher(weigh_key).build(),
            flights: Mutex::default(),
            max_object: settings.max_object,
            counts: Counts::default(),
        }
    }

    fn variant(key: &Key, names: &[HeaderName], request: &HeaderMap) -> Variant {
        let lines = |name| request.get_all(name).iter().map(|value| value.as_bytes().into()).collect();
        Variant { key: key.clone(), values: names.iter().map(lines).collect() }
    }

    /// The response for this request, fresh or not, of whatever generation.
    #[must_use]
    pub fn get(&self, key: &Key, request: &HeaderMap) -> Option<Arc<Entry>> {
        let names = self.varies.get(key)?;
        self.entries.get(&Self::variant(key, &names, request))
    }

    /// Stores a response that varies by `names`.
    pub fn put(&self, key: &Key, names: Vec<HeaderName>, request: &HeaderMap, entry: Entry) {
        self.entries.insert(Self::variant(key, &names, request), Arc::new(entry));
        self.varies.insert(key.clone(), names.into());
        self.counts.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Joins the flight for a key.
    pub fn join(&self, key: &Key) -> Flight<'_> {
        let mut flights = self.flights.lock();
        if let Some(follow) = flights.get(key) {
            return Flight::Follow(follow.clone());
        }
        let (done, follow) = watch::channel(());
        flights.insert(key.clone(), follow);
        Flight::Lead(Lead { store: self, key: key.clone(), _done: done })
    }

    /// Bytes in the store, by its own estimate.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.entries.weighted_size()
    }
}
