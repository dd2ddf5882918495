//! What makes a caller's fingerprint change from call to call: such calls share no batch and no
//! stored answer, and an operator can mend it in a line of `[identity]` once the part is named.
//!
//! A caller is told here by the user, the host and the agent, not by its principal: a cookie that
//! no list knows is part of the principal, and is just what is looked for. Two calls are one
//! caller's where the principal is the same, or where at least one part that says who calls is;
//! everything else is two callers. A part is warned about, once, when it had another value at each
//! of `RUN` changes in a row and the caller didn't take turns between two fingerprints, as two
//! devices do.
//!
//! Bounded: `SHELVES` times `CALLERS` callers, of whom the least used are forgotten; when all
//! places are taken, only one new caller in `SAMPLE` takes another's. A call like the one before it
//! costs a look-up.

use crate::event::{Fingerprint, Keys, Principal, UserId};
use crate::identity::{Caller, Identity, Kind, Reading, lists};
use crate::keyed::Keyed;
use crate::metrics::Metrics;
use http::{HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

const SHELVES: usize = 64;
/// Callers on a shelf.
const CALLERS: usize = 64;
/// When a shelf is full, every so manieth new caller gets a place.
const SAMPLE: u64 = 8;
/// Parts that are compared of a call.
const PARTS: usize = 64;
/// Changes in a row after which a part is warned about.
const RUN: u8 = 3;
/// Names that a metric and the log show; others are counted as `other`. Callers whom the application
/// never took bring in half of them at most.
const LABELS: usize = 64;
/// Longest name that is shown, bytes.
const LABEL_BYTES: usize = 64;

const OTHER: &str = "other";
const CLIENT: &str = "client address";

/// One part of a call: a header, a cookie, a member of the body or the query, the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named<'a> {
    Header(&'a HeaderName),
    Cookie(&'a str, Kind),
    Configured(&'a str),
    Client,
}

impl Named<'_> {
    /// The part's name as it is shown.
    fn label(self) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name, _) => format!("cookie:{name}"),
            Self::Configured(name) => name.to_owned(),
            Self::Client => CLIENT.to_owned(),
        }
    }

    fn kind(self, identity: &Identity) -> Kind {
        let selection = &identity.settings().selection;
        match self {
            Self::Header(name) => selection.header(name),
            Self::Cookie(_, kind) => kind,
            Self::Configured(_) => Kind::Principal,
            Self::Client => Kind::Condition,
        }
    }

    /// What an operator can do.
    fn advice(self) -> &'static str {
        match self {
            Self::Header(name) if lists::header(name.as_str()) == Kind::Principal => {
                "every call has a token of its own, and no batch can be made of them: leave its \
                 routes off"
            }
            Self::Header(_) => {
                "if the application doesn't judge a call by it, name it in identity.ignore; in \
                 identity.conditions it still splits batches, but no longer stored answers"
            }
            Self::Cookie(..) => {
                "if the application doesn't judge a call by it, name it in identity.ignore; if it \
                 is a session that answers renew, in identity.rolling; in identity.conditions it \
                 still splits batches, but no longer stored answers and order"
            }
            Self::Configured(_) => {
                "identity.credentials names it: take it out if it says nothing of the caller"
            }
            Self::Client => "if these are proxies of your own, name them in server.trusted_proxies",
        }
    }
}

/// A part as it is remembered: hashes of its name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    name: u64,
    value: u64,
}

#[derive(Debug)]
struct Entry {
    fingerprint: Fingerprint,
    /// The one before it.
    before: Option<Fingerprint>,
    principal: Principal,
    parts: Box<[Seen]>,
    /// Calls in a row that each had another fingerprint than the one before, and names of what
    /// differed at each of them.
    run: u8,
    common: Vec<u64>,
    used: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    callers: Keyed<u64, Entry>,
    clock: u64,
}

