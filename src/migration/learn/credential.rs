//! What carries the callers' credentials. By default everything counts, so only what must be there,
//! what must be equal, and other origins are named.

use super::caller::{caller_of, is_session};
use super::exchange::Exchange;
use crate::identity::{Kind, lists};
use crate::migration::words::is_field_name;
use http::Uri;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Something, and how many calls have it.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) what: String,
    pub(super) calls: usize,
}

/// What event calls that succeeded have in common.
#[derive(Debug, Default)]
pub(super) struct Credential {
    pub(super) calls: usize,
    pub(super) require: Vec<Counted>,
    /// A cookie and the header that repeats it.
    pub(super) double_submit: Option<(String, String, usize)>,
    pub(super) origins: Vec<Counted>,
    pub(super) cors_credentials: bool,
    pub(super) expose: Vec<String>,
    /// Headers that are different in each call: their users' windows hold one event each.
    pub(super) changing: Vec<Counted>,
    /// Cookies that answers renew.
    pub(super) rolling: Vec<Counted>,
    /// Calls without any credential.
    pub(super) bare: usize,
    /// Calls of other origins that their answers don't allow.
    pub(super) not_allowed: usize,
}

pub(super) fn propose_credential(calls: &[&Exchange]) -> Credential {
    let carried: Vec<_> = calls.iter().map(|call| carriers(call)).collect();
    let bare = carried.iter().filter(|parts| parts.is_empty()).count();
    let double_submit = find_pair(calls);
    let mut require = Vec::new();
    if bare == 0 && !calls.is_empty() {
        require.push(Counted {
            what: cover(carried).join("|"),
            calls: calls.len(),
        });
    }
    if let Some((cookie, _, count)) = &double_submit {
        require.push(Counted {
            what: format!("cookie:{cookie}"),
            calls: *count,
        });
    }
    let allows =
        |call: &&Exchange| call.answer_header("access-control-allow-credentials") == Some("true");
    // A page that the application lets read public answers must not be let read others.
    let with_credentials = calls.iter().any(allows);
    let is_allowed = |call: &&Exchange| allows_origin(call) && (!with_credentials || allows(call));
    let not_allowed = calls
        .iter()
        .filter(|call| other_origin(call).is_some() && !is_allowed(call))
        .count();
    let origins = count(calls, |call| {
        let allowed = other_origin(call).filter(|_| is_allowed(&call));
        allowed.into_iter().collect()
    });
    let mut expose: Vec<_> = calls
        .iter()
        .filter(|_| !origins.is_empty())
        .filter_map(|call| call.answer_header("access-control-expose-headers"))
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| is_field_name(name))
        .collect();
    expose.sort();
    expose.dedup();
    Credential {
        calls: calls.len(),
        require,
        double_submit,
        cors_credentials: !origins.is_empty() && with_credentials,
        origins,
        expose,
        changing: changing(calls),
        rolling: count(calls, |call| {
            let names = call
                .cookies_set()
                .filter(|name| lists::cookie(name) == Kind::Principal);
            names
                .filter(|name| is_field_name(name))
                .map(str::to_owned)
                .collect()
        }),
        bare,
        not_allowed,
    }
}

/// Whether the application lets the page read the answer. Any page can send a call, so in a
/// recording an origin that nothing allows says only that some page did; a session is one page's.
fn allows_origin(call: &Exchange) -> bool {
    if call.client.is_empty() {
        return true;
    }
    let allowed = call.answer_header("access-control-allow-origin");
    allowed.is_some_and(|allowed| {
        let origin = call.header("origin").unwrap_or_default();
        allowed == "*" || allowed.eq_ignore_ascii_case(origin)
    })
}

