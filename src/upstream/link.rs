//! What hyper's pool doesn't know of a connection to the application: whether it has answered
//! before and said nothing since, and how long the application keeps it (`Keep-Alive: timeout=N`).

use super::head::items;
use super::load::OpenStream;
use super::tls::{self, HandshakeError};
use http::{Extensions, HeaderMap, HeaderName};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::CaptureConnection;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A connection's record; each response and each error carries its connection's.
#[derive(Debug, Clone)]
pub(super) struct Link {
    record: Arc<Record>,
    /// Over HTTP/2: the answer's stream, which counts until all clones are dropped.
    stream: Option<Arc<OpenStream>>,
}

#[derive(Debug, Default)]
struct Record {
    /// It has given an answer.
    used: AtomicBool,
    /// The rest of an answer that comes on it is wanted no longer, and is long.
    abandoned: AtomicBool,
    /// How often bytes have come.
    received: AtomicUsize,
    /// How often they had when the last ones were sent.
    received_before: AtomicUsize,
    /// Bytes were sent after the first ones had come.
    replied: Notify,
    /// When the application may close it, if it says; moved by each answer. Locked for a look, by
    /// the task that has an answer.
    ends: Mutex<Option<Instant>>,
    /// What the application said of the certificate that it was shown. Locked for a look, where a
    /// request has failed.
    refusal: Mutex<Option<HandshakeError>>,
    /// The connection's place until it is closed. Locked for an exchange.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Link {
    /// Of a connection that is opened in this place.
    pub(super) fn new(place: OwnedSemaphorePermit) -> Self {
        let record = Record {
            place: Mutex::new(Some(place)),
            ..Record::default()
        };
        Self {
            record: Arc::new(record),
            stream: None,
        }
    }

    /// The same connection's, for the answer on this stream.
    pub(super) fn of_stream(&self, stream: Arc<OpenStream>) -> Self {
        Self {
            record: Arc::clone(&self.record),
            stream: Some(stream),
        }
    }

    /// The answer has come whole, or its application has ended it. Over HTTP/2, what is dropped
    /// before that counts as abandoned.
    pub(super) fn note_end_of_answer(&self) {
        if let Some(stream) = &self.stream {
            stream.note_end();
        }
    }

    /// The rest of its answer isn't wanted, and no other call can be on it yet. Over HTTP/2 that is the
    /// stream's own matter.
    pub(super) fn abandon(&self) {
        if self.stream.is_none() {
            self.record.abandoned.store(true, Ordering::Relaxed);
        }
    }

