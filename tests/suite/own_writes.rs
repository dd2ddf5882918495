//! P7 as a model, through real sockets: several users post and read at random while the upstream is
//! slow, fails, and holds answers back. No read is older than what its user has had acknowledged
//! before, or it says that it passed the cache by; and when all is quiet, nothing stale is left.

use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const USERS: usize = 6;
const STEPS: usize = 80;

/// What the upstream has applied: the number of events per user.
#[derive(Default)]
struct Applied(HashMap<String, u64>);

impl Applied {
    fn batch(&mut self, seen: &Seen) {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        for event in body["events"].as_array().unwrap() {
            *self
                .0
                .entry(event["userId"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }

    fn read(&self, seen: &Seen) -> Response<Full<bytes::Bytes>> {
        let user = seen.path.split("userId=").nth(1).unwrap();
        answer(
            200,
            json!({ "user": user, "applied": self.0.get(user).copied().unwrap_or(0) }),
        )
    }
}

/// A third of the batches fails before it is applied, a quarter of the reads altogether.
fn failing(sidecar: &Sidecar, seed: u64) {
    let applied = Arc::new(Mutex::new(Applied::default()));
    let mut luck = fastrand::Rng::with_seed(seed);
    sidecar.upstream.answer_with(move |seen| {
        let mut applied = applied.lock().unwrap();
        if seen.path == "/batch" {
            if luck.u8(..3) == 0 {
                return Some(answer([500, 503, 429][luck.usize(..3)], json!({})));
            }
            applied.batch(seen);
            return None;
        }
        Some(if luck.u8(..4) == 0 {
            answer(503, json!({}))
        } else {
            applied.read(seen)
        })
    });
}

fn passed_by(read: &Answer) -> bool {
    read.header("cache-status").contains("fwd=bypass")
}

/// How many events each user has had acknowledged.
type Acknowledged = Arc<[AtomicU64; USERS]>;

/// One caller: posts as one user, and reads as that user or, every third time, somebody else's page
/// under its own credential. Whatever of its own was acknowledged before the read began must show;
/// another's page never goes back.
async fn caller(
    sidecar: Arc<Sidecar>,
    number: usize,
    seed: u64,
    acknowledged: Acknowledged,
) -> (usize, usize) {
    let token = format!("t{number}");
    let mut luck = fastrand::Rng::with_seed(seed ^ number as u64);
    let (mut hits, mut bypasses, mut shown_before) = (0, 0, [0; USERS]);
    for step in 0..STEPS {
        if luck.u8(..3) == 0 {
            let posted = sidecar
                .post(
                    &token,
                    &format!("u{number}"),
                    &format!("{number}-{step}"),
                    "",
                )
                .await;
            acknowledged[number].fetch_add(
                u64::from(posted.status == StatusCode::ACCEPTED),
                Ordering::SeqCst,
            );
            continue;
        }
        let shown = if luck.u8(..3) == 0 {
            luck.usize(..USERS)
        } else {
            number
        };
        let before = match shown == number {
            true => acknowledged[shown].load(Ordering::SeqCst),
            false => shown_before[shown],
        };
        let read = sidecar
            .get(&token, &format!("/progress?userId=u{shown}"))
            .await;
        hits += usize::from(read.header("cache-status").contains("hit"));
        bypasses += usize::from(passed_by(&read));
        if read.status == StatusCode::OK && !passed_by(&read) {
            let (found, whose) = (
                read.json()["applied"].as_u64().unwrap(),
                read.json()["user"].clone(),
            );
            assert_eq!(whose, format!("u{shown}"));
            assert!(
                found >= before,
                "u{shown}: {found} of {before}, {}",
                read.header("cache-status")
            );
            shown_before[shown] = found;
        }
    }
    (hits, bypasses)
}

#[tokio::test]
async fn no_read_is_older_than_its_users_last_acknowledged_event() {
    let mut all_hits = 0;
    for seed in [1, 2, 3] {
        let config = [
            ("barrier = \"3s\"", "barrier = \"40ms\""),
            ("window = \"1h\"", "window = \"20ms\""),
            (
                "ttl = \"60s\"",
                "ttl = \"60s\"\nstale_if_error = \"1h\"\nstale_while_revalidate = \"1h\"",
            ),
        ];
        let sidecar = Arc::new(Sidecar::start(&config).await);
        failing(&sidecar, seed);
        let acknowledged = Acknowledged::default();
        let call = |number| {
            tokio::spawn(caller(
                Arc::clone(&sidecar),
                number,
                seed,
                Arc::clone(&acknowledged),
            ))
        };
        let callers: Vec<_> = (0..USERS).map(call).collect();
        let (mut hits, mut bypasses) = (0, 0);
        for caller in callers {
            let (some, more) = caller.await.unwrap();
            (hits, bypasses) = (hits + some, bypasses + more);
        }
        all_hits += hits;
        println!("seed {seed}: {hits} hits, {bypasses} passed by");
        nothing_stale_is_left(&sidecar).await;
    }
    assert!(all_hits > 0, "the cache took part");
}

/// When every event is settled each user's read shows all that was applied, whatever was being
/// fetched meanwhile.
async fn nothing_stale_is_left(sidecar: &Sidecar) {
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    let mut seen = 0;
    for number in 0..USERS {
        let path = format!("/progress?userId=u{number}");
        let read = loop {
            let read = sidecar
                .call(
                    Method::GET,
                    &path,
                    &[("authorization", &format!("t{number}"))],
                    "",
                )
                .await;
            if read.status == StatusCode::OK {
                break read;
            }
        };
        seen += read.json()["applied"].as_u64().unwrap();
    }
    assert_eq!(seen, ledger.accepted, "{ledger}");
}
