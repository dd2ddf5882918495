//! The access log: one line for each call of the sample, and one for each batch that is delivered.

use super::line::{CallLine, DeliveryLine, Line};
use super::note::CallNote;
use super::queue::Queue;
use super::settings::Format;
use crate::body::{Body, BodyError};
use crate::event::first_eight;
use crate::spans::CallSpan;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The access log; clones share it. By default it is off.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: Queue,
    /// A call has a line if the hash of its request's id is below.
    below: u64,
}

impl AccessLog {
    /// An access log that writes this share of the calls to `out`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(share: f64, format: Format, out: Box<dyn io::Write + Send>) -> io::Result<Self> {
        let queue = Queue::start(format, out)?;
        let below = share_of(share);
        Ok(Self(Some(Arc::new(Shared { queue, below }))))
    }

    /// Whether lines are written at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A note for a call that will have a line, or has a span; `id`: of its request, made where it
    /// has none.
    pub(crate) fn note_call<'a>(
        &self,
        span: CallSpan,
        id: impl FnOnce() -> Cow<'a, str>,
    ) -> Option<CallNote> {
        if !self.is_on() && !span.is_on() {
            return None;
        }
        let id = id();
        let shared = self.0.as_ref();
        let has_line = shared.is_some_and(|shared| is_below(&id, shared.below));
        (has_line || span.is_on()).then(|| CallNote::new(&id, has_line, span))
    }

    pub(crate) fn write_call(&self, line: CallLine) {
        if let Some(shared) = &self.0 {
            shared.queue.push(Line::Call(line));
        }
    }

    /// Writes a delivery of the sample, which is drawn by the batch's id.
    pub(crate) fn write_delivery(&self, line: impl FnOnce() -> DeliveryLine) {
        if let Some(shared) = &self.0 {
            let line = line();
            if is_below(&line.batch, shared.below) {
                shared.queue.push(Line::Delivery(line));
            }
        }
    }

    /// Waits until everything that came before is written. It blocks its thread.
    pub fn flush(&self) {
        if let Some(shared) = &self.0 {
            shared.queue.flush();
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "`as` saturates, and a share is between 0 and 1"
)]
fn share_of(share: f64) -> u64 {
    (share * u64::MAX as f64) as u64
}

/// The same id is drawn the same way at every replica and after every start.
fn is_below(id: &str, below: u64) -> bool {
    below == u64::MAX || first_eight(blake3::hash(id.as_bytes()).as_bytes()) < below
}

/// Writes a call's line when its answer's body has ended, or is dropped.
pub(crate) fn watch_body(
    response: Response<Body>,
    log: &AccessLog,
    line: CallLine,
) -> Response<Body> {
    // A body that streams may be left by its client, whatever length it has.
    if let Body::Full(body) = response.body()
        && let Some(bytes) = body.size_hint().exact()
    {
        log.write_call(CallLine {
            sent: bytes,
            ..line
        });
        return response;
    }
    let (log, line) = (log.clone(), Some(line));
    response.map(|inner| Body::boxed(Counted { inner, log, line }))
}

/// An answer's body that streams.
struct Counted {
    inner: Body,
    log: AccessLog,
    line: Option<CallLine>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let (Some(Ok(frame)), Some(line)) = (&frame, &mut this.line) {
            line.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.log.write_call(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::{Condvar, Mutex};
    use std::time::{Duration, SystemTime};

    /// Takes nothing until it is opened.
    #[derive(Clone, Default)]
    struct Gated(Arc<(Mutex<(bool, String)>, Condvar)>);

    impl io::Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.0.lock();
            self.0.1.wait_while(&mut state, |(open, _)| !*open);
            state.1.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Gated {
        fn open(&self) {
            self.0.0.lock().0 = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            self.0.0.lock().1.clone()
        }
    }

    fn delivery(batch: &str) -> DeliveryLine {
        DeliveryLine {
            at: SystemTime::UNIX_EPOCH,
            group: "g".into(),
            batch: batch.to_owned(),
            calls: 3,
            result: "answered",
            took: Duration::ZERO,
        }
    }

    #[test]
    fn lines_that_find_the_queue_full_are_counted_and_nobody_waits() {
        let out = Gated::default();
        let log = AccessLog::start(1.0, Format::Json, Box::new(out.clone())).unwrap();
        // Some are in the hands of the thread, which is stuck.
        for number in 0..40_000 {
            log.write_delivery(|| delivery(&number.to_string()));
        }
        out.open();
        log.flush();
        let text = out.text();
        let lost = text.lines().filter(|line| line.contains("\"lost\""));
        let lost: usize = lost
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["lines"].as_u64().unwrap() as usize)
            .sum();
        let written = text
            .lines()
            .filter(|line| line.contains("delivery"))
            .count();
        assert!(lost > 0);
        assert_eq!(written + lost, 40_000);
    }

    #[test]
    fn a_share_of_the_calls_is_drawn_by_their_ids() {
        let out = Gated::default();
        out.open();
        let log = AccessLog::start(0.25, Format::Json, Box::new(out)).unwrap();
        let draw = |log: &AccessLog| -> Vec<bool> {
            (0..4_000)
                .map(|number| {
                    let note = log.note_call(CallSpan::default(), || number.to_string().into());
                    note.is_some()
                })
                .collect()
        };
        let drawn = draw(&log);
        let count = drawn.iter().filter(|is_in| **is_in).count();
        assert!((800..1_200).contains(&count), "{count}");
        assert_eq!(draw(&log), drawn);
        let off = AccessLog::default();
        assert!(off.note_call(CallSpan::default(), || "1".into()).is_none());
    }
}
