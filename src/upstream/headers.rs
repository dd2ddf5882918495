//! Which headers a proxy takes off and puts on (RFC 9110 §7.6, RFC 7239).

use crate::peer::Peer;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use std::net::IpAddr;

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// The protocol that a message asks to change to, if `Connection` names the upgrade too.
#[must_use]
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

/// Takes off what belongs to one connection only: the known headers, and those named in `Connection`.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers).filter_map(|name| name.parse().ok()).collect();
        for name in named {
            // A client must not be able to have the message's framing or its authority taken off.
            if name != header::HOST && name != header::CONTENT_LENGTH {
                headers.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Takes trailers: they may be asked for again after the hop-by-hop headers are gone.
#[must_use]
pub fn wants_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Appends this hop to `Via` (RFC 9110 §7.6.3).
pub fn add_via(headers: &mut HeaderMap, version: Version) {
    let hop = match version {
        Version::HTTP_10 => "1.0 tidegate",
        Version::HTTP_2 => "2.0 tidegate",
        _ => "1.1 tidegate",
    };
    append_to(headers, header::VIA, hop);
}

/// Appends the client to `Forwarded` and `X-Forwarded-For`; sets `X-Forwarded-Proto` and `-Host` where no proxy before
/// this one did.
pub fn add_forwarded(headers: &mut HeaderMap, peer: &Peer, host: Option<&HeaderValue>) {
    let address = peer.client;
    let proto = if peer.https { "https" } else { "http" };
    append_to(headers, HeaderName::from_static("x-forwarded-for"), &address.to_string());
    let node = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host_text = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
    let host_part = host_text.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    append_to(headers, header::FORWARDED, &format!("for={node};proto={proto}{host_part}"));
    headers.entry("x-forwarded-proto").or_insert_with(|| HeaderValue::from_static(proto));
    if let Some(host) = host {
        headers.entry("x-forwarded-host").or_insert_with(|| host.clone());
    }
}

fn append_to(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let mut joined: Vec<u8> = Vec::new();
    for line in headers.get_all(&name) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line.as_bytes());
    }
    if !joined.is_empty() {
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Connection;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_there() {
        let mut headers = map(&[
            ("connection", "close, X-Private, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("host", "a"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn an_upgrade_counts_only_if_connection_names_it() {
        assert!(upgrade(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])).is_some());
        assert!(upgrade(&map(&[("upgrade", "websocket")])).is_none());
    }

    #[test]
    fn each_hop_adds_itself() {
        let peer = Peer::new(Connection { address: "[::ffff:10.0.0.7]:99".parse().unwrap(), secure: false });
        let mut headers = map(&[("x-forwarded-for", "1.2.3.4"), ("via", "1.0 first"), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut headers, &peer, Some(&HeaderValue::from_static("app.test:81")));
        add_via(&mut headers, Version::HTTP_11);
        assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 10.0.0.7");
        assert_eq!(headers["forwarded"], "for=10.0.0.7;proto=http;host=\"app.test:81\"");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "app.test:81");
        assert_eq!(headers["via"], "1.0 first, 1.1 tidegate");
    }
}
