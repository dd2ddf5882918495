//! Tidegate's own addresses: they must be two, and no call may go to them.

use super::problem::{Position, Sink};
use crate::ingest::settings::{Group, Shape, Target};
use crate::upstream::{UNIX, port_of};
use http::Uri;
use std::net::{IpAddr, SocketAddr};

/// What listens, and where the operators' address stands.
pub(super) struct OwnAddresses {
    /// None of a Unix socket.
    pub(super) public: Option<SocketAddr>,
    pub(super) admin: (SocketAddr, Position),
}

impl OwnAddresses {
    /// `upstream`: with where it stands.
    pub(super) fn check(
        self,
        upstream: (&Uri, Position),
        groups: &[Option<Group>],
        problems: &Sink,
    ) {
        let (admin, position) = self.admin;
        if let Some(public) = self.public
            && public.port() != 0
            && public.port() == admin.port()
            && (public.ip() == admin.ip() || [public, admin].iter().any(is_everywhere))
        {
            let text =
                format!("found {admin}, which server.listen has too; two addresses are allowed");
            problems.add(position, text);
        }
        let of_group = |group: &Group| match &group.shape {
            Shape::Batch(Target::Url(url)) => {
                let key = format!("batch.{}.url", group.name);
                Some((url.clone(), Position { place: None, key }))
            }
            _ => None,
        };
        let own: Vec<_> = self.public.into_iter().chain([admin]).collect();
        let (url, position) = upstream;
        let urls = groups.iter().flatten().filter_map(of_group);
        for (url, position) in [(url.clone(), position)].into_iter().chain(urls) {
            if own.iter().any(|address| reaches(&url, *address)) {
                let text = format!(
                    "found {url}, where Tidegate itself listens: each call would go round without \
                     an end; allowed is the application's address"
                );
                problems.add(position, text);
            }
        }
    }
}

fn is_everywhere(address: &SocketAddr) -> bool {
    address.ip().is_unspecified()
}

/// Whether a call of this URL comes to a listener there. Of names only `localhost` is known.
fn reaches(url: &Uri, listen: SocketAddr) -> bool {
    if url.scheme_str() == Some(UNIX) || listen.port() == 0 || port_of(url) != listen.port() {
        return false;
    }
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = listen.ip().to_canonical();
    match host.parse::<IpAddr>().map(|host| host.to_canonical()) {
        Ok(host) => host == ip || ip.is_unspecified() && host.is_loopback(),
        Err(_) => {
            host.trim_end_matches('.') == "localhost" && (ip.is_loopback() || ip.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_reaches_the_listener_of_its_address_and_no_other() {
        for (url, listen, wanted) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://localhost:8080/", "127.0.0.1:8080", true),
            ("http://LOCALHOST.:8080/", "[::1]:8080", true),
            ("http://127.0.0.2:8080", "0.0.0.0:8080", true),
            ("http://[::1]:8080", "[::]:8080", true),
            ("http://127.0.0.1", "127.0.0.1:80", true),
            ("https://localhost", "127.0.0.1:443", true),
            ("http://127.0.0.1:8081", "127.0.0.1:8080", false),
            ("http://127.0.0.2:8080", "127.0.0.1:8080", false),
            ("http://10.0.0.1:8080", "127.0.0.1:8080", false),
            ("http://app.test:8080", "0.0.0.0:8080", false),
            ("http://127.0.0.1:8080", "127.0.0.1:0", false),
        ] {
            let found = reaches(&url.parse().unwrap(), listen.parse().unwrap());
            assert_eq!(found, wanted, "{url} {listen}");
        }
    }
}
