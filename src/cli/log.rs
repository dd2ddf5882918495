//! The log of the process: lines on stderr, for a terminal or for machines.

use crate::logging::Format;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

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
pub(super) fn begin(format: Format, level: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter(level)));
    // Errors of the log itself would go to stderr, which may be what has failed.
    let layers = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        Format::Json => layers.json().init(),
        Format::Text => layers.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

fn default_filter(level: &str) -> String {
    match level {
        "error" => "error".to_owned(),
        level => format!("warn,tidegate={level}"),
    }
}
