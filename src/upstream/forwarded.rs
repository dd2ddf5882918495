//! What proxies say of their clients: `X-Forwarded-For`, `-Proto`, `-Host`, and `Forwarded` (RFC
//! 7239).
//!
//! Each proxy appends the address that it was called from, so that the newest entry stands at the
//! right. Going left from there, an entry counts as long as the address that wrote it is a trusted
//! one: the first that isn't trusted is the client, and what stands left of it is the client's own
//! invention. `X-Forwarded-*` win over `Forwarded`, since a proxy that knows only the former passes
//! the latter through as its client sent it.

use super::head::{is_host, items};
use crate::peer::{Connection, Peer, TrustedProxies};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a trusted proxy says; `None` where it says nothing that can be read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) client: Option<IpAddr>,
    pub(super) https: Option<bool>,
    pub(super) host: Option<Arc<str>>,
}

/// Reads what a trusted connection's headers say, and removes what can't be read or contradicts the
/// rest.
pub(super) fn believe(
    headers: &mut HeaderMap,
    connection: &Connection,
    trusted: &TrustedProxies,
) -> Facts {
    let plain = [FOR, PROTO, HOST]
        .iter()
        .any(|name| headers.contains_key(name));
    if !headers.contains_key(header::FORWARDED) && !plain {
        return Facts::default();
    }
    mend_forwarded(headers);
    let elements = elements(headers);
    if !plain {
        return walk(&elements.unwrap_or_default(), trusted);
    }
    let nodes: Vec<_> = items(headers, &FOR)
        .map(|item| Element::of(Some(item.to_owned())))
        .collect();
    let mut facts = walk(&nodes, trusted);
    facts.https = items(headers, &PROTO).next().and_then(scheme);
    facts.host = items(headers, &HOST)
        .next()
        .filter(|host| is_host(host.as_bytes()))
        .map(lower);
    for (name, known) in [(PROTO, facts.https.is_some()), (HOST, facts.host.is_some())] {
        if !known {
            headers.remove(name);
        }
    }
    let secure = facts.https.unwrap_or(connection.secure);
    let agrees = |elements: &Vec<Element>| {
        let other = walk(elements, trusted);
        let same = |element: &Element| {
            element
                .proto
                .as_deref()
                .and_then(scheme)
                .is_none_or(|https| https == secure)
                && element
                    .host
                    .as_deref()
                    .is_none_or(|host| facts.host.as_deref() == Some(&*lower(host)))
        };
        other.client == facts.client && elements.iter().all(same)
    };
    if !elements.as_ref().is_some_and(agrees) {
        headers.remove(header::FORWARDED);
    }
    facts
}

/// The schemes and hosts that the fields of a call name beside those that are believed: an
/// application may go by any of them. `None`: they name no others.
pub(super) fn told_beside(headers: &HeaderMap, peer: &Peer) -> Option<String> {
    let is_known_scheme = |item: &str| scheme(item) == Some(peer.https);
    let is_known_host = |item: &str| peer.host.as_deref() == Some(&*lower(item));
    let schemes = items(headers, &PROTO).filter(|item| !is_known_scheme(item));
    let hosts = items(headers, &HOST).filter(|item| !is_known_host(item));
    // Each on a line of its own, which none of them can hold.
    let scheme_line = |item: &str| format!("proto {item}");
    let host_line = |item: &str| format!("host {item}");
    let mut told: Vec<_> = schemes.map(scheme_line).collect();
    told.extend(hosts.map(host_line));
    if headers.contains_key(header::FORWARDED) {
        for element in elements(headers).unwrap_or_default() {
            let proto = element.proto.filter(|item| !is_known_scheme(item));
            let host = element.host.filter(|item| !is_known_host(item));
            told.extend(proto.as_deref().map(scheme_line));
            told.extend(host.as_deref().map(host_line));
        }
    }
    (!told.is_empty()).then(|| told.join("\n"))
}

