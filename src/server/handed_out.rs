//! What was handed out over HTTP/2 and isn't written, of each stream, each connection and all of
//! them (P10): each slice is counted from the moment that it is handed out until it is written to
//! the socket.
//!
//! | bound | of |
//! |---|---|
//! | [`MAX_UNSENT`] | one connection; beyond it each stream has one slice, so that none waits for what others don't take |
//! | [`MAX_UNSENT_OF_ALL`] | all connections of a listener; beyond it each has one slice |

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// Bytes of one connection that are handed out and not written.
const MAX_UNSENT: usize = 1 << 20;
/// Bytes of all connections of a listener that are handed out and not written.
const MAX_UNSENT_OF_ALL: usize = 64 << 20;

tokio::task_local! {
    /// The account of the HTTP/2 stream whose task this is.
    pub(super) static STREAM: Arc<Stream>;
}

/// Bytes that are handed out and not written, and whoever waits for fewer of them.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: AtomicUsize,
    /// Locked for a push or a swap.
    waiting: Mutex<Vec<Waker>>,
}

impl Unsent {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// To be called after bytes were taken off.
    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_below(&self, limit: usize) -> bool {
        self.bytes.load(Ordering::SeqCst) < limit
    }

    /// Until fewer than `limit` bytes are out.
    pub(super) fn poll_below(&self, limit: usize, cx: &Context<'_>) -> Poll<()> {
        if self.is_below(limit) {
            return Poll::Ready(());
        }
        self.waiting.lock().push(cx.waker().clone());
        // ORDER: looked at again after the waker is there, since the last bytes may have gone in
        // between.
        if self.is_below(limit) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// What a listener's connections have handed out over HTTP/2; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct UnsentOfAll(Arc<Unsent>);

/// What one connection has handed out; clones share it.
#[derive(Debug, Clone)]
pub(super) struct UnsentOfOne {
    own: Arc<Unsent>,
    all: UnsentOfAll,
}

impl UnsentOfOne {
    pub(super) fn new(all: &UnsentOfAll) -> Self {
        Self {
            own: Arc::default(),
            all: all.clone(),
        }
    }

    /// Until `stream` may hand out another slice.
    pub(super) fn poll_room(&self, stream: &Stream, cx: &Context<'_>) -> Poll<()> {
        if !stream.has_none_out() {
            let room = self.own.poll_below(MAX_UNSENT, cx);
            // ORDER: looked at again after the waker is there, since the stream's last slice may
            // have gone in between.
            if room.is_pending() && !stream.has_none_out() {
                return Poll::Pending;
            }
        }
        if self.own.is_below(1) {
            Poll::Ready(())
        } else {
            self.all.0.poll_below(MAX_UNSENT_OF_ALL, cx)
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.own.add(bytes);
        self.all.0.add(bytes);
    }

    pub(super) fn take(&self, bytes: usize) {
        for unsent in [&self.own, &self.all.0] {
            unsent.take(bytes);
            unsent.wake();
        }
    }
}

/// An HTTP/2 stream's account.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) unsent: Unsent,
    /// Since when its slices wait: from the oldest one's handing out, or from the last one that was
    /// written. Locked for moments: by the stream's task, and by the connection's as it writes.
    waits_since: Mutex<Option<Instant>>,
}

impl Stream {
    pub(super) fn hand_out(&self, bytes: usize) {
        self.unsent.add(bytes);
        self.waits_since.lock().get_or_insert_with(Instant::now);
    }

    pub(super) fn written(&self, bytes: usize) {
        self.unsent.take(bytes);
        {
            let mut since = self.waits_since.lock();
            *since = if self.unsent.is_below(1) {
                None
            } else {
                Some(Instant::now())
            };
        }
        // ORDER: when the clock is right.
        self.unsent.wake();
    }

    fn has_none_out(&self) -> bool {
        self.unsent.is_below(1)
    }

    pub(super) fn waits_since(&self) -> Option<Instant> {
        *self.waits_since.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::SLICE;
    use super::super::answer::tests::{answer, next, unread};
    use super::*;
    use crate::body::Body;
    use bytes::Bytes;

    #[tokio::test]
    async fn a_connection_has_a_bounded_number_of_unsent_bytes_and_all_together_too() {
        let all = UnsentOfAll::default();
        let connection = UnsentOfOne::new(&all);
        let large = || Body::from(vec![b'x'; 3 * MAX_UNSENT]);
        let (mut first, _) = answer(large(), &connection).await;
        let (mut second, _) = answer(large(), &connection).await;
        let mut held = unread(&mut first);
        assert!(held.iter().all(|slice| slice.len() == SLICE));
        assert_eq!(held.iter().map(Bytes::len).sum::<usize>(), MAX_UNSENT);
        // However much the others' clients leave, a stream that has nothing out has one slice.
        let one = next(&mut second).flatten().unwrap();
        assert_eq!((one.len(), next(&mut second)), (SLICE, None));
        // Two slices that are written make room for one, of whichever answer.
        held.truncate(held.len() - 2);
        let another = next(&mut second).flatten().unwrap();
        assert_eq!(next(&mut second), None);
        drop((one, another));

        let mut others = Vec::new();
        for _ in 0..2 * MAX_UNSENT_OF_ALL / MAX_UNSENT {
            let (mut answer, stream) = answer(large(), &UnsentOfOne::new(&all)).await;
            let held = unread(&mut answer);
            assert!(!held.is_empty(), "every connection goes on");
            others.push((held, answer, stream));
        }
        let out: usize = others
            .iter()
            .flat_map(|(held, ..)| held)
            .map(Bytes::len)
            .sum();
        assert!(out <= MAX_UNSENT_OF_ALL + others.len() * SLICE, "{out}");
        assert!(
            others.last().unwrap().0.len() == 1,
            "beyond the bound of all, one slice each"
        );
        drop((held, others, first, second));
        assert!(all.0.is_below(1) && connection.own.is_below(1));
    }
}
