//! Where copies of calls wait for the thread that works on them: a bounded queue and a bounded
//! memory. A call never waits for either; what finds no room is shed.

use crate::memory::{Lease, Memory};
use tokio::sync::mpsc;
use tokio::sync::mpsc::OwnedPermit;

/// The end of the queue that copies are put into; what comes out of the other one is `M`.
#[derive(Debug)]
pub(super) struct CopyQueue<M> {
    sender: mpsc::Sender<M>,
    memory: Memory,
}

impl<M> CopyQueue<M> {
    /// A queue of so many places, whose copies take at most so many bytes.
    pub(super) fn new(places: usize, bytes: u64) -> (Self, mpsc::Receiver<M>) {
        let (sender, inbox) = mpsc::channel(places);
        let memory = Memory::new(bytes);
        (Self { sender, memory }, inbox)
    }

    /// A place for a message; `None`: all are taken, or nobody works on them any more.
    pub(super) fn take_place(&self) -> Option<OwnedPermit<M>> {
        self.sender.clone().try_reserve_owned().ok()
    }

    /// Half of its places are taken.
    pub(super) fn is_half_full(&self) -> bool {
        self.sender.capacity() < self.sender.max_capacity() / 2
    }

    /// Room for a copy of so many bytes; `None`: there is none.
    pub(super) fn take_room(&self, bytes: usize) -> Option<Lease> {
        let mut room = self.lease();
        room.resize(bytes).ok()?;
        Some(room)
    }

    /// Room for nothing yet.
    pub(super) fn lease(&self) -> Lease {
        self.memory.unnamed().lease()
    }
}
