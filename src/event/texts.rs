//! An event's own texts, in one piece of memory of just their length: a million of them may be
//! pending.

use super::ids::{EventId, IdError, check};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Shortest text between two quotes of the JSON that is looked for in what the event carries, bytes.
const WORTH: usize = 48;
/// So many bytes of what it carries stand in one piece whatever the rest is: what is asked often is
/// read there.
const START: usize = 40;

/// Its id, what it carries and its JSON, one behind the other. What it carries ends with the body of
/// its single call: where that is the JSON itself, or has a long piece of it, that is there once.
/// Clones share the memory. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    all: Arc<[u8]>,
    /// Where the JSON begins.
    json: u32,
    /// Where the id ends.
    id_end: u16,
    body: Body,
}

/// Where what is carried ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Where the JSON begins.
    Apart,
    /// Where the JSON ends.
    IsJson,
    /// Where the JSON begins, but a piece of that is missing. A [`Piece`] stands before it.
    HasPiece,
}

/// A piece of the JSON that stands in what is carried too.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Bytes of what is carried before it.
    before: u32,
    /// Where it begins in the JSON.
    from: u32,
    /// Its bytes.
    bytes: u32,
}

impl Piece {
    /// Bytes that it is kept in.
    const KEPT: usize = 12;

    fn keep(self) -> [u8; Self::KEPT] {
        let numbers = [self.before, self.from, self.bytes].map(u128::from);
        let all = numbers
            .into_iter()
            .rev()
            .fold(0, |all, one| all << 32 | one);
        *all.to_le_bytes().first_chunk().unwrap_or(&[0; Self::KEPT])
    }

    fn read(kept: &[u8]) -> Option<Self> {
        let (numbers, _) = kept.first_chunk::<{ Self::KEPT }>()?.as_chunks::<4>();
        let [before, from, bytes] = <[_; 3]>::try_from(numbers).ok()?.map(u32::from_le_bytes);
        Some(Self {
            before,
            from,
            bytes,
        })
    }

    /// The longest text of the JSON, and what of its surroundings is the same.
    fn find(json: &[u8], carried: &[u8]) -> Option<Self> {
        let (mut longest, mut from) = (0..0, 0);
        for quote in memchr::memchr_iter(b'"', json) {
            if quote - from > longest.len() {
                longest = from..quote;
            }
            from = quote + 1;
        }
        let text = json
            .get(longest.clone())
            .filter(|text| text.len() >= WORTH)?;
        let (_, later) = carried.split_at_checked(START)?;
        let (before, after) = later.split_at_checked(memchr::memmem::find(later, text)?)?;
        let back = before
            .iter()
            .rev()
            .zip(json.get(..longest.start)?.iter().rev());
        let back = back.take_while(|(one, other)| one == other).count();
        let on = after.iter().zip(json.get(longest.start..)?);
        let on = on.take_while(|(one, other)| one == other).count();
        Some(Self {
            before: u32::try_from(START + before.len() - back).ok()?,
            from: u32::try_from(longest.start - back).ok()?,
            bytes: u32::try_from(back + on).ok()?,
        })
    }

    /// Where it stands in the JSON.
    fn range(self) -> Range<usize> {
        self.from as usize..self.from as usize + self.bytes as usize
    }
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
        let (before, body) = match carried.strip_suffix(json) {
            Some(before) => (before, Body::IsJson),
            None => (carried, Body::Apart),
        };
        let piece = if body == Body::Apart {
            Piece::find(json, carried)
        } else {
            None
        };
        let (before, after, piece) = match piece {
            Some(piece) => {
                let (before, rest) = carried.split_at(piece.before as usize);
                let after = rest.get(piece.bytes as usize..).unwrap_or_default();
                (before, after, Some(piece.keep()))
            }
            None => (before, [].as_slice(), None),
        };
        let body = piece.map_or(body, |_| Body::HasPiece);
        let piece = piece.as_ref().map_or([].as_slice(), |piece| piece);
        let all: Arc<[u8]> = [id.as_bytes(), piece, before, after, json].concat().into();
        Self {
            // No event is larger than a frame of the journal can be.
            json: u32::try_from(all.len() - json.len()).unwrap_or(u32::MAX),
            // An id has 256 bytes at most.
            id_end: u16::try_from(id.len()).unwrap_or(u16::MAX),
            body,
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
    pub fn carried(&self) -> Cow<'_, [u8]> {
        let Some(piece) = self.piece() else {
            return Cow::Borrowed(self.carried_start());
        };
        let before = self.carried_start();
        let after = usize::from(self.id_end) + Piece::KEPT + before.len()..self.json as usize;
        let piece = self.json().get(piece.range()).unwrap_or_default();
        let after = self.all.get(after).unwrap_or_default();
        Cow::Owned([before, piece, after].concat())
    }

