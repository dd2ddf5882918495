//! Whose session a call belongs to.

use super::body::text;
use super::census::SERVICE;
use serde_json::Value;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Nobody who is known.
    Anonymous,
    /// A user.
    Of(Box<str>),
    /// The trusted service.
    Service,
}

impl Session {
    /// What the census knows its token as.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Of(user) => user,
            Self::Service => SERVICE,
        }
    }

    /// Whose session it is; the service speaks for the user that the body names.
    #[must_use]
    pub fn user<'a>(&'a self, body: &'a Value) -> Option<&'a str> {
        match self {
            Self::Anonymous => None,
            Self::Of(user) => Some(user),
            Self::Service => text(body, &["user_id", "userId"]),
        }
    }
}
