//! A journal of pending events, filled without a sidecar.

use siphasher::sip128::SipHasher13;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidegate::clock::Clock;
use tidegate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Legacy, Raw, Said,
    Tag, Texts, UserId,
};
use tidegate::journal::settings::{Durability, JournalSettings};
use tidegate::journal::{Memory, More, Ticket, recover};

const USERS: u64 = 10_000;

struct Nothing;

impl Ticket for Nothing {
    fn kept(&mut self) {}
    fn taken_back(&mut self) {}
}

fn event(number: u64) -> Event {
    let user = number % USERS;
    let name = format!("user-{user}");
    // As a sidecar makes them: tables take some of their bits for a hash.
    let print = SipHasher13::new().hash(name.as_bytes());
    let tag = print.h1;
    let print = print.as_bytes();
    let token = format!("Bearer {}", "x".repeat(300));
    let json = format!(
        "{{\"type\":\"lesson_progress\",\"clientEventId\":\"{name}:lesson-7:{number}\",\"userId\":\"{name}\",\"lessonId\":\"lesson-7\",\"percent\":33,\"position\":185,\"timestamp\":1700000000000}}"
    );
    let legacy = Some(Legacy {
        method: "POST",
        path: "/api/client/progress/lesson",
        body: Raw(json.as_bytes()),
    });
    let headers = vec![
        ("user-agent", Raw(b"Mozilla/5.0")),
        ("x-forwarded-for", Raw(b"10.0.0.1")),
    ];
    let carried = Carried {
        headers,
        ..Carried::bare(legacy)
    };
    Event {
        texts: Texts::new(
            &EventId::try_new(&format!("{name}:lesson-7:{number}")).expect("an id"),
            &json,
            carried.pack(),
        ),
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new(&name).expect("a user"),
            credential: Fingerprint(print),
        },
        context: Arc::new(Context::new(
            Keys::of(Fingerprint(print)),
            &Said {
                headers: vec![("authorization", Raw(token.as_bytes()))],
                ..Said::default()
            },
        )),
        claimed: true,
        content: number,
        has_single: true,
        tags: [Tag(tag)].into(),
        priority: false,
        received_at: SystemTime::now(),
        token_life: None,
        subject: None,
    }
}

/// Appends so many events, of about 550 bytes each on disk, of 10,000 users in the group
/// `progress`.
pub async fn fill(journal: &Path, events: u64) {
    let settings = JournalSettings {
        path: journal.to_owned(),
        durability: Durability::Process,
        max_bytes: u64::MAX / 2,
        min_free: 0,
        key_file: None,
        old_key_files: Vec::new(),
    };
    let opened = recover::open(&settings).expect("a journal");
    let place = |_: &recover::Stored| recover::Placement::Tail(0, Nothing);
    let groups: [Arc<str>; 1] = ["progress".into()];
    let memory = Memory {
        max_seen: 1,
        events: Duration::from_hours(1),
    };
    let (tail, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let started = opened.start(
        &settings,
        &groups,
        vec![Arc::new(tail)],
        (memory, Clock::default()),
        place,
    );
    let journal = started.expect("a journal");
    let drain = tokio::spawn(async move { while kept.recv().await.is_some() {} });
    for first in (0..events).step_by(1000) {
        let appends = (first..(first + 1000).min(events)).map(|number| {
            // As evenly spread as the sidecar's own keys.
            let mut seen = [0; 16];
            blake3::Hasher::new()
                .update(&number.to_le_bytes())
                .finalize_xof()
                .fill(&mut seen);
            journal.append(
                0,
                event(number),
                Nothing,
                More {
                    seen,
                    replaces: None,
                    beside: 0,
                    succession: None,
                    good: true,
                },
            )
        });
        for kept in futures_util::future::join_all(appends).await {
            kept.expect("it is kept");
        }
    }
    journal.close().await;
    drop(drain);
}
