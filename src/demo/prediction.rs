//! What mode `observe` predicts of a run, beside what the run saves in the same minutes.

use super::application::census::Calls;
use super::report::Prediction;
use super::report::numbers::ratio;
use crate::app::{self, Running};
use crate::config::Config;
use crate::metrics::Ledger;
use crate::migration::observe::Report;
use crate::rollout::Mode;
use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;

/// A sidecar before another one of the same configuration: it forwards every event call, and runs
/// its windows on paper.
///
/// # Errors
/// It can't be started.
pub(super) async fn start_observer(config: &Config, behind: SocketAddr) -> anyhow::Result<Running> {
    let mut config = config.clone();
    config.upstream.url = format!("http://{behind}").parse()?;
    config.journal.path = config.journal.path.join("observer");
    let routes = config.events.iter_mut();
    let live = routes.filter(|route| route.configured.mode == Mode::Coalesce);
    live.for_each(|route| route.configured.mode = Mode::Observe);
    app::start(config, app::Options::default()).await
}

/// What the observer at this admin address says of windows as they are configured, and what was
/// saved by now: of windows that are over.
///
/// # Errors
/// The observer doesn't answer.
pub(super) async fn compare(
    admin: SocketAddr,
    calls: Calls,
    ledger: Ledger,
) -> anyhow::Result<Prediction> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let asked = client.get(format!("http://{admin}/observe").parse()?).await;
    let answer = asked.context("the observer doesn't answer")?.into_body();
    let report: Report = serde_json::from_slice(&answer.collect().await?.to_bytes())?;
    let figures = report.groups.iter().flat_map(|group| &group.arrangements);
    let (mut events, mut batches) = (0, 0);
    for one in figures.filter(|one| one.configured) {
        events += one.sent + one.superseded;
        batches += one.batches;
    }
    let sent_on = calls.batches() + calls.snapshots;
    let settled = ledger.accepted + ledger.superseded;
    Ok(Prediction {
        predicted: ratio(events, batches),
        saved: ratio(settled, sent_on),
        events,
        settled,
    })
}
