//! Which callers the admin listener answers: programs on this machine, and pages that it served
//! itself, but no other page.
//!
//! A browser on this machine reaches the listener too, on behalf of any page that it shows. A page
//! of another site sends an `Origin` or `Sec-Fetch-Site` that says so. A page whose own name was
//! made to point at this machine (DNS rebinding) is of the same origin for the browser, but its
//! `Host` is a name that isn't this machine's.
//!
//! | found | answer |
//! |---|---|
//! | a host that is neither `localhost`, a loopback address nor the address of `admin.listen` | 421 |
//! | an `Origin` that isn't `http://` and that host with its port | 403 |
//! | a `Sec-Fetch-Site` other than `same-origin` and `none` | 403 |
//!
//! What has no host at all (HTTP/1.0) is no browser.
//!
//! A listener beyond loopback has names that it doesn't know: there any host will do, since callers
//! have a token, which no rebound page does; an `Origin` may be `https://`, since a proxy may
//! stand before it.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::net::{IpAddr, Ipv6Addr};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// Its host isn't this machine.
    #[error(
        "the host is not this listener's; allowed are localhost, 127.0.0.1, [::1] and the address \
         of admin.listen"
    )]
    Host,
    /// It was sent for a page of another origin.
    #[error("the request was sent by a page of another origin")]
    Origin,
}

impl Denied {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request may be answered; `listen` is the listener's own address.
///
/// # Errors
/// Why not.
pub(super) fn check_access(head: &Parts, listen: IpAddr) -> Result<(), Denied> {
    let is_local = listen.is_loopback();
    let target = head.uri.authority().map(Authority::as_str);
    let lines = head
        .headers
        .get_all(header::HOST)
        .iter()
        .map(HeaderValue::to_str);
    let hosts: Vec<&str> = target
        .map(Ok)
        .into_iter()
        .chain(lines)
        .collect::<Result<_, _>>()
        .map_err(|_| Denied::Host)?;
    if is_local && !hosts.iter().all(|host| is_ours(host, listen)) {
        return Err(Denied::Host);
    }
    let own = |origin: &HeaderValue| {
        let text = origin.to_str().unwrap_or_default();
        let asked = match text.strip_prefix("https://") {
            Some(asked) if !is_local => Some(asked),
            _ => text.strip_prefix("http://"),
        };
        asked.is_some_and(|asked| {
            hosts
                .first()
                .is_some_and(|host| host.eq_ignore_ascii_case(asked))
        })
    };
    let same = |site: &HeaderValue| [b"same-origin".as_slice(), b"none"].contains(&site.as_bytes());
    let allowed = head.headers.get_all(header::ORIGIN).iter().all(own)
        && head.headers.get_all(FETCH_SITE).iter().all(same);
    if allowed { Ok(()) } else { Err(Denied::Origin) }
}

/// A host, with or without a port, that can only mean this machine.
fn is_ours(host: &str, listen: IpAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse().ok(),
    };
    name.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.to_canonical().is_loopback() || address == listen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn access(uri: &str, headers: &[(&str, &str)]) -> Result<(), Denied> {
        access_at(IpAddr::from([127, 0, 0, 7]), uri, headers)
    }

    fn access_at(listen: IpAddr, uri: &str, headers: &[(&str, &str)]) -> Result<(), Denied> {
        let builder = headers
            .iter()
            .fold(Request::get(uri), |builder, (name, value)| {
                builder.header(*name, *value)
            });
        let (head, ()) = builder.body(()).unwrap().into_parts();
        check_access(&head, listen)
    }

    #[test]
    fn this_machine_is_called_by_its_own_names_only() {
        for host in [
            "localhost",
            "LocalHost:1",
            "127.0.0.1:9901",
            "127.8.8.8",
            "[::1]:9901",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.0.0.7:9901",
        ] {
            assert_eq!(access("/status", &[("host", host)]), Ok(()), "{host}");
            assert_eq!(
                access(&format!("http://{host}/status"), &[]),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "localhost.",
            "127.0.0.1.evil.test",
            "10.0.0.8",
            "0.0.0.0",
            "[::2]",
            "evil.test@localhost",
            "localhost@evil.test",
            "",
            "local host",
            "localhost, evil.test",
        ] {
            assert_eq!(
                access("/status", &[("host", host)]),
                Err(Denied::Host),
                "{host}"
            );
        }
        let mixed = [("host", "localhost"), ("host", "evil.test")];
        assert_eq!(access("/status", &mixed), Err(Denied::Host));
        assert_eq!(
            access("http://evil.test/status", &[("host", "localhost")]),
            Err(Denied::Host)
        );
        assert_eq!(access("/status", &[]), Ok(()));
    }

    #[test]
    fn beyond_loopback_any_host_will_do_and_still_no_page_of_another_origin() {
        let at = |headers: &[(&str, &str)]| access_at([10, 0, 0, 7].into(), "/status", headers);
        let host = ("host", "tidegate.internal:9901");
        assert_eq!(at(&[host]), Ok(()));
        for origin in [
            "http://tidegate.internal:9901",
            "https://tidegate.internal:9901",
        ] {
            assert_eq!(at(&[host, ("origin", origin)]), Ok(()), "{origin}");
        }
        for other in [
            ("origin", "https://evil.test"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(at(&[host, other]), Err(Denied::Origin), "{other:?}");
        }
    }

    #[test]
    fn no_page_of_another_origin_is_answered() {
        let host = ("host", "localhost:9901");
        for (name, value, wanted) in [
            ("origin", "http://localhost:9901", true),
            ("origin", "http://LOCALHOST:9901", true),
            ("origin", "http://localhost:3000", false),
            ("origin", "http://127.0.0.1:9901", false),
            ("origin", "https://localhost:9901", false),
            ("origin", "http://evil.test", false),
            ("origin", "null", false),
            ("origin", "", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "", false),
        ] {
            let found = access("/status", &[host, (name, value)]);
            assert_eq!(
                found,
                if wanted { Ok(()) } else { Err(Denied::Origin) },
                "{name}: {value}"
            );
        }
        assert_eq!(
            access("/status", &[("origin", "http://localhost")]),
            Err(Denied::Origin)
        );
    }
}
