//! Dead letters that get another chance.

use super::dead::{DeadLetter, Selection};
use super::new_credential::NewCredential;
use crate::event::{Carried, Context, Event, GroupIndex, Principal, Realm, Reason, Tag, TokenLife};
use crate::identity::keys;
use crate::ingest::Operations;
use crate::ingest::accept::shares::{Address, Holder};
use crate::ingest::delivery::contract;
use crate::journal::More;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Pace of a replay.
pub const REPLAYS_PER_SECOND: u32 = 50;

/// What became of dead letters that were to be replayed.
#[derive(Debug, Default, serde::Serialize)]
pub struct Replayed {
    /// Ids of those that are pending again.
    pub replayed: Vec<String>,
    /// Ids of those that are still dead, each with the reason.
    pub kept: Vec<(String, String)>,
}

/// Letters of so many users were to be replayed with one new credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the letters are of {0} users, and a new credential is one user's; name letters of one")]
pub struct SeveralUsers(usize);

/// Whose letter it is (ruling 17): a name that is no claim of the principal's own token is that
/// principal's alone.
fn user_of(letter: &DeadLetter) -> (Realm, &str, Option<Principal>) {
    let (lane, owner) = (&letter.event.lane, letter.event.owner());
    let alone = (!owner.claimed).then_some(owner.principal);
    (owner.realm, lane.user.as_str(), alone)
}

/// What the event makes old is its new principal's. Of an event whose host is known the tag before
/// the last is its principal's own (`accept/decode.rs`).
fn hand_tags(tags: &Arc<[Tag]>, before: Principal, context: &Context) -> Arc<[Tag]> {
    let mut tags = tags.to_vec();
    if context.place().0.is_some()
        && let [.., own, _] = tags.as_mut_slice()
    {
        *own = own.handed(before, context.keys.principal);
    }
    tags.into()
}

impl Operations {
    /// Replays the dead letters that are meant: oldest first, at most [`REPLAYS_PER_SECOND`]; with
    /// the credential that each came with, or with a new one, which is then kept with them.
    ///
    /// # Errors
    /// A new credential is one user's, and the letters are of several.
    ///
    /// # Cancel safety
    /// A letter is replayed or still there, whenever the caller leaves.
    pub async fn replay(
        &self,
        meant: &Selection,
        credential: Option<NewCredential>,
    ) -> Result<Replayed, SeveralUsers> {
        let letters = self.0.dead.find(meant);
        let users: HashSet<_> = letters.iter().map(user_of).collect();
        if credential.is_some() && users.len() > 1 {
            return Err(SeveralUsers(users.len()));
        }
        let credential = credential.map(Arc::new);
        let mut pace = tokio::time::interval(Duration::from_secs(1) / REPLAYS_PER_SECOND);
        let mut done = Replayed::default();
        for letter in letters {
            pace.tick().await;
            let id = letter.event.id().to_owned();
            let ingest = self.clone();
            let credential = credential.clone();
            // A letter that has left the pile comes back to it, or is pending, whoever waits for
            // the answer by then.
            let replayed = tokio::spawn(async move { ingest.replay_one(letter, credential).await });
            match replayed
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
            {
                Ok(()) => done.replayed.push(id),
                Err(why) => done.kept.push((id, why)),
            }
        }
        Ok(done)
    }

