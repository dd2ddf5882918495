//! What a staged migration runs beside the calls: the observer, the shadow and the recordings.

use super::rehearsal;
use super::shared::Shared;
use super::tasks::run_apart;
use crate::config::Config;
use crate::drain::Drain;
use crate::gateway;
use crate::ingest::Acceptor;
use crate::migration::learn::{RecordingTask, Recordings};
use crate::migration::observe::{self, Observer, ObserverTask};
use crate::migration::shadow::{self, Engine, Shadow};
use crate::route::Routes;
use std::sync::Arc;
use tracing::Instrument as _;

/// What shows calls to them and asks for their reports; clones share everything.
#[derive(Clone)]
pub(super) struct Staged {
    pub(super) observer: Observer,
    pub(super) shadow: Shadow,
    pub(super) recordings: Recordings,
}

/// Their work, which hasn't begun.
pub(super) struct StagedTasks {
    observer: ObserverTask,
    engine: Engine,
    /// What the engine's stage is built of.
    plan: rehearsal::Plan,
    recording: RecordingTask,
}

impl Staged {
    /// `routes`: those of the start.
    pub(super) fn new(config: &Config, routes: &Routes, shared: &Shared) -> (Self, StagedTasks) {
        let (shadow, engine) = shadow::Engine::new(shadow::Setup {
            settings: config.shadow.clone(),
            events: routes.events(),
            groups: &config.groups,
            metrics: &shared.metrics,
            clock: shared.clock.clone(),
            both: rehearsal::ways_to_both(config),
        });
        let plan = rehearsal::Plan::new(config, routes, &engine, shared.clock.clone());
        let (recordings, recording) = Recordings::new(gateway::unpack_recorded);
        let (observer, observer_task) = Observer::new(observe::Setup {
            events: routes.events(),
            groups: &config.groups,
            delivery: &config.delivery,
            identity: &shared.identity,
            metrics: Arc::clone(&shared.metrics),
            clock: shared.clock.clone(),
        });
        let staged = Self {
            observer,
            shadow,
            recordings,
        };
        let tasks = StagedTasks {
            observer: observer_task,
            engine,
            plan,
            recording,
        };
        (staged, tasks)
    }
}

impl StagedTasks {
    /// Starts them; none is watched, since nothing that a call needs fails with one. `acceptor`
    /// decides what the observer is shown. The recordings' task.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn spawn(
        self,
        acceptor: Acceptor,
        drain: &Drain,
    ) -> anyhow::Result<tokio::task::JoinHandle<()>> {
        let Self {
            observer,
            engine,
            plan,
            recording,
        } = self;
        run_apart("observer", drain.clone(), observer.run(acceptor))?;
        let engine = engine.run(|| plan.build());
        let span = tracing::error_span!("shadow");
        run_apart("shadow", drain.clone(), engine.instrument(span))?;
        Ok(tokio::spawn(recording.run(drain.clone())))
    }
}
