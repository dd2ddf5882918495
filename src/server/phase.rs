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
//! connection. The kernel takes a write only when a good part of its buffer is free again, which a slow client reaches
//! seldom; so while a write waits, the kernel is asked how much it still has (`unsent.rs`), and less than before counts as
//! taken. What waits to be written is no idling either: the time of `Idle` begins when it is written. An HTTP/2 head can't be told from other frames; while no call is open it counts as idle time.
//!
//! A connection in `Head` or `Idle`, all of whose bytes are written, waits for its client, and gives way to a new one that
//! finds no place (`places.rs`). A request may have come that no poll has read; so a connection that is asked is polled
//! once more, and stays if it has begun a call, begun the head after an answer, or left bytes in the kernel:
//!
//! ```text
//! No ─ asked, or first to wait ─▶ Yes ─ waits for its client ─▶ Polled ─ still does, all bytes are read ─▶ gives way
//!                                  └──────── else ──────▶ No ◀── else ──┘
//! ```

use super::newcomer::Newcomer;
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

/// How often in the stall time a client that is waited for is looked at.
const LOOKS: u32 = 4;

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
    /// The connection's task. HTTP/1.1 changes its phase in that task only, and needs no waking for it.
    watcher: AtomicWaker,
    limits: Limits,
    newcomer: Newcomer,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    protocol: Protocol,
    /// A write waits for the client to take what was written before.
    write_waits: bool,
    asked: Asked,
}

impl State {
    /// Since when the connection waits for its client and for nothing else.
    fn waits_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Head { since } | Phase::Idle { since } if !self.write_waits => Some(since),
            _ => None,
        }
    }
}

/// Whether a connection is to give way to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
    /// It is polled once more.
    Polled,
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
    pub(super) fn new(limits: Limits, newcomer: Newcomer) -> Self {
        let phase = Phase::Head { since: Instant::now() };
        let state = State { phase, protocol: Protocol::Unknown(0), write_waits: false, asked: Asked::No };
        Self(Arc::new(Shared { state: Mutex::new(state), watcher: AtomicWaker::new(), limits, newcomer }))
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
            self.stay(state);
        }
    }

    /// Bytes have gone: an answer that is still being sent is no idling. HTTP/2 sends frames of its own, which say nothing.
    fn sent(&self) {
        let state = &mut *self.0.state.lock();
        let waited = std::mem::replace(&mut state.write_waits, false);
        if let Phase::Idle { since } = &mut state.phase
            && (waited || state.protocol == Protocol::Http1)
        {
            *since = Instant::now();
        }
    }

    /// Bytes are ready that can't be written yet.
    fn wait_to_send(&self) {
        self.0.state.lock().write_waits = true;
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

    /// A call is open, or an answer waits to be written.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.0.state.lock();
        state.write_waits || matches!(state.phase, Phase::Busy { .. })
    }

    /// Since when the connection waits for its client and for nothing else.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.0.state.lock().waits_since()
    }

    /// Asks the connection to give way, as soon as its task runs.
    pub(super) fn ask(&self) {
        self.0.state.lock().asked = Asked::Yes;
        self.0.watcher.wake();
    }

    /// A connection that was asked to give way stays; the next one is to be asked.
    pub(super) fn decline(&self) {
        self.stay(&mut self.0.state.lock());
    }

    fn stay(&self, state: &mut State) {
        // Yes | Polled => No
        if std::mem::replace(&mut state.asked, Asked::No) != Asked::No {
            self.0.newcomer.decline();
        }
    }

    fn is_asked(&self) -> bool {
        self.0.state.lock().asked != Asked::No
    }

    /// Until the connection is to give way to a new one. To be polled after the connection whenever that was polled.
    pub(super) async fn give_way(&self) {
        poll_fn(|cx| self.poll_give_way(cx)).await;
    }

    fn poll_give_way(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.watcher.register(cx.waker());
        let state = &mut *self.0.state.lock();
        let waits = state.waits_since().is_some();
        match state.asked {
            // No | Yes => Polled
            Asked::Yes if waits => state.asked = Asked::Polled,
            Asked::No if waits && self.0.newcomer.claim() => state.asked = Asked::Polled,
            Asked::Polled if waits => return Poll::Ready(()),
            Asked::No => return Poll::Pending,
            Asked::Yes | Asked::Polled => {
                self.stay(state);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn deadline(&self) -> Option<(Instant, Over)> {
        let state = self.0.state.lock();
        match state.phase {
            Phase::Head { since } => Some((since + self.0.limits.head, Over::Head)),
            // The stall time runs instead.
            Phase::Idle { .. } if state.write_waits => None,
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
    /// The same call, which is open until all that share it are dropped.
    pub(super) fn share(&self) -> Self {
        self.0.begin_call()
    }

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
    stall: Stall,
    socket: Socket<T>,
}

/// What can be asked of a connection's socket, and done to it.
#[derive(Debug)]
pub(super) struct Socket<T> {
    /// Bytes that were written and that the client hasn't taken; none: it can't be told.
    pub(super) unsent: fn(&T) -> Option<u32>,
    /// Whether bytes have come that weren't read.
    pub(super) has_unread: fn(&T) -> bool,
    /// What is done to the connection when its client has taken nothing for too long.
    pub(super) cut: fn(&T),
}

/// How long bytes that are ready may wait for a client that takes none. A connection that has nothing to say never waits.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    /// Made when a client is first waited for; most never are.
    sleep: Option<Pin<Box<Sleep>>>,
    wait: Option<Wait>,
}

/// A client is waited for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Since when it has taken nothing, as far as can be told.
    still_since: Instant,
    /// What it hadn't taken when that was last asked.
    unsent: Option<u32>,
}

impl<T> Watched<T> {
    /// A client may take nothing of what is ready for `limit`, and for a part of it more, `LOOKS` of which make the whole.
    pub(super) const fn new(stream: T, phases: Phases, limit: Duration, socket: Socket<T>) -> Self {
        Self { stream, phases, stall: Stall { limit, sleep: None, wait: None }, socket }
    }

    /// What became of a write.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall.wait = None;
            self.phases.sent();
            return written;
        }
        self.phases.wait_to_send();
        let unsent = || (self.socket.unsent)(&self.stream);
        ready!(self.stall.poll(unsent, cx));
        (self.socket.cut)(&self.stream);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")))
    }
}

