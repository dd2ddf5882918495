//! Servers as processes of their own on one core, and what the operating system's accounting says
//! of them.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// Servers have this core, and nothing else has it.
const SERVER_CORE: usize = 0;
/// The load and the application.
const LOAD_CORE: usize = 1;
/// Microseconds of a tick of the operating system's accounting.
const TICK: u64 = 10_000;
/// A server that isn't there by then doesn't come.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keeps this thread, and what it starts from now on, on one core.
fn pin_to(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("two cores");
}

/// Keeps this thread, and what it starts from now on, on the load's core.
pub fn pin_load() {
    pin_to(LOAD_CORE);
}

/// A server that ends with this value, with all processes that it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ends_by: Signal,
}

impl Process {
    /// Starts `command` on the servers' core. `ends_by` is what ends it at once, its own processes
    /// too.
    pub fn start(command: &mut Command, ends_by: Signal) -> Self {
        pin_to(SERVER_CORE);
        let child = command.spawn();
        pin_load();
        Self {
            child: child.expect("the server starts"),
            ends_by,
        }
    }

    /// Processor time so far in microseconds, user and system, of all its processes and threads; a
    /// multiple of 10,000.
    pub fn processor_time(&self) -> u64 {
        let ticks: u64 = self
            .family()
            .into_iter()
            .map(|id| read_stat(id).map_or(0, |stat| stat.ticks))
            .sum();
        ticks * TICK
    }

    /// Processor time so far in microseconds of all threads of the first process but those of these
    /// names; a multiple of 10,000.
    pub fn processor_time_but(&self, names: &[&str]) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let ticks = |task: std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let stat = read_stat_at(&task.path().join("stat"))?;
            (!names.contains(&name.trim_end())).then_some(stat.ticks)
        };
        let tasks = tasks.expect("proc(5)").flatten();
        tasks.filter_map(ticks).sum::<u64>() * TICK
    }

    /// Resident bytes of the first process.
    pub fn resident(&self) -> u64 {
        self.read_status("VmRSS:")
    }

    /// The most bytes that the first process had resident.
    pub fn peak_resident(&self) -> u64 {
        self.read_status("VmHWM:")
    }

    fn read_status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.expect("its accounting");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("proc(5)");
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("kilobytes")
            * 1024
    }

    /// The process and all that descend from it.
    fn family(&self) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").expect("proc(5)").flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let parents: Vec<_> = ids
            .filter_map(|id| Some((id, read_stat(id)?.parent)))
            .collect();
        let mut family = vec![self.child.id()];
        let mut seen = 0;
        while let Some(one) = family.get(seen).copied() {
            family.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| *parent == one)
                    .map(|(id, _)| *id),
            );
            seen += 1;
        }
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if id.is_some_and(|id| kill_process(id, self.ends_by).is_ok()) {
            drop(self.child.wait());
        }
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// `None`: the process has ended.
fn read_stat(id: u32) -> Option<Stat> {
    read_stat_at(Path::new(&format!("/proc/{id}/stat")))
}

fn read_stat_at(file: &Path) -> Option<Stat> {
    let text = std::fs::read_to_string(file).ok()?;
    // After the name, which may hold anything.
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields
        .get(11..13)?
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        ticks,
    })
}

/// The bare hyper server of [`super::application::serve_bare`].
pub fn start_bare() -> (Process, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let mut process = Process::start(command.arg("serve").stdout(Stdio::piped()), Signal::KILL);
    let mut line = String::new();
    let stdout = process.child.stdout.as_mut().expect("its output");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("its address");
    (process, line.trim().parse().expect("an address"))
}

/// The real binary with this configuration, and the time from its start until it serves.
pub fn start_tidegate(directory: &Path, configuration: &str) -> (Process, SocketAddr, Duration) {
    std::fs::create_dir_all(directory).expect("a directory");
    let file = directory.join("config.toml");
    std::fs::write(&file, configuration).expect("a configuration");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["run", "--config"])
        .arg(&file)
        .env("RUST_LOG", "error");
    let began = Instant::now();
    let mut process = Process::start(
        command.stdout(Stdio::null()).stderr(Stdio::piped()),
        Signal::KILL,
    );
    let mut lines = BufReader::new(process.child.stderr.take().expect("its messages")).lines();
    let address = loop {
        let line = lines.next().expect("it serves").expect("its messages");
        match line
            .split_once("serves on http://")
            .and_then(|(_, rest)| rest.split(',').next())
        {
            Some(address) => break address.parse().expect("an address"),
            None => eprintln!("{line}"),
        }
    };
    let took = began.elapsed();
    // Read on, lest the pipe fills.
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .for_each(|line| eprintln!("{line}"))
    });
    (process, address, took)
}

/// Another proxy; it serves when this returns.
pub fn start_peer(command: &mut Command, port: u16) -> (Process, SocketAddr) {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start(quiet, Signal::TERM);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let ended = process.child.try_wait().expect("its state");
        assert!(
            ended.is_none() && Instant::now() < until,
            "{command:?} doesn't serve: {ended:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (process, address)
}

/// A port that nothing listens on.
pub fn find_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Where a program is installed: in `PATH`, or where the system keeps servers.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    places
        .map(|place| place.join(name))
        .find(|file| file.is_file())
}
