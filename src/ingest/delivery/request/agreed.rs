//! What the calls of a batch agree in, beside their context.

use crate::event::{COUNTED, Carried, Context};
use crate::identity::keys::cookie_line;
use crate::identity::{Kind, Selection, lists};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashSet;

/// What travels beside the context of a batch's calls.
pub(super) struct Beside<'a> {
    /// With the newest call.
    pub(super) newest: Carried<'a>,
    /// With those of the older calls that came with anything else.
    others: Vec<Carried<'a>>,
}

impl<'a> Beside<'a> {
    /// Of what a batch's events carry, packed, oldest first; none: there is no event whose call can
    /// be read.
    pub(super) fn of(events: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut events = events.rev();
        let (newest, packed) =
            events.find_map(|packed| Some((Carried::unpack(packed)?, packed)))?;
        let beside = Carried::beside(packed);
        let is_same =
            |packed: &&[u8]| beside.is_some_and(|beside| Carried::says_beside(packed, beside));
        let others = events
            .filter(|packed| !is_same(packed))
            .filter_map(Carried::unpack);
        Some(Self {
            newest,
            others: others.collect(),
        })
    }

    /// Headers beside the context: the newest call's where they say nothing, else what all calls
    /// agree in.
    pub(super) fn add_headers(&self, selection: &Selection, headers: &mut HeaderMap) {
        for (name, value) in &self.newest.headers {
            let Ok(name) = HeaderName::try_from(*name) else {
                continue;
            };
            if self.travels(selection, &name)
                && let Ok(value) = HeaderValue::from_bytes(value.0)
            {
                headers.append(name, value);
            }
        }
    }

    fn travels(&self, selection: &Selection, name: &HeaderName) -> bool {
        match selection.header(name) {
            Kind::PerCall | Kind::Proof | Kind::Conditional => false,
            // What the way here has added is extended by the next hop; the rest belongs to the
            // message.
            Kind::Framing => is_of_the_way(name),
            // Listed credentials leave the rest to the operator's word; an own condition may
            // differ, a name may not.
            _ => {
                let kind = lists::header(name.as_str());
                !kind.counts()
                    || kind == Kind::Condition
                    || selection.ignores_header(name)
                    || self
                        .others
                        .iter()
                        .all(|one| values(one, name).eq(values(&self.newest, name)))
            }
        }
    }

    /// The newest Cookie line, without cookies that other calls had with another value, unless they
    /// say nothing. Empty: none is left.
    pub(super) fn cookie_line(&self, selection: &Selection, context: &Context) -> Vec<u8> {
        // A line that is the same agrees in every piece.
        let others = self
            .others
            .iter()
            .map(|one| one.cookie.0)
            .filter(|line| *line != self.newest.cookie.0);
        let others: Vec<HashSet<_>> = others.map(|line| pieces(line).collect()).collect();
        let kept = pieces(self.newest.cookie.0).filter(|piece| {
            let name = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = std::str::from_utf8(name).unwrap_or_default();
            others.iter().all(|other| other.contains(piece))
                || piece.contains(&COUNTED)
                || selection.cookie(name) == Kind::Rolling
                || selection.ignores_cookie(name)
                || !lists::cookie(name).counts()
        });
        let mut line = Vec::with_capacity(self.newest.cookie.0.len());
        for piece in kept.filter(|piece| !piece.is_empty()) {
            if !line.is_empty() {
                line.extend_from_slice(b"; ");
            }
            line.extend_from_slice(piece);
        }
        cookie_line(&line, context)
    }
}

fn values<'a>(carried: &'a Carried<'_>, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    carried
        .headers
        .iter()
        .filter(|(other, _)| *other == name.as_str())
        .map(|(_, value)| value.0)
}

fn pieces(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

/// Headers that name the way a call came, which this hop extends.
fn is_of_the_way(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || [
            "host",
            "via",
            "forwarded",
            "x-real-ip",
            "cf-connecting-ip",
            "true-client-ip",
        ]
        .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Legacy, Raw};

    #[test]
    fn calls_that_differ_only_in_the_single_call_are_read_once_and_others_each() {
        let carried =
            |headers: &[(&'static str, &'static str)], cookie: &'static str, body: &'static str| {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (*name, Raw(value.as_bytes())))
                    .collect();
                let legacy = Some(Legacy {
                    method: "POST",
                    path: "/p",
                    body: Raw(body.as_bytes()),
                });
                Carried {
                    headers,
                    cookie: Raw(cookie.as_bytes()),
                    ..Carried::bare(legacy)
                }
                .pack()
            };
        let others = |calls: &[Vec<u8>]| {
            Beside::of(calls.iter().map(|packed| &**packed))
                .unwrap()
                .others
                .len()
        };
        let same = |body| carried(&[("accept-language", "de")], "a=1", body);
        assert_eq!(others(&[same("one"), same("another one"), same("")]), 0);
        let differing = [
            carried(&[("accept-language", "en")], "a=1", "one"),
            carried(&[("accept-language", "de"), ("x", "y")], "a=1", "one"),
            carried(&[], "a=1", "one"),
            carried(&[("accept-language", "de")], "a=12", "one"),
            carried(&[("accept-language", "de")], "", "a=1"),
        ];
        for other in differing {
            assert_eq!(others(&[same("one"), other.clone(), same("one")]), 1);
            assert_eq!(
                others(&[same("one"), same("two"), other]),
                2,
                "the newest is another one"
            );
        }
        // What may go under a service's credential carries the same.
        assert_eq!(
            others(&[Carried::mark_for_service(&same("one"), true), same("one")]),
            0
        );
        // What an earlier version packed is read each.
        let earlier =
            postcard::to_allocvec(&(Vec::<(&str, Raw<'_>)>::new(), Option::<Legacy<'_>>::None))
                .unwrap();
        assert_eq!(others(&[earlier.clone(), earlier.clone(), same("one")]), 2);
        assert_eq!(others(&[same("one"), earlier.clone(), earlier]), 2);
    }
}
