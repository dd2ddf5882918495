//! An answer's body on its way to the client, and the bound on what a client doesn't take (P10).
//!
//! Over HTTP/1.1 an answer is written as the socket takes it: `phase.rs` watches that. Over HTTP/2
//! the client grants each stream bytes of its own, and what was handed out lies in memory until it
//! has granted and read them. So there a body goes out in slices of at most [`SLICE`] bytes, and
//! each slice is counted from the moment that it is handed out until it is written to the socket:
//!
//! | bound | of |
//! |---|---|
//! | [`MAX_UNSENT`] | one connection; beyond it each stream has one slice, so that none waits for what others don't take |
//! | [`MAX_UNSENT_OF_ALL`] | all connections of a listener; beyond it each has one slice |
//! | `server.stall_timeout` | the time in which none of a stream's slices is written; then the stream is reset |
//!
//! A stream that has nothing to send (server-sent events that pause) has no slice out, so no clock
//! runs for it. The end of a body of more than [`SMALL`] bytes is told when its slices are written:
//! until then its stream can be reset alone, and a proxy that has other clients' calls on the same
//! connection keeps those.

use super::phase::OpenCall;
use crate::body::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Most bytes that are handed out at once.
pub(super) const SLICE: usize = 16 << 10;
/// A body of at most so many bytes is ended with its last slice.
const SMALL: usize = 1 << 10;
/// Bytes of one connection that are handed out and not written.
const MAX_UNSENT: usize = 1 << 20;
/// Bytes of all connections of a listener that are handed out and not written.
const MAX_UNSENT_OF_ALL: usize = 64 << 20;

tokio::task_local! {
    /// The account of the HTTP/2 stream whose task this is.
    static STREAM: Arc<Stream>;
}

/// Bytes that are handed out and not written, and whoever waits for fewer of them.
#[derive(Debug, Default)]
struct Unsent {
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

    fn is_below(&self, limit: usize) -> bool {
        self.bytes.load(Ordering::SeqCst) < limit
    }

    /// Until fewer than `limit` bytes are out.
    fn poll_below(&self, limit: usize, cx: &Context<'_>) -> Poll<()> {
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
    fn poll_room(&self, stream: &Stream, cx: &Context<'_>) -> Poll<()> {
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

    fn add(&self, bytes: usize) {
        self.own.add(bytes);
        self.all.0.add(bytes);
    }

    fn take(&self, bytes: usize) {
        for unsent in [&self.own, &self.all.0] {
            unsent.take(bytes);
            unsent.wake();
        }
    }
}

/// An HTTP/2 stream's account.
#[derive(Debug, Default)]
struct Stream {
    unsent: Unsent,
    /// Since when its slices wait: from the oldest one's handing out, or from the last one that was
    /// written. Locked for moments: by the stream's task, and by the connection's as it writes.
    waits_since: Mutex<Option<Instant>>,
}

impl Stream {
    fn hand_out(&self, bytes: usize) {
        self.unsent.add(bytes);
        self.waits_since.lock().get_or_insert_with(Instant::now);
    }

    fn written(&self, bytes: usize) {
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

    fn waits_since(&self) -> Option<Instant> {
        *self.waits_since.lock()
    }
}

/// Bytes that were handed out; dropped when they are written, or when their stream is gone.
struct Slice {
    bytes: Bytes,
    stream: Arc<Stream>,
    connection: UnsentOfOne,
    #[expect(dead_code, reason = "held, never looked at")]
    call: OpenCall,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.stream.written(self.bytes.len());
        // ORDER: this wakes the stream, which looks whether it has anything out.
        self.connection.take(self.bytes.len());
    }
}

/// Runs the tasks of HTTP/2 streams, and ends those whose client takes nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    pub(super) stall: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let stream = Arc::new(Stream::default());
        drop(tokio::spawn(
            STREAM.scope(Arc::clone(&stream), run(task, stream, self.stall)),
        ));
    }
}

/// To its end, or until its client has taken nothing for too long: dropping the task resets the
/// stream.
async fn run(task: impl Future<Output = ()>, stream: Arc<Stream>, stall: Duration) {
    let mut task = pin!(task);
    let mut sleep = pin!(None::<Sleep>);
    poll_fn(|cx| {
        // ORDER: the task first; bytes are handed out only there.
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Some(since) = stream.waits_since() {
            let deadline = since + stall;
            if sleep.as_ref().get_ref().is_none() {
                sleep.set(Some(sleep_until(deadline)));
            }
            let Some(mut timer) = sleep.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            // A timer that is too early is set anew when it rings, so that a stream that moves
            // never sets it.
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                tracing::debug!(
                    "a client took nothing of an answer for too long; its stream is reset"
                );
                return Poll::Ready(());
            }
            timer.reset(deadline);
        }
        Poll::Pending
    })
    .await;
}

/// An answer's body, which keeps its call open until it is sent: over HTTP/2, until its last slice
/// is written.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    #[expect(dead_code, reason = "held, never looked at")]
    call: OpenCall,
    /// Over HTTP/2 only.
    metered: Option<Metered>,
}

/// How an answer's bytes are counted.
#[derive(Debug)]
struct Metered {
    stream: Arc<Stream>,
    connection: UnsentOfOne,
    call: OpenCall,
    /// Of a frame of the body, what is not handed out.
    rest: Bytes,
    /// The trailers, once they have come.
    trailers: Option<Frame<Bytes>>,
    ended: bool,
    handed_out: usize,
}

impl Answer {
    /// Within the task of an HTTP/2 stream its bytes are counted.
    pub(super) fn new(body: Body, call: OpenCall, connection: &UnsentOfOne) -> Self {
        let metered = STREAM.try_with(Arc::clone).ok().map(|stream| Metered {
            stream,
            connection: connection.clone(),
            call: call.share(),
            rest: Bytes::new(),
            trailers: None,
            ended: false,
            handed_out: 0,
        });
        Self {
            body,
            call,
            metered,
        }
    }
}

