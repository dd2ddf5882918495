//! What is asked of a shard's lanes and changes nothing. Where there may be very many of them the
//! lock is let go after a piece.

use super::{Kept, MOST_LANES, Shard};
use crate::event::{GroupIndex, Principal, UserId, View};
use crate::ingest::lanes::window::{Flight, Found, OfUser, Pending, Seals, Survey, Trace};
use std::ops::Range;
use tokio::time::Instant;

/// Most lanes whose events are looked at in one hold of the lock: a lane may have very many.
const FEW_LANES: usize = 16;

impl Shard {
    /// What is pending of this user and view in these groups, oldest first, at most `most` events.
    #[must_use]
    pub fn look(
        &self,
        user: &UserId,
        shown: (Principal, View),
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<Pending> {
        self.state.lock().lanes.pending(user, shown, groups, most)
    }

    /// Counts what is pending of a user.
    #[must_use]
    pub fn count_user(&self, user: &UserId) -> OfUser {
        let mut found = OfUser::default();
        for slots in self.slots() {
            found += self.state.lock().lanes.count_user_in(slots, user);
        }
        found
    }

    /// Every outcome that it gave is known everywhere.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state.lock().is_settled()
    }

    /// When the oldest event came that has no outcome.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.slots()
            .filter_map(|slots| self.state.lock().lanes.oldest_in(slots))
            .min()
    }

    /// Adds what the lanes do to the survey of each group, in the order of the groups.
    pub fn survey(&self, groups: &mut [Survey]) {
        for slots in self.slots() {
            self.state.lock().lanes.survey_in(slots, groups);
        }
    }

    /// Shows the pending events of an id that lanes have in their hands, at most `most`, and the
    /// lanes whose batches are on their way. Neither closure may ask for the shard.
    pub fn find(
        &self,
        id: &str,
        mut most: usize,
        mut see: impl FnMut(Found<'_, Kept>),
        mut see_flight: impl FnMut(Flight<'_>),
    ) {
        for slots in self.slots_by(FEW_LANES) {
            let state = self.state.lock();
            let lanes = &state.lanes;
            most -= lanes.find_in(slots, (id, most), &mut see, &mut see_flight);
        }
    }

    /// What is remembered of the event of this number, which is settled.
    pub fn trace(&self, seq: u64) -> Trace {
        self.state.lock().lanes.trace(seq)
    }

    /// Windows that it has sealed so far.
    #[must_use]
    pub fn seals(&self) -> Seals {
        self.state.lock().lanes.seals()
    }

    /// The places of all lanes, in pieces for which the lock may be held.
    pub(super) fn slots(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.slots_by(MOST_LANES)
    }

    fn slots_by(&self, piece: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let slots = self.state.lock().lanes.slots();
        (0..slots)
            .step_by(piece)
            .map(move |first| first..first + piece)
    }
}
