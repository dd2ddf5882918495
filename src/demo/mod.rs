//! `tidegate demo`: a reference upstream, the sidecar with its shipped configuration and synthetic learners in one
//! process; a summary while it runs, and at the end a report whose verdict is the upstream's own count.
//!
//! The fast clock is one factor applied to everything that has a rhythm: the learners, the sidecar's windows, retries
//! and freshness, the upstream's rate limit and token life. The upstream's latency stays what it is, so the saving
//! that the fast clock shows is not better than the true one.

pub mod audit;
pub mod learner;
pub mod moment;
pub mod report;
pub mod tally;
pub mod upstream;

pub use learner::rhythm::Rhythm;

use crate::app::{self, Running};
use crate::config::{self, Config};
use anyhow::Context as _;
use audit::Audit;
use http::HeaderValue;
use learner::rhythm::Pace;
use learner::session;
use moment::{Moment, Scene, Screen};
use report::Report;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use upstream::Upstream;

/// The configuration that ships with the program.
const CONFIG: &str = include_str!("../../config.toml");
/// The fast clock.
const FAST: u32 = 10;
/// Life of an access token on the learners' clock, as the application has it.
const TOKEN_LIFE: Duration = Duration::from_secs(900);
/// Between two drawings on a terminal, and between two lines elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(5);

/// What can be asked of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoOptions {
    /// Synthetic learners.
    pub learners: usize,
    /// How long they play, real time.
    pub duration: Duration,
    /// How often they call.
    pub rhythm: Rhythm,
    /// The whole clock ten times faster.
    pub fast: bool,
    /// The last line of stdout is a JSON object.
    pub json: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self { learners: 100, duration: Duration::from_secs(20), rhythm: Rhythm::Player, fast: false, json: false }
    }
}

impl DemoOptions {
    const fn speed(&self) -> u32 {
        if self.fast { FAST } else { 1 }
    }
}

/// Runs the demo; `false`: an acknowledged event was lost or travelled with a foreign token.
///
/// # Errors
/// A part of it could not be started.
pub async fn run(options: DemoOptions) -> anyhow::Result<bool> {
    let stage = Stage::set(options).await?;
    let report = stage.play().await;
    let page = report.to_string();
    if options.json {
        // The page is for people; stdout belongs to the program that reads the line.
        std::io::stderr().write_all(page.as_bytes())?;
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        std::io::stdout().write_all(page.as_bytes())?;
    }
    Ok(report.is_good())
}

/// Everything that runs.
struct Stage {
    scene: Scene,
    upstream: Upstream,
    sidecar: Running,
    tally: Arc<Tally>,
    origin: Option<HeaderValue>,
    /// Where the shipped configuration was changed to suit the reference upstream.
    changes: Vec<String>,
    /// Removed at the end.
    _journal: Scratch,
}

impl Stage {
    async fn set(options: DemoOptions) -> anyhow::Result<Self> {
        let journal = Scratch::new();
        let speed = options.speed();
        let mut config = configure("http://127.0.0.1:9", &journal.0)?;
        // Browsers of a front end that the configuration names; without one they share the sidecar's origin.
        let origin = config.identity.cors.as_ref().and_then(|cors| cors.origins.first().cloned());
        let upstream = Upstream::start(upstream::Options {
            speed,
            token_life: TOKEN_LIFE / speed,
            origins: origin.iter().cloned().collect(),
            latency: true,
        });
        let upstream = upstream.await.context("the reference upstream can't listen")?;
        config.upstream.url = format!("http://{}", upstream.address()).parse()?;
        let changes = suit(&mut config);
        config.speed_up(speed);
        let sidecar = app::start(config, app::Options::default()).await?;
        let DemoOptions { learners, rhythm, duration, .. } = options;
        let scene = Scene { learners, rhythm, speed, duration, address: sidecar.address, admin: sidecar.admin };
        let tally = Arc::new(Tally::try_new()?);
        let origin = origin.map(|origin| HeaderValue::try_from(&*origin)).transpose()?;
        Ok(Self { scene, upstream, sidecar, tally, origin, changes, _journal: journal })
    }

