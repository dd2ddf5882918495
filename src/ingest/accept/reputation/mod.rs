//! What is known of principals: who was refused, who was taken and where, and where strangers are
//! taken (rulings 15 to 17).
//!
//! A refused principal's next calls go to the application until one succeeds (design §5), in each
//! group by itself: a refusal is believed everywhere, a success where it was given. A proof is a
//! 2xx, and holds for the group that it was given in: by a call of the group's own routes, or by a
//! read of what its events change. Where a caller without a name was taken too, a proof says
//! nothing of who calls, and joins no two principals to one user. A read route is open likewise
//! once it has answered a stranger, who has no name or was refused by 401: what it has proven holds
//! no longer, and what calls have proven does. Who was refused by 403 is no stranger: any user can
//! meet one.
//!
//! | file | holds |
//! |---|---|
//! | `grounds` | by what a principal is known to be good, and since when |
//! | `refused` | who was refused, by what, in which groups and until when |
//! | `renewals` | whose next call is forwarded for its session |

mod grounds;
mod refused;
mod renewals;

pub use grounds::{Grounds, ReadRoutes};
pub use refused::RefusedBy;

use crate::event::{GroupIndex, Principal, ReadIndex};
use crate::ingest::accept::shares::{Holder, NoShare, Share, Shares, Takes};
use crate::journal::refusals::{KeepRefusals, Refusal, Refusals};
use crate::keyed::{AsItIsBuilder, recently_used};
use grounds::Proof;
use refused::RefusedPrincipals;
use renewals::Renewals;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// A success, as far as it changed what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vouched {
    /// It was refused here before.
    pub was_refused: bool,
    /// It was not known to be good here.
    pub is_news: bool,
    /// It is the first caller without a name that was taken here: from now on strangers are known
    /// to be.
    pub opens: bool,
}

/// What is known of principals; every map is capped, and what was used least recently is forgotten
/// first: a forgotten refusal costs one more late rejection, a forgotten proof one more forwarded
/// call.
#[derive(Debug)]
pub struct Reputation {
    refused: RefusedPrincipals,
    proofs: moka::sync::Cache<(Principal, GroupIndex), Proof, AsItIsBuilder>,
    /// `admit = "proven"`: how long a proof lets calls in.
    proof: Option<Duration>,
    /// Groups whose routes took a caller without a name.
    open: Vec<AtomicBool>,
    /// Read routes that answered strangers, as [`ReadRoutes`].
    open_reads: AtomicU64,
    renewals: Renewals,
    /// Keeps refusals for the next start.
    keeper: OnceLock<Weak<dyn KeepRefusals>>,
    /// Told of every change.
    shares: Arc<Shares>,
}

impl Reputation {
    /// `groups`: how many there are. `proof`: how long a proof lasts; `None`: every principal is
    /// let in until it is refused. `refusal`: how long a refusal is remembered if nothing succeeds.
    /// `refresh`: so often one call of a principal is forwarded for its session. Each map is capped
    /// at `most`. `shares` go by what is known here.
    #[must_use]
    pub(crate) fn new(
        groups: usize,
        proof: Option<Duration>,
        refusal: Duration,
        refresh: Option<Duration>,
        most: u64,
        shares: Arc<Shares>,
    ) -> Self {
        Self {
            refused: RefusedPrincipals::new(groups, refusal, most),
            proofs: recently_used(most)
                .time_to_idle(refusal)
                .build_with_hasher(AsItIsBuilder::default()),
            proof,
            open: (0..groups).map(|_| AtomicBool::new(false)).collect(),
            open_reads: AtomicU64::new(0),
            renewals: Renewals::new(refresh, refusal, most),
            keeper: OnceLock::new(),
            shares,
        }
    }

    /// From here on every change of a refusal is kept there.
    pub(in crate::ingest) fn keep_refusals_in(&self, keeper: Weak<dyn KeepRefusals>) {
        if self.keeper.set(keeper).is_err() {
            tracing::error!("refusals are kept elsewhere already");
        }
    }

    /// What an earlier process has heard of this principal.
    pub(in crate::ingest) fn restore_refusal(&self, principal: Principal, refusal: &Refusal) {
        self.refused.restore(principal, refusal);
        self.reconsider(principal);
    }

