//! Rates with their bounds, one line each, on a logarithmic scale.

use super::escape::escape;

/// The least rate that is told apart, and how many decades are from it to 1.
const LEAST: f64 = 1e-5;
const DECADES: f64 = 5.0;
/// What stands below the scale, and at which rate.
const SCALE: [(&str, f64); 6] = [
    ("0", 0.0),
    ("0.01 %", 1e-4),
    ("0.1 %", 1e-3),
    ("1 %", 1e-2),
    ("10 %", 0.1),
    ("100 %", 1.0),
];

/// A rate between its bounds, 0 to 1.
pub(in crate::cli) struct Interval {
    /// Of what.
    pub(in crate::cli) name: String,
    /// At least.
    pub(in crate::cli) low: f64,
    /// As it was found.
    pub(in crate::cli) rate: f64,
    /// At most.
    pub(in crate::cli) high: f64,
}

/// Intervals below one another, with a line where the limit is.
pub(in crate::cli) fn write_intervals(heading: &str, limit: f64, intervals: &[Interval]) -> String {
    let mut out = format!("<figure><figcaption>{}</figcaption>", escape(heading));
    for one in intervals {
        let (from, to) = (place_of(one.low), place_of(one.high));
        out.push_str(&format!(
            "<p class=\"name\">{}</p><div class=\"track\" role=\"img\" aria-label=\"{}: {} to {}\">\
             <span class=\"span\" style=\"left:{from:.1}%;width:{:.1}%\"></span>\
             <span class=\"point\" style=\"left:{:.1}%\"></span>\
             <span class=\"limit\" style=\"left:{:.1}%\"></span></div>",
            escape(&one.name),
            escape(&one.name),
            percent(one.low),
            percent(one.high),
            (to - from).max(0.5),
            place_of(one.rate),
            place_of(limit)
        ));
    }
    out.push_str("<div class=\"scale\">");
    for (text, rate) in SCALE {
        let at = place_of(rate);
        out.push_str(&format!("<span style=\"left:{at:.0}%\">{text}</span>"));
    }
    out.push_str(&format!(
        "</div><p class=\"soft\">Band: where the rate of all \
         events lies, 19 times in 20. Dot: the rate that was found. Line: {} may disagree.</p>\
         </figure>",
        percent(limit)
    ));
    out
}

/// Percent of the width.
fn place_of(rate: f64) -> f64 {
    ((rate.clamp(LEAST, 1.0) / LEAST).log10() / DECADES * 100.0).clamp(0.0, 100.0)
}

/// A part as a percentage, with three digits after the point where it is small.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent >= 10.0 || percent == 0.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.3} %")
    }
}
