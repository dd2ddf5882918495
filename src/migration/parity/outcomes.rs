//! All that one event has to say: what its single call was answered against its acknowledgement and
//! against the outcome that its batch gave it.
//!
//! | single call \ batch | taken | duplicate | superseded | refused | not asked | unanswered |
//! |---|---|---|---|---|---|---|
//! | 2xx | agrees | `duplicate` (1) | agrees | `refused_by_batch` (2) | agrees | silent |
//! | 3xx, 4xx | `taken_by_batch_only` | `duplicate` (3) | silent | agrees | silent | silent |
//! | 5xx, 408, 425, 429 | silent | silent | silent | silent | silent | silent |
//!
//! (1) agrees where the target has the single calls; (2) agrees where the 2xx says no; (3) agrees at
//! 409. That both refuse is agreement, and yet the client of such a call would be told yes: it is
//! counted as a refusal that was acknowledged. With a 2xx the acknowledgement is compared too, and what differs there counts also where
//! the outcome is silent; so do order, missed fields and a broken contract, whatever was answered.

use super::answers::{Answers, Content, Finding, compare_answers};
use super::compared::{Batched, Compared, Rules};
use super::kind::Kind;
use super::learned::Learned;
use crate::migration::words::{is_field_name, is_word};

/// Longest text of what was wrong with a batch, characters.
const LONGEST_TEXT: usize = 120;

/// Why an event says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    ServerError,
    Timeout,
    TooEarly,
    Limited,
    Unanswered,
    NotAsked,
    ClientGone,
    Late,
}

impl Silence {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::TooEarly => "too_early",
            Self::Limited => "limited",
            Self::Unanswered => "unanswered",
            Self::NotAsked => "not_asked",
            Self::ClientGone => "client_gone",
            Self::Late => "late",
        }
    }
}

/// What an event has to say.
#[derive(Debug)]
pub(super) enum Said {
    Agrees,
    Disagrees(Vec<Finding>),
    Nothing(Silence),
}

/// What is made of an event.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) said: Said,
    /// A body was cut off or packed, so that it wasn't compared.
    pub(super) is_unread: bool,
    /// The application said no, and the acknowledgement says yes, whatever the batch says then.
    pub(super) is_refusal: bool,
}

/// How the application answered a single call.
pub(super) enum Answered {
    Yes,
    No,
    Silent(Silence),
}

impl Answered {
    pub(super) const fn of(status: u16) -> Self {
        match status {
            200..300 => Self::Yes,
            408 => Self::Silent(Silence::Timeout),
            425 => Self::Silent(Silence::TooEarly),
            429 => Self::Silent(Silence::Limited),
            300..500 => Self::No,
            _ => Self::Silent(Silence::ServerError),
        }
    }
}

/// Judges an event, and learns from its answer.
pub(super) fn judge_event(compared: &Compared, rules: &Rules, learned: &mut Learned) -> Judged {
    let mut findings = judge_batch(compared, rules);
    let mut silence = None;
    let mut is_unread = false;
    let mut is_refusal = false;
    match Answered::of(compared.single.status) {
        Answered::Silent(why) => silence = Some(why),
        Answered::No => {
            is_refusal = is_acknowledged_refusal(compared);
            match judge_refused_call(compared) {
                Ok(finding) => findings.extend(finding),
                Err(why) => silence = Some(why),
            }
        }
        Answered::Yes => {
            let content = (
                Content::of(&compared.single),
                Content::of(&compared.predicted),
            );
            is_unread = matches!(content, (Content::Unread, _) | (_, Content::Unread));
            let says_no = content.0.says_no() && !content.1.says_no();
            findings.extend(judge_answer(compared, &content, rules, learned));
            match judge_taken_call(compared, says_no, rules) {
                Ok(finding) => findings.extend(finding),
                Err(why) => silence = Some(why),
            }
        }
    }
    let said = match silence {
        _ if !findings.is_empty() => Said::Disagrees(findings),
        Some(why) => Said::Nothing(why),
        None => Said::Agrees,
    };
    Judged {
        said,
        is_unread,
        is_refusal,
    }
}

