//! Where a recording keeps one call and its answer, and the copies of bodies on their way there.

use super::record::{Record, Side};
use crate::recorder::{AnswerCopy, BodyCopy, Ending};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::sync::Weak;

/// Empty once its recording is over: copies that are still made of it end then.
pub(super) type Slot = Mutex<Option<Record>>;

/// A body on its way into a slot.
#[derive(Debug)]
pub(super) struct SlotCopy {
    pub(super) slot: Weak<Slot>,
    pub(super) side: Side,
}

impl BodyCopy for SlotCopy {
    fn push(&mut self, data: &[u8]) -> bool {
        let Some(slot) = self.slot.upgrade() else {
            return false;
        };
        let mut record = slot.lock();
        record
            .as_mut()
            .is_some_and(|record| record.push(self.side, data))
    }

    fn end(&mut self, ending: Ending) {
        if let Some(slot) = self.slot.upgrade()
            && let Some(record) = &mut *slot.lock()
        {
            record.end(self.side, ending);
        }
    }
}

impl AnswerCopy for SlotCopy {
    fn take_head(self: Box<Self>, status: StatusCode, headers: &HeaderMap) -> Box<dyn BodyCopy> {
        if let Some(slot) = self.slot.upgrade()
            && let Some(record) = &mut *slot.lock()
        {
            record.take_answer(status, headers);
        }
        self
    }
}
