//! What a count of disagreements among compared events says of the rate in all events.

/// 1.96 of the normal distribution: 95 percent lie between it and its negative.
const Z: f64 = 1.959_963_984_540_054;

/// A rate, and between which two it lies 19 times in 20.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f64,
    pub(super) rate: f64,
    pub(super) high: f64,
}

impl Bounds {
    /// With no disagreement the rule of three, 3/n (Hanley and Lippman-Hand, "If nothing goes wrong,
    /// is everything all right?", JAMA 249, 1983); else the score interval (Wilson, "Probable
    /// inference, the law of succession, and statistical inference", JASA 22, 1927), which holds
    /// what it says for rates near 0 too (Brown, Cai and DasGupta, Statistical Science 16, 2001).
    /// Both take events as independent of one another.
    pub(super) fn of(disagreeing: u64, compared: u64) -> Self {
        if compared == 0 {
            return Self {
                low: 0.0,
                rate: 0.0,
                high: 1.0,
            };
        }
        let n = as_float(compared);
        if disagreeing == 0 {
            return Self {
                low: 0.0,
                rate: 0.0,
                high: (3.0 / n).min(1.0),
            };
        }
        let rate = as_float(disagreeing.min(compared)) / n;
        let share = Z * Z / n;
        let middle = (rate + share / 2.0) / (1.0 + share);
        let half = Z * (rate * (1.0 - rate) / n + share / (4.0 * n)).sqrt() / (1.0 + share);
        Self {
            low: (middle - half).max(0.0),
            rate,
            high: (middle + half).min(1.0),
        }
    }
}

/// A count, as what is divided. Exact up to 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events stay far below 2^52"
)]
pub(super) const fn as_float(count: u64) -> f64 {
    count as f64
}
