//! What an observer is shown of the calls of a route whose mode is `observe`: those that `coalesce`
//! would have acknowledged as events, the others with the reason. They are decoded and checked by
//! the code that acknowledges, but take nothing of any bound.

use super::draft::View;
use crate::event::Event;
use crate::ingest::Acceptor;
use crate::ingest::accept::admit::SeenKey;
use crate::ingest::accept::refusal::Decline;
use crate::rollout::Mode;
use crate::route::EventRoute;
use std::fmt;

/// An event of a call that is forwarded.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The event.
    pub event: &'a Event,
    /// To look into it.
    pub view: View<'a>,
    /// By which a repetition of it is known.
    pub key: SeenKey,
    /// What a batch of its lane has around its events, bytes.
    pub envelope: usize,
}

/// Watches calls. It is called while the call waits, so it must neither wait nor fail.
pub trait Watch: Send + Sync + fmt::Debug {
    /// An event that would have been acknowledged.
    fn see_event(&self, route: &EventRoute, observed: &Observed<'_>);
    /// A call that would have been forwarded or refused; `reason`: the one name of why.
    fn see_declined(&self, route: &EventRoute, reason: &'static str);
}

impl Acceptor {
    /// Shows the observer that a call would not have been acknowledged. It counts for the first of
    /// its path's routes that is observed.
    pub(crate) fn show_declined(&self, candidates: &[&EventRoute], decline: &Decline) {
        let is_observed = |route: &&&EventRoute| route.switch.setting().mode == Mode::Observe;
        let Some(route) = candidates.iter().find(is_observed) else {
            return;
        };
        let reason = match decline {
            Decline::Refuse(refusal) => refusal.as_str(),
            Decline::Forward(why) => why.as_str(),
        };
        self.0.watch.see_declined(route, reason);
    }
}
