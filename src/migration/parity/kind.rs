//! The kinds of disagreement.

use serde::{Deserialize, Serialize};

/// How an event can disagree. docs/parity.md has the table; a test holds the two together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "`explanation` says what each of them is")]
pub enum Kind {
    AckStatus,
    AckMissingKey,
    AckExtraKey,
    AckType,
    AckValue,
    AckHeader,
    AckContentType,
    SaysNo,
    RefusedByBatch,
    TakenByBatchOnly,
    Duplicate,
    Order,
    MissedField,
    BrokenContract,
    State,
}

impl Kind {
    /// All of them, those of acknowledgements first.
    pub const ALL: [Self; 15] = [
        Self::AckStatus,
        Self::AckMissingKey,
        Self::AckExtraKey,
        Self::AckType,
        Self::AckValue,
        Self::AckHeader,
        Self::AckContentType,
        Self::SaysNo,
        Self::RefusedByBatch,
        Self::TakenByBatchOnly,
        Self::Duplicate,
        Self::Order,
        Self::MissedField,
        Self::BrokenContract,
        Self::State,
    ];

    /// Its one name, in reports and in docs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AckStatus => "ack_status",
            Self::AckMissingKey => "ack_missing_key",
            Self::AckExtraKey => "ack_extra_key",
            Self::AckType => "ack_type",
            Self::AckValue => "ack_value",
            Self::AckHeader => "ack_header",
            Self::AckContentType => "ack_content_type",
            Self::SaysNo => "says_no",
            Self::RefusedByBatch => "refused_by_batch",
            Self::TakenByBatchOnly => "taken_by_batch_only",
            Self::Duplicate => "duplicate",
            Self::Order => "order",
            Self::MissedField => "missed_field",
            Self::BrokenContract => "broken_contract",
            Self::State => "state",
        }
    }

    /// What it means, in one line.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::AckStatus => "the application answers with another 2xx status",
            Self::AckMissingKey => "the application says a member that the acknowledgement lacks",
            Self::AckExtraKey => "the acknowledgement says a member that the application doesn't",
            Self::AckType => "a member has another JSON type",
            Self::AckValue => {
                "a member has another value, and it is none that only the application can know"
            }
            Self::AckHeader => "the application sets a header that the acknowledgement lacks",
            Self::AckContentType => "the application answers with another media type",
            Self::SaysNo => "the application answers 2xx with a body that says no",
            Self::RefusedByBatch => {
                "the application took the single call, and the batch's answer refuses the event"
            }
            Self::TakenByBatchOnly => {
                "the application refused the single call, and the batch's answer takes the event"
            }
            Self::Duplicate => {
                "the two ways disagree on whether the event had come before, or on what to say then"
            }
            Self::Order => "the event was offered after a later one of its lane",
            Self::MissedField => {
                "the call's body has a member that no mapping names, so that the batch lacks it"
            }
            Self::BrokenContract => "the batch that was built breaks the contract of its group",
            Self::State => "a read tells another state after batches than after single calls",
        }
    }

    /// It can't come of the application's answers, only of what Tidegate built: one event is
    /// enough for `no_go`.
    #[must_use]
    pub(super) const fn is_certain(self) -> bool {
        matches!(self, Self::Order | Self::BrokenContract)
    }
}
