//! What a pass over the log makes of its frames: what is pending, dead, remembered, and the sums.

use crate::event::{Context, Fingerprint, Principal};
use crate::journal::commit::index::Kept;
use crate::journal::log::frame::{Flags, Frame, Kind};
use crate::journal::log::live::Live;
use crate::journal::log::replay::Missing;
use crate::journal::log::writer::{Head, Sums};
use crate::journal::record::{
    self, DeadRecord, DroppedLetters, Record, RefusalRecord, SettledAs, SettledEvent, SettledIds,
    SuccessionRecord,
};
use crate::journal::vault::{Vault, VaultError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A frame that is alive, as it was found.
#[derive(Debug)]
pub(super) struct FoundFrame {
    pub(super) kept: Kept,
    /// Whose lane its event is in.
    pub(super) credential: Fingerprint,
    /// Its event came in for its group's service credential.
    pub(super) for_service: bool,
    /// Its caller was known to be good when it was kept.
    pub(super) good: bool,
    /// Its record, opened.
    pub(super) record: Box<[u8]>,
}

/// What a pass over the log has found so far.
pub(super) struct Reading<'a> {
    pub(super) vault: &'a Vault,
    pub(super) sums: Sums,
    /// The sums begin with those of a head.
    pub(super) has_base: bool,
    pub(super) pending: BTreeMap<u64, FoundFrame>,
    /// Events that have their outcomes, or never were: no copy brings them back, wherever it lies.
    pub(super) ended: Live,
    pub(super) letters: BTreeMap<u64, FoundFrame>,
    pub(super) letters_gone: HashSet<u64>,
    /// What each event has replaced, should it turn out to have been refused.
    pub(super) replaced: HashMap<u64, (u64, Option<FoundFrame>)>,
    pub(super) contexts: HashMap<Fingerprint, (Kept, Arc<Context>)>,
    pub(super) settled: SettledIds,
    pub(super) successions: Vec<(SuccessionRecord, u64)>,
    /// The newest of each principal, by number: what is written again may lie behind a newer one.
    pub(super) refusals: HashMap<Principal, (RefusalRecord, u64)>,
    /// Frames whose bodies are none.
    pub(super) bad: u64,
    /// There are records that the key of today would seal otherwise.
    pub(super) is_open: bool,
    pub(super) wrong_key: Option<VaultError>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(vault: &'a Vault) -> Self {
        Self {
            vault,
            sums: Sums::default(),
            has_base: false,
            pending: BTreeMap::new(),
            ended: Live::default(),
            letters: BTreeMap::new(),
            letters_gone: HashSet::new(),
            replaced: HashMap::new(),
            contexts: HashMap::new(),
            settled: Vec::new(),
            successions: Vec::new(),
            refusals: HashMap::new(),
            bad: 0,
            is_open: false,
            wrong_key: None,
        }
    }

    /// Whether it could be read.
    pub(super) fn read_frame(&mut self, frame: &Frame<'_>) -> bool {
        let is_read = self.try_read_frame(frame).is_some();
        self.bad += u64::from(!is_read);
        is_read
    }

    fn try_read_frame(&mut self, frame: &Frame<'_>) -> Option<()> {
        let kept = Kept {
            number: frame.number,
            size: frame.size() as u64,
        };
        match frame.kind {
            // The others say less than the frames before them: what was written again comes behind
            // a head that doesn't count it yet.
            Kind::Head if self.has_base => {}
            Kind::Head => {
                self.sums = Head::read(frame.body)?.sums;
                self.has_base = true;
                self.ended.begin_at(frame.number);
            }
            Kind::State => self.sums = record::body(frame.body)?,
            Kind::Event => {
                let (replaces, body) = record::keyed(frame.body)?;
                let record = self.open(frame, body)?;
                let event = record::body::<Record<'_>>(&record).filter(Record::is_sound)?;
                let (credential, for_service) = (event.fingerprint(), event.is_for_service());
                if replaces > 0 && !frame.flags.has(Flags::COPY) {
                    let letter = self.end_letter(replaces);
                    self.replaced.insert(frame.number, (replaces, letter));
                    self.sums.dead = self.sums.dead.saturating_sub(1);
                }
                if !self.ended.contains(frame.number) {
                    let found = FoundFrame {
                        kept,
                        credential,
                        for_service,
                        good: frame.flags.has(Flags::GOOD),
                        record,
                    };
                    self.pending.insert(frame.number, found);
                }
            }
            Kind::Letter => {
                let (key, body) = record::keyed(frame.body)?;
                self.end(key);
                self.sums.dead += u64::from(!frame.flags.has(Flags::COPY));
                let record = self.open(frame, body)?;
                let letter = record::body::<DeadRecord<'_>>(&record);
                let event = letter.map(|letter| letter.event);
                let event = event.filter(Record::is_sound)?;
                let (credential, for_service) = (event.fingerprint(), event.is_for_service());
                if !self.letters_gone.contains(&key) {
                    let found = FoundFrame {
                        kept,
                        credential,
                        for_service,
                        good: frame.flags.has(Flags::GOOD),
                        record,
                    };
                    self.letters.insert(key, found);
                }
            }
            Kind::Context => {
                let (fingerprint, stored) = record::context(frame.body)?;
                let context = match self.vault.open(fingerprint, stored) {
                    Ok(context) => context,
                    Err(VaultError::Damaged) => return None,
                    Err(error) => {
                        // Going on without the key would give up every event that needs one of
                        // these.
                        self.wrong_key = Some(error);
                        return Some(());
                    }
                };
                self.is_open |= !self.vault.is_sealed_as_today(fingerprint, stored);
                self.contexts.insert(fingerprint, (kept, Arc::new(context)));
            }
            Kind::Settled => {
                for settled in record::body::<Vec<SettledEvent>>(frame.body)? {
                    self.end(settled.seq);
                    let sum = match settled.outcome {
                        SettledAs::Accepted => &mut self.sums.accepted,
                        SettledAs::Duplicate => &mut self.sums.duplicate,
                        SettledAs::Superseded => &mut self.sums.superseded,
                        SettledAs::Dead => &mut self.sums.dead,
                    };
                    *sum += 1;
                    self.settled.extend(settled.seen);
                }
            }
            Kind::Seen => self.settled.extend(record::body::<SettledIds>(frame.body)?),
            Kind::Dropped => {
                let DroppedLetters { letters, for_room } = record::body(frame.body)?;
                self.sums.dropped += if for_room { letters.len() as u64 } else { 0 };
                letters
                    .iter()
                    .for_each(|letter| drop(self.end_letter(*letter)));
            }
            Kind::Succession => {
                let record: SuccessionRecord = record::body(frame.body)?;
                self.successions.push((record, frame.number));
            }
            Kind::Refusal => {
                let record: RefusalRecord = record::body(frame.body)?;
                let newest = self
                    .refusals
                    .get(&record.principal())
                    .map_or(0, |(_, number)| *number);
                if frame.number >= newest {
                    self.refusals
                        .insert(record.principal(), (record, frame.number));
                }
            }
            Kind::Void => {
                let Missing { first, last } = record::body(frame.body)?;
                (first..=last).for_each(|number| self.void(number));
            }
        }
        Some(())
    }

    fn end(&mut self, number: u64) {
        self.pending.remove(&number);
        self.ended.insert(number);
    }

    fn end_letter(&mut self, key: u64) -> Option<FoundFrame> {
        self.letters_gone.insert(key);
        self.letters.remove(&key)
    }

    /// It was refused: what it replaced is there again.
    fn void(&mut self, number: u64) {
        self.end(number);
        if let Some((key, letter)) = self.replaced.remove(&number) {
            self.letters_gone.remove(&key);
            self.sums.dead += 1;
            self.letters.extend(letter.map(|letter| (key, letter)));
        }
    }

    fn open(&mut self, frame: &Frame<'_>, body: &[u8]) -> Option<Box<[u8]>> {
        let is_sealed = frame.flags.has(Flags::SEALED);
        match self.vault.open_record(is_sealed, body) {
            Ok((record, as_today)) => {
                self.is_open |= !as_today;
                Some(record)
            }
            Err(VaultError::Damaged) => None,
            Err(error) => {
                self.wrong_key = Some(error);
                None
            }
        }
    }
}
