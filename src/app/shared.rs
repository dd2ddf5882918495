//! What several parts of a sidecar have.

use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::identity::Identity;
use crate::logging::{AccessLog, Format, LogSettings};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::spans::Spans;
use crate::upstream::Upstream;
use anyhow::Context as _;
use std::sync::Arc;

pub(super) struct Shared {
    /// Wall clock.
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Who is who.
    pub(super) identity: Arc<Identity>,
    /// The way to the application.
    pub(super) upstream: Upstream,
    /// Stored answers.
    pub(super) store: Arc<Store>,
    /// Their generations.
    pub(super) tags: Arc<Tags>,
    /// Who hears of what was invalidated.
    pub(super) notices: Arc<Notices>,
    pub(super) access: AccessLog,
    pub(super) spans: Spans,
}

impl Shared {
    /// `secret`: what hashes of callers are keyed with.
    ///
    /// # Errors
    /// The metrics can't be set up, or the access log's thread or the spans' can't be started.
    pub(super) fn try_new(config: &Config, secret: [u8; 32], clock: Clock) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::try_new().context("the metrics can't be set up")?);
        let spans = match &config.trace {
            Some(settings) => Spans::start(settings, metrics.spans.clone())
                .context("spans can't be recorded ([trace])")?,
            None => Spans::default(),
        };
        Ok(Self {
            identity: Arc::new(Identity::new(
                config.identity.clone(),
                secret,
                config.limits.max_users as u64,
            )),
            upstream: Upstream::new(config.upstream.clone()),
            store: Arc::new(Store::new(config.cache)),
            tags: Arc::new(Tags::new()),
            notices: Arc::new(Notices::new(clock::millis(clock.now()))),
            access: open_access_log(&config.log)?,
            clock,
            metrics,
            spans,
        })
    }
}

/// The access log, if the configuration asks for one.
fn open_access_log(settings: &LogSettings) -> anyhow::Result<AccessLog> {
    let Some(share) = settings.access else {
        return Ok(AccessLog::default());
    };
    let format = settings.format.unwrap_or(Format::Json);
    let log = AccessLog::start(share, format, Box::new(std::io::stderr()));
    log.context("the access log's thread can't be started")
}
