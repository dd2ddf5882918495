//! Colours, where a terminal shows them and its user wants them.

use std::ffi::OsStr;

/// How a terminal is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Plain lines without any escape code.
    Plain,
    /// Colours, and lines that are drawn over.
    Terminal,
}

impl Style {
    /// Of an output of this process that is a terminal or none.
    #[must_use]
    pub fn of_output(terminal: bool) -> Self {
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        Self::of(terminal, no_color.as_deref(), term.as_deref())
    }

    /// Of an output that is a terminal or none, with the values of `NO_COLOR`
    /// (<https://no-color.org>: anything but nothing says no) and `TERM`.
    #[must_use]
    pub fn of(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty())
            || term.is_some_and(|term| term == "dumb");
        if terminal && !refused {
            Self::Terminal
        } else {
            Self::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_whose_user_does_not_refuse_colours_gets_escape_codes() {
        let style = |terminal, no_color: Option<&str>, term: Option<&str>| {
            Style::of(terminal, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert_eq!(style(true, None, Some("xterm")), Style::Terminal);
        assert_eq!(
            style(true, Some(""), None),
            Style::Terminal,
            "an empty value refuses nothing"
        );
        for value in ["1", "0", "false"] {
            assert_eq!(
                style(true, Some(value), Some("xterm")),
                Style::Plain,
                "{value}"
            );
        }
        assert_eq!(style(false, None, Some("xterm")), Style::Plain);
        assert_eq!(style(true, None, Some("dumb")), Style::Plain);
    }
}
