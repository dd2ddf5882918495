//! The keys of a caller, and what of its call enters them (design §4 `[identity]`, P3, P8).
//!
//! ```text
//! principal   = H(host, tokens, session cookies and keys)     or H(host, client address) where there are none
//! view        = H(principal, its parts, whatever nothing is known of)
//! fingerprint = H(view, the conditions, scheme, client address)
//! stored      = view, or H(view, the cookies that roll) where there are some
//! ```
//!
//! Each key is made of the one before it, so that every byte is hashed once. Parts are sorted by
//! name: two calls that differ in the order of their headers are the same.
//!
//! | file | holds |
//! |---|---|
//! | `recognised` | what by itself tells who calls |
//! | `reading` | what a call has of each kind |
//! | `hash` | how that becomes keys |
//! | `stored` | what is read back of a context and an event that are kept |

mod hash;
mod reading;
mod recognised;
mod stored;

pub use hash::CallerKeys;
pub use reading::Reading;
pub(super) use recognised::{is_placeholder, names_someone};
pub use stored::{cookie_line, named, shown_user};

use super::{Caller, Identity};
use crate::event::{Carried, Keys, Legacy, Realm};
use crate::json::Object;

/// A call's head is too large to travel with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLargeHead;

impl Identity {
    /// The keys of a caller. `body`: where the call's body is known, for `body:` parts.
    #[must_use]
    pub fn keys(&self, caller: &Caller<'_>, body: Option<&Object<'_>>) -> Keys {
        self.caller_keys(caller, body).keys
    }

    /// The keys of a caller; where its connection remembers them, they are not made again.
    #[must_use]
    pub fn caller_keys(&self, caller: &Caller<'_>, body: Option<&Object<'_>>) -> CallerKeys {
        let make = || {
            let Reading {
                counted,
                cookies,
                named,
                ..
            } = self.read(caller, body);
            self.hash(caller, &counted, &cookies, &named)
        };
        if !self.settings.selection.named.is_empty() {
            return make();
        }
        // ORDER: before what it stands for is looked at.
        let version = self.families.version();
        if let Some((known, keys)) = *caller.said.keys.lock()
            && known == version
        {
            return keys;
        }
        let keys = make();
        *caller.said.keys.lock() = Some((version, keys));
        keys
    }

    /// What travels with an event of this call beside its context, packed. `claimed`: its user's
    /// name is a claim of the caller's token.
    ///
    /// # Errors
    /// Without the single call it would be larger than `most` bytes.
    pub fn carry(
        &self,
        caller: &Caller<'_>,
        (claimed, for_service): (bool, bool),
        legacy: Option<Legacy<'_>>,
        most: usize,
    ) -> Result<Vec<u8>, TooLargeHead> {
        let pack = || self.read(caller, None).pack_head(caller);
        let packed;
        let head = if caller.is_same {
            caller.said.carried.get_or_init(pack)
        } else {
            packed = pack();
            &packed
        };
        if head.len() > most {
            return Err(TooLargeHead);
        }
        Ok(Carried::pack_with_head(
            head,
            (claimed, for_service),
            legacy,
        ))
    }

    /// The realm of a host.
    #[must_use]
    pub fn realm(&self, host: &str) -> Realm {
        // Unkeyed and short: whoever makes two hosts collide must own both names.
        Realm(host.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

#[cfg(test)]
mod tests;
