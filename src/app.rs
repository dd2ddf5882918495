//! Builds, starts and stops all parts, each in one written order.

pub(crate) mod explain;
mod rehearsal;
mod reload;
mod running;

pub use running::Running;

use crate::admin::{self, Admin, LogFilter, Reload};
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::drain::Drain;
use crate::gateway::{self, Gateway};
use crate::identity::Identity;
use crate::ingest::settings::{Group, Shape, Target};
use crate::ingest::{self, Handles, Keeping};
use crate::journal::OpenError;
use crate::journal::directory::FORMAT_FILE;
use crate::journal::recover::{self, Opened};
use crate::journal::settings::{Durability, JournalSettings};
use crate::logging::{AccessLog, Format, LogSettings};
use crate::metrics::Metrics;
use crate::migration::Modes;
use crate::migration::learn::Recordings;
use crate::migration::observe::{self, Observer};
use crate::migration::shadow;
use crate::notices::Notices;
use crate::peer::TrustedProxies;
use crate::read::Read;
use crate::route::{LiveRoutes, Routes};
use crate::server::descriptors::{self, Caps};
use crate::server::{self, ListenAddress, Listener, OpenConnections, ServerSettings, ServerTls};
use crate::spans::Spans;
use crate::upstream::Upstream;
use crate::webhook::Webhook;
use anyhow::Context as _;
use http::uri::Authority;
use parking_lot::Mutex;
use reload::Reloader;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tracing::Instrument as _;

/// How long a process that was passed its listener waits for the journal and the admin address of
/// the one before it.
const TAKE_OVER: Duration = Duration::from_secs(60);
/// How often it tries.
const TRY_AGAIN: Duration = Duration::from_millis(20);

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
        read,
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

/// Opens a listener; an address that is taken is waited for so long.
async fn bind_when_free(settings: &ServerSettings, patience: Duration) -> io::Result<Listener> {
    let until = Instant::now() + patience;
    loop {
        match server::bind(settings) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            bound => return bound,
        }
    }
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

/// A head on the admin listener must be there in this time.
const ADMIN_HEAD: Duration = Duration::from_secs(2);
/// A connection of the admin listener may idle for so long.
const ADMIN_IDLE: Duration = Duration::from_secs(5);
/// Bytes for a caller of the admin listener may wait for so long.
const ADMIN_STALL: Duration = Duration::from_secs(10);

/// The admin listener's places are its own, and soon free again: the public listener can't take
/// them, and callers that say nothing can't keep them.
fn admin_server_settings(
    listen: SocketAddr,
    public: &ServerSettings,
    places: usize,
) -> ServerSettings {
    ServerSettings {
        listen: ListenAddress::Tcp(listen),
        tls: None,
        max_connections: places,
        header_timeout: ADMIN_HEAD,
        keepalive_timeout: ADMIN_IDLE,
        stall_timeout: ADMIN_STALL,
        drain: Duration::from_secs(1),
        // Callers on this machine may need all places; those of a network have a share.
        trusted_proxies: TrustedProxies::local(),
        connections: OpenConnections::default(),
        ..public.clone()
    }
}

/// Makes the caps on connections fit the descriptors that there are; how many places the admin
/// listener has. Of the connections to the application, deliveries have as many for themselves as
/// they may have batches in flight, a quarter at most, so that calls of clients can't hold them up.
fn share_out(config: &mut Config) -> usize {
    let elsewhere: HashSet<_> = config.groups.iter().filter_map(address_of).collect();
    let (clients, upstream) = (
        config.server.max_connections,
        config.upstream.max_connections,
    );
    let caps = descriptors::provide(
        Caps {
            clients,
            upstream,
            admin: descriptors::ADMIN,
        },
        1 + elsewhere.len(),
    );
    config.server.max_connections = caps.clients;
    config.upstream.max_connections = caps.upstream;
    if !config.groups.is_empty() {
        let kept = config.delivery.max_in_flight.min(caps.upstream / 4);
        if kept < config.delivery.max_in_flight {
            tracing::warn!(
                batches = kept,
                "delivery.max_in_flight is more than a quarter of upstream.max_connections"
            );
        }
        config.upstream.kept_for_deliveries = kept;
        config.upstream.knows_callers = true;
        config.delivery.max_in_flight = kept;
    }
    caps.admin
}

