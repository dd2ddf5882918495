//! Builds, starts and stops all parts, each in one written order.

pub(crate) mod explain;
mod keeping;
mod places;
mod rehearsal;
mod reload;
mod running;
mod takeover;
mod tasks;

pub use running::Running;

use crate::admin::{self, Admin, LogFilter, Reload};
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::drain::Drain;
use crate::gateway::{self, Gateway};
use crate::identity::Identity;
use crate::ingest::{self, Handles, Keeping};
use crate::journal::settings::Durability;
use crate::logging::{AccessLog, Format, LogSettings};
use crate::metrics::Metrics;
use crate::migration::Modes;
use crate::migration::learn::Recordings;
use crate::migration::observe::{self, Observer};
use crate::migration::shadow;
use crate::notices::Notices;
use crate::read::Read;
use crate::route::{LiveRoutes, Routes};
use crate::server::{self, Listener, ServerTls};
use crate::spans::Spans;
use crate::upstream::Upstream;
use crate::webhook::Webhook;
use anyhow::Context as _;
use keeping::keeping;
use parking_lot::Mutex;
use places::{admin_server_settings, share_out};
use reload::Reloader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use takeover::{TAKE_OVER, bind_when_free};
use tasks::{run_apart, watched};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tracing::Instrument as _;

/// What is not configuration.
#[derive(Default)]
pub struct Options {
    /// Wall clock.
    pub clock: Clock,
    /// The configuration's file, to be read anew when asked, and its text.
    pub file: Option<(PathBuf, String)>,
    /// What is logged, where the log is this process's own.
    pub log: Option<Arc<dyn LogFilter>>,
    /// The public listener, where another process opened it; the journal may then be that of a
    /// process that is about to end, and is waited for.
    pub listener: Option<Listener>,
}

