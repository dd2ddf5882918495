//! What a call's head says of its caller, apart from the call, so that a connection's next call with the same head needs a
//! comparison only.
//!
//! A connection remembers two heads (`Memory`): that of its last safe call and that of its last unsafe one, since browsers
//! send other headers with each. A head is the same if it has the same headers in the same order with the same values, and
//! comes from the same client by the same host and scheme. Headers that say nothing of who calls may have another value
//! (`is_free`).

use super::caller::{Caller, Token};
use super::keys::CallerKeys;
use super::{Kind, NotAnswerable};
use crate::peer::Peer;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Largest head that is remembered, bytes of its values.
const MAX_REMEMBERED: usize = 4 << 10;

/// What a head says. Everything that is derived from headers, and nothing that depends on the time or on what was learned
/// since; what is derived late is derived once.
#[derive(Default)]
pub(super) struct Said {
    pub(super) token: Option<Token>,
    /// It has several tokens, of which an application may read any: it claims nothing.
    pub(super) has_several_tokens: bool,
    /// What each header says of the caller, in the order of the map.
    pub(super) kinds: OnceLock<Box<[Kind]>>,
    /// Whether Tidegate may answer, as far as that doesn't depend on the time: before the token's times are looked at, and
    /// after that.
    pub(super) readable: OnceLock<(Result<(), NotAnswerable>, Result<(), NotAnswerable>)>,
    pub(super) allowed_origin: OnceLock<bool>,
    /// The user that the token names.
    pub(super) claimed: OnceLock<Option<Box<str>>>,
    /// The keys, where no part of them stands in a body or a query; with the families' version that they are of.
    pub(super) keys: Mutex<Option<(u64, CallerKeys)>>,
    /// What travels with an event beside its context, packed, without the single call; only if nothing free is in it.
    pub(super) carried: OnceLock<Box<[u8]>>,
}

/// A head as it was, and what it says.
struct Remembered {
    names: Vec<HeaderName>,
    /// Where the value of each ends.
    ends: Vec<u32>,
    values: Box<[u8]>,
    /// Places of those that may have another value.
    free: Vec<usize>,
    peer: Peer,
    said: Arc<Said>,
}

/// How a head compares with one that is remembered.
enum Same {
    /// In everything.
    Whole,
    /// In everything but headers that may have another value.
    ButFree,
}

impl Remembered {
    /// `None`: it is too large.
    fn of(headers: &HeaderMap, is_free: impl Fn(&HeaderName) -> bool, peer: &Peer, said: &Arc<Said>) -> Option<Self> {
        let bytes: usize = headers.values().map(HeaderValue::len).sum();
        if bytes > MAX_REMEMBERED {
            return None;
        }
        let mut values = Vec::with_capacity(bytes);
        let (mut names, mut ends) = (Vec::with_capacity(headers.len()), Vec::with_capacity(headers.len()));
        let mut free = Vec::new();
        for (place, (name, value)) in headers.iter().enumerate() {
            if is_free(name) {
                free.push(place);
            }
            names.push(name.clone());
            values.extend_from_slice(value.as_bytes());
            ends.push(u32::try_from(values.len()).ok()?);
        }
        let peer = peer.without_memory();
        Some(Self { names, ends, values: values.into(), free, peer, said: Arc::clone(said) })
    }

    fn compare(&self, headers: &HeaderMap, peer: &Peer) -> Option<Same> {
        if headers.len() != self.names.len() || self.peer != *peer {
            return None;
        }
        let (mut begin, mut free, mut same) = (0, self.free.iter().peekable(), Same::Whole);
        for (place, ((name, value), (known, end))) in headers.iter().zip(self.names.iter().zip(&self.ends)).enumerate()
        {
            let end = *end as usize;
            if name != known {
                return None;
            }
            let is_free = free.next_if_eq(&&place).is_some();
            if self.values.get(begin..end) != Some(value.as_bytes()) {
                if !is_free {
                    return None;
                }
                // The length of its body travels with no event.
                if *name != header::CONTENT_LENGTH {
                    same = Same::ButFree;
                }
            }
            begin = end;
        }
        Some(same)
    }
}

/// What a head says that its connection remembers.
pub(super) struct Recalled {
    pub(super) said: Arc<Said>,
    /// The head is the same in everything.
    pub(super) is_same: bool,
}

/// Looks a head up in its connection's memory.
pub(super) fn recall(parts: &Parts, peer: &Peer) -> Option<Recalled> {
    let known = peer.memory.get(super::is_unsafe(&parts.method))?.downcast::<Remembered>().ok()?;
    let same = known.compare(&parts.headers, peer)?;
    Some(Recalled { said: Arc::clone(&known.said), is_same: matches!(same, Same::Whole) })
}

/// Has its connection remember a head.
pub(super) fn remember(caller: &Caller<'_>, is_free: impl Fn(&HeaderName) -> bool) {
    let (parts, peer) = (caller.parts, caller.peer);
    if let Some(memory) = peer.memory.is_there()
        && let Some(known) = Remembered::of(&parts.headers, is_free, peer, &caller.said)
    {
        memory.put(super::is_unsafe(&parts.method), Arc::new(known) as Arc<dyn Any + Send + Sync>);
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
