//! The table: a figure a row, with what it is compared with and what it should be.

use super::contest::Series;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn holds(self, found: f64) -> bool {
        match self {
            Self::AtLeast(aim) => found >= aim,
            Self::AtMost(aim) => found <= aim,
        }
    }

    fn show(self, unit: &str) -> String {
        let (words, aim) = match self {
            Self::AtLeast(aim) => ("at least", aim),
            Self::AtMost(aim) => ("at most", aim),
        };
        format!("{words} {}", show(aim, unit))
    }
}

/// One figure: name, found, peer, ratio, aim, verdict.
#[derive(Debug)]
pub struct Row([String; 6]);

const HEADS: [&str; 6] = ["figure", "found", "peer", "ratio", "aim", "verdict"];

impl Row {
    /// A figure that counts by itself.
    pub fn alone(name: &str, found: f64, unit: &str, aim: Aim) -> Self {
        let cells = [
            name.to_owned(),
            show(found, unit),
            String::new(),
            String::new(),
        ];
        Self::new(cells, aim.show(unit), judge(aim, found, None))
    }

    /// Microseconds of a server and of its peer; `ratio` is what counts. `fault`: why it doesn't.
    pub fn compared(
        name: &str,
        [found, peer]: [&Series; 2],
        ratio: f64,
        aim: Aim,
        fault: Option<String>,
    ) -> Self {
        let [found, peer] = [found, peer].map(|series| show(series.median(), "us"));
        let cells = [name.to_owned(), found, peer, show(ratio, "")];
        Self::new(cells, aim.show(""), judge(aim, ratio, fault))
    }

    /// A figure whose peer, a package of the system, isn't there.
    pub fn absent(name: &str, package: &str, aim: Aim) -> Self {
        let cells = [name.to_owned(), String::new(), String::new(), String::new()];
        Self::new(
            cells,
            aim.show(""),
            format!("not installed (apt-get install {package})"),
        )
    }

    fn new([name, found, peer, ratio]: [String; 4], aim: String, verdict: String) -> Self {
        Self([name, found, peer, ratio, aim, verdict])
    }
}

fn judge(aim: Aim, found: f64, fault: Option<String>) -> String {
    fault.unwrap_or_else(|| if aim.holds(found) { "held" } else { "missed" }.to_owned())
}

/// Three digits or more, thousands apart.
fn show(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => separate_thousands(&format!("{value:.0}")),
    };
    format!("{digits} {unit}").trim_end().to_owned()
}

fn separate_thousands(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As Markdown writes a table, with columns that stand under their heads in a terminal, too.
pub fn print(rows: &[Row]) {
    let heads = Row(HEADS.map(str::to_owned));
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows
            .iter()
            .chain([&heads])
            .map(|row| row.0[column].chars().count());
        cells.max().unwrap_or(0)
    });
    print_line(&heads, widths);
    print_line(&Row(widths.map(|width| "-".repeat(width))), widths);
    rows.iter().for_each(|row| print_line(row, widths));
}

fn print_line(row: &Row, widths: [usize; 6]) {
    let cells = row
        .0
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!(" {cell:<width$} |"));
    println!("|{}", cells.collect::<String>());
}
