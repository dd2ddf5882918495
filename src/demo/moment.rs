//! The demo's numbers at one moment, and how a terminal shows them while it runs.

use super::run::Run;
use super::tally::{Latency, Tally, ratio};
use super::upstream::census::Calls;
use crate::metrics::Ledger;
use std::net::SocketAddr;
use std::time::Duration;

/// What stays the same through a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// What was asked for.
    pub run: Run,
    /// The sidecar's public address.
    pub address: SocketAddr,
    /// Its admin address.
    pub admin: SocketAddr,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the learners began.
    pub elapsed: Duration,
    /// Learners that are logged in.
    pub learners: u64,
    /// Calls that write.
    pub writes: u64,
    /// Calls that read.
    pub reads: u64,
    /// What reached the upstream.
    pub upstream: Calls,
    /// Acknowledgements.
    pub latency: Latency,
    /// Reads on cache routes.
    pub cache_answers: u64,
    /// Those from memory.
    pub cache_hits: u64,
    /// Reads that showed less than was acknowledged.
    pub stale: u64,
    /// The sidecar's own ledger.
    pub ledger: Ledger,
    /// Age of the oldest acknowledged event that has not arrived.
    pub oldest: Option<Duration>,
}

impl Moment {
    /// The learners' and the upstream's numbers, now.
    #[must_use]
    pub fn of(elapsed: Duration, tally: &Tally, upstream: Calls, ledger: Ledger, oldest: Option<Duration>) -> Self {
        Self {
            elapsed,
            learners: tally.learners.get(),
            writes: tally.writes.get(),
            reads: tally.reads.get(),
            upstream,
            latency: tally.latency(),
            cache_answers: tally.cache_answers.get(),
            cache_hits: tally.cache_hits.get(),
            stale: tally.stale.get(),
            ledger,
            oldest,
        }
    }

    /// Calls of the learners: what the upstream would have answered without a sidecar.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.writes + self.reads
    }

    /// How many calls of the learners one call of the upstream stands for.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        ratio(self.calls(), self.upstream.work())
    }

    /// The same for writes alone.
    #[must_use]
    pub fn write_reduction(&self) -> f64 {
        ratio(self.writes, self.upstream.writes())
    }
}

/// Draws moments over one another on a terminal.
#[derive(Debug, Default)]
pub struct Screen {
    lines: usize,
    before: Option<Moment>,
}

