//! What names the user: a claim, a member or a parameter, or else a session.

use super::search::{Search, rank};
use super::{Field, Mapping, User};
use crate::identity::{Kind, lists};
use crate::migration::learn::caller::is_session;
use crate::migration::learn::repeats::Place;
use crate::migration::learn::routes::Call;
use crate::migration::words::{USER_NAMES, names_user};
use serde_json::Value;

impl Search<'_, '_> {
    pub(super) fn map_user(&self, mapping: &mut Mapping, key: &str) {
        let scalar = |value: &Value| value.is_string() || value.is_number();
        let mut named: Vec<_> = self
            .said()
            .filter(|place| names_user(place.name()))
            .filter(|place| self.all(place, scalar) && self.count(place) * 2 >= self.calls.len())
            .map(|place| (rank(&USER_NAMES, place.name()), place))
            .collect();
        named.sort_by_key(|(rank, _)| *rank);
        let claim = self.user_claim();
        let place = named.first().map(|(_, place)| *place);
        let mut templates: Vec<_> = claim.iter().map(Place::template).collect();
        let mut calls = claim.as_ref().map_or(0, |claim| self.count(claim));
        match place {
            Some(place) => {
                let (spelled, mut template) = self.spellings(place);
                let has = |call: &&Call<'_>| spelled.iter().any(|one| one.find(call).is_some());
                let count = self.calls.iter().filter(has).count();
                if let Some(claim) = claim.as_ref().filter(|_| count < self.calls.len()) {
                    template = format!("{template}|{}", claim.template());
                }
                calls = calls.max(count);
                mapping.fields.push(Field {
                    key: key.to_owned(),
                    template: format!("{{{template}}}"),
                    calls: count,
                    note: self.compare(place, claim.as_ref()),
                });
                templates.push(format!("event.{key}"));
            }
            None => {
                if let Some(claim) = &claim {
                    mapping.fields.push(Field {
                        key: key.to_owned(),
                        template: format!("{{{}}}", claim.template()),
                        calls,
                        note: String::new(),
                    });
                } else if let Some((template, count)) = self.session() {
                    templates.push(template);
                    calls = count;
                }
            }
        }
        if templates.is_empty() {
            let text = "no claim, member, parameter or cookie names the user: say in identity.user what does";
            mapping.doubts.push(("user".to_owned(), text.to_owned()));
        } else {
            mapping.user = Some(User { templates, calls });
        }
    }

    fn user_claim(&self) -> Option<Place> {
        let claims = self
            .places
            .iter()
            .filter(|place| matches!(place, Place::Claim(_)));
        claims
            .filter(|place| names_user(place.name()) && self.count(place) * 2 >= self.calls.len())
            .min_by_key(|place| rank(&USER_NAMES, place.name()))
            .cloned()
    }

    /// How often a member is what the token says.
    fn compare(&self, place: &Place, claim: Option<&Place>) -> String {
        let Some(claim) = claim else {
            return String::new();
        };
        let pairs: Vec<_> = self
            .calls
            .iter()
            .filter_map(|call| Some((place.find(call)?, claim.find(call)?)))
            .collect();
        let same = pairs
            .iter()
            .filter(|(said, claimed)| said == claimed)
            .count();
        format!("; {same} of {} as the token says", pairs.len())
    }

    /// A session's cookie or a key that all calls have, as a template.
    fn session(&self) -> Option<(String, usize)> {
        let first = self.calls.first()?.exchange;
        let cookies = first
            .cookies()
            .filter(|(name, value)| is_session(name, value));
        let keys = first
            .headers
            .iter()
            .filter(|(name, _)| lists::header(name) == Kind::Principal);
        let templates = cookies
            .map(|(name, _)| ("cookie", name))
            .chain(keys.map(|(name, _)| ("header", &**name)));
        templates
            .filter(|(source, name)| {
                self.calls.iter().all(|call| match *source {
                    "cookie" => call.exchange.cookies().any(|(known, _)| known == *name),
                    _ => call.exchange.header(name).is_some(),
                })
            })
            .map(|(source, name)| (format!("{source}.{name}"), self.calls.len()))
            .next()
    }
}
