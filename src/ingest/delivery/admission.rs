//! Whether a load may go now: whose credential it goes under, and what its group's gate says.

use super::deliverer::Deliverer;
use super::gate::{Asking, Caller, Gate, Pass};
use super::load::{self, Ready, Under};
use crate::event::Owner;
use crate::ingest::lanes::shard::Kept;
use crate::ingest::lanes::window::{Batch, Verdict};
use crate::ingest::settings::{Fallback, Group};
use crate::metrics::Attempt;
use std::time::Duration;
use tokio::time::Instant;

impl Deliverer {
    /// Whom a load speaks for, and what of it could go as single calls.
    pub(super) fn asking<'a>(&self, group: &Group, load: &'a [Ready]) -> Option<Asking<'a>> {
        let batch = &load.first()?.batch;
        let shared = load::is_under_service(load);
        let fallback = group.fallback == Fallback::Single;
        let (Owner { principal, .. }, _) = load::owner_of(batch)?;
        let caller = match self.reputation.was_taken(principal, batch.key.group) {
            _ if shared => Caller::Service(Some(principal).filter(|_| load.len() == 1)),
            true => Caller::Good(principal),
            false => Caller::Stranger(principal),
        };
        // A single call of a shared group goes with its user's credential: it says nothing of what
        // the service's may.
        let oldest = !shared && batch.has_oldest_single(fallback);
        let any = load.iter().any(|ready| ready.batch.has_singles(fallback));
        Some(Asking {
            caller,
            lane: &batch.key,
            form: batch.form,
            oldest,
            any,
        })
    }

    /// Has the group's gate look at a load, or learn of it.
    pub(super) fn with_gate<T>(
        &self,
        load: &[Ready],
        look: impl FnOnce(&mut Gate, &Asking<'_>) -> T,
    ) -> Option<T> {
        let index = load::group_of(load)?;
        let (group, gate) = (self.groups.get(index)?, self.gates.get(index)?);
        let asking = self.asking(group, load)?;
        Some(look(&mut gate.lock(), &asking))
    }

    /// Under whose credential a batch goes now. The service's is for what was taken in for it, as
    /// long as its caller is not refused (P3): what came in while each credential spoke for itself
    /// does so whatever the group says by now.
    pub(super) fn choose_credential(&self, batch: &Batch<Kept>) -> Under {
        let is_shared = self
            .groups
            .get(batch.key.group.0)
            .is_some_and(Group::is_shared);
        let is_refused = || {
            load::owner_of(batch).is_none_or(|(owner, _)| {
                self.reputation
                    .is_refused_in(owner.principal, batch.key.group)
            })
        };
        if is_shared && batch.is_for_service() && !is_refused() {
            Under::Service
        } else {
            Under::Own
        }
    }

    /// Sends back what must not go as it is: whose caller was refused while it waited for company,
    /// and what its shared group's batch endpoint would have to take from a user where the single
    /// calls are left.
    fn sort_out(&self, load: Vec<Ready>) -> Vec<Ready> {
        let (mut goes, pause) = (Vec::with_capacity(load.len()), Duration::ZERO);
        for ready in load {
            let group = self.groups.get(ready.batch.key.group.0);
            let fallback = group.is_some_and(|group| group.fallback == Fallback::Single);
            if self.choose_credential(&ready.batch) != ready.under {
                self.bring_back(ready, Verdict::Deferred { pause });
            } else if group.is_some_and(Group::is_shared)
                && ready.under == Under::Own
                && ready.batch.has_singles(fallback)
            {
                self.bring_back(ready, Verdict::Singles { pause });
            } else {
                goes.push(ready);
            }
        }
        goes
    }

    /// A load that may go now, as far as it may. Else it is on its way back to its lanes.
    pub(super) fn admit(&self, load: Vec<Ready>) -> Option<Vec<Ready>> {
        let load = self.sort_out(load);
        if load.is_empty() {
            return None;
        }
        let pass = self.with_gate(&load, |gate, asking| {
            gate.admit(Instant::now(), asking, &self.settings, fastrand::f64())
        });
        let (verdict, attempt) = match pass {
            None | Some(Pass::Go) => return Some(load),
            Some(Pass::Wait(pause)) => (Verdict::Deferred { pause }, Attempt::Deferred),
            // It has single calls, so the pause is for what has none in other lanes of the load.
            Some(Pass::Singles) => (
                Verdict::Singles {
                    pause: self.settings.retry_server.base,
                },
                Attempt::AsSingles,
            ),
            Some(Pass::OldestAlone) => (Verdict::OldestAlone, Attempt::OldestAlone),
        };
        self.count(&load, attempt);
        load.into_iter()
            .for_each(|ready| self.bring_back(ready, verdict.clone()));
        None
    }
}
