//! Reads that a client repeats: what could be answered from memory.

use super::caller::caller_of;
use super::exchange::{Content, Exchange};
use super::routes::Route;
use std::collections::HashMap;

/// A read that was repeated.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) path: String,
    /// Calls that one caller made of one target, at most.
    pub(super) calls: usize,
    /// The application forbids that its answers are stored.
    pub(super) forbidden: bool,
}

/// Routes of which one caller fetched one target several times, and got JSON.
pub(super) fn repeated_reads(routes: &[Route<'_>]) -> Vec<Read> {
    let reads = routes.iter().filter(|route| route.method == "GET");
    reads.filter_map(repeated).collect()
}

fn repeated(route: &Route<'_>) -> Option<Read> {
    let personal = ["auth", "login", "logout", "session", "token", "csrf"];
    if route
        .words()
        .any(|word| personal.contains(&&*word.to_ascii_lowercase()))
    {
        return None;
    }
    let good: Vec<_> = route.calls.iter().filter(|call| is_json(call)).collect();
    let mut times: HashMap<_, usize> = HashMap::new();
    for call in &good {
        let caller = caller_of(call);
        *times.entry((caller, &call.path, &call.query)).or_default() += 1;
    }
    let calls = times.into_values().max().filter(|times| *times > 1)?;
    let forbidden = good.iter().any(|call| {
        let line = call.answer_header("cache-control").unwrap_or_default();
        line.contains("no-store") || line.contains("private")
    });
    Some(Read {
        path: route.pattern(),
        calls,
        forbidden,
    })
}

fn is_json(call: &Exchange) -> bool {
    let kind = call.answer_header("content-type").unwrap_or_default();
    call.status == 200 && kind.contains("json") && !matches!(call.answer, Content::Empty)
}
