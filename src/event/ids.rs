//! The names of events and users, checked, and the places of groups and reads in the configuration.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

/// Keys the hashes of users' names, anew in every process.
static NAMES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Longest accepted event id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Longest accepted user id, in bytes.
pub const MAX_USER_BYTES: usize = 256;

/// Why a string can't be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// More than the limit, in bytes.
    #[error("has {0} bytes, {MAX_ID_BYTES} are allowed")]
    TooLong(usize),
    /// A control character, which no header could carry.
    #[error("holds a control character")]
    Control,
}

/// Where a user's name begins, behind its hash.
const HASH_BYTES: usize = 8;

/// Whether a text can be an id.
pub(super) fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    let has_controls = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if has_controls {
        return Err(IdError::Control);
    }
    Ok(())
}

/// A text in which letters that differ in their case are the same: each in upper case and then in
/// lower case, so that letters with two lower cases (the final sigma) have one.
pub(super) fn without_case(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(
            text.chars()
                .flat_map(char::to_uppercase)
                .flat_map(char::to_lowercase)
                .collect(),
        );
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// The identifier of an event, unique for its user: 1 to 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Arc<str>);

impl EventId {
    /// # Errors
    /// Empty, over 256 bytes, or with a control character.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        check(text).map(|()| Self(text.into()))
    }
    /// Whether a text can be one.
    #[must_use]
    pub fn can_be(text: &str) -> bool {
        check(text).is_ok()
    }
    /// A text that was found to be an id before.
    pub(super) fn of_checked(text: &str) -> Self {
        Self(text.into())
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user an event belongs to: 1 to 256 bytes, no control characters. Its name is hashed once, for
/// all the tables that go by it: a hash of seven bits to a byte stands before it, so that a pending
/// event takes no more room for it.
#[derive(Clone, PartialEq, Eq)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Whether a text can be one.
    #[must_use]
    pub fn can_be(text: &str) -> bool {
        check(text).is_ok()
    }
    /// # Errors
    /// Empty, over 256 bytes, or with a control character.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        check(text).map(|()| Self::hashed(text))
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get(HASH_BYTES..).unwrap_or_default()
    }

    /// A hash of the name, keyed anew in every process: nobody can choose names that meet in it.
    #[must_use]
    pub fn keyed(&self) -> u64 {
        let hash = self.0.as_bytes().first_chunk().copied();
        let hash = u128::from(u64::from_le_bytes(hash.unwrap_or_default()));
        // Into all bits.
        let product = hash * 0x9e37_79b9_7f4a_7c15;
        u64::try_from((product ^ product >> 64) & u128::from(u64::MAX)).unwrap_or(0)
    }
}

impl UserId {
    /// The same for names that differ in their case only, as [`Tag`](super::Tag)s are.
    #[must_use]
    pub fn keyed_without_case(&self) -> u64 {
        match without_case(self.as_str()) {
            Cow::Borrowed(_) => self.keyed(),
            Cow::Owned(name) => Self::hashed(&name).keyed(),
        }
    }

    fn hashed(text: &str) -> Self {
        let hash: [u8; HASH_BYTES] = NAMES.hash_one(text).to_le_bytes();
        let mut whole = String::with_capacity(HASH_BYTES + text.len());
        whole.extend(hash.map(|byte| char::from(byte & 0x7f)));
        whole.push_str(text);
        Self(whole.into())
    }
}

impl Hash for UserId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.keyed());
    }
}

impl PartialOrd for UserId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UserId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserId").field(&self.as_str()).finish()
    }
}

/// Which `[batch.…]` group, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub usize);

/// Which `[[cache]]` route, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadIndex(pub usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_their_case_have_one_hash_where_case_does_not_count() {
        let user = |name: &str| UserId::try_new(name).unwrap();
        for [one, other] in [["ada", "Ada"], ["\u{e4}da", "\u{c4}DA"], ["ada", "ada"]] {
            let [one, other] = [user(one), user(other)];
            assert_eq!(one.keyed_without_case(), other.keyed_without_case());
            assert_eq!(one.keyed() == other.keyed(), one == other);
        }
        assert_ne!(
            user("ada").keyed_without_case(),
            user("adb").keyed_without_case()
        );
    }
}
