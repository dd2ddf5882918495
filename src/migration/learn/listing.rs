//! A proposal as JSON: the configuration, what is proposed, what is not and why, what isn't known.

use super::Proposal;
use serde_json::{Value, json};

impl Proposal {
    /// As JSON.
    #[must_use]
    pub fn list(&self) -> Value {
        let events = self.events.iter().map(|one| {
            let mode = if one.on { "coalesce" } else { "off" };
            json!({ "route": one.route, "exchanges": one.exchanges, "mode": mode })
        });
        let not_proposed = self.not_proposed.iter().map(|one| {
            let (reason, why) = (one.reason.as_str(), one.reason.explain());
            json!({ "route": one.route, "exchanges": one.exchanges, "reason": reason, "why": why })
        });
        let unknown = self
            .unknown
            .iter()
            .map(|one| json!({ "route": one.route, "subject": one.subject, "why": one.text }));
        json!({
            "toml": self.toml,
            "exchanges": self.exchanges,
            "events": events.collect::<Vec<_>>(),
            "not_proposed": not_proposed.collect::<Vec<_>>(),
            "unknown": unknown.collect::<Vec<_>>(),
        })
    }
}
