//! Builds, starts and stops all parts, each in one written order.

mod control;
pub(crate) mod explain;
mod keeping;
mod listeners;
mod places;
mod rehearsal;
mod reload;
mod running;
mod shared;
mod staged;
mod takeover;
mod tasks;

pub use running::Running;

use crate::admin::{self, Admin, LogFilter};
use crate::clock::Clock;
use crate::config::Config;
use crate::drain::Drain;
use crate::gateway::{self, Gateway};
use crate::ingest::{self, Handles, Keeping};
use crate::journal::settings::Durability;
use crate::read::Read;
use crate::server::{self, Listener, ServerTls};
use crate::token_keys::KeyFetcher;
use crate::upstream::Upstream;
use crate::webhook::Webhook;
use anyhow::Context as _;
use control::Control;
use keeping::keeping;
use listeners::{Listeners, patience};
use places::share_out;
use shared::Shared;
use staged::Staged;
use std::path::PathBuf;
use std::sync::Arc;
use tasks::{wake_beside, watched};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

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
    let Options {
        clock,
        file,
        log,
        listener,
    } = options;
    // What the journal holds is back in its windows before anybody can call.
    let journal = keeping(&config, patience(listener.as_ref())).await?;
    let (durability, directory) = (journal.durability(), journal.directory());
    let shared = Shared::try_new(&config, journal.secret(), clock)?;
    let routes = config.routes();
    if journal.has_events() {
        // Whichever was on, its events are known by their ids.
        routes
            .events()
            .iter()
            .for_each(|route| route.switch.suppose_it_was_on());
    }
    let control = Control::try_new(&config, routes, file, directory.clone(), &shared)?;
    let (staged, staged_tasks) = Staged::new(&config, &control.routes.load(), &shared);
    let (handles, event_tasks) = assemble_event_path(&config, journal, &staged, &shared)
        .context("the journal can't be brought back")?;
    let listeners = Listeners::open(&config, listener, admin_places).await?;
    let webhook = build_webhook(&config, &handles, &shared);
    let key_fetcher = build_key_fetcher(&config, &shared);

    let (drain, end) = (Drain::new(), Drain::new());
    let read = Read::new(
        Arc::clone(&shared.store),
        Arc::clone(&shared.tags),
        shared.upstream.clone(),
        (handles.lanes.clone(), handles.standing.clone()),
        Arc::clone(&shared.identity),
        shared.clock.clone(),
        Arc::clone(&shared.metrics),
    );
    let gateway = Gateway::new(gateway::Setup {
        routes: Arc::clone(&control.routes),
        identity: Arc::clone(&shared.identity),
        acceptor: handles.acceptor.clone(),
        lanes: handles.lanes,
        standing: handles.standing,
        tags: Arc::clone(&shared.tags),
        read: read.clone(),
        upstream: shared.upstream.clone(),
        metrics: Arc::clone(&shared.metrics),
        clock: shared.clock,
        body_timeout: config.server.body_timeout,
        trusted_proxies: config.server.trusted_proxies.clone(),
        notices: shared.notices,
        drain: drain.clone(),
        explain: config.explain,
        mirror: Arc::new(staged.shadow.clone()),
        recorder: Arc::new(staged.recordings.clone()),
        access: shared.access.clone(),
        spans: shared.spans.clone(),
    });
    let (admin, live_task) = Admin::new(admin::Setup {
        listen: config.admin.listen.ip(),
        guard: control.guard,
        operations: handles.operations.clone(),
        modes: control.modes,
        observer: staged.observer,
        shadow: staged.shadow,
        recordings: staged.recordings,
        upstream: config.upstream.shown_url(),
        reload: control.reload.clone(),
        config: control.shown,
        log,
        read,
        tags: shared.tags,
        store: shared.store,
        metrics: shared.metrics,
        drain: drain.clone(),
        end: end.clone(),
        began,
        durability: durability.as_str(),
        journal_max_bytes: config.journal.max_bytes,
        journal: directory,
        exchanges: shared.upstream.exchanges(),
        connections: config.server.connections.clone(),
        max_connections: config.server.max_connections,
    });

    if durability == Durability::Process {
        wake_beside(handles.operations.watch_journal())?;
    }
    let mut others = spawn_event_path(event_tasks, &drain);
    // Not watched: nothing that a call needs fails with it.
    others.push(tokio::spawn(live_task.run()));
    if let Some(fetcher) = key_fetcher {
        others.push(tokio::spawn(fetcher.run()));
    }
    if let Some(webhook) = &webhook {
        others.push(tokio::spawn(Arc::clone(webhook).run()));
    }
    others.push(staged_tasks.spawn(handles.acceptor, &drain)?);
    let service = service_fn(move |request| admin.clone().handle(request));
    others.push(tokio::spawn(server::serve(
        listeners.admin,
        listeners.admin_settings,
        service,
        end.clone(),
    )));
    if let Some(tls) = &config.server.tls {
        tls.warn_if_out_of_time();
        others.push(tokio::spawn(tls.clone().follow_files()));
    }
    let scheme = scheme_of(config.server.tls.as_ref());
    let deadline = config.server.drain;
    let service = service_fn(move |request| gateway.clone().handle(request));
    let serving = server::serve(listeners.public, config.server, service, drain.clone());
    let public = watched("server", &drain, serving);
    let (listen, admin) = (listeners.listen, listeners.admin_address);
    tracing::info!(%listen, %admin, "tidegate serves");
    Ok(Running {
        listen,
        scheme,
        address: listeners.address,
        admin,
        operations: handles.operations,
        stop: handles.stop,
        drain,
        end,
        deadline,
        haste: CancellationToken::new(),
        reload: control.reload,
        only_memory: durability == Durability::None,
        outlives: listeners.outlives,
        public,
        others,
        access: shared.access,
        webhook,
        spans: shared.spans,
    })
}

