//! `[notify]`: a message to an operator's webhook about what must not be missed: dead letters, a
//! journal that takes no events, an application that doesn't answer.
//!
//! A message holds counts and the names of groups and reasons; nothing of an event, a caller or an
//! answer. It is sent when something has changed since the last one that was taken, at most once in
//! `min_interval`, so that a thousand dead letters are one message. One that isn't taken is sent
//! again after that time, with what is true then. Nothing waits for it but the end of a stop, for
//! two seconds.

use crate::body::Body;
use crate::ingest::Operations;
use crate::metrics::{Metrics, Reach};
use crate::upstream::Upstream;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How often it looks for what has changed.
const LOOK: Duration = Duration::from_secs(1);
/// An application that gives no answer for so long is told of.
const DOWN_AFTER: Duration = Duration::from_secs(10);
/// A receiver must answer in this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a stop waits for its last message.
const LAST_MESSAGE: Duration = Duration::from_secs(2);

/// `[notify]`.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Where messages are posted.
    pub url: Uri,
    /// At most one message in this time.
    pub min_interval: Duration,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Events that became dead letters since the start.
    deaths: u64,
    /// The journal takes no events.
    journal_fails: bool,
    /// The application has given no answer for a while.
    is_down: bool,
}

/// Sends messages.
pub(crate) struct Webhook {
    settings: NotifySettings,
    upstream: Upstream,
    operations: Operations,
    metrics: Arc<Metrics>,
    /// What the receiver has been told. Locked while a message is on its way, so that there is one
    /// at a time.
    told: Mutex<State>,
}

impl Webhook {
    /// What is there at the start is not told.
    pub(crate) fn new(
        settings: NotifySettings,
        upstream: Upstream,
        operations: Operations,
        metrics: Arc<Metrics>,
    ) -> Self {
        let told = State {
            deaths: metrics.ledgers.count_deaths(),
            ..State::default()
        };
        Self {
            settings,
            upstream,
            operations,
            metrics,
            told: Mutex::new(told),
        }
    }

    /// Tells of what changes, for as long as it is polled.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut is_failing = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.tell_changes().await {
                None => continue,
                Some(Ok(())) => is_failing = false,
                Some(Err(why)) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(why, "the webhook of notify.url takes no message");
                    }
                }
            }
            let next = Instant::now() + self.settings.min_interval;
            tokio::time::sleep_until(next).await;
        }
    }

    /// Tells what wasn't told yet, as far as that takes no longer than two seconds.
    pub(crate) async fn tell_last(&self) {
        if let Ok(Some(Err(why))) = tokio::time::timeout(LAST_MESSAGE, self.tell_changes()).await {
            tracing::warn!(
                why,
                "the webhook of notify.url did not take the last message"
            );
        }
    }

    /// Sends a message, if there is something new to tell.
    async fn tell_changes(&self) -> Option<Result<(), String>> {
        let mut told = self.told.lock().await;
        let now = self.look();
        if now == *told {
            return None;
        }
        let message = self.write_message(*told, now);
        let sent = match tokio::time::timeout(PATIENCE, self.post(&message)).await {
            Ok(sent) => sent,
            Err(_) => Err("no answer in 10 s".to_owned()),
        };
        let result = if sent.is_ok() { "sent" } else { "failed" };
        self.metrics
            .notifications
            .with_label_values(&[result])
            .inc();
        if sent.is_ok() {
            *told = now;
        }
        Some(sent)
    }

    fn look(&self) -> State {
        let (reach, since) = self.metrics.reached.look();
        State {
            deaths: self.metrics.ledgers.count_deaths(),
            journal_fails: self.operations.journal_health().failure().is_some(),
            is_down: reach == Reach::Down && since.is_some_and(|time| time >= DOWN_AFTER),
        }
    }

    fn write_message(&self, told: State, now: State) -> Value {
        let letters = self.operations.dead_letters();
        let (kept, ..) = letters.count();
        let new = now.deaths.saturating_sub(told.deaths);
        let mut words = Vec::new();
        if new > 0 {
            words.push(format!("{new} new dead letters, {kept} in all"));
        }
        if now.journal_fails != told.journal_fails {
            let now = if now.journal_fails {
                "takes no events, calls are forwarded"
            } else {
                "takes events again"
            };
            words.push(format!("the journal {now}"));
        }
        if now.is_down != told.is_down {
            let now = if now.is_down {
                "gives no answer"
            } else {
                "answers again"
            };
            words.push(format!("the application {now}"));
        }
        json!({
            "text": format!("tidegate: {}", words.join("; ")),
            "version": crate::version::NUMBER,
            "dead_letters": { "new": new, "kept": kept, "by_reason": letters.count_by_reason(), "by_group": letters.count_by_group() },
            "journal": { "takes_events": !now.journal_fails },
            "application": { "answers": !now.is_down },
            "pending": self.operations.ledger().pending,
        })
    }

    async fn post(&self, message: &Value) -> Result<(), String> {
        let body = Body::Full(Full::new(message.to_string().into()));
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.settings.url.clone())
            .header(header::CONTENT_TYPE, "application/json");
        let host = self.settings.url.authority();
        let request = match host {
            Some(host) => request.header(header::HOST, host.as_str()),
            None => request,
        };
        let request = request.body(body).map_err(|error| error.to_string())?;
        let answer = self.upstream.send(request).await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answers {status}"))
        }
    }
}
