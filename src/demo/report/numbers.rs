//! Numbers as people read them, none longer than eleven characters.

/// A quotient; nothing by nothing is 0.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// A number with its thousands apart; from a thousand million on, as a power of ten.
#[must_use]
pub fn grouped(number: u64) -> String {
    if number >= 1_000_000_000 {
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        return format!("{:.1e}", number as f64);
    }
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with so many decimals; a large one as a power of ten.
#[must_use]
pub fn decimal(number: f64, decimals: usize) -> String {
    if number < 100_000.0 {
        format!("{number:.decimals$}")
    } else {
        format!("{number:.1e}")
    }
}

/// A share of a whole, in percent.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    decimal(100.0 * ratio(part, whole), 0)
}

/// Microseconds in the unit that suits them.
#[must_use]
pub fn micros(time: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    match time {
        0..1_000 => format!("{time} us"),
        1_000..1_000_000 => format!("{} ms", decimal(time as f64 / 1e3, 1)),
        _ => format!("{} s", decimal(time as f64 / 1e6, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 11;

    #[test]
    fn numbers_are_shown_in_units_that_suit_them() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [7, 1_900, 2_500_000].map(micros),
            ["7 us", "1.9 ms", "2.5 s"]
        );
        assert_eq!(
            (decimal(3.836, 2), percent(47, 100)),
            ("3.84".to_owned(), "47".to_owned())
        );
    }

    #[test]
    fn no_number_is_wider_than_its_column() {
        for number in [999_999_999, 1_000_000_000, u64::MAX] {
            assert!(
                grouped(number).len() <= WIDTH && micros(number).len() <= WIDTH,
                "{number}"
            );
            assert!(decimal(ratio(number, 1), 2).len() <= WIDTH, "{number}");
        }
    }
}
