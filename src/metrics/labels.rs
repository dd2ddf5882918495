//! Counters whose labels have few values, each looked up once: a look-up by a label's text hashes
//! it and takes a lock.

use prometheus::{IntCounter, IntCounterVec};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A label whose values are known when the program is written.
pub trait Label: Copy + Into<usize> + 'static {
    /// The texts of all values, each at its place.
    const TEXTS: &'static [&'static str];

    /// The text of this one.
    #[must_use]
    fn as_str(self) -> &'static str {
        Self::TEXTS.get(self.into()).copied().unwrap_or("other")
    }
}

/// What was done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answered, and its event is kept.
    Acknowledged,
    /// Answered as the one before it was.
    Duplicate,
    /// The application gives the answer.
    Forwarded,
    /// Answered with an error of our own.
    Refused,
    /// A GET of a cached route.
    Read,
    /// A call of a `[[write]]` route.
    Write,
    /// The stream of invalidations.
    Listen,
    /// A look at one's own pending events.
    Preview,
}

impl From<Action> for usize {
    fn from(action: Action) -> Self {
        action as Self
    }
}

impl Label for Action {
    const TEXTS: &'static [&'static str] = &[
        "acknowledged",
        "duplicate",
        "forwarded",
        "refused",
        "read",
        "write",
        "listen",
        "preview",
    ];
}

/// How an attempt to deliver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// With a word on every event.
    Answered,
    /// With a success that says nothing of what was taken.
    Unclear,
    /// 401, or a 403 that is the credential's.
    Rejected,
    /// Another 403.
    Forbidden,
    /// No batch endpoint.
    NoEndpoint,
    /// 413.
    TooLarge,
    /// Another 4xx.
    Refused,
    /// 5xx.
    ServerError,
    /// 429.
    Limited,
    /// Without an answer.
    Network,
    /// It could not be made.
    Unsendable,
    /// It broke off inside.
    BrokenOff,
    /// Not tried: its gate is closed.
    Deferred,
    /// Not tried: its group goes as single calls.
    AsSingles,
    /// Not tried: its oldest event goes first.
    OldestAlone,
}

impl From<Attempt> for usize {
    fn from(attempt: Attempt) -> Self {
        attempt as Self
    }
}

impl Label for Attempt {
    const TEXTS: &'static [&'static str] = &[
        "answered",
        "unclear",
        "rejected",
        "forbidden",
        "no_endpoint",
        "too_large",
        "refused",
        "server_error",
        "limited",
        "network",
        "unsendable",
        "broken_off",
        "deferred",
        "as_singles",
        "oldest_alone",
    ];
}

/// One counter for each value of the last label of a vector; one that never counted isn't shown.
#[derive(Debug)]
pub struct Counters<L> {
    vector: IntCounterVec,
    /// The values of the labels before it.
    before: Box<[Box<str>]>,
    resolved: Box<[OnceLock<IntCounter>]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Counters<L> {
    /// Of a vector; `before`: the values of all labels but the last one.
    #[must_use]
    pub fn of(vector: &IntCounterVec, before: &[&str]) -> Self {
        let resolved = L::TEXTS.iter().map(|_| OnceLock::new()).collect();
        let before = before.iter().map(|value| Box::from(*value)).collect();
        Self {
            vector: vector.clone(),
            before,
            resolved,
            label: PhantomData,
        }
    }

    /// One more.
    pub fn count(&self, value: L) {
        if let Some(counter) = self.resolved.get(value.into()) {
            counter.get_or_init(|| self.resolve(value.as_str())).inc();
        }
    }

    /// How often this value was counted.
    #[must_use]
    pub fn get(&self, value: L) -> u64 {
        let counter = self.resolved.get(value.into()).and_then(OnceLock::get);
        counter.map_or(0, IntCounter::get)
    }

    fn resolve(&self, text: &str) -> IntCounter {
        let values: Vec<&str> = self
            .before
            .iter()
            .map(|value| &**value)
            .chain([text])
            .collect();
        self.vector.with_label_values(&values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Opts;
    use prometheus::core::Collector as _;

    const ATTEMPTS: [Attempt; 15] = [
        Attempt::Answered,
        Attempt::Unclear,
        Attempt::Rejected,
        Attempt::Forbidden,
        Attempt::NoEndpoint,
        Attempt::TooLarge,
        Attempt::Refused,
        Attempt::ServerError,
        Attempt::Limited,
        Attempt::Network,
        Attempt::Unsendable,
        Attempt::BrokenOff,
        Attempt::Deferred,
        Attempt::AsSingles,
        Attempt::OldestAlone,
    ];

    #[test]
    fn a_counter_counts_under_the_text_of_its_value_and_is_shown_from_then_on() {
        let vector = IntCounterVec::new(Opts::new("n", "h"), &["group", "result"]).unwrap();
        let counters = Counters::of(&vector, &["g"]);
        let shown = || {
            vector
                .collect()
                .iter()
                .map(|family| family.get_metric().len())
                .sum::<usize>()
        };
        assert_eq!((shown(), counters.get(Attempt::ServerError)), (0, 0));
        counters.count(Attempt::ServerError);
        counters.count(Attempt::ServerError);
        assert_eq!(
            (
                vector.with_label_values(&["g", "server_error"]).get(),
                counters.get(Attempt::ServerError),
                shown()
            ),
            (2, 2, 1)
        );
        for attempt in ATTEMPTS {
            counters.count(attempt);
            assert!(
                vector.with_label_values(&["g", attempt.as_str()]).get() > 0,
                "{attempt:?}"
            );
        }
        assert_eq!(
            (shown(), Attempt::TEXTS.len()),
            (ATTEMPTS.len(), ATTEMPTS.len())
        );
        let words = ["acknowledged", "read", "preview"];
        assert_eq!(
            [Action::Acknowledged, Action::Read, Action::Preview].map(Action::as_str),
            words
        );
    }
}
