//! What is taken of a recording, and the exchanges that are made of it.

use super::exchange::Exchange;
use super::record::{Made, Record, Unpack};
use crate::memory::Lease;

/// What a recording can say of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordingFacts {
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Calls that found no room.
    pub shed: u64,
    /// Calls beyond what is kept of one route.
    pub surplus: u64,
    /// Calls whose answers hadn't ended, or broke off.
    pub unfinished: u64,
}

/// What a recording had.
#[derive(Debug)]
pub struct TakenRecording {
    pub(super) records: Vec<Option<Record>>,
    pub(super) facts: RecordingFacts,
    pub(super) unpack: Unpack,
}

/// The exchanges of a recording, in room that is counted until this is dropped.
#[derive(Debug)]
pub struct RecordedExchanges {
    /// In the order of their calls.
    pub exchanges: Vec<Exchange>,
    /// What else there is to say.
    pub facts: RecordingFacts,
    _room: Vec<Lease>,
}

impl TakenRecording {
    /// Takes codings off and makes exchanges, which takes time: off the path of calls.
    #[must_use]
    pub fn into_exchanges(self) -> RecordedExchanges {
        let mut facts = self.facts;
        let (mut exchanges, mut room) = (Vec::new(), Vec::new());
        for record in self.records.into_iter().flatten() {
            match record.into_exchange(self.unpack) {
                Made::Exchange(exchange, lease) => {
                    exchanges.push(*exchange);
                    room.push(lease);
                }
                Made::Lost => facts.shed += 1,
                Made::Unfinished => facts.unfinished += 1,
            }
        }
        RecordedExchanges {
            exchanges,
            facts,
            _room: room,
        }
    }
}
