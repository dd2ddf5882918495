//! What a call's head says of its caller, apart from the call, so that the next call with the same
//! head needs a comparison only.
//!
//! The last heads of callers are remembered in a table of fixed size, each in one place that is
//! found by a hash of its Authorization and Cookie and of its client's address. A head is the same
//! if it has the same headers in the same order with the same values, and comes from the same
//! client by the same host and scheme; headers that say nothing of who calls may have another value
//! (`is_free`). A head is remembered when it comes a second time: heads that come once, such as
//! those of forged tokens, push out none.

use super::keys::CallerKeys;
use super::token::Token;
use super::verify::Verified;
use super::{Kind, NotAnswerable};
use crate::event::{Principal, Tag, UserId};
use crate::keyed::TextHash;
use crate::peer::Peer;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Places for heads.
const PLACES: u64 = 4_096;
/// Largest head that is remembered, bytes of its values.
const MAX_REMEMBERED: usize = 4 << 10;

/// Most cookies of a head that is remembered, whose Cookie lines are one by then: where each lies is
/// remembered too.
const MAX_COOKIES: usize = 64;
/// Tags that are remembered with a head, of each kind.
const TAGS: usize = 4;
/// Longest name of such a tag, bytes.
const LONGEST_NAME: usize = 128;

/// What a head says. Everything that is derived from headers, and nothing that depends on the time
/// or on what was learned since; what is derived late is derived once.
#[derive(Default)]
pub(super) struct Said {
    pub(super) token: Option<Token>,
    /// It has several tokens, of which an application may read any: it claims nothing.
    pub(super) has_several_tokens: bool,
    /// Whether the token is what its issuer signed.
    pub(super) verified: Verified,
    /// What each header says of the caller, in the order of the map.
    pub(super) kinds: OnceLock<Box<[Kind]>>,
    /// Whether Tidegate may answer, as far as that doesn't depend on the time: before the token's
    /// times are looked at, and after that.
    pub(super) readable: OnceLock<(Result<(), NotAnswerable>, Result<(), NotAnswerable>)>,
    pub(super) allowed_origin: OnceLock<bool>,
    /// The user that the token names.
    pub(super) claimed: OnceLock<Option<Box<str>>>,
    /// That token alone.
    pub(super) token_hash: OnceLock<Option<Principal>>,
    /// Where its cookies lie.
    pub(super) cookies: OnceLock<Box<[CookiePlace]>>,
    /// The user of the last event under it.
    pub(super) user: Mutex<Option<UserId>>,
    /// Tags that the last events under it touched, by their names.
    pub(super) tags: Mutex<LastTags>,
    /// And those of the events' own addresses, by their paths.
    pub(super) own_tags: Mutex<LastTags>,
    /// The keys, where no part of them stands in a body or a query; with the families' version that
    /// they are of.
    pub(super) keys: Mutex<Option<(u64, CallerKeys)>>,
    /// What travels with an event beside its context, packed, without the single call; only if
    /// nothing free is in it.
    pub(super) carried: OnceLock<Box<[u8]>>,
}

/// Where a cookie lies: in which Cookie line, and where in it.
pub(super) struct CookiePlace {
    pub(super) line: usize,
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Hashes of the names that came last.
#[derive(Default)]
pub(super) struct LastTags {
    known: Vec<(Box<str>, Tag)>,
    /// Which one another takes the place of.
    oldest: usize,
}

impl LastTags {
    pub(super) fn find(&mut self, name: &str, make: impl FnOnce() -> Tag) -> Tag {
        let known = self.known.iter().find(|(known, _)| **known == *name);
        if let Some((_, tag)) = known {
            return *tag;
        }
        let tag = make();
        if name.len() > LONGEST_NAME {
            return tag;
        }
        if let Some(place) = self.known.get_mut(self.oldest) {
            *place = (name.into(), tag);
        } else {
            self.known.push((name.into(), tag));
        }
        self.oldest = (self.oldest + 1) % TAGS;
        tag
    }
}

/// Where a head comes from, as far as that counts.
#[derive(Debug, PartialEq, Eq)]
struct Whence {
    from: IpAddr,
    client: IpAddr,
    https: bool,
    host: Option<Arc<str>>,
    is_unsafe: bool,
}

impl Whence {
    fn of(parts: &Parts, peer: &Peer) -> Self {
        let from = peer.connection.address.ip();
        let is_unsafe = super::is_unsafe(&parts.method);
        Self {
            from,
            client: peer.client,
            https: peer.https,
            host: peer.host.clone(),
            is_unsafe,
        }
    }
}

/// A head as it was, and what it says.
struct Remembered {
    /// No other head has it.
    number: u64,
    whence: Whence,
    names: Vec<HeaderName>,
    /// Where the value of each ends.
    ends: Vec<u32>,
    values: Box<[u8]>,
    /// Places of those that may have another value.
    free: Vec<usize>,
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
    fn of(
        count: &AtomicU64,
        (parts, peer): (&Parts, &Peer),
        said: &Arc<Said>,
        is_free: impl Fn(&HeaderName) -> bool,
    ) -> Option<Self> {
        let headers = &parts.headers;
        let bytes: usize = headers.values().map(HeaderValue::len).sum();
        let cookies = headers.get_all(header::COOKIE).iter();
        let marks = cookies.flat_map(HeaderValue::as_bytes);
        let cookies = marks.filter(|byte| **byte == b';').count() + 1;
        if bytes > MAX_REMEMBERED || cookies > MAX_COOKIES {
            return None;
        }
        let mut values = Vec::with_capacity(bytes);
        let (mut names, mut ends) = (
            Vec::with_capacity(headers.len()),
            Vec::with_capacity(headers.len()),
        );
        let mut free = Vec::new();
        for (place, (name, value)) in headers.iter().enumerate() {
            if is_free(name) {
                free.push(place);
            }
            names.push(name.clone());
            values.extend_from_slice(value.as_bytes());
            ends.push(u32::try_from(values.len()).ok()?);
        }
        let (whence, said) = (Whence::of(parts, peer), Arc::clone(said));
        Some(Self {
            number: count.fetch_add(1, Ordering::Relaxed),
            whence,
            names,
            ends,
            values: values.into(),
            free,
            said,
        })
    }

