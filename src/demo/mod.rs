//! `tidegate demo`: a reference upstream, the sidecar with its shipped configuration and synthetic learners in one
//! process; a summary while it runs, and at the end a report whose verdict is the upstream's own count.
//!
//! The fast clock is one factor applied to everything that has a rhythm: the learners, the sidecar's windows, retries
//! and freshness, the upstream's rate limit and token life. The upstream's latency stays what it is, so the saving
//! that the fast clock shows is not better than the true one.
//!
//! [`compare`] makes several such runs, each with the sidecar set up in another way.

pub mod arrangement;
pub mod audit;
pub mod compare;
pub mod learner;
pub mod moment;
pub mod report;
pub mod run;
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
use run::Run;
use serde_json::Value;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use upstream::Upstream;
use upstream::census::SERVICE;

/// The configuration that ships with the program.
const CONFIG: &str = include_str!("../../config.toml");
/// The fast clock.
const FAST: u32 = 10;
/// Life of an access token on the learners' clock, as the application has it.
const TOKEN_LIFE: Duration = Duration::from_secs(900);
/// Between two drawings on a terminal, and between two lines elsewhere.
const REDRAW: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(5);

/// What can be asked of the demo. What is left open depends on whether arrangements are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DemoOptions {
    /// Synthetic learners.
    pub learners: Option<usize>,
    /// How long they play, real time.
    pub duration: Option<Duration>,
    /// How often they call.
    pub rhythm: Option<Rhythm>,
    /// The whole clock ten times faster.
    pub fast: bool,
    /// The last line of stdout is a JSON object.
    pub json: bool,
    /// All arrangements, on both rhythms unless one is named.
    pub compare: bool,
}

impl DemoOptions {
    /// The one run of a demo that compares nothing.
    fn run(&self) -> Run {
        Run {
            learners: self.learners.unwrap_or(100),
            rhythm: self.rhythm.unwrap_or_default(),
            speed: if self.fast { FAST } else { 1 },
            duration: self.duration.unwrap_or(Duration::from_secs(20)),
            arrangement: None,
        }
    }
}

/// Runs the demo; `false`: an acknowledged event was lost or travelled with a foreign token, or a read showed less than
/// was acknowledged without saying so.
///
/// # Errors
/// A part of it could not be started.
pub async fn run(options: DemoOptions) -> anyhow::Result<bool> {
    if options.compare {
        return compare::run(&options).await;
    }
    let report = Stage::set(options.run()).await?.play().await;
    publish(options.json, &report.to_string(), &report.json())?;
    Ok(report.is_good())
}

fn publish(json: bool, page: &str, line: &Value) -> std::io::Result<()> {
    if json {
        // The page is for people; stdout belongs to the program that reads the line.
        std::io::stderr().write_all(page.as_bytes())?;
        writeln!(std::io::stdout(), "{line}")
    } else {
        std::io::stdout().write_all(page.as_bytes())
    }
}

/// Everything that runs.
struct Stage {
    /// The journal's directory, gone with the demo.
    _journal: TempDir,
    scene: Scene,
    upstream: Upstream,
    sidecar: Running,
    tally: Arc<Tally>,
    origin: Option<HeaderValue>,
}

