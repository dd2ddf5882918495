//! The end, as a value that everybody can watch: its announcement, its beginning, and the tasks that
//! must finish.
//!
//! A drain is announced first where another process goes on with this one's listener: clients are
//! told to leave, and are served until they have. Elsewhere it begins at once.

use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A drain that everybody holds a copy of.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    announced: CancellationToken,
    begun: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces the drain; doing so twice, or after it has begun, changes nothing.
    pub fn announce(&self) {
        self.announced.cancel();
    }

    /// Until it is announced, or begins.
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Whether it was announced, or has begun.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Begins the drain; doing so twice changes nothing.
    pub fn begin(&self) {
        self.announced.cancel();
        self.begun.cancel();
        self.tasks.close();
    }

    /// Until it begins.
    pub async fn draining(&self) {
        self.begun.cancelled().await;
    }

    /// Whether it has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Runs a task whose end [`finished`](Self::finished) waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(task));
    }

    /// Waits until all tasks have ended; `false`: they had not in this time.
    pub async fn finished(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.tasks.wait())
            .await
            .is_ok()
    }
}