/// What carries a call's credential, as parts.
fn carriers(call: &Exchange) -> HashSet<String> {
    let mut parts: HashSet<_> = call
        .headers
        .iter()
        .filter(|(name, _)| lists::header(name) == Kind::Principal)
        .map(|(name, _)| format!("header:{name}"))
        .collect();
    let cookies = call
        .cookies()
        .filter(|(name, value)| is_session(name, value));
    parts.extend(cookies.map(|(name, _)| format!("cookie:{name}")));
    if !call.claims().is_empty() {
        parts.insert("jwt".to_owned());
    }
    parts
}

/// The fewest parts of which every call has one, as far as taking the most common first finds them.
fn cover(mut carried: Vec<HashSet<String>>) -> Vec<String> {
    let mut chosen = Vec::new();
    while !carried.is_empty() {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for part in carried.iter().flatten() {
            *counts.entry(part).or_default() += 1;
        }
        let best = counts
            .into_iter()
            .max_by_key(|(part, count)| (*count, part.as_str() == "jwt"));
        let Some(best) = best.map(|(part, _)| part.clone()) else {
            break;
        };
        carried.retain(|parts| !parts.contains(&best));
        chosen.push(best);
    }
    chosen
}

/// The header that most often repeats a cookie.
fn find_pair(calls: &[&Exchange]) -> Option<(String, String, usize)> {
    let mut pairs: BTreeMap<(String, String), usize> = BTreeMap::new();
    for call in calls {
        for (cookie, value) in call.cookies().filter(|(name, _)| is_field_name(name)) {
            let repeats = call.headers.iter().filter(|(name, sent)| {
                let counts = matches!(lists::header(name), Kind::Condition | Kind::Scope);
                let named = name.contains("csrf") || name.contains("xsrf");
                counts && sent == value && (named || value.len() >= 12) && is_field_name(name)
            });
            for (header, _) in repeats {
                *pairs
                    .entry((cookie.to_owned(), header.clone()))
                    .or_default() += 1;
            }
        }
    }
    let ((cookie, header), count) = pairs.into_iter().max_by_key(|(_, count)| *count)?;
    (count >= 2 && count * 2 > calls.len()).then_some((cookie, header, count))
}

/// The origin of a call that isn't its host's own.
fn other_origin(call: &Exchange) -> Option<String> {
    let origin = call.header("origin")?.to_ascii_lowercase();
    let uri: Uri = origin.parse().ok()?;
    let plain = uri.path() == "/" && uri.query().is_none() && !origin.ends_with('/');
    let authority = uri.authority().map(|it| it.as_str().to_owned())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    (plain && web && authority != call.host && !authority.contains('@')).then_some(origin)
}

fn count(calls: &[&Exchange], of: impl Fn(&Exchange) -> Vec<String>) -> Vec<Counted> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for what in calls.iter().flat_map(|call| of(call)) {
        *counts.entry(what).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(what, calls)| Counted { what, calls })
        .collect()
}

/// Headers that count and have another value in nearly every call of a caller.
fn changing(calls: &[&Exchange]) -> Vec<Counted> {
    let mut values: HashMap<(&str, String), (HashSet<&str>, usize)> = HashMap::new();
    for call in calls {
        let caller = caller_of(call);
        for (name, value) in &call.headers {
            if matches!(lists::header(name), Kind::Scope | Kind::Condition) && is_field_name(name) {
                let (distinct, count) = values.entry((name, caller.clone())).or_default();
                distinct.insert(value);
                *count += 1;
            }
        }
    }
    // A value that a caller sent once only can't have changed.
    let mut by_name: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for ((name, _), (distinct, count)) in values.iter().filter(|(_, (_, count))| *count > 1) {
        let (all_distinct, all) = by_name.entry(name).or_default();
        *all_distinct += distinct.len();
        *all += count;
    }
    by_name
        .into_iter()
        .filter(|(_, (distinct, count))| *count >= 3 && distinct * 5 >= count * 4)
        .map(|(name, (_, calls))| Counted {
            what: name.to_owned(),
            calls,
        })
        .collect()
}
