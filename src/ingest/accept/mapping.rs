//! From a call's body to the members of its event, under the rules of a group.

use super::call::Scope;
use super::draft::Draft;
use crate::ingest::accept::refusal::{Decline, Forward};
use crate::ingest::settings::Group;
use crate::json::{self, Object};
use crate::template::{Field, ObjectTemplate};
use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::Hasher as _;

/// Members of a body up to which repeated names are looked for one by one.
const FEW: usize = 24;

/// Writes members under the rules of a group.
pub(super) struct Writer<'a> {
    pub(super) group: &'a Group,
    pub(super) draft: Draft<'a>,
    /// What of it is drawn, as it would be at every try.
    still: SipHasher13,
    /// A single call whose percent is no number is the application's to judge; in a client's batch
    /// it stays as it is.
    strict: bool,
}

impl<'a> Writer<'a> {
    /// `bytes`: as long as the body is.
    pub(super) fn new(group: &'a Group, strict: bool, bytes: usize) -> Self {
        Self {
            group,
            draft: Draft::with_capacity(bytes + 256),
            still: SipHasher13::new(),
            strict,
        }
    }

    /// A hash of what the event says, without what only this try of it says: id, volatile members,
    /// what is drawn (ruling 21). Unkeyed: it is only compared with that of another try under the
    /// same id.
    pub(super) fn content(&self) -> u64 {
        let group = self.group;
        let is_left_out = |name: &str| {
            *name == *group.id_field || group.volatile.iter().any(|one| **one == *name)
        };
        let mut content = self.still;
        for member in self.draft.said(is_left_out) {
            content.write(member.as_bytes());
        }
        content.finish()
    }

    /// The mapping's members, then what is left of the body, if it takes that.
    pub(super) fn write_mapping(
        &mut self,
        mapping: &'a ObjectTemplate,
        body: Option<&'a Object<'_>>,
        scope: &Scope<'_, '_>,
    ) -> Result<(), Decline> {
        for field in mapping.fields() {
            self.write_field(field, scope)?;
        }
        let (true, Some(body)) = (mapping.takes_rest(), body) else {
            return Ok(());
        };
        // Compared with the mapping's own members only: a body may have 100,000 of them.
        let own = self.draft.len();
        for (name, raw) in last_of_each(body) {
            if !mapping.names(name) && !self.draft.has_among_first(own, name) {
                self.write_given(name, raw)?;
            }
        }
        Ok(())
    }

    /// The members as they came, under their canonical names.
    pub(super) fn write_as_given(&mut self, object: &'a Object<'_>) -> Result<(), Decline> {
        let group = self.group;
        for (name, raw) in last_of_each(object) {
            let alias = group.aliases.iter().find(|(found, _)| **found == *name);
            // A canonical member that is there itself wins over its alias.
            match alias {
                Some((_, canonical)) if object.get(canonical).is_some() => {}
                Some((_, canonical)) => self.write_given(canonical, raw)?,
                None => self.write_given(name, raw)?,
            }
        }
        Ok(())
    }

    fn write_given(&mut self, name: &'a str, raw: &str) -> Result<(), Decline> {
        self.draft.push(name, raw);
        self.normalize_last(name)
    }

    fn write_field(&mut self, field: &'a Field, scope: &Scope<'_, '_>) -> Result<(), Decline> {
        let Field {
            name,
            quoted,
            template,
            draws,
        } = field;
        let (draft, mut written) = (&mut self.draft, false);
        let mut write =
            || written = draft.write_member(name, quoted, |out| template.write(scope, out));
        let drawn = if *draws {
            scope.call.notes_draws(write)
        } else {
            write();
            false
        };
        if drawn {
            if written {
                self.draft.mark_last_drawn();
            }
            let hash = &mut self.still;
            let mut note = |text: &str| {
                hash.write_u64(text.len() as u64);
                hash.write(text.as_bytes());
            };
            note(quoted.as_str());
            let write = |out: &mut String| {
                let write = || _ = template.write(scope, out);
                scope.call.standing_still(write);
            };
            self.draft.look_at_unwritten(write, note);
        }
        if written {
            self.normalize_last(name)
        } else {
            Ok(())
        }
    }

    /// Brings the member that was written last into the group's form.
    fn normalize_last(&mut self, name: &str) -> Result<(), Decline> {
        let is_listed = |names: &[std::sync::Arc<str>]| names.iter().any(|one| **one == *name);
        if is_listed(&self.group.percent) && !json::is_null(self.draft.last()) {
            // As a rule it is a whole number already.
            let is_whole = |raw: &str| raw.parse::<u8>().is_ok_and(|value| value <= 100);
            match percent(self.draft.last()) {
                _ if is_whole(self.draft.last()) => {}
                Some(value) => self.draft.replace_last(&value.to_string()),
                None if self.strict => return Err(Decline::Forward(Forward::NotANumber)),
                None => {}
            }
        } else if is_listed(&self.group.lowercase)
            && let Some(text) = json::string(self.draft.last())
        {
            let mut lower = String::new();
            json::write_string(&mut lower, &text.to_lowercase());
            self.draft.replace_last(&lower);
        }
        Ok(())
    }
}

/// The members of an object; of a repeated name the last one, as everywhere in JSON.
fn last_of_each<'o>(object: &'o Object<'_>) -> impl Iterator<Item = (&'o str, &'o str)> {
    let last: Option<HashMap<&str, &str>> = (object.len() > FEW).then(|| object.iter().collect());
    object
        .iter()
        .enumerate()
        .filter_map(move |(place, (name, raw))| {
            let is_last = match &last {
                Some(last) => last.get(name).is_some_and(|last| std::ptr::eq(*last, raw)),
                None => object
                    .iter()
                    .skip(place + 1)
                    .all(|(other, _)| other != name),
            };
            is_last.then_some((name, raw))
        })
}

/// A JSON number, rounded and clamped to 0..=100.
fn percent(raw: &str) -> Option<i64> {
    let value: f64 = serde_json::from_str(raw).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=100 before")]
    value
        .is_finite()
        .then(|| value.clamp(0.0, 100.0).round() as i64)
}
