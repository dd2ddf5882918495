//! The events that would be kept, as the event path keeps them.

use super::report::EventReport;
use super::secrets::Secrets;
use crate::event::{Event, Outcome, TokenLife};
use crate::ingest::Acceptor;
use crate::ingest::delivery::outcomes::{Delivered, Outcomes};
use crate::ingest::settings::MissingId;
use crate::json::{self, Object};
use parking_lot::Mutex;
use serde_json::value::RawValue;

/// Is told of the events that an event path keeps.
#[derive(Debug, Default)]
pub(crate) struct KeptEvents(Mutex<Vec<Event>>);

impl Outcomes for KeptEvents {
    fn note_kept(&self, event: &Event) {
        self.0.lock().push(event.clone());
    }

    fn note_delivery(&self, _: &Delivered<'_>) {}

    fn note_outcome(&self, _: &Event, _: &Outcome) {}
}

impl KeptEvents {
    /// What was kept, without what is secret. `said`: the call's body.
    pub(super) fn describe(
        &self,
        secrets: &Secrets,
        acceptor: &Acceptor,
        said: &str,
    ) -> Vec<EventReport> {
        let events = self.0.lock();
        let described = events.iter().map(|event| {
            let group = acceptor.group(event.lane.group);
            let missing_id = group.map(|group| group.missing_id);
            EventReport {
                group: event.lane.group.0,
                id: secrets.hide(event.id()),
                id_from: id_from(event.id(), missing_id, said),
                user: secrets.hide(event.lane.user.as_str()),
                event: hide_members(event.json(), secrets),
                seals_at_once: event.priority,
                has_key: event.subject.is_some(),
                token_ms: event.token_life.map(TokenLife::as_ms),
            }
        });
        described.collect()
    }
}

/// Where an id is from: what Tidegate makes is a UUID of version 4 that stands nowhere in the call,
/// or one of version 8 where it is a hash.
fn id_from(id: &str, missing_id: Option<MissingId>, said: &str) -> &'static str {
    let version = uuid::Uuid::parse_str(id)
        .ok()
        .map(|id| id.get_version_num());
    match (missing_id, version) {
        (Some(MissingId::Hash), Some(8)) => "hash",
        (Some(MissingId::Generate), Some(4)) if !said.to_lowercase().contains(id) => "generated",
        _ => "call",
    }
}

/// The members in their order.
fn hide_members(event: &[u8], secrets: &Secrets) -> Box<RawValue> {
    let text = std::str::from_utf8(event).unwrap_or("{}");
    let mut out = String::from("{");
    if let Ok(object) = Object::parse(text) {
        for (name, raw) in object.iter() {
            if out.len() > 1 {
                out.push(',');
            }
            json::write_string(&mut out, name);
            out.push(':');
            out.push_str(&secrets.hide_in_json(raw));
        }
    }
    out.push('}');
    RawValue::from_string(out).unwrap_or_default()
}
