//! The bounded queue of spans that have ended, and the task that sends them.
//!
//! A call that ends a span never waits: where the queue is full, the span is lost and counted. One
//! task sends what waits, at most [`BATCH`] spans in a request and one request at a time, so that a
//! collector that is slow or down costs a bounded amount of memory and no call any time.

use super::sender::Exporter;
use crate::spans::Counters;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Spans that may wait: 6 MB of calls', whose texts are cut, 25 MB of batches' with 128 links each.
const MOST: usize = 2_048;
/// Most spans of a request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take for a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the task is sent.
#[derive(Debug)]
enum Message {
    /// A span that has ended.
    Ended(Box<SpanData>),
    /// Everything that waits is to be sent; the sender is told.
    Flush(oneshot::Sender<()>),
}

/// Hands spans to the task; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Message>,
    counters: Counters,
}

impl Queue {
    /// A queue whose task sends by this exporter; the task ends when the last clone is dropped.
    pub(super) fn start(exporter: Exporter, counters: Counters) -> Self {
        let (sender, receiver) = mpsc::channel(MOST);
        let task = Task {
            receiver,
            exporter,
            counters: counters.clone(),
            is_down: false,
        };
        drop(tokio::spawn(task.run()));
        Self { sender, counters }
    }

    /// Waits until what was ended before is sent, or is known not to be.
    pub(super) async fn flush(&self) {
        let (told, heard) = oneshot::channel();
        if self.sender.send(Message::Flush(told)).await.is_ok() {
            // An error says that the task has ended, and nothing is left to wait for.
            _ = heard.await;
        }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let message = Message::Ended(Box::new(span));
        if self.sender.try_send(message).is_err() {
            self.counters.lost.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what is in the queue.
struct Task {
    receiver: mpsc::Receiver<Message>,
    exporter: Exporter,
    counters: Counters,
    /// The collector did not take the last request.
    is_down: bool,
}

impl Task {
    async fn run(mut self) {
        while let Some(message) = self.receiver.recv().await {
            let (spans, told) = self.gather(message).await;
            self.send(spans).await;
            if let Some(told) = told {
                // An error says that nobody waits any more.
                _ = told.send(());
            }
        }
    }

    /// The spans of a request, and who waits for it.
    async fn gather(&mut self, first: Message) -> (Vec<SpanData>, Option<oneshot::Sender<()>>) {
        let (mut spans, until) = (Vec::new(), Instant::now() + PAUSE);
        let mut message = first;
        loop {
            match message {
                Message::Ended(span) => spans.push(*span),
                Message::Flush(told) => return (spans, Some(told)),
            }
            if spans.len() >= BATCH {
                return (spans, None);
            }
            match tokio::time::timeout_at(until, self.receiver.recv()).await {
                Ok(Some(next)) => message = next,
                Ok(None) | Err(_) => return (spans, None),
            }
        }
    }

    async fn send(&mut self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        if count == 0 {
            return;
        }
        match tokio::time::timeout(TIMEOUT, self.exporter.export(spans)).await {
            Ok(Ok(())) => {
                self.counters.sent.inc_by(count);
                if std::mem::take(&mut self.is_down) {
                    tracing::info!("the collector takes spans again");
                }
            }
            failed => {
                self.counters.lost.inc_by(count);
                if std::mem::replace(&mut self.is_down, true) {
                    return;
                }
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no answer in {TIMEOUT:?}"),
                };
                tracing::warn!(
                    error,
                    "the collector takes no spans; they are lost until it does"
                );
            }
        }
    }
}
