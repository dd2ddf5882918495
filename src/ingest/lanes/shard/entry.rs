//! A durable event, as its lane sees it.

use super::Kept;
use crate::event::{Carried, EventId, LaneKey, Owner, Subject, Tag};
use crate::ingest::lanes::window::Entry;
use crate::json::Object;
use crate::template::Path;
use bytes::Bytes;
use tokio::time::Instant;

impl Entry for Kept {
    fn seq(&self) -> u64 {
        (**self).seq()
    }
    fn since(&self) -> Option<Instant> {
        Some((**self).since())
    }
    fn expires(&self) -> Option<Instant> {
        let life = self.event().token_life?.as_duration();
        (**self).since().checked_add(life)
    }
    fn id(&self) -> &str {
        self.event().id()
    }
    fn event_id(&self) -> EventId {
        self.event().texts.event_id()
    }
    fn lane(&self) -> &LaneKey {
        &self.event().lane
    }
    fn owner(&self) -> Owner {
        self.event().owner()
    }
    fn bytes(&self) -> usize {
        self.event().json().len()
    }
    fn priority(&self) -> bool {
        self.event().priority
    }
    fn envelope(&self) -> usize {
        self.ticket.envelope()
    }
    fn subject(&self) -> Option<Subject> {
        self.event().subject
    }
    fn field(&self, path: &Path) -> Option<&[u8]> {
        let text = std::str::from_utf8(self.event().json()).ok()?;
        Object::parse(text).ok()?.at(&path.0).map(str::as_bytes)
    }
    fn has_single(&self) -> bool {
        self.event().has_single
    }
    fn is_for_service(&self) -> bool {
        Carried::is_for_service(self.event().carried())
    }
    fn shown(&self) -> Bytes {
        self.event().texts.share_json()
    }
    fn tags(&self) -> &[Tag] {
        &self.event().tags
    }
}
