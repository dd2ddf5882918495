//! Asking the application, and what its answer says of the caller that it was asked for.

use super::Read;
use super::ask::Reader;
use crate::body::Body;
use crate::event::Keys;
use crate::identity::Renewal;
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::upstream::{CallerClass, UpstreamError};
use http::request::Parts;
use http::{Request, Response, StatusCode, header};

/// What a relayed call is, as far as its answer speaks for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relayed {
    /// Of no route of ours.
    Other,
    /// A read that says nothing of what events change.
    Read,
    /// A 2xx speaks for its caller.
    Proof,
}

/// The caller was shown something, or told that it is what it has.
pub(super) fn is_shown(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// Whether the application answered; none: it was not asked, or its client broke off.
const fn says_of_application(response: &Result<Response<Body>, UpstreamError>) -> Option<bool> {
    match response {
        Ok(_) => Some(true),
        Err(
            UpstreamError::ConnectionLimit
            | UpstreamError::RequestBody(_)
            | UpstreamError::RequestStalled
            | UpstreamError::BadTarget,
        ) => None,
        Err(_) => Some(false),
    }
}

impl Read {
    /// Asks the application for a reader. That it answers a stranger shows that its answers to this
    /// read say nothing of who asks (ruling 17): a caller without a name, or one that was refused
    /// by 401.
    pub(super) async fn ask_for(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        relayed: Relayed,
    ) -> Result<Response<Body>, UpstreamError> {
        let reputation = self.callers.reputation();
        // ORDER: before it is asked. A refusal of meanwhile says nothing of this answer.
        let Keys {
            principal,
            nameless,
            ..
        } = reader.keys;
        let is_stranger = nameless || reputation.is_unknown(principal);
        let is_open = route.public
            || nameless
            || reputation.is_refused(principal)
            || reputation.is_open_read(route.index);
        let relayed = if is_open { Relayed::Read } else { relayed };
        let response = self.relay_of(request, peer, relayed).await?;
        if is_stranger && !route.public && is_shown(response.status()) {
            self.callers.open_read(route.index);
        }
        Ok(response)
    }

    /// Asks the application, and learns of a session that it renews (ruling 24). `proves`: a 2xx
    /// speaks for its caller, since it is a call of some group's events.
    ///
    /// # Errors
    /// It gave no answer.
    pub async fn relay(
        &self,
        request: Request<Body>,
        peer: &Peer,
        proves: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let relayed = if proves {
            Relayed::Proof
        } else {
            Relayed::Other
        };
        self.relay_of(request, peer, relayed).await
    }

    async fn relay_of(
        &self,
        request: Request<Body>,
        peer: &Peer,
        relayed: Relayed,
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let has_session = parts.headers.contains_key(header::COOKIE);
        let asked = has_session.then(|| {
            (
                parts.method.clone(),
                parts.uri.clone(),
                parts.headers.clone(),
            )
        });
        let class = |parts: &Parts| self.classify_caller(parts, peer);
        let response = self
            .upstream
            .relay(Request::from_parts(parts, body), peer, class)
            .await;
        if let Some(is_answered) = says_of_application(&response) {
            self.metrics.reached.note(is_answered);
        }
        let response = response?;
        if let Some((method, uri, headers)) = asked
            && response.headers().contains_key(header::SET_COOKIE)
            && response.status().is_success()
        {
            let (mut parts, ()) = Request::new(()).into_parts();
            (parts.method, parts.uri, parts.headers) = (method, uri, headers);
            let caller = self.identity.caller(&parts, peer, self.clock.now());
            let principal = self.identity.keys(&caller, None).principal;
            let reputation = self.callers.reputation();
            let is_proof = relayed == Relayed::Proof && !reputation.is_refused(principal);
            // A call of another route may be what signs in or out: what is known of its caller says
            // nothing of who has the cookie afterwards.
            let good =
                relayed != Relayed::Other && (is_proof || reputation.is_good_anywhere(principal));
            // Where nothing is known, a page that was shown speaks, as far as order goes; a write
            // of another route doesn't, which may make another principal of its caller.
            let shown = parts.method.is_safe() && !reputation.is_refused(principal);
            let set = response.headers().get_all(header::SET_COOKIE);
            let renewal = if good || shown {
                self.identity.renew(&caller, set.iter(), good)
            } else {
                Renewal::None
            };
            if renewal != Renewal::None {
                self.callers.note_renewal(principal);
            }
            if let Renewal::Successor(succession) = renewal {
                // ORDER: before the client has the cookie, whose bearer a start must know.
                self.callers.keep_succession(succession).await;
            }
        }
        Ok(response)
    }

    /// Whether something speaks for a caller, as far as the head of its call tells who it is.
    fn classify_caller(&self, parts: &Parts, peer: &Peer) -> CallerClass {
        let caller = self.identity.caller(parts, peer, self.clock.now());
        let principal = self.identity.keys(&caller, None).principal;
        let is_good = self.callers.reputation().is_good_anywhere(principal);
        if is_good {
            CallerClass::Good
        } else {
            CallerClass::Stranger
        }
    }
}
