//! The two addresses that a sidecar listens on, opened when all that they serve is there.

use super::places::admin_server_settings;
use super::takeover::{TAKE_OVER, bind_when_free};
use crate::config::Config;
use crate::server::{self, ListenAddress, Listener, ServerSettings};
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) struct Listeners {
    pub(super) public: Listener,
    pub(super) admin: Listener,
    pub(super) admin_settings: ServerSettings,
    /// Where the public one listens.
    pub(super) listen: ListenAddress,
    /// The public one's address; of a Unix socket 0.0.0.0 and port 0.
    pub(super) address: SocketAddr,
    /// The admin one's.
    pub(super) admin_address: SocketAddr,
    /// The public one was passed to this process, and the next one has it too.
    pub(super) outlives: bool,
}

/// How long a process waits for what the one before it may still have.
pub(super) const fn patience(passed: Option<&Listener>) -> Duration {
    if passed.is_some() {
        TAKE_OVER
    } else {
        Duration::ZERO
    }
}

impl Listeners {
    /// `passed`: the public listener, where another process opened it. `admin_places`: connections
    /// that the admin one may have.
    ///
    /// # Errors
    /// An address is taken or not this machine's.
    pub(super) async fn open(
        config: &Config,
        passed: Option<Listener>,
        admin_places: usize,
    ) -> anyhow::Result<Self> {
        let patience = patience(passed.as_ref());
        let public = match passed {
            Some(passed) => passed,
            None => server::bind(&config.server).with_context(|| {
                format!("server.listen {} can't be opened", config.server.listen)
            })?,
        };
        let admin_settings =
            admin_server_settings(config.admin.listen, &config.server, admin_places);
        let admin = bind_when_free(&admin_settings, patience)
            .await
            .with_context(|| format!("admin.listen {} can't be opened", config.admin.listen))?;
        let (listen, admin_listen) = (public.address()?, admin.address()?);
        let no_address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let [address, admin_address] =
            [&listen, &admin_listen].map(|address| address.tcp().unwrap_or(no_address));
        Ok(Self {
            outlives: public.is_passed(),
            public,
            admin,
            admin_settings,
            listen,
            address,
            admin_address,
        })
    }
}
