//! A request's fields as the application would be sent them: what `Vary` names is compared on these (RFC 9111 §4.1).
//!
//! Most fields pass as they came. Those that a proxy writes are written here as for the way to the application, but only
//! when one of them is asked for.

use crate::body::Body;
use crate::cache::policy::vary;
use crate::peer::Peer;
use crate::upstream::headers;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header};

/// Fields that the way to the application writes, besides those that `Connection` names.
const WRITTEN: [HeaderName; 8] = [
    header::VIA,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    header::CONNECTION,
    header::TE,
    header::UPGRADE,
];

/// What of a request's head, besides its fields, shows in what is written.
#[derive(Debug, Clone)]
pub(super) struct Line {
    version: Version,
    host: Option<HeaderValue>,
}

impl Line {
    pub(super) fn of(request: &Request<Body>) -> Self {
        Self::new(request.version(), request.uri(), request.headers())
    }

    pub(super) fn new(version: Version, target: &Uri, fields: &HeaderMap) -> Self {
        let authority = target.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok());
        Self { version, host: authority.or_else(|| fields.get(header::HOST).cloned()) }
    }

    /// Reads fields of a request for comparison.
    pub(super) fn values<'a>(
        &'a self,
        fields: &'a HeaderMap,
        peer: &'a Peer,
    ) -> impl FnMut(&HeaderName) -> Option<Box<[u8]>> + 'a {
        let mut rewritten: Option<HeaderMap> = None;
        let has_hops = fields.contains_key(header::CONNECTION);
        move |name| {
            if !has_hops && !WRITTEN.contains(name) {
                return vary::value(fields, name);
            }
            let sent = rewritten.get_or_insert_with(|| {
                let mut sent = fields.clone();
                headers::remove_hop_by_hop(&mut sent);
                headers::add_via(&mut sent, self.version);
                headers::add_forwarded(&mut sent, peer, self.host.as_ref());
                sent
            });
            vary::value(sent, name)
        }
    }
}
