//! Hits per second, Tidegate's read path against nginx's proxy_cache, on the same core in the same run.
//!
//! `cargo bench --bench reads`, where `nginx` and `taskset` are installed. Each server is a process of its own, pinned to
//! core 0 with one worker thread; the load runs on core 1: 64 connections, each with one request in flight, written as
//! prepared bytes over raw TCP, for sixteen users with an Authorization each. Both caches keep one answer of 1 KiB per
//! user. Rounds alternate between the servers; medians and the ratio to nginx of the same round are printed.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that can not go on ends")]

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const CONNECTIONS: usize = 64;
const USERS: usize = 16;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const BODY: usize = 1024;

const NGINX: &str = "
worker_processes 1; daemon off; pid DIR/pid; error_log DIR/error.log; USER
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 1000000000; tcp_nodelay on; SENDFILE
  open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h; open_file_cache_min_uses 1;
  client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
  proxy_cache_path DIR/cache keys_zone=answers:10m;
  server { listen 127.0.0.1:PORT; location / {
    proxy_pass http://UPSTREAM; proxy_cache answers; proxy_cache_key $host$request_uri$http_authorization;
    add_header x-cache $upstream_cache_status; } }
}";

const TIDEGATE: &str = r#"
[server]
listen = "127.0.0.1:PORT"
[admin]
listen = "127.0.0.1:ADMIN"
[upstream]
url = "http://UPSTREAM"
[journal]
durability = "none"
[identity]
credentials = ["header:authorization"]
user = "{query.userId}"
[[cache]]
path = "/progress"
TAGS
"#;

/// A process that ends with the benchmark.
struct Server {
    name: &'static str,
    address: SocketAddr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to end first: nginx takes its worker along.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn pinned(name: &'static str, port: u16, command: &[&str]) -> Server {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "0"]).args(command).stdout(Stdio::null()).stderr(Stdio::null());
    let child = pinned.spawn().expect("taskset and the server start");
    Server { name, address: SocketAddr::from(([127, 0, 0, 1], port)), child }
}

/// `sendfile`: from the page cache to the socket; else through nginx's own buffer, in one write with the head.
fn nginx(name: &'static str, sendfile: &str, directory: &Path, upstream: SocketAddr) -> Server {
    let directory = directory.join(name);
    std::fs::create_dir(&directory).expect("a directory");
    let (port, place) = (free_port(), directory.display().to_string());
    // As root the worker would become a user who may not write here.
    let user =
        if Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") { "user root;" } else { "" };
    let text = NGINX
        .replace("DIR", &place)
        .replace("USER", user)
        .replace("SENDFILE", sendfile)
        .replace("PORT", &port.to_string());
    let file = directory.join("nginx.conf");
    std::fs::write(&file, text.replace("UPSTREAM", &upstream.to_string())).expect("a configuration");
    pinned(name, port, &["nginx", "-p", &place, "-c", &file.display().to_string()])
}

fn tidegate(name: &'static str, tags: &str, directory: &Path, upstream: SocketAddr) -> Server {
    let port = free_port();
    let text = TIDEGATE.replace("PORT", &port.to_string()).replace("ADMIN", &free_port().to_string());
    let file = directory.join(format!("{name}.toml"));
    std::fs::write(&file, text.replace("UPSTREAM", &upstream.to_string()).replace("TAGS", tags))
        .expect("a configuration");
    pinned(name, port, &[env!("CARGO_BIN_EXE_tidegate"), "run", "--config", &file.display().to_string()])
}

/// The application: an answer that is fresh for an hour.
fn upstream() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("somebody asks");
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|_| async {
                    let answer = http::Response::builder()
                        .header("cache-control", "max-age=3600")
                        .header("content-type", "application/json")
                        .header("etag", "\"v1\"");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from(vec![b'x'; BODY]))).expect("an answer"))
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
    });
    told.recv().expect("an address")
}

fn request(user: usize) -> Vec<u8> {
    format!("GET /progress?userId=user-{user} HTTP/1.1\r\nhost: app.test\r\nauthorization: Bearer token-{user}\r\n\r\n")
        .into_bytes()
}

