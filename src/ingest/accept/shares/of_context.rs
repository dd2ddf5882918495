//! The share of a context, of which there may be one for each pending event.

use super::{Holder, Share, Shares, Takes};
use std::sync::Arc;

/// A context's share of the bounds, held until it is dropped; it takes less memory than a [`Share`].
#[derive(Debug)]
pub struct ContextShare {
    shares: Arc<Shares>,
    holder: Holder,
    bytes: u64,
}

impl ContextShare {
    /// The same as a share that was taken for a context of so many bytes.
    #[must_use]
    pub fn of(mut share: Share, bytes: u64) -> Self {
        debug_assert_eq!(share.takes, Takes::Context { bytes });
        share.count = 0;
        Self {
            shares: Arc::clone(&share.shares),
            holder: share.holder,
            bytes,
        }
    }

    /// Bytes of the context.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for ContextShare {
    fn drop(&mut self) {
        let takes = Takes::Context { bytes: self.bytes };
        self.shares.give_back(self.holder, takes, 1);
    }
}
