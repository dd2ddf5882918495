//! The sidecar: the real binary in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[derive(Debug)]
pub struct Sidecar {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
}

/// The last line of its report.
#[derive(Debug)]
pub struct Ledger {
    pub line: String,
    pub balances: bool,
}

impl Sidecar {
    pub fn start(directory: &Path, configuration: &str) -> Self {
        let file = directory.join("config.toml");
        std::fs::write(&file, configuration).expect("a configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["run", "--config"])
            .arg(&file)
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut stderr = BufReader::new(child.stderr.take().expect("its messages"));
        let mut said = String::new();
        stderr.read_line(&mut said).expect("its first line");
        let named = |before: &str| {
            let text = said
                .split(before)
                .nth(1)
                .and_then(|rest| rest.split([',', '\n']).next());
            text.and_then(|text| text.trim().parse().ok())
                .expect("an address")
        };
        let (address, admin) = (named("serves on http://"), named("admin on http://"));
        // Read on, lest the pipe fills.
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"))
        });
        Self {
            address,
            admin,
            child,
        }
    }

    /// Notes its resident memory ten times a second.
    pub fn watch_memory(&self) -> Memory {
        let (highest, ends) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (id, memory) = (
            self.child.id(),
            Memory {
                highest: Arc::clone(&highest),
                ends: Arc::clone(&ends),
            },
        );
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let text =
                    std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let now = line
                    .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
                    .unwrap_or(0);
                highest.fetch_max(now / 1024, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        memory
    }

    /// Stops it; its books when it ended.
    pub fn stop(self) -> Ledger {
        drop(
            Command::new("kill")
                .arg("-TERM")
                .arg(self.child.id().to_string())
                .status(),
        );
        let output = self.child.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said
            .lines()
            .find(|line| line.contains("received"))
            .unwrap_or("no ledger was printed")
            .trim()
            .to_owned();
        let numbers: Vec<u64> = line
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|one| one.parse().ok())
            .collect();
        let balances = numbers
            .split_first()
            .is_some_and(|(received, rest)| *received == rest.iter().sum::<u64>());
        Ledger { line, balances }
    }
}

/// Asks the admin listener once a second for this time, each time on a new connection; how long the
/// longest answer took. One that doesn't come counts as the whole time.
pub async fn ask_admin(admin: SocketAddr, time: Duration) -> Duration {
    let (until, mut longest) = (Instant::now() + time, Duration::ZERO);
    while Instant::now() < until {
        let began = Instant::now();
        let took = match tokio::time::timeout(time, ask_once(admin)).await {
            Ok(Ok(())) => began.elapsed(),
            _ => time,
        };
        longest = longest.max(took);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    longest
}

async fn ask_once(admin: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(admin).await?;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(std::io::Error::other(answer))
    }
}

/// Watches until it is asked.
#[derive(Debug)]
pub struct Memory {
    highest: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
}

impl Memory {
    /// The most that was seen, in MiB.
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}
