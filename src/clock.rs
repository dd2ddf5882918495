//! The wall clock as a value, so that timestamps, `max_age` and `exp` can be tested on any date,
//! and the monotonic clock that stored responses age by. Windows and retries use
//! `tokio::time::Instant` directly (ruling 8).

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Where the time comes from; clones share it.
#[derive(Clone, Default)]
pub struct Clock {
    wall: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
    /// How far the monotonic clock is ahead of the system's, milliseconds.
    ahead: Arc<AtomicU64>,
    /// How the clocks stand to each other. Locked for a look.
    both: Arc<Mutex<Option<Both>>>,
}

/// How the time of day stands to the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Both {
    /// They were looked at together: each then.
    wall: SystemTime,
    instant: Instant,
    /// Since when the time of day is further ahead than by [`DRIFT`].
    ahead_since: Option<Instant>,
}

/// How far the time of day may run ahead of the monotonic clock before that is a jump.
const DRIFT: Duration = Duration::from_mins(5);
/// A jump that has lasted this long was right: the clock was wrong before, or the machine slept.
const BELIEVED: Duration = Duration::from_hours(1);

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

    /// The time of day, but a jump ahead is believed when it has lasted for an hour: what is kept for
    /// days must not be thrown away for a clock that is wrong for a moment (ruling 8).
    #[must_use]
    pub fn expiry(&self) -> SystemTime {
        let (now, instant) = (self.now(), self.instant());
        let mut both = self.both.lock();
        let known = both.get_or_insert(Both {
            wall: now,
            instant,
            ahead_since: None,
        });
        let passed = instant.saturating_duration_since(known.instant);
        let latest = known.wall + passed + DRIFT;
        if now <= latest {
            known.ahead_since = None;
            if now < known.wall + passed {
                // It was set back: from here on a jump is one beyond that.
                (known.wall, known.instant) = (now, instant);
            }
            return now;
        }
        let since = *known.ahead_since.get_or_insert(instant);
        if instant.saturating_duration_since(since) < BELIEVED {
            return latest;
        }
        *known = Both {
            wall: now,
            instant,
            ahead_since: None,
        };
        now
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
        tokio::time::advance(BELIEVED / 2).await;
        let now = start + BELIEVED / 2;
        assert_eq!(clock.expiry(), now + DRIFT);
        for seconds in [0, 10] {
            *wall.lock() = now - Duration::from_secs(seconds);
            assert_eq!(clock.clone().expiry(), now - Duration::from_secs(seconds));
        }
        // One that stays where it has jumped to was right: it jumps no more.
        let day = Duration::from_hours(24);
        *wall.lock() = now + day;
        assert_eq!(clock.expiry(), now - Duration::from_secs(10) + DRIFT);
        for hours in 1..3 {
            tokio::time::advance(BELIEVED).await;
            *wall.lock() = now + day + BELIEVED * hours;
            assert_eq!(clock.expiry(), now + day + BELIEVED * hours);
        }
    }
}
