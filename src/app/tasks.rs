//! How the parts run: as tasks that must not end by themselves, and on threads of their own.

use crate::drain::Drain;
use crate::journal::health::Health;
use anyhow::Context as _;
use std::sync::Weak;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How much less of a busy processor than others threads get that no call waits for: as little as there is (nice(2)).
const NICE: i32 = 19;

/// Work that takes long stretches of processor time: on a thread of its own, so that no call waits
/// for one of them, and after the calls where processors are scarce; until the drain begins.
///
/// # Errors
/// The system gives no thread.
pub(super) fn run_apart(
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

/// How often it is looked whether the journal's disk holds up a thread.
const LOOK: Duration = Duration::from_millis(250);

/// At `process` the thread of a call writes to the journal, and may be held there by a disk that
/// doesn't answer. If it was the one that looked after the sockets, no other one does until a task
/// from outside wakes one: so calls go on, and are forwarded (ruling 19). Until the journal is gone.
///
/// # Errors
/// The system gives no thread.
pub(super) fn wake_beside(journal: Weak<Health>) -> anyhow::Result<()> {
    let calls = Handle::current();
    let look = move || {
        while let Some(health) = journal.upgrade() {
            if health.waited().is_some_and(|waited| waited >= LOOK) {
                drop(calls.spawn(std::future::ready(())));
            }
            drop(health);
            std::thread::sleep(LOOK);
        }
    };
    let thread = std::thread::Builder::new().name("waker".to_owned());
    thread
        .spawn(look)
        .map(drop)
        .context("a thread can't be started")
}

/// A task that must not end by itself: if it does (a panic, a mistake), the process drains.
pub(super) fn watched(
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
