//! The stage of mode `shadow`: a second event path, in memory, for copies of calls. It shares nothing
//! with the first one but the configuration: no journal, no standing of callers, no metrics, no
//! connections.

use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::config::Config;
use crate::event::GroupIndex;
use crate::gateway::{Rehearsal, RehearsalSetup};
use crate::identity::{Identity, IdentitySettings};
use crate::ingest::Asker;
use crate::ingest::accept::watch::{Observed, Undecoded, Watch};
use crate::ingest::delivery::outcomes::Outcomes;
use crate::ingest::settings::{Delivery, Fallback, Group, Limits, MissingId, Shape, Target};
use crate::ingest::{self, Handles, Keeping, Tasks};
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::migration::shadow::{Engine, GIVE_UP_AFTER};
use crate::notices::Notices;
use crate::route::{EventRoute, Routes};
use crate::spans::Spans;
use crate::upstream::headers::HopSettings;
use crate::upstream::{Http2Use, UNIX, Upstream, UpstreamSettings, port_of};
use http::Uri;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Connections to the shadow's target at most.
const CONNECTIONS: usize = 64;
/// Batches on their way to it at most.
const IN_FLIGHT: usize = 16;
/// Users, lanes, ids and letters that a stage remembers at most.
const MOST: usize = 65_536;
/// What bodies take while they are read, bytes.
const BODIES: u64 = 16 << 20;

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
    ended: CancellationToken,
    /// Where live calls and batches go: must be other addresses than the target's.
    live: Vec<Uri>,
}

/// A client of one of the two applications whose states are compared.
pub(super) fn client(
    settings: &UpstreamSettings,
    url: &Uri,
    preserve_host: bool,
) -> UpstreamSettings {
    // What is known without asking is known of the one address only.
    let http2 = match settings.http2 {
        Http2Use::PriorKnowledge if *url != settings.url => Http2Use::Negotiated,
        known => known,
    };
    UpstreamSettings {
        url: url.clone(),
        http2,
        hops: HopSettings {
            preserve_host,
            ..settings.hops
        },
        max_connections: CONNECTIONS,
        kept_for_deliveries: CONNECTIONS / 4,
        knows_callers: false,
        ..settings.clone()
    }
}

/// The ways to the application and to the shadow's target, for states.
pub(super) fn ways_to_both(config: &Config) -> Option<(Upstream, Upstream)> {
    let url = config.shadow.url.as_ref()?;
    let own = config.upstream.hops.preserve_host;
    let way = |url: &Uri, preserve: bool| Upstream::new(client(&config.upstream, url, preserve));
    let target = way(url, config.shadow.preserve_host);
    Some((way(&config.upstream.url, own), target))
}

impl Plan {
    /// `routes`: the live ones, whose modes it follows.
    pub(super) fn new(config: &Config, routes: &Routes, engine: &Engine, clock: Clock) -> Self {
        let rehearsed = |route: &EventRoute| EventRoute {
            switch: Arc::new(route.switch.rehearsal()),
            ..route.clone()
        };
        let shadow = &config.shadow;
        let url = shadow.url.as_ref();
        let limits = &config.limits;
        Self {
            groups: config
                .groups
                .iter()
                .map(|group| redirect(group, shadow.is_application))
                .collect(),
            delivery: Delivery {
                max_in_flight: config.delivery.max_in_flight.min(IN_FLIGHT),
                give_up_after: config.delivery.give_up_after.min(GIVE_UP_AFTER),
                ..config.delivery.clone()
            },
            limits: Limits {
                max_users: limits.max_users.min(MOST),
                max_lanes: limits.max_lanes.min(MOST),
                max_seen: limits.max_seen.min(MOST),
                max_dead_letters: 0,
                max_body_memory: limits.max_body_memory.min(BODIES),
                ..limits.clone()
            },
            identity: config.identity.clone(),
            events: routes.events().iter().map(rehearsed).collect(),
            relaxed_paths: config.relaxed_paths,
            upstream: url.map(|url| client(&config.upstream, url, shadow.preserve_host)),
            max_bytes: config.shadow.max_bytes as u64 / 2,
            body_timeout: config.server.body_timeout,
            clock,
            outcomes: engine.outcomes(),
            ended: engine.ended(),
            live: if shadow.is_application || shadow.shares_address {
                Vec::new()
            } else {
                live_addresses(config)
            },
        }
    }

