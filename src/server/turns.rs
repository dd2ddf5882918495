//! The order in which connections are worked on when there is more to do than time.
//!
//! A runtime works on its ready tasks in the order in which they became ready. Thousands of
//! strangers' connections that become ready in the same moment, or a few with much to do, would make
//! each known caller wait for all of them. So the tasks of connections on which no known caller has
//! called take turns:
//!
//! - together they are worked on at once for a part of the processors' time ([`PART`]); beyond it they
//!   wait in a queue, of which a few are let go each time that the tasks which were ready have had
//!   their run, so many as take [`LET_GO`] by what they took lately;
//! - each reads and writes for a [`QUANTUM`] at a time, and then goes to the end of the line.
//!
//! A known caller's connection never waits. While there is little to do no connection waits, and none
//! waits for longer than the queue before it takes.

use crate::peer::Precedence;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// One of so many parts of the processors' time is strangers' without waiting.
const PART: u64 = 2;
/// What they may have taken ahead of their part.
const AHEAD: Duration = Duration::from_millis(1);
/// So much work of those that wait is let go at a time, and at most so many of them.
const LET_GO: Duration = Duration::from_micros(200);
const MOST_LET_GO: u64 = 8;
/// How long a stranger's connection is read and written in one go.
const QUANTUM: Duration = Duration::from_micros(250);
/// The share of the last one in the average of what a stranger's work took: an eighth.
const LAST: u64 = 8;

/// Turns of a listener's connections; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Until when, since `began`, strangers have used up their part, ns.
    used_until: AtomicU64,
    /// What a piece of strangers' work took lately, ns.
    takes: AtomicU64,
    /// Locked for a push or a few pops.
    waiting: Mutex<VecDeque<(Arc<Turn>, Waker)>>,
    comes: Notify,
    workers: u64,
    ahead: u64,
}

/// Where one task stands.
#[derive(Debug, Default)]
struct Turn(AtomicU8);

const NONE: u8 = 0;
const WAITS: u8 = 1;
const LET: u8 = 2;

/// The quantum of time that a connection's task has; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Quantum {
    began: Instant,
    /// Its end, since `began`, ns; 0: it has none.
    end: Arc<AtomicU64>,
}

