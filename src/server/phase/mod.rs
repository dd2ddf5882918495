//! What a client's connection is doing, and how long it may do that.
//!
//! hyper has one time-out for heads, which runs while a connection idles as well, and none for
//! HTTP/2. So each connection keeps its own account: its I/O says when bytes come, each call says
//! when it begins and ends.
//!
//! ```text
//! HTTP/1.1   Head ─ call begins ─▶ Busy ─ call ends ─▶ Idle ─ a byte ─▶ Head
//!                                    └ 101 ─▶ Tunnel
//! HTTP/2     Head ─ its preface is whole ─▶ Idle ◀─ last call ends, first call begins ─▶ Busy
//! ```
//!
//! `Head` ends after `header_timeout`, from the connection's beginning or the head's first byte,
//! however many follow; a TLS handshake is a part of the first one. `Idle` ends after `keepalive_timeout`. `Busy` and `Tunnel` have no deadline
//! of their own, since bodies may stream for ever and pause, and a call's body may go on when its answer has ended; but in every phase, bytes that are
//! ready and of which the client takes none for `stall_timeout` end the connection (`stall.rs`).
//! What waits to be written is no idling either: the time of `Idle` begins when it is written. An
//! HTTP/2 head can't be told from other frames; while no call is open it counts as idle time.
//!
//! A connection in `Head` or `Idle`, all of whose bytes are written, waits for its client, and
//! gives way to a new one that finds no place (`places.rs`). A request may have come that no poll
//! has read; so a connection that is asked is polled once more, and stays if it has begun a call,
//! begun the head after an answer, or left bytes in the kernel:
//!
//! ```text
//! No ─ asked, or first to wait ─▶ Yes ─ waits for its client ─▶ Polled ─ still does, all bytes are read ─▶ gives way
//!                                  └──────── else ──────▶ No ◀── else ──┘
//! ```

mod stall;
mod watched;

pub(super) use watched::{Socket, Watched};

use super::newcomer::Newcomer;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

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
    /// Locked for moments: by the connection's task, and by the ends of HTTP/2 calls in tasks of
    /// their own.
    state: Mutex<State>,
    /// The connection's task. HTTP/1.1 changes its phase in that task only, and needs no waking for
    /// it.
    watcher: AtomicWaker,
    limits: Limits,
    newcomer: Newcomer,
    told_to_leave: AtomicBool,
    /// See [`Phases::has_unseen_call`].
    has_unseen_call: AtomicBool,
    /// Who waits until it is seen.
    reader: AtomicWaker,
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