    /// How long that is, bytes.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        let kept = self.json as usize - usize::from(self.id_end);
        match self.piece() {
            Some(piece) => kept - Piece::KEPT + piece.bytes as usize,
            None => self.carried_start().len(),
        }
    }

    /// What it begins with, without a copy.
    #[must_use]
    pub fn carried_start(&self) -> &[u8] {
        let (id_end, json) = (usize::from(self.id_end), self.json as usize);
        let place = match (self.body, self.piece()) {
            (Body::IsJson, _) => id_end..self.all.len(),
            (_, Some(piece)) => {
                let begin = id_end + Piece::KEPT;
                begin..begin + piece.before as usize
            }
            (Body::Apart | Body::HasPiece, None) => id_end..json,
        };
        self.all.get(place).unwrap_or_default()
    }

    fn piece(&self) -> Option<Piece> {
        let kept = self.all.get(usize::from(self.id_end)..)?;
        (self.body == Body::HasPiece).then(|| Piece::read(kept))?
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
            prop_assert_eq!((texts.id(), texts.json(), &*texts.carried()), (&*id, &*json, &*carried));
            let body = [&*carried, &*json].concat();
            let texts_of_body = texts.with_carried(&body);
            let parts = (texts_of_body.id(), texts_of_body.json(), &*texts_of_body.carried());
            prop_assert_eq!(parts, (&*id, &*json, &*body));
            prop_assert_eq!(texts_of_body.all.len(), id.len() + body.len());
            let shared = texts.share_json();
            prop_assert_eq!((&*shared, shared.as_ptr()), (&*json, texts.json().as_ptr()));
            prop_assert_eq!(&texts, &Texts::new(&EventId::try_new(&id).unwrap(), &json, &carried));
        }
    }

    proptest! {
        #[test]
        fn a_long_piece_that_the_body_has_as_well_is_there_once(
            id in "[^\\p{Cc}]{1,60}",
            text in "[a-z]{48,300}",
            [before, after, head] in proptest::array::uniform3("[a-z\":,]{0,30}"),
            short in 0..60usize,
        ) {
            let json = format!("{{\"is\":\"{text}\"{after}}}");
            let carried = format!("{}{head}{{{before}\"{text}\"}}", "x".repeat(short));
            let texts = Texts::try_new(&id, json.as_bytes(), carried.as_bytes()).unwrap();
            let parts = (texts.id(), texts.json(), &*texts.carried());
            prop_assert_eq!(parts, (&*id, json.as_bytes(), carried.as_bytes()));
            prop_assert_eq!(texts.carried_bytes(), carried.len());
            let start = texts.carried_start();
            prop_assert!(carried.as_bytes().starts_with(start));
            prop_assert!(start.len() >= START.min(carried.len()));
            let whole = id.len() + json.len() + carried.len();
            if short >= START {
                prop_assert!(texts.all.len() + text.len() <= whole + Piece::KEPT);
            }
            let again = texts.with_carried(&texts.carried());
            prop_assert_eq!(&texts, &again);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!(Texts::try_new("", b"{}", b"").is_err());
        assert!(Texts::try_new("a\n", b"{}", b"").is_err());
    }
}
