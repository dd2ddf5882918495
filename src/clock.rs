//! The wall clock as a value, so that timestamps, `max_age` and `exp` can be tested on any date,
//! and the monotonic clock that stored responses age by. Windows and retries use
//! `tokio::time::Instant` directly (ruling 8).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Where the time comes from; clones share it.
#[derive(Clone, Default)]
pub struct Clock {
    wall: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
    /// How far the monotonic clock is ahead of the system's, milliseconds.
    ahead: Arc<AtomicU64>,
    /// When both clocks were first looked at together.
    first: Arc<OnceLock<(SystemTime, Instant)>>,
}

/// How far the time of day may run ahead of the monotonic clock before that is a jump.
const DRIFT: Duration = Duration::from_mins(5);

impl Clock {
    /// A clock that a test or a simulation drives.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self {
            wall: Some(Arc::new(now)),
            ..Self::default()
        }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.wall.as_ref().map_or_else(SystemTime::now, |now| now())
    }

    /// The time of day, but never far ahead of what has passed since this was asked first: what is
    /// kept for days must not be thrown away for a clock that jumps for a moment (ruling 8).
    #[must_use]
    pub fn expiry(&self) -> SystemTime {
        let (now, instant) = (self.now(), self.instant());
        let (wall, began) = *self.first.get_or_init(|| (now, instant));
        let passed = instant.saturating_duration_since(began);
        now.min(wall + passed + DRIFT)
    }

    /// The monotonic time.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.ahead.load(Ordering::Relaxed))
    }

    /// Moves the monotonic clock forward for all that share it: a test need not wait for a response
    /// to become stale. The time of day stays, since others tell it, too.
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(
            u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
            Ordering::SeqCst,
        );
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.wall.is_some() {
            "Clock(driven)"
        } else {
            "Clock(system)"
        })
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// ISO 8601 in UTC with milliseconds, as JavaScript writes it; empty beyond the year 9999.
#[must_use]
pub fn iso(time: SystemTime) -> String {
    let stamp = i64::try_from(millis(time))
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let Some(stamp) = stamp else {
        return String::new();
    };
    let at = jiff::tz::Offset::UTC.to_datetime(stamp);
    // The last digit of a number, which is no larger than a year.
    let digit = |number: i32| {
        let [last, ..] = (number % 10).to_le_bytes();
        b'0' + last
    };
    let two = |number: i8| [digit(i32::from(number) / 10), digit(number.into())];
    let (year, milli) = (i32::from(at.year()), i32::from(at.millisecond()));
    let [[o1, o2], [d1, d2]] = [at.month(), at.day()].map(two);
    let [[h1, h2], [m1, m2], [s1, s2]] = [at.hour(), at.minute(), at.second()].map(two);
    let [y1, y2, y3, y4] = [year / 1_000, year / 100, year / 10, year].map(digit);
    let [t1, t2, t3] = [milli / 100, milli / 10, milli].map(digit);
    let text = [
        y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'.',
        t1, t2, t3, b'Z',
    ];
    String::from_utf8(text.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_the_library_writes_it(ms in 0..253_402_207_200_000_u64) {
            let stamp = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap();
            let written = iso(UNIX_EPOCH + Duration::from_millis(ms));
            prop_assert_eq!(written, stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_expires_goes_by_the_time_that_has_passed_where_the_clock_jumps_ahead() {
        let start = UNIX_EPOCH + Duration::from_hours(500_000);
        let wall = Arc::new(parking_lot::Mutex::new(start));
        let of_day = Arc::clone(&wall);
        let clock = Clock::from_fn(move || *of_day.lock());
        assert_eq!(clock.expiry(), start);
        *wall.lock() = start + Duration::from_hours(24 * 40);
        assert_eq!(clock.expiry(), start + DRIFT);
        assert_eq!(clock.now(), start + Duration::from_hours(24 * 40));
        // Both go on together, and a clock that was set back is believed.
        tokio::time::advance(Duration::from_hours(2)).await;
        let now = start + Duration::from_hours(2);
        assert_eq!(clock.expiry(), now + DRIFT);
        for seconds in [0, 10] {
            *wall.lock() = now - Duration::from_secs(seconds);
            assert_eq!(clock.clone().expiry(), now - Duration::from_secs(seconds));
        }
    }
}
