//! A segment's frames, read piece by piece: none of it takes long, nor much memory.

use super::files::SegmentFile;
use super::frame::{self, Frame};
use super::segment::HEAD_SALT;
use std::io;

/// The frames of a segment that are still to be read.
#[derive(Debug)]
pub struct Pieces<File> {
    file: File,
    salt: u32,
    /// Bytes that are read at once.
    piece: usize,
    at: u64,
    end: u64,
    /// What the file holds from `at` on.
    read: Vec<u8>,
}

impl<File: SegmentFile> Pieces<File> {
    /// All frames with this salt, of a file of so many bytes; `piece`: bytes that are read at once.
    pub const fn new(file: File, size: u64, salt: u32, piece: usize) -> Self {
        Self {
            file,
            salt,
            piece,
            at: 0,
            end: size,
            read: Vec::new(),
        }
    }

    /// Shows `look` the next whole frames, in their order; whether there may be more. What is no
    /// frame is passed over, the head among it. A frame that is longer than a piece is read whole,
    /// and at damage what is left of the file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn look(&mut self, mut look: impl FnMut(&Frame<'_>)) -> io::Result<bool> {
        self.fill(self.piece)?;
        let mut passed = 0;
        if self.at == 0
            && let Some(head) = frame::open(&self.read, HEAD_SALT)
        {
            passed = head.size();
        }
        passed += self.look_at_whole(passed, &mut look);
        if passed == 0
            && let Some(size) = frame::size_of_next(&self.read)
            && size > self.read.len()
            && (size as u64) <= self.end - self.at
        {
            self.fill(size)?;
            passed = self.look_at_whole(0, &mut look);
        }
        if passed == 0 && !self.read.is_empty() && self.read.iter().all(|byte| *byte == 0) {
            // Room that was never used: no frame begins there.
            passed = self.read.len();
        }
        if passed == 0 {
            // The next frame may be anywhere in the rest.
            self.fill(usize::MAX)?;
            passed = frame::find(&self.read, self.salt).unwrap_or(self.read.len());
        }
        self.read.drain(..passed);
        self.at += passed as u64;
        Ok(self.at < self.end)
    }

    /// Shows the frames that follow one another from here on, a piece at most or one frame; how many
    /// bytes they take.
    fn look_at_whole(&self, from: usize, look: &mut impl FnMut(&Frame<'_>)) -> usize {
        let mut passed = 0;
        while passed < self.piece
            && let Some(rest) = self.read.get(from + passed..)
            && let Some(frame) = frame::open(rest, self.salt)
        {
            look(&frame);
            passed += frame.size();
        }
        passed
    }

    /// So many bytes are read from `at` on, as far as the file goes.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let (have, wanted) = (self.read.len(), wanted.min(left));
        if have < wanted {
            self.read.resize(wanted, 0);
            let to = self.read.get_mut(have..).unwrap_or_default();
            let found = have + self.file.read_at(self.at + have as u64, to)?;
            if found < wanted {
                // It is shorter than it was said to be.
                self.read.truncate(found);
                self.end = self.at + found as u64;
            }
        }
        Ok(())
    }

    /// The file, and how many bytes it has.
    pub fn into_file(self) -> (File, u64) {
        (self.file, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::Files as _;
    use super::super::frame::{Flags, Kind};
    use super::super::segment::{Head, Sums, salt_of};
    use super::super::simulated_disk::SimulatedDisk;
    use super::*;
    use proptest::prelude::*;

    const EPOCH: [u8; 16] = [3; 16];

    fn segment(bodies: &[usize]) -> Vec<u8> {
        let head = Head {
            epoch: EPOCH,
            secret: [0; 32],
            next: 1,
            sums: Sums::default(),
            left_out: None,
        };
        let mut frames = Vec::new();
        for (number, length) in (1..).zip(bodies) {
            frame::push(&mut frames, Kind::Event, Flags::default(), number, |out| {
                out.resize(out.len() + length, 7)
            });
        }
        frame::finish_all(&mut frames, salt_of(&EPOCH, 0), 0);
        [head.frame(1, 0), frames].concat()
    }

    proptest! {
        /// Whole or damaged, cut off or with room behind its end.
        #[test]
        fn pieces_hold_the_same_frames_as_the_whole(
            bodies in proptest::collection::vec(0_usize..90, 0..30),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            more in -40_isize..40,
            piece in 1_usize..200,
        ) {
            let mut bytes = segment(&bodies);
            for (at, to) in damage {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            bytes.resize(bytes.len().saturating_add_signed(more), 0);
            let disk = SimulatedDisk::default();
            let size = bytes.len() as u64;
            let file = disk.create(0, size).unwrap();
            file.write_at(0, &bytes).unwrap();
            let salt = salt_of(&EPOCH, 0);
            let mut pieces = Pieces::new(file, size, salt, piece);
            let mut found = Vec::new();
            while pieces
                .look(|frame| found.push((frame.number, frame.body.to_vec())))
                .unwrap()
            {}
            let wanted: Vec<_> = frame::each_whole(&bytes, salt)
                .map(|frame| (frame.number, frame.body.to_vec()))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_whole_segment_is_never_looked_at_in_one_piece() {
        let bytes = segment(&[50; 100]);
        let disk = SimulatedDisk::default();
        let size = bytes.len() as u64;
        let file = disk.create(0, size).unwrap();
        file.write_at(0, &bytes).unwrap();
        let mut pieces = Pieces::new(file, size, salt_of(&EPOCH, 0), 256);
        let mut looks = 0;
        let mut seen = 0;
        while pieces.look(|_| seen += 1).unwrap() {
            assert!(pieces.read.len() <= 256 && seen <= 4 * (looks + 1));
            looks += 1;
        }
        assert_eq!(seen, 100);
    }
}