impl Stall {
    /// Until the client has been waited for too long.
    fn poll(&mut self, unsent: impl Fn() -> Option<u32>, cx: &mut Context<'_>) -> Poll<()> {
        let (limit, now) = (self.limit, Instant::now());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(now)));
        let wait = match &mut self.wait {
            Some(wait) => wait,
            none => {
                let wait = none.insert(Wait { still_since: now, unsent: None });
                sleep.as_mut().reset(wait.next_look(limit, now));
                wait
            }
        };
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            wait.look(unsent(), now);
            if now >= wait.still_since + limit {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(wait.next_look(limit, now));
        }
    }
}

impl Wait {
    fn look(&mut self, unsent: Option<u32>, now: Instant) {
        let Some(found) = unsent else { return };
        // What was taken before the first look isn't known; it is taken for something.
        if self.unsent.is_none_or(|before| found < before) {
            *self = Self { still_since: now, unsent };
        }
    }

    fn next_look(&self, limit: Duration, now: Instant) -> Instant {
        (now + limit / LOOKS).min(self.still_since + limit)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.phases.heard(bytes);
        }
        // A read can be pending though bytes are there: the runtime hasn't heard of them yet.
        if read.is_pending() && self.phases.is_asked() && (self.socket.has_unread)(&self.stream) {
            self.phases.decline();
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

    fn phases() -> Phases {
        Phases::new(LIMITS, Newcomer::default())
    }

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
        assert_eq!(over(&phases()).await, Some((10, Over::Head)));
        let phases = phases();
        for byte in [b"G", b"E", b"T"] {
            pass(3).await;
            phases.heard(byte);
        }
        // Bytes that drip don't postpone it.
        assert_eq!(over(&phases).await, Some((1, Over::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_the_idle_time_and_its_next_head_the_heads() {
        let phases = phases();
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
        let phases = phases();
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
        let phases = phases();
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
        let phases = phases();
        phases.heard(b"GET / HTTP/1.1\r\n\r\n");
        let call = phases.begin_call();
        call.becomes_tunnel();
        drop(call);
        phases.heard(b"anything");
        assert_eq!(over(&phases).await, None);
    }

    /// A connection through which so many bytes go before its client reads some.
    fn narrow() -> (Watched<DuplexStream>, DuplexStream) {
        narrow_with(|_| None)
    }

    fn narrow_with(unsent: fn(&DuplexStream) -> Option<u32>) -> (Watched<DuplexStream>, DuplexStream) {
        let (ours, clients) = tokio::io::duplex(4);
        let socket = Socket { unsent, has_unread: |_| false, cut: |_| () };
        (Watched::new(ours, phases(), Duration::from_secs(60), socket), clients)
    }

    /// How long a write waits before it is given up, seconds.
    async fn given_up_after(watched: &mut Watched<DuplexStream>) -> u64 {
        let began = Instant::now();
        let error = watched.write_all(b"12345").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_what_lies_in_the_kernel_is_waited_for_though_no_write_is_ready() {
        let began = Instant::now();
        tokio::task_local! { static BEGAN: Instant; }
        // A byte each second for ten minutes, and none after that.
        let slow = |_: &DuplexStream| Some(1_000 - u32::try_from(BEGAN.get().elapsed().as_secs().min(600)).unwrap());
        let (mut watched, _client) = narrow_with(slow);
        assert_eq!(BEGAN.scope(began, given_up_after(&mut watched)).await, 660);
        // One that takes nothing is found out at the first look after the limit.
        let (mut watched, _client) = narrow_with(|_| Some(1_000));
        assert_eq!(given_up_after(&mut watched).await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_to_be_written_is_no_idling() {
        let phases = phases();
        phases.heard(b"GET / HTTP/1.1\r\n\r\n");
        drop(phases.begin_call());
        phases.wait_to_send();
        assert!(phases.is_busy());
        assert_eq!(over(&phases).await, None);
        phases.sent();
        assert!(!phases.is_busy());
        assert_eq!(over(&phases).await, Some((75, Over::Idle)));
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

    /// Whether it gives way within an hour, on a paused clock.
    async fn gives_way(phases: &Phases) -> bool {
        tokio::time::timeout(Duration::from_secs(3_600), phases.give_way()).await.is_ok()
    }

    /// What an ask comes to, and whether the next connection is asked instead.
    async fn asked(phases: &Phases) -> (bool, bool) {
        let mut declined = pin!(phases.0.newcomer.declined());
        declined.as_mut().enable();
        phases.ask();
        (gives_way(phases).await, futures_util::FutureExt::now_or_never(declined).is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_asked_gives_way_only_while_it_waits_for_its_client() {
        let phases = phases();
        assert!(!gives_way(&phases).await, "it wasn't asked");
        phases.heard(b"GET / HT");
        assert_eq!(asked(&phases).await, (true, false), "half a head has come");
        phases.decline();
        let call = phases.begin_call();
        assert_eq!(asked(&phases).await, (false, true), "a call is open");
        phases.wait_to_send();
        drop(call);
        assert_eq!(asked(&phases).await, (false, true), "an answer isn't written");
        phases.sent();
        assert_eq!(asked(&phases).await, (true, false), "it idles");
        phases.heard(b"G");
        assert!(!gives_way(&phases).await, "the next head has begun");
        let call = phases.begin_call();
        call.becomes_tunnel();
        drop(call);
        assert_eq!(asked(&phases).await, (false, true), "it is a tunnel");
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_could_be_asked_the_first_that_waits_for_its_client_gives_way_and_no_other() {
        let newcomer = Newcomer::default();
        let both = [(); 2].map(|()| Phases::new(LIMITS, newcomer.clone()));
        let calls = both.each_ref().map(Phases::begin_call);
        newcomer.take_first();
        assert!(!gives_way(&both[0]).await && !gives_way(&both[1]).await);
        drop(calls);
        assert!(gives_way(&both[1]).await && !gives_way(&both[0]).await);
        drop(both[1].begin_call());
        newcomer.take_first();
        newcomer.is_placed();
        assert!(!gives_way(&both[0]).await, "the new one has a place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_whose_client_the_kernel_has_bytes_does_not_give_way() {
        let cases: [(fn(&DuplexStream) -> bool, bool); 2] = [(|_| false, true), (|_| true, false)];
        for (has_unread, wanted) in cases {
            let (ours, _clients) = tokio::io::duplex(4);
            let socket = Socket { unsent: |_| None, has_unread, cut: |_| () };
            let phases = phases();
            let mut watched = Watched::new(ours, phases.clone(), Duration::from_secs(60), socket);
            phases.ask();
            let mut buffer = [0; 1];
            tokio::select! {
                biased;
                _ = watched.read(&mut buffer) => panic!("nothing was sent"),
                given_way = gives_way(&phases) => assert_eq!(given_way, wanted),
            }
        }
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
