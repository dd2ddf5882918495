//! What `tidegate check` says of the connections of clients.

use super::note::{Note, loud, quiet};
use super::settings::Config;
use crate::peer::TrustedProxies;
use std::net::{IpAddr, Ipv6Addr};

/// All of it.
pub(super) fn notes(config: &Config) -> Vec<Note> {
    proxies(config)
        .into_iter()
        .chain(certificate(config))
        .chain(testers(config))
        .collect()
}

/// Clients will refuse the certificate.
fn certificate(config: &Config) -> Option<Note> {
    let tls = config.server.tls.as_ref()?;
    let out_of_time = tls.out_of_time()?;
    let path = tls.files().cert.display();
    Some(loud(format!(
        "server.tls: the certificate in {path} {out_of_time}; clients refuse it"
    )))
}

/// Who may say that a call is a tester's.
fn testers(config: &Config) -> Option<Note> {
    let name = config.events.first()?.switch.tester_header()?;
    Some(loud(format!(
        "migration.tester_header {name}: a front among server.trusted_proxies must set it itself or \
         take it away; where it passes on what clients sent, each client says whether its calls are \
         batched"
    )))
}

/// Whose word on a call's client counts.
fn proxies(config: &Config) -> Option<Note> {
    let (listen, trusted) = (&config.server.listen, &config.server.trusted_proxies);
    let open = listen
        .tcp()
        .is_some_and(|address| !address.ip().is_loopback());
    if open && *trusted == TrustedProxies::local() {
        return Some(loud(format!(
            "server.listen {listen} is open to other machines, and server.trusted_proxies believes \
             this one only: a front on another machine is taken for the client of all its calls, \
             without https; list its address"
        )));
    }
    let local = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    local.into_iter().any(|address| trusted.contain(address)).then(|| {
        let text = "what a program on this machine says in X-Forwarded-* and Forwarded is believed \
                    (server.trusted_proxies): a front here must set them itself, not pass on what \
                    strangers sent";
        if open { loud(text.to_owned()) } else { quiet(text.to_owned()) }
    })
}
