//! A sidecar that runs: what it is asked, and its stop in one written order.

use crate::admin::{Reload, Reloaded};
use crate::drain::Drain;
use crate::ingest::{Drained, Operations, Stop};
use crate::logging::AccessLog;
use crate::metrics::Ledger;
use crate::server::ListenAddress;
use crate::spans::Spans;
use crate::webhook::Webhook;
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the journal may take for its last group, though the drain's deadline has come.
const LAST_GROUP: Duration = Duration::from_secs(5);
/// How long the access log may take for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often a stop says what it waits for.
const TELL: Duration = Duration::from_secs(2);
/// How long such a process sends what is pending when it accepts no more.
const LAST_BATCHES: Duration = Duration::from_secs(1);

/// How long the last spans may take.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A sidecar that runs.
pub struct Running {
    /// The public listener.
    pub(super) listen: ListenAddress,
    /// What the public listener speaks: `http` or `https`.
    pub(super) scheme: &'static str,
    /// The public listener's address; of a Unix socket 0.0.0.0 and port 0.
    pub address: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    pub(super) operations: Operations,
    pub(super) stop: Stop,
    /// Ends the public listener.
    pub(super) drain: Drain,
    /// Ends the admin listener, last.
    pub(super) end: Drain,
    pub(super) deadline: Duration,
    /// Ends a stop at once.
    pub(super) haste: CancellationToken,
    pub(super) reload: Option<Reload>,
    /// What is pending is lost with the process.
    pub(super) only_memory: bool,
    /// The public listener was passed to this process, and the next one has it too.
    pub(super) outlives: bool,
    pub(super) public: JoinHandle<()>,
    pub(super) others: Vec<JoinHandle<()>>,
    pub(super) access: AccessLog,
    pub(super) webhook: Option<Arc<Webhook>>,
    pub(super) spans: Spans,
}

impl Running {
    /// Where the public listener listens, and what it speaks: `http://HOST:PORT`, or `unix:PATH`.
    #[must_use]
    pub fn shown_address(&self) -> String {
        match &self.listen {
            ListenAddress::Tcp(address) => format!("{}://{address}", self.scheme),
            ListenAddress::Unix(_) => self.listen.to_string(),
        }
    }

