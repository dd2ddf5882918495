//! Resident memory and directory size of a sidecar under a steady load.
//!
//! `cargo bench --bench soak` (`TIDEGATE_SOAK` seconds, 600 without it; `TIDEGATE_RATE` events a
//! second, 3000). The real binary with a journal at `disk` and windows of 5 s; 64 connections; an
//! upstream that takes every batch but one in twenty, which it answers 503. A line every twentieth
//! of the time.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark that can not go on ends"
)]

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const CONNECTIONS: u64 = 64;

async fn upstream(listener: TcpListener) {
    let turn = Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let turn = Arc::clone(&turn);
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let fails = turn.fetch_add(1, Ordering::Relaxed) % 20 == 19;
            async move {
                drop(request.into_body().collect().await);
                let mut reply =
                    http::Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}")));
                if fails {
                    *reply.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok::<_, Infallible>(reply)
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn drive(
    address: SocketAddr,
    connection: u64,
    every: Duration,
    until: Instant,
    acked: Arc<AtomicU64>,
) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut pace = tokio::time::interval(every);
    let mut buffer = vec![0; 8192];
    for number in 0u64.. {
        pace.tick().await;
        if Instant::now() > until {
            return;
        }
        let user = (connection * 97 + number) % 5_000;
        let body = format!(
            "{{\"clientEventId\":\"{connection}:{number}\",\"userId\":\"user-{user}\",\"lessonId\":\"lesson-7\",\"percent\":33}}"
        );
        let request = format!(
            "POST /event HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {user}\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut have = 0;
        while !buffer[..have].windows(4).any(|end| end == b"\r\n\r\n")
            || !buffer[..have].ends_with(b"}")
        {
            let read = stream.read(&mut buffer[have..]).await.expect("an answer");
            assert!(read > 0, "the sidecar closed the connection");
            have += read;
        }
        if buffer.starts_with(b"HTTP/1.1 2") {
            acked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
        / 1024
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

async fn soak(directory: &Path) {
    let (seconds, rate) = (number("TIDEGATE_SOAK", 600), number("TIDEGATE_RATE", 3_000));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(upstream(listener));
    let journal = directory.join("journal");
    let file = directory.join("config.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \
         \"http://{address}\"\n[identity]\ncredentials = \
         [\"header:authorization\"]\n[journal]\npath = \"{}\"\n[limits]\nmax_seen = \
         200_000\n[batch.progress]\npath = \"/batch\"\n[[event]]\npath = \"/event\"\nbatch = \
         \"progress\"\n",
        journal.display()
    );
    std::fs::write(&file, text).expect("a configuration");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--config"])
        .arg(&file)
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("its stderr"));
    stderr.read_line(&mut said).expect("its first line");
    let at = said
        .split("serves on http://")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .expect("an address");
    let at: SocketAddr = at.parse().expect("an address");
    let acked = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    let every = Duration::from_secs(1) * u32::try_from(CONNECTIONS).unwrap_or(1)
        / u32::try_from(rate).unwrap_or(1);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|one| tokio::spawn(drive(at, one, every, until, Arc::clone(&acked))))
        .collect();
    println!(
        "{seconds} s at {rate} events/s; memory of the process, size of the journal's directory"
    );
    println!(
        "{:>8} {:>10} {:>10} {:>10}",
        "seconds", "acked", "RSS MiB", "disk MiB"
    );
    for step in 1..=20 {
        tokio::time::sleep_until(until - Duration::from_secs(seconds) / 20 * (20 - step)).await;
        let disk = tidegate::journal::directory::size_of(&journal) >> 20;
        println!(
            "{:>8} {:>10} {:>10} {disk:>10}",
            seconds * u64::from(step) / 20,
            acked.load(Ordering::Relaxed),
            resident(child.id())
        );
    }
    for task in tasks {
        task.await.expect("a connection");
    }
    drop(
        Command::new("kill")
            .arg("-TERM")
            .arg(child.id().to_string())
            .status(),
    );
    let output = child.wait_with_output().expect("its end");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
}

fn main() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(soak(directory.path()));
}