/// Reads one answer; its head's length.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut have = 0;
    loop {
        let read = stream.read(&mut buffer[have..]).await.expect("an answer");
        assert!(read > 0, "the server closed the connection");
        have += read;
        if let Some(head) = memchr::memmem::find(&buffer[..have], b"\r\n\r\n")
            && have >= head + 4 + BODY
        {
            return head;
        }
    }
}

/// One connection, one request in flight, until the time is over.
async fn drive(address: SocketAddr, connection: usize, until: Instant) -> (u64, Histogram<u64>) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let request = request(connection % USERS);
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
    let (mut count, mut buffer) = (0, vec![0; 8192]);
    loop {
        let began = Instant::now();
        if began >= until {
            return (count, latencies);
        }
        stream.write_all(&request).await.expect("a request is written");
        let head = answer(&mut stream, &mut buffer).await;
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..head]));
        latencies.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        count += 1;
    }
}

/// Waits until the server serves, asks for every user's answer once, and sees that it comes from the cache then.
async fn warm(server: &Server) {
    let mut stream = loop {
        match TcpStream::connect(server.address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let mut buffer = vec![0; 8192];
    for wanted in [None, Some("hit")] {
        for user in 0..USERS {
            stream.write_all(&request(user)).await.expect("a request is written");
            let head = answer(&mut stream, &mut buffer).await;
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            assert!(wanted.is_none_or(|word| text.contains(word)), "{}: {text}", server.name);
        }
    }
}

struct Round {
    rate: f64,
    p50: u64,
    p99: u64,
}

fn round(runtime: &tokio::runtime::Runtime, address: SocketAddr) -> Round {
    runtime.block_on(async {
        let began = Instant::now();
        let tasks: Vec<_> = (0..CONNECTIONS).map(|one| tokio::spawn(drive(address, one, began + ROUND))).collect();
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

fn there(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn main() {
    if !there("nginx", "-v") || !there("taskset", "-V") {
        println!("skipped: nginx or taskset is not installed, so there is nothing to compare with");
        return;
    }
    let pid = std::process::id().to_string();
    drop(Command::new("taskset").args(["-a", "-cp", "1", &pid]).stdout(Stdio::null()).status());
    let upstream = upstream();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let servers = [
        nginx("nginx", "sendfile off;", directory.path(), upstream),
        nginx("nginx-sf", "sendfile on;", directory.path(), upstream),
        tidegate("plain", "", directory.path(), upstream),
        tidegate("tags", "tags = [\"progress:{user}\"]", directory.path(), upstream),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for server in &servers {
        runtime.block_on(warm(server));
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {ROUND:?} each, alternating; latencies in microseconds");
    println!("{:>6} {:>8} {:>10} {:>7} {:>7} {:>7}", "round", "server", "hits/s", "p50", "p99", "ratio");
    let mut all: Vec<Vec<(Round, f64)>> = servers.iter().map(|_| Vec::new()).collect();
    // The first round warms up and is not counted.
    for number in 0..=ROUNDS {
        let mut first = 0.0;
        for (place, server) in servers.iter().enumerate() {
            let found = round(&runtime, server.address);
            if place == 0 {
                first = found.rate;
            }
            let ratio = found.rate / first;
            if number > 0 {
                println!(
                    "{number:>6} {:>8} {:>10.0} {:>7} {:>7} {ratio:>7.2}",
                    server.name, found.rate, found.p50, found.p99
                );
                all[place].push((found, ratio));
            }
        }
    }
    println!("medians:");
    for (server, rounds) in servers.iter().zip(&all) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let of = |value: fn(&Round) -> u64| median(rounds.iter().map(|(round, _)| value(round) as f64).collect());
        let (p50, p99) = (of(|round| round.p50), of(|round| round.p99));
        let rate = median(rounds.iter().map(|(round, _)| round.rate).collect());
        let ratio = median(rounds.iter().map(|(_, ratio)| *ratio).collect());
        println!("{:>8}: {rate:.0} hits/s, p50 {p50:.0} us, p99 {p99:.0} us, {ratio:.2} of nginx", server.name);
    }
}
