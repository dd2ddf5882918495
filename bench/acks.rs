//! Acknowledgements per second, Tidegate at each durability against a bare hyper server, in the same run on the same cores.
//!
//! `cargo bench --bench acks`. Each server runs alone on one thread of its own; the load runs on another: 64
//! connections, each with one request in flight, written as prepared bytes over raw TCP. Rounds alternate between the
//! servers; medians and their ratio are printed. The bare server reads the body and answers 200.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that can not go on ends")]

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use tidegate::app::{self, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

/// One event route as in the reference configuration; windows as there, no limit per user.
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "http://UPSTREAM"
[identity]
credentials = ["header:authorization"]
user = "{event.userId}"
[journal]
durability = "DURABILITY"
path = "JOURNAL"
[batch.progress]
path = "/batch"
window = "5s"
flush_at = 25
max_events = 25
require = ["clientEventId", "userId", "lessonId"]
percent = ["percent"]
invalidates = ["progress:{user}"]
fallback = "dead-letter"
[[event]]
path = "/api/client/progress/lesson"
batch = "progress"
event = { type = "lesson_progress", clientEventId = "{body.client_event_id}", userId = "{body.user_id}", lessonId = "{body.lesson_id}", percent = "{body.percent}", position = "{body.resume_at_s}", timestamp = "{body.timestamp|now.ms}" }
ack = { status = 200, body = { data = { user_id = "{event.userId}", lesson_id = "{event.lessonId}", percent = "{event.percent}", updated_at = "{now.iso}" } } }
"#;

/// Runs something on a thread with a runtime of its own; gives its address.
fn on_its_own_thread<F, Fut>(name: &str, serve: F) -> SocketAddr
where
    F: FnOnce(mpsc::Sender<SocketAddr>) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (tell, told) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || runtime.block_on(serve(tell))).expect("a thread");
    told.recv().expect("an address")
}

async fn hyper_server(tell: mpsc::Sender<SocketAddr>, batch: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    tell.send(listener.local_addr().expect("an address")).expect("somebody asks");
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("no delay");
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
            let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            // The upstream of the benchmark takes every batch without naming its events.
            let reply = if batch { json!({ "ingested": body.len() }).to_string() } else { "{\"ok\":true}".to_owned() };
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(reply))))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn sidecar(tell: mpsc::Sender<SocketAddr>, upstream: SocketAddr, durability: &str, journal: PathBuf) {
    let text = CONFIG.replace("UPSTREAM", &upstream.to_string()).replace("DURABILITY", durability);
    let text = text.replace("JOURNAL", &journal.display().to_string());
    let config = tidegate::config::parse(&text, "bench", std::iter::empty()).expect("a configuration");
    let running = app::start(config, Options::default()).await.expect("a sidecar");
    tell.send(running.address).expect("somebody asks");
    running.draining().await;
}

fn request(connection: usize, number: u64) -> Vec<u8> {
    let user = format!("user-{}", (connection * 31 + usize::try_from(number % 16).unwrap_or(0)) % 1_000);
    let body = format!(
        "{{\"client_event_id\":\"{user}:lesson-7:{connection}:{number}\",\"user_id\":\"{user}\",\"lesson_id\":\"lesson-7\",\
         \"percent\":33,\"status\":\"in_progress\",\"time_spent_s\":0,\"resume_at_s\":185}}"
    );
    format!(
        "POST /api/client/progress/lesson HTTP/1.1\r\nhost: app.test\r\nauthorization: Bearer {user}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One connection, one request in flight, until the time is over.
async fn drive(address: SocketAddr, connection: usize, first: u64, until: Instant) -> (u64, Histogram<u64>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
    let (mut count, mut buffer) = (0, vec![0; 8192]);
    while Instant::now() < until {
        let request = request(connection, first + count);
        let began = Instant::now();
        stream.write_all(&request).await.expect("a request is written");
        let mut have = 0;
        while !whole(&buffer[..have]) {
            let read = stream.read(&mut buffer[have..]).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            have += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..have]));
        latencies.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        count += 1;
    }
    (count, latencies)
}

/// A head and the body that its content-length announces.
fn whole(seen: &[u8]) -> bool {
    let Some(head) = seen.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    seen.len() >= head + 4 + length.unwrap_or(0)
}

struct Round {
    rate: f64,
    p50: u64,
    p99: u64,
}

fn round(address: SocketAddr, number: usize) -> Round {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let began = Instant::now();
        let first = u64::try_from(number).unwrap_or(0) * 10_000_000;
        let tasks: Vec<_> =
            (0..CONNECTIONS).map(|one| tokio::spawn(drive(address, one, first, began + ROUND))).collect();
        let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
        let mut count = 0;
        for task in tasks {
            let (one, latencies) = task.await.expect("a connection's task");
            count += one;
            all.add(latencies).expect("equal bounds");
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let rate = count as f64 / began.elapsed().as_secs_f64();
        Round { rate, p50: all.value_at_quantile(0.5), p99: all.value_at_quantile(0.99) }
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let upstream = on_its_own_thread("upstream", |tell| hyper_server(tell, true));
    let mut servers = vec![("bare", on_its_own_thread("bare", |tell| hyper_server(tell, false)))];
    // On the disk that is built on, and gone with this function.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    for level in ["none", "process", "disk"] {
        let journal = directory.path().join(level);
        servers.push((level, on_its_own_thread(level, move |tell| sidecar(tell, upstream, level, journal))));
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {ROUND:?} each, alternating; latencies in microseconds");
    println!("{:>6} {:>8} {:>10} {:>7} {:>7} {:>7}", "round", "server", "acks/s", "p50", "p99", "share");
    let mut all: Vec<Vec<(Round, f64)>> = servers.iter().map(|_| Vec::new()).collect();
    // The first pair warms up and is not counted.
    for number in 0..=ROUNDS {
        let mut bare = 0.0;
        for (place, (name, address)) in servers.iter().enumerate() {
            let found = round(*address, number);
            if place == 0 {
                bare = found.rate;
            }
            let share = found.rate / bare;
            if number > 0 {
                println!("{number:>6} {name:>8} {:>10.0} {:>7} {:>7} {share:>7.2}", found.rate, found.p50, found.p99);
                all[place].push((found, share));
            }
        }
    }
    println!("medians:");
    for ((name, _), rounds) in servers.iter().zip(&all) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let of = |value: fn(&Round) -> u64| median(rounds.iter().map(|(round, _)| value(round) as f64).collect());
        let (p50, p99) = (of(|round| round.p50), of(|round| round.p99));
        let rate = median(rounds.iter().map(|(round, _)| round.rate).collect());
        let share = median(rounds.iter().map(|(_, share)| *share).collect());
        println!("{name:>8}: {rate:.0} acks/s, p50 {p50:.0} us, p99 {p99:.0} us, share of bare {share:.2}");
    }
}