/// The address of a group whose batches go elsewhere than to `[upstream]`.
fn address_of(group: &Group) -> Option<&Authority> {
    match &group.shape {
        Shape::Batch(Target::Url(url)) => url.authority(),
        _ => None,
    }
}

/// The journal that the configuration asks for, opened and looked through.
/// One that another process has is waited for so long.
async fn keeping(config: &Config, patience: Duration) -> anyhow::Result<Keeping> {
    let settings = config.journal.clone();
    // A plain relay makes no directory; but one that has something is emptied, and so is one of
    // `durability = "none"`.
    let is_there = settings.path.join(FORMAT_FILE).exists();
    let needed = !config.groups.is_empty() && settings.durability != Durability::None;
    if !needed && !is_there {
        return in_memory(&settings);
    }
    let opened = open_when_free(&settings, patience).await?;
    let path = settings.path.display();
    for finding in &opened.findings {
        tracing::error!(journal = %path, "{finding}");
        eprintln!("journal {path}: {finding}");
    }
    if settings.durability == Durability::None {
        let (mut pending, letters) = (0_u64, opened.dead());
        opened.each_event(&[], |_| pending += 1);
        if pending == 0 && letters == 0 {
            return in_memory(&settings);
        }
        let what = format!(
            "{pending} pending events and {letters} dead letters of an earlier durability are in \
             it; durability is \"process\", not \"none\", until a start finds it empty"
        );
        tracing::warn!(journal = %path, "{what}");
        eprintln!("journal {path}: {what}");
        let settings = JournalSettings {
            durability: Durability::Process,
            ..settings
        };
        return Ok(Keeping::Disk(Box::new(opened), settings));
    }
    Ok(Keeping::Disk(Box::new(opened), settings))
}

async fn open_when_free(settings: &JournalSettings, patience: Duration) -> anyhow::Result<Opened> {
    let (until, mut is_told) = (Instant::now() + patience, false);
    loop {
        let opening = settings.clone();
        match tokio::task::spawn_blocking(move || recover::open(&opening)).await? {
            Err(OpenError::InUse(_)) if Instant::now() < until => {
                if !std::mem::replace(&mut is_told, true) {
                    let what = "waits for the journal of the process before";
                    tracing::info!(journal = %settings.path.display(), "{what}");
                    eprintln!("{what}");
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn in_memory(settings: &JournalSettings) -> anyhow::Result<Keeping> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| anyhow::anyhow!("the system gave no random numbers: {error}"))?;
    Ok(Keeping::Memory {
        max_bytes: settings.max_bytes,
        secret,
    })
}

/// How much less of a busy processor than others threads get that no call waits for: as little as there is (nice(2)).
const NICE: i32 = 19;

/// Work that takes long stretches of processor time: on a thread of its own, so that no call waits
/// for one of them, and after the calls where processors are scarce; until the drain begins.
///
/// # Errors
/// The system gives no thread.
fn run_apart(
    name: &str,
    drain: Drain,
    work: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime can't be started")?;
    let run = move || {
        // On Linux it is this thread's alone (setpriority(2)).
        if cfg!(target_os = "linux")
            && let Err(error) = rustix::process::setpriority_process(None, NICE)
        {
            tracing::debug!(%error, "a thread can't be made to yield");
        }
        runtime.block_on(async {
            tokio::select! {
                () = drain.draining() => {}
                () = work => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).context("a thread can't be started")
}

/// A task that must not end by itself: if it does (a panic, a mistake), the process drains.
fn watched(
    name: &'static str,
    drain: &Drain,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let drain = drain.clone();
    let guard = EndsEverything { name, drain };
    tokio::spawn(async move {
        let _guard = guard;
        task.await;
    })
}

struct EndsEverything {
    name: &'static str,
    drain: Drain,
}

impl Drop for EndsEverything {
    fn drop(&mut self) {
        if !self.drain.is_draining() {
            tracing::error!(task = self.name, "a task ended early; the sidecar drains");
            self.drain.begin();
        }
    }
}
