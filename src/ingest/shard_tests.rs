use super::*;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{Context, Event, Fingerprint, Keys};
use crate::identity::{Admit, Identity, IdentitySettings, Selection};
use crate::ingest::admit::{Ground, Seen};
use crate::ingest::dead::DeadLetters;
use crate::ingest::reputation::RefusedBy;
use crate::ingest::settle::{self, Settler};
use crate::ingest::shares::{Address, Bounds, Holder, Shares, Takes};
use crate::ingest::window::Rules;
use crate::journal::{Journal, More};
use crate::metrics::Metrics;
use crate::notices::Notices;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

const ADA: Principal = Principal([1; 16]);
const HERE: GroupIndex = GroupIndex(0);
const HOUR: Duration = Duration::from_hours(1);

/// A shard that runs, and all that it talks to.
struct Scene {
    ground: Arc<Ground>,
    journal: Arc<Journal<Admitted>>,
    reputation: Arc<Reputation>,
    commands: mpsc::UnboundedSender<Command>,
    batches: mpsc::UnboundedReceiver<Message>,
    shard: Option<Shard>,
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
        supersede: false,
        latest: false,
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
        id: EventId::try_new(&number.to_string()).unwrap(),
        lane: LaneKey { group: HERE, user: UserId::try_new("ada").unwrap(), credential },
        owner: context.owner(true),
        context: Arc::new(context),
        json: Bytes::from_static(b"{}"),
        carried: Carried::bare(None).pack(),
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
        let bounds = Bounds { shards: 1, lanes: 100, bytes: 1 << 20, listeners: 1, user_events: 100 };
        let reputation = Reputation::new(1, None, HOUR, None, 100, Arc::new(Shares::new(bounds)));
        let reputation = Arc::new(reputation);
        let identity = Arc::new(identity());
        let ground = Arc::new(Ground {
            groups: vec!["g".into()],
            envelopes: Vec::new(),
            identity: Arc::clone(&identity),
            seen: Seen::new(64, &[0; 32]),
            tags: Arc::new(Tags::new()),
            metrics: Arc::new(Metrics::try_new().unwrap()),
        });
        let (journal, mut tails) = Journal::in_memory(1, 1 << 20);
        let journal = Arc::new(journal);
        let settler = Settler::new(settle::Parts {
            journal: Arc::clone(&journal),
            dead: Arc::new(DeadLetters::new(10, 1 << 20, Arc::clone(&reputation))),
            groups: Vec::new(),
            identity,
            notices: Arc::new(Notices::new(1)),
            clock: Clock::default(),
        });
        let (commands, inbox) = mpsc::unbounded_channel();
        let (courier, batches) = mpsc::unbounded_channel();
        let shard = Shard::new(Parts {
            number: 0,
            lanes: Lanes::new(vec![rules()], 10),
            tail: tails.pop().unwrap(),
            commands: inbox,
            courier,
            settler: Arc::new(settler),
            level: Arc::default(),
            reputation: Arc::clone(&reputation),
        });
        Self { ground, journal, reputation, commands, batches, shard: Some(shard), events: 0 }
    }

    /// An event is in the journal, and in the shard's tail.
    async fn keep(&mut self, priority: bool) {
        self.events += 1;
        let event = event(self.events, priority);
        let holder = Holder { principal: ADA, address: Address::of(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
        let takes: Takes = self.reputation.shares().of_event(0, &event);
        let share = self.reputation.adopt_share(holder, takes);
        let admitted = self.ground.admit(self.ground.key(&event), &event, HOUR, share).await.unwrap();
        let more = More { seen: admitted.seen(), replaces: None, beside: 0, succession: None };
        self.journal.append(0, event, admitted, more).await.unwrap();
    }

    fn run(&mut self) {
        drop(tokio::spawn(self.shard.take().unwrap().run()));
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

    fn reject(&self, batch: Batch<Kept>) {
        let (verdict, pause) = (Verdict::Rejected, Duration::ZERO);
        self.commands.send(Command::Verdict { batch, verdict, pause }).unwrap();
    }

    /// Everything that the shard was told is done.
    async fn settle(&self) {
        // It answers in the middle of a turn; the second answer is of a later one.
        for _ in 0..2 {
            let (answer, asked) = oneshot::channel();
            self.commands.send(Command::Oldest(answer)).unwrap();
            asked.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_before_a_command_is_in_its_lane_when_the_command_is_obeyed() {
    let mut scene = Scene::new();
    scene.keep(false).await;
    let asker = Asker { principal: ADA, realm: crate::event::Realm(0), user: None, joins: false };
    let (done, mut settled) = oneshot::channel();
    scene.commands.send(Command::Barrier { asker, groups: [HERE].into(), done }).unwrap();
    // Both are there before the shard looks.
    scene.run();
    assert_eq!(scene.batch().await.events.len(), 1, "the barrier sealed its window");
    scene.settle().await;
    assert!(settled.try_recv().is_err(), "and waits for it");
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
    assert!(scene.batches.try_recv().is_err(), "one that nothing has ended holds it");
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
