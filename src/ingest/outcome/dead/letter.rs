//! A dead letter: as it is kept in memory, as the journal holds it and as operators see it.

use crate::clock::millis;
use crate::event::{Carried, Event};
use crate::identity::keys;
use crate::journal::record::{self, DeadRecord, Record};
use std::borrow::Cow;
use std::sync::Arc;

/// A dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The event's number in the journal; its name for an operator.
    pub key: u64,
    /// The batch group's name.
    pub group: Arc<str>,
    /// The event.
    pub event: Event,
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// Why it died.
    pub reason: Cow<'static, str>,
    /// Times it was named as failed.
    pub attempts: u32,
    /// The upstream's last status; 0: none.
    pub status: u16,
    /// When it was given up, Unix milliseconds.
    pub died_ms: u64,
    /// Its credential was damaged in the journal: it is never sent, whatever it died of.
    pub lost: bool,
    /// What the application said when it died, an excerpt.
    pub answer: Option<Box<str>>,
}

/// A dead letter as operators see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Shown {
    /// What commands name it by.
    pub key: u64,
    /// The event's id.
    pub id: String,
    /// Its batch group.
    pub group: String,
    /// The path of the single call, without its query.
    pub route: Option<String>,
    /// Its user.
    pub user: String,
    /// Why it is here.
    pub reason: String,
    /// The upstream's last status.
    pub status: Option<u16>,
    /// The event as the batch held it.
    pub event: Box<serde_json::value::RawValue>,
    /// When it was received, Unix milliseconds.
    pub received_at: u64,
    /// When it was given up, Unix milliseconds.
    pub died_at: u64,
    /// Times it was named as failed.
    pub attempts: u32,
    /// What the application said when it died: 512 characters at most, of what names the event if
    /// that is more.
    pub answer: Option<String>,
}

impl DeadLetter {
    /// As the journal's table holds it.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let event = Record::of(&self.event, &self.group, self.seen);
        let (reason, attempts, status, died_ms) =
            (&*self.reason, self.attempts, self.status, self.died_ms);
        let letter = DeadRecord {
            reason,
            attempts,
            status,
            died_ms,
            event,
        };
        record::letter_bytes(&letter, self.answer.as_deref())
    }

    /// As operators see it.
    #[must_use]
    pub fn show(&self) -> Shown {
        let event = &self.event;
        let json = std::str::from_utf8(event.json())
            .unwrap_or("null")
            .to_owned();
        let legacy = Carried::unpack(event.carried()).and_then(|carried| carried.legacy);
        Shown {
            key: self.key,
            id: event.id().to_owned(),
            group: self.group.to_string(),
            route: legacy.map(|call| call.path.split('?').next().unwrap_or_default().to_owned()),
            user: keys::shown_user(event).into_owned(),
            reason: self.reason.to_string(),
            status: (self.status > 0).then_some(self.status),
            event: serde_json::value::RawValue::from_string(json).unwrap_or_default(),
            received_at: millis(event.received_at),
            died_at: self.died_ms,
            attempts: self.attempts,
            answer: self.answer.as_deref().map(str::to_owned),
        }
    }
}
