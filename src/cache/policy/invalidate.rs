//! What a write that passed through makes old (RFC 9111 §4.4): its target, and what Location and Content-Location name
//! at the same origin.

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};

const NAMED: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// A method that isn't known to be safe (RFC 9110 §9.2.1).
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// A non-error answer (§4.4).
#[must_use]
pub fn invalidates(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Paths with queries at this host that an answer names, resolved against the request's target (RFC 3986 §5.2).
#[must_use]
pub fn named(host: &str, target: &str, response: &HeaderMap) -> Vec<String> {
    let lines = NAMED.iter().flat_map(|name| response.get_all(name));
    lines.filter_map(|line| resolve(host, target, line.to_str().ok()?.trim())).collect()
}

fn resolve(host: &str, target: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (base, _) = target.split_once('?').unwrap_or((target, ""));
    if reference.is_empty() {
        return None;
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return of_origin(host, &format!("http://{rest}"));
    }
    let first = reference.split(['/', '?']).next().unwrap_or_default();
    if first.contains(':') {
        return of_origin(host, reference);
    }
    if let Some(query) = reference.strip_prefix('?') {
        return Some(format!("{base}?{query}"));
    }
    let (path, query) = reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
    let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    Some(query.map_or_else(|| without_dots(&path), |query| format!("{}?{query}", without_dots(&path))))
}

/// Only names at the same host: others could make anything old (§4.4).
fn of_origin(host: &str, absolute: &str) -> Option<String> {
    let uri: Uri = absolute.parse().ok()?;
    let same = uri.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    same.then(|| path.to_owned())
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let ends_open = matches!(segments.last(), Some(&"." | &".."));
    for segment in segments {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    if ends_open {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}
