//! One exchange with the application: what the wire said.
//!
//! | the body of the answer | 2xx to a batch | 2xx to a single call | any other status |
//! |---|---|---|---|
//! | is whole, but its coding can't be taken off | unclear | as it says by its head | as it says by its head |
//! | is longer than [`MAX_REPLY`] | unclear | as it says by its head and beginning | likewise |
//! | isn't there in `delivery.timeout` | no answer | likewise | likewise |
//! | breaks off | no answer | no answer | likewise |

use super::contract::MixedCredentials;
use super::deliverer::Deliverer;
use super::dry_run;
use super::load::Ready;
use super::reply::Reply;
use super::request::Outgoing;
use crate::body::Body;
use crate::coding::{Coding, broken};
use crate::ingest::lanes::window::Form;
use crate::ingest::settings::{Group, Shape, Target};
use crate::metrics::Metrics;
use crate::spans::BatchSpan;
use crate::upstream::Upstream;
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// So much of an answer's body is read, bytes; and so much may be in it without its coding.
const MAX_REPLY: usize = 4 << 20;
/// A body of this size at most is unpacked at once, a larger one off the runtime's threads, bytes as
/// sent.
const SMALL_SENT: usize = 4 << 10;

/// What an attempt found.
pub(super) enum Found {
    Reply(Reply),
    /// A dry run: nobody was asked. What is wrong with the request, if anything.
    Supposed(Result<(), String>),
    Network(String),
    Unsendable(&'static str),
}

impl Found {
    /// The status of the reply.
    pub(super) const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Reply(reply) => Some(reply.status),
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
        let is_single = load
            .first()
            .is_some_and(|ready| ready.batch.form == Form::Single);
        let asked = request.request.uri().clone();
        let deadline = Instant::now() + self.settings.timeout;
        let (found, is_late) = ask(upstream, request, deadline, is_single).await;
        if is_late {
            upstream.note_late(&asked);
        }
        if !matches!(group.shape, Shape::Batch(Target::Url(_))) {
            let is_answered = matches!(found, Found::Reply(..));
            self.metrics.reached.note(is_answered);
        }
        found
    }
}

/// What came of a request, and whether it, or a part of it, wasn't there in time.
async fn ask(
    upstream: &Upstream,
    outgoing: Outgoing,
    deadline: Instant,
    is_single: bool,
) -> (Found, bool) {
    let Outgoing { request, peer } = outgoing;
    let asked = async {
        match &peer {
            Some(peer) => upstream.send_for(request, peer).await,
            None => upstream.send(request).await,
        }
    };
    let (head, body) = match timeout_at(deadline, asked).await {
        Ok(Ok(answer)) => answer.into_parts(),
        Ok(Err(error)) => return (Found::Network(error.to_string()), false),
        Err(_) => return (Found::Network("no answer in time".to_owned()), true),
    };
    let mut read = BytesMut::new();
    let end = match timeout_at(deadline, read_body(body, &mut read)).await {
        Ok(end) => end,
        Err(_) => End::Late,
    };
    let is_late = matches!(end, End::Late);
    let is_success = head.status.is_success();
    let unread = match end {
        End::Whole => None,
        End::TooLong => Some("its body is too long"),
        // What a single call was answered with is what its client would have got.
        End::Late if is_single || !is_success => Some("its body isn't there in time"),
        End::Broken(_) if !is_success => Some("its body breaks off"),
        End::Late => return (Found::Network("no whole answer in time".to_owned()), true),
        End::Broken(error) => return (Found::Network(error), false),
    };
    let reply = Reply {
        status: head.status,
        headers: head.headers,
        body: read.freeze(),
        unread,
    };
    (Found::Reply(take_coding_off(reply).await), is_late)
}

/// How a body ended.
enum End {
    Whole,
    TooLong,
    Late,
    Broken(String),
}

/// Reads [`MAX_REPLY`] bytes at most.
async fn read_body(mut body: Body, read: &mut BytesMut) -> End {
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => {
                let room = MAX_REPLY - read.len();
                read.extend_from_slice(data.get(..room).unwrap_or(&data));
                if data.len() > room {
                    return End::TooLong;
                }
            }
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => return End::Broken(error.to_string()),
        }
    }
    End::Whole
}

/// The same reply without its body's coding. Applications pack answers though nobody asks for it.
async fn take_coding_off(mut reply: Reply) -> Reply {
    if reply.body.is_empty() {
        return reply;
    }
    let unpacked = match Coding::of(&reply.headers) {
        Ok(None) => return reply,
        // The end of what isn't whole is missing to its coding, too.
        Ok(Some(_)) if reply.unread.is_some() => Err(broken("it isn't whole")),
        Ok(Some(coding)) if reply.body.len() <= SMALL_SENT => coding.unpack(&reply.body, MAX_REPLY),
        Ok(Some(coding)) => {
            let packed = reply.body.clone();
            let unpacking = tokio::task::spawn_blocking(move || coding.unpack(&packed, MAX_REPLY));
            unpacking
                .await
                .unwrap_or_else(|_| Err(broken("unpacking it broke off")))
        }
        Err(unknown) => Err(unknown),
    };
    match unpacked {
        Ok(body) => reply.body = body,
        Err(error) => {
            tracing::debug!(%error, "an answer to a delivery can't be read");
            reply.body = Bytes::new();
            reply.unread.get_or_insert("its coding can't be taken off");
        }
    }
    reply.headers.remove(header::CONTENT_ENCODING);
    reply
}

/// A delivery without an answer yet, counted.
struct InFlight {
    metrics: Arc<Metrics>,
    number: u64,
}

impl InFlight {
    fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics: Arc::clone(metrics),
            number: metrics.flights.begin(Instant::now()),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.flights.end(self.number);
        self.metrics.in_flight.dec();
        self.metrics.deliveries.inc();
    }
}
