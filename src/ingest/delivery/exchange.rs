//! One exchange with the application: what the wire said.

use super::contract::MixedCredentials;
use super::deliverer::Deliverer;
use super::dry_run;
use super::load::Ready;
use super::request::Outgoing;
use crate::ingest::settings::{Group, Shape, Target};
use crate::metrics::Metrics;
use crate::spans::BatchSpan;
use crate::upstream::{Upstream, UpstreamError};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use std::sync::Arc;

/// Largest reply that is read; a longer one is cut off and counts as no answer.
const MAX_REPLY: usize = 4 << 20;

/// What an attempt found.
pub(super) enum Found {
    Reply(StatusCode, HeaderMap, Bytes),
    /// A dry run: nobody was asked. What is wrong with the request, if anything.
    Supposed(Result<(), String>),
    Network(String),
    Unsendable(&'static str),
}

impl Found {
    /// The status of the reply.
    pub(super) const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Reply(status, ..) => Some(*status),
            Self::Supposed(_) | Self::Network(_) | Self::Unsendable(_) => None,
        }
    }
}

impl Deliverer {
    /// Sends a load and reads the whole reply, within `delivery.timeout`. `span`: of the attempt.
    pub(super) async fn exchange(&self, group: &Group, load: &[Ready], span: &BatchSpan) -> Found {
        let _in_flight = InFlight::begin(&self.metrics);
        let mut request = match self.assembler.request(group, load) {
            Ok(Some(request)) => request,
            Ok(None) => return Found::Unsendable("it has no address"),
            Err(MixedCredentials) => {
                self.metrics.mixed_credentials.inc();
                return Found::Unsendable("its events differ in credential");
            }
        };
        span.write_parent(request.request.headers_mut());
        let Some(upstream) = &self.upstream else {
            return Found::Supposed(dry_run::check(group, load, request).await);
        };
        let asked = request.request.uri().clone();
        let found = match tokio::time::timeout(self.settings.timeout, ask(upstream, request)).await
        {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Found::Network(error.to_string()),
            Err(_) => {
                upstream.note_late(&asked);
                Found::Network("no answer in time".to_owned())
            }
        };
        if !matches!(group.shape, Shape::Batch(Target::Url(_))) {
            let is_answered = matches!(found, Found::Reply(..));
            self.metrics.reached.note(is_answered);
        }
        found
    }
}

async fn ask(upstream: &Upstream, outgoing: Outgoing) -> Result<Found, UpstreamError> {
    let Outgoing { request, peer } = outgoing;
    let answer = match &peer {
        Some(peer) => upstream.send_for(request, peer).await?,
        None => upstream.send(request).await?,
    };
    let (head, body) = answer.into_parts();
    match Limited::new(body, MAX_REPLY).collect().await {
        Ok(body) => Ok(Found::Reply(head.status, head.headers, body.to_bytes())),
        Err(error) => Ok(Found::Network(error.to_string())),
    }
}

/// A delivery without an answer yet, counted.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
        self.0.deliveries.inc();
    }
}
