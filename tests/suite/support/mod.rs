//! What the tests share: a scriptable upstream, a sidecar in front of it, and calls as a client
//! makes them.

pub mod calls;
pub mod certificates;
#[cfg(feature = "otlp")]
pub mod collector;
pub mod fronts;
pub mod process;
pub mod upstream;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::Duration;
use tidegate::app::{self, Options, Running};
use tidegate::clock::Clock;
use tidegate::metrics::Ledger;
use upstream::FakeUpstream;

/// One progress group, one event route, one write, one cached read; windows are long, so that a
/// test decides when they are sealed.
pub const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
drain = "5s"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
response_timeout = "5s"
[identity]
credentials = ["header:authorization"]
user = "{jwt.sub|event.userId|query.userId}"
[journal]
durability = "none"
[delivery]
retry_network = ["10ms", "20ms"]
retry_server = { base = "10ms", cap = "20ms" }
retry_limited = { base = "10ms", jitter = "5ms" }
barrier = "3s"
[batch.progress]
path = "/batch"
window = "1h"
flush_at = 4
max_events = 4
max_bytes = "1KiB"
require = ["userId", "lessonId"]
percent = ["percent"]
flush_on = { status = ["completed"] }
invalidates = ["progress:{user}"]
fallback = "dead-letter"
[[event]]
path = "/event"
batch = "progress"
event = { clientEventId = "{body.id}", userId = "{body.user}", lessonId = "{body.lesson}", percent = "{body.percent}", status = "{body.status}", timestamp = "{body.timestamp|now.ms}", pad = "{body.pad}" }
[[write]]
path = "/snapshot"
drains = ["progress:{user}"]
invalidates = ["progress:{user}"]
[[cache]]
path = "/progress"
ttl = "60s"
force = true
tags = ["progress:{user}"]
"#;

/// A sidecar in front of a fake upstream.
pub struct Sidecar {
    pub running: Running,
    pub upstream: FakeUpstream,
    _journal: tempfile::TempDir,
    client: Http,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A client that may be refused a connection.
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Http {
    pub async fn try_call(
        &self,
        at: std::net::SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{at}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response: Response<_> = self
            .0
            .request(request.body(Full::new(body.into()))?)
            .await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

impl Sidecar {
    /// [`CONFIG`], with lines replaced.
    pub async fn start(replace: &[(&str, &str)]) -> Self {
        Self::start_at(replace, Clock::default()).await
    }

    /// As [`start`](Self::start), at another time of day.
    pub async fn start_at(replace: &[(&str, &str)], clock: Clock) -> Self {
        let mut text = CONFIG.to_owned();
        for (from, to) in replace {
            assert!(text.contains(from), "{from:?} is not in the configuration");
            text = text.replace(from, to);
        }
        Self::with(&text, clock).await
    }

    /// Any configuration whose upstream is `UPSTREAM`.
    pub async fn with(text: &str, clock: Clock) -> Self {
        let upstream = FakeUpstream::start().await;
        let text = text.replace("UPSTREAM", &upstream.address.to_string());
        let journal = tempfile::tempdir().unwrap();
        // What the environment holds in every test.
        let variables = [
            ("SERVICE", "Bearer service"),
            ("API_KEY", "anon"),
            ("SUPABASE_ANON_KEY", "anon"),
        ];
        let variables = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter();
        let mut config = tidegate::config::parse(&text, "test", variables)
            .unwrap_or_else(|error| panic!("{error}"));
        config.journal.path = journal.path().to_owned();
        let running = app::start(
            config,
            Options {
                clock,
                ..Options::default()
            },
        )
        .await
        .unwrap();
        Self {
            running,
            upstream,
            _journal: journal,
            client: Http::default(),
        }
    }

    /// Sends a request to the public listener.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.client
            .try_call(self.running.address, method, path, headers, body)
            .await
            .unwrap()
    }

    /// Posts an event of a user under a token.
    pub async fn post(&self, token: &str, user: &str, id: &str, more: &str) -> Answer {
        let body =
            format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5{more}}}");
        self.call(
            Method::POST,
            "/event",
            &[
                ("authorization", token),
                ("content-type", "application/json"),
            ],
            body,
        )
        .await
    }

    /// Posts an event that must be acknowledged.
    pub async fn event(&self, token: &str, user: &str, id: &str) {
        let answer = self.post(token, user, id, "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }

    /// Reads as a user.
    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(Method::GET, path, &[("authorization", token)], "")
            .await
    }

    /// Asks the admin listener, on a connection of its own: that listener soon closes those that
    /// idle.
    pub async fn admin(&self, method: Method, path: &str) -> Answer {
        Http::default()
            .try_call(self.running.admin, method, path, &[], Bytes::new())
            .await
            .unwrap()
    }

    /// Seals all windows.
    pub async fn flush(&self) {
        assert_eq!(
            self.admin(Method::POST, "/flush").await.status,
            StatusCode::ACCEPTED
        );
    }

    /// A counter of the metrics; 0 before it was counted for the first time.
    pub async fn counter(&self, name: &str) -> u64 {
        let metrics = self.admin(Method::GET, "/metrics").await;
        let text = std::str::from_utf8(&metrics.body).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a counter has got there.
    pub async fn until_counter(&self, name: &str, wanted: u64) {
        let reached = async {
            while self.counter(name).await < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time(name, reached).await;
    }

    /// Waits until the ledger looks as wanted.
    pub async fn until(&self, wanted: impl Fn(&Ledger) -> bool) -> Ledger {
        let reached = async {
            loop {
                let ledger = self.running.ledger();
                assert!(ledger.balances(), "{ledger}");
                if wanted(&ledger) {
                    return ledger;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        in_time("the ledger", reached).await
    }
}

/// What a test waits for comes within two minutes, however busy the machine is, or never.
pub async fn in_time<T>(what: &str, comes: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), comes)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
