//! Which addresses are asked over TLS, and what `upstream.tls` says for all of them.

use super::problem::Sink;
use super::sections::upstream::TlsSection;
use crate::ingest::settings::{Group, Shape, Target};
use crate::migration::shadow::ShadowSettings;
use crate::upstream::{TlsError, UpstreamSettings, UpstreamTls};
use http::Uri;
use http::uri::Scheme;

/// All addresses that are asked.
pub(super) fn addresses<'a>(
    upstream: &'a UpstreamSettings,
    groups: &'a [Option<Group>],
    shadow: &'a ShadowSettings,
) -> impl Iterator<Item = &'a Uri> {
    let of_groups = groups
        .iter()
        .flatten()
        .filter_map(|group| match &group.shape {
            Shape::Batch(Target::Url(url)) => Some(url),
            _ => None,
        });
    of_groups.chain([&upstream.url]).chain(&shadow.url)
}

/// The settings for TLS; none where no address has `https`.
pub(super) fn link_tls<'a>(
    tls: TlsSection,
    mut addresses: impl Iterator<Item = &'a Uri>,
    problems: &Sink,
) -> Option<UpstreamTls> {
    if !addresses.any(|url| url.scheme() == Some(&Scheme::HTTPS)) {
        if tls.is_given {
            problems.add(
                tls.position,
                "is for addresses by https, and there are none; allowed is an https address, or no \
                 tls",
            );
        }
        return None;
    }
    let read = UpstreamTls::try_new(&tls.files);
    let report = |error: TlsError| {
        let ca = tls.files.ca.as_ref();
        let position = match (&error, &tls.files.client) {
            (TlsError::NoRoots(_) | TlsError::Unsupported(_), _) => tls.position,
            (TlsError::File(error), Some(files)) if error.is_of_key(files) => tls.client_key,
            (TlsError::File(error), _) if ca == Some(&error.path) => tls.ca,
            (TlsError::File(_), _) => tls.client_cert,
        };
        problems.add(position, error.to_string());
    };
    read.map_err(report).ok()
}
