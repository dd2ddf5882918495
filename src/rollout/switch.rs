//! The mode of one route, which changes while calls come.

use super::share::Draw;
use crate::event::UserId;
use crate::peer::Peer;
use http::{HeaderMap, HeaderName};
use parking_lot::RwLock;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// What is done with the event calls of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Forwarded.
    Off = 0,
    /// Acknowledged and batched.
    Coalesce = 1,
    /// Forwarded, and run through windows on paper.
    Observe = 2,
}

impl Mode {
    /// All of them, in the order of a migration.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Coalesce];

    /// Its word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Coalesce => "coalesce",
            Self::Observe => "observe",
        }
    }

    /// The mode of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// A mode, and for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// What is done.
    pub mode: Mode,
    /// Percent of users whose events are batched in [`Mode::Coalesce`], 0..=100; the calls of the
    /// others are forwarded.
    pub rollout: u8,
}

impl Setting {
    const fn pack(self) -> u16 {
        (self.mode as u16) << 8 | self.rollout as u16
    }

    fn unpack(packed: u16) -> Self {
        let [mode, rollout] = packed.to_be_bytes();
        Self {
            mode: Mode::ALL
                .into_iter()
                .find(|one| *one as u8 == mode)
                .unwrap_or(Mode::Off),
            rollout,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Coalesce if self.rollout < 100 => write!(f, "coalesce at {} %", self.rollout),
            mode => f.write_str(mode.as_str()),
        }
    }
}

/// Users whom the draw doesn't decide of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Their events are batched, whatever the percentage.
    pub allow: HashSet<Box<str>>,
    /// Their calls are forwarded, whatever the percentage. It wins over `allow`.
    pub deny: HashSet<Box<str>>,
}

/// Who decides, where the setting leaves it open.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Draws the share.
    pub draw: Draw,
    /// A header by which a trusted proxy says of a call that it is to be batched (`coalesce`) or to
    /// be forwarded (`off`), for people who test. Anybody else's word is ignored.
    pub tester: Option<HeaderName>,
}

/// The live mode of one `[[event]]` route. It is read at every call of the route: one load of an
/// atomic, unless there is somebody to be drawn.
#[derive(Debug)]
pub struct Switch {
    setting: AtomicU16,
    sampling: Sampling,
    has_exceptions: AtomicBool,
    exceptions: RwLock<Exceptions>,
}

impl Switch {
    /// A route that begins so.
    #[must_use]
    pub fn new(setting: Setting, exceptions: Exceptions, sampling: Sampling) -> Self {
        Self {
            setting: AtomicU16::new(setting.pack()),
            sampling,
            has_exceptions: AtomicBool::new(exceptions != Exceptions::default()),
            exceptions: RwLock::new(exceptions),
        }
    }

    /// Another switch with the same exceptions.
    #[must_use]
    pub fn afresh(&self, setting: Setting) -> Self {
        Self::new(setting, self.exceptions(), self.sampling.clone())
    }

    /// How the route stands.
    #[must_use]
    pub fn setting(&self) -> Setting {
        Setting::unpack(self.setting.load(Ordering::Relaxed))
    }

    /// From the next call on; gives back what was before.
    pub fn set(&self, setting: Setting) -> Setting {
        Setting::unpack(self.setting.swap(setting.pack(), Ordering::Relaxed))
    }

    /// From the next call on.
    pub fn except(&self, exceptions: Exceptions) {
        let some = exceptions != Exceptions::default();
        *self.exceptions.write() = exceptions;
        self.has_exceptions.store(some, Ordering::Release);
    }

    /// The users whom the draw doesn't decide of.
    #[must_use]
    pub fn exceptions(&self) -> Exceptions {
        self.exceptions.read().clone()
    }

    /// What a trusted proxy says of the call with this head: whether it is to be batched.
    #[must_use]
    pub fn tester(&self, headers: &HeaderMap, peer: &Peer) -> Option<bool> {
        let name = self.sampling.tester.as_ref().filter(|_| peer.by_proxy)?;
        match headers.get(name)?.to_str().ok().and_then(Mode::of)? {
            Mode::Coalesce => Some(true),
            Mode::Off => Some(false),
            Mode::Observe => None,
        }
    }

