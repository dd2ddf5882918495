//! Why the application is asked, and what is known of the request while its answer is awaited.

use super::ask::Ask;
use super::forwarded_fields::ForwardedFields;
use crate::cache::policy::freshness::Times;
use crate::cache::store::{Entry, Lead};
use crate::cache::tags::Generations;
use crate::peer::Peer;
use crate::route::CacheRoute;
use http::{HeaderMap, Method};
use std::sync::Arc;

/// Why the application is asked, and with what in hand.
pub(super) struct FetchPlan {
    /// In the words of RFC 9211 §2.2.
    pub(super) reason: &'static str,
    /// A stored response of the current generation.
    pub(super) stored: Option<Arc<Entry>>,
    /// Followers that wait for this answer.
    pub(super) lead: Option<Lead>,
}

/// What is known of a request while its answer is awaited.
pub(super) struct FetchState<'a> {
    pub(super) route: &'a CacheRoute,
    pub(super) ask: &'a Ask,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Taken before the application was asked.
    pub(super) generations: Generations,
    /// This cache's own condition went along.
    pub(super) validating: bool,
    pub(super) times: Times,
    pub(super) plan: FetchPlan,
    pub(super) peer: &'a Peer,
    pub(super) fields: ForwardedFields,
}
