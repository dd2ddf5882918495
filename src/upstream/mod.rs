//! The way to the application: a pooled HTTP/1.1 client, HTTP/2 where the application speaks it
//! (`http2.rs`), over TCP, TLS or a Unix socket, and what a proxy does to messages on their way (P11).
//!
//! Bodies stream both ways and are never gathered here. Dropping the future of [`Upstream::relay`]
//! cancels the request at the application, and dropping the response's body does so too.
//!
//! A request is repeated in three cases only: hyper proves that nothing of it was sent; or the
//! application says over HTTP/2 that it didn't process it (RFC 9113 §8.7); or its method is
//! idempotent, its connection had answered before, and it ended without a byte of this answer: the
//! application has closed an idle connection while the request was on its way. The second and the
//! third happen once, with a body that is at hand, the third on a new connection. Each request has a
//! place among a bounded number until its answer's body has ended, and so has each connection
//! (`places.rs`). Interim responses (1xx) of the application are consumed, not relayed (ruling 13).

mod answer_body;
mod ask;
mod connector;
mod contact;
pub mod error;
mod exchanges;
mod forwarded;
mod head;
pub mod headers;
mod http2;
mod link;
mod load;
mod loopback;
mod places;
mod repeat;
mod reserve;
mod resolver;
pub mod settings;
mod tls;
mod tunnel;
mod upload;
mod wire;

pub use error::UpstreamError;
pub use exchanges::Exchanges;
pub(crate) use repeat::gather_to_repeat;
pub use reserve::CallerClass;
pub use settings::{Http2Use, RelayRule, UNIX, UpstreamSettings, port_of};
pub use tls::{HandshakeError, HandshakeFault, TlsError, TlsFiles, UpstreamTls, name_of};

use crate::body::{Body, Uploading};
use crate::logging::CallNote;
use crate::peer::{Arrived, Peer};
use answer_body::Placed;
use connector::Connector;
use contact::Contacts;
use headers::{Asked, HopSettings};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use http2::{Http2, OfDelivery};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use link::Link;
use places::{Places, Taken};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::Instant;
use tunnel::{Upgrade, tunnel};
use upload::Unended;

/// Most header lines of a response. nginx has no such limit, and applications behind it set a
/// hundred and more.
const MAX_HEADERS: usize = 512;
/// Connections that may idle.
const MAX_IDLE: usize = 256;
/// Most bytes of an answer that are read ahead, its head's included.
const MAX_BUFFER: usize = 128 << 10;

/// A handle to the application; clones share the pool.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Connector, Body>,
    /// Each of its requests has a connection of its own.
    unpooled: Client<Connector, Body>,
    /// None where HTTP/2 is spoken nowhere.
    http2: Option<Http2>,
    places: Arc<Places>,
    settings: Arc<UpstreamSettings>,
    /// The application says of a connection that it ends before `idle_timeout`. Only then each
    /// request asks which connection it is on: that costs an allocation.
    retires: Arc<AtomicBool>,
    /// It has answered in HTTP/1.0: over a connection that it keeps, no body goes out whose length
    /// isn't known, since hyper would speak HTTP/1.0 too and send none of it.
    speaks_http10: Arc<AtomicBool>,
    exchanges: Arc<Exchanges>,
    contacts: Arc<Contacts>,
}

impl Upstream {
    /// A client for `settings.url`; nothing is connected yet.
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Self {
        let places = Arc::new(Places::new(&settings));
        let connector = Connector::new(&settings, Arc::clone(&places));
        let client = |idle: usize| {
            // What nginx and browsers read, a proxy must not turn into a 502: the application has
            // done its work.
            Client::builder(TokioExecutor::new())
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .http1_allow_spaces_after_header_name_in_responses(true)
                .http1_ignore_invalid_headers_in_responses(true)
                .http1_title_case_headers(settings.title_case)
                .http1_max_headers(MAX_HEADERS)
                .http1_max_buf_size(MAX_BUFFER)
                .pool_idle_timeout(settings.idle_timeout)
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(idle)
                .build(connector.clone())
        };
        let (client, unpooled) = (client(MAX_IDLE), client(0));
        let http2 = Http2::new(&settings, &connector);
        Self {
            client,
            unpooled,
            http2,
            places,
            settings: Arc::new(settings),
            retires: Arc::default(),
            speaks_http10: Arc::default(),
            exchanges: Arc::default(),
            contacts: Arc::default(),
        }
    }

