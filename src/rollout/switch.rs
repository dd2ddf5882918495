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
    /// As far as no call is acknowledged by it that isn't by the other one.
    #[must_use]
    pub fn lowered_to(self, other: Self) -> Self {
        match (self.mode, other.mode) {
            (Mode::Coalesce, Mode::Coalesce) => Self {
                rollout: self.rollout.min(other.rollout),
                ..self
            },
            (Mode::Coalesce, _) => other,
            _ => self,
        }
    }

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
    fn a_switch_knows_whether_it_was_ever_on_and_whether_it_is_for_all() {
        let off = Setting {
            mode: Mode::Off,
            rollout: 100,
        };
        let route = switch(off, &[], &[]);
        assert!(route.was_never_on() && !route.is_on_for_all());
        route.set(coalesce(100));
        assert!(!route.was_never_on());
        // Its sampling lets testers out.
        assert!(!route.is_on_for_all());
        route.set(off);
        assert!(!route.was_never_on());
        for mode in Mode::ALL {
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
        all.set_with(coalesce(100), Exceptions::default());
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
        headers.append("x-tester", HeaderValue::from_static("coalesce"));
        assert_eq!(switch.tester(&headers, &peer), None, "two lines");
        headers.insert("x-tester", HeaderValue::from_static("yes"));
        assert_eq!(switch.tester(&headers, &peer), None);
    }

    #[test]
    fn a_rehearsal_is_on_while_its_original_is_in_shadow_for_the_same_users() {
        let shadow = |rollout| Setting {
            mode: Mode::Shadow,
            rollout,
        };
        let original = switch(shadow(100), &["in"], &["out"]);
        let copy = original.rehearsal();
        assert_eq!(original.mode_for(&user("other"), Some(true)), Mode::Shadow);
        assert_eq!(copy.mode_for(&user("other"), None), Mode::Coalesce);
        assert_eq!(copy.mode_for(&user("out"), None), Mode::Off);
        original.set(shadow(0));
        assert_eq!(copy.mode_for(&user("in"), None), Mode::Coalesce);
        assert_eq!(copy.mode_for(&user("other"), None), Mode::Off);
        for mode in [Mode::Off, Mode::Observe, Mode::Coalesce] {
            original.set(Setting { mode, rollout: 100 });
            assert_eq!(copy.mode_for(&user("in"), None), Mode::Off, "{mode:?}");
        }
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
