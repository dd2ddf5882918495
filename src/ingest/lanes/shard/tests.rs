use super::*;
use crate::cache::tags::{Tags, Waiting};
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, Keys, LaneKey, Outcome, Reason, Tag, Texts,
};
use crate::identity::{Admit, Identity, IdentitySettings, Selection};
use crate::ingest::accept::admit::Admitter;
use crate::ingest::accept::reputation::RefusedBy;
use crate::ingest::accept::seen::{Claim, Seen};
use crate::ingest::accept::shares::{Address, Bounds, Holder, Shares, Takes};
use crate::ingest::delivery;
use crate::ingest::delivery::deliverer::{Carrier, Deliverer};
use crate::ingest::delivery::load::{Ready, Under};
use crate::ingest::lanes::window::{Fate, Queued, Rules};
use crate::ingest::outcome::dead::DeadLetters;
use crate::ingest::outcome::settle::{self, Settler};
use crate::ingest::settings::{Backoff, Delivery, Limited};
use crate::journal::{AppendError, Journal, More, Ticket as _};
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::peer::TrustedProxies;
use crate::spans::{Origin, Spans};
use crate::upstream::headers::HopSettings;
use crate::upstream::{Http2Use, Upstream, UpstreamSettings};
use futures_util::FutureExt as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

const ADA: Principal = Principal([1; 16]);
const HERE: GroupIndex = GroupIndex(0);
const HOUR: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_secs(1);

/// A shard that runs, and all that it talks to.
struct Scene {
    admitter: Arc<Admitter>,
    journal: Arc<Journal<Admitted>>,
    reputation: Arc<Reputation>,
    shard: Arc<Shard>,
    batches: mpsc::UnboundedReceiver<Message>,
    task: Option<ShardTask>,
    events: u64,
}

fn identity() -> Identity {
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
    Identity::new(settings, [7; 32], 10)
}

fn rules() -> Rules {
    Rules {
        window: HOUR,
        flush_at: 100,
        max_events: 100,
        max_bytes: 1 << 20,
        distinct: Vec::new(),
        newest: false,
        single_calls: false,
        change: Vec::new(),
        ordered: Vec::new(),
        seals: Vec::new(),
        shared: false,
        shown: false,
        single: false,
        max_attempts: 3,
        give_up_after: HOUR,
        token_margin: Duration::ZERO,
    }
}

fn event(number: u64, priority: bool) -> Event {
    let credential = Fingerprint(ADA.0);
    let context = Context::bare(Keys::of(credential));
    Event {
        texts: Texts::new(
            &EventId::try_new(&number.to_string()).unwrap(),
            "{}",
            Carried::bare(None).pack(),
        ),
        lane: LaneKey {
            group: HERE,
            user: UserId::try_new("ada").unwrap(),
            credential,
        },
        context: Arc::new(context),
        claimed: true,
        has_single: false,
        tags: [].into(),
        priority,
        received_at: SystemTime::UNIX_EPOCH,
        token_life: None,
        subject: None,
        content: number,
    }
}

impl Scene {
    fn new() -> Self {
        let bounds = Bounds {
            shards: 1,
            lanes: 100,
            bytes: 1 << 20,
            listeners: 1,
            user_events: 100,
        };
        let reputation = Reputation::new(1, None, HOUR, None, 100, Arc::new(Shares::new(bounds)));
        let reputation = Arc::new(reputation);
        let identity = Arc::new(identity());
        let admitter = Arc::new(Admitter {
            groups: vec!["g".into()],
            envelopes: Vec::new(),
            identity: Arc::clone(&identity),
            seen: Seen::new(6_400, &[0; 32]),
            tags: Arc::new(Tags::new()),
            metrics: Arc::new(Metrics::try_new().unwrap()),
            repetitions: Default::default(),
        });
        let (dispatcher, batches) = mpsc::unbounded_channel();
        let lanes = Lanes::new(vec![rules()], 10);
        let (level, known) = (Arc::default(), Arc::clone(&reputation));
        let shard = Arc::new(Shard::new(Parts {
            number: 0,
            lanes,
            dispatcher,
            level,
            reputation: known,
        }));
        let journal = Arc::new(Journal::in_memory(
            vec![Arc::clone(&shard) as Arc<dyn Tail<_>>],
            1 << 20,
        ));
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
        let task = Some(ShardTask::new(Arc::clone(&shard), Arc::new(settler)));
        Self {
            admitter,
            journal,
            reputation,
            shard,
            batches,
            task,
            events: 0,
        }
    }

