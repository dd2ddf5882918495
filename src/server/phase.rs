//! What a client's connection is doing, and how long it may do that.
//!
//! hyper has one time-out for heads, which runs while a connection idles as well, and none for HTTP/2. So each connection
//! keeps its own account: its I/O says when bytes come, each call says when it begins and ends.
//!
//! ```text
//! HTTP/1.1   Head ─ call begins ─▶ Busy ─ call ends ─▶ Idle ─ a byte ─▶ Head
//!                                    └ 101 ─▶ Tunnel
//! HTTP/2     Head ─ its preface is whole ─▶ Idle ◀─ last call ends, first call begins ─▶ Busy
//! ```
//!
//! `Head` ends after `header_timeout`, from the connection's beginning or the head's first byte, however many follow.
//! `Idle` ends after `keepalive_timeout`. `Busy` and `Tunnel` have no deadline of their own, since bodies may stream for
//! ever and pause; but in every phase, bytes that are ready and of which the client takes none for `stall_timeout` end the
//! connection. An HTTP/2 head can't be told from other frames; while no call is open it counts as idle time.

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long each phase may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

/// A connection's account; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Phases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Locked for moments: by the connection's task, and by the ends of HTTP/2 calls in tasks of their own.
    state: Mutex<State>,
    /// The task that watches the deadlines. HTTP/1.1 changes its phase in that task only, and needs no waking.
    watcher: AtomicWaker,
    limits: Limits,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head { since: Instant },
    Busy { calls: usize },
    Idle { since: Instant },
    Tunnel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// So many bytes of the preface have come.
    Unknown(usize),
    Http1,
    Http2,
}

/// Why a connection's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A head did not come in time.
    Head,
    /// Nothing was asked for too long.
    Idle,
}

impl Phases {
    /// A connection that was just accepted.
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { phase: Phase::Head { since: Instant::now() }, protocol: Protocol::Unknown(0) };
        Self(Arc::new(Shared { state: Mutex::new(state), watcher: AtomicWaker::new(), limits }))
    }

    /// Bytes have come.
    fn heard(&self, bytes: &[u8]) {
        let state = &mut *self.0.state.lock();
        if let Protocol::Unknown(seen) = state.protocol {
            state.protocol = next_protocol(seen, bytes);
            // Head => Idle
            if state.protocol == Protocol::Http2 {
                state.phase = Phase::Idle { since: Instant::now() };
            }
        }
        // Idle => Head
        if let (Phase::Idle { .. }, Protocol::Http1) = (state.phase, state.protocol) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    /// Bytes have gone: an answer that is still being sent is no idling. HTTP/2 sends frames of its own, which say nothing.
    fn sent(&self) {
        let state = &mut *self.0.state.lock();
        if let (Phase::Idle { since }, Protocol::Http1) = (&mut state.phase, state.protocol) {
            *since = Instant::now();
        }
    }

    /// A head is whole: its call begins.
    pub(super) fn begin_call(&self) -> OpenCall {
        let phase = &mut self.0.state.lock().phase;
        *phase = match *phase {
            // Head | Idle => Busy
            Phase::Head { .. } | Phase::Idle { .. } => Phase::Busy { calls: 1 },
            Phase::Busy { calls } => Phase::Busy { calls: calls + 1 },
            Phase::Tunnel => Phase::Tunnel,
        };
        OpenCall(self.clone())
    }

    fn end_call(&self) {
        let state = &mut *self.0.state.lock();
        state.phase = match state.phase {
            // Busy => Idle
            Phase::Busy { calls: 0 | 1 } => Phase::Idle { since: Instant::now() },
            Phase::Busy { calls } => Phase::Busy { calls: calls - 1 },
            other => other,
        };
        if state.protocol == Protocol::Http2 {
            self.0.watcher.wake();
        }
    }

    /// A call is open.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.0.state.lock().phase, Phase::Busy { .. })
    }

    fn deadline(&self) -> Option<(Instant, Over)> {
        match self.0.state.lock().phase {
            Phase::Head { since } => Some((since + self.0.limits.head, Over::Head)),
            Phase::Idle { since } => Some((since + self.0.limits.idle, Over::Idle)),
            Phase::Busy { .. } | Phase::Tunnel => None,
        }
    }

    /// Until a phase has lasted too long. To be polled after the connection whenever that was polled: its phases change
    /// there.
    pub(super) async fn over(&self) -> Over {
        let mut sleep = pin!(sleep_until(Instant::now() + self.0.limits.head));
        poll_fn(|cx| {
            if self.0.state.lock().protocol != Protocol::Http1 {
                self.0.watcher.register(cx.waker());
            }
            // A timer that is too early is set anew when it rings, so that a busy connection never sets it.
            loop {
                let Some((deadline, over)) = self.deadline() else { return Poll::Pending };
                if deadline < sleep.deadline() {
                    sleep.as_mut().reset(deadline);
                }
                ready!(sleep.as_mut().poll(cx));
                if deadline <= Instant::now() {
                    return Poll::Ready(over);
                }
                sleep.as_mut().reset(deadline);
            }
        })
        .await
    }
}

fn next_protocol(seen: usize, bytes: &[u8]) -> Protocol {
    let rest = PREFACE.get(seen..).unwrap_or_default();
    let (known, fits) = (rest.len().min(bytes.len()), bytes.iter().zip(rest).all(|(byte, wanted)| byte == wanted));
    match fits {
        true if known == rest.len() => Protocol::Http2,
        true => Protocol::Unknown(seen + known),
        false => Protocol::Http1,
    }
}

/// A call that isn't answered to its end; dropping it ends it, whatever happened.
#[derive(Debug)]
pub(super) struct OpenCall(Phases);

