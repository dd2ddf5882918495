//! How exchanges with the application of `[upstream]` went, for operators.

use super::error::UpstreamError;
use crate::metrics::Latencies;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What there is to count, in the words of RFC 9209.
const FAILURES: [&str; 8] = [
    "connection_refused",
    "connection_timeout",
    "connection_terminated",
    "tls_certificate_error",
    "tls_alert_received",
    "tls_protocol_error",
    "http_response_timeout",
    "http_protocol_error",
];

/// How exchanges went.
#[derive(Debug, Default)]
pub struct Exchanges {
    /// From a request to the head of its answer, of those that were answered.
    pub latencies: Latencies,
    failures: [AtomicU64; FAILURES.len()],
}

impl Exchanges {
    pub(super) fn note<T>(&self, answer: &Result<T, UpstreamError>, took: Duration) {
        match answer {
            Ok(_) => self.latencies.record(took),
            Err(error) => {
                // Other failures are not the application's.
                let place = FAILURES
                    .iter()
                    .position(|name| *name == error.proxy_error());
                if let Some(count) = place.and_then(|place| self.failures.get(place)) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// How many got no answer, by why.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failures.iter();
        FAILURES
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_applications_fault_says_nothing_of_it() {
        let exchanges = Exchanges::default();
        let failed = |error| exchanges.note::<()>(&Err(error), Duration::ZERO);
        failed(UpstreamError::BadTarget);
        failed(UpstreamError::ConnectionLimit);
        assert!(exchanges.failures().all(|(_, count)| count == 0));
        failed(UpstreamError::ResponseTimeout);
        let late = exchanges.failures().find(|(_, count)| *count > 0);
        assert_eq!(late, Some(("http_response_timeout", 1)));
    }
}
