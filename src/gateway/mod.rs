//! The one service of the public listener: match, decide, reply. Its error is `Infallible`:
//! whatever happens becomes an answer.
//!
//! | file | holds |
//! |---|---|
//! | `event` | event calls and clients' own batches, which `decide` decides |
//! | `rehearsal`, `copied_answer` | mode `shadow`: what would become of a call; what it was answered |
//! | `explain` | what would become of a call, and why |
//! | `recording`, `copied_body` | copies of forwarded calls and answers, while they are recorded |
//! | `pass_through`, `forward` | calls that the application answers, and their place in the order |
//! | `own` | paths of Tidegate's own |
//! | `touches`, `callers`, `scope` | what a call touches, who makes it, what templates see of it |
//! | `bodies`, `collect`, `unpack` | its body: gathered, kept, without its coding |
//! | `answers`, `reply` | Tidegate's own answers |
//! | `noted` | a call's line in the access log, and its span |

mod answers;
mod bodies;
mod callers;
mod collect;
mod copied_answer;
mod copied_body;
mod decide;
mod event;
pub(crate) mod explain;
mod forward;
mod noted;
mod own;
mod pass_through;
mod recording;
mod rehearsal;
mod reply;
mod scope;
mod touches;
mod unpack;

use crate::body::Body;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::identity::Identity;
use crate::ingest::accept::mirror::Mirror;
use crate::ingest::{Acceptor, CallerLanes, CallerStanding};
use crate::logging::AccessLog;
use crate::metrics::{Action, Label as _, Metrics};
use crate::notices::Notices;
use crate::peer::{Arrived, Connection, Peer, TrustedProxies};
use crate::read::{Asked, Read};
use crate::recorder::Recorder;
use crate::route::{Found, LiveRoutes};
use crate::spans::Spans;
use crate::upstream::Upstream;
use crate::upstream::headers::{HeadError, normalize};
use answers::{Answers, fail};
pub(crate) use recording::unpack_recorded;
pub(crate) use rehearsal::{Rehearsal, Setup as RehearsalSetup};

use callers::Callers;
use decide::Decider;
use event::EventCalls;
use forward::Forwarder;
use http::{Request, Response};
use hyper::body::Incoming;
use noted::NotedCall;
use own::OwnPaths;
use pass_through::PassThrough;
use recording::Recording;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// What the gateway is made of.
pub(crate) struct Setup {
    /// Rules.
    pub(crate) routes: Arc<LiveRoutes>,
    /// Who is who.
    pub(crate) identity: Arc<Identity>,
    /// Takes events.
    pub(crate) acceptor: Acceptor,
    /// What callers have pending.
    pub(crate) lanes: CallerLanes,
    /// What is known of callers.
    pub(crate) standing: CallerStanding,
    /// Generations.
    pub(crate) tags: Arc<Tags>,
    /// Read path.
    pub(crate) read: Read,
    /// The way to the application.
    pub(crate) upstream: Upstream,
    /// Instruments.
    pub(crate) metrics: Arc<Metrics>,
    /// Wall clock.
    pub(crate) clock: Clock,
    /// A buffered body must be there in this time.
    pub(crate) body_timeout: Duration,
    /// Who may say on whose behalf it calls.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Who hears of what was invalidated.
    pub(crate) notices: Arc<Notices>,
    /// Ends what would stream for ever.
    pub(crate) drain: Drain,
    /// A forwarded call's answer says why (`server.explain`).
    pub(crate) explain: bool,
    /// Takes copies of calls in mode `shadow`.
    pub(crate) mirror: Arc<dyn Mirror>,
    /// Takes copies of forwarded calls, while it is on.
    pub(crate) recorder: Arc<dyn Recorder>,
    /// The access log.
    pub(crate) access: AccessLog,
    /// Records spans.
    pub(crate) spans: Spans,
}

/// The public service; clones share everything.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Parts>);

struct Parts {
    routes: Arc<LiveRoutes>,
    callers: Callers,
    trusted_proxies: TrustedProxies,
    read: Read,
    answers: Answers,
    events: Arc<EventCalls>,
    pass_through: PassThrough,
    own: OwnPaths,
    recording: Recording,
    access: AccessLog,
    spans: Spans,
    clock: Clock,
}

