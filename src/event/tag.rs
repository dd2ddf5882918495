//! The names under which cached answers are made old.

use super::ids::without_case;
use super::keys::{Principal, first_eight};

/// A name under which cached answers are invalidated, as its hash: 64 bits, unkeyed, without regard
/// to case. A group may put in lower case what a read's address names as it likes. A collision only
/// invalidates more than needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of this name, e.g. `progress:42`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let digest = blake3::hash(without_case(name).as_bytes());
        Self(first_eight(digest.as_bytes()))
    }

    /// A tag of this name for what callers share.
    #[must_use]
    pub fn shared(name: &str) -> Self {
        Self(!Self::new(name).0)
    }

    /// [`own`](Self::own) and [`shared`](Self::shared) of this tag's name.
    #[must_use]
    pub fn own_and_shared(self, principal: Principal) -> [Self; 2] {
        let Self(number) = self;
        [Self(number ^ first_eight(&principal.0)), Self(!number)]
    }

    /// One principal's own tag, as another's.
    #[must_use]
    pub fn handed(self, from: Principal, to: Principal) -> Self {
        Self(self.0 ^ first_eight(&from.0) ^ first_eight(&to.0))
    }

    /// A tag of this name that is one principal's own.
    #[must_use]
    pub fn own(name: &str, principal: Principal) -> Self {
        // A keyed hash, so its first bytes serve.
        Self(Self::new(name).0 ^ first_eight(&principal.0))
    }
}
