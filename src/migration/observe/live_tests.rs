//! What is worked out on paper is what live lanes do: a real shard with its task, and the packer of
//! deliveries, under the clock of the test.

use super::report::Figures;
use super::tests::{HOUR, Pen, Stream, asker, beside, room, rules, stream};
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{GroupIndex, Outcome, Principal};
use crate::identity::{Admit, Identity, IdentitySettings, Selection};
use crate::ingest::accept::admit::{Admitted, Admitter};
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::accept::seen::Seen;
use crate::ingest::accept::shares::{Address, Bounds, Holder, Shares};
use crate::ingest::delivery::pack::{Packer, Parcel};
use crate::ingest::lanes::shard::{Kept, Message, Parts, Shard, ShardTask, sleep_until};
use crate::ingest::lanes::window::{Batch, Fate, LaneId, Lanes, Rules, Verdict};
use crate::ingest::outcome::dead::DeadLetters;
use crate::ingest::outcome::settle::{self, Settler};
use crate::journal::tail::Tail;
use crate::journal::{Journal, More};
use crate::metrics::Metrics;
use crate::notices::Notices;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What left a live shard.
#[derive(Debug, PartialEq, Eq)]
struct Live {
    batches: u64,
    sent: u64,
    superseded: u64,
}

struct Ready(Batch<Kept>);

impl Parcel for Ready {
    type Event = Kept;
    fn batch(&self) -> &Batch<Kept> {
        &self.0
    }
}

/// Delivers what the shard hands over; the application takes everything at once.
struct Deliveries {
    shard: Arc<Shard>,
    inbox: mpsc::UnboundedReceiver<Message>,
    /// Where the group is shared.
    packer: Option<Packer<Ready>>,
    batches: Arc<AtomicU64>,
}

impl Deliveries {
    async fn run(mut self) {
        loop {
            let wake = self.packer.as_ref().and_then(Packer::deadline);
            tokio::select! {
                biased;
                message = self.inbox.recv() => match message {
                    None => return,
                    Some(Message::Ready { batch, .. }) => self.take(batch),
                    Some(Message::Hurry { lanes, .. }) => self.hurry(lanes.as_deref()),
                },
                () = sleep_until(wake) => {}
            }
            let due = self
                .packer
                .as_mut()
                .and_then(|packer| packer.tick(Instant::now()));
            due.into_iter().for_each(|load| self.deliver(load));
        }
    }

    fn hurry(&mut self, lanes: Option<&[LaneId]>) {
        let meant = |ready: &Ready| lanes.is_none_or(|lanes| lanes.contains(&ready.0.lane));
        let load = self
            .packer
            .as_mut()
            .and_then(|packer| packer.take_if(meant));
        load.into_iter().for_each(|load| self.deliver(load));
    }

    fn take(&mut self, batch: Batch<Kept>) {
        let loads = match &mut self.packer {
            Some(packer) => packer.push(Instant::now(), Ready(batch)),
            None => vec![vec![Ready(batch)]],
        };
        loads.into_iter().for_each(|load| self.deliver(load));
    }

    fn deliver(&self, load: Vec<Ready>) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        for Ready(batch) in load {
            let fates = batch.events.iter().map(|_| Fate::Done(Outcome::Accepted));
            let verdict = Verdict::Answered(fates.collect());
            self.shard.verdict(batch, verdict, Duration::ZERO);
        }
    }
}

pub(super) fn identity() -> Arc<Identity> {
    let settings = IdentitySettings {
        selection: Selection::listed(&[]),
        claims: Vec::new(),
        refresh: None,
        user: crate::template::Template::default(),
        lowercase_user: false,
        require: Vec::new(),
        forbid: Vec::new(),
        double_submit: None,
        token: Vec::new(),
        jwt: None,
        admit: Admit::Optimistic,
        proof_ttl: HOUR,
        cors: None,
    };
    Arc::new(Identity::new(settings, [7; 32], 10))
}

/// After how many events a call comes that goes after what the caller of the fifth before has.
type Waits = Option<usize>;

/// The event whose caller's call comes after this one of a stream.
fn waiter<T>(stream: &[T], number: usize, waits: Waits) -> Option<&T> {
    let comes = waits.is_some_and(|every| number.is_multiple_of(every));
    stream.get(number.checked_sub(5)?).filter(|_| comes)
}