    /// The ledger now.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.operations.ledger()
    }

    /// Sends what is pending, as far as anything moves, under the deadline of a stop; what comes
    /// meanwhile is taken. The ledger then.
    pub async fn settle(&self) -> Ledger {
        let drained = self.stop.drain(self.only_memory);
        if tokio::time::timeout(self.deadline, drained).await.is_err() {
            tracing::warn!(pending = self.stop.pending(), "not all was sent in time");
        }
        self.operations.ledger()
    }

    /// Age of the oldest pending event.
    pub async fn oldest_pending(&self) -> Option<Duration> {
        self.operations.oldest_pending()
    }

    /// Reads the configuration anew, if it came from a file. What came of it is in the log.
    pub fn reload(&self) -> impl Future<Output = Option<Result<Reloaded, String>>> + use<> {
        run_reload(self.reload.clone())
    }

    /// As [`reload`](Self::reload), again and again, also when this is gone.
    pub fn reloader(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Option<Result<Reloaded, String>>> + Send + use<> {
        let reload = self.reload.clone();
        move || Box::pin(run_reload(reload.clone()))
    }

    /// Until something asks for the end from inside.
    pub async fn draining(&self) {
        self.drain.draining().await;
    }

    /// What is pending at its end is lost: only memory holds it.
    #[must_use]
    pub const fn loses_pending(&self) -> bool {
        self.only_memory
    }

    /// Ends a [`stop`](Self::stop) at once, when it is cancelled.
    #[must_use]
    pub fn haste(&self) -> CancellationToken {
        self.haste.clone()
    }

    /// As [`stop_and_tell`](Self::stop_and_tell), silently.
    pub async fn stop(self) -> Ledger {
        self.stop_and_tell(|_| {}).await
    }

    /// Where the public listener was passed to this process, and outlives it: clients are told to
    /// leave and are served until they have, so that none finds a closed connection.
    async fn announce(&self, deadline: Instant, tell: &impl Fn(&str)) {
        self.drain.announce();
        tokio::select! {
            // The public listener begins it when its clients have left.
            () = self.drain.draining() => {}
            () = tell_waiting(&self.stop, deadline, tell) => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = self.haste.cancelled() => {}
        }
    }

    /// P12, in this order, under one deadline: readiness goes down and the listener closes;
    /// connections finish while windows are sealed and sent; what is then left stays pending and is
    /// counted; the admin listener closes last. What it waits for is told every two seconds. It
    /// ends early when nothing can move any more (ruling 18), unless only memory holds what is
    /// pending.
    pub async fn stop_and_tell(mut self, tell: impl Fn(&str)) -> Ledger {
        let deadline = Instant::now() + self.deadline;
        if self.outlives {
            self.announce(deadline, &tell).await;
        }
        self.drain.begin();
        tokio::select! {
            () = drain_all(&mut self.public, &self.stop, self.only_memory, self.outlives) => {}
            () = tell_waiting(&self.stop, deadline, &tell) => {}
            () = tokio::time::sleep_until(deadline) => tell("the drain's deadline has come"),
            () = self.haste.cancelled() => tell("the rest isn't waited for"),
        }
        // From here on nothing changes any more: what a last connection still brings is forwarded,
        // what is pending stays.
        self.stop.close();
        self.public.abort();
        for task in &self.others {
            task.abort();
        }
        if let Some(webhook) = &self.webhook {
            webhook.tell_last().await;
        }
        // A disk that answers no more must not keep the process: what it holds is there for the
        // next start.
        if tokio::time::timeout_at(
            deadline.max(Instant::now() + LAST_GROUP),
            self.stop.close_journal(),
        )
        .await
        .is_err()
        {
            tracing::error!(
                "the journal's disk doesn't answer; the last outcomes may not be in it"
            );
        }
        // What reads the stream may take nothing any more.
        let access = self.access.clone();
        let flushed = tokio::task::spawn_blocking(move || access.flush());
        drop(tokio::time::timeout(LAST_LINES, flushed).await);
        drop(tokio::time::timeout(LAST_SPANS, self.spans.flush()).await);
        let ledger = self.operations.ledger();
        self.end.begin();
        ledger
    }
}

async fn run_reload(reload: Option<Reload>) -> Option<Result<Reloaded, String>> {
    let reload = reload?;
    tokio::task::spawn_blocking(move || reload()).await.ok()
}

/// Until the last connection is answered, and what is pending is sent as far as it can be.
async fn drain_all(public: &mut JoinHandle<()>, stop: &Stop, only_memory: bool, outlives: bool) {
    // Requests in flight may still bring events or wait for a barrier, so windows are flushed until
    // the last of them is answered.
    tokio::select! {
        _ = public => {}
        () = stop.keep_flushing() => {}
    }
    if outlives && !only_memory {
        // Nobody accepts now. The next process has the journal, and goes on with the rest.
        drop(tokio::time::timeout(LAST_BATCHES, stop.drain(false)).await);
        return;
    }
    if stop.drain(only_memory).await == Drained::Standstill {
        tracing::warn!(
            pending = stop.pending(),
            "nothing moves any more; what is pending stays"
        );
    }
}

/// Says what a stop waits for, again and again.
async fn tell_waiting(stop: &Stop, deadline: Instant, tell: &impl Fn(&str)) {
    loop {
        tokio::time::sleep(TELL).await;
        let (pending, in_flight) = (stop.pending(), stop.in_flight());
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let what = match pending {
            0 => "open connections".to_owned(),
            _ => format!("{pending} pending events, {in_flight} deliveries of them in flight"),
        };
        tell(&format!(
            "stopping: waits for {what}; at most {left} s more; a second signal ends it at once"
        ));
    }
}
