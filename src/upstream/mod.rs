//! The way to the application: a pooled HTTP/1.1 client, and what a proxy does to messages on their way (P11).
//!
//! Bodies stream both ways and are never gathered here. Dropping the future of [`Upstream::relay`] cancels the request
//! at the application, and dropping the response's body does so too. A request is repeated on another connection only
//! if hyper proves that nothing of it was sent. Interim responses (1xx) of the application are consumed, not relayed
//! (ruling 13).

pub mod error;
pub mod headers;
pub mod settings;

pub use error::UpstreamError;
pub use settings::UpstreamSettings;

use crate::body::Body;
use crate::peer::{Peer, Place};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A handle to the application; clones share the pool.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<HttpConnector, Body>,
    settings: Arc<UpstreamSettings>,
}

impl Upstream {
    /// A client for `settings.url`; nothing is connected yet.
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(settings.idle_timeout)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(256)
            .build(connector);
        Self { client, settings: Arc::new(settings) }
    }

    /// The address with another path.
    fn target(&self, path: Option<&PathAndQuery>) -> Result<Uri, UpstreamError> {
        let mut parts = self.settings.url.clone().into_parts();
        parts.scheme.get_or_insert(Scheme::HTTP);
        parts.path_and_query = Some(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).map_err(|_| UpstreamError::BadTarget)
    }

    /// Forwards a client's call and gives back what the application says, both as a proxy must (RFC 9110 §7.6).
    ///
    /// # Errors
    /// The application gave no answer.
    pub async fn relay(&self, request: Request<Body>, peer: &Peer) -> Result<Response<Body>, UpstreamError> {
        if *request.method() == Method::CONNECT {
            return Err(UpstreamError::BadTarget);
        }
        let (mut head, body) = request.into_parts();
        let asked = headers::upgrade(&head.headers);
        let trailers = headers::wants_trailers(&head.headers);
        let host = head.uri.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok());
        // RFC 9112 §3.2.2: the authority of an absolute target replaces Host.
        let host = host.or_else(|| head.headers.get(header::HOST).cloned());
        let place = head.extensions.remove::<Place>();
        let client_upgrade = head.extensions.remove::<hyper::upgrade::OnUpgrade>().map(|client| (client, place));
        headers::remove_hop_by_hop(&mut head.headers);
        if trailers {
            head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        if let Some(protocol) = asked.clone().filter(|_| head.version == Version::HTTP_11) {
            head.headers.insert(header::UPGRADE, protocol);
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        headers::add_via(&mut head.headers, head.version);
        headers::add_forwarded(&mut head.headers, peer, host.as_ref());
        match host.filter(|_| self.settings.preserve_host) {
            Some(host) => drop(head.headers.insert(header::HOST, host)),
            None => drop(head.headers.remove(header::HOST)),
        }
        // `OPTIONS *` is asked of the root: hyper's client has no asterisk form.
        head.uri = self.target(head.uri.path_and_query().filter(|path| path.as_str() != "*"))?;
        head.version = Version::HTTP_11;
        let response = self.ask(Request::from_parts(head, body)).await?;
        Ok(finish(response, client_upgrade))
    }

    /// Sends a request of our own. A path is asked of `[upstream]`, an absolute URI where it says.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        if request.uri().authority().is_none() {
            *request.uri_mut() = self.target(request.uri().path_and_query())?;
        }
        headers::add_via(request.headers_mut(), Version::HTTP_11);
        let response = self.ask(request).await?;
        Ok(finish(response, None))
    }

    /// `response_timeout` begins anew with every part of the body that is sent: an upload may take its time, but not
    /// stand still.
    async fn ask(&self, mut request: Request<Body>) -> Result<Response<hyper::body::Incoming>, UpstreamError> {
        let known =
            request.body().size_hint().exact().is_some() || request.headers().contains_key(header::CONTENT_LENGTH);
        if !known {
            // hyper's client would send a GET's body of unknown length as none at all. What has a length says it: some
            // servers read no chunked body (411, RFC 9110 §15.5.12).
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let sent = Arc::new(AtomicU64::new(0));
        let whole = matches!(request.body(), Body::Full(_)) || request.body().is_end_stream();
        let request = if whole { request } else { request.map(|body| counted(body, Arc::clone(&sent))) };
        let mut answer = std::pin::pin!(self.client.request(request));
        let mut before = 0;
        loop {
            match tokio::time::timeout(self.settings.response_timeout, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(UpstreamError::from_client(&error)),
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == before {
                        return Err(UpstreamError::ResponseTimeout);
                    }
                    before = now;
                }
            }
        }
    }
}

/// A body that counts its frames as they are sent.
fn counted(body: Body, sent: Arc<AtomicU64>) -> Body {
    Body::boxed(body.map_frame(move |frame| {
        sent.fetch_add(1, Ordering::Relaxed);
        frame
    }))
}

/// Marks a response whose body ends with its connection: it can't be told whether it is whole.
#[derive(Debug, Clone, Copy)]
pub struct CloseDelimited;

/// RFC 9112 §6.3: neither a length nor a transfer coding, in a version that has no other end.
fn is_close_delimited(response: &Response<hyper::body::Incoming>) -> bool {
    let headers = response.headers();
    let framed = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    response.version() <= Version::HTTP_11 && !framed && !response.body().is_end_stream()
}

/// A client that may be upgraded, and its connection's place under the cap.
type Upgrade = (hyper::upgrade::OnUpgrade, Option<Place>);

fn finish(mut response: Response<hyper::body::Incoming>, client: Option<Upgrade>) -> Response<Body> {
    let switched = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| headers::upgrade(response.headers()));
    let upstream = switched.is_some().then(|| hyper::upgrade::on(&mut response));
    let version = response.version();
    if is_close_delimited(&response) {
        response.extensions_mut().insert(CloseDelimited);
    }
    let head = response.headers_mut();
    headers::remove_hop_by_hop(head);
    headers::add_via(head, version);
    if let (Some(upstream), Some(client)) = (upstream, client) {
        if let Some(protocol) = switched.flatten() {
            head.insert(header::UPGRADE, protocol);
        }
        head.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        // Ends when either side does; lives no longer than both connections.
        drop(tokio::spawn(tunnel(client, upstream)));
    }
    *response.version_mut() = Version::HTTP_11;
    response.map(Body::Incoming)
}

async fn tunnel((client, _place): Upgrade, upstream: hyper::upgrade::OnUpgrade) {
    match tokio::try_join!(client, upstream) {
        Ok((client, upstream)) => {
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(%error, "an upgraded connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
    }
}
