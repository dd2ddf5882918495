//! Times as the application writes them.

use std::time::SystemTime;

/// The time as the application writes it.
#[must_use]
pub fn now_iso() -> String {
    let milliseconds = i64::try_from(crate::clock::millis(SystemTime::now())).unwrap_or(0);
    let stamp =
        jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{stamp:.3}")
}
