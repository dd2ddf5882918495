//! The admin surface, on its own listener (design §9, first cut): health, status, metrics, dead letters, flush,
//! invalidation. Shows no credential and no body but the events of dead letters, and answers no page of another site
//! (`door.rs`).

mod door;

use crate::body::Body;
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::drain::Drain;
use crate::event::Tag;
use crate::ingest::Operations;
use crate::ingest::outcome::dead::{DeadLetter, age_ms};
use crate::metrics::{Levels, Metrics};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// `[admin]`.
#[derive(Debug, Clone, Copy)]
pub struct AdminSettings {
    /// Where to listen; loopback.
    pub listen: SocketAddr,
}

/// What the admin surface shows.
pub struct Setup {
    /// Where it listens.
    pub listen: IpAddr,
    /// The event path, as its operator has it.
    pub(crate) operations: Operations,
    /// Generations.
    pub tags: Arc<Tags>,
    /// The cache.
    pub store: Arc<Store>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Whether the end has begun.
    pub drain: Drain,
    /// The durability level, as configured.
    pub durability: &'static str,
}

/// The admin service; clones share everything.
#[derive(Clone)]
pub struct Admin(Arc<Setup>);

impl Admin {
    /// An admin surface.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(setup))
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        if let Err(denied) = door::admit(&head, self.0.listen) {
            return Ok(text(denied.status(), &format!("{denied}\n")));
        }
        Ok(self.answer(Request::from_parts(head, body)).await)
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" if read => text(StatusCode::OK, "ok\n"),
            "/readyz" if read && self.0.drain.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" if read => match self.0.operations.journal_health().failure() {
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("the journal takes no events: {why}\n")),
                None => text(StatusCode::OK, "ready\n"),
            },
            "/status" if read => json(StatusCode::OK, &self.status().await),
            "/metrics" if read => self.metrics(),
            "/dead-letters" if read => json(StatusCode::OK, &json!(self.0.operations.dead_letters().list())),
            "/dead-letters" if *request.method() == Method::DELETE => {
                json(StatusCode::OK, &json!({ "dropped": self.0.operations.drop_letters(None) }))
            }
            "/dead-letters/replay" if *request.method() == Method::POST => {
                json(StatusCode::OK, &json!(self.0.operations.replay(None).await))
            }
            path if path.starts_with("/dead-letters/") => self.one_letter(request.method(), path).await,
            "/flush" if *request.method() == Method::POST => {
                self.0.operations.flush();
                json(StatusCode::ACCEPTED, &json!({ "flushing": self.0.operations.ledger().pending }))
            }
            "/invalidate" if *request.method() == Method::POST => {
                self.invalidate(request.uri().query().unwrap_or_default())
            }
            "/dead-letters" => method("GET, DELETE"),
            "/healthz" | "/readyz" | "/status" | "/metrics" => method("GET"),
            "/flush" | "/invalidate" => method("POST"),
            _ => text(
                StatusCode::NOT_FOUND,
                "allowed: GET /healthz /readyz /status /metrics /dead-letters /dead-letters/NAME, DELETE /dead-letters \
                 /dead-letters/NAME, POST /flush /invalidate?tag=TAG /dead-letters/replay /dead-letters/NAME/replay\n",
            ),
        }
    }

    /// One dead letter by its key, or those of an event id: shown, dropped, or replayed.
    async fn one_letter(&self, asked: &Method, path: &str) -> Response<Body> {
        let operations = &self.0.operations;
        let name = path.trim_start_matches("/dead-letters/");
        let (name, replay) = name.strip_suffix("/replay").map_or((name, false), |name| (name, true));
        let Ok(name) = percent_encoding::percent_decode_str(name).decode_utf8() else {
            return text(StatusCode::BAD_REQUEST, "the name is not UTF-8\n");
        };
        let found: Vec<_> = operations.dead_letters().find(Some(&name)).iter().map(DeadLetter::show).collect();
        if found.is_empty() {
            return text(StatusCode::NOT_FOUND, "there is no such dead letter\n");
        }
        match (asked, replay) {
            (&Method::GET, false) => json(StatusCode::OK, &json!(found)),
            (&Method::DELETE, false) => {
                json(StatusCode::OK, &json!({ "dropped": operations.drop_letters(Some(&name)) }))
            }
            (&Method::POST, true) => json(StatusCode::OK, &json!(operations.replay(Some(&name)).await)),
            (_, false) => method("GET, DELETE"),
            (_, true) => method("POST"),
        }
    }

    /// Makes what is stored under the named tags old: O(1) each, whatever there is.
    fn invalidate(&self, query: &str) -> Response<Body> {
        let values = query.split('&').filter_map(|pair| pair.strip_prefix("tag=")).filter(|value| !value.is_empty());
        let decoded = values.map(|value| percent_encoding::percent_decode_str(value).decode_utf8());
        match decoded.collect::<Result<Vec<_>, _>>() {
            Ok(names) if !names.is_empty() => {
                let tags: Vec<_> = names.iter().map(|name| Tag::new(name)).collect();
                self.0.tags.invalidate(&tags);
                json(StatusCode::OK, &json!({ "invalidated": names }))
            }
            Ok(_) => text(StatusCode::BAD_REQUEST, "allowed: /invalidate?tag=TAG, several times if need be\n"),
            Err(_) => text(StatusCode::BAD_REQUEST, "a tag is not UTF-8\n"),
        }
    }

    async fn status(&self) -> serde_json::Value {
        let setup = &self.0;
        let ledger = setup.operations.ledger();
        let oldest = setup.operations.oldest_pending().map(|age| age.as_millis());
        let counts = &setup.store.counts;
        let (dead, dropped, oldest_dead) = setup.operations.dead_letters().count();
        let strangers = setup.operations.held_by_strangers();
        let journal = setup.operations.journal_health();
        let (commits, commit_events) = journal.counts();
        let memory = setup.operations.memory_usage();
        json!({
            "ledger": ledger, "balanced": ledger.balances(), "draining": setup.drain.is_draining(),
            "durability": setup.durability, "lanes": setup.operations.lanes(),
            "pending": { "events": ledger.pending, "bytes": setup.operations.pending_bytes(), "oldest_ms": oldest },
            "strangers": {
                "lanes": strangers.lanes, "bytes": strangers.bytes, "listeners": strangers.listeners, "calls": strangers.calls,
            },
            "changing_parts": setup.operations.changing_parts(),
            "batches": { "events": setup.metrics.batched_events.get(), "attempts": self.attempts() },
            "dead_letters": { "kept": dead, "dropped": dropped, "oldest_ms": oldest_dead.map(|died| age_ms(died, SystemTime::now())) },
            "journal": {
                "durability": setup.durability, "failing": journal.failure().as_deref(), "disk_low": journal.is_low(),
                "commits": commits, "events": commit_events,
            },
            "body_memory": {
                "bytes": memory.bytes, "highest": memory.highest, "limit": memory.limit, "callers": memory.callers,
                "no_room": memory.no_room,
            },
            "sessions": { "renewals": setup.metrics.renewals.get() },
            "cache": {
                "hits": counts.hits.load(Ordering::Relaxed), "misses": counts.misses.load(Ordering::Relaxed),
                "bypasses": counts.bypasses.load(Ordering::Relaxed), "stored": counts.stored.load(Ordering::Relaxed),
                "bytes": setup.store.weight(),
            },
        })
    }

    fn attempts(&self) -> serde_json::Value {
        use prometheus::core::Collector as _;
        let mut sums = std::collections::BTreeMap::<String, u64>::new();
        for family in self.0.metrics.batches.collect() {
            for metric in family.get_metric() {
                let label =
                    |wanted| metric.get_label().iter().find(|pair| pair.name() == wanted).map(|pair| pair.value());
                let name = format!("{}.{}", label("group").unwrap_or("?"), label("result").unwrap_or("?"));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of batches")]
                sums.insert(name, metric.get_counter().get_value() as u64);
            }
        }
        json!(sums)
    }

    fn metrics(&self) -> Response<Body> {
        let (operations, journal) = (&self.0.operations, self.0.operations.journal_health());
        let strangers = operations.held_by_strangers();
        let levels = Levels {
            lanes: operations.lanes(),
            pending_bytes: operations.pending_bytes(),
            strangers: [
                ("lanes", strangers.lanes),
                ("bytes", strangers.bytes),
                ("listeners", strangers.listeners),
                ("calls", strangers.calls),
            ],
            journal_failing: journal.failure().is_some(),
            journal_disk_low: journal.is_low(),
            dead_letters: operations.dead_letters().count().0,
            memory: operations.memory_usage(),
        };
        match self.0.metrics.text(levels) {
            Ok(body) => typed(StatusCode::OK, body, "text/plain; version=0.0.4; charset=utf-8"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }
}

fn typed(status: StatusCode, body: Vec<u8>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    typed(status, body.as_bytes().to_vec(), "text/plain; charset=utf-8")
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    typed(status, format!("{value}\n").into_bytes(), "application/json")
}

fn method(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("allowed: {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
