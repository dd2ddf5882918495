//! A request's fields as the application would be sent them: what `Vary` names is compared on these
//! (RFC 9111 §4.1).
//!
//! Most fields pass as they came. Those that a proxy writes are written here as for the way to the
//! application, but only when one of them is asked for.

use crate::cache::policy::vary;
use crate::peer::Peer;
use crate::upstream::headers::{self, HopSettings};
use http::{HeaderMap, HeaderName, Version, header};

/// Fields that the way to the application writes.
const WRITTEN: [HeaderName; 6] = [
    header::HOST,
    header::VIA,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
];

/// What, besides a request's fields, shows in what is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForwardedFields {
    version: Version,
    hops: HopSettings,
}

impl ForwardedFields {
    pub(super) const fn new(version: Version, hops: HopSettings) -> Self {
        Self { version, hops }
    }

    /// Reads fields of a request for comparison.
    pub(super) fn read_values<'a>(
        self,
        fields: &'a HeaderMap,
        peer: &'a Peer,
    ) -> impl FnMut(&HeaderName) -> Option<Box<[u8]>> + 'a {
        let mut rewritten: Option<HeaderMap> = None;
        move |name| {
            if !WRITTEN.contains(name) {
                return vary::value(fields, name);
            }
            let forwarded = rewritten.get_or_insert_with(|| {
                let mut forwarded = fields.clone();
                headers::add_hops(&mut forwarded, peer, self.version, &self.hops);
                forwarded
            });
            vary::value(forwarded, name)
        }
    }
}