    async fn admit(&self, event: &Event) -> Result<Admitted, Claim> {
        let holder = Holder {
            principal: ADA,
            address: Address::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let takes: Takes = self.reputation.shares().of_event(0, event);
        let share = self.reputation.adopt_share(holder, takes);
        self.admitter
            .admit(self.admitter.key(event), event, HOUR, share)
            .await
    }

    /// An event is in the journal, and in its lane.
    async fn keep(&mut self, priority: bool) {
        self.try_keep(priority).await.unwrap();
    }

    async fn try_keep(&mut self, priority: bool) -> Result<u64, AppendError> {
        self.events += 1;
        let event = event(self.events, priority);
        let admitted = self.admit(&event).await.unwrap();
        let more = More {
            seen: admitted.seen(),
            replaces: None,
            beside: 0,
            succession: None,
            good: false,
        };
        self.journal.append(0, event, admitted, more).await
    }

    /// What delivers, with verdicts that reach the shard.
    fn deliverer(&self) -> Deliverer {
        let upstream = UpstreamSettings {
            url: "http://127.0.0.1:9".parse().unwrap(),
            socket: None,
            tls: None,
            http2: Http2Use::default(),
            connect_timeout: HOUR,
            response_timeout: HOUR,
            idle_timeout: HOUR,
            max_connections: 4,
            kept_for_deliveries: 1,
            knows_callers: false,
            stall_timeout: HOUR,
            trusted_proxies: TrustedProxies::local(),
            title_case: false,
            hops: HopSettings {
                preserve_host: true,
                via: false,
            },
            relays: Vec::new(),
            relaxed_paths: false,
        };
        let settings = Delivery {
            timeout: HOUR,
            max_in_flight: 1,
            retry_network: vec![PAUSE],
            retry_server: Backoff {
                base: PAUSE,
                cap: PAUSE,
            },
            retry_limited: Limited {
                base: PAUSE,
                jitter: PAUSE,
            },
            escalate_after: 3,
            give_up_after: HOUR,
            token_margin: Duration::ZERO,
            barrier: HOUR,
        };
        Deliverer::new(delivery::Parts {
            upstream: Some(Upstream::new(upstream)),
            outcomes: None,
            settings,
            groups: Vec::new(),
            identity: Arc::clone(&self.admitter.identity),
            metrics: Arc::clone(&self.admitter.metrics),
            reputation: Arc::clone(&self.reputation),
            shards: vec![Arc::clone(&self.shard)],
            gates: [].into(),
            clock: Clock::default(),
            access: AccessLog::default(),
            spans: Spans::default(),
        })
    }

    fn run(&mut self) {
        drop(tokio::spawn(self.task.take().unwrap().run()));
    }

    /// The next batch. Time stands still: what needs a timer comes an hour late.
    async fn batch(&mut self) -> Batch<Kept> {
        let began = Instant::now();
        loop {
            if let Message::Ready { batch, .. } = self.batches.recv().await.unwrap() {
                assert_eq!(Instant::now(), began, "it came by its timer only");
                return batch;
            }
        }
    }

    /// The next batch, whenever it comes.
    async fn late_batch(&mut self) -> Option<Batch<Kept>> {
        match tokio::time::timeout(2 * HOUR, self.batches.recv()).await {
            Ok(Some(Message::Ready { batch, .. })) => Some(batch),
            _ => None,
        }
    }

    fn reject(&self, batch: Batch<Kept>) {
        self.shard.verdict(batch, Verdict::Rejected, Duration::ZERO);
    }

    /// Everything that was left to the task is done: time goes on when nothing else can.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn accepted(&self) -> u64 {
        self.admitter.metrics.ledgers.sum().accepted
    }

