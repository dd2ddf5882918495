//! A route as it will be proposed: its mapping, its acknowledgement, and what is doubtful of it.

use super::ack::{Ack, propose_ack};
use super::batches::Endpoint;
use super::mapping::{Mapping, propose_mapping};
use super::private::Private;
use super::routes::{Call, Route};
use std::collections::HashSet;

/// So many calls that succeeded are enough to switch a route on.
const ENOUGH: usize = 3;

/// An `[[event]]` in the making.
#[derive(Debug)]
pub(super) struct Draft {
    /// The number of its route.
    pub(super) route: usize,
    pub(super) method: String,
    pub(super) path: String,
    /// All its calls.
    pub(super) seen: usize,
    /// Those that succeeded and were looked at.
    pub(super) good: usize,
    /// What the others were answered with, each once.
    pub(super) refusals: Vec<u16>,
    /// The number of its batch endpoint among those found.
    pub(super) endpoint: Option<usize>,
    pub(super) mapping: Mapping,
    pub(super) ack: Ack,
    /// What can't be known: of what, and why. With any of these it is proposed as `off`.
    pub(super) doubts: Vec<(String, String)>,
}

impl Draft {
    pub(super) fn new(
        route: usize,
        shape: &Route<'_>,
        calls: Vec<Call<'_>>,
        endpoint: Option<(usize, &Endpoint)>,
        private: &Private,
    ) -> Self {
        let mut refusals: Vec<_> = calls
            .iter()
            .filter(|call| !call.exchange.succeeded())
            .map(|call| call.exchange.status)
            .collect();
        refusals.sort_unstable();
        refusals.dedup();
        let refused = tell_refused(&calls);
        let good: Vec<_> = calls
            .into_iter()
            .filter(|call| call.exchange.succeeded())
            .collect();
        let callers: HashSet<_> = good.iter().map(|call| &call.caller).collect();
        // A recording holds what anybody sent: what one caller does says little of the others.
        let is_recorded = good.iter().any(|call| !call.exchange.client.is_empty());
        let is_alone = is_recorded && callers.len() < 2;
        let mapping = propose_mapping(
            &good,
            endpoint.map(|(_, one)| one),
            shape.method != "GET",
            private,
        );
        let ack = propose_ack(&good, &mapping.repeats, private);
        let mut draft = Self {
            route,
            method: shape.method.to_owned(),
            path: shape.pattern(),
            seen: shape.calls.len(),
            good: good.len(),
            refusals,
            endpoint: endpoint.map(|(index, _)| index),
            mapping,
            ack,
            doubts: Vec::new(),
        };
        draft.gather_doubts(endpoint.is_some_and(|(_, endpoint)| endpoint.more));
        if is_alone {
            draft.doubt("exchanges", "one caller only made them");
        }
        if let Some(text) = refused {
            draft.doubt("refusals", &text);
        }
        if shape.has_shared_name {
            draft.doubt(
                "path",
                "a word in it that several callers use is a user's name elsewhere, and left out",
            );
        }
        draft
    }

    pub(super) fn doubt(&mut self, subject: &str, text: &str) {
        self.doubts.push((subject.to_owned(), text.to_owned()));
    }

    fn gather_doubts(&mut self, more_in_batches: bool) {
        let mut doubts = Vec::new();
        if self.good < ENOUGH {
            let text = format!("evidence too thin: {} that succeeded", exchanges(self.good));
            doubts.push(("exchanges".to_owned(), text));
        }
        doubts.extend(self.mapping.doubts.iter().cloned());
        if more_in_batches {
            let text = "batches were seen that have something beside the list of events";
            doubts.push(("envelope".to_owned(), text.to_owned()));
        }
        if self.ack.others > 0 {
            let text = format!(
                "{} of {} answers have another status",
                self.ack.others, self.good
            );
            doubts.push(("ack.status".to_owned(), text));
        }
        if let Some(text) = self.ack.doubt {
            doubts.push(("ack.body".to_owned(), text.to_owned()));
        }
        for line in &self.ack.body {
            if let Some(text) = line.doubt {
                let steps = line.steps.iter().map(|step| format!(".{step}"));
                let text = format!("{text} ({} of {})", line.holds, self.ack.answers);
                doubts.push((format!("ack.body{}", steps.collect::<String>()), text));
            }
        }
        self.doubts = doubts;
    }

    /// It is sure enough to be switched on.
    pub(super) fn is_sure(&self) -> bool {
        self.doubts.is_empty()
    }

