//! One run: the application, the sidecar in front of it with its shipped configuration, and the
//! learners.

use super::application::census::SERVICE;
use super::application::{Options, Upstream};
use super::arrangement;
use super::learners::rhythm::Pace;
use super::learners::tally::Tally;
use super::learners::{self, Setup, session};
use super::prediction;
use super::report::audit::Audit;
use super::report::moment::{Moment, Scene};
use super::report::run::Run;
use super::report::screen::{self, Screen};
use super::report::style::Style;
use super::report::{Prediction, Report};
use crate::app::{self, Running};
use crate::config::{self, Config};
use crate::metrics::Ledger;
use anyhow::Context as _;
use http::HeaderValue;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Life of an access token on the learners' clock, as the application has it.
const TOKEN_LIFE: Duration = Duration::from_secs(900);
/// Between two drawings on a terminal, and between two lines elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(5);

/// Everything that runs.
pub struct Stage {
    /// The journal's directory, gone with the demo.
    _journal: TempDir,
    scene: Scene,
    upstream: Upstream,
    sidecar: Running,
    /// Before it, where the run is observed.
    observer: Option<Running>,
    tally: Arc<Tally>,
    origin: Option<HeaderValue>,
    /// The user's Ctrl-C, caught from the start: none is lost between two waits for it.
    interrupt: Signal,
}

impl Stage {
    /// Starts the application and the sidecar.
    ///
    /// # Errors
    /// A part could not be started.
    pub async fn set(run: Run) -> anyhow::Result<Self> {
        let interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
        let speed = run.speed;
        let journal =
            TempDir::with_prefix("tidegate-demo-").context("no directory for the journal")?;
        let mut config = configure("http://127.0.0.1:9")?;
        config.journal.path = journal.path().to_owned();
        // Browsers of a front end that the configuration names; without one they share the
        // sidecar's origin.
        let origin = config
            .identity
            .cors
            .as_ref()
            .and_then(|cors| cors.origins.first().cloned());
        let token = uuid::Uuid::new_v4().to_string();
        let mut service = HeaderValue::try_from(format!("Bearer {token}"))?;
        service.set_sensitive(true);
        let upstream = Upstream::start(Options {
            speed,
            token_life: TOKEN_LIFE / speed,
            origins: origin.iter().cloned().collect(),
            latency: true,
            service_token: run.is_shared().then_some(token),
        });
        let upstream = upstream
            .await
            .context("the reference upstream can't listen")?;
        config.upstream.url = format!("http://{}", upstream.address()).parse()?;
        if let Some(arrangement) = run.arrangement {
            // ORDER: an arrangement is given on the learners' clock.
            arrangement.apply(&mut config, &service);
        }
        config.speed_up(speed);
        let observed = run.observed.then(|| config.clone());
        let sidecar = app::start(config, app::Options::default()).await?;
        let observer = match observed {
            Some(config) => Some(prediction::start_observer(&config, sidecar.address).await?),
            None => None,
        };
        let first = observer.as_ref().unwrap_or(&sidecar);
        let scene = Scene {
            run,
            address: first.address,
            admin: sidecar.admin,
        };
        let tally = Arc::new(Tally::try_new()?);
        let origin = origin
            .map(|origin| HeaderValue::try_from(&*origin))
            .transpose()?;
        Ok(Self {
            _journal: journal,
            scene,
            upstream,
            sidecar,
            observer,
            tally,
            origin,
            interrupt,
        })
    }

    /// Plays the learners until the time is over, then stops everything and compares.
    pub async fn play(mut self) -> Report {
        let played = self.play_out().await;
        if let Some(observer) = self.observer.take() {
            observer.stop().await;
        }
        // The windows are sealed and sent before anything is judged.
        let ledger = self.sidecar.stop().await;
        compare(self.scene, &self.upstream, &self.tally, played, ledger)
    }

    /// As [`play`](Self::play), but the application and the sidecar go on after the comparison, which
    /// `tell` is given, until the user interrupts or the sidecar gives up.
    ///
    /// # Errors
    /// The comparison can't be told.
    pub async fn play_and_keep(
        mut self,
        tell: impl FnOnce(&Report) -> std::io::Result<()>,
    ) -> anyhow::Result<Report> {
        let played = self.play_out().await;
        let ledger = self.sidecar.settle().await;
        let report = compare(self.scene, &self.upstream, &self.tally, played, ledger);
        tell(&report)?;
        if !report.interrupted {
            let dashboard = screen::dashboard(&self.scene);
            // Nobody to show it to is no reason to stop.
            drop(writeln!(std::io::stderr(), "{dashboard}, until Ctrl-C"));
            tokio::select! {
                _ = self.interrupt.recv() => {}
                () = self.sidecar.draining() => {}
            }
        }
        if let Some(observer) = self.observer {
            observer.stop().await;
        }
        self.sidecar.stop().await;
        Ok(report)
    }

