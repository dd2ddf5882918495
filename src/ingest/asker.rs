//! Whose lanes are meant.

use crate::event::{Principal, Realm, UserId};

/// A caller, as far as its lanes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Who calls.
    pub principal: Principal,
    /// Of which host.
    pub realm: Realm,
    /// Whose lanes are meant; none: all of the principal's.
    pub user: Option<UserId>,
    /// The user's name is a claim of the principal's token, and the principal is known to be good
    /// where it matters: then the lanes of other good principals with that claim are the user's too
    /// (ruling 17).
    pub joins: bool,
}
