//! The sidecar: the real binary in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug)]
pub struct Sidecar {
    pub address: SocketAddr,
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
        let address = said.split("serves on http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.and_then(|text| text.parse().ok()).expect("an address");
        // Read on, lest the pipe fills.
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { address, child }
    }

    /// Notes its resident memory ten times a second.
    pub fn watch_memory(&self) -> Memory {
        let (highest, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (id, memory) = (self.child.id(), Memory { highest: Arc::clone(&highest), ends: Arc::clone(&ends) });
        std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
                highest.fetch_max(now / 1024, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        memory
    }

    /// Stops it; its books when it ended.
    pub fn stop(self) -> Ledger {
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
        let output = self.child.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line =
            said.lines().find(|line| line.contains("received")).unwrap_or("no ledger was printed").trim().to_owned();
        let numbers: Vec<u64> =
            line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|one| one.parse().ok()).collect();
        let balances = numbers.split_first().is_some_and(|(received, rest)| *received == rest.iter().sum::<u64>());
        Ledger { line, balances }
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
