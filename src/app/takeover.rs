//! What the process before this one may still have, its journal and an address, and the wait for
//! it.

use crate::journal::OpenError;
use crate::journal::recover::{self, Opened};
use crate::journal::settings::JournalSettings;
use crate::server::{self, Listener, ServerSettings};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// How long a process that was passed its listener waits for the journal and the admin address of
/// the one before it.
pub(super) const TAKE_OVER: Duration = Duration::from_secs(60);
/// How often it tries.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Opens a listener; an address that is taken is waited for so long.
pub(super) async fn bind_when_free(
    settings: &ServerSettings,
    patience: Duration,
) -> io::Result<Listener> {
    let until = Instant::now() + patience;
    loop {
        match server::bind(settings) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(TRY_AGAIN).await;
            }
            bound => return bound,
        }
    }
}

pub(super) async fn open_when_free(
    settings: &JournalSettings,
    patience: Duration,
) -> anyhow::Result<Opened> {
    let (until, mut is_told) = (Instant::now() + patience, false);
    loop {
        let opening = settings.clone();
        match tokio::task::spawn_blocking(move || recover::open(&opening)).await? {
            Err(OpenError::InUse(_)) if Instant::now() < until => {
                if !std::mem::replace(&mut is_told, true) {
                    let what = "waits for the journal of the process before";
                    tracing::info!(journal = %settings.path.display(), "{what}");
                    eprintln!("{what}");
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}