    fn compare(&self, headers: &HeaderMap) -> Option<Same> {
        if headers.len() != self.names.len() {
            return None;
        }
        let (mut begin, mut free, mut same) = (0, self.free.iter().peekable(), Same::Whole);
        for (place, ((name, value), (known, end))) in headers
            .iter()
            .zip(self.names.iter().zip(&self.ends))
            .enumerate()
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

/// What a head says that is remembered.
pub(super) struct Recalled {
    pub(super) said: Arc<Said>,
    /// The head is the same in everything.
    pub(super) is_same: bool,
    /// Of all heads that have this number each is the same in everything.
    pub(super) number: Option<u64>,
}

/// Where a head belongs, and what tells it from most others.
#[derive(Clone, Copy)]
pub(super) struct Place {
    slot: usize,
    hash: u64,
}

#[derive(Default)]
struct Slot {
    known: Option<Arc<Remembered>>,
    /// The last head that came and was not remembered.
    last: u64,
}

/// The heads that are remembered.
pub(super) struct Heads {
    // Plain locks: held to clone or to replace a pointer.
    slots: Box<[Mutex<Slot>]>,
    hasher: TextHash,
    /// How many were remembered.
    count: AtomicU64,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: TextHash::new(),
            count: AtomicU64::new(0),
        }
    }

    pub(super) fn find_place(&self, parts: &Parts, peer: &Peer) -> Place {
        let value = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
        let (authorization, cookie) = (value(header::AUTHORIZATION), value(header::COOKIE));
        let (four, sixteen);
        let client = match peer.client {
            IpAddr::V4(address) => {
                four = address.octets();
                four.as_slice()
            }
            IpAddr::V6(address) => {
                sixteen = address.octets();
                &sixteen
            }
        };
        let kind: &[u8] = if super::is_unsafe(&parts.method) {
            b"write"
        } else {
            b""
        };
        let texts = [
            authorization.unwrap_or_default(),
            cookie.unwrap_or_default(),
            client,
            kind,
        ];
        let hash = self.hasher.hash(texts);
        Place {
            slot: usize::try_from(hash % PLACES).unwrap_or(0),
            hash,
        }
    }

    pub(super) fn recall(&self, place: Place, parts: &Parts, peer: &Peer) -> Option<Recalled> {
        let known = self.slots.get(place.slot)?.lock().known.clone()?;
        if known.whence != Whence::of(parts, peer) {
            return None;
        }
        let is_same = matches!(known.compare(&parts.headers)?, Same::Whole);
        Some(Recalled {
            said: Arc::clone(&known.said),
            is_same,
            number: is_same.then_some(known.number),
        })
    }

    /// Remembers a head if it came before.
    pub(super) fn remember(
        &self,
        place: Place,
        head: (&Parts, &Peer),
        said: &Arc<Said>,
        is_free: impl Fn(&HeaderName) -> bool,
    ) {
        let Some(slot) = self.slots.get(place.slot) else {
            return;
        };
        // A head that comes once has no hash of zero but by chance, and then is remembered a call
        // too early.
        if std::mem::replace(&mut slot.lock().last, place.hash) != place.hash {
            return;
        }
        if let Some(known) = Remembered::of(&self.count, head, said, is_free) {
            slot.lock().known = Some(Arc::new(known));
        }
    }

    pub(super) fn clear(&self) {
        self.slots
            .iter()
            .for_each(|slot| *slot.lock() = Slot::default());
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
