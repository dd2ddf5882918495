//! The process as the operating system accounts for it, under the names that Prometheus' own
//! clients use. What a system doesn't tell is left out.

use super::scrape::{Scrape, float};
use crate::clock::millis;
use crate::version;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::time::SystemTime;

/// What a process is known by from its start on.
#[derive(Debug)]
pub(super) struct Process {
    /// When it began to count, seconds since 1970.
    started: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { started: now() }
    }

    pub(super) fn read(&self, scrape: &mut Scrape) {
        scrape.gauges(
            "tidegate_build_info",
            "1; the label has the version",
            [(
                vec![("version", version::NUMBER), ("commit", version::COMMIT)],
                1.0,
            )],
        );
        scrape.gauge(
            "process_start_time_seconds",
            "When the process started, seconds since 1970",
            self.started,
        );
        scrape.gauge(
            "tidegate_uptime_seconds",
            "Time since the start",
            (now() - self.started).max(0.0),
        );
        scrape.gauge(
            "tidegate_clock_seconds",
            "The wall clock, seconds since 1970",
            now(),
        );
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of processor time")]
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        scrape.counter(
            "process_cpu_seconds_total",
            "Processor time, user and system",
            cpu,
        );
        for (field, name, help) in [
            ("VmRSS:", "process_resident_memory_bytes", "Resident memory"),
            ("VmSize:", "process_virtual_memory_bytes", "Address space"),
        ] {
            if let Some(bytes) = memory(field) {
                scrape.gauge(name, help, bytes);
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // The directory itself is one of them while it is read.
            let open = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
            scrape.gauge("process_open_fds", "Open file descriptors", open.into());
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            scrape.gauge(
                "process_max_fds",
                "Most file descriptors that may be open",
                float(most),
            );
        }
    }
}

/// A field of `/proc/self/status`, bytes.
fn memory(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

/// Seconds since 1970.
fn now() -> f64 {
    float(millis(SystemTime::now())) / 1e3
}