/// What holds whatever the application answered.
fn judge_batch(compared: &Compared, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(Batched::Broken(what)) = &compared.batched {
        let what: String = what.chars().take(LONGEST_TEXT).collect();
        findings.push(finding(
            Kind::BrokenContract,
            what,
            "a broken batch",
            compared,
        ));
    }
    if compared.is_out_of_order {
        let place = "the lane".to_owned();
        findings.push(finding(Kind::Order, place, "after a later event", compared));
    }
    let is_ignored = |name: &str| {
        let mut paths = rules.ignore.iter();
        paths.any(|path| matches!(&*path.0, [only] if **only == *name))
    };
    for name in compared.missed.iter().filter(|name| !is_ignored(name)) {
        let place = format!("/{}", show_member(name));
        findings.push(finding(Kind::MissedField, place, "nothing", compared));
    }
    findings
}

/// A member's name, unless it may be a value.
pub(super) fn show_member(name: &str) -> &str {
    if is_field_name(name) { name } else { "*" }
}

fn judge_answer(
    compared: &Compared,
    (single, ack): &(Content<'_>, Content<'_>),
    rules: &Rules,
    learned: &mut Learned,
) -> Vec<Finding> {
    let mut findings = if single.says_no() && !ack.says_no() {
        let place = "the body".to_owned();
        vec![finding(Kind::SaysNo, place, "yes", compared)]
    } else {
        let answers = Answers {
            single: &compared.single,
            single_content: single,
            ack: &compared.predicted,
            ack_content: ack,
        };
        compare_answers(&answers, rules, learned)
    };
    if compared.is_repetition {
        findings
            .iter_mut()
            .for_each(|one| one.kind = Kind::Duplicate);
    }
    findings
}

/// The application took the single call: what its batch says of the event.
fn judge_taken_call(
    compared: &Compared,
    says_no: bool,
    rules: &Rules,
) -> Result<Option<Finding>, Silence> {
    match &compared.batched {
        None if compared.is_repetition => Ok(None),
        None | Some(Batched::Unanswered) => Err(Silence::Unanswered),
        Some(Batched::Refused(reason)) if !says_no => {
            let reason = show_reason(reason).to_owned();
            Ok(Some(finding(
                Kind::RefusedByBatch,
                reason,
                "refused",
                compared,
            )))
        }
        Some(Batched::Duplicate) if !rules.target_holds_singles => {
            let place = "the outcome".to_owned();
            Ok(Some(finding(
                Kind::Duplicate,
                place,
                "a duplicate",
                compared,
            )))
        }
        Some(_) => Ok(None),
    }
}

/// Live, the client of this refused call hears yes, and what it sent becomes a dead letter or is taken
/// all the same. A conflict with an event that the batch's side has too is none: nothing is lost.
fn is_acknowledged_refusal(compared: &Compared) -> bool {
    let is_known = compared.is_repetition || compared.batched == Some(Batched::Duplicate);
    let says_yes = (200..300).contains(&compared.predicted.status);
    says_yes && !(compared.single.status == 409 && is_known)
}

/// The application refused the single call: what its batch says of the event.
fn judge_refused_call(compared: &Compared) -> Result<Option<Finding>, Silence> {
    let place = || "the outcome".to_owned();
    match &compared.batched {
        None if compared.is_repetition => {
            let ack = compared.predicted.status.to_string();
            Ok(Some(finding(Kind::Duplicate, place(), &ack, compared)))
        }
        Some(Batched::Taken) => Ok(Some(finding(
            Kind::TakenByBatchOnly,
            place(),
            "taken",
            compared,
        ))),
        Some(Batched::Duplicate) if compared.single.status != 409 => Ok(Some(finding(
            Kind::Duplicate,
            place(),
            "a duplicate",
            compared,
        ))),
        Some(Batched::Refused(_) | Batched::Duplicate | Batched::Broken(_)) => Ok(None),
        Some(Batched::Supposed | Batched::Superseded) => Err(Silence::NotAsked),
        None | Some(Batched::Unanswered) => Err(Silence::Unanswered),
    }
}

/// A reason's name, unless it may be a value.
pub(super) fn show_reason(reason: &str) -> &str {
    if is_word(reason) {
        reason
    } else {
        "another reason"
    }
}

fn finding(kind: Kind, place: String, batched: &str, compared: &Compared) -> Finding {
    Finding {
        kind,
        place,
        batched: batched.to_owned(),
        single: compared.single.status.to_string(),
    }
}