/// Starts a sidecar. Nothing is bound before the configuration is proven: [`Config`] can't be
/// wrong.
///
/// # Errors
/// An address is taken, or the metrics can't be set up.
pub async fn start(mut config: Config, options: Options) -> anyhow::Result<Running> {
    let began = Instant::now();
    let admin_places = share_out(&mut config);
    let routes = config.routes();
    let Options {
        clock,
        file,
        log,
        listener,
    } = options;
    let patience = if listener.is_some() {
        TAKE_OVER
    } else {
        Duration::ZERO
    };
    // What the journal holds is back in its windows before anybody can call.
    let journal = keeping(&config, patience).await?;
    let (secret, durability, directory) = match &journal {
        Keeping::Memory { secret, .. } => (*secret, Durability::None, None),
        Keeping::Disk(opened, settings) => (
            opened.secret(),
            settings.durability,
            Some(settings.path.clone()),
        ),
    };
    let metrics = Arc::new(Metrics::try_new().context("the metrics can't be set up")?);
    if matches!(&journal, Keeping::Disk(opened, _) if opened.has_events()) {
        // Whichever was on, its events are known by their ids.
        routes
            .events()
            .iter()
            .for_each(|route| route.switch.suppose_it_was_on());
    }
    let modes = restore_modes(&routes, directory.clone(), &metrics, &clock);
    let routes = Arc::new(LiveRoutes::new(routes));
    let live_routes = Arc::clone(&routes);
    let routes_now = routes.load();
    let group_names = config
        .groups
        .iter()
        .map(|group| Arc::clone(&group.name))
        .collect();
    let guard = config.admin.guard()?.map(Arc::new);
    let shown = file
        .as_ref()
        .map(|(_, text)| config::show(text, std::env::vars()))
        .map(|shown| Arc::new(Mutex::new(shown)));
    let reload = file.map(|file| {
        let reloader = Reloader::new(
            file,
            reload::Parts {
                modes: modes.clone(),
                routes: live_routes,
                shown: shown.clone(),
                groups: group_names,
                tls: config.server.tls.clone(),
                guard: guard.clone(),
            },
        );
        Arc::new(move || reloader.reload()) as Reload
    });
    let (shadow, engine) = shadow::Engine::new(shadow::Setup {
        settings: config.shadow.clone(),
        events: routes_now.events(),
        groups: &config.groups,
        metrics: &metrics,
        clock: clock.clone(),
        both: rehearsal::ways_to_both(&config),
    });
    let plan = rehearsal::Plan::new(&config, &routes_now, &engine, clock.clone());
    let identity = Arc::new(Identity::new(
        config.identity,
        secret,
        config.limits.max_users as u64,
    ));
    let upstream_url = config.upstream.shown_url();
    let client_settings = config.upstream.clone();
    let upstream = Upstream::new(config.upstream);
    let exchanges = upstream.exchanges();
    let (recordings, recording_task) = Recordings::new(gateway::unpack_recorded);
    let access = open_access_log(&config.log)?;
    let spans = match &config.trace {
        Some(settings) => Spans::start(settings, metrics.spans.clone())
            .context("spans can't be recorded ([trace])")?,
        None => Spans::default(),
    };
    let store = Arc::new(Store::new(config.cache));
    let notices = Arc::new(Notices::new(clock::millis(clock.now())));
    let (observer, observer_task) = Observer::new(observe::Setup {
        events: routes_now.events(),
        groups: &config.groups,
        delivery: &config.delivery,
        identity: &identity,
        metrics: Arc::clone(&metrics),
        clock: clock.clone(),
    });
    let shards = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(16));
    let tags = Arc::new(Tags::new());
    let recovered = ingest::assemble(ingest::Setup {
        groups: config.groups,
        delivery: config.delivery,
        limits: config.limits,
        journal,
        identity: Arc::clone(&identity),
        tags: Arc::clone(&tags),
        metrics: Arc::clone(&metrics),
        upstream: Some(upstream.clone()),
        outcomes: None,
        notices: Arc::clone(&notices),
        clock: clock.clone(),
        watch: Arc::new(observer.clone()),
        access: access.clone(),
        spans: spans.clone(),
        shards,
    });
    let (
        Handles {
            acceptor,
            lanes,
            standing,
            operations,
            stop,
        },
        tasks,
    ) = recovered.context("the journal can't be brought back")?;
    let listener = match listener {
        Some(passed) => passed,
        None => server::bind(&config.server)
            .with_context(|| format!("server.listen {} can't be opened", config.server.listen))?,
    };
    let outlives = listener.is_passed();
    let admin_settings = admin_server_settings(config.admin.listen, &config.server, admin_places);
    let admin_listener = bind_when_free(&admin_settings, patience).await;
    let admin_listener = admin_listener
        .with_context(|| format!("admin.listen {} can't be opened", config.admin.listen))?;
    let (listen, admin_listen) = (listener.address()?, admin_listener.address()?);
    let webhook = config.notify.map(|notify| {
        let client = rehearsal::client(&client_settings, &notify.url, false);
        let (upstream, metrics) = (Upstream::new(client), Arc::clone(&metrics));
        Arc::new(Webhook::new(notify, upstream, operations.clone(), metrics))
    });
    let no_address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let [address, admin_address] =
        [&listen, &admin_listen].map(|address| address.tcp().unwrap_or(no_address));

    let decide_copies = acceptor.clone();
    let (drain, end) = (Drain::new(), Drain::new());
    let of_callers = (lanes.clone(), standing.clone());
    let read = Read::new(
        Arc::clone(&store),
        Arc::clone(&tags),
        upstream.clone(),
        of_callers,
        Arc::clone(&identity),
        clock.clone(),
        Arc::clone(&metrics),
    );
    let gateway = Gateway::new(gateway::Setup {
        routes,
        identity,
        acceptor,
        lanes,
        standing,
        tags: Arc::clone(&tags),
        read: read.clone(),
        upstream,
        metrics: Arc::clone(&metrics),
        clock,
        body_timeout: config.server.body_timeout,
        trusted_proxies: config.server.trusted_proxies.clone(),
        notices,
        drain: drain.clone(),
        explain: config.explain,
        mirror: Arc::new(shadow.clone()),
        recorder: Arc::new(recordings.clone()),
        access: access.clone(),
        spans: spans.clone(),
    });
    let (admin, live_task) = Admin::new(admin::Setup {
        listen: config.admin.listen.ip(),
        guard,
        operations: operations.clone(),
        modes,
        observer,
        shadow,
        recordings,
        upstream: upstream_url,
        reload: reload.clone(),
        config: shown,
        log,
        read,
        tags,
        store,
        metrics,
        drain: drain.clone(),
        end: end.clone(),
        began,
        durability: durability.as_str(),
        journal_max_bytes: config.journal.max_bytes,
        journal: directory,
        exchanges,
        connections: config.server.connections.clone(),
        max_connections: config.server.max_connections,
    });

    let mut others: Vec<_> = tasks
        .shards
        .into_iter()
        .map(|shard| watched("shard", &drain, shard.run()))
        .collect();
    others.push(watched(
        "dispatcher",
        &drain,
        tasks.dispatcher.run(tasks.ready),
    ));
    others.push(watched("housekeeping", &drain, tasks.housekeeping.run()));
    // Not watched: nothing that a call needs fails with it.
    others.push(tokio::spawn(recording_task.run(drain.clone())));
    others.push(tokio::spawn(live_task.run()));
    if let Some(webhook) = &webhook {
        others.push(tokio::spawn(Arc::clone(webhook).run()));
    }
    let observer_task = observer_task.run(decide_copies);
    run_apart("observer", drain.clone(), observer_task)?;
    let engine = engine.run(|| plan.build());
    let span = tracing::error_span!("shadow");
    run_apart("shadow", drain.clone(), engine.instrument(span))?;
    let service = service_fn(move |request| admin.clone().handle(request));
    others.push(tokio::spawn(server::serve(
        admin_listener,
        admin_settings,
        service,
        end.clone(),
    )));
    if let Some(tls) = &config.server.tls {
        tls.warn_if_out_of_time();
        others.push(tokio::spawn(tls.clone().follow_files()));
    }
    let scheme = scheme_of(config.server.tls.as_ref());
    let (deadline, haste) = (config.server.drain, CancellationToken::new());
    let only_memory = durability == Durability::None;
    let service = service_fn(move |request| gateway.clone().handle(request));
    let serving = server::serve(listener, config.server, service, drain.clone());
    let public = watched("server", &drain, serving);
    tracing::info!(%listen, admin = %admin_address, "tidegate serves");
    let admin = admin_address;
    Ok(Running {
        listen,
        scheme,
        address,
        admin,
        operations,
        stop,
        drain,
        end,
        deadline,
        haste,
        reload,
        only_memory,
        outlives,
        public,
        others,
        access,
        webhook,
        spans,
    })
}

/// What a listener speaks.
const fn scheme_of(tls: Option<&ServerTls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// The access log, if the configuration asks for one.
fn open_access_log(settings: &LogSettings) -> anyhow::Result<AccessLog> {
    let Some(share) = settings.access else {
        return Ok(AccessLog::default());
    };
    let format = settings.format.unwrap_or(Format::Json);
    let log = AccessLog::start(share, format, Box::new(std::io::stderr()));
    log.context("the access log's thread can't be started")
}

/// The modes of all routes, with what an earlier process was told of them.
fn restore_modes(
    routes: &Routes,
    directory: Option<PathBuf>,
    metrics: &Arc<Metrics>,
    clock: &Clock,
) -> Modes {
    let (metrics, clock) = (Arc::clone(metrics), clock.clone());
    let (modes, error) = Modes::restore(routes.events(), directory, metrics, clock);
    if let Some(error) = error {
        let what = format!(
            "all [[event]] routes are off, since what was set at run time can't be read: {error}"
        );
        tracing::error!("{what}");
        eprintln!("{what}");
    }
    modes
}
