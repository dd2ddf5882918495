//! Whether the applications that are asked give answers, and the two lines that the log has of an
//! outage: one when it begins, one when it is over.
//!
//! An outage begins with a connection that is refused, or with the third request in a row that gets
//! no answer, whichever paths and callers they are of; it ends with the next answer of any status.
//! Failures before it have a line each; what fails during it is counted.

use super::error::UpstreamError;
use http::Uri;
use http::uri::Authority;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Requests in a row without an answer that make an outage.
const IN_A_ROW: u32 = 3;

/// What is known of each address that is asked.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// One of them is in trouble: an answer of one that isn't costs a load.
    troubled: AtomicBool,
    // Held for a look and a change, while an address is in trouble only.
    addresses: Mutex<Vec<(Authority, Contact)>>,
}

/// One address in trouble; one without is in no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    /// So many requests in a row got no answer.
    Failing(u32),
    /// An outage, since then; so many requests got no answer.
    Down(Instant, u64),
}

/// What is to be said of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// An outage begins.
    Down,
    /// One request failed.
    Failure,
    /// It is one of an outage.
    Nothing,
}

impl Contacts {
    /// An exchange with this address is over, as far as the answer's head goes.
    pub(super) fn note<T>(&self, asked: &Uri, answer: &Result<T, UpstreamError>) {
        match answer {
            Ok(_) => self.note_answer(asked),
            Err(error) if is_of_the_application(error) => {
                let is_refused = matches!(error, UpstreamError::ConnectionRefused(_));
                self.note_failure(asked, is_refused, error);
            }
            Err(error) => {
                tracing::debug!(path = asked.path(), %error, "a request was not answered");
            }
        }
    }

    /// No answer came: `why`.
    pub(super) fn note_failure(&self, asked: &Uri, is_refused: bool, why: &dyn std::fmt::Display) {
        let Some(authority) = asked.authority() else {
            return;
        };
        let told = self.fail(authority, is_refused, Instant::now());
        let (application, path) = (authority.as_str(), asked.path());
        match told {
            Told::Down => {
                tracing::warn!(application, path, error = %why, "the application is down")
            }
            Told::Failure => {
                tracing::warn!(application, path, error = %why, "the application gave no answer");
            }
            Told::Nothing => {
                tracing::debug!(application, path, error = %why, "the application gave no answer");
            }
        }
    }

    fn note_answer(&self, asked: &Uri) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        let Some(authority) = asked.authority() else {
            return;
        };
        if let Some((outage, attempts)) = self.recover(authority, Instant::now()) {
            let outage_ms = u64::try_from(outage.as_millis()).unwrap_or(u64::MAX);
            let application = authority.as_str();
            tracing::info!(application, outage_ms, attempts, "the application is back");
        }
    }

    fn fail(&self, authority: &Authority, is_refused: bool, now: Instant) -> Told {
        let mut addresses = self.addresses.lock();
        self.troubled.store(true, Ordering::Relaxed);
        let place = addresses.iter().position(|(known, _)| known == authority);
        let before = place
            .and_then(|place| addresses.get(place))
            .map(|(_, at)| *at);
        let failed = match before {
            // Down => Down
            Some(Contact::Down(since, attempts)) => Contact::Down(since, attempts + 1),
            // Failing => Failing, or Down
            Some(Contact::Failing(before)) => Contact::after(before + 1, is_refused, now),
            // no trouble => Failing, or Down
            None => Contact::after(1, is_refused, now),
        };
        match place.and_then(|place| addresses.get_mut(place)) {
            Some((_, contact)) => *contact = failed,
            None => addresses.push((authority.clone(), failed)),
        }
        match (before, failed) {
            (Some(Contact::Down(..)), _) => Told::Nothing,
            (_, Contact::Down(..)) => Told::Down,
            (_, Contact::Failing(_)) => Told::Failure,
        }
    }

    /// How long the outage was that is over now, and how many requests got no answer.
    fn recover(&self, authority: &Authority, now: Instant) -> Option<(Duration, u64)> {
        let mut addresses = self.addresses.lock();
        let place = addresses.iter().position(|(known, _)| known == authority)?;
        let (_, contact) = addresses.swap_remove(place);
        self.troubled
            .store(!addresses.is_empty(), Ordering::Relaxed);
        match contact {
            Contact::Failing(_) => None,
            Contact::Down(since, attempts) => Some((now - since, attempts)),
        }
    }
}

impl Contact {
    fn after(failures: u32, is_refused: bool, now: Instant) -> Self {
        if is_refused || failures >= IN_A_ROW {
            Self::Down(now, u64::from(failures))
        } else {
            Self::Failing(failures)
        }
    }
}

/// Whether a request that ended so says something of the application, and not of its client or of
/// this process.
const fn is_of_the_application(error: &UpstreamError) -> bool {
    !matches!(
        error,
        UpstreamError::ConnectionLimit
            | UpstreamError::RequestBody(_)
            | UpstreamError::RequestStalled
            | UpstreamError::BadTarget
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        Authority::from_static("app:1")
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_when_it_begins_and_when_it_is_over() {
        let contacts = Contacts::default();
        let began = Instant::now();
        assert_eq!(contacts.fail(&authority(), true, began), Told::Down);
        for _ in 0..500 {
            assert_eq!(contacts.fail(&authority(), true, began), Told::Nothing);
        }
        let over = began + Duration::from_mins(1);
        let told = contacts.recover(&authority(), over);
        assert_eq!(told, Some((Duration::from_mins(1), 501)));
        assert_eq!(contacts.recover(&authority(), over), None);
        assert!(!contacts.troubled.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_fail_here_and_there_make_no_outage() {
        let contacts = Contacts::default();
        for _ in 0..10 {
            for _ in 1..IN_A_ROW {
                let told = contacts.fail(&authority(), false, Instant::now());
                assert_eq!(told, Told::Failure);
            }
            assert_eq!(contacts.recover(&authority(), Instant::now()), None);
        }
        for wanted in [Told::Failure, Told::Failure, Told::Down, Told::Nothing] {
            assert_eq!(contacts.fail(&authority(), false, Instant::now()), wanted);
        }
    }

    #[test]
    fn what_is_a_clients_fault_says_nothing_of_the_application() {
        let contacts = Contacts::default();
        let asked = Uri::from_static("http://app:1/path");
        for error in [UpstreamError::BadTarget, UpstreamError::RequestStalled] {
            contacts.note::<()>(&asked, &Err(error));
        }
        assert!(contacts.addresses.lock().is_empty());
    }
}
