//! What all calls of one fingerprint share, and the room that it takes.

use super::keys::{Keys, Owner};
use http::{HeaderName, HeaderValue};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Bytes of bookkeeping of one header or cookie in memory, estimated.
pub(super) const ENTRY_BYTES: usize = 64;

/// What all calls of one fingerprint share (P13): kept once, in memory and in the journal. Never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    /// Its keys.
    pub keys: Keys,
    /// The host that was asked, with its port; none: the upstream's own.
    pub host: Option<Arc<str>>,
    /// The call was encrypted.
    pub https: bool,
    /// The headers that count, but for Cookie, as they came; values marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The cookies that count, each as `name=value`, in their order.
    pub cookies: Vec<Box<str>>,
    /// Members of the body and parameters of the query that count: `body:NAME` or `query:NAME`, and
    /// raw JSON.
    pub named: Vec<(Box<str>, Box<str>)>,
    /// What it takes of a bound while it lives.
    pub charge: Charge,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.keys.fingerprint)
    }
}

impl Context {
    /// Nothing but keys.
    #[must_use]
    pub fn bare(keys: Keys) -> Self {
        let (headers, cookies, named, charge) =
            (Vec::new(), Vec::new(), Vec::new(), Charge::default());
        Self {
            keys,
            host: None,
            https: false,
            headers,
            cookies,
            named,
            charge,
        }
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
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES);
        let cookies = self.cookies.iter().map(|pair| pair.len() + ENTRY_BYTES);
        let named = self
            .named
            .iter()
            .map(|(name, raw)| name.len() + raw.len() + ENTRY_BYTES);
        headers.chain(cookies).chain(named).sum::<usize>() + 4 * ENTRY_BYTES
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
