//! What is left when a run is over, and one line of JSON for programs.

use super::audit::Audit;
use super::moment::{Moment, Scene};
use super::numbers::ratio;
use super::verdict::{Finding, findings};
use crate::demo::arrangement::Arrangement;
use crate::demo::learners::tally::Tally;
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
    /// Stale reads that were sent past the cache, because the learner's pending events took too
    /// long to arrive.
    pub stale_past_barrier: u64,
    /// Somebody didn't wait for its end.
    pub interrupted: bool,
    /// What an observer predicted, if there was one.
    pub prediction: Option<Prediction>,
}

/// What an observer predicted, and what was saved in the same minutes.
#[derive(Debug, Clone, Copy)]
pub struct Prediction {
    /// Calls in for each call out, by the observer.
    pub predicted: f64,
    /// Calls in for each call out, as it was.
    pub saved: f64,
    /// Events that the prediction is made of.
    pub events: u64,
    /// Events that were settled.
    pub settled: u64,
}

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
            prediction: None,
        }
    }

    /// What it showed that must not happen, worst first.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        findings(
            &self.audit,
            self.forwarded,
            &self.ledger,
            (self.last.stale, self.stale_past_barrier),
        )
    }

    /// Whether nothing was found. Offering twice is no fault (ruling 3), nor is a stale read that
    /// the sidecar itself declared to be one; any other breaks P7.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings().is_empty()
    }

    /// What runs are compared by.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Self {
            last,
            audit,
            ledger,
            ..
        } = self;
        Figures {
            calls: last.calls(),
            sent_on: last.upstream.work(),
            reduction: last.reduction(),
            write_reduction: last.write_reduction(),
            superseded: ledger.superseded,
            p50: last.latency.p50,
            p99: last.latency.p99,
            lost: audit.lost,
            foreign: audit.foreign,
            out_of_order: audit.out_of_order,
            stale: last.stale,
            declared: self.stale_past_barrier,
            good: self.is_good(),
            prediction: self.prediction.map(|one| (one.predicted, one.saved)),
        }
    }

    /// One object, no line break.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self {
            scene,
            last,
            audit,
            ledger,
            ..
        } = self;
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
            "may_repeat": audit.may_repeat, "ledger": ledger,
            "prediction": self.prediction.map(|one| json!({
                "predicted": rounded(one.predicted), "saved": rounded(one.saved),
                "events": one.events, "settled": one.settled,
            })),
            "findings": self.findings().iter().map(Finding::to_string).collect::<Vec<_>>(), "ok": self.is_good(),
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What runs are compared by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Calls that the learners made.
    pub calls: u64,
    /// Calls that reached the application.
    pub sent_on: u64,
    /// How many of the first one of the second stands for.
    pub reduction: f64,
    /// The same for writes alone.
    pub write_reduction: f64,
    /// Acknowledged states that a newer one made needless before they were sent.
    pub superseded: u64,
    /// Half of the acknowledgements were faster, µs.
    pub p50: u64,
    /// 99 of 100 were faster, µs.
    pub p99: u64,
    /// Acknowledged events that were never applied.
    pub lost: u64,
    /// Events that came as another user.
    pub foreign: u64,
    /// Events applied after something newer.
    pub out_of_order: u64,
    /// Reads that showed less than was acknowledged.
    pub stale: u64,
    /// Those of them that said so.
    pub declared: u64,
    /// Nothing was found that must not happen.
    pub good: bool,
    /// Calls in for each call out, as an observer predicted and as it was.
    pub prediction: Option<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::application::census::Calls;
    use crate::demo::learners::rhythm::Rhythm;
    use crate::demo::report::run::Run;
    use std::time::Duration;

    fn report(audit: Audit) -> Report {
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
        let scene = Scene {
            run,
            address,
            admin: address,
        };
        let tally = Tally::try_new().unwrap();
        tally.writes.add();
        tally.acknowledged_in(Duration::from_micros(250));
        let ledger = Ledger {
            received: 1,
            accepted: 1,
            ..Ledger::default()
        };
        let last = Moment::of(duration, &tally, Default::default(), ledger, None);
        Report::new(scene, last, audit, &tally)
    }

    #[test]
    fn a_stale_read_spoils_a_run_unless_it_was_declared() {
        let clean = Audit {
            acknowledged: 1,
            ..Audit::default()
        };
        for (stale, declared, good) in [(0, 0, true), (2, 2, true), (2, 1, false), (1, 0, false)] {
            let report = report(clean);
            let last = Moment {
                stale,
                ..report.last
            };
            let report = Report {
                last,
                stale_past_barrier: declared,
                ..report
            };
            assert_eq!(report.is_good(), good, "{stale} {declared}");
        }
    }

    #[test]
    fn the_report_says_how_many_events_were_superseded() {
        let report = report(Audit {
            acknowledged: 1,
            ..Audit::default()
        });
        let ledger = Ledger {
            received: 9_001,
            accepted: 1,
            superseded: 9_000,
            ..Ledger::default()
        };
        let upstream = Calls {
            progress_batches: 2,
            batched_events: 9,
            snapshots: 1_234,
            ..Calls::default()
        };
        let last = Moment {
            upstream,
            ..report.last
        };
        let report = Report {
            ledger,
            last,
            ..report
        };
        let (page, json) = (report.to_string(), report.json());
        let line = page
            .lines()
            .find(|line| line.trim_start().starts_with("superseded"))
            .unwrap();
        assert!(line.contains("9,000"), "{page}");
        assert_eq!(json["ledger"]["superseded"], 9_000);
        assert!(
            page.contains("2 batches of 4.5 events, and 1,234 single calls"),
            "{page}"
        );
    }

    #[test]
    fn each_finding_spoils_a_run_and_has_one_line() {
        let clean = Audit {
            acknowledged: 1,
            ..Audit::default()
        };
        for (audit, word) in [
            (Audit { lost: 1, ..clean }, "lost: "),
            (
                Audit {
                    foreign: 1,
                    ..clean
                },
                "foreign: ",
            ),
            (
                Audit {
                    duplicated: 2,
                    may_repeat: 1,
                    ..clean
                },
                "duplicated: ",
            ),
            (
                Audit {
                    out_of_order: 1,
                    ..clean
                },
                "reordered: ",
            ),
            (Audit::default(), "nothing: "),
        ] {
            let report = report(audit);
            let (page, json) = (report.to_string(), report.json());
            assert_eq!(
                (report.is_good(), json["ok"].as_bool()),
                (false, Some(false)),
                "{audit:?}"
            );
            assert_eq!(
                page.lines()
                    .filter(|line| line.trim_start().starts_with(word))
                    .count(),
                1,
                "{page}"
            );
            assert!(!page.contains("every promise was kept"), "{page}");
        }
        let page = report(clean).to_string();
        assert!(
            page.contains("every promise was kept") && !page.contains('\x1b'),
            "{page}"
        );
    }

    #[test]
    fn the_page_is_never_wider_than_80_columns() {
        for huge in [999_999_999, u64::MAX / 8] {
            let audit = Audit {
                acknowledged: huge,
                lost: huge,
                duplicated: huge,
                may_repeat: 1,
                offered_again: huge,
                foreign: huge,
                out_of_order: huge,
            };
            let report = report(audit);
            let upstream = Calls {
                progress_batches: 1,
                batched_events: huge,
                singles: huge,
                reads: huge,
                ..Calls::default()
            };
            let latency = crate::demo::learners::tally::Latency {
                p50: huge,
                p99: huge,
            };
            let (writes, reads) = (huge, huge);
            let last = Moment {
                writes,
                reads,
                upstream,
                latency,
                cache_hits: huge,
                cache_answers: 1,
                stale: huge,
                ..report.last
            };
            let (accepted, duplicate, superseded, dead, pending) = (huge, huge, huge, huge, huge);
            let ledger = Ledger {
                received: huge,
                accepted,
                duplicate,
                superseded,
                dead,
                pending,
            };
            let page = Report {
                last,
                ledger,
                stale_past_barrier: 2,
                forwarded: huge,
                refused: huge,
                ..report
            }
            .to_string();
            assert!(
                page.contains("lost: ") && page.contains("stale: "),
                "{page}"
            );
            for line in page.lines() {
                assert!(
                    line.chars().count() <= 80,
                    "{}: {line}",
                    line.chars().count()
                );
            }
        }
    }

    #[test]
    fn the_report_says_the_same_to_people_and_programs() {
        let report = report(Audit {
            acknowledged: 1_234,
            lost: 7,
            ..Audit::default()
        });
        let (page, json) = (report.to_string(), report.json());
        assert!(
            page.contains("1,234") && page.contains("half within 250 us"),
            "{page}"
        );
        assert_eq!(
            (
                json["acknowledged"].as_u64(),
                json["lost"].as_u64(),
                json["ack_p50_us"].as_u64()
            ),
            (Some(1_234), Some(7), Some(250))
        );
        assert!(!json.to_string().contains('\n'));
    }
}