impl OpenCall {
    /// The connection no longer carries HTTP.
    pub(super) fn becomes_tunnel(&self) {
        self.0.0.state.lock().phase = Phase::Tunnel;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.end_call();
    }
}

/// A connection's I/O, which tells its account of the bytes, and ends when its client takes none of those that are ready.
#[derive(Debug)]
pub(super) struct Watched<T> {
    stream: T,
    phases: Phases,
    stall: Stall<T>,
}

/// How long bytes that are ready may wait for a client that takes none. A connection that has nothing to say never waits.
#[derive(Debug)]
struct Stall<T> {
    limit: Duration,
    /// Made when a client is first waited for; most never are.
    sleep: Option<Pin<Box<Sleep>>>,
    waits: bool,
    /// What is done to the connection then.
    cut: fn(&T),
}

impl<T> Watched<T> {
    /// `cut` is called when bytes have been waiting for `limit`.
    pub(super) const fn new(stream: T, phases: Phases, limit: Duration, cut: fn(&T)) -> Self {
        Self { stream, phases, stall: Stall { limit, sleep: None, waits: false, cut } }
    }

    /// What became of a write.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall.waits = false;
            self.phases.sent();
            return written;
        }
        ready!(self.stall.poll(cx));
        (self.stall.cut)(&self.stream);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")))
    }
}

impl<T> Stall<T> {
    /// Until the client has been waited for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !std::mem::replace(&mut self.waits, true) {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.phases.heard(bytes);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const LIMITS: Limits = Limits { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    /// When the watch ends, in seconds from now, on a paused clock; none: not within an hour.
    async fn over(phases: &Phases) -> Option<(u64, Over)> {
        let began = Instant::now();
        let over = tokio::time::timeout(Duration::from_secs(3_600), phases.over()).await.ok()?;
        Some((began.elapsed().as_secs(), over))
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_byte_and_a_slow_head_have_the_heads_time() {
        assert_eq!(over(&Phases::new(LIMITS)).await, Some((10, Over::Head)));
        let phases = Phases::new(LIMITS);
        for byte in [b"G", b"E", b"T"] {
            pass(3).await;
            phases.heard(byte);
        }
        // Bytes that drip don't postpone it.
        assert_eq!(over(&phases).await, Some((1, Over::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_the_idle_time_and_its_next_head_the_heads() {
        let phases = Phases::new(LIMITS);
        phases.heard(b"GET / HTTP/1.1\r\n\r\n");
        let call = phases.begin_call();
        assert_eq!(over(&phases).await, None);
        drop(call);
        assert_eq!(over(&phases).await, Some((75, Over::Idle)));
        drop(phases.begin_call());
        pass(70).await;
        phases.sent();
        pass(70).await;
        phases.heard(b"G");
        assert_eq!(over(&phases).await, Some((10, Over::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn over_http_2_a_preface_has_the_heads_time_and_everything_after_it_the_idle_time() {
        let phases = Phases::new(LIMITS);
        phases.heard(&PREFACE[..5]);
        assert_eq!(over(&phases).await, Some((10, Over::Head)));
        phases.heard(&PREFACE[5..]);
        // Settings, pings and acknowledgements are no sign of life.
        phases.heard(b"frame");
        pass(70).await;
        phases.heard(b"frame");
        phases.sent();
        assert_eq!(over(&phases).await, Some((5, Over::Idle)));
        let (one, other) = (phases.begin_call(), phases.begin_call());
        drop(one);
        assert_eq!(over(&phases).await, None);
        drop(other);
        assert_eq!(over(&phases).await, Some((75, Over::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_http_2_call_in_another_task_starts_the_idle_time() {
        let phases = Phases::new(LIMITS);
        phases.heard(PREFACE);
        let call = phases.begin_call();
        let watch = tokio::spawn({
            let phases = phases.clone();
            async move { phases.over().await }
        });
        pass(100).await;
        drop(call);
        assert_eq!(watch.await.unwrap(), Over::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_has_no_deadline() {
        let phases = Phases::new(LIMITS);
        phases.heard(b"GET / HTTP/1.1\r\n\r\n");
        let call = phases.begin_call();
        call.becomes_tunnel();
        drop(call);
        phases.heard(b"anything");
        assert_eq!(over(&phases).await, None);
    }

    /// A connection through which so many bytes go before its client reads some.
    fn narrow() -> (Watched<DuplexStream>, DuplexStream) {
        let (ours, clients) = tokio::io::duplex(4);
        (Watched::new(ours, Phases::new(LIMITS), Duration::from_secs(60), |_| ()), clients)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_ready_and_not_taken_end_the_connection_after_the_stall_time() {
        let (mut watched, _client) = narrow();
        watched.write_all(b"1234").await.unwrap();
        // With nothing to say, any time may pass.
        pass(100_000).await;
        let began = Instant::now();
        let error = watched.write_all(b"5").await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_now_and_then_is_served_to_the_end() {
        let (mut watched, mut client) = narrow();
        let writing = tokio::spawn(async move { watched.write_all(b"twelve bytes").await });
        let mut taken = Vec::new();
        while taken.len() < 12 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            let mut byte = [0];
            client.read_exact(&mut byte).await.unwrap();
            taken.extend(byte);
        }
        writing.await.unwrap().unwrap();
        assert_eq!(taken, b"twelve bytes");
    }

    #[test]
    fn a_preface_is_told_from_a_head_wherever_it_is_cut() {
        for cut in 0..PREFACE.len() {
            let (first, second) = PREFACE.split_at(cut);
            let Protocol::Unknown(seen) = next_protocol(0, first) else { panic!("{cut}") };
            assert_eq!(next_protocol(seen, second), Protocol::Http2, "{cut}");
            assert_eq!(next_protocol(seen, b"\0"), Protocol::Http1, "{cut}");
        }
    }
}