/// Sends a stream through a live shard with these rules.
async fn run_live(rules: Rules, stream: Stream, waits: Waits) -> Live {
    let bounds = Bounds {
        shards: 1,
        lanes: 10_000,
        bytes: 1 << 30,
        listeners: 1,
        user_events: 100_000,
    };
    let shares = Arc::new(Shares::new(bounds));
    let reputation = Arc::new(Reputation::new(1, None, HOUR, None, 10_000, shares));
    let identity = identity();
    let admitter = Arc::new(Admitter {
        groups: vec!["g".into()],
        envelopes: Vec::new(),
        identity: Arc::clone(&identity),
        seen: Seen::new(640_000, &[0; 32]),
        tags: Arc::new(Tags::new()),
        metrics: Arc::new(Metrics::try_new().unwrap()),
        repetitions: Default::default(),
    });
    let packer = rules.shared.then(|| Packer::new(room()));
    let (dispatcher, inbox) = mpsc::unbounded_channel();
    let shard = Arc::new(Shard::new(Parts {
        number: 0,
        lanes: Lanes::new(vec![rules], 10_000),
        dispatcher,
        level: Arc::default(),
        reputation: Arc::clone(&reputation),
    }));
    let tail = Arc::clone(&shard) as Arc<dyn Tail<_>>;
    let journal: Arc<Journal<Admitted>> = Arc::new(Journal::in_memory(vec![tail], 1 << 30));
    let settler = Settler::new(settle::Parts {
        journal: Arc::clone(&journal),
        dead: Arc::new(DeadLetters::new(10, 1 << 20, Arc::clone(&reputation))),
        groups: Vec::new(),
        identity,
        notices: Arc::new(Notices::new(1)),
        clock: Clock::default(),
        outcomes: None,
        lives: Default::default(),
    });
    let batches = Arc::new(AtomicU64::new(0));
    drop(tokio::spawn(
        ShardTask::new(Arc::clone(&shard), Arc::new(settler)).run(),
    ));
    let deliveries = Deliveries {
        shard: Arc::clone(&shard),
        inbox,
        packer,
        batches: Arc::clone(&batches),
    };
    drop(tokio::spawn(deliveries.run()));
    let start = Instant::now();
    let askers: Vec<_> = stream.iter().map(|(_, event)| asker(event)).collect();
    for (number, (after, event)) in stream.into_iter().enumerate() {
        tokio::time::sleep_until(start + after).await;
        let holder = Holder {
            principal: Principal([1; 16]),
            address: Address::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let takes = reputation.shares().of_event(0, &event);
        let share = reputation.adopt_share(holder, takes);
        let key = admitter.key(&event);
        let admitted = admitter.admit(key, &event, HOUR, share).await.unwrap();
        let more = More {
            seen: admitted.seen(),
            replaces: None,
            beside: 0,
            succession: None,
            good: false,
        };
        journal.append(0, event, admitted, more).await.unwrap();
        if let Some(asker) = waiter(&askers, number, waits) {
            drop(shard.barrier(asker, &[GroupIndex(0)]).unwrap());
        }
    }
    tokio::time::sleep(HOUR).await;
    let ledger = admitter.metrics.ledgers.sum();
    assert!(ledger.pending == 0 && ledger.balances(), "{ledger}");
    Live {
        batches: batches.load(Ordering::Relaxed),
        sent: ledger.accepted,
        superseded: ledger.superseded,
    }
}

fn on_paper(stream: &Stream, waits: Waits) -> Vec<Figures> {
    let start = Instant::now();
    let mut pen = Pen::new(start);
    for (number, (after, event)) in stream.iter().enumerate() {
        pen.note(start + *after, event);
        if let Some((_, of)) = waiter(stream, number, waits) {
            pen.wait(start + *after, of);
        }
    }
    let mut report = pen.sheet.report(start + HOUR, beside());
    assert_eq!(report.one_in, 1, "nothing is sampled");
    report.groups.remove(0).arrangements
}

#[tokio::test(start_paused = true)]
async fn what_is_predicted_is_what_live_lanes_do_with_the_same_stream() {
    compare_with_live(None).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_go_after_their_callers_events_end_windows_on_paper_as_they_do_live() {
    let without = on_paper(&stream(40), None);
    let with = on_paper(&stream(40), Some(7));
    let batches = |all: &[Figures]| all.iter().map(|one| one.batches).sum::<u64>();
    assert!(batches(&with) > batches(&without) * 11 / 10);
    compare_with_live(Some(7)).await;
}

async fn compare_with_live(waits: Waits) {
    let paper = on_paper(&stream(40), waits);
    let seconds = Duration::from_secs;
    let own = rules().flush_at;
    let full = rules().max_events;
    for (window, flush_at, shared, newest) in [
        (seconds(5), full, false, false),
        (seconds(30), full, false, false),
        (seconds(5), full, true, false),
        (seconds(5), full, false, true),
        (seconds(30), own, false, false),
        (seconds(30), own, true, true),
    ] {
        let live = run_live(
            Rules {
                window,
                flush_at,
                shared,
                newest,
                ..rules()
            },
            stream(40),
            waits,
        )
        .await;
        let (pack, keep) = (
            if shared { "shared" } else { "user" },
            if newest { "newest" } else { "all" },
        );
        let told = paper.iter().find(|one| {
            u128::from(one.window_ms) == window.as_millis()
                && one.flush_at == flush_at
                && (&*one.pack, &*one.keep) == (pack, keep)
        });
        let told = told.unwrap();
        let told = Live {
            batches: told.batches,
            sent: told.sent,
            superseded: told.superseded,
        };
        assert_eq!(told, live, "{window:?} at {flush_at}, {pack}, {keep}");
        assert!(live.batches > 100, "{live:?}");
    }
}
