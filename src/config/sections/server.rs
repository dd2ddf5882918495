//! `[server]`: the connections of clients.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::read_key_files;
use crate::config::section::Section;
use crate::peer::TrustedProxies;
use crate::server::{AddressError, ListenAddress, OpenConnections, ServerSettings, ServerTls};
use std::net::Ipv4Addr;

keys! {
    "[server]";
    /// or a Unix socket, such as `"unix:/run/tidegate.sock"`: its file is for its owner and its group
    /// (mode 0660), and goes with the process; what connects there counts as the proxy `"unix"`
    LISTEN = Key::text("listen", Said("address"), "127.0.0.1:8080");
    /// calls come over TLS 1.2 or 1.3, as HTTP/2 or HTTP/1.1 by ALPN, and in no other way. Both files
    /// are read again when they change ([more](relay.md#tls)); without it calls come in the clear
    TLS = Key::without("tls", Table(&[&CERT, &KEY]), "none");
    /// where all are taken, a connection that waits for its client gives way to a new one
    /// ([more](relay.md#who-gives-way)). One IPv4 address or IPv6 /64 has a quarter of them at
    /// most, unless it is one of `trusted_proxies`: beyond it a connection is closed. Fewer where
    /// there are too few file descriptors, which a warning says
    MAX_CONNECTIONS = Key::with("max_connections", Number(1, 1_000_000), "10_000");
    /// from these `X-Forwarded-*` and `Forwarded` are believed and extended; from others they are
    /// replaced. `[]`: nobody's
    TRUSTED_PROXIES = Key::with(
        "trusted_proxies",
        Said(r#"list of `"loopback"`, `"unix"`, addresses, networks"#),
        r#"["loopback", "unix"]"#,
    );
    /// a connection's first byte, and each request's head from its first byte on
    HEADER_TIMEOUT = Key::text("header_timeout", Duration, "10s");
    /// the body of a call that is looked at
    BODY_TIMEOUT = Key::text("body_timeout", Duration, "30s");
    /// a connection between two requests
    KEEPALIVE_TIMEOUT = Key::text("keepalive_timeout", Duration, "75s");
    /// a client that takes nothing of what is ready for it, or that is waited for and brings less
    /// than 1 KiB of an upload. What has nothing to say may be quiet for ever
    /// ([more](relay.md#who-takes-or-brings-nothing))
    STALL_TIMEOUT = Key::text("stall_timeout", Duration, "60s");
    /// after SIGTERM or Ctrl-C: finish requests, send windows; less where nothing can move
    /// any more, nothing at a second signal
    DRAIN = Key::text("drain", Duration, "20s");
    /// a forwarded event call's answer says why, in `Tidegate-Forwarded`
    EXPLAIN = Key::with("explain", Flag, "false");
}

keys! {
    /// a PEM file: the certificate first, then its chain
    CERT = Key::without("cert", Said("file"), "needed");
    /// a PEM file: the certificate's private key, without a passphrase
    KEY = Key::without("key", Said("file"), "needed");
}

/// What the section says.
pub(in crate::config) struct Server {
    /// The listener's settings.
    pub(in crate::config) settings: ServerSettings,
    /// Answers say why a call was forwarded.
    pub(in crate::config) explain: bool,
}

pub(super) fn read(section: Section<'_>) -> Server {
    let settings = ServerSettings {
        listen: read_listen(&section),
        tls: read_tls(&section),
        max_connections: section.number(&MAX_CONNECTIONS),
        header_timeout: section.duration(&HEADER_TIMEOUT),
        body_timeout: section.duration(&BODY_TIMEOUT),
        stall_timeout: section.duration(&STALL_TIMEOUT),
        keepalive_timeout: section.duration(&KEEPALIVE_TIMEOUT),
        knows_callers: false,
        trusted_proxies: read_trusted_proxies(&section),
        drain: section.duration(&DRAIN),
        connections: OpenConnections::default(),
    };
    let explain = section.flag(&EXPLAIN);
    section.finish();
    Server { settings, explain }
}

fn read_listen(section: &Section<'_>) -> ListenAddress {
    let address = section.parsed(&LISTEN, &AddressError.to_string());
    // What is wrong with it was reported; the configuration as a whole is refused.
    address.unwrap_or_else(|| ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into()))
}

fn read_tls(section: &Section<'_>) -> Option<ServerTls> {
    if !section.has(&TLS) {
        return None;
    }
    let tls = section.section(&TLS);
    let files = read_key_files(&tls, (&CERT, &KEY));
    tls.finish();
    let files = files?;
    ServerTls::try_new(files.clone())
        .map_err(|error| {
            let at = if error.is_of_key(&files) { &KEY } else { &CERT };
            section.section(&TLS).wrong_key(at, error.to_string());
        })
        .ok()
}

fn read_trusted_proxies(section: &Section<'_>) -> TrustedProxies {
    TrustedProxies::parse(&section.names::<String>(&TRUSTED_PROXIES)).unwrap_or_else(|error| {
        section.wrong_key(&TRUSTED_PROXIES, error.to_string());
        TrustedProxies::default()
    })
}