    /// How exchanges with the application went.
    #[must_use]
    pub fn exchanges(&self) -> Arc<Exchanges> {
        Arc::clone(&self.exchanges)
    }

    /// How long a response head may take on this path.
    #[must_use]
    pub fn response_timeout(&self, path: &str) -> Duration {
        self.settings.response_timeout(path)
    }

    /// How headers are written on the way.
    #[must_use]
    pub fn hops(&self) -> HopSettings {
        self.settings.hops
    }

    /// The address with another path.
    fn target(&self, path: Option<&PathAndQuery>) -> Result<Uri, UpstreamError> {
        let mut parts = self.settings.url.clone().into_parts();
        parts.scheme.get_or_insert(Scheme::HTTP);
        parts.path_and_query = Some(
            path.cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        );
        Uri::from_parts(parts).map_err(|_| UpstreamError::BadTarget)
    }

    /// Forwards a client's call and gives back what the application says, both as a proxy must (RFC
    /// 9110 §7.6). The call went through [`headers::normalize`]. `class`: whether something speaks
    /// for its caller, which is asked where places on the way are scarce.
    ///
    /// # Errors
    /// The application gave no answer.
    pub async fn relay(
        &self,
        request: Request<Body>,
        peer: &Peer,
        class: impl FnOnce(&Parts) -> CallerClass,
    ) -> Result<Response<Body>, UpstreamError> {
        if *request.method() == Method::CONNECT {
            return Err(UpstreamError::BadTarget);
        }
        let (mut head, body) = request.into_parts();
        let authority = self.settings.url.authority();
        let taken = self
            .places
            .take_for_client(authority, peer.client, || class(&head))
            .await
            .inspect_err(|_| {
                let path = head.uri.path();
                tracing::warn!(path, "a call found no connection to the application");
            })?;
        let asked = head.extensions.remove::<Asked>().unwrap_or_default();
        let place = head
            .extensions
            .remove::<Arrived>()
            .map(|arrived| arrived.place);
        let client = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        headers::add_hops(&mut head.headers, peer, head.version, &self.settings.hops);
        if asked.trailers {
            head.headers
                .insert(header::TE, HeaderValue::from_static("trailers"));
            head.headers
                .insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        let upgrade = asked.upgrade.and_then(|protocol| Some((protocol, client?)));
        let upgrade = upgrade.map(|(protocol, client)| {
            head.headers.insert(header::UPGRADE, protocol);
            head.headers
                .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            (client, place)
        });
        head.uri = self.target(head.uri.path_and_query())?;
        head.version = Version::HTTP_11;
        let body = gather_to_repeat(&head.method, body);
        // A call without a note asks no clock.
        let note = head.extensions.remove::<CallNote>();
        let noted = note.map(|note| {
            let span = note.span();
            let span = span.begin_exchange(&head.method, &head.uri, &mut head.headers);
            (note, span, Instant::now())
        });
        let answer = self.ask(Box::new(Request::from_parts(head, body))).await;
        if let Some((note, span, asked)) = noted {
            note.ask_upstream(asked.elapsed());
            let said = answer.as_ref().map(Response::status);
            span.end(said.map_err(UpstreamError::proxy_error));
        }
        self.finish(answer?, upgrade, taken)
    }

    /// Sends a request of our own. A path is asked of `[upstream]`, an absolute URI where it says.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        if request.uri().authority().is_none() {
            *request.uri_mut() = self.target(request.uri().path_and_query())?;
        }
        if self.settings.hops.via {
            headers::add_via(request.headers_mut(), Version::HTTP_11);
        }
        let taken = self
            .places
            .take_for_delivery(request.uri().authority())
            .await?;
        self.mark_delivery(&mut request);
        let response = self.ask(Box::new(request)).await?;
        self.finish(response, None, taken)
    }

    /// Sends a request in place of a client's call, as [`send`](Self::send) does, with the host,
    /// the scheme and the addresses that the call had (P13): `peer` is that of the call, and what
    /// the headers hold of `Host`, `X-Forwarded-*` and `Forwarded` is what the call held after
    /// [`headers::normalize`]. Where an absolute URI says otherwise, Host is that of the URI.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send_for(
        &self,
        mut request: Request<Body>,
        peer: &Peer,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut hops = self.settings.hops;
        if request.uri().authority().is_none() {
            *request.uri_mut() = self.target(request.uri().path_and_query())?;
        } else {
            hops.preserve_host = false;
        }
        headers::add_hops(request.headers_mut(), peer, Version::HTTP_11, &hops);
        let taken = self
            .places
            .take_for_delivery(request.uri().authority())
            .await?;
        self.mark_delivery(&mut request);
        let response = self.ask(Box::new(request)).await?;
        self.finish(response, None, taken)
    }

    fn mark_delivery(&self, request: &mut Request<Body>) {
        if self.http2.is_some() {
            request.extensions_mut().insert(OfDelivery);
        }
    }

    /// A request of [`send`](Self::send) or [`send_for`](Self::send_for) is given up, since nothing
    /// came in the time that its caller has for it. `asked`: its URI, or its path.
    pub fn note_late(&self, asked: &Uri) {
        let own = asked
            .authority()
            .is_none()
            .then(|| self.target(asked.path_and_query()));
        let asked = own.and_then(Result::ok).unwrap_or_else(|| asked.clone());
        self.contacts
            .note_failure(&asked, false, &"no answer in time");
    }

    /// Makes the application's answer one of this hop.
    fn finish(
        &self,
        mut response: Response<Incoming>,
        client: Option<Upgrade>,
        mut taken: Taken,
    ) -> Result<Response<Body>, UpstreamError> {
        let link = response.extensions_mut().remove::<Link>();
        let upload = response.extensions_mut().remove::<Unended>();
        if let Some(upload) = &upload {
            let uploading = Uploading(upload.progress.over());
            response.extensions_mut().insert(uploading);
        }
        if let Some(coding) = head::lost_coding(response.headers()) {
            let placed = Placed {
                taken,
                link,
                upload,
            };
            placed.leave();
            return Err(UpstreamError::ProtocolError(format!(
                "found the transfer coding {coding:?}, which wasn't asked for"
            )));
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = if switched {
            headers::protocols(response.headers())
        } else {
            None
        };
        let upstream = switched.then(|| hyper::upgrade::on(&mut response));
        let version = response.version();
        if is_close_delimited(&response) {
            response.extensions_mut().insert(CloseDelimited);
        }
        *response.version_mut() = Version::HTTP_11;
        let head = response.headers_mut();
        if head.contains_key(header::TRANSFER_ENCODING) {
            // RFC 9112 §6.3: it overrides a length, which would otherwise speak for other bytes
            // than those that come.
            head.remove(header::CONTENT_LENGTH);
        }
        headers::remove_hop_by_hop(head);
        if self.settings.hops.via {
            headers::add_via(head, version);
        }
        match (upstream, client, protocol) {
            (None, _, _) => Ok(keep_place(
                response,
                Placed {
                    taken,
                    link,
                    upload,
                },
            )),
            (Some(upstream), Some(client), Some(protocol)) => {
                head.insert(header::UPGRADE, protocol);
                head.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                taken.try_stream(link.as_ref());
                // Ends when either side does; lives no longer than both connections.
                drop(tokio::spawn(tunnel(client, upstream, taken)));
                Ok(response.map(Body::Incoming))
            }
            (Some(_), _, _) => {
                let placed = Placed {
                    taken,
                    link,
                    upload,
                };
                placed.leave();
                Err(UpstreamError::ProtocolError(
                    "found 101 to a call that asked for no such protocol".to_owned(),
                ))
            }
        }
    }
}

/// Marks a response whose body ends with its connection: it can't be told whether it is whole.
#[derive(Debug, Clone, Copy)]
pub struct CloseDelimited;

/// RFC 9112 §6.3: neither a length nor a transfer coding, in a version that has no other end.
fn is_close_delimited(response: &Response<hyper::body::Incoming>) -> bool {
    let headers = response.headers();
    let framed = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    response.version() <= Version::HTTP_11 && !framed && !response.body().is_end_stream()
}

/// An answer that keeps its place until its body and its call's have ended.
fn keep_place(response: Response<Incoming>, placed: Placed) -> Response<Body> {
    let (head, body) = response.into_parts();
    let body = if body.is_end_stream() {
        placed.end();
        Body::Incoming(body)
    } else {
        Body::boxed(answer_body::keep_place(&head.headers, body, placed))
    };
    Response::from_parts(head, body)
}