    /// Whether nothing more is to be read from it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.record.abandoned.load(Ordering::Relaxed)
    }

    /// Reading failed: what that says of the certificate that was shown is kept, since HTTP/2 keeps
    /// no more of an error than its text.
    pub(super) fn note_error(&self, error: &io::Error) {
        if let Some(refusal) = tls::find_refusal(error) {
            *self.record.refusal.lock() = Some(refusal);
        }
    }

    /// What the application said of the certificate that it was shown, if it refused it.
    pub(super) fn refusal(&self) -> Option<HandshakeError> {
        self.record.refusal.lock().clone()
    }

    /// It has given an answer.
    pub(super) fn has_answered(&self) -> bool {
        self.record.used.load(Ordering::Relaxed)
    }

    /// Of a response's extensions; it has answered from now on.
    pub(super) fn of_answer(extensions: &Extensions) -> Option<Self> {
        let link = extensions.get::<Self>()?;
        link.record.used.store(true, Ordering::Relaxed);
        Some(link.clone())
    }

    /// Exchanges the connection's place for one of these, if one is free. `true`: it has one of
    /// these now, or is closed and needs none.
    pub(super) fn move_to(&self, places: &Arc<Semaphore>) -> bool {
        let mut place = self.record.place.lock();
        let Some(before) = &*place else { return true };
        if Arc::ptr_eq(before.semaphore(), places) {
            return true;
        }
        let Ok(after) = Arc::clone(places).try_acquire_owned() else {
            return false;
        };
        let before = place.replace(after);
        // ORDER: the call that waits for the place is woken without the lock.
        drop(place);
        drop(before);
        true
    }

    /// The connection is closed: its place is free.
    pub(super) fn release_place(&self) {
        let place = self.record.place.lock().take();
        drop(place);
    }

    /// Bytes have come.
    pub(super) fn note_bytes_received(&self) {
        self.record.received.fetch_add(1, Ordering::Relaxed);
    }

    /// How often bytes have come: while it is the same, none has.
    pub(super) fn count_received(&self) -> usize {
        self.record.received.load(Ordering::Relaxed)
    }

    /// Bytes are sent: none has come since.
    pub(super) fn note_bytes_sent(&self) {
        let (received, before) = (self.count_received(), &self.record.received_before);
        if received > 0 && before.load(Ordering::Relaxed) == 0 {
            self.record.replied.notify_one();
        }
        before.store(received, Ordering::Relaxed);
    }

    /// Waits, once, until bytes have been sent after the first ones that came. Over HTTP/2 these are
    /// the application's settings, which hold before they are acknowledged.
    pub(super) async fn wait_until_replied(&self) {
        self.record.replied.notified().await;
    }

    /// Bytes have come since the last ones were sent.
    fn has_heard(&self) -> bool {
        self.count_received() != self.record.received_before.load(Ordering::Relaxed)
    }

    /// A request failed on a connection that had answered before, and of whose answer no byte came:
    /// the application has closed it while the request was on its way.
    pub(super) fn was_closed_between_requests(error: &Error) -> bool {
        let mut extensions = Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut extensions);
        }
        extensions
            .remove::<Self>()
            .is_some_and(|link| link.has_answered() && !link.has_heard())
    }

    /// Takes the connection out of the pool before the application closes it. Until it answers
    /// again it is good for `limit`; a request that is on it by then is not disturbed.
    pub(super) fn retire_after(self, limit: Duration, capture: CaptureConnection) {
        let first = self
            .record
            .ends
            .lock()
            .replace(Instant::now() + limit)
            .is_none();
        if !first {
            return;
        }
        // Ends when the connection has been still for `limit`: one task a connection, a few seconds
        // beyond its end.
        drop(tokio::spawn(async move {
            loop {
                let Some(ends) = *self.record.ends.lock() else {
                    return;
                };
                if ends <= Instant::now() {
                    break;
                }
                tokio::time::sleep_until(ends).await;
            }
            if let Some(connected) = &*capture.connection_metadata() {
                connected.poison();
            }
        }));
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How long an idle connection may be used again, by its `Keep-Alive: timeout=N` (seconds): a
/// second less than the application says, since both clocks run apart by the way between; of one
/// second, a half.
pub(super) fn stated_limit(headers: &HeaderMap) -> Option<Duration> {
    let mut parameters =
        items(headers, &KEEP_ALIVE).filter_map(|parameter| parameter.split_once('='));
    let seconds = parameters.find_map(|(name, value)| {
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    let stated = Duration::from_secs(seconds.into());
    Some(
        stated
            .saturating_sub(Duration::from_secs(1))
            .max(stated / 2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_connection_is_left_a_second_before_the_application_closes_it() {
        let limit = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(line));
            stated_limit(&headers)
        };
        assert_eq!(limit("timeout=5"), Some(Duration::from_secs(4)));
        assert_eq!(limit("max=100, Timeout = 3"), Some(Duration::from_secs(2)));
        assert_eq!(limit("timeout=1"), Some(Duration::from_millis(500)));
        assert_eq!(limit("timeout=0"), Some(Duration::ZERO));
        assert_eq!(limit("max=100"), None);
        assert_eq!(limit("timeout=soon"), None);
    }
}
