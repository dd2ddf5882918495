//! How durations and paragraphs stand in reports.

use std::time::Duration;

/// Columns of a terminal that a line may take.
const WIDTH: usize = 80;

/// Before what goes on below its line's beginning.
const FURTHER_IN: &str = "    ";

/// Milliseconds, from a second on as seconds.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(1_000) => format!("{} s", millis / 1_000),
        _ => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
    }
}

/// Microseconds, from a millisecond on as milliseconds, from a second on as seconds.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => millis(micros / 1_000),
    }
}

/// Whole seconds.
pub(super) fn seconds(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Lines of at most [`WIDTH`] columns; what goes on below its line's beginning stands further in.
/// What has no blank space isn't broken.
pub(super) fn wrap_lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (mut columns, mut is_begun) = (0, false);
        for (place, word) in line.split(' ').enumerate() {
            let wide = word.chars().count();
            let fits = columns + usize::from(place > 0) + wide <= WIDTH;
            if !fits && is_begun && !word.is_empty() {
                // The blank space of columns that came before.
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                out.push_str(FURTHER_IN);
                columns = FURTHER_IN.len();
            } else if place > 0 {
                out.push(' ');
                columns += 1;
            }
            out.push_str(word);
            columns += wide;
            is_begun |= !word.is_empty();
        }
        out.push('\n');
    }
    out
}

/// A paragraph in lines of at most [`WIDTH`] columns, each behind `indent`.
pub(super) fn push_wrapped(out: &mut String, indent: &str, text: &str) {
    push_lines(out, (indent, indent), text);
}

/// A paragraph in lines of exactly [`WIDTH`] columns at most: the first behind `head`, the others
/// behind as many spaces. A word that is longer than a line is cut.
pub(super) fn push_wrapped_after(out: &mut String, head: &str, text: &str) {
    let indent = " ".repeat(head.chars().count());
    let most = WIDTH.saturating_sub(indent.len()).max(1);
    let words = text.split_whitespace().flat_map(|word| {
        let letters: Vec<char> = word.chars().collect();
        let pieces = letters.chunks(most).map(|piece| piece.iter().collect());
        pieces.collect::<Vec<String>>()
    });
    let text = words.collect::<Vec<_>>().join(" ");
    push_lines(out, (head, &indent), &text);
}

fn push_lines(out: &mut String, (head, indent): (&str, &str), text: &str) {
    let mut line = head.to_owned();
    let mut begun_at = head.len();
    for word in text.split_whitespace() {
        let is_begun = line.len() > begun_at;
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            indent.clone_into(&mut line);
            begun_at = indent.len();
        } else if is_begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_further_in_and_short_ones_and_their_columns_stay() {
        let short = "POST    /a     forwarded\nany     else   passes\n";
        assert_eq!(wrap_lines(short), short);
        let line = format!(
            "POST    /{}    acknowledged {}",
            "p".repeat(60),
            "word ".repeat(30)
        );
        let wrapped = wrap_lines(line.trim_end());
        let lines: Vec<_> = wrapped.lines().collect();
        assert!(lines.len() > 2, "{wrapped}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{wrapped}"
        );
        assert!(
            lines
                .iter()
                .skip(1)
                .all(|line| line.starts_with("    w") || line.starts_with("    a"))
        );
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&wrapped), words(&line));
        let whole = format!("note: {}", "x".repeat(100));
        assert_eq!(
            wrap_lines(&whole),
            format!("note:\n    {}\n", "x".repeat(100))
        );
    }
}
