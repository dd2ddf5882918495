//! `[upstream]`: the application, and how it is asked.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::application_url;
use crate::config::section::Section;
use crate::peer::TrustedProxies;
use crate::upstream::UpstreamSettings;
use crate::upstream::headers::HopSettings;
use http::Uri;

keys! {
    "[upstream]";
    /// without a path
    URL = Key::without("url", Said(r#"`"http://HOST:PORT"`"#), "needed");
    CONNECT_TIMEOUT = Key::text("connect_timeout", Duration, "2s");
    /// until the response head; bodies may stream for ever. Also how long a forwarded call waits
    /// for what is before it, and how long at most a call whose body is still coming keeps what is
    /// behind it waiting; for single paths: `[[relay]]`
    RESPONSE_TIMEOUT = Key::text("response_timeout", Duration, "300s");
    /// to each address, those that idle included. A quarter of them, or `delivery.max_in_flight` if
    /// that is less, is kept for deliveries; of the rest, one client address has a quarter at most,
    /// unless it is one of `trusted_proxies`. The last eighth of what calls have is for good
    /// callers. Event streams and tunnels have as many connections again as calls, beside these,
    /// and one address a quarter of them: the application sees nearly twice the number at most, and
    /// an office or a school with more streams than that needs a larger one
    /// ([relay.md](relay.md#how-many-bytes-and-connections)). Beyond it calls wait for
    /// `connect_timeout` and are answered 503
    MAX_CONNECTIONS = Key::with("max_connections", Number(4, 65_536), "4_096");
    /// pooled connections; a shorter `Keep-Alive` of the application wins
    IDLE_TIMEOUT = Key::text("idle_timeout", Duration, "4s");
    /// `false`: the application is sent its own address as `Host`
    PRESERVE_HOST = Key::with("preserve_host", Flag, "true");
    /// `false` adds no `Via`: nginx compresses no answer to a request that has it
    VIA = Key::with("via", Flag, "true");
    /// `"relaxed"`: letters in any case, and a slash at the end ignored, where rules are looked up
    PATHS = Key::text("paths", OneOf(&["exact", "relaxed"]), "exact");
}

/// Without what `[server]` and `[[relay]]` say.
pub(super) fn read(section: Section<'_>) -> UpstreamSettings {
    let settings = UpstreamSettings {
        // What is wrong with it was reported; the configuration as a whole is refused.
        url: read_url(&section).unwrap_or_default(),
        connect_timeout: section.duration(&CONNECT_TIMEOUT),
        response_timeout: section.duration(&RESPONSE_TIMEOUT),
        idle_timeout: section.duration(&IDLE_TIMEOUT),
        max_connections: section.number(&MAX_CONNECTIONS),
        kept_for_deliveries: 0,
        knows_callers: false,
        stall_timeout: std::time::Duration::ZERO,
        trusted_proxies: TrustedProxies::default(),
        hops: HopSettings {
            preserve_host: section.flag(&PRESERVE_HOST),
            via: section.flag(&VIA),
        },
        relays: Vec::new(),
        relaxed_paths: section.choice(&PATHS, &[("exact", false), ("relaxed", true)], false),
    };
    section.finish();
    settings
}

fn read_url(section: &Section<'_>) -> Option<Uri> {
    if !section.has(&URL) {
        let text =
            "is missing; the application's address is needed, such as \"http://127.0.0.1:8888\"";
        section.wrong_key(&URL, text);
    }
    section.compiled(&URL, application_url)
}