    // ORDER: after every change of what is refused. `true`: the journal has something to write.
    fn keep_refusal(&self, principal: Principal) -> bool {
        self.keeper
            .get()
            .and_then(Weak::upgrade)
            .is_some_and(|keeper| keeper.keep_refusal(principal))
    }

    /// A call of this principal met 401 or 403. `true`: the journal has yet to write that.
    pub(in crate::ingest) fn refuse(&self, principal: Principal, by: RefusedBy) -> bool {
        self.refused.refuse(principal, by);
        for group in 0..self.open.len() {
            self.proofs.invalidate(&(principal, GroupIndex(group)));
        }
        self.reconsider(principal);
        self.keep_refusal(principal)
    }

    /// What this principal has in this group is held by a refusal, which may have been forgotten
    /// since.
    pub(in crate::ingest) fn refuse_again(&self, principal: Principal, group: GroupIndex) {
        if self.is_refused_in(principal, group) {
            return;
        }
        self.refused.refuse_in(principal, group);
        self.reconsider(principal);
        self.keep_refusal(principal);
    }

    /// What its maps have put off is done.
    #[cfg(test)]
    fn settle_maps(&self) {
        self.refused.settle();
        self.proofs.run_pending_tasks();
        self.renewals.settle();
    }

    /// As if its refusal had been pushed out by others'.
    #[cfg(test)]
    pub(in crate::ingest) fn forget(&self, principal: Principal) {
        self.refused.forget(principal);
    }

    /// A call of this principal was taken in a group. `nameless`: no token, session or key was
    /// there.
    pub(in crate::ingest) fn vouch(
        &self,
        principal: Principal,
        nameless: bool,
        group: GroupIndex,
    ) -> Vouched {
        let open = self.open.get(group.0).filter(|_| nameless);
        let opens = open.is_some_and(|open| !open.swap(true, Ordering::Relaxed));
        let was_refused = self.refused.lift(principal, group);
        let is_news = self.note_proof(principal, group, Grounds::CALL);
        if was_refused {
            self.reconsider(principal);
            self.keep_refusal(principal);
        }
        Vouched {
            was_refused,
            is_news,
            opens,
        }
    }

    /// A read of what this group's events change was answered to this principal, which has a name;
    /// `true`: that is news. What is refused stays so, until a call of its own is taken.
    pub(in crate::ingest) fn vouch_by_read(
        &self,
        principal: Principal,
        read: ReadIndex,
        group: GroupIndex,
    ) -> bool {
        !self.is_open_read(read)
            && !self.is_refused_in(principal, group)
            && self.note_proof(principal, group, Grounds::read(read))
    }

    /// `true`: it was not known by these grounds.
    fn note_proof(&self, principal: Principal, group: GroupIndex, grounds: Grounds) -> bool {
        let before = self.proofs.get(&(principal, group)).unwrap_or_default();
        let is_news = before.grounds().and(grounds) != before.grounds();
        let last = if grounds.calls {
            before.called_at
        } else {
            before.read_at
        };
        // Written anew now and then only: it is read at every call of `admit = "proven"`.
        let lasts = self.proof.unwrap_or(Duration::from_hours(1));
        if is_news || last.is_none_or(|at| at.elapsed() >= lasts / 4) {
            self.proofs
                .insert((principal, group), before.with(grounds, Instant::now()));
        }
        if is_news {
            self.reconsider(principal);
        }
        is_news
    }

