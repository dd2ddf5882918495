//! One request on its way, once it has its place: sent, watched while it is uploaded, and sent
//! again where it may be.

use super::connector::Connector;
use super::error::{Failure, UpstreamError};

use super::headers;
use super::link::{self, Link};
use super::upload::{self, Progress, Unended, Watch};
use super::{Upstream, repeat};
use crate::body::Body;
use futures_util::TryFutureExt as _;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

impl Upstream {
    /// The request has its place. Boxed, since each future that it goes through would hold it
    /// twice.
    pub(super) async fn ask(
        &self,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let known = request.body().size_hint().exact().is_some()
            || request.headers().contains_key(header::CONTENT_LENGTH);
        if !known {
            // hyper's client would send a GET's body of unknown length as none at all. What has a
            // length says it: some servers read no chunked body (411, RFC 9110 §15.5.12).
            request.headers_mut().insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        let asked = request.uri().clone();
        let is_own = asked.authority() == self.settings.url.authority();
        let began = Instant::now();
        let answer = self.ask_or_repeat(request).await;
        if is_own {
            self.exchanges.note(&answer, began.elapsed());
        }
        self.contacts.note(&asked, &answer);
        answer
    }

    async fn ask_or_repeat(
        &self,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let within = self.settings.response_timeout(request.uri().path());
        let is_idempotent = repeat::is_idempotent(request.method());
        // Over HTTP/2 an application may say of any call that it didn't process it.
        let may_refuse = self
            .http2
            .as_ref()
            .is_some_and(|http2| http2.may_carry(&request));
        if may_refuse {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = repeat::gather_if_at_hand(body);
        }
        let again = if is_idempotent || may_refuse {
            repeat::copy_if_at_hand(&request)
        } else {
            None
        };
        let may_repeat = |failure: &Failure| {
            failure.is_unprocessed() || is_idempotent && failure.is_of_connection()
        };
        let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        // What it proves its connection would prove for the next call on it, whosever that is.
        let client = if repeat::authenticates_connection(request.headers())
            || is_chunked && self.speaks_http10.load(Ordering::Relaxed)
        {
            &self.unpooled
        } else {
            &self.client
        };
        let began = Instant::now();
        let response = match (self.ask_once(client, request, within).await, again) {
            (Err(failure), Some(mut again)) if may_repeat(&failure) => {
                if failure.wants_http1() {
                    again.extensions_mut().insert(repeat::OverHttp1);
                }
                // Both tries have the time of one: what waits behind the call waits no longer.
                let within = within.saturating_sub(began.elapsed());
                if within.is_zero() {
                    return Err(failure.into());
                }
                let error = UpstreamError::from(failure);
                tracing::debug!(%error, "the application had closed the connection or refused the \
                    stream; the request is sent again");
                // Boxed: it is seldom needed, and would be as large as the first one.
                Box::pin(self.ask_once(&self.unpooled, again, within)).await
            }
            (result, _) => result,
        }?;
        Ok(response)
    }

    /// `within` begins anew with every part of the body that is sent: an upload may take its time,
    /// but not stand still.
    async fn ask_once(
        &self,
        client: &Client<Connector, Body>,
        mut request: Box<Request<Body>>,
        within: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let over_http2 = match &self.http2 {
            Some(http2) => match http2.origin_of(&request) {
                Some(key) => Box::pin(http2.reserve(&key))
                    .await
                    .map_err(Failure::Unsent)?
                    .map(|reserved| (http2, key, reserved)),
                None => None,
            },
            None => None,
        };
        let asks_connection = over_http2.is_none() && self.retires.load(Ordering::Relaxed);
        let capture = asks_connection.then(|| capture_connection(&mut request));
        let progress = Arc::new(Progress::default());
        let whole = matches!(request.body(), Body::Full(_)) || request.body().is_end_stream();
        if !whole {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = upload::watched(body, &progress);
        }
        let mut answer = match over_http2 {
            None => Either::Left(client.request(*request).map_err(Failure::Client)),
            Some((http2, key, reserved)) => Either::Right(Box::pin(async move {
                // Half of its time, so that one whose time is over has waited for so long.
                let patience = within / 2;
                http2.send(&key, reserved, (*request, patience)).await
            })),
        };
        let watch = Watch::new(&progress, within, self.settings.stall_timeout);
        let mut response = loop {
            match tokio::time::timeout(watch.pause(Instant::now()), &mut answer).await {
                Ok(Ok(response)) => break response,
                Ok(Err(failure)) => return Err(progress.failure().unwrap_or(failure)),
                Err(_) => watch.look(Instant::now())?,
            }
        };
        if !whole && !progress.is_over() {
            let stall = self.settings.stall_timeout;
            response
                .extensions_mut()
                .insert(Unended { progress, stall });
        }
        if response.version() == Version::HTTP_10 && is_kept_alive(response.headers()) {
            self.speaks_http10.store(true, Ordering::Relaxed);
        }
        let link = Link::of_answer(response.extensions());
        let limit = link::stated_limit(response.headers())
            .filter(|limit| *limit < self.settings.idle_timeout);
        if let (Some(link), Some(limit)) = (link, limit) {
            self.retires.store(true, Ordering::Relaxed);
            if let Some(capture) = capture {
                link.retire_after(limit, capture);
            }
        }
        Ok(response)
    }
}

/// An answer in HTTP/1.0 says that its connection stays open (RFC 9112 §9.3).
fn is_kept_alive(answer: &HeaderMap) -> bool {
    headers::connection_options(answer).any(|option| option.eq_ignore_ascii_case("keep-alive"))
}
