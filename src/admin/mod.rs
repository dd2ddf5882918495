//! The admin surface, on its own listener (design §9): the dashboard and its live stream,
//! health, status, metrics, dead letters, modes, reports, flush, invalidation. Shows no credential
//! and no body but the events of dead letters, answers no page of another site (`access.rs`), and
//! whom it answers beyond this machine has a token (`token.rs`).

mod access;
mod config;
mod dashboard;
mod dead_letters;
mod events;
mod groups;
mod history;
mod learn;
mod live;
mod log_level;
mod metrics;
mod modes;
mod observe;
mod parity;
mod reply;
mod setup;
mod status;
mod summary;
mod token;
mod users;

pub use live::LiveTask;
pub use setup::{AdminSettings, LogFilter, Reload, Reloaded, Setup};
pub(crate) use token::Guard;
pub use token::{Token, TokenError};

use crate::body::Body;
use crate::event::Tag;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use live::Live;
use reply::{json, refuse_method, text};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;

/// The admin service; clones share everything.
#[derive(Clone)]
pub struct Admin {
    setup: Arc<Setup>,
    live: Live,
    scraped: metrics::LastScrape,
}

impl Admin {
    /// An admin surface, and the task that feeds its live stream.
    #[must_use]
    pub fn new(setup: Setup) -> (Self, LiveTask) {
        let setup = Arc::new(setup);
        let (live, task) = Live::new(&setup);
        let scraped = metrics::LastScrape::default();
        let admin = Self {
            setup,
            live,
            scraped,
        };
        (admin, task)
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        if let Err(denied) = access::check_access(&head, self.setup.listen) {
            return Ok(text(denied.status(), &format!("{denied}\n")));
        }
        // ORDER: before anything else is told, so that a stranger doesn't learn which paths there are.
        if let Some(guard) = &self.setup.guard
            && let Err(refused) = guard.check(&head)
        {
            return Ok(refused);
        }
        Ok(self.answer(Request::from_parts(head, body)).await)
    }

    /// A full disk keeps nobody from calling: events are forwarded.
    fn tell_readiness(&self) -> Response<Body> {
        let operations = &self.setup.operations;
        let health = operations.journal_health();
        if let Some(why) = health.failure() {
            let why = format!("the journal takes no events: {why}\n");
            return text(StatusCode::SERVICE_UNAVAILABLE, &why);
        }
        let letters = operations.dead_letters().count().0;
        let low = if health.is_low() {
            "; the journal's disk is nearly full: events are forwarded, not acknowledged"
        } else {
            ""
        };
        text(
            StatusCode::OK,
            &format!("ready; dead letters: {letters}{low}\n"),
        )
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" if read => text(StatusCode::OK, "ok\n"),
            "/readyz" if read && self.setup.drain.is_announced() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/readyz" if read => self.tell_readiness(),
            "/status" if read => status::show_status(&self.setup).await,
            "/metrics" if read => self.scraped.show(&self.setup).await,
            path if path == dead_letters::PATH || path.starts_with("/dead-letters/") => {
                dead_letters::answer_letters(&self.setup, request).await
            }
            "/modes" if read => modes::show_modes(&self.setup),
            "/modes" if *request.method() == Method::PUT => {
                modes::change_modes(&self.setup, request.into_body()).await
            }
            "/live" if *request.method() == Method::GET => self.live.open_stream(&self.setup).await,
            "/observe" if read => observe::show_report(&self.setup).await,
            "/parity" if read => parity::show_report(&self.setup).await,
            path if read && path.starts_with(events::PREFIX) => {
                events::show_event(&self.setup, path).await
            }
            path if path.starts_with(users::PREFIX) => {
                users::answer_user(&self.setup, request.method(), path).await
            }
            "/config" if read => config::show_config(&self.setup),
            "/log-level" if read || matches!(*request.method(), Method::PUT | Method::DELETE) => {
                let (head, body) = request.into_parts();
                log_level::answer_level(&self.setup, &head.method, body).await
            }
            "/learn" | "/learn/proposal" => self.learn(&request).await,
            "/config/reload" if *request.method() == Method::POST => {
                modes::reload(&self.setup).await
            }
            "/flush" if *request.method() == Method::POST => {
                self.setup.operations.flush();
                json(
                    StatusCode::ACCEPTED,
                    &json!({ "flushing": self.setup.operations.ledger().pending }),
                )
            }
            "/invalidate" if *request.method() == Method::POST => {
                self.invalidate(request.uri().query().unwrap_or_default())
            }
            path if read && let Some(file) = dashboard::show_file(path) => file,
            "/" | "/live" | "/healthz" | "/readyz" | "/status" | "/metrics" | "/observe"
            | "/parity" | "/config" => refuse_method("GET"),
            path if path.starts_with(events::PREFIX) => refuse_method("GET"),
            "/log-level" => refuse_method("GET, PUT, DELETE"),
            "/modes" => refuse_method("GET, PUT"),
            "/flush" | "/invalidate" | "/config/reload" => refuse_method("POST"),
            _ => text(
                StatusCode::NOT_FOUND,
                "allowed: GET / /live /healthz /readyz /status /metrics /events/ID /modes /observe /parity /learn \
                 /config /log-level /dead-letters /dead-letters/NAME /users/USER, PUT /modes /log-level, DELETE /dead-letters \
                 /dead-letters/NAME /users/USER /learn /log-level, POST /flush /invalidate?tag=TAG /config/reload \
                 /learn?for=LENGTH /learn/proposal /dead-letters/replay /dead-letters/NAME/replay\n",
            ),
        }
    }

    async fn learn(&self, request: &Request<Incoming>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default();
        match (request.uri().path(), request.method().as_str()) {
            ("/learn", "POST") => learn::begin_recording(&self.setup, query),
            ("/learn", "GET" | "HEAD") => learn::show_progress(&self.setup, query),
            ("/learn", "DELETE") => learn::end_recording(&self.setup, query),
            ("/learn", _) => refuse_method("GET, POST, DELETE"),
            (_, "POST") => learn::show_proposal(&self.setup, query).await,
            _ => refuse_method("POST"),
        }
    }

    /// Makes what is stored under the named tags old: O(1) each, whatever there is.
    fn invalidate(&self, query: &str) -> Response<Body> {
        let values = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("tag="))
            .filter(|value| !value.is_empty());
        let decoded = values.map(|value| percent_encoding::percent_decode_str(value).decode_utf8());
        match decoded.collect::<Result<Vec<_>, _>>() {
            Ok(names) if !names.is_empty() => {
                let tags: Vec<_> = names.iter().map(|name| Tag::new(name)).collect();
                self.setup.tags.invalidate(&tags);
                json(StatusCode::OK, &json!({ "invalidated": names }))
            }
            Ok(_) => text(
                StatusCode::BAD_REQUEST,
                "allowed: /invalidate?tag=TAG, several times if need be\n",
            ),
            Err(_) => text(StatusCode::BAD_REQUEST, "a tag is not UTF-8\n"),
        }
    }
}
