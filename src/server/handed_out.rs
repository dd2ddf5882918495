//! What was handed out over HTTP/2 and isn't written, of each stream, each connection and all of
//! them (P10): each slice is counted from the moment that it is handed out until it is written to
//! the socket.
//!
//! | bound | of |
//! |---|---|
//! | [`MAX_UNSENT`] | one connection; beyond it each stream has one slice, so that none waits for what others don't take |
//! | [`MAX_UNSENT_OF_ALL`] | all connections of a listener; beyond it each has one slice |

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use tokio::time::Instant;

/// Bytes of one connection that are handed out and not written.
const MAX_UNSENT: usize = 1 << 20;
/// Bytes of all connections of a listener that are handed out and not written.
const MAX_UNSENT_OF_ALL: usize = 64 << 20;

tokio::task_local! {
    /// The account of the HTTP/2 stream whose task this is.
    pub(super) static STREAM: Arc<Stream>;
}

/// Bytes that are handed out and not written, and the streams that wait for fewer of them.
///
/// As many may wait as clients open streams, so not all of them are woken whenever something is
/// written: within the upper half of the bound each slice that is written wakes one, the one that
/// has waited longest. Below, all are woken, so that none is forgotten because one that was woken
/// had gone; by then half of the bound has been written.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: AtomicUsize,
    /// Streams wait until fewer are out.
    limit: usize,
    /// Locked for a look-up or a swap.
    waiting: Mutex<Waiting>,
}

/// Streams that wait, in the order in which they came.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    wakers: BTreeMap<u64, Waker>,
}

/// A stream's place among those that wait; none: it doesn't.
#[derive(Debug, Default)]
pub(super) struct Place(Option<u64>);

impl Unsent {
    fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
            waiting: Mutex::default(),
        }
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn take(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// To be called after bytes were taken off.
    fn wake(&self) {
        let out = self.bytes.load(Ordering::SeqCst);
        if out >= self.limit {
            return;
        }
        if out >= self.limit / 2 && out > 0 {
            let first = self.waiting.lock().wakers.pop_first();
            first.into_iter().for_each(|(_, waker)| waker.wake());
        } else {
            let all = std::mem::take(&mut self.waiting.lock().wakers);
            all.into_values().for_each(Waker::wake);
        }
    }

    pub(super) fn is_below(&self, limit: usize) -> bool {
        self.bytes.load(Ordering::SeqCst) < limit
    }

    /// Until fewer bytes are out than the limit.
    pub(super) fn poll_below(&self, place: &mut Place, cx: &Context<'_>) -> Poll<()> {
        if self.is_below(self.limit) {
            self.leave(place);
            return Poll::Ready(());
        }
        self.wait(place, cx);
        // ORDER: looked at again after the waker is there, since the last bytes may have gone in
        // between.
        if self.is_below(self.limit) {
            self.leave(place);
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn wait(&self, place: &mut Place, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock();
        let number = *place.0.get_or_insert_with(|| {
            waiting.last += 1;
            waiting.last
        });
        waiting.wakers.insert(number, cx.waker().clone());
    }

    /// The stream doesn't wait any more.
    fn leave(&self, place: &mut Place) {
        if let Some(number) = place.0.take() {
            self.waiting.lock().wakers.remove(&number);
        }
    }
}

/// What a listener's connections have handed out over HTTP/2; clones share it.
#[derive(Debug, Clone)]
pub(super) struct UnsentOfAll(Arc<Unsent>);

impl Default for UnsentOfAll {
    fn default() -> Self {
        Self(Arc::new(Unsent::new(MAX_UNSENT_OF_ALL)))
    }
}

/// A stream's places among those that wait: for its own bytes, its connection's, all connections'.
#[derive(Debug, Default)]
pub(super) struct Places {
    stream: Place,
    own: Place,
    all: Place,
}

/// What one connection has handed out; clones share it.
#[derive(Debug, Clone)]
pub(super) struct UnsentOfOne {
    own: Arc<Unsent>,
    all: UnsentOfAll,
}

impl UnsentOfOne {
    pub(super) fn new(all: &UnsentOfAll) -> Self {
        Self {
            own: Arc::new(Unsent::new(MAX_UNSENT)),
            all: all.clone(),
        }
    }

    /// Until `stream` may hand out another slice.
    pub(super) fn poll_room(
        &self,
        stream: &Stream,
        places: &mut Places,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let room = self.poll_places(stream, places, cx);
        if room.is_ready() {
            // What it waited for otherwise wakes another one.
            stream.unsent.leave(&mut places.stream);
            self.leave(places);
        }
        room
    }

    fn poll_places(&self, stream: &Stream, places: &mut Places, cx: &Context<'_>) -> Poll<()> {
        // Beyond the connection's bound, until nothing of the stream is out.
        if !stream.has_none_out() && self.own.poll_below(&mut places.own, cx).is_pending() {
            ready!(stream.unsent.poll_below(&mut places.stream, cx));
        }
        if self.all.0.poll_below(&mut places.all, cx).is_ready() {
            return Poll::Ready(());
        }
        // Beyond the bound of all, until nothing of the connection is out.
        self.own.wait(&mut places.own, cx);
        // ORDER: looked at after the waker is there, as above.
        if self.own.is_below(1) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The stream doesn't wait any more.
    pub(super) fn leave(&self, places: &mut Places) {
        self.own.leave(&mut places.own);
        self.all.0.leave(&mut places.all);
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
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) unsent: Unsent,
    /// Since when its slices wait: from the oldest one's handing out, or from the last one that was
    /// written. Locked for moments: by the stream's task, and by the connection's as it writes.
    waits_since: Mutex<Option<Instant>>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            // Its end waits for all of them.
            unsent: Unsent::new(1),
            waits_since: Mutex::default(),
        }
    }
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
    use std::task::Wake;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_is_written_wakes_as_many_streams_as_there_is_room_for_and_forgets_none() {
        let unsent = Unsent::new(8);
        unsent.add(9);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let mut places: Vec<_> = (0..1_000).map(|_| Place::default()).collect();
        let poll = |place: &mut Place| unsent.poll_below(place, &cx);
        for _ in 0..3 {
            assert!(places.iter_mut().all(|place| poll(place).is_pending()));
        }
        assert_eq!(
            unsent.waiting.lock().wakers.len(),
            1_000,
            "each has one place"
        );
        let written = || {
            unsent.take(1);
            unsent.wake();
            count.0.swap(0, Ordering::SeqCst)
        };
        assert_eq!(written(), 0, "there is no room yet");
        assert_eq!(written(), 1);
        // The one that has waited longest has the room; one that has gone takes no other's turn.
        assert!(poll(&mut places[0]).is_ready());
        unsent.add(1);
        unsent.leave(&mut places[1]);
        assert_eq!(written(), 1);
        assert!(poll(&mut places[2]).is_ready());
        // Woken ones that take nothing.
        let mut woken = 0;
        for _ in 0..7 {
            woken += written();
        }
        assert_eq!(woken, 997);
        assert!(places.iter_mut().all(|place| poll(place).is_ready()));
    }

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
        for unsent in [&all.0, &connection.own] {
            assert!(
                unsent.waiting.lock().wakers.is_empty(),
                "none waits that is gone"
            );
        }
        assert!(all.0.is_below(1) && connection.own.is_below(1));
    }
}
