//! The places of a route's calls, and how they are searched.

use crate::migration::learn::batches::Endpoint;
use crate::migration::learn::repeats::Place;
use crate::migration::learn::routes::Call;
use crate::migration::words::plain_name;
use serde_json::Value;

pub(super) struct Search<'a, 'e> {
    pub(super) calls: &'a [Call<'e>],
    pub(super) places: Vec<Place>,
    pub(super) endpoint: Option<&'a Endpoint>,
}

impl Search<'_, '_> {
    pub(super) fn count(&self, place: &Place) -> usize {
        self.calls
            .iter()
            .filter(|call| place.find(call).is_some())
            .count()
    }

    pub(super) fn all(&self, place: &Place, test: impl Fn(&Value) -> bool) -> bool {
        self.calls
            .iter()
            .filter_map(|call| place.find(call))
            .all(|value| test(&value))
    }

    /// Places in bodies and queries, not too deep.
    pub(super) fn said(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| match place {
            Place::Body(steps) => steps.len() <= 3,
            Place::Query(_) => true,
            _ => false,
        })
    }

    /// All spellings of a place's name, as one template's alternatives.
    pub(super) fn spellings(&self, place: &Place) -> (Vec<Place>, String) {
        let depth = |place: &Place| matches!(place, Place::Body(steps) if steps.len() > 1);
        let plain = plain_name(place.name());
        let mut all = vec![place.clone()];
        all.extend(
            self.said()
                .filter(|other| *other != place && !depth(other) && !depth(place))
                .filter(|other| plain_name(other.name()) == plain)
                .cloned(),
        );
        let text = all
            .iter()
            .map(Place::template)
            .collect::<Vec<_>>()
            .join("|");
        (all, text)
    }
}

pub(super) fn rank(names: &[&str], name: &str) -> usize {
    let plain = plain_name(name);
    names
        .iter()
        .position(|known| *known == plain)
        .unwrap_or(names.len())
}