    /// Builds the stage; its tasks run on this thread's runtime.
    ///
    /// # Errors
    /// The metrics or the random numbers can't be had, or the target is the application, as the names
    /// of both are resolved.
    pub(super) fn build(self) -> anyhow::Result<Rehearsal> {
        if let Some(target) = &self.upstream {
            let found = addresses_of(&target.url);
            if found.is_empty() && !self.live.is_empty() {
                anyhow::bail!(
                    "the name of shadow.url {} can't be resolved, so that it may be the \
                     application's; allowed is a name that can",
                    target.url
                );
            }
            let is_there = |live: &&Uri| addresses_of(live).iter().any(|one| found.contains(one));
            if let Some(live) = self.live.iter().find(is_there) {
                anyhow::bail!(
                    "shadow.url {} has the address of {live}, where each event would count twice; \
                     allowed is another one, writes_are_idempotent = true, or, where both are told \
                     apart by name, shares_address = true",
                    target.url
                );
            }
        }
        let MemoryPath {
            handles,
            tasks,
            identity,
            metrics,
        } = assemble_in_memory(InMemory {
            groups: self.groups,
            delivery: self.delivery,
            limits: self.limits,
            identity: self.identity,
            max_bytes: self.max_bytes,
            tags: Arc::new(Tags::new()),
            upstream: self.upstream.map(Upstream::new),
            outcomes: self.outcomes,
            clock: self.clock.clone(),
        })?;
        // So that nobody takes its log lines for those of real batches.
        let span = tracing::error_span!("shadow");
        let spawn = |task: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let guard = self.ended.clone().drop_guard();
            let task = async move {
                let _guard = guard;
                task.await;
            };
            tokio::spawn(task.instrument(span.clone()));
        };
        for shard in tasks.shards {
            spawn(Box::pin(shard.run()));
        }
        spawn(Box::pin(tasks.dispatcher.run(tasks.ready)));
        spawn(Box::pin(tasks.housekeeping.run()));
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

/// What an event path in memory is made of.
pub(super) struct InMemory {
    /// The groups.
    pub(super) groups: Vec<Group>,
    /// `[delivery]`.
    pub(super) delivery: Delivery,
    /// `[limits]`.
    pub(super) limits: Limits,
    /// `[identity]`.
    pub(super) identity: IdentitySettings,
    /// Of its events, bytes.
    pub(super) max_bytes: u64,
    /// Generations.
    pub(super) tags: Arc<Tags>,
    /// Where its batches go; none: they are made and looked at.
    pub(super) upstream: Option<Upstream>,
    /// Who is told of its events.
    pub(super) outcomes: Arc<dyn Outcomes>,
    /// Wall clock.
    pub(super) clock: Clock,
}

/// An event path that shares nothing with the sidecar's own. No task of it runs yet.
pub(super) struct MemoryPath {
    /// Those who use it.
    pub(super) handles: Handles,
    /// What moves it.
    pub(super) tasks: Tasks,
    /// Who is who, by a secret of its own.
    pub(super) identity: Arc<Identity>,
    /// Instruments of its own.
    pub(super) metrics: Arc<Metrics>,
}

/// Puts an event path in memory together.
///
/// # Errors
/// The metrics or the random numbers can't be had.
pub(super) fn assemble_in_memory(parts: InMemory) -> anyhow::Result<MemoryPath> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| anyhow::anyhow!("the system gave no random numbers: {error}"))?;
    let metrics = Arc::new(Metrics::try_new()?);
    let most = parts.limits.max_users as u64;
    let identity = Arc::new(Identity::new(parts.identity, secret, most));
    let (handles, tasks) = ingest::assemble(ingest::Setup {
        groups: parts.groups,
        delivery: parts.delivery,
        limits: parts.limits,
        journal: Keeping::Memory {
            max_bytes: parts.max_bytes,
            secret,
        },
        identity: Arc::clone(&identity),
        tags: parts.tags,
        metrics: Arc::clone(&metrics),
        upstream: parts.upstream,
        outcomes: Some(parts.outcomes),
        notices: Arc::new(Notices::new(0)),
        clock: parts.clock,
        watch: Arc::new(Nobody),
        access: AccessLog::default(),
        spans: Spans::default(),
        shards: 1,
    })?;
    Ok(MemoryPath {
        handles,
        tasks,
        identity,
        metrics,
    })
}

fn live_addresses(config: &Config) -> Vec<Uri> {
    let of_group = |group: &Group| match &group.shape {
        Shape::Batch(Target::Url(url)) => Some(url.clone()),
        _ => None,
    };
    let groups = config.groups.iter().filter_map(of_group);
    let all = groups.chain([config.upstream.url.clone()]);
    all.filter(|url| url.scheme_str() != Some(UNIX)).collect()
}

/// The addresses that a name stands for; none, if it can't be resolved.
fn addresses_of(url: &Uri) -> Vec<SocketAddr> {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, port_of(url)).to_socket_addrs();
    found.map(Iterator::collect).unwrap_or_default()
}

/// A group's batches go to the shadow's target, wherever they go in earnest. `is_application`: where
/// that has the single calls, none is repeated there, and no event has an id that its call didn't
/// have.
fn redirect(group: &Group, is_application: bool) -> Group {
    let mut group = group.clone();
    if is_application {
        group.fallback = Fallback::DeadLetter;
        group.missing_id = MissingId::Never;
        group.refuse.push("missing_id".into());
    }
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
    fn see_undecoded(&self, _: &EventRoute, _: &Undecoded<'_, '_>) {}
    fn wants_waits(&self, _: &[GroupIndex]) -> bool {
        false
    }
    fn see_wait(&self, _: &Asker, _: &[GroupIndex]) {}
}
