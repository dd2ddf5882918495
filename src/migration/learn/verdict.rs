//! Whether a route's calls are events, or why not.

use super::ack::Ack;
use super::exchange::Content;
use super::history::History;
use super::private::Private;
use super::routes::{Call, Route};
use crate::migration::words::{names_id, plain_name};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Why a route isn't proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It belongs to another host than the application's.
    OtherHost,
    /// DELETE and other methods that no batch could take.
    Method,
    /// No call of it succeeded.
    NoSuccess,
    /// None of its bodies is known.
    BodyMissing,
    /// Bodies over 64 KiB in a file, over 16 KiB in a recording, or with very many members.
    Large,
    /// Files, or whatever else is several parts.
    Upload,
    /// A form.
    Form,
    /// No JSON object.
    NotJson,
    /// A GraphQL or RPC call: its path says nothing of what it does.
    Query,
    /// By its name or body it asks for something.
    Search,
    /// Its answer is a token or a session.
    Login,
    /// What its client batched already.
    ClientBatch,
    /// The answer is what the client came for.
    AnswerHasContent,
    /// A later call says what only an answer had said.
    AnswerIsUsed,
    /// All calls say the same.
    NothingVaries,
}

impl Reason {
    /// The word in the list of `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherHost => "other_host",
            Self::Method => "method",
            Self::NoSuccess => "no_success",
            Self::BodyMissing => "body_missing",
            Self::Large => "large",
            Self::Upload => "upload",
            Self::Form => "form",
            Self::NotJson => "not_json",
            Self::Query => "query",
            Self::Search => "search",
            Self::Login => "login",
            Self::ClientBatch => "client_batch",
            Self::AnswerHasContent => "answer_has_content",
            Self::AnswerIsUsed => "answer_is_used",
            Self::NothingVaries => "nothing_varies",
        }
    }

    /// A sentence.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::OtherHost => "goes to another host (--host HOST makes a proposal for it)",
            Self::Method => "this method is no event's",
            Self::NoSuccess => "no call of it succeeded",
            Self::BodyMissing => "the bodies of its calls are missing",
            Self::Large => "its bodies are too large to be looked into",
            Self::Upload => "an upload",
            Self::Form => "a form; events are JSON",
            Self::NotJson => "its bodies are no JSON objects",
            Self::Query => "GraphQL or RPC: the path doesn't say what a call does",
            Self::Search => "a search",
            Self::Login => "its answer gives a token or a session, or it sends a password",
            Self::ClientBatch => "its client batches already",
            Self::AnswerHasContent => "its answer has content that the client needs",
            Self::AnswerIsUsed => "a later call says what its answer gave",
            Self::NothingVaries => "all its calls say the same",
        }
    }
}

const LOGIN: [&str; 14] = [
    "login", "signin", "sign-in", "logout", "signout", "sign-out", "auth", "oauth", "oauth2",
    "token", "refresh", "register", "signup", "password",
];
const SEARCH: [&str; 7] = [
    "search",
    "query",
    "find",
    "lookup",
    "suggest",
    "autocomplete",
    "filter",
];

