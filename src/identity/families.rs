//! Sessions that roll (ruling 24): a cookie that the application sets on an answer to a principal
//! makes its bearer that principal's successor. All of a family count as its first one in standing,
//! order, barriers and limits.

use super::Predecessors;
use crate::event::{Principal, Succession};
use crate::keyed::recently_used;
use http::HeaderValue;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who succeeded whom; bounded, the least used is forgotten first, which costs one more proof.
///
/// Before the first batch of a session is delivered, its principal isn't known to be good, and its
/// cookie may roll all the same. Such a successor is *supposed*: it counts as its predecessor in
/// standing, order, barriers and limits, and never shares a fingerprint with it. Supposed
/// successors are remembered apart, so that they crowd out none that is proven.
#[derive(Debug)]
pub struct Families {
    proven: Predecessors,
    supposed: Predecessors,
    /// Counts what was learned; while it is zero nothing is looked up.
    version: AtomicU64,
}

impl Families {
    /// None yet; at most `most` successors are remembered.
    #[must_use]
    pub fn new(most: u64) -> Self {
        let [proven, supposed] = [most, most].map(|most| {
            // Every answer that rolls a session makes one.
            recently_used(most.max(1)).build()
        });
        Self {
            proven,
            supposed,
            version: AtomicU64::new(0),
        }
    }

    /// Another one whenever something was learned: what was said of a bearer before may not hold
    /// any longer.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The first of its family.
    #[must_use]
    pub fn canonical(&self, principal: Principal) -> Principal {
        if self.version() == 0 {
            return principal;
        }
        let known = self.known(principal);
        self.supposed.get(&known).unwrap_or(known)
    }

    /// The first of its family, as far as each was good when it was succeeded.
    #[must_use]
    pub fn known(&self, principal: Principal) -> Principal {
        if self.version() == 0 {
            return principal;
        }
        self.proven.get(&principal).unwrap_or(principal)
    }

    /// `next` is what `before` is called from now on. `good`: `before` is known to be good.
    pub fn succeed(&self, next: Principal, before: Principal, good: bool) -> Succession {
        match good {
            true => self.proven.insert(next, self.known(before)),
            false => self.supposed.insert(next, self.canonical(before)),
        }
        self.note();
        self.succession(next)
    }

    /// Whom a bearer counts as.
    #[must_use]
    pub fn succession(&self, bearer: Principal) -> Succession {
        Succession {
            bearer,
            known: self.known(bearer),
            first: self.canonical(bearer),
        }
    }

    /// What an earlier process knew of a bearer.
    pub fn restore(&self, succession: &Succession) {
        let Succession {
            bearer,
            known,
            first,
        } = *succession;
        if known != bearer {
            self.proven.insert(bearer, known);
        }
        if first != known {
            self.supposed.insert(known, first);
        }
        self.note();
    }

    // ORDER: after what was learned.
    fn note(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Name and value of a Set-Cookie line (RFC 6265 §5.2) that doesn't take the cookie away.
pub(super) fn kept_cookie(line: &HeaderValue) -> Option<(&str, &str)> {
    let line = line.to_str().ok()?;
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let ends = parts
        .filter_map(|part| part.split_once('='))
        .any(|(key, value)| {
            key.trim().eq_ignore_ascii_case("max-age")
                && value
                    .trim()
                    .parse::<i64>()
                    .is_ok_and(|seconds| seconds <= 0)
                || key.trim().eq_ignore_ascii_case("expires") && value.contains(" 1970 ")
        });
    (!ends && !value.trim().is_empty()).then_some((name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_name_and_a_cookie_that_ends_makes_no_successor() {
        let (families, [one, two, three]) = (
            Families::new(10),
            [1, 2, 3].map(|number| Principal([number; 16])),
        );
        assert_eq!(families.canonical(one), one);
        families.succeed(two, one, true);
        families.succeed(three, two, true);
        assert_eq!(
            [one, two, three].map(|each| families.canonical(each)),
            [one; 3]
        );
        let kept = |line: &'static str| {
            kept_cookie(&HeaderValue::from_static(line))
                .map(|(name, value)| format!("{name}={value}"))
        };
        assert_eq!(kept("sid=abc; Path=/; HttpOnly"), Some("sid=abc".into()));
        assert_eq!(kept("sid=abc; Max-Age=0"), None);
        assert_eq!(kept("sid=; Path=/"), None);
        assert_eq!(kept("sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), None);
    }

    #[test]
    fn a_new_successor_is_known_though_there_is_room_for_no_more_and_older_ones_are_used() {
        let families = Families::new(10);
        let principal = |number: u32| {
            let mut bytes = [7; 16];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            Principal(bytes)
        };
        for next in 1..2_000 {
            families.succeed(principal(next), principal(0), true);
            families.proven.run_pending_tasks();
            for older in 1..=10.min(next) {
                assert_ne!(families.canonical(principal(older)), principal(next));
            }
            assert_eq!(families.canonical(principal(next)), principal(0), "{next}");
        }
    }

    #[test]
    fn a_supposed_successor_is_of_the_family_and_no_bearer_of_what_was_proven_before_it() {
        let (families, [one, two, three]) = (
            Families::new(10),
            [1, 2, 3].map(|number| Principal([number; 16])),
        );
        families.succeed(two, one, false);
        families.succeed(three, two, true);
        assert_eq!(
            [one, two, three].map(|each| families.canonical(each)),
            [one; 3]
        );
        assert_eq!(
            [one, two, three].map(|each| families.known(each)),
            [one, two, two]
        );
    }

    #[test]
    fn what_is_restored_of_a_bearer_is_what_was_known_of_it_without_those_in_between() {
        let (families, [one, two, three]) = (
            Families::new(10),
            [1, 2, 3].map(|number| Principal([number; 16])),
        );
        families.succeed(two, one, false);
        let kept = families.succeed(three, two, true);
        assert_eq!(
            kept,
            Succession {
                bearer: three,
                known: two,
                first: one
            }
        );
        let next = Families::new(10);
        next.restore(&kept);
        assert_eq!(next.succession(three), kept);
        assert_eq!(
            next.succession(one),
            Succession {
                bearer: one,
                known: one,
                first: one
            }
        );
    }
}
