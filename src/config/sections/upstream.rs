//! `[upstream]`: the application, and how it is asked.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::problem::Position;
use crate::config::readers::{application_url, read_key_files};
use crate::config::section::Section;
use crate::peer::TrustedProxies;
use crate::upstream::headers::HopSettings;
use crate::upstream::{Http2Use, TlsFiles, UNIX, UpstreamSettings};
use http::Uri;
use std::path::PathBuf;

keys! {
    "[upstream]";
    /// without a path. By `https` over TLS 1.2 or 1.3, whose certificate must be the host's; a Unix
    /// socket is sent `localhost` as `Host` where the client's isn't preserved
    URL = Key::without(
        "url",
        Said(r#"address: `"http://HOST:PORT"`, `"https://HOST"`, `"unix:/PATH"`"#),
        "needed",
    );
    /// where an address has `https`: this one, a group's, or `shadow.url` ([more](relay.md#tls))
    TLS = Key::without("tls", Table(&[&CA, &CLIENT_CERT, &CLIENT_KEY]), "the system's root certificates");
    /// `"negotiated"`: over TLS, where the application chooses it (ALPN). `"prior-knowledge"`: also to
    /// `url` in the clear, without asking; the application must speak it. An upgrade (WebSocket) is
    /// asked for over HTTP/1.1 in any case
    HTTP2 = Key::text(
        "http2",
        OneOf(&["never", "negotiated", "prior-knowledge"]),
        "negotiated",
    );
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
    /// how names of headers are written over HTTP/1.1: `"title"` is `Content-Type`, for an application
    /// that takes their case for a difference (RFC 9110 §5.1: there is none)
    HEADER_CASE = Key::text("header_case", OneOf(&["lower", "title"]), "lower");
    /// `"relaxed"`: letters in any case, and a slash at the end ignored, where rules are looked up
    PATHS = Key::text("paths", OneOf(&["exact", "relaxed"]), "exact");
}

keys! {
    /// a PEM file: these certificates are believed, and what they have signed; no others
    CA = Key::without("ca", Said("file"), "the system's");
    /// a PEM file: the certificate that is shown to an application that asks for one, then its chain
    CLIENT_CERT = Key::without("client_cert", Said("file"), "none is shown");
    /// a PEM file: the private key of `client_cert`, without a passphrase
    CLIENT_KEY = Key::without("client_key", Said("file"), "needed with `client_cert`");
}

/// What the section says.
pub(in crate::config) struct Upstream {
    /// Without what `[server]` and `[[relay]]` say, and without TLS.
    pub(in crate::config) settings: UpstreamSettings,
    /// Its files for TLS.
    pub(in crate::config) tls: TlsSection,
    /// Where its URL stands.
    pub(in crate::config) url: Position,
}

/// What `tls` says, and where.
pub(in crate::config) struct TlsSection {
    pub(in crate::config) files: TlsFiles,
    /// It is there.
    pub(in crate::config) is_given: bool,
    pub(in crate::config) position: Position,
    pub(in crate::config) ca: Position,
    pub(in crate::config) client_cert: Position,
    pub(in crate::config) client_key: Position,
}

pub(super) fn read(section: Section<'_>) -> Upstream {
    // What is wrong with it was reported; the configuration as a whole is refused.
    let (url, socket) = read_url(&section).unwrap_or_default();
    let tls = read_tls(&section);
    let settings = UpstreamSettings {
        url,
        socket,
        tls: None,
        http2: section.choice(&HTTP2, &HTTP2_USES, Http2Use::default()),
        connect_timeout: section.duration(&CONNECT_TIMEOUT),
        response_timeout: section.duration(&RESPONSE_TIMEOUT),
        idle_timeout: section.duration(&IDLE_TIMEOUT),
        max_connections: section.number(&MAX_CONNECTIONS),
        kept_for_deliveries: 0,
        knows_callers: false,
        stall_timeout: std::time::Duration::ZERO,
        trusted_proxies: TrustedProxies::default(),
        title_case: section.choice(&HEADER_CASE, &[("lower", false), ("title", true)], false),
        hops: HopSettings {
            preserve_host: section.flag(&PRESERVE_HOST),
            via: section.flag(&VIA),
        },
        relays: Vec::new(),
        relaxed_paths: section.choice(&PATHS, &[("exact", false), ("relaxed", true)], false),
    };
    let url = section.position(&URL);
    section.finish();
    Upstream { settings, tls, url }
}

const HTTP2_USES: [(&str, Http2Use); 3] = [
    ("never", Http2Use::Never),
    ("negotiated", Http2Use::Negotiated),
    ("prior-knowledge", Http2Use::PriorKnowledge),
];

fn read_tls(section: &Section<'_>) -> TlsSection {
    let tls = section.section(&TLS);
    let shows_certificate = tls.has(&CLIENT_CERT) || tls.has(&CLIENT_KEY);
    let read = TlsSection {
        files: TlsFiles {
            ca: tls.text(&CA).map(PathBuf::from),
            client: if shows_certificate {
                read_key_files(&tls, (&CLIENT_CERT, &CLIENT_KEY))
            } else {
                None
            },
        },
        is_given: section.has(&TLS),
        position: section.position(&TLS),
        ca: tls.position(&CA),
        client_cert: tls.position(&CLIENT_CERT),
        client_key: tls.position(&CLIENT_KEY),
    };
    tls.finish();
    read
}

/// The address, and the file of one that is a Unix socket.
fn read_url(section: &Section<'_>) -> Option<(Uri, Option<PathBuf>)> {
    if !section.has(&URL) {
        let text =
            "is missing; the application's address is needed, such as \"http://127.0.0.1:8888\"";
        section.wrong_key(&URL, text);
    }
    section.compiled(&URL, |text| match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok((socket_url(), Some(path.into()))),
        _ => application_url(text)
            .map(|url| (url, None))
            .map_err(|error| format!("{error}, or \"unix:/PATH\"")),
    })
}

/// What stands for a Unix socket where an address is needed.
fn socket_url() -> Uri {
    Uri::builder()
        .scheme(UNIX)
        .authority("localhost")
        .path_and_query("/")
        .build()
        .unwrap_or_default()
}
