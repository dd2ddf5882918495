//! Which headers a proxy takes off and puts on (RFC 9110 §7.6, RFC 7239).
//!
//! [`normalize`] runs once for every request, before anything looks at it: what comes after it sees
//! one Host, one Cookie line, an origin-form target, no field that belongs to a connection, and
//! nothing about the client that a stranger has made up. [`add_hops`] runs for every request that
//! leaves on a client's behalf. It is a function of the headers that [`normalize`] has left and of
//! the [`Peer`], so that a delivery hours later says what the call itself would have said.

pub use super::head::HeadError;
use super::{forwarded, head};
use crate::peer::{Connection, Peer, TrustedProxies};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use std::io::{self, Write as _};

const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];
/// Bytes of a line that this hop extends, as a rule.
const LINE: usize = 80;
/// Most elements of `Forwarded` that are made of `X-Forwarded-For`, the newest: it says an address in
/// fewer bytes.
const MAX_MADE: usize = 32;
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What `[upstream]` says about the headers of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopSettings {
    /// The client's Host is kept; else it is the upstream's authority.
    pub preserve_host: bool,
    /// `Via` is added.
    pub via: bool,
}

/// What a request asked of its connection, remembered in its extensions when those headers are
/// taken off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// To change to this protocol (RFC 9110 §7.8).
    pub(super) upgrade: Option<HeaderValue>,
    /// Trailers are welcome (RFC 9110 §10.1.4).
    pub(super) trailers: bool,
}

/// The schemes and hosts that the forwarding fields of a call name, after [`normalize`], beside those
/// that are believed: an application may go by any of them. `None`: they name no others.
#[must_use]
pub fn told_beside(headers: &HeaderMap, peer: &Peer) -> Option<String> {
    forwarded::told_beside(headers, peer)
}

/// Whether a request asks to change to another protocol, after [`normalize`].
#[must_use]
pub fn asks_upgrade(parts: &Parts) -> bool {
    let asked = parts.extensions.get::<Asked>();
    asked.is_some_and(|asked| asked.upgrade.is_some())
}

/// Checks and cleans a request's head, and tells which client it comes from.
///
/// - The target must be a path, an http or https URL, or `*` with OPTIONS; it is left in origin
///   form. Host must be there once in HTTP/1.1 and be valid (RFC 9112 §3.2); a target's authority
///   replaces it.
/// - A transfer coding other than `chunked` is refused: it would get lost with the header (RFC 9112
///   §6.1).
/// - Several Cookie lines become one (RFC 9113 §8.2.3).
/// - What belongs to the connection goes. An upgrade to HTTP/2 or TLS goes with it: it would open a
///   tunnel for calls that nothing looks at.
/// - From a trusted connection `X-Forwarded-*` and `Forwarded` are believed and kept, as far as
///   they can be read and agree with one another; from others they are taken off, as are
///   `CF-Connecting-IP` and `True-Client-IP`, and `X-Real-IP` is replaced.
///
/// # Errors
/// The head can't be forwarded.
pub fn normalize(
    parts: &mut Parts,
    connection: &Connection,
    trusted: &TrustedProxies,
) -> Result<Peer, HeadError> {
    let authority = head::take_authority(parts)?;
    head::settle_host(&mut parts.headers, parts.version, authority.as_ref())?;
    if let Some(coding) = head::lost_coding(&parts.headers) {
        return Err(HeadError::Coding(coding));
    }
    let headers = &mut parts.headers;
    let asked = Asked {
        upgrade: if parts.version == Version::HTTP_11 {
            upgrade(headers)
        } else {
            None
        },
        trailers: wants_trailers(headers),
    };
    if asked != Asked::default() {
        parts.extensions.insert(asked);
    }
    remove_hop_by_hop(headers);
    join_cookies(headers);
    let mut peer = Peer::new(*connection);
    if trusted.trust(connection) {
        let facts = forwarded::believe(headers, connection, trusted);
        peer.by_proxy = true;
        peer.client = facts.client.unwrap_or(peer.client);
        peer.https = facts.https.unwrap_or(peer.https);
        peer.host = facts.host;
    } else {
        remove_claims(headers, &peer);
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| !host.is_empty());
    peer.host = peer.host.or_else(|| host.map(forwarded::lower));
    Ok(peer)
}