    /// What is done with a call of this user. `tester`: what a trusted proxy says of it, if
    /// anything; only `deny` wins over that, and no word of anybody turns on a route that is off.
    #[must_use]
    pub fn mode_for(&self, user: &UserId, tester: Option<bool>) -> Mode {
        let Setting { mode, rollout } = self.setting();
        if mode != Mode::Coalesce {
            return mode;
        }
        let included = if self.has_exceptions.load(Ordering::Acquire) {
            let exceptions = self.exceptions.read();
            let name = user.as_str();
            !exceptions.deny.contains(name)
                && tester.unwrap_or_else(|| {
                    exceptions.allow.contains(name) || self.sampling.draw.includes(user, rollout)
                })
        } else {
            tester.unwrap_or_else(|| self.sampling.draw.includes(user, rollout))
        };
        if included { mode } else { Mode::Off }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Connection;
    use http::HeaderValue;

    const fn coalesce(rollout: u8) -> Setting {
        Setting {
            mode: Mode::Coalesce,
            rollout,
        }
    }

    fn user(name: &str) -> UserId {
        UserId::try_new(name).unwrap()
    }

    fn switch(setting: Setting, allow: &[&str], deny: &[&str]) -> Switch {
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        let exceptions = Exceptions {
            allow: names(allow),
            deny: names(deny),
        };
        Switch::new(
            setting,
            exceptions,
            Sampling {
                draw: Draw::new(""),
                tester: Some(HeaderName::from_static("x-tester")),
            },
        )
    }

    #[test]
    fn a_setting_survives_its_cell() {
        for mode in Mode::ALL {
            for rollout in 0..=100 {
                let setting = Setting { mode, rollout };
                assert_eq!(switch(setting, &[], &[]).setting(), setting);
            }
            assert_eq!(Mode::of(mode.as_str()), Some(mode));
        }
    }

    #[test]
    fn lists_and_testers_win_over_the_draw_and_deny_over_all() {
        let none = switch(coalesce(0), &["in", "both"], &["out", "both"]);
        assert_eq!(none.mode_for(&user("in"), None), Mode::Coalesce);
        assert_eq!(none.mode_for(&user("both"), None), Mode::Off);
        assert_eq!(none.mode_for(&user("other"), None), Mode::Off);
        assert_eq!(none.mode_for(&user("other"), Some(true)), Mode::Coalesce);
        assert_eq!(none.mode_for(&user("out"), Some(true)), Mode::Off);
        let all = switch(coalesce(100), &["in"], &["out"]);
        assert_eq!(all.mode_for(&user("other"), None), Mode::Coalesce);
        assert_eq!(all.mode_for(&user("in"), Some(false)), Mode::Off);
        assert_eq!(all.mode_for(&user("out"), None), Mode::Off);
        all.except(Exceptions::default());
        assert_eq!(all.mode_for(&user("out"), None), Mode::Coalesce);
    }

    #[test]
    fn the_word_of_a_tester_counts_from_a_trusted_proxy_alone() {
        let switch = switch(coalesce(0), &[], &[]);
        let mut peer = Peer::new(Connection {
            address: ([127, 0, 0, 1], 1).into(),
            secure: false,
        });
        let mut headers = HeaderMap::new();
        assert_eq!(switch.tester(&headers, &peer), None);
        headers.insert("x-tester", HeaderValue::from_static("coalesce"));
        assert_eq!(switch.tester(&headers, &peer), None);
        peer.by_proxy = true;
        assert_eq!(switch.tester(&headers, &peer), Some(true));
        headers.insert("x-tester", HeaderValue::from_static("off"));
        assert_eq!(switch.tester(&headers, &peer), Some(false));
        headers.insert("x-tester", HeaderValue::from_static("yes"));
        assert_eq!(switch.tester(&headers, &peer), None);
    }

    #[test]
    fn no_list_and_no_tester_turns_on_a_route_that_is_off() {
        let off = Setting {
            mode: Mode::Off,
            rollout: 100,
        };
        let off = switch(off, &["in"], &[]);
        assert_eq!(off.mode_for(&user("in"), Some(true)), Mode::Off);
    }
}
