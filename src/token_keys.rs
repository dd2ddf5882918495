//! `identity.jwt.jwks_url`: fetches the keys that an issuer publishes (RFC 7517), at the start, every
//! five minutes, and when a token names a key that isn't there, but not more often than every half
//! a minute then. A failure is tried again after one to sixty seconds; until keys have come, and
//! after failures, those that are there hold. No call waits for it.

use crate::body::Body;
use crate::identity::TokenVerifier;
use crate::metrics::Metrics;
use crate::upstream::Upstream;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How old keys become.
const RENEW: Duration = Duration::from_secs(300);
/// Least time between two fetches.
const PAUSE: Duration = Duration::from_secs(30);
/// Longest wait after a failure; the first is a second, and each one twice that of the one before.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// An issuer must answer in this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest key set, bytes.
const MAX_SET: usize = 1 << 20;

/// Fetches keys.
pub(crate) struct KeyFetcher {
    url: Uri,
    verifier: Arc<TokenVerifier>,
    upstream: Upstream,
    metrics: Arc<Metrics>,
}

impl KeyFetcher {
    /// `None`: keys of this verifier are published nowhere. `upstream`: a client of `url`.
    pub(crate) fn try_new(
        verifier: Arc<TokenVerifier>,
        upstream: impl FnOnce(&Uri) -> Upstream,
        metrics: Arc<Metrics>,
    ) -> Option<Self> {
        let url = verifier.url()?.clone();
        Some(Self {
            upstream: upstream(&url),
            url,
            verifier,
            metrics,
        })
    }

    /// Keeps the keys new, for as long as it is polled.
    pub(crate) async fn run(self) {
        let mut retry = Duration::from_secs(1);
        let mut is_failing = false;
        loop {
            let began = Instant::now();
            match self.fetch().await {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the keys of identity.jwt.jwks_url are fetched again");
                    }
                    retry = Duration::from_secs(1);
                    sleep_until(began + PAUSE).await;
                    tokio::select! {
                        () = sleep_until(began + RENEW) => {}
                        () = self.verifier.missing_key() => {}
                    }
                }
                Err(why) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let keys = self.verifier.count_keys();
                        tracing::warn!(
                            why,
                            keys,
                            "no keys can be fetched from identity.jwt.jwks_url; calls with tokens of \
                             keys that aren't there are forwarded"
                        );
                    }
                    sleep_until(Instant::now() + retry).await;
                    retry = (retry * 2).min(MAX_RETRY);
                }
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let fetched = match timeout(PATIENCE, self.ask()).await {
            Ok(fetched) => fetched,
            Err(_) => Err("no answer in 10 s".to_owned()),
        };
        let result = if fetched.is_ok() { "fetched" } else { "failed" };
        self.metrics.key_fetches.with_label_values(&[result]).inc();
        fetched
    }

    async fn ask(&self) -> Result<(), String> {
        let mut request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json");
        if let Some(host) = self.url.authority() {
            request = request.header(header::HOST, host.as_str());
        }
        let request = request
            .body(Body::default())
            .map_err(|error| error.to_string())?;
        let answer = self.upstream.send(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SET);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        self.verifier
            .renew_keys(&body.to_bytes())
            .map_err(|error| error.to_string())
    }
}