/// How a connection stands that is told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Nothing is lost with it: its client has said nothing yet, or over HTTP/2 nothing is open.
    Silent,
    /// A head is on its way, or calls of HTTP/2 are open.
    Speaking,
    /// It idles, or its call is answered, which ends it.
    Free,
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
        let phase = Phase::Head {
            since: Instant::now(),
        };
        let state = State {
            phase,
            protocol: Protocol::Unknown(0),
            write_waits: false,
            asked: Asked::No,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            watcher: AtomicWaker::new(),
            limits,
            newcomer,
            told_to_leave: AtomicBool::new(false),
            has_unseen_call: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }))
    }

    /// Bytes of HTTP have come. A TLS handshake is none: it has its time from that of the first head.
    pub(super) fn heard(&self, bytes: &[u8]) {
        let state = &mut *self.0.state.lock();
        if let Protocol::Unknown(seen) = state.protocol {
            state.protocol = next_protocol(seen, bytes);
            // Head => Idle
            if state.protocol == Protocol::Http2 {
                state.phase = Phase::Idle {
                    since: Instant::now(),
                };
            }
        }
        // Idle => Head
        if let (Phase::Idle { .. }, Protocol::Http1) = (state.phase, state.protocol) {
            state.phase = Phase::Head {
                since: Instant::now(),
            };
            self.stay(state);
        }
    }

    /// Bytes have gone: an answer that is still being sent is no idling. HTTP/2 sends frames of its
    /// own, which say nothing.
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
        let state = &mut *self.0.state.lock();
        // Over HTTP/2 a call has a task of its own.
        let is_unseen = state.protocol != Protocol::Http2;
        self.0.has_unseen_call.store(is_unseen, Ordering::Relaxed);
        self.open_call(state)
    }

    fn open_call(&self, state: &mut State) -> OpenCall {
        let phase = &mut state.phase;
        *phase = match *phase {
            // Head | Idle => Busy
            Phase::Head { .. } | Phase::Idle { .. } => Phase::Busy { calls: 1 },
            Phase::Busy { calls } => Phase::Busy { calls: calls + 1 },
            Phase::Tunnel => Phase::Tunnel,
        };
        OpenCall {
            phases: self.clone(),
            is_share: false,
        }
    }

    /// Whoever answers the call that has begun looks at it.
    pub(super) fn see_call(&self) {
        if self.0.has_unseen_call.swap(false, Ordering::Relaxed) {
            self.0.reader.wake();
        }
    }

    /// A call has begun, and whoever answers it hasn't looked at it yet: then the task is woken.
    pub(super) fn has_unseen_call(&self, cx: &Context<'_>) -> bool {
        let is_unseen = self.0.has_unseen_call.load(Ordering::Relaxed);
        if is_unseen {
            self.0.reader.register(cx.waker());
        }
        is_unseen
    }

    fn end_call(&self) {
        let state = &mut *self.0.state.lock();
        state.phase = match state.phase {
            // Busy => Idle
            Phase::Busy { calls: 0 | 1 } => Phase::Idle {
                since: Instant::now(),
            },
            Phase::Busy { calls } => Phase::Busy { calls: calls - 1 },
            other => other,
        };
        if state.protocol == Protocol::Http2 {
            self.0.watcher.wake();
        }
    }

    /// The client's preface was HTTP/2's.
    pub(super) fn is_http2(&self) -> bool {
        self.0.state.lock().protocol == Protocol::Http2
    }

    /// How a connection stands that is told to leave.
    pub(super) fn leaving(&self) -> Leaving {
        let state = self.0.state.lock();
        match (state.protocol, state.phase) {
            (Protocol::Unknown(0), _) => Leaving::Silent,
            (Protocol::Http2, Phase::Busy { .. }) | (_, Phase::Head { .. }) => Leaving::Speaking,
            // Its client may not have answered the GOAWAY, and never will.
            (Protocol::Http2, Phase::Idle { .. }) if !state.write_waits => Leaving::Silent,
            _ => Leaving::Free,
        }
    }

    /// From now on each answer closes its connection.
    pub(super) fn tell_to_leave(&self) {
        self.0.told_to_leave.store(true, Ordering::Relaxed);
    }

    /// Whether each answer closes its connection.
    pub(super) fn is_told_to_leave(&self) -> bool {
        self.0.told_to_leave.load(Ordering::Relaxed)
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

    /// Until the connection is to give way to a new one. To be polled after the connection whenever
    /// that was polled.
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

    /// Until a phase has lasted too long. To be polled after the connection whenever that was
    /// polled: its phases change there.
    pub(super) async fn over(&self) -> Over {
        let mut sleep = pin!(sleep_until(Instant::now() + self.0.limits.head));
        poll_fn(|cx| {
            if self.0.state.lock().protocol != Protocol::Http1 {
                self.0.watcher.register(cx.waker());
            }
            // A timer that is too early is set anew when it rings, so that a busy connection never
            // sets it.
            loop {
                let Some((deadline, over)) = self.deadline() else {
                    return Poll::Pending;
                };
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
    let (known, fits) = (
        rest.len().min(bytes.len()),
        bytes.iter().zip(rest).all(|(byte, wanted)| byte == wanted),
    );
    match fits {
        true if known == rest.len() => Protocol::Http2,
        true => Protocol::Unknown(seen + known),
        false => Protocol::Http1,
    }
}

/// A call that isn't answered to its end; dropping it ends it, whatever happened.
#[derive(Debug)]
pub(super) struct OpenCall {
    phases: Phases,
    /// Its end says nothing of whether the call was seen.
    is_share: bool,
}

impl OpenCall {
    /// The same call, which is open until all that share it are dropped.
    pub(super) fn share(&self) -> Self {
        let mut call = self.phases.open_call(&mut self.phases.0.state.lock());
        call.is_share = true;
        call
    }

    /// Its body goes on when its answer has ended: it is open until this is cancelled.
    pub(super) fn stay_until(&self, over: CancellationToken) {
        let share = self.share();
        drop(tokio::spawn(async move {
            over.cancelled().await;
            let phases = share.phases.clone();
            drop(share);
            // Not the connection's own task, which HTTP/1.1 doesn't wake.
            phases.0.watcher.wake();
        }));
    }

    /// The connection no longer carries HTTP.
    pub(super) fn becomes_tunnel(&self) {
        self.phases.0.state.lock().phase = Phase::Tunnel;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.is_share {
            self.phases.see_call();
        }
        self.phases.end_call();
    }
}

#[cfg(test)]
mod tests;
