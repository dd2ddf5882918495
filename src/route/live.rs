//! The rules in force. A call keeps those that it began under; `[[cache]]` and `[[write]]` rules are
//! replaced as a whole while calls come.

use super::{CacheRoute, Routes, WriteRoute};
use crate::event::ReadIndex;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;

/// The rules in force.
#[derive(Debug)]
pub struct LiveRoutes {
    now: ArcSwap<Routes>,
    /// The next new rule's index. Locked while rules are replaced.
    next: Mutex<usize>,
}

impl LiveRoutes {
    /// These, for now.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self {
            next: Mutex::new(routes.caches.len()),
            now: ArcSwap::from_pointee(routes),
        }
    }

    /// Those in force at this moment.
    #[must_use]
    pub fn load(&self) -> Arc<Routes> {
        self.now.load_full()
    }

    /// Puts these rules in place of those of their sections. A `[[cache]]` rule that was in force
    /// goes on under its index, with what is stored by it and known of it. Any other one has an index
    /// that none had before, so that nothing is found that was stored by another rule, or by the same
    /// one before a time in which nothing made its answers old.
    pub fn replace(&self, writes: Vec<WriteRoute>, caches: Vec<CacheRoute>) {
        let mut next = self.next.lock();
        let now = self.now.load();
        let mut left: Vec<_> = now
            .caches
            .iter()
            .map(|rule| (shape(rule), rule.index))
            .collect();
        let caches = caches.into_iter().map(|rule| {
            let shape = shape(&rule);
            let known = left.iter().position(|(other, _)| *other == shape);
            let index = if let Some(known) = known {
                left.swap_remove(known).1
            } else {
                *next += 1;
                ReadIndex(*next - 1)
            };
            CacheRoute { index, ..rule }
        });
        let replaced = now.with_answers(writes, caches.collect());
        self.now.store(Arc::new(replaced));
    }
}

/// What a rule says, but for its place.
fn shape(rule: &CacheRoute) -> String {
    let placeless = CacheRoute {
        index: ReadIndex(0),
        ..rule.clone()
    };
    format!("{placeless:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Pattern;
    use std::time::Duration;

    fn rule(path: &str, ttl: u64) -> CacheRoute {
        CacheRoute {
            of_own_user: true,
            path: Pattern::parse(path).unwrap(),
            ttl: Some(Duration::from_secs(ttl)),
            force: false,
            public: false,
            longest_guess: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            tags: Vec::new(),
            groups: Vec::new(),
            index: ReadIndex(0),
            proves: Vec::new(),
            ignore_query: Vec::new(),
            barrier: Duration::ZERO,
        }
    }

    fn indices(live: &LiveRoutes) -> Vec<usize> {
        let routes = live.load();
        routes.caches.iter().map(|rule| rule.index.0).collect()
    }

    #[test]
    fn a_rule_that_stays_keeps_its_index_and_every_other_one_has_a_new_one() {
        let first = [rule("/a", 1), rule("/b", 1)];
        let first = first.into_iter().enumerate();
        let first = first.map(|(index, rule)| CacheRoute {
            index: ReadIndex(index),
            ..rule
        });
        let none = || (Vec::new(), Vec::new());
        let (events, batches) = none();
        let routes = Routes::new(events, batches, Vec::new(), first.collect(), false);
        let live = LiveRoutes::new(routes);
        let before = live.load();
        live.replace(
            Vec::new(),
            vec![rule("/c", 1), rule("/b", 1), rule("/a", 2)],
        );
        assert_eq!(indices(&live), [2, 1, 3], "/c is new, /a has changed");
        live.replace(Vec::new(), vec![rule("/b", 1)]);
        assert_eq!(indices(&live), [1]);
        live.replace(
            Vec::new(),
            vec![rule("/a", 2), rule("/b", 1), rule("/b", 1)],
        );
        assert_eq!(indices(&live), [4, 1, 5], "one that was gone is a new one");
        assert_eq!(before.caches.len(), 2, "a call keeps what it began under");
    }
}
