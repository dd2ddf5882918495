//! The mode of one route, which changes while calls come.

use super::share::Draw;
use crate::event::UserId;
use crate::peer::Peer;
use http::{HeaderMap, HeaderName};
use parking_lot::RwLock;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is done with the event calls of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwarded.
    Off,
    /// Acknowledged and batched.
    Coalesce,
    /// Forwarded, and run through windows on paper.
    Observe,
    /// Forwarded, and a copy of it acknowledged and batched beside, for nobody to hear.
    Shadow,
}

impl Mode {
    /// All of them, in the order of a migration.
    pub const ALL: [Self; 4] = [Self::Off, Self::Observe, Self::Shadow, Self::Coalesce];

    /// Its word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Coalesce => "coalesce",
            Self::Observe => "observe",
            Self::Shadow => "shadow",
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
    /// Percent of users whose events are batched in [`Mode::Coalesce`], or whose calls are copied in
    /// [`Mode::Shadow`], 0..=100; the calls of the others are forwarded, and no more.
    pub rollout: u8,
}

impl Setting {
    /// By it calls may be acknowledged that aren't by the other one.
    #[must_use]
    pub fn rises_above(self, other: Self) -> bool {
        self.mode == Mode::Coalesce
            && (other.mode != Mode::Coalesce || self.rollout > other.rollout)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            mode @ (Mode::Coalesce | Mode::Shadow) if self.rollout < 100 => {
                write!(f, "{} at {} %", mode.as_str(), self.rollout)
            }
            mode => f.write_str(mode.as_str()),
        }
    }
}

/// What holds of a change at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The setting.
    pub setting: Setting,
    /// The exceptions.
    pub exceptions: Exceptions,
    /// It is not all that was wanted: by that, more calls would be acknowledged.
    pub waits: bool,
}

/// What became of a call of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// Its event is kept.
    Acknowledged,
    /// Its event was known.
    Duplicate,
    /// The application answers it.
    Forwarded,
    /// It was answered with an error.
    Refused,
}

impl Decided {
    /// All of them, in the order of [`Switch::calls`].
    pub const ALL: [Self; 4] = [
        Self::Acknowledged,
        Self::Duplicate,
        Self::Forwarded,
        Self::Refused,
    ];

    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Duplicate => "duplicate",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
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

/// The live mode of one `[[event]]` route. It is read at every call of the route.
#[derive(Debug)]
pub struct Switch {
    position: Arc<RwLock<Position>>,
    sampling: Sampling,
    /// It stands for [`Mode::Coalesce`] where its original is in [`Mode::Shadow`], and is off
    /// elsewhere.
    rehearses: bool,
    /// Its mode was [`Mode::Coalesce`] at some time in this process, or in its configuration.
    was_on: AtomicBool,
    /// By [`Decided`].
    calls: [AtomicU64; Decided::ALL.len()],
}

#[derive(Debug, Clone)]
struct Position {
    setting: Setting,
    exceptions: Exceptions,
}

impl Switch {
    /// A route that begins so.
    #[must_use]
    pub fn new(setting: Setting, exceptions: Exceptions, sampling: Sampling) -> Self {
        Self {
            position: Arc::new(RwLock::new(Position {
                setting,
                exceptions,
            })),
            sampling,
            rehearses: false,
            was_on: AtomicBool::new(setting.mode == Mode::Coalesce),
            calls: Default::default(),
        }
    }

    /// Another switch with the same exceptions.
    #[must_use]
    pub fn afresh(&self, setting: Setting) -> Self {
        Self::new(setting, self.exceptions(), self.sampling.clone())
    }

