//! The URI of a read's key: what was asked for, as the application may understand it.

use crate::peer::Peer;
use crate::route::{CacheRoute, Pattern};
use crate::upstream::headers::told_beside;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri, header};
use std::borrow::Cow;

/// The URI of a read's key. `is_foreign`: it comes from a page of another origin that isn't allowed.
pub(super) fn write_uri(
    (parts, peer): (&Parts, &Peer),
    host: &str,
    route: &CacheRoute,
    is_foreign: bool,
) -> String {
    let mut uri = uri(peer.https, &both_hosts(host, parts), &parts.uri, route);
    if is_foreign {
        // What such a page gets may depend on its origin, whether the application says so or not.
        let origins = parts.headers.get_all(header::ORIGIN).iter();
        origins.for_each(|origin| add_field(&mut uri, "origin", origin.as_bytes()));
    }
    let fields = parts.headers.iter();
    for (name, value) in fields.filter(|(name, _)| says_what_was_asked(name)) {
        add_field(&mut uri, name.as_str(), value.as_bytes());
    }
    if let Some(told) = told_beside(&parts.headers, peer) {
        add_field(&mut uri, "forwarded", told.as_bytes());
    }
    uri
}

/// A field that stands in a key beside the target. Written so that no other fields look the same.
fn add_field(uri: &mut String, name: &str, value: &[u8]) {
    uri.push_str(&format!(" {name}=\"{}\"", value.escape_ascii()));
}

/// Whether some applications read another path out of it, by slashes and dots that are escaped, or
/// backslashes: one that climbs, or that the rule isn't of. What is declared of this path is no word
/// on that one.
pub(super) fn is_odd(path: &str, rule: &Pattern) -> bool {
    if !path.contains(['%', '\\', ';']) && !path.contains("/.") {
        return false;
    }
    // Some read an escape of an escape, too.
    let mut read = path.to_ascii_lowercase().replace("%25", "%");
    for (escape, letter) in [
        ("%2e", "."),
        ("%2f", "/"),
        ("%5c", "/"),
        ("%3b", ";"),
        ("\\", "/"),
    ] {
        read = read.replace(escape, letter);
    }
    let climbs = read.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    });
    climbs || rule.matches(&read, true).is_none()
}

/// Fields by which applications and their frameworks learn, instead of from the target and Host,
/// what was asked for: their answers name them in no Vary. What `X-Forwarded-Proto` and `-Host` of
/// a trusted proxy say is in the key already.
fn says_what_was_asked(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Some read `_` as `-`. What is spelled so is believed by no one here.
    let is_other_spelling = name.contains('_');
    let spelled = if is_other_spelling {
        Cow::Owned(name.replace('_', "-"))
    } else {
        Cow::Borrowed(name)
    };
    let name = &*spelled;
    let is_of_family = || {
        ["x-forwarded-", "x-original-", "x-rewrite-"]
            .iter()
            .any(|family| name.starts_with(family))
    };
    match name {
        "x-host"
        | "x-real-host"
        | "x-proxy-host"
        | "x-http-host-override"
        | "x-scheme"
        | "x-url-scheme"
        | "x-script-name"
        | "x-forwarded"
        | "front-end-https" => true,
        "x-forwarded-proto" | "x-forwarded-host" => is_other_spelling,
        // Where a call came from is no part of what it asks for.
        _ => is_of_family() && !name.ends_with("-for"),
    }
}

/// The host that was asked, in lower case; none if there is none, or what is there can't be one
/// (RFC 3986 §3.2.2).
pub(super) fn host(peer: &Peer) -> Option<&str> {
    let host = peer.host.as_deref()?;
    let is_odd =
        |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\');
    (!host.is_empty() && !host.bytes().any(is_odd)).then_some(host)
}

/// Behind a proxy that names the host beside `Host`, either may be the one that the application
/// goes by: both.
fn both_hosts<'a>(host: &'a str, parts: &'a Parts) -> Cow<'a, str> {
    let line = parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if line.is_empty() || line.eq_ignore_ascii_case(host.as_bytes()) {
        return Cow::Borrowed(host);
    }
    Cow::Owned(format!(
        "{host}\n{}",
        String::from_utf8_lossy(line).to_ascii_lowercase()
    ))
}

/// A key's URI: scheme, hosts and path, each with a line break after it, which none of them can
/// hold (the path begins with a slash, which no host has), and the query without the ignored parameters. The path is as it was sent: the application
/// may tell its spellings apart.
fn uri(https: bool, host: &str, target: &Uri, route: &CacheRoute) -> String {
    let query = target.query();
    let length = host.len() + target.path().len() + query.map_or(0, |query| query.len() + 1);
    let mut uri = String::with_capacity(8 + length);
    uri.push_str(if https { "https\n" } else { "http\n" });
    uri.push_str(host);
    uri.push('\n');
    uri.push_str(target.path());
    uri.push('\n');
    let mut gap = '?';
    for pair in kept_pairs(target, route) {
        uri.push(gap);
        uri.push_str(pair);
        gap = '&';
    }
    uri
}

/// The parameters of a query that are part of a read's key.
pub(super) fn kept_pairs<'t>(target: &'t Uri, route: &CacheRoute) -> impl Iterator<Item = &'t str> {
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let is_ignored = route.ignore_query.iter().any(|ignored| **ignored == *name);
        // Some applications end a parameter at a semicolon too, so that this may hold another one.
        let may_hold_another = || pair.contains(';') || pair.to_ascii_lowercase().contains("%3b");
        !is_ignored || may_hold_another()
    };
    let query = target.query().into_iter();
    query.flat_map(|query| query.split('&')).filter(is_kept)
}
