//! The memory that bodies take: one bound for all that is read before it goes on, and a share of it
//! for each caller (P10).
//!
//! Whoever reads a body first has room for it in a [`Lease`], which gives the room back when it is
//! dropped, whatever ends the call: an answer, a hang-up, a time-out, a panic. A lease that is
//! bound to its bytes lives as long as any of them.
//!
//! What a lease takes counts at several places at once:
//!
//! | place | of the limit |
//! |---|---|
//! | all bodies | all |
//! | those of one principal | a quarter |
//! | those of an address's callers that nothing speaks for | a half |
//!
//! Of each place the last eighth is kept back for what has been read already: without room for more
//! a call goes on as a stream, and the part in hand must be somewhere until its turn.
//!
//! INVARIANT: no place ever holds more than its limit. Bodies whose caller isn't known yet
//! ([`Memory::unnamed`]) count among all bodies only; that is for what is at hand and decided
//! without waiting for anybody.

use crate::event::Principal;
use crate::peer::network_of;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Smallest limit, bytes: a caller's share of less would stream every body.
pub const LEAST: u64 = 1 << 20;

/// There is no room. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for more bodies in memory")]
pub struct NoRoom;

/// How full it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub bytes: u64,
    /// Most bytes that were in use at one moment since the start.
    pub highest: u64,
    /// Most bytes that may be.
    pub limit: u64,
    /// Places in use beside that of all bodies: principals, and addresses of callers that nothing
    /// speaks for.
    pub callers: usize,
    /// How often there was no room.
    pub no_room: u64,
}

/// The memory of all bodies; clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    unnamed: Share,
}

#[derive(Debug)]
struct Shared {
    all: Arc<Place>,
    // A plain lock: held for a look-up, when a call names or leaves its caller.
    places: Mutex<HashMap<Name, Arc<Place>>>,
    no_room: AtomicU64,
}

/// Whose place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Principal(Principal),
    Strangers(IpAddr),
}

/// Where bytes are counted.
#[derive(Debug)]
struct Place {
    limit: u64,
    used: AtomicU64,
    highest: AtomicU64,
    freed: Notify,
}

impl Place {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            freed: Notify::new(),
        }
    }

    /// Without what is kept back.
    const fn ordinary(&self) -> u64 {
        self.limit - self.limit / 8
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.ordinary()
    }

    fn take(&self, bytes: u64, reach: Reach) -> Result<(), NoRoom> {
        let most = match reach {
            Reach::Ordinary => self.ordinary(),
            Reach::InHand => self.limit,
        };
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        let before = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| NoRoom)?;
        let now = before + bytes;
        if now > self.highest.load(Ordering::Relaxed) {
            self.highest.fetch_max(now, Ordering::Relaxed);
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_one();
    }

    /// Until there is room for so much; nothing is taken. Who waits is woken one by one: each wakes
    /// the next while there is room.
    async fn free(&self, bytes: u64) {
        let mut waited = false;
        while !self.has_room(bytes) {
            waited = true;
            self.freed.notified().await;
        }
        if waited {
            self.freed.notify_one();
        }
    }
}

/// How far a lease may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Up to what is kept back.
    Ordinary,
    /// It has been read already: all of it.
    InHand,
}

impl Memory {
    /// Memory for `limit` bytes, at least [`LEAST`].
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let all = Arc::new(Place::new(limit.max(LEAST)));
        let shared = Arc::new(Shared {
            all,
            places: Mutex::default(),
            no_room: AtomicU64::new(0),
        });
        let unnamed = Share::new(&shared, &[]);
        Self { shared, unnamed }
    }

    /// For what is decided without waiting for anybody: its caller is not looked at.
    #[must_use]
    pub const fn unnamed(&self) -> &Share {
        &self.unnamed
    }

    /// What a principal may take. `stranger`: the client's address, if nothing speaks for the
    /// principal.
    #[must_use]
    pub fn share(&self, principal: Principal, stranger: Option<IpAddr>) -> Share {
        match stranger {
            Some(address) => Share::new(
                &self.shared,
                &[
                    Name::Principal(principal),
                    Name::Strangers(network_of(address)),
                ],
            ),
            None => Share::new(&self.shared, &[Name::Principal(principal)]),
        }
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let Shared {
            all,
            places,
            no_room,
        } = &*self.shared;
        Usage {
            bytes: all.used.load(Ordering::Relaxed),
            highest: all.highest.load(Ordering::Relaxed),
            limit: all.limit,
            callers: places.lock().len(),
            no_room: no_room.load(Ordering::Relaxed),
        }
    }
}

