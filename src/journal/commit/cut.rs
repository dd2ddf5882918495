//! The beginning of more than a file has room for.

use super::queue::{Queue, TakenGroup};
use crate::journal::log::frame::{self, Flags, Kind};
use crate::journal::log::replay::Missing;
use crate::journal::record;

impl<T> Queue<T> {
    /// A frame of an event that a caller waits for.
    fn is_awaited(&self, frame: &frame::Frame<'_>) -> bool {
        frame.kind == Kind::Event && !frame.flags.has(Flags::COPY) && frame.number >= self.own
    }

    /// Where to cut what waits so that its beginning has `most` bytes: outcomes and letters of a time in
    /// which nothing could be written may be more than any file that there is room for, and until
    /// they are written no segment goes. Not behind an event; `None`: it fits, or begins with one.
    pub(super) fn find_cut(&self, most: usize) -> Option<usize> {
        if self.frames.len() <= most {
            return None;
        }
        let mut at = 0;
        for (frame, whole) in frame::each(&self.frames) {
            if self.is_awaited(&frame) || at + whole.len() > most {
                break;
            }
            at += whole.len();
        }
        // One that is larger by itself goes alone.
        let alone = frame::each(&self.frames).next();
        let alone = alone.filter(|(frame, _)| !self.is_awaited(frame));
        let at = at.max(alone.map_or(0, |(_, whole)| whole.len()));
        (0 < at && at < self.frames.len()).then_some(at)
    }

    pub(super) fn cut_group(&mut self, at: usize) -> TakenGroup<T> {
        let rest = self.frames.split_off(at);
        let own = self.own;
        let next = frame::each(&rest).filter_map(|(frame, _)| first_number_of(&frame, own));
        let next = next.min().unwrap_or(self.index.next);
        let first = std::mem::replace(&mut self.first, next);
        TakenGroup {
            frames: std::mem::replace(&mut self.frames, rest),
            first: first.min(next),
            last: next - 1,
            // A later start takes those of the newest State, which comes before a segment goes.
            sums: self.index.sums,
            has_events: false,
            waiting: Vec::new(),
            fences: Vec::new(),
            is_cut: true,
        }
    }
}

/// The smallest number that is owed with this frame: its own, or one that it declares void. None: it was
/// given by an earlier process, or is a copy.
fn first_number_of(frame: &frame::Frame<'_>, own: u64) -> Option<u64> {
    if frame.flags.has(Flags::COPY) || frame.number < own {
        return None;
    }
    let void = (frame.kind == Kind::Void).then(|| record::body::<Missing>(frame.body));
    let void = void.flatten().map_or(frame.number, |missing| missing.first);
    Some(frame.number.min(void))
}
