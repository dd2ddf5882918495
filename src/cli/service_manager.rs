//! What the process tells its service manager, where that asks for it (sd_notify(3), `Type=notify`):
//! that it serves, stops, and is alive.

use sd_notify::NotifyState;
use std::time::Duration;

/// Tells that the process serves, at this address.
pub(super) fn tell_ready(address: &str) {
    let status = format!("serves on {address}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells that the process stops.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that the process is alive, for as long as it is polled, twice as often as the service
/// manager asks for (`WatchdogSec=`). It is to be polled by the runtime that serves the calls.
pub(super) async fn keep_alive() {
    let Some(every) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let pause = (every / 2).max(Duration::from_millis(1));
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(pause).await;
    }
}

/// Without a service manager this does nothing.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager can't be told (NOTIFY_SOCKET)");
    }
}
