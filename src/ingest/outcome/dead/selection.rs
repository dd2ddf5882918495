//! Which dead letters a command means.

use super::letter::DeadLetter;
use crate::event::UserId;

/// What an operator names letters by. Clients choose ids, so that none of them may read as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name<'a> {
    /// Digits, of which the first is no zero.
    Key(u64),
    /// `id:` and an event's id, or anything else than digits.
    Id(&'a str),
}

impl<'a> Name<'a> {
    fn of(text: &'a str) -> Self {
        // As keys are printed: `+1` and `007` are ids.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        let key = is_number.then(|| text.parse().ok()).flatten();
        match (text.strip_prefix("id:"), key) {
            (Some(id), _) => Self::Id(id),
            (None, Some(key)) => Self::Key(key),
            (None, None) => Self::Id(text),
        }
    }

    fn is_of(self, letter: &DeadLetter) -> bool {
        match self {
            Self::Key(key) => letter.key == key,
            Self::Id(id) => letter.event.id() == id,
        }
    }
}

/// Which letters are meant: those for which everything holds that is said; all, if nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// A key (digits), or an event id (`id:…`, or anything that is no number).
    pub name: Option<String>,
    /// Their reason.
    pub reason: Option<String>,
    /// Their batch group.
    pub group: Option<String>,
    /// Their user, on all hosts.
    pub user: Option<UserId>,
}

impl Selection {
    pub(super) fn holds(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let name = self.name.as_deref().map(Name::of);
        name.is_none_or(|name| name.is_of(letter))
            && is(&self.reason, &letter.reason)
            && is(&self.group, &letter.group)
            && self
                .user
                .as_ref()
                .is_none_or(|user| *user == letter.event.lane.user)
    }
}
