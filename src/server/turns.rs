//! The order in which connections are worked on when there is more to do than time.
//!
//! A runtime works on its ready tasks in the order in which they became ready. Thousands of
//! strangers' connections that become ready in the same moment would make each known caller wait
//! for all of them. So a connection on which no known caller has called takes turns with its like:
//! in each millisecond [`AT_ONCE`] of them are worked on at once; the others wait, and a few are let go
//! each time that the tasks which were ready have had their run: of each network in its turn the one
//! that has waited longest. A known caller whose connection is new waits for one task of each network
//! that way, and not for the thousands of one. A known caller's connection never waits. While there is
//! little to do no connection waits.

use crate::peer::Precedence;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio::time::Instant;

/// So many connections of strangers are worked on in a millisecond without waiting.
const AT_ONCE: u64 = 8;
/// So many of those that wait are let go at a time.
const LET_GO: usize = 4;

/// Turns of a listener's connections; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// The millisecond since `began`, and in its low 16 bits how many were worked on in it.
    recent: AtomicU64,
    /// Locked for a push or a few pops.
    waiting: Mutex<Waiting>,
    comes: Notify,
    at_once: u64,
}

/// A task that waits.
type Entry = (Arc<Turn>, Waker);

/// Those who wait, by their flows. A flow of which none waits has no queue.
#[derive(Debug, Default)]
struct Waiting {
    queues: HashMap<SocketAddr, VecDeque<Entry>>,
    /// Flows by their turns, the next one first.
    order: VecDeque<SocketAddr>,
}

impl Waiting {
    fn push(&mut self, flow: SocketAddr, entry: Entry) {
        let queue = self.queues.entry(flow).or_default();
        if queue.is_empty() {
            self.order.push_back(flow);
        }
        queue.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry> {
        let flow = self.order.pop_front()?;
        let queue = self.queues.get_mut(&flow)?;
        let entry = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&flow);
        } else {
            self.order.push_back(flow);
        }
        entry
    }
}

/// Where one task stands.
#[derive(Debug, Default)]
struct Turn(AtomicU8);

const NONE: u8 = 0;
const WAITS: u8 = 1;
const LET: u8 = 2;

impl Turns {
    pub(super) fn new() -> Self {
        Self::with(AT_ONCE)
    }

    fn with(at_once: u64) -> Self {
        Self(Arc::new(Shared {
            at_once,
            began: Instant::now(),
            recent: AtomicU64::new(0),
            waiting: Mutex::default(),
            comes: Notify::new(),
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
        let some: Vec<_> = {
            let mut waiting = self.0.waiting.lock();
            std::iter::from_fn(|| waiting.pop()).take(LET_GO).collect()
        };
        let any = !some.is_empty();
        for (turn, waker) in some {
            turn.0.store(LET, Ordering::SeqCst);
            waker.wake();
        }
        any
    }

    /// The same future, polled in its turn. It is to be spawned: its waker must be its task's. `flow`:
    /// the tasks of one have their turns together.
    pub(super) async fn in_turn<F: Future>(
        self,
        flow: SocketAddr,
        precedence: Precedence,
        future: F,
    ) -> F::Output {
        let turn = Arc::new(Turn::default());
        let mut future = pin!(future);
        poll_fn(|cx| self.poll_in_turn(&turn, (flow, &precedence), future.as_mut(), cx)).await
    }

    fn poll_in_turn<F: Future>(
        &self,
        turn: &Arc<Turn>,
        (flow, precedence): (SocketAddr, &Precedence),
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        if precedence.is_given() {
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
                self.0.waiting.lock().push(flow, entry);
                self.0.comes.notify_one();
                return Poll::Pending;
            }
        }
        future.poll(cx)
    }

    /// Whether one more may be worked on in this millisecond; it counts if so.
    fn is_free(&self) -> bool {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX) << 16;
        let count = |recent: u64| {
            let count = if recent >> 16 == now >> 16 {
                recent & 0xffff
            } else {
                0
            };
            (count < self.0.at_once).then_some(now | (count + 1))
        };
        self.0
            .recent
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
            .is_ok()
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
            Self::with(0)
        }

        pub(in crate::server) fn count_waiting(&self) -> usize {
            let waiting = self.0.waiting.lock();
            waiting.queues.values().map(VecDeque::len).sum()
        }
    }

    /// Counts its polls and ends at the first.
    async fn count(polled: Arc<AtomicUsize>) {
        polled.fetch_add(1, Ordering::SeqCst);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_beyond_a_few_in_a_millisecond_and_known_callers_do_not() {
        let turns = Turns::new();
        let (strangers, known) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        for _ in 0..1_000 {
            let turns = turns.clone();
            let counted = count(Arc::clone(&strangers));
            tasks.spawn(turns.in_turn(network(1), Precedence::default(), counted));
        }
        for _ in 0..100 {
            let precedence = Precedence::default();
            precedence.give();
            let turns = turns.clone();
            tasks.spawn(turns.in_turn(network(1), precedence, count(Arc::clone(&known))));
        }
        let counts = || {
            (
                strangers.load(Ordering::SeqCst) as u64,
                known.load(Ordering::SeqCst),
            )
        };
        // Tasks are polled in the order in which they were spawned; nobody lets any go.
        while counts().1 < 100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counts(), (AT_ONCE, 100));
        assert!(turns.let_some_go());
        while counts().0 == AT_ONCE {
            tokio::task::yield_now().await;
        }
        assert_eq!(counts(), (AT_ONCE + LET_GO as u64, 100));
        let run = tokio::spawn(async move { turns.run().await });
        while tasks.join_next().await.is_some() {}
        assert_eq!(counts(), (1_000, 100));
        run.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_polled_once_when_let_go_however_often_it_is_woken() {
        let turns = Turns::all_wait();
        let polled = Arc::new(AtomicUsize::new(0));
        let mut waiting = one_that_waits(&turns, network(1), &polled);
        for _ in 0..3 {
            assert!(poll_once(&mut waiting).await.is_pending());
        }
        assert_eq!(polled.load(Ordering::SeqCst), 0);
        assert!(turns.let_some_go());
        assert!(!turns.let_some_go(), "it waits once");
        assert!(poll_once(&mut waiting).await.is_ready());
        assert_eq!(polled.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_network_waits_for_one_of_each_other_network_and_not_for_all_of_them() {
        let turns = Turns::all_wait();
        let (many, first) = (Arc::default(), Arc::default());
        let mut waiting: Vec<_> = (0..=255)
            .map(|number: u8| one_that_waits(&turns, network(number % 3), &many))
            .collect();
        waiting.push(one_that_waits(&turns, network(9), &first));
        for one in &mut waiting {
            assert!(poll_once(one).await.is_pending());
        }
        assert!(turns.let_some_go());
        for one in &mut waiting {
            _ = poll_once(one).await;
        }
        let counts = [many, first].map(|count: Arc<AtomicUsize>| count.load(Ordering::SeqCst));
        assert_eq!(counts, [LET_GO - 1, 1]);
        while turns.let_some_go() {}
        assert_eq!(turns.count_waiting(), 0);
        assert!(turns.0.waiting.lock().order.is_empty());
    }

    fn network(number: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, number], 0))
    }

    type Task = Pin<Box<dyn Future<Output = ()>>>;

    fn one_that_waits(turns: &Turns, flow: SocketAddr, polled: &Arc<AtomicUsize>) -> Task {
        let counted = count(Arc::clone(polled));
        Box::pin(turns.clone().in_turn(flow, Precedence::default(), counted))
    }

    async fn poll_once(future: &mut Task) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
