//! Where durable events go.

use super::entry::Journaled;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;

/// Takes durable events over, each lane's in the order of its numbers.
pub trait Tail<T>: Send + Sync {
    /// Takes an event, or gives it back if the tail is closed. Called by whichever thread made the
    /// event durable.
    ///
    /// ORDER: while the next event waits for this one to be taken. A tail holds no lock of its own
    /// when it calls the journal, and does not call it here.
    fn take(&self, kept: Box<Journaled<T>>) -> Option<Box<Journaled<T>>>;

    /// Nothing is taken any more.
    fn is_closed(&self) -> bool;
}

/// One for each shard.
pub type Tails<T> = Vec<Arc<dyn Tail<T>>>;

/// What a channel holds has been taken over.
impl<T: Send> Tail<T> for UnboundedSender<Box<Journaled<T>>> {
    fn take(&self, kept: Box<Journaled<T>>) -> Option<Box<Journaled<T>>> {
        self.send(kept).err().map(|SendError(back)| back)
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }
}
