//! Looking a read up: answered from the store, waited for with another's flight, or asked of the
//! application.

use super::Read;
use super::answer::{self, Head};
use super::ask::{Ask, Bypass, Reader};
use super::fetch_plan::FetchPlan;
use super::forwarded_fields::ForwardedFields;
use super::relay::Relayed;
use crate::body::Body;
use crate::cache::policy::reuse::{self, Use};
use crate::cache::store::{Entry, Flight, Found as Stored};
use crate::event::Tag;
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::upstream::UpstreamError;
use http::{Method, Request, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long a reader waits for another's flight before it asks too.
const FLIGHT_WAIT: Duration = Duration::from_secs(5);

/// What a lookup has found.
enum Look {
    /// The answer.
    Hit(Arc<Entry>),
    /// The answer, and it is asked again meanwhile.
    Stale(Arc<Entry>),
    /// The application is to be asked.
    Ask {
        /// In the words of RFC 9211 §2.2.
        reason: &'static str,
        /// What it may confirm, or what may stand in for it.
        stored: Option<Arc<Entry>>,
    },
}

impl Read {
    /// The answer, if it is there and nothing of its reader is pending on its tags.
    pub(super) fn answer_at_once(
        &self,
        head: Head<'_>,
        peer: &Peer,
        ask: &Ask,
        now: Instant,
    ) -> Option<Response<Body>> {
        if self.tags.any_pending(&ask.reader.tags, ask.reader.waiting) {
            return None;
        }
        match self.look_up(head, peer, ask, now) {
            Look::Hit(entry) => Some(self.answer_hit(head, &entry, now, None)),
            _ => None,
        }
    }

    /// What the cache has no part in is read after its reader's own writes all the same. In time or
    /// not: the answer is as new as the application is.
    pub(super) async fn bypass_in_turn(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        why: Bypass,
    ) -> Result<Response<Body>, UpstreamError> {
        let why = self
            .wait_for_own_events(route, reader)
            .await
            .err()
            .unwrap_or(why);
        self.bypass(request, peer, (route, reader), why).await
    }

    pub(super) async fn bypass(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        why: Bypass,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.bypasses.fetch_add(1, Ordering::Relaxed);
        let response = self
            .ask_for(request, peer, (route, reader), Relayed::Read)
            .await?;
        Ok(answer::with_status(
            response,
            &format!("tidegate; fwd=bypass; detail={why}"),
        ))
    }

    pub(super) async fn look_up_in_turn(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        mut ask: Ask,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut waited = None;
        loop {
            if let Err(why) = self.wait_for_own_events(route, &ask.reader).await {
                return self.bypass(request, peer, (route, &ask.reader), why).await;
            }
            if self.is_to_be_proven(&ask) {
                let first = without_body(&request);
                match self.prove(first, peer, route, &mut ask).await? {
                    Some(response) => return Ok(response),
                    None => continue,
                }
            }
            let now = self.clock.instant();
            let (reason, stored) = match self.look_up((&request).into(), peer, &ask, now) {
                Look::Hit(entry) => {
                    return Ok(self.answer_hit((&request).into(), &entry, now, waited));
                }
                Look::Stale(entry) => {
                    self.store.counts.stale.fetch_add(1, Ordering::Relaxed);
                    self.revalidate_behind(&request, peer, route, &ask, &entry);
                    return Ok(self.answer_hit((&request).into(), &entry, now, waited));
                }
                Look::Ask { reason, stored } => (reason, stored),
            };
            if ask.wishes.only_if_cached {
                return Ok(answer::only_if_cached(reason));
            }
            if *request.method() == Method::HEAD {
                return self
                    .forward_head(request, peer, (route, &ask), stored.as_deref())
                    .await;
            }
            let alone = waited.is_some()
                || reason == "request"
                || (ask.conditional && stored.as_ref().is_none_or(|entry| entry.parts.is_some()))
                || self.store.is_shunned(&ask.key, now);
            let lead = match if alone {
                None
            } else {
                Some(self.store.join(&ask.key))
            } {
                Some(Flight::Follow(mut done)) => {
                    // Whether the lead ends or its time is over: look again, and then ask for
                    // oneself.
                    drop(tokio::time::timeout(FLIGHT_WAIT, done.changed()).await);
                    waited = Some(reason);
                    continue;
                }
                Some(Flight::Lead(lead)) => Some(lead),
                None => None,
            };
            return self
                .fetch(
                    request,
                    peer,
                    route,
                    &ask,
                    FetchPlan {
                        reason,
                        stored,
                        lead,
                    },
                )
                .await;
        }
    }

    fn look_up(&self, head: Head<'_>, peer: &Peer, ask: &Ask, now: Instant) -> Look {
        let fields = ForwardedFields::new(head.version, self.upstream.hops());
        let entry = match self
            .store
            .get(&ask.key, &mut fields.read_values(head.headers, peer))
        {
            Stored::Nothing => {
                return Look::Ask {
                    reason: "uri-miss",
                    stored: None,
                };
            }
            Stored::OtherVariants => {
                return Look::Ask {
                    reason: "vary-miss",
                    stored: None,
                };
            }
            Stored::Entry(entry) => entry,
        };
        if !self.is_current(&entry, &ask.reader.tags) {
            return Look::Ask {
                reason: "stale",
                stored: None,
            };
        }
        match reuse::decide(&entry.terms, entry.age(now), &ask.wishes) {
            Use::Serve | Use::ServeAndRevalidate
                if !answer::has_what_is_asked(head.method, head.headers, &entry) =>
            {
                Look::Ask {
                    reason: "partial",
                    stored: Some(entry),
                }
            }
            Use::Serve => Look::Hit(entry),
            Use::ServeAndRevalidate => Look::Stale(entry),
            Use::AskForRequest => Look::Ask {
                reason: "request",
                stored: Some(entry),
            },
            Use::AskForStale => Look::Ask {
                reason: "stale",
                stored: Some(entry),
            },
        }
    }

    /// INVARIANT: whatever is taken from the store passes here, after its look-up and before it is
    /// used: an event that was acknowledged before shows as a moved generation.
    pub(super) fn is_current(&self, entry: &Entry, tags: &[Tag]) -> bool {
        self.tags.unmoved(tags, &entry.generations)
    }
}

/// A read once more.
fn without_body(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