/// What can be said before the answers were looked into.
pub(super) fn judge_calls(route: &Route<'_>, calls: &[Call<'_>]) -> Option<Reason> {
    if !matches!(route.method, "POST" | "PUT" | "PATCH" | "GET") {
        return Some(Reason::Method);
    }
    let named = |words: &[&str]| {
        route
            .words()
            .any(|word| words.contains(&&*word.to_ascii_lowercase()))
    };
    let any = |test: &dyn Fn(&Call<'_>) -> bool| calls.iter().any(test);
    let member =
        |call: &Call<'_>, name: &str| call.body.as_ref().and_then(|it| it.get(name)).is_some();
    let secret = |value: &Option<Value>| value.as_ref().is_some_and(|value| has_token(value, 0));
    if named(&LOGIN)
        || any(&|call| secret(&call.answer) || member(call, "password"))
        || (calls.len() < 3 && any(&|call| call.exchange.cookies_set().next().is_some()))
    {
        return Some(Reason::Login);
    }
    if named(&["graphql", "rpc", "jsonrpc", "trpc"])
        || any(&|call| member(call, "jsonrpc") || is_graphql(call))
    {
        return Some(Reason::Query);
    }
    if named(&SEARCH) {
        return Some(Reason::Search);
    }
    let good = || calls.iter().filter(|call| call.exchange.succeeded());
    if good().next().is_none() {
        return Some(Reason::NoSuccess);
    }
    if route.method == "GET" {
        return (!vary(calls)).then_some(Reason::NothingVaries);
    }
    if any(&|call| call.exchange.media_type().starts_with("multipart/")) {
        return Some(Reason::Upload);
    }
    if any(&|call| {
        call.exchange.media_type() == "application/x-www-form-urlencoded" && call.body.is_none()
    }) {
        return Some(Reason::Form);
    }
    if any(&|call| call.exchange.body == Content::Large) {
        return Some(Reason::Large);
    }
    if good().all(|call| call.exchange.body == Content::Missing) {
        return Some(Reason::BodyMissing);
    }
    if any(&|call| call.exchange.body == Content::Binary) {
        return Some(Reason::Upload);
    }
    if good().any(|call| !call.body.as_ref().is_some_and(Value::is_object)) {
        return Some(Reason::NotJson);
    }
    (!vary(calls)).then_some(Reason::NothingVaries)
}

/// Whether the calls of one caller differ; where no caller has two, whether any do.
fn vary(calls: &[Call<'_>]) -> bool {
    let mut by_caller: HashMap<&str, (HashSet<_>, usize)> = HashMap::new();
    let mut said = HashSet::new();
    for call in calls {
        let text = call.body.as_ref().map(Value::to_string);
        let what = (&call.exchange.path, &call.exchange.query, text);
        let (own, count) = by_caller.entry(&call.caller).or_default();
        own.insert(what.clone());
        *count += 1;
        said.insert(what);
    }
    let mut several = by_caller
        .values()
        .filter(|(_, count)| *count > 1)
        .peekable();
    if several.peek().is_none() {
        return said.len() > 1 || calls.len() < 2;
    }
    several.any(|(own, _)| own.len() > 1)
}

fn is_graphql(call: &Call<'_>) -> bool {
    let query = call.body.as_ref().and_then(|body| body.get("query"));
    query
        .and_then(Value::as_str)
        .is_some_and(|text| text.contains('{'))
}

fn has_token(value: &Value, depth: usize) -> bool {
    let Some(members) = value.as_object().filter(|_| depth < 4) else {
        return false;
    };
    members.iter().any(|(name, value)| {
        let plain = plain_name(name);
        let secret = plain.ends_with("token") && value.as_str().is_some_and(|text| text.len() >= 8);
        secret || has_token(value, depth + 1)
    })
}

/// What the answers say of it, and what of them is used later.
pub(super) fn judge_answers(
    calls: &[Call<'_>],
    ack: &Ack,
    history: &History<'_>,
    private: &Private,
) -> Option<Reason> {
    let unknown = ack.body.iter().filter(|line| line.doubt.is_some()).count();
    let lists = ack.body.iter().any(|line| {
        let content = calls.iter().any(|call| has_content(call, &line.steps));
        line.doubt.is_some() && content
    });
    if lists || (unknown > 3 && unknown * 2 > ack.body.len()) {
        return Some(Reason::AnswerHasContent);
    }
    let good: Vec<_> = calls.iter().filter(|it| it.exchange.succeeded()).collect();
    if history.is_used(&good) {
        return Some(Reason::AnswerIsUsed);
    }
    let used = good.len() > 1
        && good.iter().any(|call| {
            let own = call.body.as_ref().map(Value::to_string).unwrap_or_default();
            given_ids(call)
                .iter()
                .filter(|id| !own.contains(&**id) && !call.exchange.path.contains(&**id))
                .filter(|id| !private.names_user(id))
                .filter(|id| {
                    calls
                        .iter()
                        .filter(|other| given_ids(other).contains(*id))
                        .count()
                        == 1
                })
                .any(|id| {
                    let by_path = history.is_named(&call.caller, id);
                    by_path || (id.len() >= 8 && private.was_sent(id))
                })
        });
    used.then_some(Reason::AnswerIsUsed)
}

/// A list with something in it, or a long text.
fn has_content(call: &Call<'_>, steps: &[String]) -> bool {
    let value = call
        .answer
        .as_ref()
        .and_then(|answer| super::leaves::value_at(answer, steps));
    match value {
        Some(Value::Array(all)) => !all.is_empty(),
        Some(Value::String(text)) => text.len() > 200,
        Some(Value::Object(members)) => !members.is_empty(),
        _ => false,
    }
}

/// What an answer gives under the name of an id.
fn given_ids(call: &Call<'_>) -> Vec<String> {
    let leaves = call
        .answer
        .as_ref()
        .map(super::leaves::leaves_of)
        .unwrap_or_default();
    let request = call.exchange.answer_header("x-request-id");
    let sent = |text: &str| call.exchange.headers.iter().any(|(_, value)| value == text);
    leaves
        .into_iter()
        .filter(|(steps, _)| steps.last().is_some_and(|name| names_id(name)))
        .filter_map(|(_, value)| match value {
            Value::String(text) if request != Some(text) && !sent(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect()
}
