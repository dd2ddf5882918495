//! A sheet's bounds, and what tests of it share: groups, events, streams.

use super::live_tests::identity;
use super::observer::{Observer, Setup};
use super::paper::Plan;
use super::sheet::{Beside, Sheet};
use super::trace::{Trace, Wait, Watched};
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Subject, Texts,
    UserId,
};
use crate::ingest::Asker;
use crate::ingest::accept::draft::View;
use crate::ingest::accept::seen::SeenKey;
use crate::ingest::accept::watch::{Observed, Watch as _};
use crate::ingest::delivery::pack::Room;
use crate::ingest::lanes::window::{ENVELOPE_BYTES, Rules};
use crate::ingest::settings::{
    Backoff, ClientBatches, Delivery, Envelope, Fallback, Group, Keep, KeyPart, Limited, MissingId,
    Pack, Reply, Results, Shape, Target,
};
use crate::metrics::Metrics;
use crate::rollout::{Draw, Exceptions, Mode, Sampling, Setting, Switch};
use crate::route::{Ack, EventRoute, Pattern};
use crate::template::{JsonTemplate, Path};
use http::StatusCode;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// A group with a key, windows of 5 s, ten events a window and 25 a batch.
pub(super) fn group() -> Group {
    Group {
        name: "g".into(),
        shape: Shape::Batch(Target::Path("/batch".into())),
        window: Duration::from_secs(5),
        flush_at: 10,
        max_events: 25,
        max_bytes: 64 << 10,
        max_age: HOUR,
        id_field: "id".into(),
        time_field: "timestamp".into(),
        flush_on: Vec::new(),
        flush_on_change: Vec::new(),
        flush_with: Vec::new(),
        order_with: Vec::new(),
        key: vec![KeyPart::Places(
            vec![Path::parse("lesson")],
            "lesson".into(),
        )],
        keep: Keep::All,
        pack: Pack::User,
        shown: false,
        envelope: Envelope::Plain,
        headers: Vec::new(),
        results: Results::default(),
        success: None,
        require: Vec::new(),
        lowercase: Vec::new(),
        percent: Vec::new(),
        same_user: Vec::new(),
        invalidates: Vec::new(),
        distinct: Vec::new(),
        fallback: Fallback::DeadLetter,
        missing_id: MissingId::Generate,
        refuse: Vec::new(),
        volatile: Vec::new(),
        aliases: Vec::new(),
        client_batches: ClientBatches::TakeApart,
        reply: Reply {
            status: StatusCode::OK,
            body: JsonTemplate::from_json(&serde_json::json!({}), &[]).unwrap(),
        },
        permanent: Vec::new(),
        max_attempts: 8,
    }
}

pub(super) fn rules() -> Rules {
    let group = group();
    Rules {
        window: group.window,
        flush_at: group.flush_at,
        max_events: group.max_events,
        max_bytes: group.max_bytes,
        distinct: Vec::new(),
        newest: false,
        single_calls: false,
        change: Vec::new(),
        ordered: Vec::new(),
        seals: Vec::new(),
        shared: false,
        shown: false,
        single: false,
        max_attempts: 8,
        give_up_after: HOUR,
        token_margin: Duration::ZERO,
    }
}

pub(super) fn room() -> Room {
    let group = group();
    Room {
        max_events: group.max_events,
        max_bytes: group.max_bytes,
        envelope: ENVELOPE_BYTES,
        wait: Duration::from_secs(1),
        distinct: Vec::new(),
    }
}

pub(super) fn plan() -> Arc<Plan> {
    Arc::new(Plan {
        groups: vec![group()],
        rules: vec![rules()],
        rooms: vec![room()],
        routes: vec![("POST /event".to_owned(), 0)],
    })
}

