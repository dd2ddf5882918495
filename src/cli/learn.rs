//! `tidegate learn`: a configuration proposed from calls, those of a file or those that a running
//! sidecar forwards.

use super::Failure;
use super::admin_client::{AdminAddress, ask};
use crate::config;
use crate::migration::learn::{Exchange, Options, Progress, propose, read_har};
use anyhow::Context as _;
use http::Method;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often a recording is asked for.
const ASK: Duration = Duration::from_secs(1);
/// Hosts that are named where the one that was asked for isn't among them.
const MOST_HOSTS: usize = 10;

/// Reads a HAR file and says what it proposes: as TOML, or as JSON with the TOML in it.
///
/// # Errors
/// The file is no HAR or has no call to the host, or the upstream is no address.
pub(super) fn learn_file(
    har: &Path,
    (upstream, host): (Option<String>, Option<String>),
    as_json: bool,
) -> Result<String, Failure> {
    let wrong =
        |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", har.display()));
    let file = File::open(har).map_err(|error| wrong(&error))?;
    let exchanges = read_har(file).map_err(|error| wrong(&error))?;
    let host = host.map(|host| host.to_ascii_lowercase());
    if let Some(host) = &host {
        check_host(host, &exchanges).map_err(|error| wrong(&error))?;
    }
    let options = Options {
        upstream,
        host,
        recorded: None,
    };
    show_proposal(&propose(&exchanges, &options).list(), as_json)
}

/// Whether a session has calls to a host; else which hosts it has calls to, most calls first.
fn check_host(host: &str, exchanges: &[Exchange]) -> Result<(), String> {
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for exchange in exchanges {
        *calls.entry(&exchange.host).or_default() += 1;
    }
    if calls.contains_key(host) {
        return Ok(());
    }
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|(_, count)| Reverse(*count));
    let left_out = calls.len().saturating_sub(MOST_HOSTS);
    let mut hosts: Vec<_> = calls
        .iter()
        .take(MOST_HOSTS)
        .map(|(host, count)| format!("{host:?} ({count})"))
        .collect();
    if left_out > 0 {
        hosts.push(format!("{left_out} more"));
    }
    let hosts = hosts.join(", ");
    Err(format!("found no call to {host:?}, but calls to: {hosts}"))
}

/// Has a running sidecar record what it forwards for so long, and gives the proposal; `None`:
/// Ctrl-C or SIGTERM ended it, and what was recorded is dropped.
///
/// # Errors
/// Nobody answers, or calls are being recorded already.
pub(super) async fn record_calls(
    admin: &AdminAddress,
    length: Duration,
) -> anyhow::Result<Option<Value>> {
    // ORDER: before the recording begins, since from then on a signal is to end that too.
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let told_to_end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let path = format!("/learn?for={}ms", length.as_millis());
    let begun = ask(admin, Method::POST, &path, None).await?;
    let begun: Progress = serde_json::from_value(begun).context("an answer of /learn")?;
    let path = format!("/learn?recording={}", begun.recording);
    eprintln!(
        "forwarded calls are recorded for {}; Ctrl-C ends it",
        humantime::format_duration(length)
    );
    tokio::select! {
        proposal = follow_recording(admin, begun) => proposal.map(Some),
        () = told_to_end => {
            ask(admin, Method::DELETE, &path, None).await?;
            Ok(None)
        }
    }
}

/// What is printed of what [`record_calls`] gave.
///
/// # Errors
/// There is nothing to be printed: no call came, or a signal did.
pub(super) fn show_recorded(proposal: Option<&Value>, as_json: bool) -> Result<String, Failure> {
    let failed = |what: &str| Err(Failure::Input(what.to_owned()));
    let Some(proposal) = proposal else {
        return failed("the recording was ended, and is dropped");
    };
    if proposal.get("exchanges").and_then(Value::as_u64) == Some(0) {
        return failed("no call was forwarded and answered meanwhile: nothing can be proposed");
    }
    show_proposal(proposal, as_json)
}

/// Asks for a recording until it is over, and takes its proposal.
async fn follow_recording(admin: &AdminAddress, mut progress: Progress) -> anyhow::Result<Value> {
    let number = progress.recording;
    while !progress.over {
        tokio::time::sleep(ASK.min(Duration::from_millis(progress.left_ms))).await;
        let path = format!("/learn?recording={number}");
        progress = serde_json::from_value(ask(admin, Method::GET, &path, None).await?)?;
    }
    let path = format!("/learn/proposal?recording={number}");
    ask(admin, Method::POST, &path, None).await
}

/// What is printed of a proposal.
fn show_proposal(proposal: &Value, as_json: bool) -> Result<String, Failure> {
    let toml = proposal.get("toml").and_then(Value::as_str);
    let toml = toml.context("the proposal has no configuration")?;
    // What is printed passes `check`; the one thing in it that isn't ours is the upstream's address.
    config::parse(toml, "the proposal", std::iter::empty())?;
    if as_json {
        let text = serde_json::to_string_pretty(proposal).context("as JSON")?;
        return Ok(format!("{text}\n"));
    }
    Ok(toml.to_owned())
}
