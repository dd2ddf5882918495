//! `[server]`, `[upstream]` and `[[relay]]`: the connections on both sides.

use super::check::{pattern, seconds};
use super::raw::Section;
use crate::peer::TrustedProxies;
use crate::server::ServerSettings;
use crate::upstream::headers::HopSettings;
use crate::upstream::{RelayRule, UpstreamSettings};
use http::Uri;
use std::net::{Ipv4Addr, SocketAddr};

pub(super) fn address(section: &Section<'_>, port: u16) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    section.parsed("listen", "an address such as \"127.0.0.1:8080\"").unwrap_or(default)
}

pub(super) fn server(section: Section<'_>) -> ServerSettings {
    let settings = ServerSettings {
        listen: address(&section, 8080),
        max_connections: section.count("max_connections", 1, 1_000_000, 10_000),
        header_timeout: section.duration("header_timeout", seconds(10)),
        body_timeout: section.duration("body_timeout", seconds(30)),
        stall_timeout: section.duration("stall_timeout", seconds(60)),
        keepalive_timeout: section.duration("keepalive_timeout", seconds(75)),
        trusted_proxies: trusted_proxies(&section),
        drain: section.duration("drain", seconds(20)),
    };
    // Read where the gateway's settings are.
    section.get("explain");
    section.finish();
    settings
}

fn trusted_proxies(section: &Section<'_>) -> TrustedProxies {
    let Some(texts) = section.texts("trusted_proxies") else { return TrustedProxies::local() };
    TrustedProxies::parse(&texts).unwrap_or_else(|error| {
        section.wrong_key("trusted_proxies", error.to_string());
        TrustedProxies::default()
    })
}

/// The application's address and how it is asked; and whether its paths are relaxed. `server`: what clients are told.
pub(super) fn upstream(
    section: Section<'_>,
    relays: Vec<Section<'_>>,
    server: &ServerSettings,
) -> (UpstreamSettings, bool) {
    let relaxed_paths = section.choice("paths", &[("exact", false), ("relaxed", true)], false);
    let settings = UpstreamSettings {
        // What is wrong with it was said; the configuration as a whole is refused.
        url: url(&section).unwrap_or_default(),
        connect_timeout: section.duration("connect_timeout", seconds(2)),
        response_timeout: section.duration("response_timeout", seconds(300)),
        idle_timeout: section.duration("idle_timeout", seconds(4)),
        max_connections: section.count("max_connections", 4, 65_536, 4_096),
        kept_for_deliveries: 0,
        knows_callers: false,
        stall_timeout: server.stall_timeout,
        trusted_proxies: server.trusted_proxies.clone(),
        hops: HopSettings {
            preserve_host: section.flag("preserve_host").unwrap_or(true),
            via: section.flag("via").unwrap_or(true),
        },
        relays: relays.into_iter().filter_map(relay).collect(),
        relaxed_paths,
    };
    section.finish();
    (settings, relaxed_paths)
}

fn url(section: &Section<'_>) -> Option<Uri> {
    if section.get("url").is_none() {
        section.wrong_key("url", "is missing; the application's address is needed, such as \"http://127.0.0.1:8888\"");
    }
    section.compiled("url", |text| {
        let uri: Uri = text.parse().map_err(|error| format!("found {text:?}: {error}"))?;
        let plain = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) if plain && !authority.as_str().contains('@') => Ok(uri),
            _ => Err(format!("found {text:?}; allowed is \"http://HOST:PORT\", without a path")),
        }
    })
}

/// `[[relay]]`.
fn relay(section: Section<'_>) -> Option<RelayRule> {
    let path = pattern(&section);
    if section.get("response_timeout").is_none() {
        section.wrong_key("response_timeout", "is missing; a duration such as \"10m\" is needed");
    }
    let response_timeout = section.maybe_duration("response_timeout");
    section.finish();
    Some(RelayRule { path: path?, response_timeout: response_timeout? })
}
