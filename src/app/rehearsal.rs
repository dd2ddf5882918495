//! The stage of mode `shadow`: a second event path, in memory, for copies of calls. It shares nothing
//! with the first one but the configuration: no journal, no standing of callers, no metrics, no
//! connections.

use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::{Rehearsal, RehearsalSetup};
use crate::identity::{Identity, IdentitySettings};
use crate::ingest::accept::watch::{Observed, Watch};
use crate::ingest::delivery::outcomes::Outcomes;
use crate::ingest::settings::{Delivery, Group, Limits, Shape, Target};
use crate::ingest::{self, Handles, Keeping};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::route::{EventRoute, Routes};
use crate::upstream::{Upstream, UpstreamSettings};
use http::Uri;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// Connections to the shadow's target at most.
const CONNECTIONS: usize = 64;
/// Batches on their way to it at most.
const IN_FLIGHT: usize = 16;
/// An event that its target doesn't answer for is given up after so long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// What a stage is built of, when the first copy comes.
pub(super) struct Plan {
    groups: Vec<Group>,
    delivery: Delivery,
    limits: Limits,
    identity: IdentitySettings,
    events: Vec<EventRoute>,
    relaxed_paths: bool,
    upstream: Option<UpstreamSettings>,
    max_bytes: u64,
    body_timeout: Duration,
    clock: Clock,
    outcomes: Arc<dyn Outcomes>,
}

/// A client of one of the two applications whose states are compared.
fn client(settings: &UpstreamSettings, url: &Uri) -> UpstreamSettings {
    UpstreamSettings {
        url: url.clone(),
        max_connections: CONNECTIONS,
        kept_for_deliveries: CONNECTIONS / 4,
        knows_callers: false,
        ..settings.clone()
    }
}

/// The ways to the application and to the shadow's target, for states.
pub(super) fn ways_to_both(config: &Config) -> Option<(Upstream, Upstream)> {
    let url = config.shadow.url.as_ref()?;
    let way = |url: &Uri| Upstream::new(client(&config.upstream, url));
    Some((way(&config.upstream.url), way(url)))
}

impl Plan {
    /// `routes`: the live ones, whose modes it follows.
    pub(super) fn new(
        config: &Config,
        routes: &Routes,
        outcomes: Arc<dyn Outcomes>,
        clock: Clock,
    ) -> Self {
        let rehearsed = |route: &EventRoute| EventRoute {
            switch: Arc::new(route.switch.rehearsal()),
            ..route.clone()
        };
        let url = config.shadow.url.as_ref();
        Self {
            groups: config.groups.iter().map(redirect).collect(),
            delivery: Delivery {
                max_in_flight: config.delivery.max_in_flight.min(IN_FLIGHT),
                give_up_after: config.delivery.give_up_after.min(GIVE_UP_AFTER),
                ..config.delivery.clone()
            },
            limits: config.limits.clone(),
            identity: config.identity.clone(),
            events: routes.events().iter().map(rehearsed).collect(),
            relaxed_paths: config.relaxed_paths,
            upstream: url.map(|url| client(&config.upstream, url)),
            max_bytes: config.shadow.max_bytes as u64 / 2,
            body_timeout: config.server.body_timeout,
            clock,
            outcomes,
        }
    }

    /// Builds the stage; its tasks run on this thread's runtime.
    ///
    /// # Errors
    /// The metrics or the random numbers can't be had.
    pub(super) fn build(self) -> anyhow::Result<Rehearsal> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)
            .map_err(|error| anyhow::anyhow!("the system gave no random numbers: {error}"))?;
        let metrics = Arc::new(Metrics::try_new()?);
        let identity = Arc::new(Identity::new(
            self.identity,
            secret,
            self.limits.max_users as u64,
        ));
        let (handles, tasks) = ingest::assemble(ingest::Setup {
            groups: self.groups,
            delivery: self.delivery,
            limits: self.limits,
            journal: Keeping::Memory {
                max_bytes: self.max_bytes,
                secret,
            },
            identity: Arc::clone(&identity),
            tags: Arc::new(Tags::new()),
            metrics: Arc::clone(&metrics),
            upstream: self.upstream.map(Upstream::new),
            outcomes: Some(self.outcomes),
            notices: Arc::new(Notices::new(0)),
            clock: self.clock.clone(),
            watch: Arc::new(Nobody),
            shards: 1,
        })?;
        // So that nobody takes its log lines for those of real batches.
        let span = tracing::error_span!("shadow");
        for shard in tasks.shards {
            tokio::spawn(shard.run().instrument(span.clone()));
        }
        tokio::spawn(tasks.dispatcher.run(tasks.ready).instrument(span.clone()));
        tokio::spawn(tasks.housekeeping.run().instrument(span));
        let Handles {
            acceptor,
            lanes,
            standing,
            ..
        } = handles;
        Ok(Rehearsal::new(RehearsalSetup {
            routes: Routes::new(
                self.events,
                Vec::new(),
                Vec::new(),
                Vec::new(),
                self.relaxed_paths,
            ),
            identity,
            acceptor,
            lanes,
            standing,
            metrics,
            clock: self.clock,
            body_timeout: self.body_timeout,
        }))
    }
}

/// A group's batches go to the shadow's target, wherever they go in earnest.
fn redirect(group: &Group) -> Group {
    let mut group = group.clone();
    if let Shape::Batch(Target::Url(url)) = &group.shape {
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        group.shape = Shape::Batch(Target::Path(path.into()));
    }
    group
}

/// Is shown nothing: no route of a stage is in mode `observe`.
#[derive(Debug)]
struct Nobody;

impl Watch for Nobody {
    fn see_event(&self, _: &EventRoute, _: &Observed<'_>) {}
    fn see_declined(&self, _: &EventRoute, _: &'static str) {}
}
