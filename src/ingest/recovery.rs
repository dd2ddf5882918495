//! A start on a journal that holds something: what was seen, what died, what is pending, in that
//! order.

use super::spread::Spread;
use crate::clock::{Clock, millis};
use crate::event::{GroupIndex, Outcome, Principal, Reason};
use crate::ingest::accept::admit::{Admitted, Admitter};
use crate::ingest::accept::contexts::Contexts;
use crate::ingest::accept::reputation::{Grounds, Reputation};
use crate::ingest::accept::seen::SeenKey;
use crate::ingest::accept::shares::{Address, Holder};
use crate::ingest::lanes::shard::Shard;
use crate::ingest::outcome::dead::{DeadLetter, DeadLetters};
use crate::ingest::settings::Group;
use crate::journal::recover::{Opened, Placement, Stored, StoredLetter};
use crate::journal::refusals::Refusals;
use crate::journal::settings::JournalSettings;
use crate::journal::tail::Tails;
use crate::journal::{Journal, Memory};
use crate::metrics::Ledger;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Brings back what a durable journal holds.
pub(super) struct Recovery<'a> {
    /// Seen ids, tags, ledger.
    pub(super) admitter: &'a Arc<Admitter>,
    /// The dead letters.
    pub(super) dead: &'a Arc<DeadLetters>,
    /// The groups.
    pub(super) groups: &'a [Group],
    /// Their names.
    pub(super) names: &'a [Arc<str>],
    /// The contexts in use.
    pub(super) contexts: &'a Contexts,
    /// What callers hold, and who was refused; nothing speaks for any of them yet.
    pub(super) reputation: &'a Arc<Reputation>,
    /// Which shard each user's events go to.
    pub(super) spread: &'a Spread,
    /// The shards.
    pub(super) shards: &'a [Arc<Shard>],
    /// Whose order the shards have been told of.
    pub(super) told: RefCell<HashSet<(Principal, GroupIndex)>>,
    /// Wall clock.
    pub(super) clock: &'a Clock,
}

impl Recovery<'_> {
    /// Seen ids, successors of sessions, refusals, dead letters, the ledger, and every pending
    /// event into its shard's tail.
    ///
    /// # Errors
    /// The journal's thread can't be started.
    pub(super) fn run(
        &self,
        mut opened: Opened,
        settings: &JournalSettings,
        memory: Memory,
        tails: Tails<Admitted>,
    ) -> std::io::Result<Journal<Admitted>> {
        let (now, wall) = (Instant::now(), millis(self.clock.now()));
        opened.share_contexts(|context| self.contexts.adopt(context));
        opened.order_settled(memory.max_seen);
        for (seen, until) in opened.settled() {
            let left = until.saturating_sub(wall);
            if left > 0 {
                self.admitter
                    .seen
                    .end(SeenKey(*seen), Some(Duration::from_millis(left)), now);
            }
        }
        opened
            .successors()
            .all()
            .for_each(|succession| self.admitter.identity.restore(succession));
        // ORDER: before any event is placed, so that none of a refused caller goes under a
        // service's credential (P3).
        opened
            .refusals(self.names)
            .for_each(|(principal, refusal)| self.reputation.restore_refusal(principal, &refusal));
        opened.ask_refusals(Arc::clone(self.reputation) as Arc<dyn Refusals>, self.names);
        let sums = opened.sums();
        for letter in opened.letters(self.names) {
            let StoredLetter {
                stored,
                reason,
                attempts,
                status,
                died_ms,
                answer,
            } = letter;
            let Stored {
                seq: key,
                group,
                event,
                seen,
                has_credential,
                ..
            } = stored;
            let reason = reason.into();
            let lost = !has_credential;
            let gone = self.dead.bury(DeadLetter {
                key,
                group,
                event,
                seen,
                reason,
                attempts,
                status,
                died_ms,
                lost,
                answer,
            });
            opened.forget_letters(&gone);
        }
        self.dead.restore(sums.dropped);
        let books = &self.admitter.metrics.ledgers;
        books.restore(Ledger {
            received: sums.accepted + sums.duplicate + sums.superseded + sums.dead,
            accepted: sums.accepted,
            duplicate: sums.duplicate,
            superseded: sums.superseded,
            dead: sums.dead,
            pending: 0,
        });
        opened.start(
            settings,
            self.names,
            tails,
            (memory, self.clock.clone()),
            |stored| self.place(stored),
        )
    }

    /// Ruling 15: a principal that was good when its event was kept keeps one order with others of
    /// its user, as it did before. It is not proven anew by that.
    fn tell_whether_good(&self, shard: usize, stored: &Stored) {
        let (principal, group) = (stored.event.owner().principal, stored.event.lane.group);
        if stored.good
            && !self.reputation.is_refused_in(principal, group)
            && self.told.borrow_mut().insert((principal, group))
            && let Some(shard) = self.shards.get(shard)
        {
            shard.vouch(principal, &[group], Grounds::CALL);
        }
    }

    fn place(&self, stored: &Stored) -> Placement<Admitted> {
        let group = self.groups.get(stored.event.lane.group.0);
        let keep = group.map_or(Duration::ZERO, |group| group.max_age);
        let shard = self.spread.shard_of(&stored.event.lane.user);
        let holder = Holder {
            principal: stored.event.owner().principal,
            address: Address::of_event(&stored.event),
        };
        let share = self.reputation.adopt_share(
            holder,
            self.reputation.shares().of_event(shard, &stored.event),
        );
        let admitted = self
            .admitter
            .readmit(stored.seen, &stored.event, keep, share);
        let reason = match (group, stored.has_credential) {
            (Some(_), true) => {
                // ORDER: before the event is in its lane, or one of its user's other lanes might go
                // first.
                self.tell_whether_good(shard, stored);
                return Placement::Tail(shard, admitted);
            }
            (None, _) => Reason::GroupRemoved,
            (Some(_), false) => Reason::CredentialLost,
        };
        tracing::warn!(
            group = %stored.group, id = stored.event.id(), reason = reason.as_str(), "event became a dead letter"
        );
        Admitted::settle_all(vec![(admitted, Outcome::Dead(reason))]);
        let letter = DeadLetter {
            key: stored.seq,
            group: Arc::clone(&stored.group),
            event: stored.event.clone(),
            seen: stored.seen,
            reason: reason.as_str().into(),
            attempts: 0,
            status: 0,
            died_ms: millis(self.clock.now()),
            lost: !stored.has_credential,
            answer: None,
        };
        let bytes = letter.stored();
        Placement::Dead(reason, bytes, self.dead.bury(letter))
    }
}
