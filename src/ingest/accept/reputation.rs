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

use crate::event::{GroupIndex, Principal, ReadIndex, first_eight};
use crate::ingest::accept::shares::{Holder, NoShare, Share, Shares, Takes};
use crate::journal::refusals::{KeepRefusals, Refusal, Refusals};
use moka::ops::compute::Op;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Of the principals that are remembered, so manieth may be refused ones: anybody can make as many
/// of those as there are random tokens, and one that was forgotten costs a late rejection.
const REFUSED_PART: u64 = 8;

/// How often at most a principal's call is forwarded for the sake of its session.
const RENEWALS: Duration = Duration::from_mins(1);

/// Some `[[cache]]` routes: the first 63 of the configuration each by itself, all others as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadRoutes(u64);

impl ReadRoutes {
    /// One route.
    #[must_use]
    pub fn of(read: ReadIndex) -> Self {
        Self(1 << read.0.min(63))
    }

    /// All of both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// One of these isn't among `others`.
    #[must_use]
    pub const fn is_beyond(self, others: Self) -> bool {
        self.0 & !others.0 != 0
    }
}

/// By what a principal is known to be good in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grounds {
    /// A call of the group's own routes, or a batch.
    pub calls: bool,
    /// Reads of what its events change.
    pub reads: ReadRoutes,
}

impl Grounds {
    /// A call.
    pub const CALL: Self = Self {
        calls: true,
        reads: ReadRoutes(0),
    };

    /// A read of this route.
    #[must_use]
    pub fn read(read: ReadIndex) -> Self {
        Self {
            calls: false,
            reads: ReadRoutes::of(read),
        }
    }

    /// Both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            calls: self.calls || more.calls,
            reads: self.reads.and(more.reads),
        }
    }

    /// Whether one of them refuses strangers. `open`: routes that don't.
    #[must_use]
    pub const fn hold(self, open: ReadRoutes) -> bool {
        self.calls || self.reads.is_beyond(open)
    }
}

/// What is known of a principal in a group.
#[derive(Debug, Clone, Copy, Default)]
struct Proof {
    /// The last call that counts.
    called_at: Option<Instant>,
    /// The last read that counts, of one of these routes.
    read_at: Option<Instant>,
    reads: ReadRoutes,
}

impl Proof {
    fn grounds(&self) -> Grounds {
        Grounds {
            calls: self.called_at.is_some(),
            reads: self.reads,
        }
    }

    fn with(self, grounds: Grounds, now: Instant) -> Self {
        let reads = self.reads.and(grounds.reads);
        match grounds.calls {
            true => Self {
                called_at: Some(now),
                reads,
                ..self
            },
            false => Self {
                read_at: Some(now),
                reads,
                ..self
            },
        }
    }

    /// The last time that it was proven by what refuses strangers.
    fn last(&self, open: ReadRoutes) -> Option<Instant> {
        self.called_at
            .max(self.read_at.filter(|_| self.reads.is_beyond(open)))
    }
}

/// By what a principal was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusedBy {
    /// 401, or what counts as one: the application doesn't know who calls.
    Unauthorized,
    /// 403, which says nothing of the token: it may be of a write's CSRF pair, or of what its
    /// caller may do.
    #[default]
    Forbidden,
}

/// Where a principal is refused, by what, and until when.
#[derive(Debug, Clone)]
struct Refused {
    /// In no group of these it had a 2xx since.
    groups: Arc<BTreeSet<GroupIndex>>,
    by: RefusedBy,
    until: Instant,
}

impl Refused {
    fn is_remembered(&self) -> bool {
        Instant::now() < self.until
    }
}

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

/// A bit for each of some principals' hashes; a bit that is set says nothing for certain, one that
/// isn't does.
#[derive(Debug)]
struct Marks(Box<[AtomicU64]>);

impl Marks {
    /// 2^20 bits, 128 KiB.
    const WORDS: u64 = 1 << 14;