    /// The switch of this route's copy, which is on while this one is in [`Mode::Shadow`], for the
    /// same users; it follows this one, and no tester has a word there.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let sampling = Sampling {
            draw: self.sampling.draw.clone(),
            tester: None,
        };
        Self {
            position: Arc::clone(&self.position),
            sampling,
            rehearses: true,
            was_on: AtomicBool::new(true),
            calls: Default::default(),
        }
    }

    /// A call of the route's path was decided so. Where several routes have the path, it is counted
    /// at the first of them.
    pub fn count_call(&self, decided: Decided) {
        if let Some(count) = self.calls.get(decided as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls so far, by what was decided.
    #[must_use]
    pub fn calls(&self) -> [u64; Decided::ALL.len()] {
        self.calls
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// How the route stands.
    #[must_use]
    pub fn setting(&self) -> Setting {
        self.seen(self.position.read().setting)
    }

    const fn seen(&self, setting: Setting) -> Setting {
        match (self.rehearses, setting.mode) {
            (false, _) => setting,
            (true, Mode::Shadow) => Setting {
                mode: Mode::Coalesce,
                ..setting
            },
            (true, _) => Setting {
                mode: Mode::Off,
                ..setting
            },
        }
    }

    /// The users whom the draw doesn't decide of.
    #[must_use]
    pub fn exceptions(&self) -> Exceptions {
        self.position.read().exceptions.clone()
    }

    /// From the next call on; gives back what was before.
    pub fn set(&self, setting: Setting) -> Setting {
        self.note(setting);
        std::mem::replace(&mut self.position.write().setting, setting)
    }

    /// Both at once, from the next call on; gives back what was before.
    pub fn set_with(&self, setting: Setting, exceptions: Exceptions) -> (Setting, Exceptions) {
        self.note(setting);
        let position = Position {
            setting,
            exceptions,
        };
        let was = std::mem::replace(&mut *self.position.write(), position);
        (was.setting, was.exceptions)
    }

    /// ORDER: before the setting holds.
    fn note(&self, setting: Setting) {
        if setting.mode == Mode::Coalesce {
            self.was_on.store(true, Ordering::SeqCst);
        }
    }

    /// An earlier process may have acknowledged events of it.
    pub fn suppose_it_was_on(&self) {
        self.was_on.store(true, Ordering::SeqCst);
    }

    /// No event of it was ever acknowledged, as far as this process knows.
    #[must_use]
    pub fn was_never_on(&self) -> bool {
        !self.was_on.load(Ordering::SeqCst)
    }

    /// Nobody's calls are forwarded for their mode.
    #[must_use]
    pub fn is_on_for_all(&self) -> bool {
        let position = self.position.read();
        let setting = self.seen(position.setting);
        setting.mode == Mode::Coalesce
            && setting.rollout >= 100
            && position.exceptions.deny.is_empty()
            && self.sampling.tester.is_none()
    }

    /// The header by which a trusted proxy says of a call whether it is to be batched.
    #[must_use]
    pub const fn tester_header(&self) -> Option<&HeaderName> {
        self.sampling.tester.as_ref()
    }

    /// What a trusted proxy says of the call with this head: whether it is to be batched. More than
    /// one line says nothing.
    #[must_use]
    pub fn tester(&self, headers: &HeaderMap, peer: &Peer) -> Option<bool> {
        let name = self.sampling.tester.as_ref().filter(|_| peer.by_proxy)?;
        let mut lines = headers.get_all(name).iter();
        let (only, None) = (lines.next()?, lines.next()) else {
            return None;
        };
        match only.to_str().ok().and_then(Mode::of)? {
            Mode::Coalesce => Some(true),
            Mode::Off => Some(false),
            Mode::Observe | Mode::Shadow => None,
        }
    }

    /// What holds of this change: all of it, or without `may_rise` as far as no call is acknowledged by
    /// it that isn't now.
    #[must_use]
    pub fn hold(&self, (wanted, wishes): (Setting, Exceptions), may_rise: bool) -> Held {
        let (stands, listed) = (self.setting(), self.exceptions());
        let lists_rise =
            !wishes.allow.is_subset(&listed.allow) || !wishes.deny.is_superset(&listed.deny);
        let rises = wanted.rises_above(stands) || wanted.mode == Mode::Coalesce && lists_rise;
        if may_rise || !rises {
            return Held {
                setting: wanted,
                exceptions: wishes,
                waits: false,
            };
        }
        // What falls, falls.
        let setting = match stands.mode {
            Mode::Coalesce => Setting {
                rollout: wanted.rollout.min(stands.rollout),
                ..stands
            },
            _ => stands,
        };
        Held {
            setting,
            exceptions: Exceptions {
                allow: &listed.allow & &wishes.allow,
                deny: &listed.deny | &wishes.deny,
            },
            waits: true,
        }
    }

    /// The user's place in the order in which users are drawn, 0 to 99: it is in at a `rollout`
    /// above that.
    #[must_use]
    pub fn bucket(&self, user: &UserId) -> u8 {
        self.sampling.draw.bucket(user)
    }

    /// What is done with a call of this user. `tester`: what a trusted proxy says of it, if
    /// anything; only `deny` wins over that, and no word of anybody turns on a route that is off.
    #[must_use]
    pub fn mode_for(&self, user: &UserId, tester: Option<bool>) -> Mode {
        let position = self.position.read();
        let Setting { mode, rollout } = self.seen(position.setting);
        if mode != Mode::Coalesce {
            return mode;
        }
        let (name, exceptions) = (user.as_str(), &position.exceptions);
        let is_in = !exceptions.deny.contains(name)
            && tester.unwrap_or_else(|| {
                exceptions.allow.contains(name) || self.sampling.draw.includes(user, rollout)
            });
        if is_in { mode } else { Mode::Off }
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
