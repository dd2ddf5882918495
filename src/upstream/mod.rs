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
use crate::peer::Peer;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::Arc;

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
        let client_upgrade = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
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

    async fn ask(&self, request: Request<Body>) -> Result<Response<hyper::body::Incoming>, UpstreamError> {
        let answer = self.client.request(request);
        match tokio::time::timeout(self.settings.response_timeout, answer).await {
            Err(_) => Err(UpstreamError::ResponseTimeout),
            Ok(Err(error)) => Err(UpstreamError::from_client(&error)),
            Ok(Ok(response)) => Ok(response),
        }
    }
}

fn finish(mut response: Response<hyper::body::Incoming>, client: Option<hyper::upgrade::OnUpgrade>) -> Response<Body> {
    let switched = (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| headers::upgrade(response.headers()));
    let upstream = switched.is_some().then(|| hyper::upgrade::on(&mut response));
    let version = response.version();
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

async fn tunnel(client: hyper::upgrade::OnUpgrade, upstream: hyper::upgrade::OnUpgrade) {
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