impl Shelf {
    /// Whether there is room for one more, which may cost the least used one its place.
    fn has_room(&mut self) -> bool {
        if self.callers.len() < CALLERS {
            return true;
        }
        if !self.clock.is_multiple_of(SAMPLE) {
            return false;
        }
        let oldest = self
            .callers
            .iter()
            .min_by_key(|(_, entry)| entry.used)
            .map(|(caller, _)| *caller);
        oldest.is_some_and(|oldest| self.callers.remove(&oldest).is_some())
    }
}

/// What differs between a call and the one before it, and whether it did so at every one of the
/// last calls.
#[derive(Debug)]
struct Difference<'a>(Vec<(Named<'a>, bool)>);

/// The last fingerprints of callers, and the parts that were warned about.
#[derive(Debug)]
pub struct Changes {
    hasher: RandomState,
    // A plain lock: held for a look-up, or to compare two calls.
    shelves: Vec<Mutex<Shelf>>,
    /// Names that are shown, and whether they were warned about.
    labels: Mutex<BTreeMap<String, bool>>,
    metrics: Arc<Metrics>,
}

impl Changes {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let shelves = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self {
            hasher: RandomState::new(),
            shelves,
            labels: Mutex::default(),
            metrics,
        }
    }

    /// The parts that were warned about, by name.
    #[must_use]
    pub fn warned(&self) -> Vec<String> {
        self.labels
            .lock()
            .iter()
            .filter(|(_, warned)| **warned)
            .map(|(label, _)| label.clone())
            .collect()
    }

    /// Compares a call of a user with the one before it, counts what differs, and warns of what
    /// differs every time. `read`: asked for only if there is something to compare. `is_good`: the
    /// application took calls of the caller's.
    pub fn note<'a>(
        &self,
        identity: &Identity,
        caller: &Caller<'a>,
        user: &UserId,
        keys: &Keys,
        read: impl FnOnce() -> Reading<'a>,
        is_good: impl FnOnce() -> bool,
    ) {
        let agent = caller
            .parts()
            .headers
            .get(header::USER_AGENT)
            .map(HeaderValue::as_bytes);
        let place = self.hasher.hash_one((keys.realm, user, agent));
        let Some(shelf) = self
            .shelves
            .get(usize::try_from((place >> 32) % SHELVES as u64).unwrap_or(0))
        else {
            return;
        };
        let reading;
        let difference = {
            let mut shelf = shelf.lock();
            shelf.clock += 1;
            let clock = shelf.clock;
            let Some(entry) = shelf.callers.get_mut(&place) else {
                if shelf.has_room() {
                    let entry = Self::entry(&self.parts(identity, caller, &read()), keys, clock);
                    shelf.callers.insert(place, entry);
                }
                return;
            };
            entry.used = clock;
            if entry.fingerprint == keys.fingerprint {
                (entry.run, entry.common) = (0, Vec::new());
                return;
            }
            reading = read();
            self.compare(
                entry,
                identity,
                &self.parts(identity, caller, &reading),
                keys,
            )
        };
        if let Some(difference) = difference {
            let room = if is_good() { LABELS } else { LABELS / 2 };
            self.tell(&difference, room);
        }
    }

    fn entry(parts: &[(Named<'_>, Seen)], keys: &Keys, used: u64) -> Entry {
        let parts = parts.iter().map(|(_, seen)| *seen).collect();
        let (fingerprint, principal) = (keys.fingerprint, keys.principal);
        Entry {
            fingerprint,
            before: None,
            principal,
            parts,
            run: 0,
            common: Vec::new(),
            used,
        }
    }

    /// What enters the fingerprint of a call.
    fn parts<'a>(
        &self,
        identity: &Identity,
        caller: &Caller<'_>,
        reading: &'a Reading<'_>,
    ) -> Vec<(Named<'a>, Seen)> {
        let headers = reading
            .headers()
            .map(|(name, value)| (Named::Header(name), value.as_bytes()));
        let cookies = reading.cookies().filter_map(|(kind, pair)| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            Some((Named::Cookie(name.trim(), kind), value.as_bytes()))
        });
        let configured = reading
            .named()
            .iter()
            .map(|(name, raw)| (Named::Configured(name), raw.as_bytes()));
        let seen = |(named, value)| {
            (
                named,
                Seen {
                    name: self.name(named),
                    value: self.hasher.hash_one(value),
                },
            )
        };
        let mut out: Vec<_> = headers
            .chain(cookies)
            .chain(configured)
            .take(PARTS)
            .map(seen)
            .collect();
        if identity.settings().selection.by_default {
            let value = self.hasher.hash_one(caller.peer().client);
            out.push((
                Named::Client,
                Seen {
                    name: self.name(Named::Client),
                    value,
                },
            ));
        }
        out
    }

    fn name(&self, named: Named<'_>) -> u64 {
        match named {
            Named::Header(name) => self.hasher.hash_one((0, name.as_str())),
            Named::Cookie(name, _) => self.hasher.hash_one((1, name)),
            Named::Configured(name) => self.hasher.hash_one((2, name)),
            Named::Client => 3,
        }
    }

    /// Puts a call in the place of the one before it. None: that was another caller's.
    fn compare<'a>(
        &self,
        entry: &mut Entry,
        identity: &Identity,
        parts: &[(Named<'a>, Seen)],
        keys: &Keys,
    ) -> Option<Difference<'a>> {
        let next = Self::entry(parts, keys, entry.used);
        let last = std::mem::replace(entry, next);
        let (same, changed): (Vec<_>, Vec<_>) = parts
            .iter()
            .copied()
            .partition(|(_, seen)| last.parts.contains(seen));
        let says_who = |named: Named<'_>| named.kind(identity) == Kind::Principal;
        if last.principal != entry.principal && !same.iter().any(|(named, _)| says_who(*named)) {
            return None;
        }
        entry.before = Some(last.fingerprint);
        if last.before != Some(entry.fingerprint) {
            let names: Vec<u64> = changed.iter().map(|(_, seen)| seen.name).collect();
            let common: Vec<u64> = names
                .iter()
                .copied()
                .filter(|name| last.common.contains(name))
                .collect();
            (entry.run, entry.common) = if common.is_empty() {
                (1, names)
            } else {
                (last.run.saturating_add(1), common)
            };
        }
        let lasting = |seen: &Seen| entry.run >= RUN && entry.common.contains(&seen.name);
        Some(Difference(
            changed
                .into_iter()
                .map(|(named, seen)| (named, lasting(&seen)))
                .collect(),
        ))
    }

    /// `room`: how many names may be shown for it to bring in another one.
    fn tell(&self, Difference(changed): &Difference<'_>, room: usize) {
        if changed.is_empty() {
            // A part that isn't there any more, or the scheme.
            self.count(OTHER);
        }
        for (named, lasts) in changed {
            let Some((label, warn)) = self.show(*named, *lasts, room) else {
                self.count(OTHER);
                continue;
            };
            self.count(&label);
            if warn {
                let advice = named.advice();
                tracing::warn!(
                    part = label,
                    advice,
                    "calls of one caller differ in this part every time: they share no batch"
                );
            }
        }
    }

    fn count(&self, label: &str) {
        self.metrics.changed_parts.with_label_values(&[label]).inc();
    }

    /// The name of a part, if it may be shown, and whether it is to be warned about now.
    fn show(&self, named: Named<'_>, lasts: bool, room: usize) -> Option<(String, bool)> {
        let label = named.label();
        let plain = label
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let mut labels = self.labels.lock();
        let known = labels.get_mut(&label);
        if known.is_none() && (!plain || label.len() > LABEL_BYTES || labels.len() >= room) {
            return None;
        }
        let warned = labels.entry(label.clone()).or_default();
        let warn = lasts && !std::mem::replace(warned, true);
        Some((label, warn))
    }
}
