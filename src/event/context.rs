//! What all calls of one fingerprint share, and the room that it takes.

use super::keys::{Keys, Owner};
use super::raw::Raw;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::any::Any;
use std::fmt;

/// Bytes of bookkeeping of one header or cookie in memory, estimated.
pub(super) const ENTRY_BYTES: usize = 64;
/// Bytes of a context's bookkeeping in memory, estimated: itself, and its places in tables.
const OWN_BYTES: usize = 4 * ENTRY_BYTES;

/// What calls of one fingerprint have in common, beside its keys. Never printed.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Said<'a> {
    /// The host that was asked, with its port; none: the upstream's own.
    pub host: Option<&'a str>,
    /// The call was encrypted.
    pub https: bool,
    /// The headers that count, but for Cookie, as they came.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, Raw<'a>)>,
    /// The cookies that count, each as `name=value`, in their order.
    pub cookies: Vec<&'a str>,
    /// Members of the body and parameters of the query that count: `body:NAME` or `query:NAME`, and
    /// raw JSON.
    pub named: Vec<(&'a str, &'a str)>,
}

impl Said<'_> {
    /// The headers that count, to be sent; values marked sensitive.
    #[must_use]
    pub fn header_map(&self, room: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + room);
        for (name, value) in &self.headers {
            if let Some((name, value)) = header(name, value.0) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// Whether each header can be one.
    fn is_valid(&self) -> bool {
        self.headers
            .iter()
            .all(|(name, value)| header(name, value.0).is_some())
    }
}

fn header(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut value = HeaderValue::from_bytes(value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// What all calls of one fingerprint share (P13): kept once, in memory and in the journal. What it
/// says is in one piece of memory, as the journal has it, and is read when something is sent. Never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    /// Its keys.
    pub keys: Keys,
    /// [`Said`], packed.
    said: Box<[u8]>,
    /// What it takes of a bound while it lives.
    pub charge: Charge,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.keys.fingerprint)
    }
}

impl Context {
    /// Keys, and what the calls say.
    #[must_use]
    pub fn new(keys: Keys, said: &Said<'_>) -> Self {
        Self {
            keys,
            // Serializing into a growing vector has no way to fail.
            said: postcard::to_allocvec(said).unwrap_or_default().into(),
            charge: Charge::default(),
        }
    }

    /// Keys, and what [`packed`](Self::packed) gave; `None`: it is no such thing.
    #[must_use]
    pub fn from_packed(keys: Keys, packed: &[u8]) -> Option<Self> {
        let said: Said<'_> = postcard::from_bytes(packed).ok()?;
        said.is_valid().then(|| Self::new(keys, &said))
    }

    /// Nothing but keys.
    #[must_use]
    pub fn bare(keys: Keys) -> Self {
        Self::new(keys, &Said::default())
    }

    /// What the calls say.
    #[must_use]
    pub fn said(&self) -> Said<'_> {
        postcard::from_bytes(&self.said).unwrap_or_default()
    }

    /// The same, packed.
    #[must_use]
    pub const fn packed(&self) -> &[u8] {
        &self.said
    }

    /// The host that was asked, and whether the call was encrypted.
    #[must_use]
    pub fn place(&self) -> (Option<&str>, bool) {
        postcard::take_from_bytes(&self.said).map_or((None, false), |(place, _)| place)
    }

    /// Whose events of this context are.
    #[must_use]
    pub const fn owner(&self, claimed: bool) -> Owner {
        let Keys {
            principal,
            realm,
            view,
            ..
        } = self.keys;
        Owner {
            principal,
            realm,
            view,
            claimed,
        }
    }

    /// Bytes that it takes in memory, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.said.len() + OWN_BYTES
    }
}

/// What is counted somewhere as long as this lives.
#[derive(Default)]
pub struct Charge(
    #[expect(dead_code, reason = "held, never looked at")] Option<Box<dyn Any + Send + Sync>>,
);

impl Charge {
    /// Holds what gives something back when it is dropped.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charge")
    }
}

/// A copy is counted nowhere.
impl Clone for Charge {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It is no part of what a context is.
impl PartialEq for Charge {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Charge {}
