//! The real binary as a child process, so that it can be killed.

use super::{Http, in_time};
use http::Method;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than any test may take: a stop under it ends when nothing is left that can move.
pub const LONG_DRAIN: (&str, &str) = ("drain = \"5s\"", "drain = \"1h\"");

/// A running `tidegate run`.
pub struct Process {
    child: Child,
    stdout: ChildStdout,
    said: Arc<Mutex<String>>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

/// Whether a process has a handler for SIGINT: without one it would end at it.
pub fn catches_interrupts(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    // Signals count from 1, and SIGINT is 2.
    caught & 0b10 != 0
}

fn after<'a>(line: &'a str, marker: &str) -> &'a str {
    line.split(marker)
        .nth(1)
        .unwrap()
        .split([',', ' ', '\n'])
        .next()
        .unwrap()
}

impl Process {
    /// Starts it and waits until it serves. `Err`: what it said instead.
    pub fn try_start(config: &Path) -> Result<Self, (Option<i32>, String)> {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_tidegate")), config)
    }

    /// Starts it with no more file descriptors than these, and waits until it serves.
    pub fn start_with_descriptors(config: &Path, descriptors: u32) -> Self {
        Self::start_after(&format!("ulimit -n {descriptors}"), config)
    }

    /// Starts it from a shell, after this command, and waits until it serves.
    pub fn start_after(command: &str, config: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("{command} && exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_tidegate"),
        ]);
        Self::spawn(shell, config).unwrap_or_else(|(code, said)| panic!("exit {code:?}: {said}"))
    }

    /// Starts it so that it reads its file anew whenever that changes, and waits until it serves.
    pub fn try_start_watching(config: &Path) -> Result<Self, (Option<i32>, String)> {
        let mut shell = Command::new("sh");
        let command = "exec \"$0\" \"$@\" --watch";
        shell.args(["-c", command, env!("CARGO_BIN_EXE_tidegate")]);
        Self::spawn(shell, config)
    }

    /// Starts it with a socket passed on as a service manager does (sd_listen_fds(3)), and waits
    /// until it serves.
    pub fn try_start_with(passed: OwnedFd, config: &Path) -> Result<Self, (Option<i32>, String)> {
        let mut shell = Command::new("sh");
        let command = "exec 3<&0 0</dev/null && export LISTEN_FDS=1 LISTEN_PID=$$ && \
                       exec \"$0\" \"$@\"";
        shell.args(["-c", command, env!("CARGO_BIN_EXE_tidegate")]);
        shell.stdin(passed);
        Self::spawn(shell, config)
    }

    /// Starts it with SIGHUP as a terminal's session has it, whatever the tests were started by,
    /// and waits until it serves.
    pub fn start_in_session(config: &Path) -> Self {
        let mut env = Command::new("env");
        env.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_tidegate")]);
        Self::spawn(env, config).unwrap_or_else(|(code, said)| panic!("exit {code:?}: {said}"))
    }

    /// Starts it with a log: `filter` is `RUST_LOG`; without one the configuration has its word.
    pub fn start_with_log(config: &Path, filter: Option<&str>, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments);
        Self::spawn_with(command, config, filter)
            .unwrap_or_else(|(code, said)| panic!("exit {code:?}: {said}"))
    }

    /// Waits until it has said this on stderr, and gives all that it has said.
    pub async fn until_said(&self, what: &str) -> String {
        let said = async {
            loop {
                let said = self.said();
                if said.contains(what) {
                    return said;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        super::in_time(what, said).await
    }

    fn spawn(command: Command, config: &Path) -> Result<Self, (Option<i32>, String)> {
        Self::spawn_with(command, config, Some("off"))
    }

    #[expect(
        clippy::zombie_processes,
        reason = "waited for in `Drop`, and where it did not start"
    )]
    fn spawn_with(
        mut command: Command,
        config: &Path,
        filter: Option<&str>,
    ) -> Result<Self, (Option<i32>, String)> {
        match filter {
            Some(filter) => command.env("RUST_LOG", filter),
            None => command.env_remove("RUST_LOG"),
        };
        let mut child = command
            .args(["run", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if stderr.read_line(&mut line).unwrap() == 0 {
                return Err((child.wait().unwrap().code(), said));
            }
            if line.starts_with("tidegate serves on ") {
                let address = match after(&line, "serves on ").split_once("://") {
                    Some((_, address)) => address.parse().unwrap(),
                    // A Unix socket.
                    None => SocketAddr::from(([0, 0, 0, 0], 0)),
                };
                let admin = after(&line, "admin on http://").parse().unwrap();
                // Read on: what it says later must not fill the pipe.
                let later = Arc::new(Mutex::new(said + &line));
                let heard = Arc::clone(&later);
                std::thread::spawn(move || {
                    stderr
                        .lines()
                        .map_while(Result::ok)
                        .for_each(|line| *heard.lock().unwrap() += &(line + "\n"));
                });
                return Ok(Self {
                    child,
                    stdout,
                    said: later,
                    address,
                    admin,
                });
            }
            said.push_str(&line);
        }
    }

    pub fn start(config: &Path) -> Self {
        Self::try_start(config).unwrap_or_else(|(code, said)| panic!("exit {code:?}: {said}"))
    }

    /// Sockets that it has open (Linux; elsewhere none are counted).
    pub fn sockets(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())) else {
            return 0;
        };
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; its exit code and what it printed.
    pub fn terminate(self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.end()
    }

    /// What it has said on stderr since it serves, that line included.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// What it says on stderr, for when it has ended.
    pub fn heard(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.said)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Waits for its end; its exit code and what it printed.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).unwrap();
        (code, printed)
    }

    /// As [`end`](Self::end), but fails where it doesn't end in time.
    pub async fn end_in_time(mut self) -> (Option<i32>, String) {
        let ended = async {
            while self.child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("the process's end", ended).await;
        self.end()
    }

    /// As [`terminate`](Self::terminate), but fails where it doesn't end in time.
    pub async fn terminate_in_time(self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.end_in_time().await
    }

    /// Seals all windows and waits until nothing is pending.
    pub async fn deliver_pending(&self) {
        // On a connection each: the admin listener soon closes those that idle.
        let admin = async |method, path: &str| {
            Http::default()
                .try_call(self.admin, method, path, &[], "")
                .await
                .unwrap()
        };
        assert!(admin(Method::POST, "/flush").await.status.is_success());
        let settled = async {
            while admin(Method::GET, "/status").await.json()["pending"]["events"] != 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("the delivery of what is pending", settled).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that ended it already has nothing to kill.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// Runs a command to its end: its exit code, and what it said.
pub fn run(arguments: &[&str], config: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(arguments)
        .arg("--config")
        .arg(config)
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}
