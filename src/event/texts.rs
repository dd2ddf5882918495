//! An event's own texts, in one piece of memory of just their length: a million of them may be
//! pending.

use super::ids::{EventId, IdError, check};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Its id, what it carries and its JSON, one behind the other. What it carries ends with the body of
/// its single call: where that is the JSON itself, it is there once. Clones share the memory. Never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    all: Arc<[u8]>,
    /// Where the JSON begins.
    json: u32,
    /// Where the id ends.
    id_end: u16,
    /// What it carries ends where the JSON does; else where that begins.
    ends_with_json: bool,
}

impl Texts {
    /// `json`: the event as it stands in the batch, one serialized JSON object; `carried`:
    /// [`Carried`](super::Carried), packed.
    #[must_use]
    pub fn new(id: &EventId, json: impl AsRef<[u8]>, carried: impl AsRef<[u8]>) -> Self {
        Self::join(id.as_str(), json.as_ref(), carried.as_ref())
    }

    /// As [`new`](Self::new), of texts that the journal held.
    ///
    /// # Errors
    /// The first one is no event's id.
    pub fn try_new(id: &str, json: &[u8], carried: &[u8]) -> Result<Self, IdError> {
        check(id).map(|()| Self::join(id, json, carried))
    }

    fn join(id: &str, json: &[u8], carried: &[u8]) -> Self {
        let before = carried.strip_suffix(json);
        let parts = [id.as_bytes(), before.unwrap_or(carried), json];
        let all: Arc<[u8]> = parts.concat().into();
        Self {
            // No event is larger than a frame of the journal can be.
            json: u32::try_from(all.len() - json.len()).unwrap_or(u32::MAX),
            // An id has 256 bytes at most.
            id_end: u16::try_from(id.len()).unwrap_or(u16::MAX),
            ends_with_json: before.is_some(),
            all,
        }
    }

    /// The id as text.
    #[must_use]
    pub fn id(&self) -> &str {
        let id = self.all.get(..usize::from(self.id_end));
        // It was written as text.
        id.and_then(|id| std::str::from_utf8(id).ok())
            .unwrap_or_default()
    }

    /// The id, to be kept beside the event.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        EventId::of_checked(self.id())
    }

    /// The event as it stands in the batch.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.all.get(self.json as usize..).unwrap_or_default()
    }

    /// The same without a copy, for as long as it is needed.
    #[must_use]
    pub fn share_json(&self) -> Bytes {
        Bytes::from_owner(Json(self.clone()))
    }

    /// What travels with it.
    #[must_use]
    pub fn carried(&self) -> &[u8] {
        let end = if self.ends_with_json {
            self.all.len()
        } else {
            self.json as usize
        };
        self.all
            .get(usize::from(self.id_end)..end)
            .unwrap_or_default()
    }

    /// The same event, which carries something else.
    #[must_use]
    pub fn with_carried(&self, carried: &[u8]) -> Self {
        Self::join(self.id(), self.json(), carried)
    }
}

/// The JSON of texts that it keeps.
struct Json(Texts);

impl AsRef<[u8]> for Json {
    fn as_ref(&self) -> &[u8] {
        self.0.json()
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({:?})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_come_back_whole(
            id in "[^\\p{Cc}]{1,60}",
            json in proptest::collection::vec(any::<u8>(), 0..99),
            carried in proptest::collection::vec(any::<u8>(), 0..99),
        ) {
            let texts = Texts::try_new(&id, &json, b"before").unwrap().with_carried(&carried);
            prop_assert_eq!((texts.id(), texts.json(), texts.carried()), (&*id, &*json, &*carried));
            let body = [&*carried, &*json].concat();
            let texts_of_body = texts.with_carried(&body);
            let parts = (texts_of_body.id(), texts_of_body.json(), texts_of_body.carried());
            prop_assert_eq!(parts, (&*id, &*json, &*body));
            prop_assert_eq!(texts_of_body.all.len(), id.len() + body.len());
            let shared = texts.share_json();
            prop_assert_eq!((&*shared, shared.as_ptr()), (&*json, texts.json().as_ptr()));
            prop_assert_eq!(&texts, &Texts::new(&EventId::try_new(&id).unwrap(), &json, &carried));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!(Texts::try_new("", b"{}", b"").is_err());
        assert!(Texts::try_new("a\n", b"{}", b"").is_err());
    }
}