const BAR: usize = 40;
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Screen {
    /// The bytes that show this moment in place of the one before.
    #[must_use]
    pub fn draw(&mut self, scene: &Scene, moment: &Moment) -> String {
        let lines = self.lines(scene, moment);
        let mut out = String::new();
        if self.lines > 0 {
            // Up to the first line of the last drawing; each line is then cleared to its end.
            out.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in &lines {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        self.lines = lines.len();
        self.before = Some(*moment);
        out
    }

    fn lines(&self, scene: &Scene, now: &Moment) -> Vec<String> {
        let run = scene.run;
        let passed = now.elapsed.as_secs_f64().min(run.duration.as_secs_f64());
        let rate = |count: fn(&Moment) -> u64| self.rate(now, count);
        let saved = 100.0 - 100.0 * ratio(now.upstream.work(), now.calls()).min(1.0);
        let verdict = if now.stale == 0 { GREEN } else { RED };
        let Latency { p50, p99 } = now.latency;
        let up = now.upstream;
        vec![
            format!(
                "{BOLD}Tidegate{PLAIN}  {} learners, {} rhythm{}   {passed:.1} of {:.0} s",
                now.learners,
                run.rhythm.as_str(),
                if run.speed > 1 { format!(", clock x{}", run.speed) } else { String::new() },
                run.duration.as_secs_f64()
            ),
            bar(passed / run.duration.as_secs_f64().max(0.001)),
            format!("  calls in     {BOLD}{:>9}{PLAIN} {:>8}/s", grouped(now.calls()), rate(Moment::calls)),
            format!(
                "  calls out    {BOLD}{:>9}{PLAIN} {:>8}/s   {DIM}{} batches of {:.1} events, {} reads, {} single{PLAIN}",
                grouped(up.work()),
                rate(|moment| moment.upstream.work()),
                grouped(up.batches()),
                ratio(up.batched_events, up.batches()),
                grouped(up.reads),
                grouped(up.singles + up.snapshots + up.others),
            ),
            format!(
                "  saving       {GREEN}{BOLD}{:>8.1}x{PLAIN}   {saved:.0} % of the upstream's calls",
                now.reduction()
            ),
            format!("  ack p50      {BOLD}{:>9}{PLAIN}   p99 {}", micros(p50), micros(p99)),
            format!(
                "  cache        {BOLD}{:>7.0} %{PLAIN}   of {} reads from memory, {verdict}{} stale{PLAIN}",
                100.0 * ratio(now.cache_hits, now.cache_answers),
                grouped(now.cache_answers),
                now.stale
            ),
            format!(
                "  pending      {BOLD}{:>9}{PLAIN}   oldest {}",
                grouped(now.ledger.pending),
                now.oldest.map_or("-".into(), |age| format!("{} ms", age.as_millis()))
            ),
            format!(
                "  ledger       {DIM}received {} = accepted {} + duplicate {} + superseded {} + dead {} + pending {}{PLAIN}",
                now.ledger.received,
                now.ledger.accepted,
                now.ledger.duplicate,
                now.ledger.superseded,
                now.ledger.dead,
                now.ledger.pending
            ),
            format!(
                "  {DIM}try          curl http://{}/status    http://{}/api/health{PLAIN}",
                scene.admin, scene.address
            ),
        ]
    }

    fn rate(&self, now: &Moment, count: fn(&Moment) -> u64) -> String {
        let before = self.before.as_ref();
        let seconds = now.elapsed.saturating_sub(before.map_or(Duration::ZERO, |before| before.elapsed)).as_secs_f64();
        let more = count(now) - before.map_or(0, count);
        #[expect(clippy::cast_precision_loss, reason = "shown as a whole number")]
        let rate = if seconds > 0.0 { more as f64 / seconds } else { 0.0 };
        format!("{rate:.0}")
    }
}

/// One plain line, for logs and pipes.
#[must_use]
pub fn line(now: &Moment) -> String {
    format!(
        "{:>5.1} s  calls in {}  calls out {} ({} batches)  saving {:.1}x  ack p50 {} p99 {}  cache {:.0} %  stale {}  pending {}",
        now.elapsed.as_secs_f64(),
        now.calls(),
        now.upstream.work(),
        now.upstream.batches(),
        now.reduction(),
        micros(now.latency.p50),
        micros(now.latency.p99),
        100.0 * ratio(now.cache_hits, now.cache_answers),
        now.stale,
        now.ledger.pending
    )
}

fn bar(part: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0..=40")]
    let full = (part.clamp(0.0, 1.0) * BAR as f64) as usize;
    format!("{GREEN}{}{DIM}{}{PLAIN}", "━".repeat(full), "━".repeat(BAR - full))
}

/// Microseconds in the unit that suits them.
#[must_use]
pub fn micros(time: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    match time {
        0..1_000 => format!("{time} us"),
        1_000..1_000_000 => format!("{:.1} ms", time as f64 / 1e3),
        _ => format!("{:.1} s", time as f64 / 1e6),
    }
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::learner::rhythm::Rhythm;

    fn moment(writes: u64, reads: u64, batches: u64) -> Moment {
        let upstream = Calls { progress_batches: batches, reads: 10, auth: 99, ..Calls::default() };
        Moment {
            elapsed: Duration::from_secs(1),
            learners: 5,
            writes,
            reads,
            upstream,
            latency: Latency { p50: 310, p99: 1_900 },
            cache_answers: 4,
            cache_hits: 3,
            stale: 0,
            ledger: Ledger::default(),
            oldest: Some(Duration::from_millis(480)),
        }
    }

    fn scene() -> Scene {
        let address = "127.0.0.1:1".parse().unwrap();
        let duration = Duration::from_secs(4);
        let run = Run { learners: 5, rhythm: Rhythm::Player, speed: 10, duration, arrangement: None };
        Scene { run, address, admin: address }
    }

    #[test]
    fn the_reduction_is_calls_in_over_calls_out_without_logins() {
        assert!((moment(400, 50, 80).reduction() - 5.0).abs() < 1e-9);
        assert!((moment(400, 50, 80).write_reduction() - 5.0).abs() < 1e-9);
        assert!((moment(400, 0, 80).write_reduction() - moment(400, 99, 80).write_reduction()).abs() < 1e-9);
        assert!(moment(0, 0, 0).reduction().abs() < 1e-9);
    }

    #[test]
    fn a_drawing_covers_exactly_the_one_before_it() {
        let mut screen = Screen::default();
        let first = screen.draw(&scene(), &moment(400, 50, 80));
        let second = screen.draw(&scene(), &Moment { elapsed: Duration::from_secs(2), ..moment(500, 50, 90) });
        let lines = first.matches('\n').count();
        assert!(!first.contains("\x1b[10A") && second.starts_with(&format!("\x1b[{lines}A")), "{second:?}");
        assert_eq!(second.matches("\x1b[K\n").count(), lines);
        assert!(second.contains("100/s"), "the rate is that of the last interval: {second}");
    }

    #[test]
    fn numbers_are_shown_in_units_that_suit_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_900, 2_500_000].map(micros), ["7 us", "1.9 ms", "2.5 s"]);
    }
}
