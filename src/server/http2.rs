//! The tasks of HTTP/2 streams. A stream is reset when in `server.stall_timeout` none of its slices
//! is written (`answer.rs`). One that has nothing to send (server-sent events that pause) has no
//! slice out, so no clock runs for it.

use super::handed_out::{STREAM, Stream};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

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

#[cfg(test)]
mod tests {
    use super::super::answer::SLICE;
    use super::super::answer::tests::{STALL, answer, unread};
    use super::super::handed_out::{UnsentOfAll, UnsentOfOne};
    use super::*;
    use crate::body::Body;
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;

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
