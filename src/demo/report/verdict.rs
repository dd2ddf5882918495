//! What a run showed that must not happen: the demo's exit code, and one line for each kind.

use super::audit::Audit;
use super::numbers::grouped;
use crate::metrics::Ledger;
use std::fmt;

/// Something that must not happen, and how often it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The sidecar acknowledged no event itself, so nothing was shown.
    Nothing,
    /// Acknowledged events that the application never applied.
    Lost(u64),
    /// Events that came with another user's credential, or for another user's records.
    Foreign(u64),
    /// Events applied twice, beyond those whose first delivery was cut off or refused.
    Duplicated(u64),
    /// Events applied after something newer.
    Reordered(u64),
    /// Reads that showed less than was acknowledged, and whose `Cache-Status` did not say so.
    Stale(u64),
    /// The sidecar's ledger does not add up.
    Unbalanced,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing: the sidecar acknowledged no event itself"),
            Self::Lost(count) => {
                write!(
                    f,
                    "lost: {} acknowledged events never reached the application",
                    grouped(*count)
                )
            }
            Self::Foreign(count) => write!(
                f,
                "foreign: {} events came as another user",
                grouped(*count)
            ),
            Self::Duplicated(count) => {
                write!(
                    f,
                    "duplicated: {} events were applied twice without a reason",
                    grouped(*count)
                )
            }
            Self::Reordered(count) => {
                write!(
                    f,
                    "reordered: {} events were applied after newer ones",
                    grouped(*count)
                )
            }
            Self::Stale(count) => {
                write!(
                    f,
                    "stale: {} reads showed old data and did not say so",
                    grouped(*count)
                )
            }
            Self::Unbalanced => write!(f, "ledger: what was received is not what became of it"),
        }
    }
}

/// Everything that must not have happened, worst first. Of the acknowledged writes the application
/// answered `forwarded` itself. `stale` are the reads that showed less than was acknowledged,
/// `declared` those of them that said so.
#[must_use]
pub fn findings(
    audit: &Audit,
    forwarded: u64,
    ledger: &Ledger,
    (stale, declared): (u64, u64),
) -> Vec<Finding> {
    let counted = [
        (audit.lost, Finding::Lost as fn(u64) -> Finding),
        (audit.foreign, Finding::Foreign),
        (
            audit.duplicated.saturating_sub(audit.may_repeat),
            Finding::Duplicated,
        ),
        (audit.out_of_order, Finding::Reordered),
        (stale.saturating_sub(declared), Finding::Stale),
    ];
    let nothing = (audit.acknowledged <= forwarded).then_some(Finding::Nothing);
    let unbalanced = (!ledger.balances()).then_some(Finding::Unbalanced);
    let counted = counted
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, finding)| finding(count));
    nothing
        .into_iter()
        .chain(counted)
        .chain(unbalanced)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_fault_is_a_finding_of_its_own_and_what_was_declared_is_none() {
        let clean = Audit {
            acknowledged: 9,
            ..Audit::default()
        };
        let (ledger, off) = (
            Ledger::default(),
            Ledger {
                received: 1,
                ..Ledger::default()
            },
        );
        for (audit, ledger, stale, declared, found) in [
            (clean, ledger, 0, 0, None),
            (
                Audit { lost: 1, ..clean },
                ledger,
                0,
                0,
                Some(Finding::Lost(1)),
            ),
            (
                Audit {
                    foreign: 2,
                    ..clean
                },
                ledger,
                0,
                0,
                Some(Finding::Foreign(2)),
            ),
            (
                Audit {
                    out_of_order: 3,
                    ..clean
                },
                ledger,
                0,
                0,
                Some(Finding::Reordered(3)),
            ),
            (
                Audit {
                    offered_again: 5,
                    ..clean
                },
                ledger,
                0,
                0,
                None,
            ),
            (
                Audit {
                    duplicated: 4,
                    may_repeat: 4,
                    ..clean
                },
                ledger,
                0,
                0,
                None,
            ),
            (
                Audit {
                    duplicated: 4,
                    may_repeat: 3,
                    ..clean
                },
                ledger,
                0,
                0,
                Some(Finding::Duplicated(1)),
            ),
            (clean, ledger, 2, 2, None),
            (clean, ledger, 2, 1, Some(Finding::Stale(1))),
            (clean, off, 0, 0, Some(Finding::Unbalanced)),
            (Audit::default(), ledger, 0, 0, Some(Finding::Nothing)),
        ] {
            assert_eq!(
                findings(&audit, 0, &ledger, (stale, declared)),
                Vec::from_iter(found),
                "{audit:?}"
            );
        }
        let found = |forwarded| findings(&clean, forwarded, &ledger, (0, 0));
        assert_eq!(found(8), []);
        assert_eq!(found(9), [Finding::Nothing], "all were the application's");
    }
}
