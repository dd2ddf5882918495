//! What is left when the demo is over: a page for people, one line of JSON for programs.

use super::arrangement::Arrangement;
use super::audit::Audit;
use super::moment::{Moment, Scene, grouped, micros};
use super::tally::{Tally, ratio};
use crate::metrics::Ledger;
use serde_json::{Value, json};

/// The end of a run.
#[derive(Debug)]
pub struct Report {
    /// What it was.
    pub scene: Scene,
    /// The last numbers, taken after the sidecar has stopped.
    pub last: Moment,
    /// Promise against fact.
    pub audit: Audit,
    /// The sidecar's ledger as it stopped.
    pub ledger: Ledger,
    /// Writes that nobody promised to keep.
    pub refused: u64,
    /// Tries repeated.
    pub repeated: u64,
    /// Writes that the upstream answered itself.
    pub forwarded: u64,
    /// Token refreshes.
    pub refreshes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Learners that could not log in.
    pub locked_out: u64,
    /// Stale reads that were sent past the cache, because the learner's pending events took too long to arrive.
    pub stale_past_barrier: u64,
    /// Somebody didn't wait for its end.
    pub interrupted: bool,
}

/// How the reduction is counted.
pub const REDUCTION: &str = "reduction = calls the learners made (writes and reads; a repeated try counts once) / calls that reached the upstream (batches, reads, forwarded calls, retries); logins and token refreshes are left out of both";

impl Report {
    /// From the counters.
    #[must_use]
    pub fn new(scene: Scene, last: Moment, audit: Audit, tally: &Tally) -> Self {
        Self {
            scene,
            last,
            audit,
            ledger: last.ledger,
            refused: tally.refused.get(),
            repeated: tally.repeated.get(),
            forwarded: tally.forwarded.get(),
            refreshes: tally.refreshes.get(),
            failed_reads: tally.failed_reads.get(),
            locked_out: tally.locked_out.get(),
            stale_past_barrier: tally.stale_past_barrier.get(),
            interrupted: false,
        }
    }