    fn new() -> Self {
        Self((0..Self::WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, principal: Principal) -> Option<(&AtomicU64, u64)> {
        // A keyed hash, so its first bytes serve.
        let hash = first_eight(&principal.0);
        let word = usize::try_from((hash >> 6) % Self::WORDS).ok()?;
        Some((self.0.get(word)?, 1 << (hash & 63)))
    }

    fn set(&self, principal: Principal) {
        if let Some((word, bit)) = self.place(principal) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    fn has(&self, principal: Principal) -> bool {
        self.place(principal)
            .is_none_or(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
    }
}

/// What is known of principals; every map is capped, the least used are forgotten first: a
/// forgotten refusal costs one more late rejection, a forgotten proof one more forwarded call.
#[derive(Debug)]
pub struct Reputation {
    refused: moka::sync::Cache<Principal, Refused>,
    /// Which principals may be in there: most calls need no look.
    ever_refused: Marks,
    /// All groups.
    everywhere: Arc<BTreeSet<GroupIndex>>,
    proofs: moka::sync::Cache<(Principal, GroupIndex), Proof>,
    /// `admit = "proven"`: how long a proof lets calls in.
    proof: Option<Duration>,
    /// Groups whose routes took a caller without a name.
    open: Vec<AtomicBool>,
    /// Read routes that answered strangers, as [`ReadRoutes`].
    open_reads: AtomicU64,
    /// A delivery's answer renewed a cookie of these: their next call is to be forwarded.
    to_renew: moka::sync::Cache<Principal, ()>,
    /// There was one: else nothing is looked up.
    any_to_renew: AtomicBool,
    /// Whose calls were forwarded for their sessions lately.
    renewed: moka::sync::Cache<Principal, Instant>,
    refresh: Option<Duration>,
    /// How long a refusal is remembered.
    refusal: Duration,
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
            refused: moka::sync::Cache::builder()
                .max_capacity((most / REFUSED_PART).max(1))
                .time_to_live(refusal)
                .build(),
            ever_refused: Marks::new(),
            proofs: moka::sync::Cache::builder()
                .max_capacity(most)
                .time_to_idle(refusal)
                .build(),
            everywhere: Arc::new((0..groups).map(GroupIndex).collect()),
            proof,
            open: (0..groups).map(|_| AtomicBool::new(false)).collect(),
            open_reads: AtomicU64::new(0),
            to_renew: moka::sync::Cache::builder()
                .max_capacity(most)
                .time_to_live(refusal)
                .build(),
            any_to_renew: AtomicBool::new(false),
            renewed: moka::sync::Cache::builder().max_capacity(most).build(),
            refresh,
            refusal,
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
        let groups = self
            .everywhere
            .iter()
            .filter(|group| !refusal.lifted.contains(group))
            .copied()
            .collect();
        let by = if refusal.is_unknown {
            RefusedBy::Unauthorized
        } else {
            RefusedBy::Forbidden
        };
        let until = Instant::now() + refusal.life.min(self.refusal);
        self.ever_refused.set(principal);
        self.refused.insert(
            principal,
            Refused {
                groups: Arc::new(groups),
                by,
                until,
            },
        );
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
        // ORDER: the mark first, so that whoever finds none finds nothing else either.
        self.ever_refused.set(principal);
        self.refused.insert(
            principal,
            Refused {
                groups: Arc::clone(&self.everywhere),
                by,
                until: self.until(),
            },
        );
        for group in 0..self.open.len() {
            self.proofs.invalidate(&(principal, GroupIndex(group)));
        }
        self.reconsider(principal);
        self.keep_refusal(principal)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.refusal
    }

    /// Refused in no group yet.
    fn refused_nowhere(&self) -> Refused {
        Refused {
            groups: Arc::default(),
            by: RefusedBy::default(),
            until: self.until(),
        }
    }

    /// What this principal has in this group is held by a refusal, which may have been forgotten
    /// since.
    pub(in crate::ingest) fn refuse_again(&self, principal: Principal, group: GroupIndex) {
        if self.is_refused_in(principal, group) {
            return;
        }
        self.ever_refused.set(principal);
        self.refused.entry(principal).and_upsert_with(|before| {
            let before = before
                .map(moka::Entry::into_value)
                .filter(Refused::is_remembered);
            let mut refused = before.unwrap_or_else(|| self.refused_nowhere());
            Arc::make_mut(&mut refused.groups).insert(group);
            Refused {
                until: self.until(),
                ..refused
            }
        });
        self.reconsider(principal);
        self.keep_refusal(principal);
    }

    /// As if its refusal had been pushed out by others'.
    #[cfg(test)]
    pub(in crate::ingest) fn forget(&self, principal: Principal) {
        self.refused.invalidate(&principal);
    }

    /// A success lifts the refusal where it was given. `true`: there was one.
    fn lift_refusal(&self, principal: Principal, group: GroupIndex) -> bool {
        if !self.is_refused_in(principal, group) {
            return false;
        }
        self.refused.entry(principal).and_compute_with(|before| {
            let mut refused =
                before.map_or_else(|| self.refused_nowhere(), moka::Entry::into_value);
            Arc::make_mut(&mut refused.groups).remove(&group);
            if refused.groups.is_empty() {
                Op::Remove
            } else {
                Op::Put(refused)
            }
        });
        true
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
        let was_refused = self.lift_refusal(principal, group);
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
        self.refusal_of(principal)
            .is_some_and(|refused| self.is_everywhere(&refused))
    }

    /// It is refused, and by what says that the application doesn't know who calls.
    #[must_use]
    pub fn is_unknown(&self, principal: Principal) -> bool {
        let is_unknown = |refused: Refused| {
            refused.by == RefusedBy::Unauthorized && self.is_everywhere(&refused)
        };
        self.refusal_of(principal).is_some_and(is_unknown)
    }

    fn refusal_of(&self, principal: Principal) -> Option<Refused> {
        if !self.ever_refused.has(principal) {
            return None;
        }
        self.refused.get(&principal).filter(Refused::is_remembered)
    }

    fn is_everywhere(&self, refused: &Refused) -> bool {
        refused.groups.len() == self.everywhere.len()
    }

    /// Its last call or batch was refused, and none was taken in this group since.
    #[must_use]
    pub fn is_refused_in(&self, principal: Principal, group: GroupIndex) -> bool {
        self.refusal_of(principal)
            .is_some_and(|refused| refused.groups.contains(&group))
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
        self.to_renew.insert(principal, ());
        self.any_to_renew.store(true, Ordering::Relaxed);
    }

    /// The browser of this principal has seen an answer that renewed a cookie: for a minute nothing
    /// is asked for.
    pub(in crate::ingest) fn note_renewal(&self, principal: Principal) {
        self.renewed.insert(principal, Instant::now());
        if self.any_to_renew.load(Ordering::Relaxed) {
            self.to_renew.invalidate(&principal);
        }
    }

    /// Whether this call is to be forwarded, so that its session lives (ruling 24); at most one a
    /// minute says yes.
    #[must_use]
    pub fn wants_renewal(&self, principal: Principal) -> bool {
        let asked =
            self.any_to_renew.load(Ordering::Relaxed) && self.to_renew.contains_key(&principal);
        if !asked && self.refresh.is_none() {
            return false;
        }
        let since = self.renewed.get(&principal).map(|at| at.elapsed());
        let due = match (since, self.refresh) {
            (None, None) => asked,
            // The session has just begun.
            (None, Some(_)) => {
                self.renewed.insert(principal, Instant::now());
                return false;
            }
            (Some(since), refresh) => {
                asked && since >= RENEWALS || refresh.is_some_and(|every| since >= every)
            }
        };
        if due {
            self.renewed.insert(principal, Instant::now());
            self.to_renew.invalidate(&principal);
        }
        due
    }
}

impl Refusals for Reputation {
    fn refusal_of(&self, principal: Principal) -> Option<Refusal> {
        let Refused { groups, by, until } = Self::refusal_of(self, principal)?;
        let lifted = self.everywhere.difference(&groups).copied().collect();
        let life = until.saturating_duration_since(Instant::now());
        Some(Refusal {
            is_unknown: by == RefusedBy::Unauthorized,
            lifted,
            life,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::accept::shares::Bounds;

    const ADA: Principal = Principal([1; 16]);
    const NOBODY: Principal = Principal([2; 16]);
    const HERE: GroupIndex = GroupIndex(0);
    const THERE: GroupIndex = GroupIndex(1);

    fn shares() -> Arc<Shares> {
        Arc::new(Shares::new(Bounds {
            shards: 1,
            lanes: 100,
            bytes: 100,
            listeners: 100,
            user_events: 100,
        }))
    }

    #[test]
    fn a_proof_holds_where_it_was_given_until_a_refusal() {
        let known = Reputation::new(
            2,
            Some(Duration::from_secs(60)),
            Duration::from_secs(60),
            None,
            100,
            shares(),
        );
        assert!(!known.is_proven(ADA, HERE));
        assert_eq!(
            known.vouch(ADA, false, HERE),
            Vouched {
                was_refused: false,
                is_news: true,
                opens: false
            }
        );
        assert!(known.is_proven(ADA, HERE) && known.is_good(ADA, HERE));
        assert!(!known.is_proven(ADA, THERE) && !known.is_good(ADA, THERE));
        known.refuse(ADA, RefusedBy::Unauthorized);
        assert!(known.is_refused(ADA) && !known.is_proven(ADA, HERE) && !known.is_good(ADA, HERE));
        assert_eq!(
            known.vouch(ADA, false, HERE),
            Vouched {
                was_refused: true,
                is_news: true,
                opens: false
            }
        );
    }

    #[test]
    fn where_strangers_are_taken_a_success_proves_nothing_of_a_name() {
        let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
        known.vouch(ADA, false, HERE);
        assert!(known.is_good(ADA, HERE));
        assert!(
            known.vouch(NOBODY, true, HERE).opens && !known.vouch(NOBODY, true, HERE).opens,
            "once"
        );
        assert!(
            !known.is_good(ADA, HERE) && !known.is_good_anywhere(ADA),
            "anybody is taken there"
        );
    }

    #[test]
    fn what_a_read_proved_holds_for_its_group_until_the_read_answers_a_stranger() {
        let known = Reputation::new(
            2,
            Some(Duration::from_secs(60)),
            Duration::from_secs(60),
            None,
            100,
            shares(),
        );
        let [strict, other] = [ReadIndex(0), ReadIndex(1)];
        assert!(known.vouch_by_read(ADA, strict, HERE) && !known.vouch_by_read(ADA, strict, HERE));
        assert!(
            known.is_good(ADA, HERE) && known.is_proven(ADA, HERE) && known.is_good_anywhere(ADA)
        );
        assert!(!known.is_good(ADA, THERE) && !known.is_proven(ADA, THERE));
        assert!(known.open_read(other) && !known.open_read(other));
        assert!(
            !known.vouch_by_read(ADA, other, THERE) && !known.is_good(ADA, THERE),
            "it is open"
        );
        assert!(known.is_good(ADA, HERE), "another route is open");
        known.open_read(strict);
        assert!(
            !known.is_good(ADA, HERE) && !known.is_proven(ADA, HERE) && !known.was_taken(ADA, HERE)
        );
        assert!(!known.is_good_anywhere(ADA));
        known.vouch(ADA, false, HERE);
        assert!(known.is_good(ADA, HERE), "a call of the group's own");
    }

    #[test]
    fn a_refusal_holds_in_each_group_until_a_success_there() {
        let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
        known.refuse(ADA, RefusedBy::Unauthorized);
        assert!(known.vouch(ADA, false, HERE).was_refused);
        assert!(!known.is_refused_in(ADA, HERE) && known.is_good(ADA, HERE));
        assert!(
            known.is_refused_in(ADA, THERE),
            "a success elsewhere says nothing of it"
        );
        assert!(!known.vouch_by_read(ADA, ReadIndex(0), THERE) && !known.is_good(ADA, THERE));
        assert!(!known.is_refused(ADA), "something of it was taken");
        assert!(known.vouch(ADA, false, THERE).was_refused && !known.is_refused_in(ADA, THERE));
        known.refuse_again(ADA, THERE);
        assert!(
            known.is_refused_in(ADA, THERE)
                && !known.is_refused_in(ADA, HERE)
                && !known.is_good(ADA, THERE)
        );
        assert!(known.vouch(ADA, false, THERE).was_refused && known.is_good(ADA, THERE));
    }

    #[test]
    fn the_application_does_not_know_who_was_refused_by_401_last_and_nowhere_taken_since() {
        let known = Reputation::new(2, None, Duration::from_secs(60), None, 100, shares());
        known.refuse(ADA, RefusedBy::Forbidden);
        assert!(known.is_refused(ADA) && !known.is_unknown(ADA));
        known.refuse(ADA, RefusedBy::Unauthorized);
        assert!(known.is_refused(ADA) && known.is_unknown(ADA));
        known.vouch(ADA, false, HERE);
        assert!(!known.is_unknown(ADA) && !known.is_unknown(NOBODY));
        known.refuse_again(ADA, HERE);
        assert!(known.is_unknown(ADA), "as it was");
    }

    #[test]
    fn a_read_makes_nobody_good_who_is_refused() {
        let known = Reputation::new(1, None, Duration::from_secs(60), None, 100, shares());
        known.refuse(ADA, RefusedBy::Unauthorized);
        assert!(!known.vouch_by_read(ADA, ReadIndex(0), HERE));
        assert!(known.is_refused(ADA) && !known.is_good(ADA, HERE));
    }

    #[test]
    fn of_many_read_routes_those_beyond_the_places_count_as_one() {
        let known = Reputation::new(1, None, Duration::from_secs(60), None, 100, shares());
        known.vouch_by_read(ADA, ReadIndex(70), HERE);
        known.open_read(ReadIndex(3));
        assert!(known.is_good(ADA, HERE));
        known.open_read(ReadIndex(99));
        assert!(!known.is_good(ADA, HERE) && known.is_open_read(ReadIndex(70)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_renewed_when_an_answer_asks_for_it_once_a_minute() {
        let known = Reputation::new(1, None, Duration::from_hours(1), None, 100, shares());
        assert!(!known.wants_renewal(ADA));
        known.ask_renewal(ADA);
        assert!(known.wants_renewal(ADA) && !known.wants_renewal(ADA));
        known.ask_renewal(ADA);
        assert!(!known.wants_renewal(ADA));
        tokio::time::advance(RENEWALS).await;
        assert!(known.wants_renewal(ADA));
    }
}
