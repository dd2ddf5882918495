//! `[migration]`: who takes part in staged rollouts.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::identity::{Kind, lists};
use crate::rollout::{Draw, Sampling};
use http::HeaderName;

keys! {
    "[migration]";
    /// another text draws other users for the same `rollout`; replicas must have the same one
    SALT = Key::text("salt", Said("text"), "");
    /// a header by which one of `server.trusted_proxies` says of a call that it is to be batched
    /// (`coalesce`) or forwarded (`off`) where the route's mode is `coalesce`, whatever `rollout`
    /// and `allow` say; from everybody else it means nothing here. Such a proxy must set it itself
    /// or take it away: passed on, it is its client's word
    TESTER_HEADER = Key::without("tester_header", Said("header's name"), "none");
}

/// It takes the header out of what tells callers apart: none that says who calls may be.
fn tester_of(text: &str) -> Result<HeaderName, String> {
    let name = text.parse::<HeaderName>().ok();
    name.filter(|name| lists::header(name.as_str()) == Kind::Scope)
        .ok_or_else(|| {
            format!("found {text:?}; allowed is the name of a header that nothing else is known by")
        })
}

pub(super) fn read(section: Section<'_>) -> Sampling {
    let sampling = Sampling {
        draw: Draw::new(&section.text(&SALT).unwrap_or_default()),
        tester: section.compiled(&TESTER_HEADER, tester_of),
    };
    section.finish();
    sampling
}