    /// Whether every promise was kept and somebody was there to be promised something. Offering twice is no fault (ruling
    /// 3), nor is a stale read that the sidecar itself declared to be one; any other breaks P7.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        let fresh = self.last.stale <= self.stale_past_barrier;
        self.audit.is_clean() && fresh && self.audit.acknowledged > 0 && self.ledger.balances()
    }

    /// One object, no line break.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { scene, last, audit, ledger, .. } = self;
        let (run, up) = (scene.run, last.upstream);
        json!({
            "learners": run.learners, "rhythm": run.rhythm.as_str(), "speed": run.speed,
            "arrangement": run.arrangement.map(Arrangement::as_str),
            "seconds": rounded(last.elapsed.as_secs_f64()),
            "calls": last.calls(), "writes": last.writes, "reads": last.reads,
            "upstream_calls": up.work(), "reduction": rounded(last.reduction()),
            "write_reduction": rounded(last.write_reduction()),
            "upstream": {
                "progress_batches": up.progress_batches, "analytics_batches": up.analytics_batches,
                "assignment_batches": up.assignment_batches, "events_in_batches": up.batched_events,
                "reads": up.reads, "singles": up.singles, "snapshots": up.snapshots,
                "others": up.snapshots + up.others, "auth": up.auth, "refusals": up.refusals,
            },
            "acknowledged": audit.acknowledged, "lost": audit.lost, "duplicated": audit.duplicated,
            "offered_again": audit.offered_again, "foreign": audit.foreign, "out_of_order": audit.out_of_order,
            "ack_p50_us": last.latency.p50, "ack_p99_us": last.latency.p99,
            "cache_hit_ratio": rounded(ratio(last.cache_hits, last.cache_answers)),
            "cache_answers": last.cache_answers, "stale_reads": last.stale,
            "stale_past_barrier": self.stale_past_barrier,
            "forwarded": self.forwarded, "refused": self.refused, "repeated": self.repeated,
            "refreshes": self.refreshes, "failed_reads": self.failed_reads, "locked_out": self.locked_out,
            "ledger": ledger, "ok": self.is_good(),
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { last, audit, ledger, .. } = self;
        let up = last.upstream;
        let row = |f: &mut std::fmt::Formatter<'_>, name: &str, direct: u64, through: u64, note: &str| {
            writeln!(f, "  {name:<22}{:>12}{:>12}   {note}", grouped(direct), grouped(through))
        };
        writeln!(f)?;
        writeln!(f, "  The upstream answers       directly    Tidegate")?;
        let singles = up.singles + up.snapshots + up.others;
        let size = format!(
            "{} batches of {:.1} events, {} single calls",
            grouped(up.batches()),
            ratio(up.batched_events, up.batches()),
            grouped(singles)
        );
        row(f, "writes", last.writes, up.writes(), &size)?;
        let hits = format!("{:.0} % of the answers from memory", 100.0 * ratio(last.cache_hits, last.cache_answers));
        row(f, "reads", last.reads, up.reads, &hits)?;
        row(f, "all", last.calls(), up.work(), &format!("{:.2} times fewer", last.reduction()))?;
        writeln!(f)?;
        writeln!(
            f,
            "  acknowledged          {:>12}   p50 {}, p99 {}",
            grouped(audit.acknowledged),
            micros(last.latency.p50),
            micros(last.latency.p99)
        )?;
        writeln!(
            f,
            "  superseded            {:>12}   acknowledged, and made needless by a newer one before they were sent",
            grouped(ledger.superseded)
        )?;
        writeln!(
            f,
            "  lost                  {:>12}   acknowledged, but not applied by the upstream",
            grouped(audit.lost)
        )?;
        writeln!(
            f,
            "  duplicated            {:>12}   applied twice; offered twice: {}",
            grouped(audit.duplicated),
            audit.offered_again
        )?;
        writeln!(
            f,
            "  out of order          {:>12}   applied after something newer of the same lesson, assignment or course",
            grouped(audit.out_of_order)
        )?;
        writeln!(f, "  foreign               {:>12}   sent with another user's token", grouped(audit.foreign))?;
        writeln!(
            f,
            "  stale reads           {:>12}   showed less than had been acknowledged; past the barrier: {}",
            grouped(last.stale),
            self.stale_past_barrier
        )?;
        let Self { forwarded, refused, repeated, refreshes, failed_reads, locked_out, .. } = self;
        writeln!(
            f,
            "  forwarded             {:>12}   refused {refused}, repeated {repeated}, failed reads {failed_reads}, locked out {locked_out}, token refreshes {refreshes}",
            grouped(*forwarded)
        )?;
        writeln!(f)?;
        writeln!(f, "  ledger: {ledger}")?;
        writeln!(f, "  {REDUCTION}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::learner::rhythm::Rhythm;
    use crate::demo::run::Run;
    use crate::demo::upstream::census::Calls;
    use std::time::Duration;

    fn report(audit: Audit) -> Report {
        let address = "127.0.0.1:1".parse().unwrap();
        let duration = Duration::from_secs(4);
        let run = Run { learners: 5, rhythm: Rhythm::Player, speed: 10, duration, arrangement: None };
        let scene = Scene { run, address, admin: address };
        let tally = Tally::try_new().unwrap();
        tally.writes.add();
        tally.acknowledged_in(Duration::from_micros(250));
        let ledger = Ledger { received: 1, accepted: 1, ..Ledger::default() };
        let last = Moment::of(duration, &tally, Default::default(), ledger, None);
        Report::new(scene, last, audit, &tally)
    }

    #[test]
    fn a_stale_read_spoils_a_run_unless_it_was_declared() {
        let clean = Audit { acknowledged: 1, ..Audit::default() };
        for (stale, declared, good) in [(0, 0, true), (2, 2, true), (2, 1, false), (1, 0, false)] {
            let report = report(clean);
            let last = Moment { stale, ..report.last };
            let report = Report { last, stale_past_barrier: declared, ..report };
            assert_eq!(report.is_good(), good, "{stale} {declared}");
        }
    }

    #[test]
    fn the_report_says_how_many_events_were_superseded() {
        let report = report(Audit { acknowledged: 1, ..Audit::default() });
        let ledger = Ledger { received: 9_001, accepted: 1, superseded: 9_000, ..Ledger::default() };
        let upstream = Calls { progress_batches: 2, batched_events: 9, snapshots: 1_234, ..Calls::default() };
        let last = Moment { upstream, ..report.last };
        let report = Report { ledger, last, ..report };
        let (page, json) = (report.to_string(), report.json());
        let line = page.lines().find(|line| line.trim_start().starts_with("superseded")).unwrap();
        assert!(line.contains("9,000"), "{page}");
        assert_eq!(json["ledger"]["superseded"], 9_000);
        assert!(page.contains("2 batches of 4.5 events, 1,234 single calls"), "{page}");
    }

    #[test]
    fn only_lost_foreign_or_no_events_spoil_a_run() {
        let clean = Audit { acknowledged: 1, ..Audit::default() };
        for (audit, good) in [
            (clean, true),
            (Audit { duplicated: 1, offered_again: 1, out_of_order: 1, ..clean }, true),
            (Audit { lost: 1, ..clean }, false),
            (Audit { foreign: 1, ..clean }, false),
            (Audit::default(), false),
        ] {
            assert_eq!(
                (report(audit).is_good(), report(audit).json()["ok"].as_bool()),
                (good, Some(good)),
                "{audit:?}"
            );
        }
    }

    #[test]
    fn the_report_says_the_same_to_people_and_programs() {
        let report = report(Audit { acknowledged: 1_234, lost: 7, ..Audit::default() });
        let (page, json) = (report.to_string(), report.json());
        assert!(page.contains("1,234") && page.contains("p50 250 us"), "{page}");
        assert_eq!(
            (json["acknowledged"].as_u64(), json["lost"].as_u64(), json["ack_p50_us"].as_u64()),
            (Some(1_234), Some(7), Some(250))
        );
        assert!(!json.to_string().contains('\n'));
    }
}