/// From the right: what each trusted hop wrote, until one names a client that isn't trusted.
fn walk(elements: &[Element], trusted: &TrustedProxies) -> Facts {
    let mut facts = Facts::default();
    for element in elements.iter().rev() {
        facts.https = element.proto.as_deref().and_then(scheme).or(facts.https);
        facts.host = element
            .host
            .as_deref()
            .filter(|host| is_host(host.as_bytes()))
            .map(lower)
            .or(facts.host);
        let Some(address) = element.node.as_deref().and_then(address) else {
            break;
        };
        facts.client = Some(address);
        if !trusted.contain(address) {
            break;
        }
    }
    facts
}

fn scheme(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

pub(super) fn lower(host: &str) -> Arc<str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// An address with or without a port; IPv6 with or without brackets.
fn address(node: &str) -> Option<IpAddr> {
    let bare = || {
        node.strip_prefix('[')
            .and_then(|node| node.strip_suffix(']'))
            .unwrap_or(node)
            .parse()
            .ok()
    };
    let with_port = || node.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare()
        .or_else(with_port)
        .map(|address: IpAddr| address.to_canonical())
}

/// What one proxy says of its own client.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Element {
    node: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

impl Element {
    const fn of(node: Option<String>) -> Self {
        Self {
            node,
            proto: None,
            host: None,
        }
    }
}

/// Of a line of `Forwarded` that can't be read only what stands behind its last comma is left, if
/// that can be: a proxy appends there what it knows to what its client has sent.
fn mend_forwarded(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::FORWARDED);
    if lines.iter().all(|line| elements_of(line).is_some()) {
        return;
    }
    let mend = |line: &HeaderValue| {
        if elements_of(line).is_some() {
            return Some(line.clone());
        }
        let newest = line.as_bytes().rsplit(|byte| *byte == b',').next()?;
        let newest = HeaderValue::from_bytes(newest.trim_ascii()).ok()?;
        elements_of(&newest).is_some().then_some(newest)
    };
    let left: Vec<_> = lines.iter().filter_map(mend).collect();
    headers.remove(header::FORWARDED);
    for line in left {
        headers.append(header::FORWARDED, line);
    }
}

/// The elements of `Forwarded`; none if it breaks off or isn't there.
fn elements(headers: &HeaderMap) -> Option<Vec<Element>> {
    let mut all = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        all.extend(elements_of(line)?);
    }
    (!all.is_empty()).then_some(all)
}

/// The elements of a line; `None`: it is no text or breaks off.
fn elements_of(line: &HeaderValue) -> Option<Vec<Element>> {
    let mut all = Vec::new();
    let mut rest = line.to_str().ok()?;
    let mut element = Element::default();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if let Some(after) = rest.strip_prefix(',') {
            all.push(std::mem::take(&mut element));
            rest = after;
        } else if rest.is_empty() {
            all.push(element);
            break;
        } else {
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value(after)?;
            match name.to_ascii_lowercase().as_str() {
                "for" => element.node = Some(value),
                "proto" => element.proto = Some(value),
                "host" => element.host = Some(value),
                _ => {}
            }
            rest = after;
        }
    }
    all.retain(|element| *element != Element::default());
    Some(all)
}

/// A token or a quoted string, and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// Addresses of the clients that `X-Forwarded-For` names, oldest first; of `Forwarded` where it is
/// missing.
pub(super) fn chain(headers: &HeaderMap) -> Vec<IpAddr> {
    if headers.contains_key(FOR) {
        return items(headers, &FOR).filter_map(address).collect();
    }
    let elements = elements(headers).unwrap_or_default();
    elements
        .iter()
        .filter_map(|element| element.node.as_deref().and_then(address))
        .collect()
}