    /// The letter's event as if it had come with this credential, of the same user.
    fn change_credential(
        &self,
        letter: &mut DeadLetter,
        credential: &NewCredential,
    ) -> Result<(), String> {
        if letter.lost || letter.reason == Reason::CredentialLost.as_str() {
            return Err("its credential is lost, and its host with it".to_owned());
        }
        let (shared, event) = (&self.0, &mut letter.event);
        let identity = &shared.identity;
        let mut said = event.context.said();
        if !said.named.is_empty() {
            return Err("its credential stands in its body or query".to_owned());
        }
        credential.replace_in(&mut said)?;
        let context = Context::new(event.context.keys, &said);
        let head = contract::Head::of(&context);
        let caller = head.caller(identity, shared.clock.now());
        let user = event.lane.user.as_str();
        let claimed = identity.claimed(&caller);
        let is_claimed = claimed == Some(user);
        if !is_claimed && (event.claimed || claimed.is_some()) {
            let user = keys::shown_user(event).into_owned();
            return Err(format!("the new credential is not one of the user {user}"));
        }
        let keys = identity.keys(&caller, None);
        let renewed = Context::new(keys, &said);
        let address = Address::of_event(event);
        let shared_context = shared.contexts.share(&keys, address, || renewed);
        let renewed_context = shared_context.map_err(|error| error.to_string())?;
        let expires = caller.expires_at();
        let life = expires.map(|at| at.duration_since(shared.clock.now()).unwrap_or_default());
        if life.is_some_and(|life| life.is_zero()) {
            return Err("the new credential has expired".to_owned());
        }
        event.token_life = life.map(TokenLife::new);
        event.tags = hand_tags(&event.tags, event.owner().principal, &renewed_context);
        event.context = renewed_context;
        event.lane.credential = keys.fingerprint;
        // P3: nothing says yet that the service may speak for it.
        go_as_own(event);
        Ok(())
    }

    async fn replay_one(
        &self,
        mut letter: DeadLetter,
        credential: Option<Arc<NewCredential>>,
    ) -> Result<(), String> {
        let shared = &self.0;
        let untouched = letter.clone();
        if let Some(credential) = credential {
            self.change_credential(&mut letter, &credential)?;
        }
        let DeadLetter {
            key,
            group,
            mut event,
            reason,
            ..
        } = letter;
        if letter.lost || reason == Reason::CredentialLost.as_str() {
            return Err("its credential is lost".to_owned());
        }
        // P3: the service doesn't speak for whom the application refused.
        if reason == Reason::CredentialRejected.as_str() {
            go_as_own(&mut event);
        }
        let index = shared.groups.iter().position(|one| one.name == group);
        let index = index.ok_or_else(|| format!("there is no group {group}"))?;
        event.lane.group = GroupIndex(index);
        // Its time to be given up begins anew.
        event.received_at = shared.clock.now();
        let keep = shared
            .groups
            .get(index)
            .map_or(Duration::ZERO, |group| group.max_age);
        let known = |_| "an event with its id came in the meantime".to_owned();
        let shard = self.shard_of(&event.lane.user);
        let holder = Holder {
            principal: event.owner().principal,
            address: Address::of_event(&event),
        };
        // The operator wants it, whatever strangers hold.
        let share = shared
            .reputation
            .adopt_share(holder, shared.reputation.shares().of_event(shard, &event));
        let admitted = shared
            .admitter
            .admit(shared.admitter.key(&event), &event, keep, share)
            .await
            .map_err(known)?;
        let (seen, beside) = (admitted.seen(), shared.contexts.bytes());
        let more = More {
            seen,
            replaces: Some((key, untouched.event.lane.credential)),
            beside,
            succession: None,
            good: false,
        };
        // ORDER: it leaves the pile before the journal may say that it is pending; else a drop
        // could take it too.
        if !shared.dead.remove(key) {
            return Err("it was dropped or replayed by somebody else".to_owned());
        }
        shared.admitter.metrics.ledgers.revive();
        match shared.journal.append(shard, event, admitted, more).await {
            Ok(_) => Ok(()),
            Err(error) => {
                shared.admitter.metrics.ledgers.unrevive();
                let gone = shared.dead.bury(untouched);
                shared.journal.drop_letters(&gone);
                Err(error.to_string())
            }
        }
    }
}

/// P3: the event goes with its own credential, whatever its group says.
fn go_as_own(event: &mut Event) {
    let carried = Carried::mark_for_service(event.carried(), false);
    event.texts = event.texts.with_carried(&carried);
}
