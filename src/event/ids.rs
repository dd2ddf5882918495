//! The names of events and users, checked, and the places of groups and reads in the configuration.

use std::sync::Arc;

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

/// Whether a text can be an id.
pub(super) fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
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

/// The user an event belongs to: 1 to 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
        check(text).map(|()| Self(text.into()))
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which `[batch.…]` group, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub usize);

/// Which `[[cache]]` route, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadIndex(pub usize);
