//! How many connections each side may have, within the descriptors that there are, and what the
//! admin listener is served with.

use crate::config::Config;
use crate::ingest::settings::{Group, Shape, Target};
use crate::peer::TrustedProxies;
use crate::server::descriptors::{self, Caps};
use crate::server::{ListenAddress, OpenConnections, ServerSettings};
use http::uri::Authority;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// A head on the admin listener must be there in this time.
const ADMIN_HEAD: Duration = Duration::from_secs(2);
/// A connection of the admin listener may idle for so long.
const ADMIN_IDLE: Duration = Duration::from_secs(5);
/// Bytes for a caller of the admin listener may wait for so long.
const ADMIN_STALL: Duration = Duration::from_secs(10);

/// The admin listener's places are its own, and soon free again: the public listener can't take
/// them, and callers that say nothing can't keep them.
pub(super) fn admin_server_settings(
    listen: SocketAddr,
    public: &ServerSettings,
    places: usize,
) -> ServerSettings {
    ServerSettings {
        listen: ListenAddress::Tcp(listen),
        tls: None,
        max_connections: places,
        header_timeout: ADMIN_HEAD,
        keepalive_timeout: ADMIN_IDLE,
        stall_timeout: ADMIN_STALL,
        drain: Duration::from_secs(1),
        // Callers on this machine may need all places; those of a network have a share.
        trusted_proxies: TrustedProxies::local(),
        connections: OpenConnections::default(),
        ..public.clone()
    }
}

/// Makes the caps on connections fit the descriptors that there are; how many places the admin
/// listener has. Of the connections to the application, deliveries have as many for themselves as
/// they may have batches in flight, a quarter at most, so that calls of clients can't hold them up.
pub(super) fn share_out(config: &mut Config) -> usize {
    let elsewhere: HashSet<_> = config.groups.iter().filter_map(address_of).collect();
    let (clients, upstream) = (
        config.server.max_connections,
        config.upstream.max_connections,
    );
    let caps = descriptors::provide(
        Caps {
            clients,
            upstream,
            admin: descriptors::ADMIN,
        },
        1 + elsewhere.len(),
    );
    config.server.max_connections = caps.clients;
    config.upstream.max_connections = caps.upstream;
    if !config.groups.is_empty() {
        let kept = config.delivery.max_in_flight.min(caps.upstream / 4);
        if kept < config.delivery.max_in_flight {
            tracing::warn!(
                batches = kept,
                "delivery.max_in_flight is more than a quarter of upstream.max_connections"
            );
        }
        config.upstream.kept_for_deliveries = kept;
        config.upstream.knows_callers = true;
        config.server.knows_callers = true;
        config.delivery.max_in_flight = kept;
    }
    caps.admin
}

/// The address of a group whose batches go elsewhere than to `[upstream]`.
fn address_of(group: &Group) -> Option<&Authority> {
    match &group.shape {
        Shape::Batch(Target::Url(url)) => url.authority(),
        _ => None,
    }
}
