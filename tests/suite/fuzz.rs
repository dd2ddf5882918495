//! Bytes that no client of good sense sends, over raw sockets: whatever comes, each connection
//! ends, nothing panics, and what was acknowledged is delivered once.
//!
//! `TIDEGATE_FUZZ` is the number of requests (600 without it), `TIDEGATE_FUZZ_SEED` the seed (1
//! without it).

use crate::support::upstream::{Seen, answer};
use crate::support::{Http, Sidecar, in_time};
use http::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Requests to begin with; `ID` is replaced by an id of its own.
const REQUESTS: [&str; 9] = [
    "POST /event HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\ncontent-length: 44\r\n\r\n\
     {\"id\":\"ID\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}",
    "POST /event HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\ntransfer-encoding: \
     chunked\r\n\r\n2c\r\n{\"id\":\"ID\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}\r\n0\r\n\r\n",
    "POST /batch HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\ncontent-length: 68\r\n\r\n\
     {\"events\":[{\"clientEventId\":\"ID\",\"userId\":\"u\",\"lessonId\":\"l\"}]}   ",
    "GET /progress?userId=u HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\nif-none-match: \
     \"a\"\r\nrange: bytes=0-3\r\n\r\n",
    "POST /snapshot HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\nexpect: \
     100-continue\r\ncontent-length: 2\r\n\r\n{}",
    "PUT /event HTTP/1.1\r\nhost: a.test\r\nauthorization: t\r\ncontent-encoding: \
     gzip\r\ncontent-length: 2\r\n\r\n{}",
    "OPTIONS * HTTP/1.1\r\nhost: a.test\r\norigin: https://b.test\r\naccess-control-request-method: \
     POST\r\n\r\n",
    "GET http://a.test/other HTTP/1.0\r\nconnection: keep-alive, te\r\nforwarded: \
     for=1.2.3.4;proto=https\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
];

const WORDS: [&str; 20] = [
    "\r\n",
    "\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "chunked",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "host: b.test\r\n",
    "cookie: a=b; a=c\r\n",
    "%00",
    "%2e%2e/",
    "\u{e9}",
    "99999999999999999999",
    "-1",
    "\"",
    "{",
];

/// A request with a few places cut out, doubled, or overwritten.
fn mutated(random: &mut fastrand::Rng, id: &str) -> Vec<u8> {
    let request = REQUESTS[random.usize(..REQUESTS.len())];
    let mut bytes = request.replace("ID", id).into_bytes();
    for _ in 0..random.usize(..5) {
        let at = random.usize(..=bytes.len());
        let to = (at + random.usize(..12)).min(bytes.len());
        match random.u8(..5) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let again = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, again));
            }
            2 => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].bytes())),
            3 => bytes[at..to]
                .iter_mut()
                .for_each(|byte| *byte = random.u8(..)),
            _ => bytes.truncate(bytes.len() - random.usize(..3).min(bytes.len())),
        }
    }
    bytes
}

/// Everything that is answered until the connection ends.
async fn ask(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // Either side may end it first.
    drop(stream.write_all(request).await);
    drop(stream.read_to_end(&mut answer).await);
    answer
}

/// Posts an event on a connection of its own. `false`: the connection was cut, for the machine was
/// too busy to send a head in time, or the answer is no success.
async fn is_taken(address: SocketAddr, id: &str) -> bool {
    let body = json!({ "id": id, "user": "u", "lesson": "l", "percent": 5 }).to_string();
    let headers = [("authorization", "t"), ("content-type", "application/json")];
    Http::default()
        .try_call(address, Method::POST, "/event", &headers, body)
        .await
        .is_ok_and(|answer| answer.status.is_success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_end_the_sidecar_or_its_promises() {
    let short = "listen = \"127.0.0.1:0\"\nheader_timeout = \"500ms\"\nbody_timeout = \
        \"500ms\"\nkeepalive_timeout = \"500ms\"\ndrain";
    let sidecar = Sidecar::start(&[("listen = \"127.0.0.1:0\"\ndrain", short)]).await;
    // What is forwarded to the batch path may be anything.
    sidecar
        .upstream
        .answer_with(|seen| Some(answer(200, json!({ "accepted": ids(seen) }))));
    let (count, seed) = (
        number("TIDEGATE_FUZZ", 600),
        number("TIDEGATE_FUZZ_SEED", 1),
    );
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = BTreeSet::new();
    for round in 0..count.div_ceil(200) {
        let mut tasks = Vec::new();
        for one in 0..200 {
            let id = format!("{round}-{one}");
            let (request, address) = (mutated(&mut random, &id), sidecar.running.address);
            tasks.push((
                id,
                tokio::spawn(async move { (ask(address, &request).await, request) }),
            ));
        }
        for (id, task) in tasks {
            let (answer, request) = in_time("the end of a connection", task).await.unwrap();
            let (answer, request) = (
                String::from_utf8_lossy(&answer),
                String::from_utf8_lossy(&request),
            );
            let known =
                answer.is_empty() || answer.starts_with("HTTP/1.") || answer.starts_with('\0');
            assert!(known, "seed {seed}: {request:?} is answered {answer:?}");
            // The id as it was sent: the mutation may have met it.
            for line in answer
                .lines()
                .filter_map(|line| line.strip_prefix("tidegate-event: "))
            {
                acknowledged.insert(line.trim().to_owned());
            }
            drop(id);
        }
    }
    let last = async { while !is_taken(sidecar.running.address, "last").await {} };
    in_time(&format!("the last event of seed {seed}"), last).await;
    acknowledged.insert("last".to_owned());
    sidecar.flush().await;
    let ledger = sidecar.until(|ledger| ledger.pending == 0).await;
    assert_eq!(ledger.dead, 0, "seed {seed}: {ledger}");
    let delivered: Vec<String> = sidecar
        .upstream
        .seen()
        .iter()
        .filter(|seen| seen.path == "/batch")
        .flat_map(ids)
        .collect();
    for id in &acknowledged {
        assert_eq!(
            delivered.iter().filter(|one| *one == id).count(),
            1,
            "seed {seed}: {id}"
        );
    }
}

/// Ids of a batch; a forwarded one may be anything.
fn ids(seen: &Seen) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let events = body["events"].as_array().cloned().unwrap_or_default();
    events
        .iter()
        .filter_map(|event| event["clientEventId"].as_str().map(str::to_owned))
        .collect()
}
