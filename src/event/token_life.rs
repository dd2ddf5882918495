//! How long the token lives that an event came with.

use std::num::NonZeroU64;
use std::time::Duration;

/// A time in milliseconds, at least one: with none it takes eight bytes of a pending event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLife(NonZeroU64);

impl TokenLife {
    /// Whole milliseconds of a time; no time is one of them.
    #[must_use]
    pub fn new(life: Duration) -> Self {
        Self::of_ms(u64::try_from(life.as_millis()).unwrap_or(u64::MAX))
    }

    /// So many milliseconds; none is one.
    #[must_use]
    pub fn of_ms(ms: u64) -> Self {
        Self(NonZeroU64::new(ms).unwrap_or(NonZeroU64::MIN))
    }

    /// Milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0.get()
    }

    /// As a time.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.as_ms())
    }
}
