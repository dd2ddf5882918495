//! An event's own texts, in one piece of memory of just their length: a million of them may be
//! pending.

use super::ids::{EventId, IdError, check};
use std::fmt;

/// Its id, its JSON and what it carries, one behind the other. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    all: Box<[u8]>,
    /// Where the JSON ends.
    json_end: u32,
    /// Where the id ends.
    id_end: u16,
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
        let mut all = Vec::with_capacity(id.len() + json.len() + carried.len());
        all.extend_from_slice(id.as_bytes());
        let id_end = all.len();
        all.extend_from_slice(json);
        let json_end = all.len();
        all.extend_from_slice(carried);
        Self {
            all: all.into(),
            // No event is larger than a frame of the journal can be.
            json_end: u32::try_from(json_end).unwrap_or(u32::MAX),
            // An id has 256 bytes at most.
            id_end: u16::try_from(id_end).unwrap_or(u16::MAX),
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

    /// The event as it stands in the batch.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.all
            .get(usize::from(self.id_end)..self.json_end as usize)
            .unwrap_or_default()
    }

    /// What travels with it.
    #[must_use]
    pub fn carried(&self) -> &[u8] {
        self.all.get(self.json_end as usize..).unwrap_or_default()
    }

    /// The same event, which carries something else.
    #[must_use]
    pub fn with_carried(&self, carried: &[u8]) -> Self {
        Self::join(self.id(), self.json(), carried)
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
            prop_assert_eq!(&texts, &Texts::new(&EventId::try_new(&id).unwrap(), &json, &carried));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!(Texts::try_new("", b"{}", b"").is_err());
        assert!(Texts::try_new("a\n", b"{}", b"").is_err());
    }
}
