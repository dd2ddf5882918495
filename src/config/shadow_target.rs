//! What `[shadow]` has to do with the application's addresses, and with Tidegate's own.

use super::problem::Sink;
use super::sections::shadow::Shadow;
use crate::ingest::settings::{Group, Shape, Target};
use crate::migration::shadow::ShadowSettings;
use crate::upstream::{UNIX, port_of};
use http::Uri;
use std::net::{IpAddr, SocketAddr};

/// A host and a port, all names of this machine as one.
#[derive(Debug, PartialEq, Eq)]
struct Place(Option<String>, u16);

impl Place {
    fn of_url(url: &Uri) -> Self {
        let host = url.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.');
        let port = port_of(url);
        match host.parse::<IpAddr>() {
            Ok(address) => Self::of_address(SocketAddr::new(address, port)),
            Err(_) => Self((host != "localhost").then(|| host.to_owned()), port),
        }
    }

    fn of_address(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let is_here = ip.is_loopback() || ip.is_unspecified();
        Self((!is_here).then(|| ip.to_string()), address.port())
    }
}

/// A shadow's writes must not reach an application that has the single calls, unless it is said that
/// they do no harm there; nor this very process, which would copy them again.
pub(super) fn link_shadow(
    shadow: Shadow,
    own: &[SocketAddr],
    upstream: &Uri,
    groups: &[Option<Group>],
    problems: &Sink,
) -> ShadowSettings {
    let mut settings = shadow.settings;
    let target = settings.url.as_ref().map(Place::of_url);
    let is_target = |place: &Place| target.as_ref() == Some(place);
    let live = groups
        .iter()
        .flatten()
        .filter_map(|group| match &group.shape {
            Shape::Batch(Target::Url(url)) => Some(url),
            _ => None,
        });
    let by_network = |url: &&Uri| url.scheme_str() != Some(UNIX);
    let mut live = live.chain([upstream]).filter(by_network).map(Place::of_url);
    let is_application = live.any(|place| is_target(&place));
    if is_application && !shadow.may_be_application {
        problems.add(
            shadow.url.clone(),
            "is an application that takes the single calls of real users, so that each event would \
             count twice; allowed is another one, or this one with writes_are_idempotent = true, \
             where an event that comes twice changes nothing",
        );
    }
    let own_places = own.iter().filter(|address| address.port() != 0);
    if own_places
        .copied()
        .map(Place::of_address)
        .any(|place| is_target(&place))
    {
        problems.add(
            shadow.url,
            "is Tidegate itself, which would copy what it sends; allowed is an application",
        );
    }
    if settings.shares_address && settings.preserve_host {
        problems.add(
            shadow.shares_address,
            "says that a front tells shadow.url by its name, and preserve_host = true sends it the \
             application's; allowed is one of the two",
        );
    }
    settings.is_application = target.is_some() && (is_application || shadow.may_be_application);
    let is_single = |group: &&Group| group.is_single();
    if settings.is_application
        && let Some(group) = groups.iter().flatten().find(is_single)
    {
        problems.add(
            shadow.idempotent,
            format!(
                "batch.{} sends single calls, which would be posted twice; allowed are groups with \
                 batches",
                group.name
            ),
        );
    }
    let has_states = !settings.states.paths.is_empty();
    if has_states && (settings.url.is_none() || settings.is_application) {
        problems.add(
            shadow.state,
            "needs shadow.url, and one that isn't the application: two states are compared",
        );
    }
    settings
}