impl Metered {
    fn poll_frame(
        &mut self,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.rest.is_empty() {
                ready!(self.connection.poll_room(&self.stream, cx));
                return Poll::Ready(Some(Ok(Frame::data(self.slice()))));
            }
            if self.ended {
                ready!(self.poll_written(cx));
                return Poll::Ready(self.trailers.take().map(Ok));
            }
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => self.end(body, Some(trailers)),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end(body, None),
            }
        }
    }

    /// The body has given all; what it holds is needed no longer.
    fn end(&mut self, body: &mut Body, trailers: Option<Frame<Bytes>>) {
        *body = Body::empty();
        (self.ended, self.trailers) = (true, trailers);
    }

    fn slice(&mut self) -> Bytes {
        let bytes = self.rest.split_to(self.rest.len().min(SLICE));
        self.handed_out = self.handed_out.saturating_add(bytes.len());
        self.stream.hand_out(bytes.len());
        self.connection.add(bytes.len());
        Bytes::from_owner(Slice {
            bytes,
            stream: Arc::clone(&self.stream),
            connection: self.connection.clone(),
            call: self.call.share(),
        })
    }

    /// Until all that was handed out is written; a small body's end doesn't wait.
    fn poll_written(&self, cx: &Context<'_>) -> Poll<()> {
        if self.handed_out <= SMALL {
            Poll::Ready(())
        } else {
            self.stream.unsent.poll_below(1, cx)
        }
    }

    fn is_end_stream(&self, body: &Body) -> bool {
        let given =
            self.rest.is_empty() && self.trailers.is_none() && (self.ended || body.is_end_stream());
        given && (self.handed_out <= SMALL || self.stream.unsent.is_below(1))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.metered {
            Some(metered) => metered.poll_frame(&mut this.body, cx),
            None => Pin::new(&mut this.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.metered.as_ref().map_or_else(
            || self.body.is_end_stream(),
            |metered| metered.is_end_stream(&self.body),
        )
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::newcomer::Newcomer;
    use super::super::phase::{Limits, Phases};
    use super::*;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;

    const STALL: Duration = Duration::from_secs(60);

    fn call() -> OpenCall {
        Phases::new(
            Limits {
                head: STALL,
                idle: STALL,
            },
            Newcomer::default(),
        )
        .begin_call()
    }

    /// An answer within the task of an HTTP/2 stream, and that stream.
    async fn answer(body: Body, connection: &UnsentOfOne) -> (Answer, Arc<Stream>) {
        let stream = Arc::new(Stream::default());
        let answer = STREAM
            .scope(Arc::clone(&stream), async {
                Answer::new(body, call(), connection)
            })
            .await;
        (answer, stream)
    }

    fn next(answer: &mut Answer) -> Option<Option<Bytes>> {
        let frame = answer.frame().now_or_never()?;
        Some(frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    /// What is handed out while none of it is written.
    fn unread(answer: &mut Answer) -> Vec<Bytes> {
        std::iter::from_fn(|| next(answer).flatten()).collect()
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
        assert!(all.0.is_below(1) && connection.own.is_below(1));
    }

    #[tokio::test]
    async fn the_end_is_told_when_all_is_written_and_that_of_a_small_answer_at_once() {
        let connection = UnsentOfOne::new(&UnsentOfAll::default());
        let (mut small, _) = answer(Body::from("small"), &connection).await;
        let held = next(&mut small).flatten().unwrap();
        assert!(small.is_end_stream());
        drop(held);
        let (mut large, _) = answer(Body::from(vec![b'x'; SMALL + 1]), &connection).await;
        let held = next(&mut large).flatten().unwrap();
        assert!(!large.is_end_stream());
        let mut ending = large.frame();
        assert!((&mut ending).now_or_never().is_none());
        drop(held);
        assert!(ending.await.is_none());
        assert!(large.is_end_stream());
    }

    /// Whether the task of a stream is ended before it is through.
    async fn is_reset(task: impl Future<Output = ()>, stream: Arc<Stream>) -> bool {
        let mut through = false;
        run(
            async {
                task.await;
                through = true;
            },
            stream,
            STALL,
        )
        .await;
        !through
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_reset_when_none_of_its_bytes_goes_for_the_stall_time() {
        let connection = UnsentOfOne::new(&UnsentOfAll::default());
        for (pause, wanted) in [(59, false), (61, true)] {
            let (mut answer, stream) =
                answer(Body::from(vec![b'x'; 10 * SLICE]), &connection).await;
            let began = Instant::now();
            let task = async {
                let mut held = unread(&mut answer);
                while held.pop().is_some() {
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
            };
            assert_eq!(
                is_reset(task, stream).await,
                wanted,
                "a slice every {pause} s"
            );
            assert!(!wanted || began.elapsed() == STALL, "{:?}", began.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_application_pauses_is_not_reset() {
        let connection = UnsentOfOne::new(&UnsentOfAll::default());
        let messages = futures_util::stream::unfold(0, |number| async move {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            (number < 24).then(|| {
                (
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"data: 1\n\n"))),
                    number + 1,
                )
            })
        });
        let body = Body::boxed(http_body_util::StreamBody::new(messages));
        let (mut answer, stream) = answer(body, &connection).await;
        let task = async {
            let mut messages = 0;
            while let Some(frame) = answer.frame().await {
                drop(frame);
                messages += 1;
            }
            assert_eq!(messages, 24);
        };
        assert!(!is_reset(task, stream).await);
    }
}
