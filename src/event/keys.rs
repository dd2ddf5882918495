//! The keyed hashes of a caller, from all of its call to the host alone, and what lanes and owners
//! are made of.

use super::ids::{GroupIndex, UserId};
use std::fmt;
use std::hash::{Hash, Hasher};

/// The first eight bytes of a hash as a number.
#[must_use]
pub fn first_eight(hash: &[u8]) -> u64 {
    let short = |hash: &[u8]| {
        hash.iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    hash.first_chunk()
        .map_or_else(|| short(hash), |first| u64::from_be_bytes(*first))
}

/// A keyed hash of everything that makes two calls "the same credential" (design ruling 10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes tell lanes apart in a log and say nothing about the credential.
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One lane: events that keep their order and may share a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The batch group.
    pub group: GroupIndex,
    /// The user.
    pub user: UserId,
    /// The credential, as its fingerprint.
    pub credential: Fingerprint,
}

/// Who calls: a keyed hash of the host and of the recognised tokens, session cookies and keys.
/// Standing, order, barriers and limits go by it (design §4 `[identity]`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whom the bearer of a renewed session counts as (ruling 24). Of a bearer that succeeded no other
/// principal all three are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// The principal that its own tokens, cookies and keys make.
    pub bearer: Principal,
    /// The first of its family, as far back as each was known to be good when it was succeeded.
    pub known: Principal,
    /// The first of its family: its name in standing, order, barriers, limits and seen ids.
    pub first: Principal,
}

/// What is stored and shown for a caller goes by this: the fingerprint less the conditions that
/// differ between a caller's reads and writes (P8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct View(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The host that was asked, as a hash: users of two hosts are two users (ruling 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(pub u64);

/// The three keys of a caller, each narrower than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keys {
    /// Everything that an application could judge the call by.
    pub fingerprint: Fingerprint,
    /// Less the conditions.
    pub view: View,
    /// The recognised tokens, session cookies and keys.
    pub principal: Principal,
    /// The host.
    pub realm: Realm,
    /// No token, session cookie or key is there: the principal stands for the client's address.
    pub nameless: bool,
}

impl Keys {
    /// Keys of a caller of whom a fingerprint is all that is known.
    #[must_use]
    pub const fn of(fingerprint: Fingerprint) -> Self {
        let (view, principal) = (View(fingerprint.0), Principal(fingerprint.0));
        Self {
            fingerprint,
            view,
            principal,
            realm: Realm(0),
            nameless: false,
        }
    }
}

/// Whose events a lane holds, as far as order and barriers go (rulings 15 and 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Who called.
    pub principal: Principal,
    /// Of which host.
    pub realm: Realm,
    /// What the events are shown by.
    pub view: View,
    /// The user's name is a claim of the principal's own token: only then can other principals have
    /// the same user.
    pub claimed: bool,
}
