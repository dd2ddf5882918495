//! What a request's head must be before it is looked at: a target and a host that can be told, and
//! no coding that would be lost on the way.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use std::net::Ipv6Addr;

/// A head that can't be forwarded. It says what was found and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// RFC 9112 §3.2.
    #[error(
        "found the request target {0:?}; allowed are a path, an http or https URL, and * with \
         OPTIONS"
    )]
    Target(String),
    /// RFC 9110 §9.3.6.
    #[error("found the method CONNECT; this is no proxy to other hosts")]
    Connect,
    /// RFC 9112 §3.2: HTTP/1.1 needs one.
    #[error("found no Host; exactly one is needed in HTTP/1.1")]
    NoHost,
    /// Two hops could each read another one.
    #[error("found {0} Host fields; exactly one is allowed")]
    ManyHosts(usize),
    /// Neither a name nor an address.
    #[error("found the host {0:?}; allowed is a name or an address, and a port")]
    BadHost(String),
    /// A coding of the message that no hop would take off or put on (RFC 9112 §6.1).
    #[error("found the transfer coding {0:?}; only chunked is understood, once")]
    Coding(String),
}

impl HeadError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Coding(_) => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The name of the problem.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Target(_) => "bad_target",
            Self::Connect => "connect",
            Self::NoHost => "no_host",
            Self::ManyHosts(_) => "many_hosts",
            Self::BadHost(_) => "bad_host",
            Self::Coding(_) => "unknown_transfer_coding",
        }
    }
}

/// Checks the target and puts it into origin form, or `*`; gives back the authority that it had.
pub(super) fn take_authority(parts: &mut Parts) -> Result<Option<Authority>, HeadError> {
    if parts.method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    let wrong = |uri: &Uri| HeadError::Target(uri.to_string());
    // Authority form, which only CONNECT has, has none.
    let Some(path) = parts.uri.path_and_query() else {
        return Err(wrong(&parts.uri));
    };
    if path.as_str() == "*" && parts.method != Method::OPTIONS {
        return Err(wrong(&parts.uri));
    }
    let Some(authority) = parts.uri.authority().cloned() else {
        return Ok(None);
    };
    if !parts
        .uri
        .scheme()
        .is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))
    {
        return Err(wrong(&parts.uri));
    }
    let mut origin = http::uri::Parts::default();
    // An empty path is `/` (RFC 9112 §3.2.1).
    origin.path_and_query = Some(match path.as_str().strip_prefix('?') {
        None => path.clone(),
        Some(query) => {
            PathAndQuery::try_from(format!("/?{query}")).map_err(|_| wrong(&parts.uri))?
        }
    });
    parts.uri = Uri::from_parts(origin).map_err(|_| wrong(&parts.uri))?;
    Ok(Some(authority))
}

/// Checks Host (RFC 9112 §3.2) and leaves the one that counts: the target's authority wins (RFC
/// 9112 §3.2.2, RFC 9113 §8.3.1).
pub(super) fn settle_host(
    headers: &mut HeaderMap,
    version: Version,
    authority: Option<&Authority>,
) -> Result<(), HeadError> {
    let lines = headers.get_all(header::HOST).iter().count();
    match lines {
        0 if version == Version::HTTP_11 => return Err(HeadError::NoHost),
        0 | 1 => {}
        many => return Err(HeadError::ManyHosts(many)),
    }
    if let Some(host) = headers.get(header::HOST)
        && !is_host_or_empty(host.as_bytes())
    {
        return Err(HeadError::BadHost(
            String::from_utf8_lossy(host.as_bytes()).into_owned(),
        ));
    }
    if let Some(authority) = authority {
        let wrong = || HeadError::BadHost(authority.to_string());
        if !is_host(authority.as_str().as_bytes()) {
            return Err(wrong());
        }
        headers.insert(
            header::HOST,
            HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?,
        );
    }
    Ok(())
}

/// RFC 9112 §3.2: Host is empty where the target has no authority.
fn is_host_or_empty(text: &[u8]) -> bool {
    text.is_empty() || is_host(text)
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2), not empty.
pub(super) fn is_host(text: &[u8]) -> bool {
    // The usual name, without a port.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !text.is_empty() && text.iter().all(is_plain) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text
        .split_once(':')
        .map_or((text, None), |(name, port)| (name, Some(port)));
    !name.is_empty() && is_name(name.as_bytes()) && port.is_none_or(is_port)
}

/// An empty port is one (RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_name(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => match after {
                [first, second, after @ ..]
                    if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() =>
                {
                    after
                }
                _ => return false,
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => after,
            _ => return false,
        };
    }
    true
}

/// The first transfer coding of a message that would get lost: all but one `chunked`. `identity`
/// says nothing (it was a coding of RFC 2616).
pub(super) fn lost_coding(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter().peekable();
    lines.peek()?;
    let mut all = Vec::new();
    for line in lines {
        all.extend(
            String::from_utf8_lossy(line.as_bytes())
                .split(',')
                .map(|coding| coding.trim().to_owned()),
        );
    }
    all.retain(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
    match all.as_slice() {
        [] => None,
        [only] if only.eq_ignore_ascii_case("chunked") => None,
        _ => Some(all.join(", ")),
    }
}

/// The items of a list field (RFC 9110 §5.6.1), of all its lines, without empty ones. One that is no
/// text hides no other one: a character that stands for nothing else is in its place.
pub(super) fn items<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
        .map(|item| std::str::from_utf8(item).unwrap_or("\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for good in [
            "a",
            "app.example",
            "App_1.example:80",
            "a.",
            "10.0.0.1:8080",
            "[::1]",
            "[2001:db8::1]:443",
            "a:",
            "%41",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "a?b", "u@a", "a:b", "a:99999", "a:+1", "[::1", "[::1]x",
            "[x]", "a\"", "a\\", "%4", "é", "a:1:2", "<a>", "a#",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn only_chunked_once_is_a_coding_that_nothing_loses() {
        let lost = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static(line));
            }
            lost_coding(&headers)
        };
        assert_eq!(lost(&[]), None);
        assert_eq!(lost(&["Chunked"]), None);
        assert_eq!(lost(&["identity"]), None);
        assert_eq!(lost(&["identity, chunked"]), None);
        assert_eq!(lost(&["gzip, chunked"]).as_deref(), Some("gzip, chunked"));
        assert_eq!(lost(&["gzip", "chunked"]).as_deref(), Some("gzip, chunked"));
        assert_eq!(
            lost(&["chunked, chunked"]).as_deref(),
            Some("chunked, chunked")
        );
        assert_eq!(lost(&["gzip"]).as_deref(), Some("gzip"));
    }
}