/// An event of a user, who has one credential.
pub(super) fn event(number: u64, user: u64, lesson: u64, priority: bool) -> Event {
    let mut credential = [0; 16];
    credential[..8].copy_from_slice(&(user + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let credential = Fingerprint(credential);
    let context = Context::bare(Keys::of(credential));
    let lesson = lesson.to_le_bytes();
    Event {
        texts: Texts::new(
            &EventId::try_new(&number.to_string()).unwrap(),
            vec![b'x'; 200 + usize::try_from(number % 50).unwrap()],
            Carried::mark_for_service(&Carried::bare(None).pack(), true),
        ),
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new(&format!("user {user}")).unwrap(),
            credential,
        },
        context: Arc::new(context),
        claimed: true,
        has_single: false,
        tags: [].into(),
        priority,
        received_at: SystemTime::UNIX_EPOCH,
        token_life: None,
        subject: Some(Subject::of([Some(lesson.as_slice())].into_iter())),
        content: number,
    }
}

/// Events as they came, each so long after the start.
pub(super) type Stream = Vec<(Duration, Event)>;

/// Learners who send about an event a second for three minutes, each with pauses of his own; of 40
/// events one completes a lesson. The same at every call.
pub(super) fn stream(users: u64) -> Stream {
    let mut random = 1_u64;
    let mut next = |most: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % most
    };
    let mut drafts = Vec::new();
    for user in 0..users {
        let (mut at, mut times) = (next(3_000), HashSet::new());
        while at < 180_000 {
            // Which is first is left open where an event comes in the very millisecond in which a
            // window of 5 or 30 s ends.
            if ![5_000, 30_000]
                .iter()
                .any(|window| at >= *window && times.contains(&(at - window)))
            {
                times.insert(at);
                drafts.push((at, user, next(3), next(40) == 0));
            }
            at += 300 + next(1_400) + if next(30) == 0 { 20_000 } else { 0 };
        }
    }
    drafts.sort_unstable();
    let number = |(number, (at, user, lesson, priority)): (u64, (u64, u64, u64, bool))| {
        (
            Duration::from_millis(at),
            event(number, user, lesson, priority),
        )
    };
    (0..).zip(drafts).map(number).collect()
}

/// A sheet's hand for events.
pub(super) struct Pen {
    pub(super) sheet: Sheet,
    watched: Watched,
    hasher: RandomState,
}

impl Pen {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            sheet: Sheet::new(&plan(), start),
            watched: Watched::of(&rules()),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn note(&mut self, at: Instant, event: &Event) {
        let observed = Observed {
            event,
            view: View::default(),
            key: self.key(event),
            envelope: ENVELOPE_BYTES,
        };
        let trace = Trace::of(&observed, &self.watched, &self.hasher, at).unwrap();
        self.sheet.take_event(0, trace, observed.key);
    }

    /// A call comes after what this event's caller has.
    pub(super) fn wait(&mut self, at: Instant, of: &Event) {
        let wait = Wait::of(&asker(of), &[of.lane.group], &self.hasher, at).unwrap();
        self.sheet.take_wait(&wait);
    }

    fn key(&self, event: &Event) -> SeenKey {
        let id = self.hasher.hash_one(event.id());
        SeenKey((u128::from(id) << 64 | u128::from(event.content)).to_be_bytes())
    }
}

/// Whose an event is.
pub(super) fn asker(event: &Event) -> Asker {
    Asker {
        principal: event.owner().principal,
        realm: event.owner().realm,
        user: Some(event.lane.user.clone()),
        joins: false,
    }
}

pub(super) fn beside() -> Beside {
    Beside {
        since: String::new(),
        shed: 0,
        splits: Vec::new(),
    }
}

#[test]
fn a_million_users_take_bounded_room_and_the_sample_is_told() {
    let start = Instant::now();
    let mut pen = Pen::new(start);
    let mut most = 0;
    for user in 0..1_000_000 {
        let at = start + Duration::from_micros(100) * u32::try_from(user).unwrap();
        pen.note(at, &event(user, user, 0, false));
        if user % 1_000 == 0 {
            let (lanes, ids, users) = pen.sheet.entries();
            most = most.max(lanes);
            assert!(ids <= 40_000 && users <= 10_000, "{ids} ids, {users} users");
        }
    }
    // 64 runs of at most 2,000 lanes, beside those whose batches wait for company: less than a load.
    assert!(most <= 64 * (2_000 + 25), "{most} lanes");
    let report = pen.sheet.report(start + HOUR, beside());
    assert!(report.one_in > 1 && report.users > 0);
    assert!(report.error_percent > 0.0 && report.error_percent < 20.0);
    assert_eq!(report.groups[0].events, 1_000_000, "counts are whole");
}

