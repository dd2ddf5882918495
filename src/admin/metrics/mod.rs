//! `/metrics`: instruments, and what is read at the time of the call. docs/operations.md has the
//! table of all metrics.

mod event_path;
mod journal;
mod migration;
mod surroundings;

use super::reply::{text, typed};
use super::setup::Setup;
use crate::body::Body;
use crate::metrics::Scrape;
use http::{Response, StatusCode};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last answer, and when what it says began to be read.
#[derive(Debug, Clone, Default)]
pub(super) struct LastScrape(Arc<Mutex<Option<(Instant, Vec<u8>)>>>);

impl LastScrape {
    /// `/metrics`, in the text format of Prometheus. One reads at a time, and all who asked before it
    /// began have what it found: `/metrics` may be open to strangers, and looking at every lane costs
    /// what events need.
    pub(super) async fn show(&self, setup: &Arc<Setup>) -> Response<Body> {
        let asked = Instant::now();
        let (last, setup) = (Arc::clone(&self.0), Arc::clone(setup));
        // In a task of its own: who hangs up must not make room for another reading beside this one.
        let reading = tokio::spawn(async move {
            let mut last = last.lock().await;
            if let Some((began, body)) = &*last
                && *began >= asked
            {
                return Ok(body.clone());
            }
            let began = Instant::now();
            let body = read_all(&setup).await?;
            *last = Some((began, body.clone()));
            Ok::<_, anyhow::Error>(body)
        });
        match reading.await.map_err(anyhow::Error::from).flatten() {
            Ok(body) => {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                typed(StatusCode::OK, body, kind)
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }
}

/// Looking at every lane and at the journal's files may take a while: off the runtime's threads.
async fn read_all(setup: &Arc<Setup>) -> anyhow::Result<Vec<u8>> {
    let reading = Arc::clone(setup);
    let text_of_all = tokio::task::spawn_blocking(move || {
        let mut scrape = Scrape::default();
        event_path::read(&reading, &mut scrape);
        journal::read(&reading, &mut scrape);
        surroundings::read(&reading, &mut scrape);
        migration::read(&reading, &mut scrape);
        reading.metrics.text(scrape)
    });
    Ok(text_of_all.await??)
}