    /// Plays the learners until the time is over.
    async fn play_out(&mut self) -> Played {
        let stop = CancellationToken::new();
        let mut learners = self.admit(&stop);
        let began = Instant::now();
        let interrupted = self.watch(began).await;
        let elapsed = began.elapsed();
        stop.cancel();
        while learners.join_next().await.is_some() {}
        Played {
            elapsed,
            interrupted,
            prediction: self.predict().await,
        }
    }

    /// What the observer predicted, if there is one, beside what was saved.
    async fn predict(&self) -> Option<Prediction> {
        let admin = self.observer.as_ref()?.admin;
        let (live, ledger) = (self.sidecar.admin, self.sidecar.ledger());
        let compared = prediction::compare(admin, live, ledger).await;
        compared
            .map_err(|error| tracing::error!("no prediction: {error:#}"))
            .ok()
    }

    fn admit(&self, stop: &CancellationToken) -> JoinSet<()> {
        let site = Arc::new(session::Site::new(self.scene.address, self.origin.clone()));
        let client = session::client();
        let run = self.scene.run;
        let pace = Pace::new(run.rhythm, run.speed);
        let learner = |number| {
            learners::run(Setup {
                number,
                of: run.learners,
                pace,
                site: Arc::clone(&site),
                client: client.clone(),
                tally: Arc::clone(&self.tally),
                stop: stop.clone(),
            })
        };
        (0..run.learners).map(learner).collect()
    }

    /// Shows what happens until the time is over, the user interrupts (`true`), or the sidecar
    /// gives up.
    async fn watch(&mut self, began: Instant) -> bool {
        let end = tokio::time::sleep(self.scene.run.duration);
        tokio::pin!(end);
        let style = Style::of_output(std::io::stdout().is_terminal());
        let period = if style == Style::Terminal {
            REDRAW
        } else {
            LINE
        };
        let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut screen = (style == Style::Terminal).then(Screen::default);
        if screen.is_none() {
            // Nobody to show it to is no reason to stop.
            let (dashboard, heads) = (screen::dashboard(&self.scene), screen::heads());
            drop(writeln!(std::io::stderr(), "{dashboard}\n{heads}"));
        }
        let interrupted = loop {
            tokio::select! {
                () = &mut end => break false,
                _ = self.interrupt.recv() => break true,
                () = self.sidecar.draining() => break false,
                _ = ticks.tick() => self.show(began, screen.as_mut()).await,
            }
        };
        if screen.is_some() {
            self.show(began, screen.as_mut()).await;
        }
        interrupted
    }

    async fn show(&self, began: Instant, screen: Option<&mut Screen>) {
        let oldest = self.sidecar.oldest_pending().await;
        let calls = self.upstream.census().calls();
        let moment = Moment::of(
            began.elapsed(),
            &self.tally,
            calls,
            self.sidecar.ledger(),
            oldest,
        );
        // Nobody to show it to is no reason to stop.
        drop(match screen {
            Some(screen) => {
                let mut out = std::io::stdout().lock();
                out.write_all(screen.draw(&self.scene, &moment).as_bytes())
                    .and_then(|()| out.flush())
            }
            None => writeln!(std::io::stderr(), "{}", screen::line(&moment)),
        });
    }
}

/// How a run went.
struct Played {
    elapsed: Duration,
    interrupted: bool,
    prediction: Option<Prediction>,
}

/// What the learners were promised, beside what the application has.
fn compare(
    scene: Scene,
    upstream: &Upstream,
    tally: &Tally,
    played: Played,
    ledger: Ledger,
) -> Report {
    let census = upstream.census();
    let last = Moment::of(played.elapsed, tally, census.calls(), ledger, None);
    let promised = tally.promised();
    let trusted = scene.run.is_shared().then_some(SERVICE);
    let audit = census.look(|book| Audit::of(&promised, book, trusted));
    Report {
        interrupted: played.interrupted,
        prediction: played.prediction,
        ..Report::new(scene, last, audit, tally)
    }
}

/// The shipped configuration, fitted to the demo's application, on ports of our own.
fn configure(upstream: &str) -> anyhow::Result<Config> {
    let overrides = [
        ("TIDEGATE__SERVER__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__UPSTREAM__URL", upstream),
    ];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut config = config::parse(arrangement::CONFIG, "config.toml", overrides.into_iter())
        .context("the shipped configuration")?;
    arrangement::fit_the_demo(&mut config);
    Ok(config)
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
