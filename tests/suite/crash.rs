//! P1, P2, P3, P4 and P12 across kills of the real binary.
//!
//! `TIDEGATE_CRASH_KILLS` sets the number of kills (6 without it); `cargo test --release --test
//! suite -- crash --nocapture` prints the figures.

use crate::support::process::{LONG_DRAIN, Process};
use crate::support::upstream::{FakeUpstream, Seen, answer};
use crate::support::{CONFIG, Http};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The suite's configuration with a durable journal in `directory`, written there as a file.
pub fn configure(
    directory: &Path,
    upstream: SocketAddr,
    durability: &str,
    more: &[(&str, &str)],
) -> PathBuf {
    let journal = format!(
        "durability = \"{durability}\"\npath = \"{}\"",
        directory.join("journal").display()
    );
    let mut text = CONFIG
        .replace("UPSTREAM", &upstream.to_string())
        .replace("durability = \"none\"", &journal);
    for (from, to) in more {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = directory.join("config.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A process, and a file by which commands find its admin listener.
pub fn start_for_commands(directory: &Path, upstream: SocketAddr) -> (Process, PathBuf) {
    let process = Process::start(&configure(directory, upstream, "process", &[]));
    let listen = format!("[admin]\nlisten = \"{}\"", process.admin);
    let own = ("[admin]\nlisten = \"127.0.0.1:0\"", &*listen);
    let config = configure(directory, upstream, "process", &[own]);
    (process, config)
}

/// Each start has another port: without a host of their own, calls before and after would be of
/// different hosts.
const HOST: (&str, &str) = ("host", "app.test");
const TOKEN: [(&str, &str); 2] = [("authorization", "token-u"), HOST];

/// What the upstream took: every delivery, in order.
#[derive(Default)]
struct Taken {
    /// Ids in the order of their first acceptance, by user.
    order: HashMap<String, Vec<String>>,
    times: HashMap<String, u32>,
    foreign: u64,
    batches: u64,
    refused: u64,
}

impl Taken {
    fn take(&mut self, seen: &Seen) -> Value {
        self.batches += 1;
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        for event in body["events"].as_array().unwrap() {
            let (user, id) = (
                event["userId"].as_str().unwrap(),
                event["clientEventId"].as_str().unwrap(),
            );
            if seen.header("authorization") != format!("token-{user}") {
                self.foreign += 1;
            }
            let times = self.times.entry(id.to_owned()).or_default();
            *times += 1;
            if *times == 1 {
                self.order
                    .entry(user.to_owned())
                    .or_default()
                    .push(id.to_owned());
            }
        }
        json!({ "accepted": seen.ids(), "duplicates": [], "failed": [] })
    }
}

/// Posts one event after another for one user until told to stop; an event without an
/// acknowledgement is sent again.
async fn learner(
    user: String,
    address: Arc<Mutex<SocketAddr>>,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
) -> Vec<String> {
    let http = Http::default();
    let token = format!("token-{user}");
    let mut done = Vec::new();
    for number in 0u64.. {
        let id = format!("{user}-{number:06}");
        let body =
            format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5}}");
        loop {
            if stop.load(Ordering::Relaxed) {
                return done;
            }
            let at = *address.lock().unwrap();
            let headers = [("authorization", token.as_str()), HOST];
            let call = http.try_call(at, Method::POST, "/event", &headers, body.clone());
            match tokio::time::timeout(Duration::from_secs(2), call).await {
                Ok(Ok(answer)) if answer.status.is_success() => break,
                // It is down, or on its way up.
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        done.push(id);
        acked.fetch_add(1, Ordering::Relaxed);
    }
    done
}

fn kills() -> u64 {
    std::env::var("TIDEGATE_CRASH_KILLS")
        .ok()
        .map_or(6, |text| text.parse().unwrap())
}

async fn crashes(durability: &str, key: bool) {
    const USERS: usize = 16;
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    let taken: Arc<Mutex<Taken>> = Arc::default();
    let (keeper, mut turn) = (Arc::clone(&taken), 0u64);
    upstream.forget();
    upstream.answer_with(move |seen| {
        let mut taken = keeper.lock().unwrap();
        turn += 1;
        // A third is refused, in three ways.
        Some(match turn % 9 {
            2 | 5 | 8 if turn % 27 < 9 => {
                taken.refused += 1;
                answer(500, json!({}))
            }
            2 | 5 | 8 if turn % 27 < 18 => {
                taken.refused += 1;
                answer(429, json!({}))
            }
            2 | 5 | 8 => {
                taken.refused += 1;
                answer(503, json!({}))
            }
            _ => answer(200, taken.take(seen)),
        })
    });
    let key_file = directory.path().join("key");
    std::fs::write(&key_file, [7; 32]).unwrap();
    let sealed = format!(
        "max_bytes = \"1GiB\"\nkey_file = \"{}\"\n[delivery]",
        key_file.display()
    );
    let mut more = vec![
        ("window = \"1h\"", "window = \"20ms\""),
        (
            "flush_at = 4\nmax_events = 4\nmax_bytes = \"1KiB\"",
            "flush_at = 25\nmax_events = 25",
        ),
    ];
    if key {
        more.push(("[delivery]", &sealed));
    }
    let config = configure(directory.path(), upstream.address, durability, &more);
    let mut process = Process::start(&config);
    let address = Arc::new(Mutex::new(process.address));
    let (stop, acked) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let learners: Vec<_> = (0..USERS)
        .map(|user| {
            tokio::spawn(learner(
                format!("u{user}"),
                Arc::clone(&address),
                Arc::clone(&stop),
                Arc::clone(&acked),
            ))
        })
        .collect();
    for _ in 0..kills() {
        // At a random moment, but never before it has acknowledged something since its start.
        let before = acked.load(Ordering::Relaxed);
        while acked.load(Ordering::Relaxed) < before + 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..150_000))).await;
        process.kill();
        process = Process::start(&config);
        *address.lock().unwrap() = process.address;
    }
    stop.store(true, Ordering::Relaxed);
    let mut all: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (user, learner) in learners.into_iter().enumerate() {
        all.insert(user, learner.await.unwrap());
    }
    let (code, mut printed) = process.terminate();
    assert_eq!(code, Some(0), "{printed}");
    // What an upstream that refuses so much had no time for is still there, and goes with the next
    // starts.
    for _ in 0..60 {
        if printed.contains("pending 0") {
            break;
        }
        printed = Process::start(&config).terminate().1;
    }
    assert!(printed.contains("pending 0"), "{printed}");
    let taken = taken.lock().unwrap();
    let total: usize = all.values().map(Vec::len).sum();
    let twice = taken.times.values().filter(|times| **times > 1).count();
    println!(
        "{durability}{}: {} kills, {total} acknowledged, {} batches taken, {} refused, {twice} ids \
         delivered more than once; {}",
        if key { " (sealed)" } else { "" },
        kills(),
        taken.batches,
        taken.refused,
        printed.trim()
    );
    for (user, acked) in &all {
        let order = taken
            .order
            .get(&format!("u{user}"))
            .cloned()
            .unwrap_or_default();
        let there: HashSet<&String> = order.iter().collect();
        let lost: Vec<_> = acked.iter().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert!(order.is_sorted(), "u{user} came out of order");
    }
    assert_eq!(taken.foreign, 0, "events under another's credential");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_kills_at_disk() {
    crashes("disk", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_kills_at_process() {
    crashes("process", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_with_the_upstream_down_loses_nothing_and_the_next_start_delivers() {
    let directory = tempfile::tempdir().unwrap();
    let failing = FakeUpstream::start().await;
    failing.answer_with(|_| Some(answer(503, json!({}))));
    let config = configure(
        directory.path(),
        failing.address,
        "disk",
        &[("drain = \"5s\"", "drain = \"200ms\"")],
    );
    let process = Process::start(&config);
    let http = Http::default();
    let post = |at, id: &'static str| {
        let body = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
        http.try_call(at, Method::POST, "/event", &TOKEN, body)
    };
    for id in ["a", "b", "c"] {
        assert!(post(process.address, id).await.unwrap().status.is_success());
    }
    let (code, printed) = process.terminate_in_time().await;
    assert_eq!(code, Some(0));
    assert!(
        printed
            .contains("received 3 = accepted 0 + duplicate 0 + superseded 0 + dead 0 + pending 3"),
        "{printed}"
    );

    // Back under another address, so that what the first process sent late is not counted here.
    let upstream = FakeUpstream::start().await;
    let config = configure(directory.path(), upstream.address, "disk", &[LONG_DRAIN]);
    let process = Process::start(&config);
    // The same id again is a duplicate of one that is pending or delivered: same answer, not sent
    // again.
    assert!(
        post(process.address, "b")
            .await
            .unwrap()
            .status
            .is_success()
    );
    let (code, printed) = process.terminate_in_time().await;
    assert_eq!(code, Some(0));
    assert!(
        printed
            .contains("received 4 = accepted 3 + duplicate 1 + superseded 0 + dead 0 + pending 0"),
        "{printed}"
    );
    assert_eq!(upstream.batches(), [["a", "b", "c"]]);

    // Seen ids survive a restart: still a duplicate, still not sent.
    let process = Process::start(&config);
    assert!(
        post(process.address, "a")
            .await
            .unwrap()
            .status
            .is_success()
    );
    let (_, printed) = process.terminate_in_time().await;
    assert!(
        printed
            .contains("received 5 = accepted 3 + duplicate 2 + superseded 0 + dead 0 + pending 0"),
        "{printed}"
    );
    assert_eq!(upstream.batches().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_a_newer_format_and_a_wrong_key_are_refused_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = FakeUpstream::start().await;
    upstream.answer_with(|_| Some(answer(503, json!({}))));
    let key = directory.path().join("key");
    std::fs::write(&key, "0f".repeat(32)).unwrap();
    let sealed = format!("key_file = \"{}\"\n[delivery]", key.display());
    let config = configure(
        directory.path(),
        upstream.address,
        "disk",
        &[
            ("[delivery]", &sealed),
            ("drain = \"5s\"", "drain = \"50ms\""),
        ],
    );
    let process = Process::start(&config);
    let refusal = |wanted: &str| {
        let (code, said) = Process::try_start(&config).err().expect("it started");
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    refusal("is in use by another process");
    let body = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    let headers = [("authorization", "a-very-secret-token")];
    assert!(
        Http::default()
            .try_call(process.address, Method::POST, "/event", &headers, body)
            .await
            .unwrap()
            .status
            .is_success()
    );
    process.terminate();

    let journal = directory.path().join("journal");
    assert!(
        !holds(&journal, b"a-very-secret-token"),
        "a credential lies open"
    );
    std::fs::write(&key, "10".repeat(32)).unwrap();
    refusal("it is another key, or damaged");
    std::fs::write(&key, "0f".repeat(32)).unwrap();
    std::fs::write(journal.join("FORMAT"), "tidegate journal 4\n").unwrap();
    refusal("run the version that wrote it");
    std::fs::write(journal.join("FORMAT"), "tidegate journal 2\n").unwrap();
    refusal("start the earlier version once more and stop it when nothing is pending");
    std::fs::write(journal.join("FORMAT"), "tidegate journal 3\n").unwrap();
    upstream.answer_with(|_| None);
    // This one has the time to deliver.
    let config = configure(
        directory.path(),
        upstream.address,
        "disk",
        &[("[delivery]", &sealed)],
    );
    let (_, printed) = Process::start(&config).terminate();
    assert!(
        printed.contains("accepted 1") && printed.contains("pending 0"),
        "{printed}"
    );
    let batch = upstream
        .seen()
        .into_iter()
        .rfind(|seen| seen.path == "/batch")
        .unwrap();
    assert_eq!(batch.header("authorization"), "a-very-secret-token");
}

/// Whether a file below a directory holds these bytes; and that no file may be read by others.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = false;
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?} is open to others",
            entry.path()
        );
        found |= match entry.file_type().unwrap().is_dir() {
            true => holds(&entry.path(), needle),
            false => std::fs::read(entry.path())
                .unwrap()
                .windows(needle.len())
                .any(|window| window == needle),
        };
    }
    found
}
