//! Plots of lines as inline SVG, which needs no script and nothing from elsewhere.

use super::escape::escape;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// Labels under a plot at most; of more only some are written.
const MOST_LABELS: usize = 8;

/// A line of a plot.
pub(in crate::cli) struct Series {
    /// What it shows.
    pub(in crate::cli) name: &'static str,
    /// Its values, one for each label; a gap where there is none.
    pub(in crate::cli) values: Vec<Option<f64>>,
}

/// A plot of lines over labels, with its heading and its legend.
pub(in crate::cli) fn write_plot(
    heading: &str,
    unit: &str,
    labels: &[String],
    series: &[Series],
) -> String {
    let series: Vec<_> = series
        .iter()
        .filter(|one| one.values.iter().any(Option::is_some))
        .collect();
    let values = series.iter().flat_map(|one| one.values.iter().flatten());
    let most = round_up(values.copied().fold(0.0, f64::max));
    let steps = f64::from(u32::try_from(labels.len().saturating_sub(1).max(1)).unwrap_or(1));
    let across = |place: usize| {
        let place = f64::from(u32::try_from(place).unwrap_or(0));
        LEFT + (WIDTH - LEFT - RIGHT) * place / steps
    };
    let down = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most;
    let mut out = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{}\">",
        escape(heading),
        escape(heading)
    );
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = down(most * part);
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            at + 4.0,
            number(most * part)
        ));
    }
    let every = labels.len().div_ceil(MOST_LABELS).max(1);
    for (place, label) in labels.iter().enumerate().step_by(every) {
        out.push_str(&format!(
            "<text class=\"mid\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            across(place),
            HEIGHT - 12.0,
            escape(label)
        ));
    }
    for (place, one) in series.iter().enumerate() {
        let points = one.values.iter().enumerate();
        let points: Vec<_> = points
            .filter_map(|(at, value)| Some((across(at), down((*value)?))))
            .collect();
        let line: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        out.push_str(&format!(
            "<polyline class=\"line s{place}\" points=\"{}\"/>",
            line.join(" ")
        ));
        if points.len() <= 16 {
            for (x, y) in points {
                out.push_str(&format!(
                    "<circle class=\"dot s{place}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"
                ));
            }
        }
    }
    out.push_str("</svg><ul class=\"legend\">");
    for (place, one) in series.iter().enumerate() {
        out.push_str(&format!(
            "<li><svg class=\"key\" aria-hidden=\"true\" viewBox=\"0 0 24 8\">\
             <line class=\"line s{place}\" x1=\"0\" x2=\"24\" y1=\"4\" y2=\"4\"/></svg>{}</li>",
            escape(one.name)
        ));
    }
    out.push_str(&format!(
        "<li class=\"unit\">{}</li></ul></figure>",
        escape(unit)
    ));
    out
}

/// The next number above that is easy to read in quarters.
fn round_up(most: f64) -> f64 {
    let mut step = 0.01;
    while step * 10.0 < most {
        step *= 10.0;
    }
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let fits = steps.into_iter().find(|times| times * step >= most);
    fits.unwrap_or(10.0) * step
}

fn number(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{:.0}k", value / 1_000.0)
    } else if value >= 10.0 || value.fract().abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
