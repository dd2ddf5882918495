//! What `[shadow]` has to do with the application's addresses.

use super::problem::Sink;
use super::sections::shadow::Shadow;
use crate::ingest::settings::{Group, Shape, Target};
use crate::migration::shadow::ShadowSettings;
use http::Uri;

/// A shadow's writes must not reach an application that has the single calls, unless it is said that
/// they do no harm there.
pub(super) fn link_shadow(
    shadow: Shadow,
    upstream: &Uri,
    groups: &[Option<Group>],
    problems: &Sink,
) -> ShadowSettings {
    let mut settings = shadow.settings;
    let is_same = |url: &Uri| {
        let places = |uri: &Uri| {
            let host = uri.host().unwrap_or_default().to_ascii_lowercase();
            (name_of_host(&host).to_owned(), uri.port_u16().unwrap_or(80))
        };
        settings.url.as_ref().map(places) == Some(places(url))
    };
    let elsewhere = groups
        .iter()
        .flatten()
        .filter_map(|group| match &group.shape {
            Shape::Batch(Target::Url(url)) => Some(url),
            _ => None,
        });
    settings.is_application = is_same(upstream) || elsewhere.into_iter().any(is_same);
    if settings.is_application && !shadow.may_be_application {
        problems.add(
            shadow.url,
            "is an application that takes the single calls of real users, so that each event would \
             count twice; allowed is another one, or this one with writes_are_idempotent = true, \
             where an event that comes twice changes nothing",
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

/// All names of this machine are one.
fn name_of_host(host: &str) -> &str {
    let is_local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if is_local { "localhost" } else { host }
}