/// Writes one element of `Forwarded`.
///
/// # Errors
/// The writer's.
pub(super) fn write_element(
    out: &mut impl Write,
    node: IpAddr,
    https: Option<bool>,
    host: Option<&str>,
) -> io::Result<()> {
    match node {
        IpAddr::V4(address) => write!(out, "for={address}")?,
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\"")?,
    }
    if let Some(https) = https {
        out.write_all(if https {
            b";proto=https"
        } else {
            b";proto=http"
        })?;
    }
    let Some(host) = host else { return Ok(()) };
    [b";host=\"".as_slice(), host.as_bytes(), b"\""]
        .into_iter()
        .try_for_each(|part| out.write_all(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn facts(lines: &[(&'static str, &'static str)]) -> (Facts, HeaderMap) {
        let trusted = TrustedProxies::parse(&["loopback", "10.0.0.0/8"]).unwrap();
        let connection = Connection {
            address: "127.0.0.1:5".parse().unwrap(),
            secure: false,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let facts = believe(&mut headers, &connection, &trusted);
        (facts, headers)
    }

    fn client(lines: &[(&'static str, &'static str)]) -> Option<String> {
        facts(lines).0.client.map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        for (line, wanted) in [
            ("9.9.9.9", Some("9.9.9.9")),
            ("6.6.6.6, 9.9.9.9, 10.0.0.2", Some("9.9.9.9")),
            ("10.0.0.3, 10.0.0.2", Some("10.0.0.3")),
            ("9.9.9.9:1234, 10.0.0.2", Some("9.9.9.9")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("6.6.6.6, unknown, 10.0.0.2", Some("10.0.0.2")),
            ("unknown", None),
            // What its client sent hides nothing of what the proxy appended.
            ("\u{fffd}, 9.9.9.9", Some("9.9.9.9")),
            ("6.6.6.6, \u{fffd}, 10.0.0.2", Some("10.0.0.2")),
        ] {
            assert_eq!(
                client(&[("x-forwarded-for", line)]).as_deref(),
                wanted,
                "{line}"
            );
        }
        let line = "for=6.6.6.6, \
            for=\"[2001:db8::1]:99\";proto=https;host=\"A.example:8443\";by=_x, \
            for=10.0.0.2;proto=http";
        let (facts, _) = facts(&[("forwarded", line)]);
        assert_eq!(facts.client.unwrap().to_string(), "2001:db8::1");
        assert_eq!(
            (facts.https, facts.host.as_deref()),
            (Some(true), Some("a.example:8443"))
        );
    }

    #[test]
    fn a_forwarded_that_contradicts_what_the_proxy_says_is_its_clients_and_goes() {
        let plain = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "App.example"),
        ];
        let kept = |forwarded: &'static str| {
            let (facts, headers) = facts(&[&plain[..], &[("forwarded", forwarded)]].concat());
            assert_eq!(
                (facts.https, facts.host.as_deref()),
                (Some(true), Some("app.example"))
            );
            assert_eq!(facts.client.unwrap().to_string(), "9.9.9.9");
            headers.contains_key("forwarded")
        };
        assert!(kept("for=9.9.9.9;proto=https;host=app.example"));
        assert!(kept("for=9.9.9.9"));
        assert!(!kept("for=9.9.9.9;proto=http"));
        assert!(!kept("for=9.9.9.9;host=evil.example"));
        assert!(!kept("for=6.6.6.6;proto=https"));
        assert!(!kept("for=\"9.9.9.9"));
    }

    #[test]
    fn what_a_client_breaks_of_forwarded_goes_and_what_its_proxy_appended_stays() {
        for (line, wanted, left) in [
            (
                "for=\", for=9.9.9.9;proto=https",
                Some("9.9.9.9"),
                "for=9.9.9.9;proto=https",
            ),
            ("\u{fffd}, for=9.9.9.9", Some("9.9.9.9"), "for=9.9.9.9"),
            ("for=6.6.6.6, for=\"", None, ""),
            (
                "for=\"\u{fffd}\", for=9.9.9.9",
                Some("9.9.9.9"),
                "for=9.9.9.9",
            ),
        ] {
            let (found, headers) = facts(&[("forwarded", line)]);
            let client = found.client.map(|client| client.to_string());
            assert_eq!(client.as_deref(), wanted, "{line}");
            let kept = headers.get("forwarded").map(HeaderValue::as_bytes);
            assert_eq!(kept.unwrap_or_default(), left.as_bytes(), "{line}");
        }
        let (found, headers) = facts(&[("forwarded", "for=\""), ("forwarded", "for=9.9.9.9")]);
        assert_eq!(found.client.unwrap().to_string(), "9.9.9.9");
        assert_eq!(headers.get_all("forwarded").iter().count(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_on() {
        let (found, headers) =
            facts(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b")]);
        assert_eq!((found, headers.len()), (Facts::default(), 0));
        let (found, _) = facts(&[
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "One, two"),
        ]);
        assert_eq!(
            (found.https, found.host.as_deref()),
            (Some(true), Some("one"))
        );
    }
}
