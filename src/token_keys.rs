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
/// First wait after a failure; each is twice that of the one before.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest.
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
        keep_new(&self.verifier, || self.fetch()).await;
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
        let request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
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

/// Fetches when it is time to.
async fn keep_new<F>(verifier: &TokenVerifier, fetch: impl Fn() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut retry = FIRST_RETRY;
    let mut is_failing = false;
    loop {
        let began = Instant::now();
        match fetch().await {
            Ok(()) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!("the keys of identity.jwt.jwks_url are fetched again");
                }
                retry = FIRST_RETRY;
                sleep_until(began + PAUSE).await;
                tokio::select! {
                    () = sleep_until(began + RENEW) => {}
                    () = verifier.missing_key() => {}
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let keys = verifier.count_keys();
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use parking_lot::Mutex;

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_again_in_time_after_failures_and_when_one_is_missing() {
        let url = "https://issuer.test/keys".parse().unwrap();
        let verifier = Arc::new(TokenVerifier::by_published_keys(url));
        let (began, times) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let (copy, fetched) = (Arc::clone(&verifier), Arc::clone(&times));
        let following = tokio::spawn(async move {
            let fetch = || {
                let mut times = fetched.lock();
                times.push(began.elapsed().as_secs());
                let failed = times.len() <= 8;
                std::future::ready(if failed { Err("no".to_owned()) } else { Ok(()) })
            };
            keep_new(&copy, fetch).await;
        });
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        sleep(520).await;
        let retried = [0, 1, 3, 7, 15, 31, 63, 123, 183];
        assert_eq!(*times.lock(), [&retried[..], &[483]].concat());
        // A token of a key that isn't there, again and again.
        let [head, claims] = ["{\"alg\":\"ES256\",\"kid\":\"k\"}", "{}"];
        let [head, claims] = [head, claims].map(|text| BASE64_URL_SAFE_NO_PAD.encode(text));
        let token = format!("{head}.{claims}.c2ln");
        for _ in 0..70 {
            assert!(!verifier.verifies(&token));
            sleep(1).await;
        }
        let last = times.lock().iter().skip(10).copied().collect::<Vec<_>>();
        assert_eq!(last, [520, 550, 580]);
        following.abort();
    }
}
