//! The barrier: a read waits for its own user's pending events, and for those of the user's other
//! principals once it is known to be good (ruling 17).

use super::Read;
use super::answer;
use super::ask::{Ask, Bypass, Reader};
use super::relay::{Relayed, is_shown};
use crate::body::Body;
use crate::event::GroupIndex;
use crate::ingest::{Asker, Settled};
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::upstream::UpstreamError;
use http::{Request, Response};
use tokio::time::Instant;

/// The reader's own events are pending, and seal nothing: nothing speaks for the reader (ruling
/// 17).
const PENDING: Bypass = "pending";

impl Read {
    /// Shows the observer that a read goes after its reader's own events.
    pub(super) fn show_wait(&self, reader: &Reader) {
        let Reader { asker, groups, .. } = reader;
        if !self.lanes.are_observed(groups) || !self.speaks(reader) {
            return;
        }
        let all_own = reader.writes_for_others.then(|| all_own(asker));
        let own = (!reader.writes_for_others || asker.joins).then_some(asker);
        for asker in all_own.iter().chain(own) {
            self.lanes.show_wait(asker, groups);
        }
    }

    /// It is known who reads, and nothing speaks against it (ruling 17).
    fn speaks(&self, reader: &Reader) -> bool {
        let keys = &reader.keys;
        !keys.nameless && !self.callers.reputation().is_refused(keys.principal)
    }

    /// Step 1 of the read path: afterwards nothing that the reader's own user has had acknowledged
    /// is pending on the tags.
    pub(super) async fn wait_for_own_events(
        &self,
        route: &CacheRoute,
        reader: &Reader,
    ) -> Result<(), Bypass> {
        let Reader {
            asker,
            tags,
            is_untold,
            waiting,
            groups,
            writes_for_others,
            ..
        } = reader;
        let speaks = self.speaks(reader);
        let own_pending = self.tags.own_pending(tags, *waiting);
        // The count may be of others whose places are the same, of whom there may be any number: so
        // the lanes say whether it is true.
        if !speaks && own_pending && self.lanes.have_any(&all_own(asker), groups) {
            return Err(PENDING);
        }
        let own = speaks && (*is_untold || own_pending);
        let joined = asker.joins && self.tags.user_pending(tags, *waiting);
        let until = Instant::now() + route.barrier;
        if own && *writes_for_others {
            self.wait_for_lanes(&all_own(asker), groups, until).await?;
        }
        if joined || own && !writes_for_others {
            self.wait_for_lanes(asker, groups, until).await?;
        }
        Ok(())
    }

    async fn wait_for_lanes(
        &self,
        asker: &Asker,
        groups: &[GroupIndex],
        until: Instant,
    ) -> Result<(), Bypass> {
        let within = until.saturating_duration_since(Instant::now());
        match self.lanes.barrier(asker, groups, within).await {
            Settled::Yes => Ok(()),
            Settled::TimedOut => Err("barrier-timeout"),
        }
    }

    /// Step 2 of the read path: whether other principals of the reader's user have something
    /// pending that the reader may not wait for yet. Where every group takes strangers it may
    /// never, whatever it is answered: no proof would come of asking.
    pub(super) fn is_to_be_proven(&self, ask: &Ask) -> bool {
        let reputation = self.callers.reputation();
        !ask.reader.asker.joins
            && self.tags.user_pending(&ask.reader.tags, ask.reader.waiting)
            && !reputation.is_refused(ask.reader.keys.principal)
            && !ask
                .reader
                .groups
                .iter()
                .all(|group| reputation.is_open(*group))
    }

    /// Lets the application judge a reader of which nothing is known. `None`: it is known to be
    /// good now.
    pub(super) async fn prove(
        &self,
        first: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &mut Ask,
    ) -> Result<Option<Response<Body>>, UpstreamError> {
        let response = self
            .ask_for(first, peer, (route, &ask.reader), Relayed::Proof)
            .await?;
        if is_shown(response.status()) {
            self.speak_for(route, ask);
            let good = |group: &GroupIndex| {
                self.callers
                    .reputation()
                    .is_good(ask.reader.keys.principal, *group)
            };
            ask.reader.asker.joins = ask.reader.groups.iter().any(good);
        }
        if ask.reader.asker.joins {
            return Ok(None);
        }
        Ok(Some(answer::with_status(
            response,
            "tidegate; fwd=bypass; detail=unproven",
        )))
    }

    /// The application answered a read of this principal. What it shows to all callers alike says
    /// nothing of who asks (ruling 17).
    pub(super) fn speak_for(&self, route: &CacheRoute, ask: &Ask) {
        let Reader { keys, proves, .. } = &ask.reader;
        let is_own = ask.key.view.is_some();
        if is_own && !keys.nameless {
            self.callers
                .vouch_by_read(keys.principal, route.index, proves);
        }
    }
}

/// All lanes of the reader's principal, under whatever users.
fn all_own(asker: &Asker) -> Asker {
    Asker {
        user: None,
        joins: false,
        ..asker.clone()
    }
}