/// What one caller may take; clones are one share.
#[derive(Debug, Clone)]
pub struct Share(Arc<Account>);

#[derive(Debug)]
struct Account {
    shared: Arc<Shared>,
    /// Those of the caller, then that of all bodies.
    places: Vec<Arc<Place>>,
    names: Vec<Name>,
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let mut places = self.shared.places.lock();
        for name in &self.names {
            // The map's and this one. INVARIANT: others are made under the lock only.
            if places
                .get(name)
                .is_some_and(|place| Arc::strong_count(place) == 2)
            {
                places.remove(name);
            }
        }
    }
}

impl Share {
    fn new(shared: &Arc<Shared>, names: &[Name]) -> Self {
        let limit = shared.all.limit;
        let mut places = Vec::with_capacity(names.len() + 1);
        if !names.is_empty() {
            let mut known = shared.places.lock();
            let of = |name: &Name| match name {
                Name::Principal(_) => limit / 4,
                Name::Strangers(_) => limit / 2,
            };
            places.extend(names.iter().map(|name| {
                Arc::clone(
                    known
                        .entry(*name)
                        .or_insert_with(|| Arc::new(Place::new(of(name)))),
                )
            }));
        }
        places.push(Arc::clone(&shared.all));
        Self(Arc::new(Account {
            shared: Arc::clone(shared),
            places,
            names: names.to_vec(),
        }))
    }

    /// Largest body that can ever have room, bytes.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.0
            .places
            .iter()
            .map(|place| place.ordinary())
            .min()
            .unwrap_or(0)
    }

    /// Whether there is room for so many bytes just now.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        self.0.places.iter().all(|place| place.has_room(bytes))
    }

    /// Until there is room for so many bytes, of which nothing is taken.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn free(&self, bytes: u64) {
        while !self.has_room(bytes) {
            for place in &self.0.places {
                place.free(bytes).await;
            }
        }
    }

    /// A lease of nothing yet.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// The caller's places, without that of all bodies.
    fn own(&self) -> &[Arc<Place>] {
        self.0.places.get(..self.0.names.len()).unwrap_or_default()
    }

    /// All of these, or none.
    fn take_at(&self, places: &[Arc<Place>], bytes: u64, reach: Reach) -> Result<(), NoRoom> {
        for (taken, place) in places.iter().enumerate() {
            if place.take(bytes, reach).is_err() {
                places
                    .iter()
                    .take(taken)
                    .for_each(|place| place.give(bytes));
                self.0.shared.no_room.fetch_add(1, Ordering::Relaxed);
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.0.places.iter().for_each(|place| place.give(bytes));
    }
}

/// Room that is taken, until this is dropped.
#[derive(Debug)]
pub struct Lease {
    share: Share,
    bytes: u64,
}

impl Lease {
    /// Bytes that it takes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether its caller is known.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.share.0.names.is_empty()
    }

    /// Makes it as large as what will be read.
    ///
    /// # Errors
    /// No room: it is as large as before.
    pub fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.set(bytes as u64, Reach::Ordinary)
    }

    /// Makes it as large as what has been read already, for which something is kept back.
    ///
    /// # Errors
    /// No room: it is as large as before, and what doesn't fit is to be thrown away.
    pub fn stretch(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.set(bytes as u64, Reach::InHand)
    }

    fn set(&mut self, bytes: u64, reach: Reach) -> Result<(), NoRoom> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.share.take_at(&self.share.0.places, more, reach)?,
            None => self.share.give(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The same room among a caller's; among all bodies it has it already.
    ///
    /// # Errors
    /// The lease as it was: its caller has no room for it.
    pub fn give_to(mut self, share: &Share) -> Result<Self, Self> {
        if share
            .take_at(share.own(), self.bytes, Reach::InHand)
            .is_err()
        {
            return Err(self);
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.share.own().iter().for_each(|place| place.give(bytes));
        Ok(Self {
            share: share.clone(),
            bytes,
        })
    }

    /// A part of it, as a lease of its own.
    #[must_use]
    pub fn split_off(&mut self, bytes: usize) -> Self {
        let bytes = self.bytes.min(bytes as u64);
        self.bytes -= bytes;
        Self {
            share: self.share.clone(),
            bytes,
        }
    }

    /// The bytes, with this lease for as long as any of them is in memory.
    #[must_use]
    pub fn bind(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            bytes
        } else {
            Bytes::from_owner(Leased {
                bytes,
                _lease: self,
            })
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.share.give(self.bytes);
        }
    }
}

/// Bytes and their room.
struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
