//! Why a call is forwarded, in sentences.

use crate::identity::NotAnswerable;
use crate::ingest::accept::refusal::Forward;

/// A sentence for a reason.
pub(super) fn tell_reason(why: &Forward) -> String {
    match why {
        Forward::NotUnderstood(what) => {
            format!("{what}; batch.refuse doesn't name this, so the application answers")
        }
        Forward::NotAnswerable(why) => tell_unanswerable(*why).to_owned(),
        other => tell_other(other).to_owned(),
    }
}

/// Why Tidegate may not answer a call, in a sentence.
pub(super) const fn tell_unanswerable(why: NotAnswerable) -> &'static str {
    match why {
        NotAnswerable::Requirement => "something of identity.require is missing",
        NotAnswerable::DoubleSubmit => {
            "the pair of identity.double_submit is missing, or the two differ"
        }
        NotAnswerable::Origin => "it comes from another origin, which [cors] doesn't allow",
        NotAnswerable::SeveralTokens => {
            "it has several tokens or Authorization lines, of which the application may read any"
        }
        NotAnswerable::EarlyToken => "its token isn't valid yet (nbf)",
        NotAnswerable::Claim => "a claim of its token isn't one that identity.claims allows",
        NotAnswerable::UnverifiedToken => {
            "its token isn't what the key or the keys of identity.jwt sign"
        }
        NotAnswerable::Proof => {
            "it proves itself, or asks for more than its body says (if-…, range, prefer, another \
             method): no batch could carry that"
        }
        NotAnswerable::ExpiredToken => "its token has expired (exp)",
        NotAnswerable::OddCookies => "a Cookie line is no text",
        NotAnswerable::Forbidden => "it has something of identity.forbid",
    }
}

const fn tell_other(why: &Forward) -> &'static str {
    match why {
        Forward::NotUnderstood(_) | Forward::NotAnswerable(_) => "it isn't understood",
        Forward::NotAskedFor => {
            "a page of another site may send such a body without asking: it needs a same-site \
             Sec-Fetch-Site, an allowed Origin, or event.content_types that name it"
        }
        Forward::Trailers => "its body ends with trailers",
        Forward::NoRoom => "there is no room for its body in limits.max_body_memory",
        Forward::Query => {
            "its query has a parameter that no template of the rule looks at, or one twice"
        }
        Forward::OtherContent => "its id names an event that said something else",
        Forward::TokenEnds => "its token ends before a first attempt could",
        Forward::LargeHead => "its head is larger than what travels with an event",
        Forward::ManyContexts => "the contexts of its principal take as much as one may have",
        Forward::Renewal => "its session is to be renewed by an answer of the application",
        Forward::NoRule => "no rule of its path has a match that holds for its body",
        Forward::ContentType => {
            "its media type is not among the rule's content_types, or its charset isn't UTF-8"
        }
        Forward::Unless => "a template of the rule's forward_unless found nothing",
        Forward::Mode => "the rule's mode or rollout says so for this user",
        Forward::NoUser => "identity.user found no user",
        Forward::OtherUser => {
            "it names another user than its token, or its address one that its event doesn't name"
        }
        Forward::AmbiguousHead => {
            "a header, cookie or parameter that its event takes is there twice, or not read alike by all"
        }
        Forward::HeaderValue => "a header of its acknowledgement would hold what no header may",
        Forward::NotANumber => "a member of batch.percent is no number",
        Forward::TooLargeForBatch => "its event is larger than batch.max_bytes allows a batch",
        Forward::Rejected => "the application refused this credential last time",
        Forward::Unproven => {
            "identity.admit is \"proven\", and no call of this credential has succeeded lately"
        }
        Forward::TooManyStrangers => "callers that nothing speaks for hold their share of a bound",
        Forward::TooManyUsers => "there are limits.max_users users",
        Forward::TooManyLanes => "twice limits.max_lanes are in use",
        Forward::LaneFull => "its user has limits.max_lane_events in this group",
        Forward::NotKept => "the journal can't keep it",
        Forward::ClientBatch => "batch.client_batches is \"forward\"",
    }
}