impl Stage {
    async fn set(run: Run) -> anyhow::Result<Self> {
        let speed = run.speed;
        let journal = TempDir::with_prefix("tidegate-demo-").context("no directory for the journal")?;
        let mut config = configure("http://127.0.0.1:9")?;
        config.journal.path = journal.path().to_owned();
        // Browsers of a front end that the configuration names; without one they share the sidecar's origin.
        let origin = config.identity.cors.as_ref().and_then(|cors| cors.origins.first().cloned());
        let token = uuid::Uuid::new_v4().to_string();
        let mut service = HeaderValue::try_from(format!("Bearer {token}"))?;
        service.set_sensitive(true);
        let upstream = Upstream::start(upstream::Options {
            speed,
            token_life: TOKEN_LIFE / speed,
            origins: origin.iter().cloned().collect(),
            latency: true,
            service_token: run.is_shared().then_some(token),
        });
        let upstream = upstream.await.context("the reference upstream can't listen")?;
        config.upstream.url = format!("http://{}", upstream.address()).parse()?;
        if let Some(arrangement) = run.arrangement {
            // ORDER: an arrangement is given on the learners' clock.
            arrangement.apply(&mut config, &service);
        }
        config.speed_up(speed);
        let sidecar = app::start(config, app::Options::default()).await?;
        let scene = Scene { run, address: sidecar.address, admin: sidecar.admin };
        let tally = Arc::new(Tally::try_new()?);
        let origin = origin.map(|origin| HeaderValue::try_from(&*origin)).transpose()?;
        Ok(Self { _journal: journal, scene, upstream, sidecar, tally, origin })
    }

    async fn play(self) -> Report {
        let stop = CancellationToken::new();
        let mut learners = self.admit(&stop);
        let began = Instant::now();
        let interrupted = self.watch(began).await;
        let elapsed = began.elapsed();
        stop.cancel();
        while learners.join_next().await.is_some() {}
        // The windows are sealed and sent before anything is judged.
        let ledger = self.sidecar.stop().await;
        let census = self.upstream.census();
        let last = Moment::of(elapsed, &self.tally, census.calls(), ledger, None);
        let promised = self.tally.promised();
        let trusted = self.scene.run.is_shared().then_some(SERVICE);
        let audit = census.look(|book| Audit::of(&promised, book, trusted));
        Report { interrupted, ..Report::new(self.scene, last, audit, &self.tally) }
    }