    /// A read route answered a stranger: it proves nothing from now on, and what it has proven
    /// holds no longer. `true`: that is news.
    pub(in crate::ingest) fn open_read(&self, read: ReadIndex) -> bool {
        let ReadRoutes(bit) = ReadRoutes::of(read);
        self.open_reads.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Whether it answered a stranger.
    #[must_use]
    pub fn is_open_read(&self, read: ReadIndex) -> bool {
        !ReadRoutes::of(read).is_beyond(self.open_reads())
    }

    fn open_reads(&self) -> ReadRoutes {
        ReadRoutes(self.open_reads.load(Ordering::Relaxed))
    }

    // ORDER: after every change of what `is_good_anywhere` looks at.
    fn reconsider(&self, principal: Principal) {
        self.shares
            .reconsider(principal, || self.is_good_anywhere(principal));
    }

    /// A share of the bounds for a caller.
    ///
    /// # Errors
    /// There is none for this caller; nothing was taken.
    pub(in crate::ingest) fn take_share(
        &self,
        holder: Holder,
        takes: Takes,
    ) -> Result<Share, NoShare> {
        self.shares
            .take(holder, takes, || self.is_good_anywhere(holder.principal))
    }

    /// A share for what is there already.
    #[must_use]
    pub(crate) fn adopt_share(&self, holder: Holder, takes: Takes) -> Share {
        self.shares
            .adopt(holder, takes, || self.is_good_anywhere(holder.principal))
    }

    /// What callers hold.
    #[must_use]
    pub const fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Its last call or batch was refused, and none was taken since, in no group.
    #[must_use]
    pub fn is_refused(&self, principal: Principal) -> bool {
        self.refused.is_everywhere(principal)
    }

    /// It is refused, and by what says that the application doesn't know who calls.
    #[must_use]
    pub fn is_unknown(&self, principal: Principal) -> bool {
        self.refused.is_unknown(principal)
    }

    /// Its last call or batch was refused, and none was taken in this group since.
    #[must_use]
    pub fn is_refused_in(&self, principal: Principal, group: GroupIndex) -> bool {
        self.refused.is_in(principal, group)
    }

    /// It may be acknowledged in this group without asking.
    #[must_use]
    pub fn is_proven(&self, principal: Principal, group: GroupIndex) -> bool {
        let Some(lasts) = self.proof else { return true };
        let last = self
            .proofs
            .get(&(principal, group))
            .and_then(|proof| proof.last(self.open_reads()));
        last.is_some_and(|at| at.elapsed() < lasts)
    }

    /// Whether this group took a caller without a name: no claim is proven in it.
    #[must_use]
    pub fn is_open(&self, group: GroupIndex) -> bool {
        self.open
            .get(group.0)
            .is_none_or(|open| open.load(Ordering::Relaxed))
    }

    /// It had a 2xx in this group and no refusal since, and the group refuses strangers: its claims
    /// are true.
    #[must_use]
    pub fn is_good(&self, principal: Principal, group: GroupIndex) -> bool {
        !self.is_open(group) && self.was_taken(principal, group)
    }

    /// It is good by calls or batches of the group itself: no read that turns out to answer strangers
    /// takes that away.
    #[must_use]
    pub fn is_good_by_calls(&self, principal: Principal, group: GroupIndex) -> bool {
        let proof = self.proofs.get(&(principal, group));
        !self.is_open(group)
            && proof.is_some_and(|proof| proof.grounds().calls)
            && !self.is_refused_in(principal, group)
    }

    /// It had a 2xx in this group and no refusal since: what it meets says something of the group
    /// (ruling 15).
    #[must_use]
    pub fn was_taken(&self, principal: Principal, group: GroupIndex) -> bool {
        let proof = self.proofs.get(&(principal, group));
        proof.is_some_and(|proof| proof.grounds().hold(self.open_reads()))
            && !self.is_refused_in(principal, group)
    }

    /// It is good in some group.
    #[must_use]
    pub fn is_good_anywhere(&self, principal: Principal) -> bool {
        (0..self.open.len()).any(|group| self.is_good(principal, GroupIndex(group)))
    }

    /// A delivery's answer renewed a cookie of this principal, and its browser didn't see it.
    pub(in crate::ingest) fn ask_renewal(&self, principal: Principal) {
        self.renewals.ask(principal);
    }

    /// The browser of this principal has seen an answer that renewed a cookie: for a minute nothing
    /// is asked for.
    pub(in crate::ingest) fn note_renewal(&self, principal: Principal) {
        self.renewals.note(principal);
    }

    /// Whether this call is to be forwarded, so that its session lives (ruling 24); at most one a
    /// minute says yes.
    #[must_use]
    pub fn wants_renewal(&self, principal: Principal) -> bool {
        self.renewals.is_wanted(principal)
    }
}

impl Refusals for Reputation {
    fn refusal_of(&self, principal: Principal) -> Option<Refusal> {
        self.refused.to_keep(principal)
    }
}

#[cfg(test)]
mod tests;
