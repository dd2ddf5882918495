//! What travels with an event beside its context, and the compact form that it is kept in.

use super::context::ENTRY_BYTES;
use super::raw::Raw;
use std::net::{IpAddr, Ipv4Addr};

/// The single call of an event, as it can be repeated on its legacy route: byte for byte as it came
/// (P13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Legacy<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// The body, as it came.
    #[serde(borrow)]
    pub body: Raw<'a>,
}

/// What of its call travels with an event beside its [`Context`](super::Context): the remainder of
/// its headers, and the single call as it can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Carried<'a> {
    /// The user's name is a claim of the caller's token.
    pub claimed: bool,
    /// The address at the other end of the client's connection.
    pub from: IpAddr,
    /// The client's address as it is believed.
    pub client: IpAddr,
    /// The headers that are not in the context, names and values, as they came.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, Raw<'a>)>,
    /// The Cookie line with [`COUNTED`] in the place of each cookie of the context; empty: there
    /// was none.
    pub cookie: Raw<'a>,
    /// The single call, where the group may fall back to it.
    pub legacy: Option<Legacy<'a>>,
}

/// Stands in a stored Cookie line for the next cookie of the context. No header can hold it (RFC
/// 9110 §5.5).
pub const COUNTED: u8 = 1;

/// Begins what this version packs; what an earlier one packed began with the number of its headers,
/// which was small.
const PACKED: u8 = 0xff;
/// Begins it where the event may go under its group's service credential.
const PACKED_FOR_SERVICE: u8 = 0xfe;

/// What [`Carried`] begins with; only where it ends is of interest.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "skipped, never looked at")]
struct Beside<'a> {
    claimed: bool,
    from: IpAddr,
    client: IpAddr,
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    cookie: Raw<'a>,
}

/// As earlier versions packed it.
#[derive(serde::Deserialize)]
struct EarlierCarried<'a> {
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    legacy: Option<Legacy<'a>>,
}

impl<'a> Carried<'a> {
    /// A single call and nothing else.
    #[must_use]
    pub const fn bare(legacy: Option<Legacy<'a>>) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            claimed: false,
            from: nowhere,
            client: nowhere,
            headers: Vec::new(),
            cookie: Raw(b""),
            legacy,
        }
    }

    /// Bytes that it takes packed, estimated from above.
    fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.0.len() + 4)
            .sum::<usize>();
        let legacy = self.legacy.map_or(0, |call| {
            call.method.len() + call.path.len() + call.body.0.len()
        });
        headers + self.cookie.0.len() + legacy + ENTRY_BYTES
    }

    /// All but the single call and what is known late, in the compact form: what calls with one
    /// head have in common.
    #[must_use]
    pub fn pack_head(&self) -> Box<[u8]> {
        let mut packed = Self {
            legacy: None,
            ..self.clone()
        }
        .pack();
        // The mark of a single call that isn't there.
        packed.pop();
        packed.into()
    }

    /// The compact form of a head and a single call. `claimed`: as in the field; `for_service`: as
    /// in [`mark_for_service`](Self::mark_for_service).
    #[must_use]
    pub fn pack_with_head(
        head: &[u8],
        (claimed, for_service): (bool, bool),
        legacy: Option<Legacy<'_>>,
    ) -> Vec<u8> {
        // Seven bits of a length to a byte.
        let sized = |length: usize| length + (length | 1).ilog2() as usize / 7 + 1;
        let more = legacy.map_or(0, |call| {
            sized(call.method.len()) + sized(call.path.len()) + sized(call.body.0.len())
        });
        let mut out = Vec::with_capacity(head.len() + 1 + more);
        out.extend_from_slice(head);
        if let [mark, was_claimed, ..] = out.as_mut_slice() {
            *mark = if for_service {
                PACKED_FOR_SERVICE
            } else {
                PACKED
            };
            *was_claimed = u8::from(claimed);
        }
        // Serializing into a growing vector has no way to fail; nothing carried is the safe answer
        // all the same.
        postcard::to_extend(&legacy, out).unwrap_or_default()
    }

    /// In the compact form that an event holds.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        // Serializing into a growing vector has no way to fail; nothing carried is the safe answer
        // all the same.
        let mut out = Vec::with_capacity(self.bytes());
        out.push(PACKED);
        postcard::to_extend(self, out).unwrap_or_default()
    }

    /// The compact form with the mark that the event may go under its group's service credential,
    /// or without it. Without it, as earlier versions packed everything, it goes with its own
    /// credential, whatever its group says by then (P3).
    #[must_use]
    pub fn mark_for_service(packed: &[u8], marked: bool) -> Vec<u8> {
        let mut packed = packed.to_vec();
        if let Some(first) = packed
            .first_mut()
            .filter(|first| **first >= PACKED_FOR_SERVICE)
        {
            *first = if marked { PACKED_FOR_SERVICE } else { PACKED };
        }
        packed
    }

    /// Whether a compact form has the mark.
    #[must_use]
    pub fn is_for_service(packed: &[u8]) -> bool {
        packed.first() == Some(&PACKED_FOR_SERVICE)
    }

    /// The part of a compact form that says what travels beside the single call; `None` for an
    /// earlier version's.
    #[must_use]
    pub fn beside(packed: &'a [u8]) -> Option<&'a [u8]> {
        let (&(PACKED | PACKED_FOR_SERVICE), packed) = packed.split_first()? else {
            return None;
        };
        let (Beside { .. }, single) = postcard::take_from_bytes(packed).ok()?;
        packed.get(..packed.len().checked_sub(single.len())?)
    }

    /// Whether a compact form says this of what travels beside the single call.
    #[must_use]
    pub fn says_beside(packed: &[u8], beside: &[u8]) -> bool {
        // Each field says where it ends, so what begins alike is alike.
        matches!(packed.split_first(), Some((&(PACKED | PACKED_FOR_SERVICE), packed)) if packed.starts_with(beside))
    }

    /// Whether the user's name is a claim, and the client's address, without a look at the rest;
    /// `None`: the compact form doesn't say.
    #[must_use]
    pub fn read_caller(packed: &[u8]) -> Option<(bool, IpAddr)> {
        let (&(PACKED | PACKED_FOR_SERVICE), packed) = packed.split_first()? else {
            return None;
        };
        let ((claimed, _, client), _) =
            postcard::take_from_bytes::<(bool, IpAddr, IpAddr)>(packed).ok()?;
        Some((claimed, client))
    }

    /// From the compact form, of this version or an earlier one; `None` if it is no such thing.
    #[must_use]
    pub fn unpack(packed: &'a [u8]) -> Option<Self> {
        if let Some((&(PACKED | PACKED_FOR_SERVICE), packed)) = packed.split_first() {
            return postcard::from_bytes(packed).ok();
        }
        let EarlierCarried {
            mut headers,
            legacy,
        } = postcard::from_bytes(packed).ok()?;
        // An earlier version read JSON only, and sent it as that.
        headers.push(("content-type", Raw(b"application/json")));
        Some(Self {
            headers,
            ..Self::bare(legacy)
        })
    }
}
