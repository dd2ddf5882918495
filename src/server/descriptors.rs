//! File descriptors: how many there are, and who may have them (P10).
//!
//! A connection costs one. Where they run out nothing can be opened any more, the journal's files
//! included. So the caps on connections are made to fit what the system allows, and some
//! descriptors are kept back for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept back for the journal, the listeners and what a process has open anyhow.
pub const KEPT_BACK: usize = 128;
/// Connections of the admin listener.
pub const ADMIN: usize = 256;

/// How many connections of each kind there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Of clients.
    pub clients: usize,
    /// To each of the application's addresses, without streams: these have as many again at the
    /// address that calls of clients go to.
    pub upstream: usize,
    /// Of the admin listener.
    pub admin: usize,
}

impl Caps {
    /// Connections to the application in all, `addresses` being those that it has.
    const fn of_application(self, addresses: usize) -> usize {
        self.upstream.saturating_mul(addresses.saturating_add(1))
    }

    /// Descriptors that are needed to the full.
    const fn needed(self, addresses: usize) -> usize {
        self.clients
            .saturating_add(self.of_application(addresses))
            .saturating_add(self.admin + KEPT_BACK)
    }

    /// As many of these as fit: with few descriptors an eighth each goes to what is kept back and
    /// to the admin listener, and of the rest a third at most to the application's addresses; each
    /// cap is at least 1, and 4 to an address.
    #[must_use]
    pub fn fit(self, addresses: usize, descriptors: usize) -> Self {
        let addresses = addresses.max(1);
        if self.needed(addresses) <= descriptors {
            return self;
        }
        let admin = self.admin.min(descriptors / 8).max(1);
        let rest = descriptors.saturating_sub(admin + KEPT_BACK.min(descriptors / 8));
        let upstream = self.upstream.min((rest / 3 / (addresses + 1)).max(4));
        let caps = Self {
            clients: self.clients,
            upstream,
            admin,
        };
        let clients = self
            .clients
            .min(rest.saturating_sub(caps.of_application(addresses)))
            .max(1);
        Self { clients, ..caps }
    }
}

/// Takes as many descriptors as these need, if the system gives them to this process, and says what
/// is to be done with those that there are.
#[must_use]
pub fn provide(wanted: Caps, addresses: usize) -> Caps {
    let caps = wanted.fit(addresses, raise(wanted.needed(addresses.max(1))));
    if caps != wanted {
        tracing::warn!(
            max_connections = caps.clients,
            upstream_max_connections = caps.upstream,
            admin_connections = caps.admin,
            "there are fewer file descriptors than connections are allowed; fewer connections are \
             taken"
        );
    }
    caps
}

/// Raises the soft limit up to what is needed, as far as the hard one allows; what it is then.
fn raise(needed: usize) -> usize {
    let now = getrlimit(Resource::Nofile);
    let Some(soft) = now.current else {
        return usize::MAX;
    };
    let wanted = u64::try_from(needed)
        .unwrap_or(u64::MAX)
        .min(now.maximum.unwrap_or(u64::MAX));
    if wanted > soft {
        let limit = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        match setrlimit(Resource::Nofile, limit) {
            Ok(()) => return usize::try_from(wanted).unwrap_or(usize::MAX),
            Err(error) => {
                tracing::warn!(%error, "the limit of file descriptors could not be raised")
            }
        }
    }
    usize::try_from(soft).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_descriptors_that_are_kept_back() {
        let wanted = Caps {
            clients: 10_000,
            upstream: 1_024,
            admin: ADMIN,
        };
        assert_eq!(wanted.fit(1, wanted.needed(1)), wanted);
        for addresses in [1, 2, 5] {
            for descriptors in [128, 256, 1_024, 4_096, wanted.needed(addresses) - 1] {
                let caps = wanted.fit(addresses, descriptors);
                // Streams at one address have as many again.
                let taken = caps.clients + caps.upstream * (addresses + 1) + caps.admin;
                assert!(
                    taken + KEPT_BACK.min(descriptors / 8) <= descriptors,
                    "{descriptors}: {caps:?}"
                );
                assert!(
                    caps.clients >= descriptors / 4 && caps.upstream >= 4,
                    "{descriptors}: {caps:?}"
                );
            }
        }
    }
}
