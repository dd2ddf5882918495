//! `tidegate run`: a sidecar from its start to its stop, by signals.

use super::service_manager;
use crate::admin::{LogFilter, Reloaded};
use crate::app::{self, Options};
use crate::config::Config;
use crate::journal::settings::Durability;
use crate::migration::Change;
use crate::server::Passed;
use anyhow::Context as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

/// Serves until it is told to stop, and stops.
///
/// # Errors
/// It can't start.
pub(super) async fn serve(
    config: Config,
    (file, text): (PathBuf, String),
    log: Arc<dyn LogFilter>,
    (watch, passed): (bool, Passed),
) -> anyhow::Result<()> {
    let journal = match config.journal.durability {
        Durability::Disk | Durability::Process if !config.groups.is_empty() => {
            let path = std::path::absolute(&config.journal.path).context("journal.path")?;
            format!(", journal in {}", path.display())
        }
        Durability::Disk | Durability::Process | Durability::None => String::new(),
    };
    // ORDER: caught before anybody can call: a signal in between must not end the process without
    // its clean stop.
    let mut signals = Signals::caught()?;
    // The process may be told to read it anew from another directory.
    let file = std::path::absolute(&file).context("--config")?;
    let listener = passed.open()?;
    let watched = watch.then(|| (file.clone(), text.clone()));
    let options = Options {
        file: Some((file, text)),
        log: Some(log),
        listener,
        ..Options::default()
    };
    let running = tokio::select! {
        started = app::start(config, options) => started?,
        // It may wait for the process before.
        () = signals.end() => return Ok(()),
    };
    tell(&format!(
        "tidegate serves on {}, admin on http://{}{journal}",
        running.shown_address(),
        running.admin
    ));
    service_manager::tell_ready(&running.shown_address());
    let _watching = watched.map(|(file, text)| {
        let reload = running.reloader();
        AbortOnDropHandle::new(tokio::spawn(watch_file(file, text, reload)))
    });
    let _alive = AbortOnDropHandle::new(tokio::spawn(service_manager::keep_alive()));
    let failed = loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::End => break false,
                // A disk that doesn't answer must not keep it from hearing the next signal.
                Told::Reload => drop(tokio::spawn(tell_reloaded(running.reload()))),
            },
            // A part ended that must not.
            () = running.draining() => break true,
        }
    };
    service_manager::tell_stopping();
    let (haste, loses_pending) = (running.haste(), running.loses_pending());
    drop(tokio::spawn(async move {
        signals.end().await;
        haste.cancel();
    }));
    let ledger = running.stop_and_tell(tell).await;
    // The ledger is the last word, on stdout, whatever the log's level.
    drop(writeln!(std::io::stdout(), "{ledger}"));
    if ledger.pending > 0 {
        let pending = ledger.pending;
        tell(&if loses_pending {
            format!("{pending} events were still pending; with durability = \"none\" they are lost")
        } else {
            format!("{pending} events are still pending; the next start delivers them")
        });
    }
    anyhow::ensure!(
        !failed,
        "a part of the sidecar ended early; the log names it"
    );
    Ok(())
}

/// How often a watched file is looked at.
const WATCH: Duration = Duration::from_secs(2);

/// Reads a file anew when it has changed and has been the same at two looks: one that is being
/// written is not read by halves. `text`: what it held at the start.
async fn watch_file<F>(file: PathBuf, text: String, reload: impl Fn() -> F)
where
    F: Future<Output = Option<Result<Reloaded, String>>>,
{
    let mut known = Some(text.into_bytes());
    let mut last = known.clone();
    loop {
        tokio::time::sleep(WATCH).await;
        let found = tokio::fs::read(&file).await.ok();
        if found.is_some() && found == last && found != known {
            known.clone_from(&found);
            tell_reloaded(reload()).await;
        }
        last = found;
    }
}

async fn tell_reloaded(reload: impl Future<Output = Option<Result<Reloaded, String>>>) {
    match reload.await {
        None => tell("nothing was read anew"),
        Some(Err(problems)) => tell(&format!("{problems}\nnothing has changed")),
        Some(Ok(reloaded)) => {
            for change in &reloaded.changes {
                let Change { route, was, now } = change;
                tell(&format!("{route}: was {was}, is {now}"));
            }
            for route in &reloaded.waiting {
                tell(&format!(
                    "{route}: acknowledges no more calls than before until the restart, for which \
                     other sections wait too"
                ));
            }
            if let Some(error) = &reloaded.failed {
                tell(&format!("modes hold until the process ends: {error}"));
            }
            if !reloaded.rules.is_empty() {
                let sections = reloaded.rules.join(", ");
                tell(&format!("rules of {sections} were replaced"));
            }
            if !reloaded.needs_restart.is_empty() {
                let sections = reloaded.needs_restart.join(", ");
                tell(&format!("changes of {sections} hold after a restart"));
            }
        }
    }
}

/// A line on stderr. Nobody may be there to read it any more; that must not end a stop halfway.
fn tell(what: &str) {
    drop(writeln!(std::io::stderr(), "{what}"));
}

/// What a server is told: SIGTERM and Ctrl-C end it, SIGHUP makes it read its file anew, unless it
/// was started to ignore that (`nohup`).
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// To stop; a second one, to stop at once.
    End,
    /// To read the file anew.
    Reload,
}

impl Signals {
    fn caught() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
        let interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be caught")?;
        let hangup = if ignores_hangups() {
            None
        } else {
            Some(signal(SignalKind::hangup()).context("SIGHUP can't be caught")?)
        };
        Ok(Self {
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Until it is told to stop.
    async fn end(&mut self) {
        while self.next().await == Told::Reload {}
    }

    /// Until one of them comes.
    async fn next(&mut self) -> Told {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = hangup => Told::Reload,
        }
    }
}

/// Whether this process was started with SIGHUP ignored, as far as the system tells (proc(5)).
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
