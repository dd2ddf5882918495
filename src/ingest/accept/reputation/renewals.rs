//! Whose next call is to be forwarded, so that its session lives (ruling 24): since an answer
//! renewed a cookie that the browser didn't see, or since it is time.

use crate::event::Principal;
use crate::keyed::recently_used;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often at most a principal's call is forwarded for the sake of its session.
pub(super) const RENEWALS: Duration = Duration::from_mins(1);

/// Principals whose sessions are to be renewed, and those whose were.
#[derive(Debug)]
pub(super) struct Renewals {
    /// A delivery's answer renewed a cookie of these: their next call is to be forwarded.
    to_renew: moka::sync::Cache<Principal, ()>,
    /// There was one: else nothing is looked up.
    any_to_renew: AtomicBool,
    /// Whose calls were forwarded for their sessions lately.
    renewed: moka::sync::Cache<Principal, Instant>,
    refresh: Option<Duration>,
}

impl Renewals {
    /// `refresh`: so often one call of a principal is forwarded for its session. What is asked for
    /// is remembered for `life`; each map is capped at `most`.
    pub(super) fn new(refresh: Option<Duration>, life: Duration, most: u64) -> Self {
        Self {
            to_renew: recently_used(most).time_to_live(life).build(),
            any_to_renew: AtomicBool::new(false),
            renewed: recently_used(most).build(),
            refresh,
        }
    }

    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.to_renew.run_pending_tasks();
        self.renewed.run_pending_tasks();
    }

    /// Its call was forwarded lately.
    #[cfg(test)]
    pub(super) fn is_known(&self, principal: Principal) -> bool {
        self.renewed.contains_key(&principal)
    }

    /// A delivery's answer renewed a cookie of this principal, and its browser didn't see it.
    pub(super) fn ask(&self, principal: Principal) {
        self.to_renew.insert(principal, ());
        self.any_to_renew.store(true, Ordering::Relaxed);
    }

    /// The browser of this principal has seen an answer that renewed a cookie: for a minute nothing
    /// is asked for.
    pub(super) fn note(&self, principal: Principal) {
        self.renewed.insert(principal, Instant::now());
        if self.any_to_renew.load(Ordering::Relaxed) {
            self.to_renew.invalidate(&principal);
        }
    }

    /// Whether this call is to be forwarded, so that its session lives (ruling 24); at most one a
    /// minute says yes.
    pub(super) fn is_wanted(&self, principal: Principal) -> bool {
        let asked =
            self.any_to_renew.load(Ordering::Relaxed) && self.to_renew.contains_key(&principal);
        if !asked && self.refresh.is_none() {
            return false;
        }
        let since = self.renewed.get(&principal).map(|at| at.elapsed());
        let due = match (since, self.refresh) {
            (None, None) => asked,
            // The session has just begun.
            (None, Some(_)) => {
                self.renewed.insert(principal, Instant::now());
                return false;
            }
            (Some(since), refresh) => {
                asked && since >= RENEWALS || refresh.is_some_and(|every| since >= every)
            }
        };
        if due {
            self.renewed.insert(principal, Instant::now());
            self.to_renew.invalidate(&principal);
        }
        due
    }
}
