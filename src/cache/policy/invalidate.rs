//! What a write that passed through makes old (RFC 9111 §4.4): its target, and what Location and
//! Content-Location name at the same origin.

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use std::borrow::Cow;

const NAMED: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];

/// A method that isn't known to be safe (RFC 9110 §9.2.1).
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// A non-error answer (§4.4).
#[must_use]
pub fn invalidates(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The name of a resource for invalidation: one for all spellings of its URI that an application
/// might take for the same.
///
/// Scheme, query and a default port are left out; the path is decoded once, in lower case, without
/// doubled and final slashes and without dot segments. That joins more than the same resource, and
/// makes more old than needed. A stored answer's own key joins nothing.
#[must_use]
pub fn resource(host: &str, path: &str) -> String {
    let host = host
        .strip_suffix(":80")
        .or_else(|| host.strip_suffix(":443"))
        .unwrap_or(host);
    let path = loose_path(path);
    let mut name = String::with_capacity(host.len() + path.len() + 5);
    name.push_str("uri:");
    name.push_str(host);
    name.make_ascii_lowercase();
    name.push('\n');
    name.push_str(&path);
    name
}

/// A path in the spelling of [`resource`].
#[must_use]
pub fn loose_path(path: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte != b'%' && !byte.is_ascii_uppercase();
    let is_odd = |(before, byte): (u8, u8)| before == b'/' && matches!(byte, b'/' | b'.');
    let has_odd_segment = path.bytes().zip(path.bytes().skip(1)).any(is_odd) || path.ends_with('/');
    if path.starts_with('/') && !has_odd_segment && path.bytes().all(is_plain) {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, coded) = rest.split_at_checked(at).unwrap_or((rest, ""));
        decoded.push_str(plain);
        let digits = coded
            .get(1..3)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_graphic() => decoded.push(char::from(byte)),
            // What isn't a letter stays coded.
            Some(_) => decoded.push_str(coded.get(..3).unwrap_or_default()),
            None => decoded.push('%'),
        }
        rest = coded
            .get(if byte.is_some() { 3 } else { 1 }..)
            .unwrap_or_default();
    }
    decoded.push_str(rest);
    decoded.make_ascii_lowercase();
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// Paths with queries at this host that an answer names, resolved against the request's target (RFC
/// 3986 §5.2).
#[must_use]
pub fn named(host: &str, target: &str, response: &HeaderMap) -> Vec<String> {
    let lines = NAMED.iter().flat_map(|name| response.get_all(name));
    lines
        .filter_map(|line| resolve(host, target, line.to_str().ok()?.trim()))
        .collect()
}

/// The answer to a POST is also what a GET of its target would have brought (RFC 9110 §9.3.3): its
/// Content-Location is exactly that target.
#[must_use]
pub fn is_of_target(host: &str, target: &str, response: &HeaderMap) -> bool {
    let mut lines = response.get_all(header::CONTENT_LOCATION).iter();
    let line = lines
        .next()
        .filter(|_| lines.next().is_none())
        .and_then(|line| line.to_str().ok());
    line.and_then(|line| resolve(host, target, line.trim()))
        .is_some_and(|named| named == target)
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
    let (path, query) = reference
        .split_once('?')
        .map_or((reference, None), |(path, query)| (path, Some(query)));
    let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    };
    Some(query.map_or_else(
        || without_dots(&path),
        |query| format!("{}?{query}", without_dots(&path)),
    ))
}

/// Only names at the same host: others could make anything old (§4.4).
fn of_origin(host: &str, absolute: &str) -> Option<String> {
    let uri: Uri = absolute.parse().ok()?;
    let same = uri
        .authority()
        .is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host));
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