    pub(super) fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Refusals that an acknowledgement would hide: of calls that Tidegate understands, and for what
/// they say. Not 401, 408, 425, 429 and 5xx, which say nothing of the call; 403 only of a caller who
/// had a success too, since else the credential was refused.
fn tell_refused(calls: &[Call<'_>]) -> Option<String> {
    let succeeded = calls.iter().filter(|call| call.exchange.succeeded());
    let known: HashSet<_> = succeeded.map(|call| &call.caller).collect();
    let is_understood = |call: &&Call<'_>| {
        call.exchange.method == "GET" || call.body.as_ref().is_some_and(|body| body.is_object())
    };
    let depends_on_call = |call: &&Call<'_>| match call.exchange.status {
        401 | 408 | 425 | 429 => false,
        403 => known.contains(&call.caller),
        status => (300..500).contains(&status),
    };
    let refused = calls.iter().filter(is_understood).filter(depends_on_call);
    let mut statuses: Vec<_> = refused.map(|call| call.exchange.status).collect();
    let count = statuses.len();
    statuses.sort_unstable();
    statuses.dedup();
    let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
    (count > 0).then(|| {
        format!(
            "{count} of {} calls were refused ({}): their clients would be told yes; forward them if \
             they can be told by what they say (match, forward_unless)",
            calls.len(),
            statuses.join(", ")
        )
    })
}

/// A `[batch.NAME]` in the making.
#[derive(Debug)]
pub(super) struct GroupDraft {
    pub(super) name: String,
    pub(super) endpoint: Option<usize>,
    pub(super) id_field: String,
    pub(super) time_field: String,
    pub(super) missing_id: Option<&'static str>,
    /// The numbers of its drafts.
    pub(super) drafts: Vec<usize>,
}

/// The groups of these routes: one for each batch endpoint, one for each route that has none.
pub(super) fn gather_groups(drafts: &[Draft], endpoints: &[Endpoint]) -> Vec<GroupDraft> {
    let mut groups: Vec<GroupDraft> = Vec::new();
    for (index, draft) in drafts.iter().enumerate() {
        let mapping = &draft.mapping;
        let same = groups.iter_mut().find(|group| {
            group.endpoint.is_some()
                && group.endpoint == draft.endpoint
                && group.id_field == mapping.id_field
                && group.time_field == mapping.time_field
        });
        if let Some(group) = same {
            group.drafts.push(index);
            // `generate` is right for both: it never takes two events for one.
            group.missing_id = match (group.missing_id, mapping.missing_id) {
                (None, other) | (other, None) => other,
                (Some(one), Some(other)) if one == other => Some(one),
                _ => Some("generate"),
            };
            continue;
        }
        let endpoint = draft.endpoint.and_then(|index| endpoints.get(index));
        let path = endpoint.map_or(&draft.path, |endpoint| &endpoint.path);
        let stem = name_of(path);
        let taken = |name: &str| groups.iter().any(|group| group.name == name);
        let mut name = stem.clone();
        for number in 2.. {
            if !taken(&name) {
                break;
            }
            name = format!("{stem}-{number}");
        }
        groups.push(GroupDraft {
            name,
            endpoint: draft.endpoint,
            id_field: mapping.id_field.clone(),
            time_field: mapping.time_field.clone(),
            missing_id: mapping.missing_id,
            drafts: vec![index],
        });
    }
    groups
}

/// The last two words of a path that say something.
fn name_of(path: &str) -> String {
    let words: Vec<String> = path
        .split('/')
        .filter(|part| !part.contains('{') && !matches!(*part, "api" | "batch" | "bulk"))
        .map(|part| {
            let letters = part
                .chars()
                .filter(|it| it.is_ascii_alphanumeric() || *it == '-');
            letters.collect::<String>().to_ascii_lowercase()
        })
        .filter(|part| part.chars().any(|letter| letter.is_ascii_alphanumeric()))
        .collect();
    let last = words.iter().skip(words.len().saturating_sub(2));
    let name = last
        .map(|word| word.trim_matches('-'))
        .collect::<Vec<_>>()
        .join("-");
    if name.is_empty() {
        "events".to_owned()
    } else {
        name
    }
}

/// "1 exchange", "2 exchanges".
pub(super) fn exchanges(count: usize) -> String {
    format!("{count} exchange{}", if count == 1 { "" } else { "s" })
}