    fn was_woken(&self) -> bool {
        self.shard.due.notified().now_or_never().is_some()
    }
}

/// All that Ada does.
fn all_of_ada() -> Asker {
    Asker {
        principal: ADA,
        realm: crate::event::Realm(0),
        user: None,
        joins: false,
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_before_a_barrier_is_in_its_lane_when_the_barrier_looks() {
    let mut scene = Scene::new();
    scene.keep(false).await;
    let mut settled = scene
        .shard
        .barrier(&all_of_ada(), &[HERE])
        .unwrap()
        .expect("it is pending");
    // Both are there before the task looks.
    scene.run();
    assert_eq!(
        scene.batch().await.events.len(),
        1,
        "the barrier sealed its window"
    );
    scene.settle().await;
    assert!(settled.try_recv().is_err(), "and waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_barrier_passes_at_once_where_nothing_waits_and_not_before_an_outcome_is_known_everywhere()
 {
    let mut scene = Scene::new();
    assert!(
        scene
            .shard
            .barrier(&all_of_ada(), &[HERE])
            .unwrap()
            .is_none()
    );
    scene.keep(true).await;
    let batch = scene.batch().await;
    scene.shard.verdict(
        batch,
        Verdict::Answered(vec![Fate::Done(Outcome::Accepted)]),
        Duration::ZERO,
    );
    // Its lane is gone, and nobody has heard of it.
    let mut settled = scene
        .shard
        .barrier(&all_of_ada(), &[HERE])
        .unwrap()
        .expect("it is not settled");
    assert!(settled.try_recv().is_err() && scene.accepted() == 0);
    scene.run();
    settled.await.unwrap();
    assert_eq!(scene.accepted(), 1);
    assert!(
        scene
            .shard
            .barrier(&all_of_ada(), &[HERE])
            .unwrap()
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_something_until_its_outcome_is_known_everywhere_and_looking_seals_nothing() {
    let mut scene = Scene::new();
    let has = |scene: &Scene, asker: &Asker| scene.shard.has_any(asker, &[HERE]).unwrap();
    let another = Asker {
        principal: Principal([9; 16]),
        ..all_of_ada()
    };
    assert!(!has(&scene, &all_of_ada()));
    scene.keep(false).await;
    assert!(has(&scene, &all_of_ada()) && !has(&scene, &another));
    assert!(!scene.shard.has_any(&all_of_ada(), &[]).unwrap());
    assert!(scene.batches.try_recv().is_err(), "its window is open");
    scene.keep(true).await;
    let batch = scene.batch().await;
    assert!(has(&scene, &all_of_ada()), "on its way");
    let fates = vec![Fate::Done(Outcome::Accepted); 2];
    scene
        .shard
        .verdict(batch, Verdict::Answered(fates), Duration::ZERO);
    assert!(has(&scene, &all_of_ada()), "nobody has heard of it");
    scene.run();
    scene.settle().await;
    assert!(!has(&scene, &all_of_ada()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_holds_what_nothing_is_before_passes_at_once() {
    let mut scene = Scene::new();
    let (held, passed) = scene.shard.hold(&all_of_ada(), &[HERE].into()).unwrap();
    assert!(passed.is_none());
    // What comes later waits behind it.
    scene.keep(true).await;
    assert!(scene.batches.try_recv().is_err());
    drop(held);
    assert_eq!(scene.batch().await.events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_task_is_woken_only_by_a_nearer_deadline_or_by_what_it_has_to_do() {
    let mut scene = Scene::new();
    scene.keep(false).await;
    assert!(scene.was_woken(), "there was no deadline yet");
    tokio::time::advance(PAUSE).await;
    scene.keep(false).await;
    assert!(!scene.was_woken(), "its window is open");
    scene.keep(true).await;
    let batch = scene.batch().await;
    assert!(!scene.was_woken(), "a batch is no affair of the task");
    let fates = vec![Fate::Done(Outcome::Accepted); 3];
    scene
        .shard
        .verdict(batch, Verdict::Answered(fates), Duration::ZERO);
    assert!(scene.was_woken(), "there is something to settle");
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_its_task_takes_nothing_and_keeps_nobody_waiting() {
    let mut scene = Scene::new();
    scene.keep(false).await;
    let waits = scene
        .shard
        .barrier(&all_of_ada(), &[HERE])
        .unwrap()
        .unwrap();
    scene.task = None;
    assert!(waits.await.is_err());
    assert_eq!(scene.try_keep(false).await, Err(AppendError::Closed));
    assert_eq!(
        scene.shard.barrier(&all_of_ada(), &[HERE]).unwrap_err(),
        Ended
    );
    assert_eq!(
        scene.admitter.metrics.ledgers.sum().pending,
        1,
        "only the first one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_ends_the_shard_and_its_task() {
    let mut scene = Scene::new();
    let shard = Arc::clone(&scene.shard);
    let task = tokio::spawn(scene.task.take().unwrap().run());
    assert!(
        tokio::spawn(async move { shard.set(|_| panic!("a step broke off")) })
            .await
            .is_err()
    );
    task.await.unwrap();
    assert_eq!(scene.try_keep(false).await, Err(AppendError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_back_after_the_success_that_ends_it_holds_nothing() {
    let mut scene = Scene::new();
    scene.run();
    scene.keep(true).await;
    let batch = scene.batch().await;
    scene.reputation.refuse(ADA, RefusedBy::Unauthorized);
    scene.reputation.vouch(ADA, false, HERE);
    scene.reject(batch);
    let again = scene.batch().await;
    scene.reputation.refuse(ADA, RefusedBy::Unauthorized);
    scene.reject(again);
    scene.settle().await;
    assert!(
        scene.batches.try_recv().is_err(),
        "one that nothing has ended holds it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_was_forgotten_is_known_again_when_an_event_comes_into_what_it_holds() {
    let mut scene = Scene::new();
    scene.run();
    scene.keep(true).await;
    let batch = scene.batch().await;
    scene.reputation.refuse(ADA, RefusedBy::Unauthorized);
    scene.reject(batch);
    scene.settle().await;
    scene.reputation.forget(ADA);
    scene.keep(false).await;
    scene.settle().await;
    assert!(scene.reputation.is_refused_in(ADA, HERE));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_breaks_off_brings_its_batch_back_to_its_lane() {
    let mut scene = Scene::new();
    scene.run();
    scene.keep(true).await;
    let batch = scene.batch().await;
    let (numbers, id) = (
        batch
            .events
            .iter()
            .map(|queued| queued.entry.seq())
            .collect::<Vec<_>>(),
        batch.id,
    );
    let ready = Ready {
        shard: 0,
        batch,
        retries: 0,
        under: Under::Own,
    };
    let carrier = Carrier {
        deliverer: Arc::new(scene.deliverer()),
        load: vec![ready],
    };
    let attempt = tokio::spawn(async move {
        let _carrier = carrier;
        panic!("an attempt broke off");
    });
    assert!(attempt.await.is_err());
    let batch = scene.late_batch().await.expect("it never comes again");
    let again: Vec<_> = batch
        .events
        .iter()
        .map(|queued| queued.entry.seq())
        .collect();
    assert_eq!((again, batch.id), (numbers, id), "the same batch");
}

#[tokio::test(start_paused = true)]
async fn a_window_begins_when_its_first_event_was_kept_and_not_when_its_shard_looks() {
    let mut scene = Scene::new();
    let kept = Instant::now();
    scene.keep(false).await;
    tokio::time::advance(HOUR / 2).await;
    scene.run();
    assert!(scene.late_batch().await.is_some());
    assert!(
        (HOUR..HOUR + PAUSE).contains(&kept.elapsed()),
        "{:?}",
        kept.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_taken_back_leaves_nothing_behind() {
    let scene = Scene::new();
    let event = event(1, false);
    let admit = || async {
        let holder = Holder {
            principal: ADA,
            address: Address::of(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let share = scene
            .reputation
            .adopt_share(holder, scene.reputation.shares().of_event(0, &event));
        scene
            .admitter
            .admit(scene.admitter.key(&event), &event, HOUR, share)
            .await
    };
    let pending = || scene.admitter.metrics.ledgers.sum().pending;
    let mut admitted = admit().await.unwrap();
    admitted.kept();
    // Nobody was there to take it over.
    admitted.taken_back();
    drop(admitted);
    assert_eq!(pending(), 0);
    let again = tokio::time::timeout(HOUR, admit())
        .await
        .expect("its id is free again")
        .unwrap();
    assert_eq!(pending(), 1);
    drop(again);
}

#[tokio::test]
async fn events_that_settle_together_leave_tags_ids_and_the_ledger_as_each_alone_would() {
    let scene = Scene::new();
    // Neighbours share their tags, and each set comes again after ten others.
    let tags = |number: u64| [Tag::new(&format!("t:{}", number / 2 % 11)), Tag::new("all")];
    let all = || (0..22).flat_map(tags).collect::<Vec<_>>();
    let events: Vec<_> = (1..=40)
        .map(|number| Event {
            tags: tags(number).into(),
            ..event(number, false)
        })
        .collect();
    let outcome = |number: u64| match number % 4 {
        0 => Outcome::Dead(Reason::Refused),
        1 => Outcome::Duplicate,
        2 => Outcome::Superseded {
            by: EventId::try_new("1").unwrap(),
        },
        _ => Outcome::Accepted,
    };
    let mut settled = Vec::new();
    for event in &events {
        let mut admitted = scene.admit(event).await.unwrap();
        admitted.kept();
        settled.push((admitted, outcome(event.content)));
    }
    let (table, mine) = (
        &scene.admitter.tags,
        Waiting::of(&events[0].owner(), &events[0].lane.user),
    );
    let rest = settled.split_off(39);
    Admitted::settle_all(settled);
    assert!(table.own_pending(&tags(40), mine) && table.own_pending(&[Tag::new("all")], mine));
    assert!(!table.own_pending(&tags(1)[..1], mine) && !table.own_pending(&tags(39)[..1], mine));
    Admitted::settle_all(rest);
    assert!(!table.own_pending(&all(), mine) && !table.user_pending(&all(), mine));
    for event in &events {
        let claim = scene.admitter.seen.claim(scene.admitter.key(event)).await;
        assert_eq!(
            claim,
            if event.content % 4 == 0 {
                Claim::New
            } else {
                Claim::Known
            },
            "{}",
            event.content
        );
    }
    let sum = scene.admitter.metrics.ledgers.sum();
    assert!(sum.balances() && sum.pending == 0, "{sum}");
    assert_eq!(
        (sum.accepted, sum.duplicate, sum.superseded, sum.dead),
        (10, 10, 10, 10)
    );
    assert_eq!(scene.admitter.metrics.batched_events.get(), 30);
}

#[test]
fn a_pending_event_takes_few_bytes_beside_its_text() {
    let sizes = (
        size_of::<Journaled<Admitted>>(),
        size_of::<Queued<Kept>>(),
        size_of::<Batch<Kept>>(),
    );
    println!(
        "of {sizes:?} bytes an event takes {}, its obligation {}",
        size_of::<Event>(),
        size_of::<Admitted>()
    );
    // Nothing without the feature `otlp`, a pointer with it.
    let origin = size_of::<Origin>();
    assert!(sizes.0 <= 312 + origin && origin <= 8);
    assert!(sizes.1 <= 40 && sizes.2 <= 160);
}
