//! A connection that was accepted, served until its client, the drain or its phase's deadline ends
//! it.

use super::Answering;
use super::answer::Answer;
use super::handed_out::UnsentOfOne;
use super::http2::Streams;
use super::phase::{Leaving, Over, Phases};
use super::stream::{self, ClientStream, NetworkStream, WatchedStream};
use super::tls::ServerTls;
use super::turns::Turns;
use crate::body::Uploading;
use crate::drain::Drain;
use crate::peer::{Arrived, Connection, Place, Precedence};
use http::{HeaderValue, Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

/// What hyper moves about twice before it polls it: the future of a call's answer, bytes. One of 40 KB
/// cost a tenth of a call's instructions, and the first data cache.
const MOST_MOVED: usize = 1 << 10;
/// How long an idle client has to say goodbye (HTTP/2: to answer the GOAWAY).
const GOODBYE: Duration = Duration::from_secs(5);
/// After the announcement of a drain: how long a connection may go without a call before it is
/// closed.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// A connection that was accepted.
pub(super) struct Client {
    pub(super) stream: NetworkStream,
    pub(super) tls: Option<ServerTls>,
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) stall: Duration,
    pub(super) unsent: UnsentOfOne,
    pub(super) precedence: Precedence,
    pub(super) turns: Turns,
    /// The flow whose turns are its own: its network, or of a proxy of one's own this connection.
    pub(super) flow: SocketAddr,
}

impl Client {
    /// Serves it to its end: the client's, the drain's, or its phase's deadline.
    pub(super) async fn serve<S: Answering>(
        self,
        builder: auto::Builder<Streams>,
        service: S,
        phases: Phases,
        drain: Drain,
    ) {
        let Self {
            stream,
            tls,
            connection,
            place,
            stall,
            unsent,
            precedence,
            turns,
            flow,
        } = self;
        let kept = place.clone();
        let watched = stream::watch(stream, phases.clone(), stall);
        let stream = match &tls {
            None => ClientStream::plain(watched, phases.clone()),
            Some(tls) => match open_tls(tls, watched, &phases, &drain).await {
                Some(stream) => ClientStream::tls(stream, phases.clone()),
                None => return,
            },
        };
        if drain.is_announced() {
            phases.tell_to_leave();
        }
        let account = phases.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let call = account.begin_call();
            // An upgraded connection outlives its task, and takes its place among the others along.
            let arrived = Arrived {
                connection,
                place: place.lend(),
                precedence: precedence.clone(),
            };
            request.extensions_mut().insert(arrived);
            // An HTTP/2 stream is answered in a task of its own.
            let is_http2 = request.version() == Version::HTTP_2;
            let waits = is_http2.then(|| (turns.clone(), precedence.clone()));
            // Boxed: see `MOST_MOVED`.
            let answering = Box::pin(service.clone().call(request));
            let unsent = unsent.clone();
            let leaving = account.clone();
            let answered = async move {
                leaving.see_call();
                let mut response = match waits {
                    Some((turns, precedence)) => turns.in_turn(flow, precedence, answering).await,
                    None => answering.await,
                }?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    call.becomes_tunnel();
                } else if !is_http2 && leaving.is_told_to_leave() {
                    // hyper closes the connection after this answer (RFC 9112 §9.6).
                    response
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                if let Some(Uploading(over)) = response.extensions_mut().remove() {
                    call.stay_until(over);
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, call, &unsent)))
            };
            debug_assert!(size_of_val(&answered) <= MOST_MOVED);
            answered
        });
        let mut serving =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let is_late = drain.is_announced();
        let (mut draining, mut over) = (pin!(drain.draining()), pin!(phases.over()));
        let mut announced = pin!(drain.announced());
        let (mut is_told, mut has_begun, mut leave_by) = (false, false, None);
        let mut is_sent_away = false;
        let mut goodbye = None;
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                // ORDER: the connection first; what its phase is shows only then.
                biased;
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended with an error");
                    }
                    break;
                }
                () = phases.give_way() => {
                    asked_to_end = true;
                    serving.as_mut().graceful_shutdown();
                    // Its end is said (HTTP/2: GOAWAY) as far as the socket takes it at once.
                    let ended = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_ready())).await;
                    if ended || !phases.is_busy() {
                        tracing::debug!("a connection that waited for its client gives way to a new \
                            one");
                        break;
                    }
                    // A call that came at this moment is answered.
                    phases.decline();
                }
                () = &mut announced, if !is_told => {
                    is_told = true;
                    phases.tell_to_leave();
                    if !is_late && phases.is_http2() {
                        is_sent_away = true;
                        serving.as_mut().graceful_shutdown();
                    }
                    if !drain.is_draining() {
                        leave_by = Some(Instant::now() + LEAVE_WITHIN);
                    }
                }
                () = until(leave_by), if leave_by.is_some() && !asked_to_end => {
                    match phases.leaving() {
                        // Its GOAWAY says which of its calls were taken (RFC 9113 §6.8).
                        Leaving::Silent if phases.is_http2() && !is_sent_away => {
                            asked_to_end = true;
                            goodbye = Some(Instant::now() + GOODBYE);
                            serving.as_mut().graceful_shutdown();
                        }
                        Leaving::Silent => break,
                        Leaving::Speaking => leave_by = Some(Instant::now() + LEAVE_WITHIN),
                        Leaving::Free => {
                            asked_to_end = true;
                            serving.as_mut().graceful_shutdown();
                        }
                    }
                }
                () = &mut draining, if is_told && !has_begun && !asked_to_end => {
                    has_begun = true;
                    // One that was told to leave, and is about to call, has its time.
                    if leave_by.is_none() || phases.leaving() == Leaving::Free {
                        asked_to_end = true;
                        serving.as_mut().graceful_shutdown();
                        // An HTTP/2 client answers the goodbye, unless it is asleep or gone.
                        if phases.is_http2() {
                            goodbye = Some(Instant::now() + GOODBYE);
                        }
                    }
                }
                over_in = &mut over, if goodbye.is_none() => match over_in {
                    Over::Head => {
                        tracing::debug!("a request's head did not come in time");
                        break;
                    }
                    Over::Idle => {
                        asked_to_end = true;
                        goodbye = Some(Instant::now() + GOODBYE);
                        serving.as_mut().graceful_shutdown();
                    }
                },
                () = until(goodbye), if goodbye.is_some() => {
                    // A call that crossed the goodbye is answered.
                    if !phases.is_busy() {
                        break;
                    }
                    goodbye = Some(Instant::now() + GOODBYE);
                }
            }
        }
        drop(kept);
    }
}

/// A connection's handshake; none: it failed, came too late, or gave way, and the connection ends.
async fn open_tls(
    tls: &ServerTls,
    stream: WatchedStream,
    phases: &Phases,
    drain: &Drain,
) -> Option<TlsStream<WatchedStream>> {
    tokio::select! {
        // ORDER: the connection first; what its phase is shows only then.
        biased;
        opened = tls.shake_hands(stream) => match opened {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        },
        () = phases.give_way() => {
            tracing::debug!("a connection that waited for its client gives way to a new one");
            None
        }
        _ = phases.over() => {
            tracing::debug!("a TLS handshake did not end in time");
            None
        }
        () = drain.draining() => None,
        () = async {
            drain.announced().await;
            tokio::time::sleep(LEAVE_WITHIN).await;
        } => None,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
