//! `[log]`: what the process says, and how it looks.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::section::Section;
use crate::logging::{Format, LogSettings};

keys! {
    "[log]";
    /// how a line looks; `--log` wins
    FORMAT = Key::without("format", OneOf(&["text", "json"]), "`\"text\"` on a terminal, else `\"json\"`");
    /// the least that Tidegate says; libraries say warnings and errors. `RUST_LOG` wins
    LEVEL = Key::text("level", OneOf(&["error", "warn", "info", "debug", "trace"]), "info");
    /// a line for each call and for each delivery ([more](logs.md#the-access-log)), on stderr
    ACCESS = Key::with("access", Flag, "false");
    /// the share of calls that have one, drawn by `X-Request-Id`, and of deliveries, drawn by the
    /// batch's id
    SAMPLE = Key::with("sample", Said("number above 0, at most 1"), "1.0");
}

const LEVELS: [(&str, &str); 5] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

pub(super) fn read(section: Section<'_>) -> LogSettings {
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let format = section.maybe_choice(&FORMAT, &formats);
    let level = section.choice(&LEVEL, &LEVELS, "info");
    let (access, sample) = (section.flag(&ACCESS), read_sample(&section));
    section.finish();
    LogSettings {
        format,
        level,
        access: access.then_some(sample),
    }
}

fn read_sample(section: &Section<'_>) -> f64 {
    let sample = section.float(&SAMPLE).unwrap_or(1.0);
    if sample > 0.0 && sample <= 1.0 {
        return sample;
    }
    let text = format!("found {sample}; allowed is a number above 0, at most 1");
    section.wrong_key(&SAMPLE, text);
    1.0
}
