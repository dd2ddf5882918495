//! The report's page for people: no line is wider than 80 columns, and there are no escape codes in
//! it.

use super::numbers::{decimal, grouped, micros, percent, ratio};
use super::record::{Prediction, Report};
use std::fmt;

/// How the reduction is counted.
const REDUCTION: &str =
    "  Made: reads and writes of the learners, a repeated call once. Sent on: batches
  and retries, reads, forwarded calls. Both without logins and token refreshes.";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_calls(f)?;
        self.write_events(f)?;
        self.write_prediction(f)?;
        self.write_others(f)?;
        self.write_ledger(f)?;
        self.write_result(f)
    }
}

impl Report {
    fn write_calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (last, up) = (&self.last, self.last.upstream);
        let hits = percent(last.cache_hits, last.cache_answers);
        let row = |f: &mut fmt::Formatter<'_>, name: &str, made: u64, sent: u64, note: &str| {
            writeln!(
                f,
                "  {name:<18}{:>14}{:>14}   {note}",
                grouped(made),
                grouped(sent)
            )
        };
        writeln!(f, "\n  {:<18}{:>14}{:>14}", "Calls", "made", "sent on")?;
        row(
            f,
            "writes",
            last.writes,
            up.writes(),
            &format!("{} times fewer", decimal(last.write_reduction(), 2)),
        )?;
        row(
            f,
            "reads",
            last.reads,
            up.reads,
            &format!("{hits} % from memory"),
        )?;
        row(
            f,
            "all",
            last.calls(),
            up.work(),
            &format!("{} times fewer", decimal(last.reduction(), 2)),
        )?;
        writeln!(
            f,
            "  Writes went as {} batches of {} events, and {} single calls.",
            grouped(up.batches()),
            decimal(ratio(up.batched_events, up.batches()), 1),
            grouped(up.singles + up.snapshots + up.others)
        )?;
        writeln!(f, "{REDUCTION}")
    }

    fn write_events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            last,
            audit,
            ledger,
            ..
        } = self;
        let (p50, p99) = (micros(last.latency.p50), micros(last.latency.p99));
        writeln!(f, "\n  Events, by the application's own count")?;
        for (name, count, note) in [
            (
                "acknowledged",
                audit.acknowledged,
                format!("half within {p50}, 99 % within {p99}"),
            ),
            (
                "superseded",
                ledger.superseded,
                "not sent: a newer state replaced them".to_owned(),
            ),
            (
                "lost",
                audit.lost,
                "acknowledged, but never applied".to_owned(),
            ),
            ("foreign", audit.foreign, "sent as another user".to_owned()),
            (
                "offered again",
                audit.offered_again,
                "delivered more than once".to_owned(),
            ),
            (
                "duplicated",
                audit.duplicated,
                "applied more than once".to_owned(),
            ),
            (
                "  with a reason",
                audit.may_repeat,
                "its delivery had no clear answer".to_owned(),
            ),
            (
                "reordered",
                audit.out_of_order,
                "applied after something newer".to_owned(),
            ),
            (
                "stale reads",
                last.stale,
                "showed less than was acknowledged".to_owned(),
            ),
            (
                "  declared",
                self.stale_past_barrier,
                "of them: Cache-Status has barrier-timeout".to_owned(),
            ),
        ] {
            writeln!(f, "  {name:<18}{:>14}   {note}", grouped(count))?;
        }
        Ok(())
    }

    fn write_prediction(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(prediction) = &self.prediction else {
            return Ok(());
        };
        let Prediction {
            predicted, saved, ..
        } = prediction;
        writeln!(f, "\n  Predicted by mode observe, of the same calls")?;
        writeln!(
            f,
            "  {:<18}{predicted:>14.2}   event calls in for each call out",
            "predicted"
        )?;
        writeln!(
            f,
            "  {:<18}{saved:>14.2}   of windows that were over",
            "as it was"
        )
    }

    fn write_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  Other calls")?;
        for (name, count, note) in [
            (
                "forwarded",
                self.forwarded,
                "writes that the application answered itself",
            ),
            (
                "refused",
                self.refused,
                "writes that no one promised to keep",
            ),
            (
                "repeated",
                self.repeated,
                "tries after 429, 5xx or no answer",
            ),
            ("failed reads", self.failed_reads, ""),
            ("token refreshes", self.refreshes, ""),
            (
                "locked out",
                self.locked_out,
                "learners that could not log in",
            ),
        ] {
            writeln!(
                f,
                "{}",
                format!("  {name:<18}{:>14}   {note}", grouped(count)).trim_end()
            )?;
        }
        Ok(())
    }

    fn write_ledger(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = &self.ledger;
        let [received, accepted, duplicate, superseded, dead, pending] = [
            ledger.received,
            ledger.accepted,
            ledger.duplicate,
            ledger.superseded,
            ledger.dead,
            ledger.pending,
        ]
        .map(grouped);
        writeln!(f, "\n  Ledger of the sidecar: received {received}")?;
        writeln!(
            f,
            "    = accepted {accepted} + duplicate {duplicate} + superseded {superseded}"
        )?;
        writeln!(f, "    + dead {dead} + pending {pending}")
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = self.findings();
        if findings.is_empty() {
            return writeln!(f, "\n  Result: every promise was kept.");
        }
        writeln!(f, "\n  Result: not good.")?;
        for finding in findings {
            writeln!(f, "  {finding}")?;
        }
        Ok(())
    }
}
