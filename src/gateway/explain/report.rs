//! What `tidegate explain` says of a call, as data. No value of a header or a cookie is in it.

use serde::Serialize;
use serde_json::value::RawValue;

/// What would become of a call, and why, stage by stage.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// Its head, as the gateway reads it.
    pub(crate) head: HeadReport,
    /// Every rule that is of its path, and what came of it.
    pub(crate) rules: Vec<RuleReport>,
    /// Rules that are of other paths.
    pub(crate) rules_of_other_paths: usize,
    /// Who calls.
    pub(crate) caller: CallerReport,
    /// Whether Tidegate may answer it itself.
    pub(crate) checks: ChecksReport,
    /// Its body.
    pub(crate) body: BodyReport,
    /// How the rule of an event stands for its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<ModeReport>,
    /// The group that its events go by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<GroupReport>,
    /// What would be kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<EventReport>,
    /// What goes before it, and what it makes old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) touches: Option<TouchReport>,
    /// What the read path does with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read: Option<ReadReport>,
    /// The decision, where the application has taken a call of this caller before.
    pub(crate) decision: DecisionReport,
    /// Where nothing is known of the caller.
    pub(crate) unseen: DecisionReport,
    /// Where its rule's mode forwards it: what `coalesce` would make of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_coalesce: Option<Box<InCoalesce>>,
    /// What nobody can say without the running sidecar.
    pub(crate) unknown: Vec<&'static str>,
}

/// What a rule would make of its calls in mode `coalesce`.
#[derive(Debug, Serialize)]
pub(crate) struct InCoalesce {
    /// The decision.
    pub(crate) decision: DecisionReport,
    /// What would be kept.
    pub(crate) events: Vec<EventReport>,
}

/// A head, as the gateway reads it.
#[derive(Debug, Serialize)]
pub(crate) struct HeadReport {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    pub(crate) https: bool,
    /// The client's address.
    pub(crate) client: String,
    /// Names of the query's parameters.
    pub(crate) parameters: Vec<String>,
    /// Names of the headers that are left.
    pub(crate) headers: Vec<String>,
    /// Names of the headers that are taken off or replaced, since they are the connection's or say
    /// what only a trusted proxy may.
    pub(crate) taken_off: Vec<String>,
}

/// A rule of the call's path.
#[derive(Debug, Serialize)]
pub(crate) struct RuleReport {
    /// `event`, `batch`, `write`, `cache` or `preview`.
    pub(crate) section: &'static str,
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// It has the call.
    pub(crate) applies: bool,
    /// Why it doesn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why_not: Option<String>,
}

/// Who calls.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CallerReport {
    pub(crate) user: Option<String>,
    /// Nothing says who calls.
    pub(crate) is_nameless: bool,
    /// Names of what the principal is told by.
    pub(crate) principal: Vec<String>,
    /// Names of what the view has beside.
    pub(crate) view: Vec<String>,
    /// Names of what the fingerprint has beside.
    pub(crate) fingerprint: Vec<String>,
}

/// Whether Tidegate may answer a call itself.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChecksReport {
    /// Checks that the configuration asks for.
    pub(crate) asked: Vec<&'static str>,
    /// The first one that fails.
    pub(crate) fails: Option<&'static str>,
    /// What is missing, or there.
    pub(crate) detail: Option<String>,
}

/// A body.
#[derive(Debug, Default, Serialize)]
pub(crate) struct BodyReport {
    /// Bytes as sent.
    pub(crate) bytes: usize,
    pub(crate) media_type: Option<String>,
    pub(crate) coding: Option<String>,
    /// Bytes without the coding.
    pub(crate) plain_bytes: usize,
    /// Names of its members, if it is a JSON object.
    pub(crate) members: Option<Vec<String>>,
    /// Why it isn't.
    pub(crate) error: Option<String>,
    /// Members that no mapping of the rule names: they are left out of the batch.
    pub(crate) unmapped: Vec<String>,
}

/// How a rule stands.
#[derive(Debug, Serialize)]
pub(crate) struct ModeReport {
    /// As the configuration says.
    pub(crate) setting: String,
    /// The user's place in the order in which users are drawn, 0 to 99.
    pub(crate) bucket: Option<u8>,
    /// What is done with calls of this user.
    pub(crate) for_user: Option<&'static str>,
}

/// A group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) name: String,
    /// Where its batches go; `None`: each event goes as the single call that it is.
    pub(crate) path: Option<String>,
    pub(crate) window_ms: u64,
    pub(crate) flush_at: usize,
    pub(crate) max_events: usize,
    /// Places of `key`.
    pub(crate) key: Vec<String>,
    /// Of a window only the newest event of each key is sent.
    pub(crate) keeps_newest: bool,
    /// Users share batches.
    pub(crate) is_shared: bool,
}

/// An event as it would be kept.
#[derive(Debug, Serialize)]
pub(crate) struct EventReport {
    pub(crate) group: usize,
    pub(crate) id: String,
    /// Where the id is from: `call`, `generated` or `hash` (of the whole call).
    pub(crate) id_from: &'static str,
    pub(crate) user: String,
    /// Its members, in their order.
    pub(crate) event: Box<RawValue>,
    /// It seals its window at once (`flush_on`).
    pub(crate) seals_at_once: bool,
    /// It tells the state of something, by its group's `key`.
    pub(crate) has_key: bool,
    /// Until its token ends.
    pub(crate) token_ms: Option<u64>,
}

/// What a call touches.
#[derive(Debug, Serialize)]
pub(crate) struct TouchReport {
    /// Groups whose lanes of this user go before it where it is forwarded.
    pub(crate) waits_for: Vec<String>,
    /// Tags that it makes old.
    pub(crate) makes_old: Vec<String>,
}

/// What the read path does with a call.
#[derive(Debug, Serialize)]
pub(crate) struct ReadReport {
    /// Why the cache has no part in it.
    pub(crate) bypass: Option<&'static str>,
    /// What the stored answer is looked up by.
    pub(crate) key: Vec<String>,
    pub(crate) tags: Vec<String>,
    /// Tags that the call doesn't tell, as they are written.
    pub(crate) untold: Vec<String>,
    /// Groups whose pending events of this user are awaited first.
    pub(crate) waits_for: Vec<String>,
    pub(crate) barrier_ms: u64,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) force: bool,
    pub(crate) public: bool,
}

/// What becomes of a call.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DecisionReport {
    /// `acknowledged`, `forwarded`, `refused`, `read`, `write`, `listen` or `preview`.
    pub(crate) decision: &'static str,
    /// By its one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// In a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The answer, where Tidegate gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<AnswerReport>,
}

/// An answer of Tidegate's own.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AnswerReport {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}
