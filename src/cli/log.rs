//! The log: JSON lines on stderr, whose filter can be changed while the process runs.

use crate::admin::LogFilter;
use parking_lot::Mutex;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

type Replace = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The filter of the process's log.
struct Log {
    at_start: String,
    // Held while the filter is changed, so that what is told is what holds.
    current: Mutex<String>,
    replace: Replace,
}

impl LogFilter for Log {
    fn current(&self) -> String {
        self.current.lock().clone()
    }

    fn at_start(&self) -> String {
        self.at_start.clone()
    }

    fn replace(&self, filter: &str) -> Result<(), String> {
        let parsed = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        let mut current = self.current.lock();
        (self.replace)(parsed)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

/// Begins the log; `RUST_LOG` chooses what, else `default`.
pub(super) fn begin(default: &str) -> Arc<dyn LogFilter> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let at_start = filter.to_string();
    // Errors of the log itself would go to stderr, which may be what has failed.
    let layers = tracing_subscriber::fmt().json().log_internal_errors(false);
    let layers = layers
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_filter_reloading();
    let handle = layers.reload_handle();
    layers.init();
    Arc::new(Log {
        current: Mutex::new(at_start.clone()),
        at_start,
        replace: Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())),
    })
}
