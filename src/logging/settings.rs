//! `[log]`.

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: a time, a sentence, and fields as `name=value`.
    Text,
    /// For machines: a JSON object.
    Json,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogSettings {
    /// How lines look; `None`: text on a terminal, else JSON.
    pub format: Option<Format>,
    /// The least that Tidegate itself says: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The share of calls that have a line in the access log, above 0 and up to 1; `None`: it is off.
    pub access: Option<f64>,
}
