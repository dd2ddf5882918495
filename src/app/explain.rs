//! Explaining one call: event paths in memory, built as the configuration says, of which nobody
//! hears. Nothing is sent, and nothing is kept.

use super::rehearsal::{MemoryPath, assemble_in_memory};
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::RehearsalSetup;
use crate::gateway::explain::report::Explanation;
use crate::gateway::explain::{AskedCall, Explainer, KeptEvents, Supposed};
use crate::ingest::{Handles, Tasks};
use crate::read::Read;
use crate::rollout::{Mode, Setting};
use crate::route::Routes;
use crate::upstream::Upstream;
use crate::upstream::headers::HeadError;
use std::sync::Arc;

/// What would become of a call; `Ok(Err(_))`: its head can't be forwarded.
///
/// # Errors
/// The event path can't be set up.
pub(crate) async fn explain(
    config: &Config,
    call: &AskedCall,
) -> anyhow::Result<Result<Explanation, HeadError>> {
    let config = &without_keys(config);
    // Its tasks don't run: a window that nobody seals sends nothing. What they own must be there.
    let (known, _tasks) = explainer(config, config.routes())?;
    let mut explanation = match known.explain(call).await {
        Ok(explanation) => explanation,
        Err(error) => return Ok(Err(error)),
    };
    let (unseen, _tasks) = explainer(config, config.routes())?;
    match unseen.decide_alone(call, Supposed::Unseen).await {
        Ok(decided) => explanation.unseen = decided.decision,
        Err(error) => return Ok(Err(error)),
    }
    if explanation.decision.reason.as_deref() == Some("mode") {
        let (in_coalesce, _tasks) = explainer(config, in_coalesce(config))?;
        match in_coalesce.decide_alone(call, Supposed::Good).await {
            Ok(decided) => explanation.in_coalesce = Some(Box::new(decided)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(explanation))
}

/// Keys that are published are not fetched for one call.
fn without_keys(config: &Config) -> Config {
    let mut config = config.clone();
    let jwt = &mut config.identity.jwt;
    if let Some(verifier) = jwt.take_if(|verifier| verifier.url().is_some()) {
        *jwt = Some(Arc::new(verifier.supposing()));
    }
    config
}

/// The rules with every event rule in mode `coalesce`, for all users but those of `deny`.
fn in_coalesce(config: &Config) -> Routes {
    let mut config = config.clone();
    for event in &mut config.events {
        event.configured = Setting {
            mode: Mode::Coalesce,
            rollout: 100,
        };
    }
    config.routes()
}

fn explainer(config: &Config, routes: Routes) -> anyhow::Result<(Explainer, Tasks)> {
    let (kept, clock) = (Arc::new(KeptEvents::default()), Clock::default());
    let tags = Arc::new(Tags::new());
    let MemoryPath {
        handles,
        identity,
        metrics,
        tasks,
    } = assemble_in_memory(super::rehearsal::InMemory {
        groups: config.groups.clone(),
        delivery: config.delivery.clone(),
        limits: config.limits.clone(),
        identity: config.identity.clone(),
        max_bytes: config.journal.max_bytes,
        tags: Arc::clone(&tags),
        upstream: None,
        outcomes: Arc::clone(&kept) as _,
        clock: clock.clone(),
    })?;
    let Handles {
        acceptor,
        lanes,
        standing,
        ..
    } = handles;
    let read = Read::new(
        Arc::new(Store::new(config.cache)),
        tags,
        // It is asked nothing.
        Upstream::new(config.upstream.clone()),
        (lanes.clone(), standing.clone()),
        Arc::clone(&identity),
        clock.clone(),
        Arc::clone(&metrics),
    );
    let setup = RehearsalSetup {
        routes,
        identity,
        acceptor,
        lanes,
        standing,
        metrics,
        clock,
        body_timeout: config.server.body_timeout,
    };
    let trusted = config.server.trusted_proxies.clone();
    Ok((Explainer::new(setup, read, kept, trusted), tasks))
}