impl Quantum {
    /// Without an end, until its task is polled as a stranger's.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            end: Arc::default(),
        }
    }

    /// Whether it is over: what would be read or written now is pending. The task is woken then,
    /// since it isn't the other end that it waits for.
    pub(super) fn is_over(&self, cx: &Context<'_>) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        let is_over = end > 0 && since(self.began) >= end;
        if is_over {
            cx.waker().wake_by_ref();
        }
        is_over
    }

    fn begin(&self, length: Option<Duration>) {
        let end = length.map_or(0, |length| since(self.began) + nanos(length));
        self.end.store(end, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn since(began: Instant) -> u64 {
    nanos(began.elapsed())
}

impl Turns {
    /// Of a runtime with so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self::with(workers, nanos(AHEAD))
    }

    fn with(workers: usize, ahead: u64) -> Self {
        Self(Arc::new(Shared {
            began: Instant::now(),
            used_until: AtomicU64::new(0),
            takes: AtomicU64::new(0),
            waiting: Mutex::default(),
            comes: Notify::new(),
            workers: workers.max(1) as u64,
            ahead,
        }))
    }

    /// Lets those go that wait, for as long as it is polled.
    pub(super) async fn run(&self) {
        loop {
            self.0.comes.notified().await;
            while self.let_some_go() {
                // All that is ready runs before the next few.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether any was let go.
    fn let_some_go(&self) -> bool {
        let takes = self.0.takes.load(Ordering::Relaxed).max(1);
        let most = (nanos(LET_GO) / takes).clamp(1, MOST_LET_GO) as usize;
        let some: Vec<_> = {
            let mut waiting = self.0.waiting.lock();
            let count = waiting.len().min(most);
            waiting.drain(..count).collect()
        };
        let any = !some.is_empty();
        for (turn, waker) in some {
            turn.0.store(LET, Ordering::SeqCst);
            waker.wake();
        }
        any
    }

    /// The same future, polled in its turn; `quantum`: the time in which its connection is read and
    /// written in one go. It is to be spawned: its waker must be its task's.
    pub(super) async fn in_turn<F: Future>(
        self,
        precedence: Precedence,
        quantum: Option<Quantum>,
        future: F,
    ) -> F::Output {
        let turn = Arc::new(Turn::default());
        let mut future = pin!(future);
        let of = (&precedence, quantum.as_ref());
        poll_fn(|cx| self.poll_in_turn(&turn, of, future.as_mut(), cx)).await
    }

    fn poll_in_turn<F: Future>(
        &self,
        turn: &Arc<Turn>,
        (precedence, quantum): (&Precedence, Option<&Quantum>),
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        if precedence.is_given() {
            quantum.inspect(|quantum| quantum.begin(None));
            return future.poll(cx);
        }
        match turn.0.load(Ordering::SeqCst) {
            WAITS => return Poll::Pending,
            LET => turn.0.store(NONE, Ordering::SeqCst),
            _ if self.is_free() => {}
            _ => {
                // ORDER: before it is in the queue, since it may be let go at once.
                turn.0.store(WAITS, Ordering::SeqCst);
                let entry = (Arc::clone(turn), cx.waker().clone());
                self.0.waiting.lock().push_back(entry);
                self.0.comes.notify_one();
                return Poll::Pending;
            }
        }
        quantum.inspect(|quantum| quantum.begin(Some(QUANTUM)));
        let begins = since(self.0.began);
        let polled = future.poll(cx);
        self.used(since(self.0.began).saturating_sub(begins));
        polled
    }

    /// Whether strangers have something left of their part.
    fn is_free(&self) -> bool {
        self.0.used_until.load(Ordering::Relaxed) < since(self.0.began) + self.0.ahead
    }

    /// Counts what a stranger's work took, ns.
    fn used(&self, took: u64) {
        let now = since(self.0.began);
        let part = took * PART / self.0.workers;
        let add = |until: u64| Some(until.max(now).saturating_add(part));
        let order = Ordering::Relaxed;
        _ = self.0.used_until.fetch_update(order, order, add);
        let average = |takes: u64| Some(takes - takes / LAST + took / LAST);
        _ = self.0.takes.fetch_update(order, order, average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::task::JoinSet;

    impl Turns {
        /// Turns for which every connection waits.
        pub(in crate::server) fn all_wait() -> Self {
            let turns = Self::new(1);
            turns.0.used_until.store(u64::MAX, Ordering::Relaxed);
            turns
        }

        pub(in crate::server) fn count_waiting(&self) -> usize {
            self.0.waiting.lock().len()
        }
    }

    /// Counts its polls and ends at the first.
    async fn count(polled: Arc<AtomicUsize>) {
        polled.fetch_add(1, Ordering::SeqCst);
    }

    fn work_for(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// Twice of what strangers may have taken ahead.
    async fn work(polled: Arc<AtomicUsize>) {
        work_for(2 * AHEAD);
        count(polled).await;
    }

    #[tokio::test]
    async fn strangers_wait_beyond_their_part_of_the_time_and_known_callers_do_not() {
        let turns = Turns::new(1);
        let (strangers, known) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let turns = turns.clone();
            let work = work(Arc::clone(&strangers));
            tasks.spawn(turns.in_turn(Precedence::default(), None, work));
        }
        for _ in 0..100 {
            let precedence = Precedence::default();
            precedence.give();
            let turns = turns.clone();
            tasks.spawn(turns.in_turn(precedence, None, count(Arc::clone(&known))));
        }
        let counts = || {
            (
                strangers.load(Ordering::SeqCst),
                known.load(Ordering::SeqCst),
            )
        };
        // Tasks are polled in the order in which they were spawned; nobody lets any go.
        while counts().1 < 100 {
            tokio::task::yield_now().await;
        }
        // One, and another one each time that the machine had this test wait for longer than their
        // work is worth.
        let (before, _) = counts();
        assert!(before < 20, "{before} strangers went first");
        assert!(turns.let_some_go());
        while counts().0 == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(counts(), (before + 1, 100), "of long work one is let go");
        let run = tokio::spawn(async move { turns.run().await });
        while tasks.join_next().await.is_some() {}
        assert_eq!(counts(), (100, 100));
        run.abort();
    }

    #[tokio::test]
    async fn of_short_work_several_are_let_go_at_a_time() {
        let turns = Turns::all_wait();
        let polled = Arc::new(AtomicUsize::new(0));
        let mut waiting: Vec<_> = (0..100).map(|_| one_that_waits(&turns, &polled)).collect();
        for one in &mut waiting {
            assert!(poll_once(one).await.is_pending());
        }
        assert!(turns.let_some_go());
        for one in &mut waiting {
            _ = poll_once(one).await;
        }
        assert_eq!(polled.load(Ordering::SeqCst) as u64, MOST_LET_GO);
    }

    #[tokio::test]
    async fn who_waits_is_polled_once_when_let_go_however_often_it_is_woken() {
        let turns = Turns::all_wait();
        let polled = Arc::new(AtomicUsize::new(0));
        let mut waiting = one_that_waits(&turns, &polled);
        for _ in 0..3 {
            assert!(poll_once(&mut waiting).await.is_pending());
        }
        assert_eq!(polled.load(Ordering::SeqCst), 0);
        assert!(turns.let_some_go());
        assert!(!turns.let_some_go(), "it waits once");
        assert!(poll_once(&mut waiting).await.is_ready());
        assert_eq!(polled.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_stranger_works_for_a_quantum_at_a_time_and_a_known_caller_to_its_end() {
        for is_known in [false, true] {
            let turns = Turns::new(1_000);
            let (precedence, quantum) = (Precedence::default(), Quantum::new());
            if is_known {
                precedence.give();
            }
            let ends = quantum.clone();
            let mut quanta = 0;
            let work = poll_fn(move |cx| {
                work_for(2 * QUANTUM);
                quanta += 1;
                if quanta < 3 && ends.is_over(cx) {
                    return Poll::Pending;
                }
                Poll::Ready(quanta)
            });
            // It wakes itself, or this would never end.
            let quanta = tokio::spawn(turns.in_turn(precedence, Some(quantum), work));
            assert_eq!(quanta.await.unwrap(), if is_known { 1 } else { 3 });
        }
    }

    type Waiting = Pin<Box<dyn Future<Output = ()>>>;

    fn one_that_waits(turns: &Turns, polled: &Arc<AtomicUsize>) -> Waiting {
        let counted = count(Arc::clone(polled));
        Box::pin(turns.clone().in_turn(Precedence::default(), None, counted))
    }

    async fn poll_once(future: &mut Waiting) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
