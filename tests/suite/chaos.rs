//! P1 to P4, P6, P9 and conservation while an upstream fails in every way at once.
//!
//! The faults follow a seed; the interleaving is the machine's. `TIDEGATE_CHAOS_SECONDS` (4),
//! `TIDEGATE_CHAOS_USERS` (100) and `TIDEGATE_CHAOS_SEED` make another run; `cargo test --test
//! suite -- chaos --nocapture` prints the figures.

mod oracle;
mod upstream;

use crate::support::{CONFIG, Sidecar};
use fastrand::Rng;
use http::{Method, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate::clock::Clock;
use tokio::time::Instant;
use upstream::Chaotic;

/// How long everything that is pending may take once the faults are over; many times what it needs.
const WEDGED: Duration = Duration::from_secs(90);

/// A group to run through the chaos.
#[derive(Clone, Copy)]
struct Scene {
    name: &'static str,
    /// Replacements in the suite's configuration.
    config: &'static [(&'static str, &'static str)],
    /// Where batches go; deliveries elsewhere are single calls.
    path: &'static str,
    max_events: usize,
    max_bytes: usize,
    /// Ids of a delivery's events, in order.
    read: fn(&Value) -> Vec<String>,
    /// What deliveries carry if not the credential of their events.
    service: Option<&'static str>,
    /// An event counts as settled when a newer one of its lesson was applied.
    supersedes: bool,
    /// The upstream may say that there is no batch endpoint.
    no_endpoint: bool,
}

/// Events in an envelope by `clientEventId`, or one as its single call has it.
fn by_id(body: &Value) -> Vec<String> {
    let name = |event: &Value, field| event[field].as_str().unwrap().to_owned();
    match body["events"].as_array() {
        Some(events) => events
            .iter()
            .map(|event| name(event, "clientEventId"))
            .collect(),
        None => vec![name(body, "id")],
    }
}

const PLAIN: Scene = Scene {
    name: "plain",
    config: &[],
    path: "/batch",
    max_events: 8,
    max_bytes: 1024,
    read: by_id,
    service: None,
    supersedes: false,
    no_endpoint: true,
};

/// What every scene changes in the suite's configuration.
const COMMON: [(&str, &str); 4] = [
    ("durability = \"none\"", "durability = \"process\""),
    ("barrier = \"3s\"", "barrier = \"100ms\""),
    ("window = \"1h\"", "window = \"150ms\""),
    ("max_events = 4", "max_events = 8"),
];

/// An acknowledged event.
struct Acked {
    id: String,
    lesson: u32,
    /// The application answered it, by way of a forwarded call.
    forwarded: bool,
}

/// What one user did.
#[derive(Default)]
struct Done {
    /// Acknowledged events by lane, in order.
    acked: BTreeMap<String, Vec<Acked>>,
    /// Acknowledgements of events that were known.
    repeats: u64,
    /// Answers to writes and reads that were no success.
    refused: u64,
}

/// A dead letter.
struct Letter {
    id: String,
    /// Its reason, and the upstream's last status.
    why: String,
}

/// One user of the application, with one or two credentials.
struct Learner {
    sidecar: Arc<Sidecar>,
    user: String,
    rng: Rng,
    sequence: [u32; 2],
    done: Done,
}

impl Learner {
    fn new(sidecar: &Arc<Sidecar>, number: u64, seed: u64) -> Self {
        let rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
        let user = format!("u{number:04}");
        Self {
            sidecar: Arc::clone(sidecar),
            user,
            rng,
            sequence: [0; 2],
            done: Done::default(),
        }
    }

    fn credentials(&self) -> usize {
        1 + usize::from(!self.user.ends_with('0'))
    }

    fn lane(&self, credential: usize) -> String {
        format!("{}.{credential}", self.user)
    }

    async fn post(&self, lane: &str, body: &str) -> StatusCode {
        self.sidecar
            .call(
                Method::POST,
                "/event",
                &[("authorization", lane)],
                body.to_owned(),
            )
            .await
            .status
    }

    /// An event, posted until somebody says yes, or no for good; at the end it is left alone.
    async fn event(&mut self, credential: usize, bad: bool, stop: &AtomicBool) {
        let lane = self.lane(credential);
        let id = format!(
            "{lane}.{:06}{}",
            self.sequence[credential],
            if bad { "bad" } else { "" }
        );
        self.sequence[credential] += 1;
        let (lesson, repeats) = (self.rng.u32(0..3), !bad && self.rng.u32(0..25) == 0);
        let more = if self.rng.u32(0..20) == 0 {
            ",\"status\":\"completed\""
        } else {
            ""
        };
        let (user, pad) = (&self.user, "x".repeat(self.rng.usize(0..200)));
        let body = format!(
            "{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l{lesson}\",\"pad\":\"{pad}\"{more}}}"
        );
        loop {
            let status = self.post(&lane, &body).await;
            if status == StatusCode::ACCEPTED {
                self.done.repeats +=
                    u64::from(repeats && self.post(&lane, &body).await == StatusCode::ACCEPTED);
                self.done.acked.entry(lane).or_default().push(Acked {
                    id,
                    lesson,
                    forwarded: false,
                });
                return;
            }
            if status.is_success() {
                self.done.acked.entry(lane).or_default().push(Acked {
                    id,
                    lesson,
                    forwarded: true,
                });
                return;
            }
            if status == StatusCode::BAD_REQUEST || stop.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A write that says which acknowledged event it came after.
    async fn write(&mut self, credential: usize) {
        let lane = self.lane(credential);
        let after = self.done.acked.get(&lane).and_then(|acked| acked.last());
        let body = after.map_or("{}".to_owned(), |acked| {
            format!("{{\"after\":\"{}\"}}", acked.id)
        });
        let path = format!("/snapshot?userId={}", self.user);
        let answer = self
            .sidecar
            .call(Method::POST, &path, &[("authorization", &lane)], body)
            .await;
        self.done.refused += u64::from(!answer.status.is_success());
    }

    async fn read(&mut self, credential: usize) {
        let path = format!("/progress?userId={}", self.user);
        let answer = self.sidecar.get(&self.lane(credential), &path).await;
        self.done.refused += u64::from(!answer.status.is_success());
    }

    async fn learn(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let credential = self.rng.usize(0..self.credentials());
            match self.rng.u32(0..100) {
                0..4 => self.write(credential).await,
                4..8 => self.read(credential).await,
                8..11 => self.event(credential, true, &stop).await,
                _ => self.event(credential, false, &stop).await,
            }
            // The pace of a client, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..60))).await;
        }
        self
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap())
}

async fn start(scene: Scene, upstream: &Chaotic) -> Sidecar {
    let mut text = CONFIG.replace("UPSTREAM", &upstream.address.to_string());
    for (from, to) in COMMON.iter().chain(scene.config) {
        assert!(text.contains(from), "{from:?} is not in the configuration");
        text = text.replace(from, to);
    }
    Sidecar::with(&text, Clock::default()).await
}

/// The faults are over: everything goes, once each credential that was rejected has had a success.
async fn settle(sidecar: &Sidecar, learners: &mut [Learner]) {
    let began = Instant::now();
    while sidecar.running.ledger().pending > 0 {
        assert!(
            began.elapsed() < WEDGED,
            "still pending: {}",
            sidecar.running.ledger()
        );
        sidecar.flush().await;
        for learner in &mut *learners {
            for credential in 0..learner.credentials() {
                learner.write(credential).await;
            }
        }
    }
}

async fn run(scene: Scene) {
    let (seconds, users) = (
        variable("TIDEGATE_CHAOS_SECONDS", 4),
        variable("TIDEGATE_CHAOS_USERS", 100),
    );
    let seed = variable("TIDEGATE_CHAOS_SEED", 1);
    let upstream = Chaotic::start(scene, seed).await;
    let sidecar = Arc::new(start(scene, &upstream).await);
    let stop = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = (0..users)
        .map(|number| tokio::spawn(Learner::new(&sidecar, number, seed).learn(Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut learners = Vec::new();
    for learner in running {
        learners.push(learner.await.unwrap());
    }
    upstream.calm();
    let refused: u64 = learners.iter().map(|learner| learner.done.refused).sum();
    settle(&sidecar, &mut learners).await;

    let letters = sidecar.admin(Method::GET, "/dead-letters").await.json();
    let dead: Vec<Letter> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| Letter {
            id: letter["id"].as_str().unwrap().to_owned(),
            why: format!("{} {}", letter["reason"], letter["status"]),
        })
        .collect();
    let why: BTreeSet<&String> = dead.iter().map(|letter| &letter.why).collect();
    let done: Vec<Done> = learners.into_iter().map(|learner| learner.done).collect();
    let ledger = Arc::into_inner(sidecar).unwrap().running.stop().await;
    let book = upstream.book();
    let events = book.events.values();
    let (offered_again, applied_again) = (
        events.clone().filter(|known| known.offered > 1).count(),
        events.filter(|known| known.applied > 1).count(),
    );
    let mut summary = format!(
        "chaos {}: seed {seed}, {seconds} s, {users} users; {ledger}; {} dead letters, \
         {offered_again} events offered more than once, {applied_again} taken more than once, \
         {refused} writes and reads without success; died of {why:?}\n",
        scene.name,
        dead.len()
    );
    for (what, times) in &book.tally {
        writeln!(summary, "  {times:>7} {what}").unwrap();
    }
    println!("{summary}");
    let found = oracle::faults(scene, &book, &done, &dead, &ledger);
    assert!(
        found.is_empty(),
        "{summary}{} wrong, the first:\n{}",
        found.len(),
        found[..found.len().min(12)].join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_upstream_loses_mixes_or_reorders_events() {
    run(PLAIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_upstream_harms_events_that_fall_back_to_single_calls() {
    run(Scene {
        name: "single calls",
        config: &[("fallback = \"dead-letter\"", "fallback = \"single\"")],
        no_endpoint: false,
        ..PLAIN
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_upstream_harms_what_a_newer_event_made_needless() {
    run(Scene {
        name: "supersede",
        config: &[(
            "fallback = \"dead-letter\"",
            "fallback = \"dead-letter\"\nkey = [\"lessonId\"]\nkeep = \"newest\"",
        )],
        supersedes: true,
        ..PLAIN
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_upstream_harms_collapsed_states() {
    run(Scene {
        name: "latest",
        config: &[(
            "path = \"/batch\"",
            "form = \"single\"\nkeep = \"newest\"\nkey = [\"{body.lesson}\"]",
        )],
        path: "no batches",
        max_events: 1,
        supersedes: true,
        ..PLAIN
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_the_upstream_lets_users_who_share_batches_suffer_for_one_another() {
    run(Scene {
        name: "shared",
        config: &[(
            "fallback = \"dead-letter\"",
            "fallback = \"dead-letter\"\npack = \"shared\"\npack_wait = \
             \"20ms\"\nservice_credential = { header = \"authorization\", env = \"SERVICE\" }",
        )],
        service: Some("Bearer service"),
        ..PLAIN
    })
    .await;
}