/// The event path, with what the journal held.
fn assemble_event_path(
    config: &Config,
    journal: Keeping,
    staged: &Staged,
    shared: &Shared,
) -> std::io::Result<(Handles, ingest::Tasks)> {
    ingest::assemble(ingest::Setup {
        groups: config.groups.clone(),
        delivery: config.delivery.clone(),
        limits: config.limits.clone(),
        journal,
        identity: Arc::clone(&shared.identity),
        tags: Arc::clone(&shared.tags),
        metrics: Arc::clone(&shared.metrics),
        upstream: Some(shared.upstream.clone()),
        outcomes: None,
        notices: Arc::clone(&shared.notices),
        clock: shared.clock.clone(),
        watch: Arc::new(staged.observer.clone()),
        access: shared.access.clone(),
        spans: shared.spans.clone(),
        shards: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(16)),
    })
}

/// Its tasks, which run from here on.
fn spawn_event_path(tasks: ingest::Tasks, drain: &Drain) -> Vec<JoinHandle<()>> {
    let shards = tasks.shards.into_iter();
    let mut spawned: Vec<_> = shards
        .map(|shard| watched("shard", drain, shard.run()))
        .collect();
    let dispatching = tasks.dispatcher.run(tasks.ready);
    spawned.push(watched("dispatcher", drain, dispatching));
    spawned.push(watched("housekeeping", drain, tasks.housekeeping.run()));
    spawned
}

/// What tells an operator's address of troubles, if the configuration names one.
fn build_webhook(config: &Config, handles: &Handles, shared: &Shared) -> Option<Arc<Webhook>> {
    let notify = config.notify.clone()?;
    let client = rehearsal::client(&config.upstream, &notify.url, false);
    let (upstream, metrics) = (Upstream::new(client), Arc::clone(&shared.metrics));
    let operations = handles.operations.clone();
    Some(Arc::new(Webhook::new(
        notify, upstream, operations, metrics,
    )))
}

/// What fetches the keys of tokens, if they are published anywhere.
fn build_key_fetcher(config: &Config, shared: &Shared) -> Option<KeyFetcher> {
    let verifier = config.identity.jwt.clone()?;
    let client = |url: &_| Upstream::new(rehearsal::client(&config.upstream, url, false));
    KeyFetcher::try_new(verifier, client, Arc::clone(&shared.metrics))
}

/// What a listener speaks.
const fn scheme_of(tls: Option<&ServerTls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}