    fn admit(&self, stop: &CancellationToken) -> JoinSet<()> {
        let site = Arc::new(session::Site::new(self.scene.address, self.origin.clone()));
        let client = session::client();
        let run = self.scene.run;
        let pace = Pace::new(run.rhythm, run.speed);
        let learner = |number| {
            learner::run(learner::Setup {
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

    /// Shows what happens until the time is over, somebody interrupts (`true`), or the sidecar gives up.
    async fn watch(&self, began: Instant) -> bool {
        let end = tokio::time::sleep(self.scene.run.duration);
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(end, interrupt);
        let terminal = std::io::stdout().is_terminal();
        let period = if terminal { REDRAW } else { LINE };
        let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut screen = Screen::default();
        let interrupted = loop {
            tokio::select! {
                () = &mut end => break false,
                _ = &mut interrupt => break true,
                () = self.sidecar.draining() => break false,
                _ = ticks.tick() => self.show(began, terminal.then_some(&mut screen)).await,
            }
        };
        if terminal {
            self.show(began, Some(&mut screen)).await;
        }
        interrupted
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

/// The shipped configuration, fitted to the demo's application, on ports of our own.
fn configure(upstream: &str) -> anyhow::Result<Config> {
    let overrides = [
        ("TIDEGATE__SERVER__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__UPSTREAM__URL", upstream),
    ];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut config =
        config::parse(CONFIG, "config.toml", overrides.into_iter()).context("the shipped configuration")?;
    arrangement::fit_the_demo(&mut config);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use upstream::census::Calls;

    struct Direct {
        upstream: Upstream,
        tally: Arc<Tally>,
    }

    /// Learners on a very fast clock that call the upstream itself, until `enough` says so.
    async fn direct(token_life: Duration, renew: Duration, enough: impl Fn(&Tally) -> bool) -> Direct {
        let options =
            upstream::Options { speed: 100, token_life, origins: Vec::new(), latency: false, service_token: None };
        let upstream = Upstream::start(options).await.unwrap();
        let tally = Arc::new(Tally::try_new().unwrap());
        let stop = CancellationToken::new();
        let pace = Pace { renew, ..Pace::new(Rhythm::Player, 100) };
        let (site, client) = (Arc::new(session::Site::new(upstream.address(), None)), session::client());
        let learner = |number| {
            let (site, client, tally, stop) = (Arc::clone(&site), client.clone(), Arc::clone(&tally), stop.clone());
            learner::run(learner::Setup { number, of: 3, pace, site, client, tally, stop })
        };
        let mut learners: JoinSet<()> = (0..3).map(learner).collect();
        let reached = async {
            while !enough(&tally) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
        stop.cancel();
        while learners.join_next().await.is_some() {}
        Direct { upstream, tally }
    }

    #[tokio::test]
    async fn without_a_sidecar_every_call_is_a_call_of_the_upstream() {
        let Direct { upstream, tally } = direct(TOKEN_LIFE, Duration::ZERO, |tally| tally.calls() > 1_000).await;
        let calls = upstream.census().calls();
        assert_eq!(calls.work(), tally.calls());
        let (writes, reads) = (tally.writes.get(), tally.reads.get());
        let told =
            Calls { auth: 3, singles: writes - calls.snapshots, snapshots: calls.snapshots, reads, ..Calls::default() };
        assert_eq!(calls, told);
        assert!(calls.snapshots > 0, "learner 1 is on the course player");
        assert_eq!((tally.forwarded.get(), tally.acknowledged_here.get()), (tally.writes.get(), 0));
        assert_eq!((tally.refused.get(), tally.failed_reads.get(), tally.stale.get()), (0, 0, 0));
        let audit = upstream.census().look(|book| Audit::of(&tally.promised(), book, None));
        assert_eq!(audit, Audit { acknowledged: tally.writes.get(), ..Audit::default() });
    }

    #[tokio::test]
    async fn a_learner_whose_token_expires_gets_another_and_loses_no_call() {
        let enough = |tally: &Tally| tally.refreshes.get() > 3;
        let Direct { upstream, tally } = direct(Duration::from_secs(1), Duration::ZERO, enough).await;
        assert_eq!((tally.refused.get(), tally.failed_reads.get(), tally.locked_out.get()), (0, 0, 0));
        assert!(upstream.census().look(|book| Audit::of(&tally.promised(), book, None)).is_clean());
    }

    #[tokio::test]
    async fn the_demo_keeps_its_promises_and_sends_fewer_calls() {
        let options = DemoOptions {
            learners: Some(8),
            duration: Some(Duration::from_secs(2)),
            fast: true,
            ..DemoOptions::default()
        };
        let report = Stage::set(options.run()).await.unwrap().play().await;
        let json = report.json();
        assert!(report.is_good(), "{json}");
        for key in ["lost", "foreign", "duplicated", "out_of_order", "refused", "locked_out"] {
            assert_eq!(json[key], 0, "{key}: {json}");
        }
        assert!(json["upstream_calls"].as_u64() < json["calls"].as_u64(), "{json}");
        assert!(json["upstream"]["progress_batches"].as_u64() > Some(0), "{json}");
        assert!(json["cache_answers"].as_u64() > Some(0), "{json}");
        assert!(json["ledger"]["superseded"].as_u64() > Some(0), "every second learner tells snapshots: {json}");
        for key in ["reduction", "ack_p50_us", "ack_p99_us", "cache_hit_ratio"] {
            assert!(json[key].is_number(), "{key}: {json}");
        }
    }
    #[tokio::test]
    async fn shared_batches_go_under_the_service_credential_and_keep_the_promises() {
        let duration = Duration::from_secs(1);
        let arrangement = Some(arrangement::Arrangement::CollapseShared);
        let run = Run { learners: 8, rhythm: Rhythm::Player, speed: FAST, duration, arrangement };
        let report = Stage::set(run).await.unwrap().play().await;
        let json = report.json();
        assert!(report.is_good(), "{json}");
        for key in ["lost", "foreign", "duplicated", "out_of_order", "forwarded"] {
            assert_eq!(json[key], 0, "{key}: {json}");
        }
        assert_eq!(json["upstream"]["refusals"], 0, "{json}");
        assert!(json["upstream"]["progress_batches"].as_u64() > Some(0), "{json}");
    }
}
