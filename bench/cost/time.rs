//! Processor time of an acknowledgement, its delivery included, against a bare hyper server's in the same run.
//!
//! A server's user and system time are the operating system's accounting. 64 connections, one call in flight each; rounds
//! go round the servers, and the first isn't counted.

use super::load::{self, Head, Server, Upstream, median};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);

async fn drive(address: SocketAddr, head: Head, connection: usize, first: usize, until: Instant) -> usize {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let (mut count, mut buffer) = (0, vec![0; 8_192]);
    while Instant::now() < until {
        // Few users read: what is stored of them ends after 30 s, and misses would be measured.
        let user = connection * 16 + if head.is_read() { 0 } else { count % 16 };
        let user = format!("user-{user}");
        let id = format!("{user}:lesson-7:{connection}:{}", first + count);
        stream.write_all(&load::call(head, &user, &id, "csrf-0123456789abcdef")).await.expect("a call is written");
        let mut have = 0;
        while !load::whole(&buffer[..have]) {
            let read = stream.read(&mut buffer[have..]).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            have += read;
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..have]));
        count += 1;
    }
    count
}

/// Microseconds of processor time of each call.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn round(server: &Server, head: Head, number: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let before = server.ticks();
    let calls = runtime.block_on(async {
        let until = Instant::now() + ROUND;
        let drive = |one| tokio::spawn(drive(server.address, head, one, number * 1_000_000, until));
        let tasks: Vec<_> = (0..CONNECTIONS).map(drive).collect();
        let mut calls = 0;
        for task in tasks {
            calls += task.await.expect("a connection's task");
        }
        calls
    });
    (server.ticks() - before) as f64 * 10_000.0 / calls as f64
}

struct Entry {
    version: &'static str,
    kind: &'static str,
    server: Server,
    head: Head,
    found: Vec<f64>,
}

pub fn print() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let upstream = Upstream::start();
    let programs = super::programs();
    let mut entries = Vec::new();
    let kinds =
        [(Head::Small, "small"), (Head::Browser, "browser"), (Head::Hit, "hit"), (Head::BrowserHit, "browser hit")];
    for (head, kind) in kinds {
        let server = Server::start(Command::new(&programs[0].1).arg("serve"));
        entries.push(Entry { version: "bare", kind, server, head, found: Vec::new() });
        for (version, program) in &programs {
            let durabilities = if head.is_read() { &["none"][..] } else { &["none", "disk"] };
            for durability in durabilities.iter().copied() {
                let journal = directory.path().join(format!("{version}-{kind}-{durability}"));
                let mut command = Command::new(program);
                command.args(["serve", &upstream.address.to_string(), durability]).arg(journal);
                let kind = if durability == "none" { kind } else { [kind, "+disk"].concat().leak() };
                entries.push(Entry { version, kind, server: Server::start(&mut command), head, found: Vec::new() });
            }
        }
    }
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {ROUND:?}; microseconds of processor time a call, of bare");
    let mut shares: Vec<Vec<f64>> = entries.iter().map(|_| Vec::new()).collect();
    for number in 0..=ROUNDS {
        let mut bare = 0.0;
        for (place, entry) in entries.iter_mut().enumerate() {
            let cost = round(&entry.server, entry.head, number);
            if entry.version == "bare" {
                bare = cost;
            }
            // The first round warms up.
            if number > 0 {
                entry.found.push(cost);
                shares[place].push(cost / bare);
            }
        }
    }
    for (entry, shares) in entries.iter().zip(shares) {
        let Entry { version, kind, found, .. } = entry;
        println!("{version:>7} {kind:>12}: {:>6.1} us, {:.2} of bare", median(found.clone()), median(shares));
    }
}
