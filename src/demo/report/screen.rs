//! What is shown while the demo runs: a summary that is drawn over itself on a terminal, a table's
//! lines elsewhere. No line is wider than 80 columns.

use super::moment::{Moment, Scene};
use super::numbers::{decimal, grouped, micros, percent, ratio};
use crate::demo::learners::tally::Latency;
use std::time::Duration;

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
        let part = passed / run.duration.as_secs_f64().max(0.001);
        let mut lines = vec![title(scene, now, passed), bar(part)];
        lines.extend(self.call_lines(now));
        lines.extend(state_lines(now));
        lines.push(format!("  {DIM}{}{PLAIN}", dashboard(scene)));
        lines.push(format!(
            "  {DIM}sidecar      http://{}/api/health{PLAIN}",
            scene.address
        ));
        lines
    }

    fn call_lines(&self, now: &Moment) -> Vec<String> {
        let up = now.upstream;
        let saved = decimal(100.0 - 100.0 * ratio(up.work(), now.calls()).min(1.0), 0);
        let calls_in = self.rate(now, Moment::calls);
        let calls_out = self.rate(now, |moment| moment.upstream.work());
        vec![
            row(
                "calls made",
                &grouped(now.calls()),
                &format!("{calls_in} a second"),
            ),
            row(
                "calls sent on",
                &grouped(up.work()),
                &format!("{calls_out} a second"),
            ),
            format!(
                "    {DIM}{} batches of {} events, {} reads, {} single calls{PLAIN}",
                grouped(up.batches()),
                decimal(ratio(up.batched_events, up.batches()), 1),
                grouped(up.reads),
                grouped(up.singles + up.snapshots + up.others),
            ),
            row(
                "saving",
                &format!("{}x", decimal(now.reduction(), 1)),
                &format!("{saved} % of the calls"),
            ),
        ]
    }

    fn rate(&self, now: &Moment, count: fn(&Moment) -> u64) -> String {
        let before = self.before.as_ref();
        let seconds = now
            .elapsed
            .saturating_sub(before.map_or(Duration::ZERO, |before| before.elapsed))
            .as_secs_f64();
        let more = count(now).saturating_sub(before.map_or(0, count));
        #[expect(clippy::cast_precision_loss, reason = "shown as a whole number")]
        let rate = if seconds > 0.0 {
            more as f64 / seconds
        } else {
            0.0
        };
        decimal(rate, 0)
    }
}

/// Where the dashboard is.
#[must_use]
pub fn dashboard(scene: &Scene) -> String {
    format!("dashboard    http://{}/", scene.admin)
}

fn title(scene: &Scene, now: &Moment, passed: f64) -> String {
    let run = scene.run;
    let clock = if run.speed > 1 {
        format!(", clock x{}", grouped(run.speed.into()))
    } else {
        String::new()
    };
    format!(
        "{BOLD}Tidegate{PLAIN}  {} learners, {} rhythm{clock}   {} of {} s",
        grouped(now.learners),
        run.rhythm.as_str(),
        decimal(passed, 1),
        decimal(run.duration.as_secs_f64(), 0)
    )
}

fn state_lines(now: &Moment) -> Vec<String> {
    let Latency { p50, p99 } = now.latency;
    let colour = if now.stale == 0 { GREEN } else { RED };
    let oldest = now.oldest.map_or_else(
        || "-".into(),
        |age| micros(age.as_micros().try_into().unwrap_or(u64::MAX)),
    );
    let hits = format!("{} %", percent(now.cache_hits, now.cache_answers));
    let reads = grouped(now.cache_answers);
    let stale = format!(
        "of {reads} reads, {colour}{} stale{PLAIN}",
        grouped(now.stale)
    );
    vec![
        row(
            "acknowledged",
            &grouped(now.ledger.received),
            &format!("in {}, 99 % in {}", micros(p50), micros(p99)),
        ),
        row("from memory", &hits, &stale),
        row(
            "pending",
            &grouped(now.ledger.pending),
            &format!("events, the oldest for {oldest}"),
        ),
    ]
}

fn row(name: &str, value: &str, note: &str) -> String {
    format!("  {name:<14}{BOLD}{value:>11}{PLAIN}   {note}")
}

fn bar(part: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0..=40"
    )]
    let full = (part.clamp(0.0, 1.0) * BAR as f64) as usize;
    format!(
        "{GREEN}{}{DIM}{}{PLAIN}",
        "━".repeat(full),
        "━".repeat(BAR - full)
    )
}

