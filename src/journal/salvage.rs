//! Whole records out of raw files, for when the engine can't read them or has cut off more than a torn tail.

use super::commit::STATE_KEY;
use super::record::{self, Frame, Kind, Record, SettledIds, State};
use super::store::{Change, Depth, Store, StoreError, Table};
use crate::event::{Fingerprint, Principal, Raw};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Changes per commit while records are taken over.
const TAKE_OVER: usize = 4096;

/// Whole records found in raw files.
#[derive(Debug, Default)]
pub struct Salvage {
    /// The number of the last commit that was seen.
    pub last_commit: u64,
    state: State,
    events: HashMap<u64, Vec<u8>>,
    letters: HashMap<u64, Vec<u8>>,
    credentials: HashMap<Fingerprint, Vec<u8>>,
    chunks: HashMap<u64, Vec<u8>>,
    settled: HashSet<[u8; 16]>,
    /// By bearer, each with the time at which it may be forgotten.
    successions: HashMap<Principal, (u64, Vec<u8>)>,
}

impl Salvage {
    /// Looks through files.
    ///
    /// # Errors
    /// One can't be read.
    pub fn from_files(files: &[PathBuf]) -> std::io::Result<Self> {
        let mut salvage = Self::default();
        for file in files {
            let bytes = std::fs::read(file)?;
            for frame in record::scan(&bytes) {
                salvage.add(frame);
            }
        }
        Ok(salvage)
    }

    fn add(&mut self, frame: Frame<'_>) {
        match frame.kind {
            Kind::State => {
                if frame.number > self.last_commit
                    && let Some(state) = record::body(frame.body)
                {
                    (self.last_commit, self.state) = (frame.number, state);
                }
            }
            Kind::Event => drop(self.events.insert(frame.number, frame.whole.to_vec())),
            Kind::Dead => drop(self.letters.insert(frame.number, frame.whole.to_vec())),
            Kind::Settled => {
                if let Some(ids) = record::body::<SettledIds>(frame.body) {
                    self.settled.extend(ids.iter().map(|(id, _)| *id));
                    self.chunks.insert(frame.number, frame.whole.to_vec());
                }
            }
            Kind::Credential => {
                if let Some((fingerprint, _)) = record::body::<([u8; 16], Raw<'_>)>(frame.body) {
                    self.credentials.insert(Fingerprint(fingerprint), frame.whole.to_vec());
                }
            }
            Kind::Succession => self.add_succession(frame.whole),
        }
    }

    /// Of a bearer that was written several times the last one counts.
    fn add_succession(&mut self, whole: &[u8]) {
        let Some(found) = record::open_succession(whole) else { return };
        let known = self.successions.entry(found.succession().bearer).or_default();
        if found.until_ms >= known.0 {
            *known = (found.until_ms, whole.to_vec());
        }
    }

    /// Events from `from` on that were not settled, with what they need. What was settled and not yet seen as such is
    /// offered again (ruling 3).
    ///
    /// # Errors
    /// The store can't be written.
    pub fn take_over(self, store: &mut impl Store, from: u64) -> Result<usize, StoreError> {
        let mut changes = Vec::new();
        let mut taken = 0;
        let mut settled_before: HashSet<u64> = HashSet::new();
        for (seq, bytes) in &self.events {
            let seen =
                record::open(bytes).and_then(|frame| record::body::<Record<'_>>(frame.body).map(|body| body.seen));
            match seen {
                Some(seen) if self.settled.contains(&seen) || self.letters.contains_key(seq) => {
                    settled_before.insert(*seq);
                }
                Some(_) if *seq >= from => {
                    taken += 1;
                    changes.push(Change::Put(Table::Events, seq.to_be_bytes().to_vec(), bytes.clone()));
                }
                Some(_) | None => {}
            }
        }
        changes.extend(settled_before.iter().map(|seq| Change::Remove(Table::Events, seq.to_be_bytes().to_vec())));
        let credentials = self.credentials.into_iter();
        changes.extend(credentials.map(|(key, value)| Change::Put(Table::Credentials, key.0.to_vec(), value)));
        let chunks = self.chunks.into_iter();
        changes.extend(chunks.map(|(key, value)| Change::Put(Table::Settled, key.to_be_bytes().to_vec(), value)));
        let letters = self.letters.into_iter().filter(|(seq, _)| *seq >= from || settled_before.contains(seq));
        changes.extend(letters.map(|(key, value)| Change::Put(Table::Dead, key.to_be_bytes().to_vec(), value)));
        let successions = self.successions.into_iter();
        changes.extend(successions.map(|(key, (_, value))| Change::Put(Table::Successions, key.0.to_vec(), value)));
        let highest = self.events.keys().max().map_or(1, |seq| seq + 1);
        let state = State { next_seq: self.state.next_seq.max(highest), ..self.state };
        let state = record::frame(Kind::State, self.last_commit, &state);
        changes.push(Change::Put(Table::Meta, STATE_KEY.to_vec(), state));
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(TAKE_OVER));
            store.commit(std::mem::replace(&mut changes, rest), Depth::Disk)?;
        }
        Ok(taken)
    }
}