#[test]
fn a_repetition_is_no_event_and_other_content_is_declined() {
    let start = Instant::now();
    let mut pen = Pen::new(start);
    let first = event(1, 1, 1, false);
    pen.note(start, &first);
    pen.note(start, &first);
    pen.note(
        start,
        &Event {
            content: 7,
            ..first
        },
    );
    pen.sheet.take_declined(0, "query", start);
    let report = pen
        .sheet
        .report(start + HOUR - Duration::from_mins(1), beside());
    let group = &report.groups[0];
    assert_eq!(
        (group.calls, group.events, group.duplicates, group.declined),
        (4, 1, 1, 2)
    );
    let declined = &group.routes[0].declined;
    assert_eq!((declined["other_content"], declined["query"]), (1, 1));
    assert!(
        group
            .arrangements
            .iter()
            .all(|one| (one.sent, one.batches) == (1, 1))
    );
    assert_eq!(group.minutes[0].calls, 4);
    assert_eq!(group.minutes.len(), 60, "an hour is told");
}

#[test]
fn nothing_of_who_or_what_is_in_a_report() {
    let start = Instant::now();
    let mut pen = Pen::new(start);
    for (after, event) in stream(5) {
        pen.note(start + after, &event);
    }
    let report = pen.sheet.report(start + HOUR, beside());
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("user 1") && !text.contains("xx"), "{text}");
}

#[test]
fn an_observed_user_is_known_by_hashes_only() {
    let event = event(12_345, 678, 1, false);
    let observed = Observed {
        event: &event,
        view: View::default(),
        key: SeenKey([0; 16]),
        envelope: 13,
    };
    let watched = Watched::of(&rules());
    let trace = Trace::of(&observed, &watched, &RandomState::new(), Instant::now()).unwrap();
    let text = format!("{trace:?}");
    assert!(
        !text.contains("12345") && !text.contains("user 678"),
        "{text}"
    );
}

pub(super) fn route() -> EventRoute {
    let setting = Setting {
        mode: Mode::Observe,
        rollout: 100,
    };
    let sampling = Sampling {
        draw: Draw::new(""),
        tester: None,
    };
    EventRoute {
        method: http::Method::POST,
        path: Pattern::parse("/event").unwrap(),
        matches: Vec::new(),
        content_types: Vec::new(),
        forward_unless: Vec::new(),
        group: GroupIndex(0),
        name: None,
        configured: setting,
        switch: Switch::new(setting, Exceptions::default(), sampling).into(),
        event: None,
        query: Vec::new(),
        alone: false,
        ack: Ack {
            status: StatusCode::OK,
            headers: Vec::new(),
            body: JsonTemplate::from_json(&serde_json::json!({}), &[]).unwrap(),
            duplicate: None,
        },
    }
}

pub(super) fn delivery() -> Delivery {
    let backoff = Backoff {
        base: HOUR,
        cap: HOUR,
    };
    Delivery {
        timeout: HOUR,
        max_in_flight: 1,
        retry_network: vec![HOUR],
        retry_server: backoff,
        retry_limited: Limited {
            base: HOUR,
            jitter: HOUR,
        },
        escalate_after: 3,
        give_up_after: HOUR,
        token_margin: Duration::ZERO,
        barrier: HOUR,
    }
}

#[tokio::test]
async fn an_observer_that_is_stuck_delays_no_call_and_counts_what_it_sheds() {
    let metrics = Arc::new(Metrics::try_new().unwrap());
    let (events, groups) = ([route()], [group()]);
    let (observer, task) = Observer::new(Setup {
        events: &events,
        groups: &groups,
        delivery: &delivery(),
        identity: &identity(),
        metrics: Arc::clone(&metrics),
        clock: Clock::default(),
    });
    let one = event(1, 1, 1, false);
    let show = |number: u64| {
        let observed = Observed {
            event: &one,
            view: View::default(),
            key: SeenKey(u128::from(number).to_be_bytes()),
            envelope: ENVELOPE_BYTES,
        };
        observer.see_event(&events[0], &observed);
    };
    // Nothing runs the task, and no call awaits anything.
    (0..5_000).for_each(show);
    observer.see_declined(&events[0], "query");
    assert_eq!(metrics.observe_shed.get(), 5_001 - 4_096);
    assert!(observer.report().groups.is_empty());
    // Once it is gone altogether, everything is shed.
    drop(task);
    show(5_000);
    assert_eq!(metrics.observe_shed.get(), 5_002 - 4_096);
    assert_eq!(observer.report().shed, 5_002 - 4_096);
}
