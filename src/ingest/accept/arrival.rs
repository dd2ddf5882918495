//! An event on its way to be kept, with what its call says of it.

use super::call::Call;
use super::decode::Decoded;
use crate::event::{Event, Principal, Succession};
use crate::identity::Identity;
use crate::ingest::accept::contexts::TooMuch;
use crate::ingest::accept::refusal::Decline;
use crate::ingest::accept::shares::{Address, Share};
use crate::spans::Origin;

/// An event on its way to be kept.
pub(in crate::ingest) struct Arrival {
    pub(in crate::ingest) event: Event,
    /// Where its call came from.
    pub(super) address: Address,
    /// Its context may be kept.
    pub(super) fits: Result<(), TooMuch>,
    /// See [`Decoded`].
    pub(super) in_time: Result<(), Decline>,
    /// What it takes of the bounds, if that is taken already.
    pub(in crate::ingest) share: Option<Share>,
    /// What its caller's token is counted by, where that names its user.
    pub(super) token: Option<Principal>,
    /// Its id is its client's or its mapping's, and not one that Tidegate made of the call.
    pub(super) id_is_given: bool,
    /// The tokens of its whole batch are taken.
    pub(super) is_paid: bool,
    /// Its caller's session succeeded another one.
    pub(super) succession: Option<Succession>,
    /// Its call's span.
    pub(super) origin: Origin,
}

impl Arrival {
    /// `tokens`: who reads callers' tokens, where these are counted.
    pub(super) fn of(tokens: Option<&Identity>, call: &Call<'_>, decoded: Decoded<'_>) -> Self {
        let Decoded {
            event,
            fits,
            in_time,
            succession,
            id_is_given,
            ..
        } = decoded;
        // What names the user is the token only where the event says so.
        let claims = tokens.filter(|_| event.owner().claimed);
        Self {
            event,
            address: Address::of(call.caller.peer().client),
            fits,
            in_time,
            share: None,
            token: claims.and_then(|identity| identity.claiming_token(call.caller)),
            id_is_given,
            is_paid: false,
            succession,
            origin: call.origin(),
        }
    }
}