impl Gateway {
    /// A gateway.
    #[must_use]
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup {
            identity,
            acceptor,
            lanes,
            standing,
            read,
            metrics,
            notices,
            ..
        } = setup;
        let routes = setup.routes;
        let answers = Answers {
            identity: Arc::clone(&identity),
            metrics,
            are_noted: setup.access.is_on() || setup.spans.is_on(),
        };
        let clock = setup.clock.clone();
        let callers = Callers {
            identity,
            standing: standing.clone(),
            clock: setup.clock,
        };
        let decider = Decider::new(
            callers.clone(),
            acceptor.clone(),
            lanes.clone(),
            setup.body_timeout,
        );
        let (bodies, touch) = (decider.bodies.clone(), decider.touch.clone());
        let recording = Recording(setup.recorder);
        let forwarder = Arc::new(Forwarder {
            answers: answers.clone(),
            bodies: bodies.clone(),
            read: read.clone(),
            routes: Arc::clone(&routes),
            upstream: setup.upstream,
            lanes: lanes.clone(),
            standing,
            tags: setup.tags,
            notices: Arc::clone(&notices),
            explain: setup.explain,
            recording: recording.clone(),
        });
        let events = Arc::new(EventCalls {
            answers: answers.clone(),
            bodies: bodies.clone(),
            decider,
            forwarder: Arc::clone(&forwarder),
            mirror: setup.mirror,
        });
        let pass_through = PassThrough {
            answers: answers.clone(),
            bodies,
            callers: callers.clone(),
            lanes: lanes.clone(),
            touch,
            forwarder,
            routes: Arc::clone(&routes),
        };
        let own = OwnPaths {
            answers: answers.clone(),
            callers: callers.clone(),
            acceptor,
            lanes,
            notices,
            drain: setup.drain,
        };
        let trusted_proxies = setup.trusted_proxies;
        Self(Arc::new(Parts {
            routes,
            callers,
            trusted_proxies,
            read,
            answers,
            events,
            pass_through,
            own,
            recording,
            access: setup.access,
            spans: setup.spans,
            clock,
        }))
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub(crate) async fn handle(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let unknown = Connection {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            secure: false,
        };
        let (mut parts, body) = request.into_parts();
        let arrived = parts.extensions.get::<Arrived>();
        let connection = arrived.map_or(unknown, |arrived| arrived.connection);
        let peer = match normalize(&mut parts, &connection, &self.0.trusted_proxies) {
            Ok(peer) => peer,
            Err(error) => return Ok(self.refuse_head(parts, &error)),
        };
        self.give_precedence(&parts, &peer);
        let noted = self.begin_note(&mut parts);
        let body = Body::arriving(body, &parts.headers);
        let request = Request::from_parts(parts, body);
        // Pinned: its place is in this future once, and not once more where it is awaited.
        let response = pin!(self.answer(request, &peer)).await;
        Ok(match noted {
            None => response,
            Some(noted) => noted.end(&self.0.access, response),
        })
    }

    fn begin_note(&self, parts: &mut http::request::Parts) -> Option<NotedCall> {
        let Parts {
            access,
            spans,
            clock,
            ..
        } = &*self.0;
        NotedCall::begin((access, spans), parts, clock)
    }

    fn refuse_head(&self, mut parts: http::request::Parts, error: &HeadError) -> Response<Body> {
        let noted = self.begin_note(&mut parts);
        let response = self.0.answers.refuse_head(error);
        match noted {
            None => response,
            Some(noted) => {
                let reason = Some(error.as_str().into());
                noted.note().decide(Action::Refused.as_str(), reason);
                noted.end(&self.0.access, response)
            }
        }
    }

    /// A connection on which a known caller calls waits for no stranger's.
    fn give_precedence(&self, parts: &http::request::Parts, peer: &Peer) {
        let arrived = parts.extensions.get::<Arrived>();
        let Some(precedence) = arrived.map(|arrived| &arrived.precedence) else {
            return;
        };
        if !precedence.is_given() && self.0.callers.is_known(parts, peer) {
            precedence.give();
            self.0.answers.metrics.known_connections.inc();
        }
    }

    async fn answer(&self, mut request: Request<Body>, peer: &Peer) -> Response<Body> {
        let Parts {
            routes,
            read,
            answers,
            events,
            pass_through,
            own,
            recording,
            ..
        } = &*self.0;
        let path = request.uri().path();
        let note = answers.note(request.extensions()).cloned();
        if own::asks_before_get(&request)
            && (path == own::INVALIDATIONS || routes.load().is_preview(path))
        {
            let is_stream = path == own::INVALIDATIONS;
            let action = if is_stream {
                Action::Listen
            } else {
                Action::Preview
            };
            answers.count(action);
            if let Some(note) = note {
                note.decide(action.as_str(), None);
            }
            return own.answer_preflight(&request.into_parts().0);
        }
        if path == own::INVALIDATIONS {
            answers.count(Action::Listen);
            if let Some(note) = note {
                note.decide(Action::Listen.as_str(), None);
            }
            return own.stream_invalidations(&request.into_parts().0, peer);
        }
        // Boxed: a future as large as the largest of these would be moved about for every hit.
        let live_routes = routes;
        let routes = live_routes.load();
        let found = routes.find(request.method(), path);
        if let (Some(note), Some(route)) = (&note, noted::name_of(&found)) {
            note.meet_route(route);
        }
        match found {
            Found::Preview(route) => {
                answers.count(Action::Preview);
                if let Some(note) = note {
                    note.decide(Action::Preview.as_str(), None);
                }
                own.show_pending(&request.into_parts().0, peer, route)
            }
            Found::Event(candidates, params) => {
                Box::pin(events.answer_event(request, peer, &candidates, &params)).await
            }
            Found::Batch(group) => {
                let rule = routes.batch_rule(group);
                Box::pin(events.answer_batch(request, peer, rule)).await
            }
            Found::Write(route, params) => {
                Box::pin(pass_through.pass_write(request, peer, route, &params)).await
            }
            Found::Cache(route, params) => {
                answers.count(Action::Read);
                let awaited = recording.copy_call(&mut request, peer);
                let asked = read.get(request, peer, (route, &params), live_routes);
                let mut response = match asked {
                    Asked::Answered(response) => response,
                    Asked::Waits(waiting) => {
                        let answered = waiting.await;
                        answered.unwrap_or_else(|error| fail(&error))
                    }
                };
                awaited.copy_answer(&mut response);
                if let Some(note) = note {
                    note.decide(Action::Read.as_str(), noted::cache_reason(&response));
                }
                response
            }
            Found::Other => Box::pin(pass_through.pass_other(request, peer)).await,
        }
    }
}
