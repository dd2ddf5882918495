//! What mode `observe` predicts of a run, beside what the run saves in the same minutes.

use super::report::Prediction;
use super::report::numbers::ratio;
use crate::app::{self, Running};
use crate::config::Config;
use crate::metrics::Ledger;
use crate::migration::observe::Report;
use crate::rollout::Mode;
use anyhow::Context as _;
use bytes::Bytes;
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

/// What the observer at its admin address says of windows as they are configured, and what the live
/// sidecar has saved by now: of windows that are over, by the requests that it has delivered. What it
/// forwards is in neither.
///
/// # Errors
/// One of them doesn't answer.
pub(super) async fn compare(
    observer: SocketAddr,
    live: SocketAddr,
    ledger: Ledger,
) -> anyhow::Result<Prediction> {
    let report: Report = serde_json::from_slice(&ask(observer, "/observe").await?)?;
    let metrics = ask(live, "/metrics").await?;
    let sent_on = String::from_utf8_lossy(&metrics)
        .lines()
        .find_map(|line| line.strip_prefix(DELIVERIES)?.trim().parse::<u64>().ok())
        .context("the sidecar doesn't count its deliveries")?;
    let figures = report.groups.iter().flat_map(|group| &group.arrangements);
    let (mut events, mut batches) = (0, 0);
    for one in figures.filter(|one| one.configured) {
        events += one.sent + one.superseded;
        batches += one.batches;
    }
    let settled = ledger.accepted + ledger.superseded;
    Ok(Prediction {
        predicted: ratio(events, batches),
        saved: ratio(settled, sent_on),
        events,
        settled,
    })
}

/// The metric that counts requests of deliveries, retries among them.
const DELIVERIES: &str = "tidegate_deliveries_total ";

async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let asked = client.get(format!("http://{admin}{path}").parse()?).await;
    let answer = asked.with_context(|| format!("{admin}{path} doesn't answer"))?;
    Ok(answer.into_body().collect().await?.to_bytes())
}
