//! `tidegate learn`: a configuration proposed from a session's calls.

use super::Failure;
use crate::config;
use crate::migration::learn::{Options, Proposal, propose, read_har};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;

/// Reads a HAR file and says what it proposes: as TOML, or as JSON with the TOML in it.
///
/// # Errors
/// The file is no HAR, or the upstream no address.
pub(super) fn learn(
    har: &Path,
    upstream: Option<String>,
    as_json: bool,
) -> Result<String, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", har.display()));
    let file = File::open(har).map_err(|error| wrong(&error))?;
    let exchanges = read_har(file).map_err(|error| wrong(&error))?;
    let proposal = propose(&exchanges, &Options { upstream });
    // What is printed passes `check`; the one thing in it that isn't ours is the upstream's address.
    config::parse(&proposal.toml, "the proposal", std::iter::empty())?;
    if as_json {
        let text = serde_json::to_string_pretty(&listed(&proposal)).context("as JSON")?;
        return Ok(format!("{text}\n"));
    }
    Ok(proposal.toml)
}

fn listed(proposal: &Proposal) -> Value {
    let events = proposal.events.iter().map(|one| {
        let mode = if one.on { "coalesce" } else { "off" };
        json!({ "route": one.route, "exchanges": one.exchanges, "mode": mode })
    });
    let not_proposed = proposal.not_proposed.iter().map(|one| {
        let (reason, why) = (one.reason.as_str(), one.reason.explain());
        json!({ "route": one.route, "exchanges": one.exchanges, "reason": reason, "why": why })
    });
    let unknown = proposal
        .unknown
        .iter()
        .map(|one| json!({ "route": one.route, "subject": one.subject, "why": one.text }));
    json!({
        "toml": proposal.toml,
        "events": events.collect::<Vec<_>>(),
        "not_proposed": not_proposed.collect::<Vec<_>>(),
        "unknown": unknown.collect::<Vec<_>>(),
    })
}