    async fn play(self) -> Report {
        let stop = CancellationToken::new();
        let mut learners = self.admit(&stop);
        let began = Instant::now();
        self.watch(began).await;
        let elapsed = began.elapsed();
        stop.cancel();
        while learners.join_next().await.is_some() {}
        // The windows are sealed and sent before anything is judged.
        let ledger = self.sidecar.stop().await;
        let census = self.upstream.census();
        let last = Moment::of(elapsed, &self.tally, census.calls(), ledger, None);
        let promised = self.tally.promised();
        let audit = census.look(|book| Audit::of(&promised, book));
        Report::new(self.scene, last, audit, &self.tally, self.changes)
    }

    fn admit(&self, stop: &CancellationToken) -> JoinSet<()> {
        let site = Arc::new(session::Site::new(self.scene.address, self.origin.clone()));
        let client = session::client();
        let pace = Pace::new(self.scene.rhythm, self.scene.speed);
        let learner = |number| {
            learner::run(learner::Setup {
                number,
                of: self.scene.learners,
                pace,
                site: Arc::clone(&site),
                client: client.clone(),
                tally: Arc::clone(&self.tally),
                stop: stop.clone(),
            })
        };
        (0..self.scene.learners).map(learner).collect()
    }

    /// Shows what happens until the time is over, somebody interrupts, or the sidecar gives up.
    async fn watch(&self, began: Instant) {
        let end = tokio::time::sleep(self.scene.duration);
        tokio::pin!(end);
        let terminal = std::io::stdout().is_terminal();
        let mut ticks = tokio::time::interval(if terminal { REDRAW } else { LINE });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut screen = Screen::default();
        loop {
            tokio::select! {
                () = &mut end => break,
                _ = tokio::signal::ctrl_c() => break,
                () = self.sidecar.draining() => break,
                _ = ticks.tick() => self.show(began, terminal.then_some(&mut screen)).await,
            }
        }
        self.show(began, terminal.then_some(&mut screen)).await;
    }

    async fn show(&self, began: Instant, screen: Option<&mut Screen>) {
        let oldest = self.sidecar.oldest_pending().await;
        let calls = self.upstream.census().calls();
        let moment = Moment::of(began.elapsed(), &self.tally, calls, self.sidecar.ledger(), oldest);
        // Nobody to show it to is no reason to stop.
        drop(match screen {
            Some(screen) => {
                let mut out = std::io::stdout().lock();
                out.write_all(screen.draw(&self.scene, &moment).as_bytes()).and_then(|()| out.flush())
            }
            None => writeln!(std::io::stderr(), "{}", moment::line(&moment)),
        });
    }
}

/// The shipped configuration on ports and a directory of our own.
fn configure(upstream: &str, journal: &Path) -> anyhow::Result<Config> {
    let journal = journal.display().to_string();
    let overrides = [
        ("TIDEGATE__SERVER__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__UPSTREAM__URL", upstream),
        ("TIDEGATE__JOURNAL__PATH", &journal),
    ];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::parse(CONFIG, "config.toml", overrides.into_iter()).context("the shipped configuration")
}

/// `distinct` is for an SQL upsert that refuses one row twice in a call. The reference upstream keeps its records in
/// memory and takes events one by one, and with `distinct` a batch could hold one event per lesson: a player's batches
/// would be single calls. Whatever is changed here is said in the report.
fn suit(config: &mut Config) -> Vec<String> {
    let groups = config.groups.iter_mut().filter(|group| !group.distinct.is_empty());
    let changed = groups.map(|group| {
        let fields = std::mem::take(&mut group.distinct).join(", ");
        format!("batch.{}.distinct = [] instead of [{fields}]: the reference upstream takes a value twice", group.name)
    });
    changed.collect()
}

/// A directory name nobody else uses; what is made there goes with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("tidegate-demo-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing there is the usual case while events live in memory.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