/// The heads of the columns of [`line`].
#[must_use]
pub fn heads() -> String {
    columns(
        "seconds",
        [
            "calls made",
            "sent on",
            "pending",
            "stale",
            "ack p99",
            "cache hits",
        ]
        .map(str::to_owned),
    )
}

/// One plain line, for logs and pipes.
#[must_use]
pub fn line(now: &Moment) -> String {
    let cells = [
        grouped(now.calls()),
        grouped(now.upstream.work()),
        grouped(now.ledger.pending),
        grouped(now.stale),
        micros(now.latency.p99),
        format!("{} %", percent(now.cache_hits, now.cache_answers)),
    ];
    columns(&decimal(now.elapsed.as_secs_f64(), 1), cells)
}

fn columns(first: &str, others: [String; 6]) -> String {
    let others: String = others.iter().map(|cell| format!("{cell:>12}")).collect();
    format!("{first:>7}{others}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::application::census::Calls;
    use crate::demo::learners::rhythm::Rhythm;
    use crate::demo::report::moment::tests::moment;
    use crate::demo::report::run::Run;
    use crate::metrics::Ledger;

    fn scene() -> Scene {
        let address = "127.0.0.1:1".parse().unwrap();
        let duration = Duration::from_secs(4);
        let run = Run {
            learners: 5,
            rhythm: Rhythm::Player,
            speed: 10,
            duration,
            arrangement: None,
            observed: false,
        };
        Scene {
            run,
            address,
            admin: address,
        }
    }

    #[test]
    fn a_drawing_covers_exactly_the_one_before_it() {
        let mut screen = Screen::default();
        let first = screen.draw(&scene(), &moment(400, 50, 80));
        let second = screen.draw(
            &scene(),
            &Moment {
                elapsed: Duration::from_secs(2),
                ..moment(500, 50, 90)
            },
        );
        let lines = first.matches('\n').count();
        assert!(
            !first.contains("\x1b[10A") && second.starts_with(&format!("\x1b[{lines}A")),
            "{second:?}"
        );
        assert_eq!(second.matches("\x1b[K\n").count(), lines);
        assert!(
            second.contains(" 100 a second"),
            "the rate is that of the last interval: {second}"
        );
    }

    /// A drawing as its reader sees it.
    fn visible(text: &str) -> String {
        let mut pieces = text.split('\x1b');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |seen, piece| {
            seen + piece
                .split_once(|c: char| c.is_ascii_alphabetic())
                .unwrap()
                .1
        })
    }

    #[test]
    fn nothing_that_is_shown_while_it_runs_is_wider_than_80_columns() {
        for huge in [999_999_999, u64::MAX / 8] {
            let calls = Calls {
                progress_batches: 1,
                batched_events: huge,
                singles: huge,
                reads: huge,
                ..Calls::default()
            };
            let now = Moment {
                elapsed: Duration::from_secs(huge),
                learners: huge,
                upstream: calls,
                latency: Latency {
                    p50: huge,
                    p99: huge,
                },
                cache_answers: huge,
                cache_hits: huge,
                stale: huge,
                ledger: Ledger {
                    received: huge,
                    pending: huge,
                    ..Ledger::default()
                },
                oldest: Some(Duration::from_secs(huge)),
                ..moment(huge, huge, huge)
            };
            let scene = scene();
            let address = "255.255.255.255:65535".parse().unwrap();
            let run = Run {
                speed: u32::MAX,
                duration: Duration::from_secs(huge),
                ..scene.run
            };
            let drawn = visible(&Screen::default().draw(
                &Scene {
                    run,
                    address,
                    admin: address,
                },
                &now,
            ));
            for line in drawn.lines().chain([&*heads(), &*line(&now)]) {
                assert!(
                    line.chars().count() <= 80,
                    "{}: {line}",
                    line.chars().count()
                );
            }
        }
    }

    #[test]
    fn lines_for_a_pipe_have_no_escape_codes_and_stand_under_their_heads() {
        let (heads, line) = (heads(), line(&moment(400, 50, 80)));
        assert!(
            !heads.contains('\x1b') && !line.contains('\x1b'),
            "{line:?}"
        );
        assert_eq!(heads.chars().count(), line.chars().count());
        assert!(line.contains("450") && line.contains("75 %"), "{line}");
    }
}