/// Puts on what a request carries that is forwarded for a client: Host, Via, and where it comes
/// from. `version` is that of the client's message.
///
/// `X-Forwarded-For` and `Forwarded` are extended by the connection's address; where one is missing
/// it is made of the other (of `X-Forwarded-For` its 32 newest addresses). No element that is added
/// contradicts `X-Forwarded-Proto` or `-Host`, which are set where they are missing.
pub fn add_hops(headers: &mut HeaderMap, peer: &Peer, version: Version, settings: &HopSettings) {
    let here = peer.connection.address.ip().to_canonical();
    let chain = forwarded::chain(headers);
    let new = |name| {
        if headers.contains_key(name) {
            [].as_slice()
        } else {
            chain.as_slice()
        }
    };
    let (nodes, elements) = (new(forwarded::FOR), new(header::FORWARDED));
    append_each(
        headers,
        forwarded::FOR,
        nodes.iter().chain([&here]),
        |list, node| write!(list, "{node}"),
    );
    // The scheme and the host that are believed are the client's, and this hop's own; of others
    // nothing is known.
    let skipped = elements.len().saturating_sub(MAX_MADE);
    let elements = elements.get(skipped..).unwrap_or_default();
    let last = elements.len();
    let client = elements.iter().rposition(|node| *node == peer.client);
    append_each(
        headers,
        header::FORWARDED,
        elements.iter().chain([&here]).enumerate(),
        |list, (place, node)| {
            let knows = place == last || client == Some(place);
            let host = peer.host.as_deref().filter(|_| knows);
            forwarded::write_element(list, *node, knows.then_some(peer.https), host)
        },
    );
    let proto = if peer.https { "https" } else { "http" };
    headers
        .entry(forwarded::PROTO)
        .or_insert_with(|| HeaderValue::from_static(proto));
    let known = || {
        peer.host
            .as_deref()
            .and_then(|host| HeaderValue::try_from(host).ok())
    };
    let host = headers
        .get(header::HOST)
        .filter(|host| !host.is_empty())
        .cloned()
        .or_else(known);
    if let Some(host) = &host {
        headers
            .entry(forwarded::HOST)
            .or_insert_with(|| host.clone());
    }
    match host.filter(|_| settings.preserve_host) {
        Some(host) => drop(headers.insert(header::HOST, host)),
        // The client sets the one that it connects to.
        None => drop(headers.remove(header::HOST)),
    }
    if settings.via {
        add_via(headers, version);
    }
}

/// The protocols that a request asks to change to, if `Connection` names the upgrade too.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    if named { protocols(headers) } else { None }
}

/// The protocols of `Upgrade`, without those that would carry HTTP again.
pub(super) fn protocols(headers: &HeaderMap) -> Option<HeaderValue> {
    let left: Vec<_> = head::items(headers, &header::UPGRADE)
        .filter(|token| !carries_http(token))
        .collect();
    if left.is_empty() {
        None
    } else {
        HeaderValue::try_from(left.join(", ")).ok()
    }
}

/// Calls in such a tunnel would pass by lanes and cache: `h2c`, `HTTP/2.0` (RFC 7540 §3.2),
/// `TLS/1.2` (RFC 2817).
fn carries_http(token: &str) -> bool {
    let name = token.split('/').next().unwrap_or_default();
    ["h2c", "h2", "h3", "http", "tls"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// What `Connection` names (RFC 9110 §7.6.1).
pub(super) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    head::items(headers, &header::CONNECTION)
}

/// It belongs to one connection only, whatever `Connection` says.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Takes off what belongs to one connection only: the known headers, and those named in
/// `Connection`.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|name| name.parse().ok())
            .collect();
        for name in named {
            // A client must not be able to have the message's framing or its authority taken off,
            // nor what a trusted proxy says of it, if that passes `Connection` on.
            let is_kept = [header::HOST, header::CONTENT_LENGTH].contains(&name);
            if !is_kept && !is_claim(&name) {
                headers.remove(name);
            }
        }
    }
    // As a rule there is none; to compare all names takes less than to look each of these up.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

/// Takes trailers: they may be asked for again after the hop-by-hop headers are gone.
fn wants_trailers(headers: &HeaderMap) -> bool {
    head::items(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// HTTP/2 splits cookies into lines of their own, which an HTTP/1.1 application reads as several
/// headers.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Takes off what a stranger says of where a call comes from. `X_Forwarded_For` is the same header
/// to a CGI or WSGI application.
fn remove_claims(headers: &mut HeaderMap, peer: &Peer) {
    let names = headers.keys().filter(|name| **name != REAL_IP);
    let claims: Vec<HeaderName> = names.filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
    if headers.contains_key(REAL_IP)
        && let Ok(address) = HeaderValue::try_from(peer.client.to_string())
    {
        headers.insert(REAL_IP, address);
    }
}

/// A header that says whom a call comes from, with `_` for `-` too.
fn is_claim(name: &HeaderName) -> bool {
    const NAMES: [&str; 3] = ["forwarded", "cf-connecting-ip", "true-client-ip"];
    let begins_like = |name: &str, known: &str| {
        let alike = |(found, wanted): (u8, u8)| found == wanted || found == b'_' && wanted == b'-';
        name.len() >= known.len() && name.bytes().zip(known.bytes()).all(alike)
    };
    let name = name.as_str();
    let is_it = |known: &&str| name.len() == known.len() && begins_like(name, known);
    begins_like(name, "x-forwarded-") || NAMES.iter().any(is_it) || is_it(&REAL_IP.as_str())
}

/// Appends this hop to `Via` (RFC 9110 §7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    let hop = match version {
        Version::HTTP_10 => "1.0 tidegate",
        Version::HTTP_2 => "2.0 tidegate",
        _ => "1.1 tidegate",
    };
    append_each(headers, header::VIA, [hop].iter(), |list, hop| {
        list.write_all(hop.as_bytes())
    });
}

/// Makes one line of all that are there, with these items at its end.
fn append_each<T>(
    headers: &mut HeaderMap,
    name: HeaderName,
    mut items: impl Iterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T) -> io::Result<()>,
) {
    let mut list: Vec<u8> = Vec::with_capacity(LINE);
    for line in headers.get_all(&name) {
        separate(&mut list);
        list.extend_from_slice(line.as_bytes());
    }
    let written = items.try_for_each(|item| {
        separate(&mut list);
        write(&mut list, item)
    });
    // Writing to memory can't fail.
    if let (Ok(()), Ok(value)) = (written, HeaderValue::from_maybe_shared(Bytes::from(list))) {
        headers.insert(name, value);
    }
}

fn separate(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
