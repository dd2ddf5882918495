//! The log of the process: lines on stderr, for a terminal or for machines, whose filter can be
//! changed while the process runs.

use crate::admin::LogFilter;
use crate::demo::Style;
use crate::logging::Format;
use parking_lot::Mutex;
use std::io::IsTerminal as _;
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

/// The format of what is said on stderr, where nothing asks for one.
pub(super) fn format_of_stderr() -> Format {
    if std::io::stderr().is_terminal() {
        Format::Text
    } else {
        Format::Json
    }
}

/// Begins the log. `RUST_LOG` chooses what is said, else `level`: the least of Tidegate's own lines.
/// What libraries say of their insides begins with warnings.
pub(super) fn begin(format: Format, level: &str) -> Arc<dyn LogFilter> {
    let named = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let parsed = (!named.is_empty()).then(|| EnvFilter::try_new(&named));
    let (filter, wrong) = match parsed.transpose() {
        Ok(filter) => (filter, None),
        Err(error) => (None, Some(error)),
    };
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default_filter(level)));
    let at_start = filter.to_string();
    // Errors of the log itself would go to stderr, which may be what has failed.
    let layers = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let replace: Replace = match format {
        Format::Json => {
            let layers = layers.json().with_filter_reloading();
            let handle = layers.reload_handle();
            layers.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        Format::Text => {
            let style = Style::of_output(std::io::stderr().is_terminal());
            let has_colours = style == Style::Terminal;
            let layers = layers.with_ansi(has_colours).with_filter_reloading();
            let handle = layers.reload_handle();
            layers.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    if let Some(error) = wrong {
        tracing::error!(
            found = named,
            %error,
            "RUST_LOG is left out; allowed are directives such as warn,tidegate=debug"
        );
    }
    Arc::new(Log {
        current: Mutex::new(at_start.clone()),
        at_start,
        replace,
    })
}

fn default_filter(level: &str) -> String {
    match level {
        "error" => "error".to_owned(),
        level => format!("warn,tidegate={level}"),
    }
}
