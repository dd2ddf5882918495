//! The handle of those who bring events. Taking them stands in [`accept`](super::accept): `take`
//! and `client_batch`.

use super::Shared;
use super::settings::Group;
use crate::event::{GroupIndex, UserId};
use std::sync::Arc;

/// Takes events.
#[derive(Clone)]
pub(crate) struct Acceptor(pub(super) Arc<Shared>);

impl Acceptor {
    /// The group.
    #[must_use]
    pub(crate) fn group(&self, index: GroupIndex) -> Option<&Group> {
        self.0.group(index)
    }

    /// Largest body of an event call that is looked at, bytes.
    #[must_use]
    pub(crate) fn max_body(&self) -> usize {
        self.0.max_body
    }

    pub(super) fn shard_of(&self, user: &UserId) -> usize {
        self.0.spread.shard_of(user)
    }
}
