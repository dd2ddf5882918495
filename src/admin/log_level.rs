//! `/log-level`: what is logged, changed while the process runs.

use super::reply::{json, text};
use super::setup::{LogFilter, Setup};
use crate::body::Body;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;

/// Most bytes of a filter.
const MOST_BYTES: usize = 1024;
/// Most directives of a filter.
const MOST_DIRECTIVES: usize = 16;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const ALLOWED: &str = "allowed: LEVEL or TARGET=LEVEL, up to 16 of them with commas between; levels \
    are off, error, warn, info, debug, trace, the last one for tidegate and its modules only, such as \
    info,tidegate::ingest=trace";

/// `GET`, `PUT` with a filter as its body, `DELETE`: back to that of the start.
pub(super) async fn answer_level(setup: &Setup, asked: &Method, body: Incoming) -> Response<Body> {
    let Some(log) = &setup.log else {
        return text(
            StatusCode::NOT_IMPLEMENTED,
            "the log is not this process's own\n",
        );
    };
    if *asked == Method::PUT {
        let wrong = |what: &str| text(StatusCode::BAD_REQUEST, &format!("{what}; {ALLOWED}\n"));
        let Ok(body) = Limited::new(body, MOST_BYTES).collect().await else {
            return wrong("the filter isn't whole, or over 1 KiB");
        };
        let body = body.to_bytes();
        let filter = match read_filter(&String::from_utf8_lossy(&body)) {
            Ok(filter) => filter,
            Err(found) => return wrong(&found),
        };
        if let Err(error) = change_filter(&**log, &filter) {
            return wrong(&error);
        }
    } else if *asked == Method::DELETE
        && let Err(error) = change_filter(&**log, &log.at_start())
    {
        return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n"));
    }
    json(
        StatusCode::OK,
        &json!({ "filter": log.current(), "at_start": log.at_start() }),
    )
}

/// A filter, without blank space.
fn read_filter(found: &str) -> Result<String, String> {
    let directives: Vec<_> = found.split(',').map(str::trim).collect();
    if directives.len() > MOST_DIRECTIVES {
        return Err(format!("found {} directives", directives.len()));
    }
    for directive in &directives {
        let (target, level) = directive.split_once('=').unwrap_or(("", directive));
        let is_ours = target == "tidegate" || target.starts_with("tidegate::");
        let is_target = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        let has_target = directive.contains('=');
        let is_level = LEVELS.contains(&level.to_ascii_lowercase().as_str());
        // At their lowest level libraries may write what calls hold.
        let is_too_low = level.eq_ignore_ascii_case("trace") && !is_ours;
        if !is_level
            || has_target && target.is_empty()
            || !target.chars().all(is_target)
            || is_too_low
        {
            return Err(format!("found {directive:?}"));
        }
    }
    Ok(directives.join(","))
}

/// It is logged under one of both filters at least, if one of them lets warnings through.
fn change_filter(log: &dyn LogFilter, next: &str) -> Result<(), String> {
    let was = log.current();
    let tell = || tracing::warn!(was, now = next, "what is logged was changed");
    let is_told = tracing::enabled!(tracing::Level::WARN);
    log.replace(next)?;
    if is_told && !tracing::enabled!(tracing::Level::WARN) {
        log.replace(&was)?;
        tell();
        return log.replace(next);
    }
    tell();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_and_targets_and_what_libraries_may_write_of_calls_is_not_allowed() {
        for (found, wanted) in [
            ("debug", "debug"),
            (" INFO , hyper=warn\n", "INFO,hyper=warn"),
            ("off,tidegate::ingest=trace", "off,tidegate::ingest=trace"),
            ("tidegate=trace", "tidegate=trace"),
        ] {
            assert_eq!(read_filter(found).as_deref(), Ok(wanted));
        }
        for found in [
            "",
            "loud",
            "trace",
            "h2=trace",
            "tidegates=trace",
            "=debug",
            "info,",
            "tidegate=",
            "[{field}]=debug",
            "tidegate=7",
        ] {
            assert!(read_filter(found).is_err(), "{found}");
        }
        assert!(read_filter(&["info"; 17].join(",")).is_err());
    }
}
