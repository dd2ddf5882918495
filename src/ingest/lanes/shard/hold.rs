//! Holding a caller's lanes back while a forwarded call of it is on its way.

use super::{Ended, Shard};
use crate::event::{EventId, GroupIndex, Subject};
use crate::ingest::asker::Asker;
use crate::ingest::lanes::window::Groups;
use std::sync::Arc;
use tokio::sync::oneshot;

/// While it lives, its caller's lanes in one shard send nothing that came after it.
#[derive(Debug)]
pub struct Hold {
    asker: Asker,
    number: u64,
    /// Events up to here go first.
    after: u64,
    shard: Arc<Shard>,
}

impl Hold {
    /// The held call told a newer state of this subject and was taken: the lanes' older ones are
    /// needless.
    pub fn replace(&self, group: GroupIndex, subject: Subject, by: &EventId) {
        self.shard
            .set(|lanes| lanes.replace(group, &self.asker, subject, self.after, by));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shard
            .set(|lanes| lanes.release_hold(self.asker.principal, self.number));
    }
}

impl Shard {
    /// Seals a caller's windows in these groups and holds back what comes later. The receiver hears
    /// when the caller's lanes may be passed; none: at once.
    ///
    /// # Errors
    /// The shard has ended.
    pub fn hold(
        self: &Arc<Self>,
        asker: &Asker,
        groups: &Groups,
    ) -> Result<(Hold, Option<oneshot::Receiver<()>>), Ended> {
        let (number, after, passed) = self.tell(|state| {
            let (number, marks) = state.lanes.hold(asker, groups);
            let after = state.lanes.last_seq();
            if state.is_over(&marks, true) {
                return (number, after, None);
            }
            state.hurry(&marks);
            (number, after, Some(state.wait_for(marks, true)))
        })?;
        Ok((
            Hold {
                asker: asker.clone(),
                number,
                after,
                shard: Arc::clone(self),
            },
            passed,
        ))
    }
}
