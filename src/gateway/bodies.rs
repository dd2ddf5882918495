//! Bodies of calls: gathered, kept and unpacked, each in its caller's share of the memory.

use super::callers::Callers;
use super::collect::{self, AtHand, Bounds, Gathered, Rest};
use super::unpack::{Unpacker, unpack_small};
use crate::body::Body;
use crate::event::{GroupIndex, Principal};
use crate::identity::Caller;
use crate::ingest::Acceptor;
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::memory::Lease;
use crate::peer::Peer;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use std::time::Duration;

/// Reads bodies of calls.
#[derive(Clone)]
pub(super) struct Bodies {
    pub(super) callers: Callers,
    pub(super) acceptor: Acceptor,
    pub(super) unpacker: Unpacker,
    /// A body must be there in this time.
    pub(super) within: Duration,
}

/// A body without its coding.
pub(super) struct Plain {
    pub(super) body: Bytes,
    /// What it takes beside the body as it came.
    _room: Option<Lease>,
}

/// A body that is not used without its coding.
pub(super) struct Unusable {
    pub(super) why: Decline,
    /// What may be looked at of it.
    pub(super) shown: Bytes,
}

impl Bodies {
    /// A body, as far as it can be gathered.
    ///
    /// # Errors
    /// It came too slowly or not whole, or there was no room for it.
    pub(super) async fn gather(
        &self,
        parts: &Parts,
        peer: &Peer,
        body: Body,
    ) -> Result<Gathered, Refusal> {
        match self.begin(body)? {
            AtHand::All(gathered) => Ok(gathered),
            AtHand::Part(rest) => self.gather_rest(parts, peer, rest).await,
        }
    }

    /// What has come of a body with its head.
    ///
    /// # Errors
    /// It is cut off.
    pub(super) fn begin(&self, body: Body) -> Result<AtHand, Refusal> {
        collect::begin(body, self.bounds())
    }

    /// The rest of it, too, as far as it can be gathered.
    ///
    /// # Errors
    /// As for [`gather`](Self::gather).
    pub(super) async fn gather_rest(
        &self,
        parts: &Parts,
        peer: &Peer,
        rest: Rest,
    ) -> Result<Gathered, Refusal> {
        let whose = || {
            let caller = self.callers.identify(parts, peer);
            self.callers
                .memory_share(self.callers.identity.keys(&caller, None).principal, peer)
        };
        rest.gather(self.bounds(), whose).await
    }

    fn bounds(&self) -> Bounds<'_> {
        Bounds {
            most: self.acceptor.max_body(),
            within: self.within,
            memory: self.callers.standing.memory(),
        }
    }

    /// A body as it waits and goes on, in its caller's share of the memory.
    ///
    /// # Errors
    /// Its caller has no room for it.
    pub(super) fn keep(
        &self,
        gathered: Gathered,
        principal: Principal,
        peer: &Peer,
    ) -> Result<Body, Refusal> {
        gathered.keep(|| self.callers.memory_share(principal, peer))
    }

    /// A body without its coding, if that is quick; `None`: it isn't
    /// ([`unpack_large`](Self::unpack_large)).
    ///
    /// # Errors
    /// It can't be unpacked, or has no room.
    pub(super) fn unpack_at_once(
        &self,
        headers: &HeaderMap,
        raw: &Bytes,
        group: Option<GroupIndex>,
    ) -> Result<Option<Plain>, Unusable> {
        if !headers.contains_key(header::CONTENT_ENCODING) {
            return Ok(Some(Plain {
                body: raw.clone(),
                _room: None,
            }));
        }
        let unusable = |why, shown: &Bytes| Unusable {
            why,
            shown: shown.clone(),
        };
        match unpack_small(headers, raw, self.acceptor.max_body()) {
            Ok(Some(body)) => self
                .with_room(&body)
                .map(Some)
                .map_err(|why| unusable(why, &body)),
            Ok(None) => Ok(None),
            Err(refusal) => Err(unusable(
                self.acceptor.judge(group, Decline::Refuse(refusal)),
                raw,
            )),
        }
    }

    /// A body without its coding, which is large on one side at least. What that makes of it has
    /// room of its own. It is unpacked only for a caller that may be answered, from its beginning:
    /// what [`unpack_at_once`](Self::unpack_at_once) has begun would keep its window while it waits
    /// for a place.
    ///
    /// # Errors
    /// Its call will be forwarded, or it can't be unpacked, or has no room.
    pub(super) async fn unpack_large(
        &self,
        caller: &Caller<'_>,
        raw: &Bytes,
        (groups, refusing): (&[GroupIndex], Option<GroupIndex>),
    ) -> Result<Plain, Unusable> {
        let unusable = |why| Unusable {
            why,
            shown: raw.clone(),
        };
        let is_good = self
            .callers
            .is_good(caller, groups)
            .map_err(|why| unusable(Decline::Forward(why)))?;
        let (headers, most) = (&caller.parts().headers, self.acceptor.max_body());
        let unpacked = self.unpacker.unpack(headers, raw, (most, is_good)).await;
        let body = unpacked.map_err(|why| unusable(self.acceptor.judge(refusing, why)))?;
        self.with_room(&body).map_err(unusable)
    }

    /// What may be looked at of a body that nobody has unpacked: the body without its coding, if
    /// that is quick.
    pub(super) fn peek(&self, headers: &HeaderMap, raw: &Bytes) -> Bytes {
        unpack_small(headers, raw, self.acceptor.max_body())
            .ok()
            .flatten()
            .unwrap_or_else(|| raw.clone())
    }

    /// A body that goes on as it is, to be looked at: without its coding, as far as that can be taken
    /// off, there is room for it, and a place where it is large.
    pub(super) async fn show(&self, caller: &Caller<'_>, raw: &Bytes) -> Plain {
        let (headers, most) = (&caller.parts().headers, self.acceptor.max_body());
        let as_it_is = Plain {
            body: raw.clone(),
            _room: None,
        };
        if !headers.contains_key(header::CONTENT_ENCODING) {
            return as_it_is;
        }
        let unpacked = match unpack_small(headers, raw, most) {
            Ok(Some(body)) => Ok(body),
            Ok(None) => {
                let is_good = self.callers.is_known(caller.parts(), caller.peer());
                self.unpacker.unpack(headers, raw, (most, is_good)).await
            }
            Err(refusal) => Err(Decline::Refuse(refusal)),
        };
        let plain = unpacked.and_then(|body| self.with_room(&body));
        plain.unwrap_or(as_it_is)
    }

    /// With room for what a coding held.
    fn with_room(&self, body: &Bytes) -> Result<Plain, Decline> {
        let mut lease = self.callers.standing.memory().unnamed().lease();
        lease
            .stretch(body.len())
            .map_err(|_| Decline::Forward(Forward::NoRoom))?;
        Ok(Plain {
            body: body.clone(),
            _room: Some(lease),
        })
    }
}
