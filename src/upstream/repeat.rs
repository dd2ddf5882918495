//! Requests that may be sent a second time (RFC 9110 §9.2.2).

use crate::body::{Body, BodyError};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Method, Request, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use std::time::Duration;
use tokio::runtime::Handle;

/// Largest body that is kept to be sent again, bytes.
const SMALL: u64 = 16 << 10;

/// How long the end of a body may come behind its last byte.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Of a request that an application wanted over HTTP/1.1 (RFC 9113 §7, HTTP_1_1_REQUIRED).
#[derive(Debug, Clone, Copy)]
pub(super) struct OverHttp1;

/// Methods whose requests a proxy may send again (RFC 9110 §9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// The call carries a credential by which some applications take its connection to be its caller's
/// from then on (NTLM, and Negotiate with it: RFC 4559 §6): nobody else's call may go on that.
pub(super) fn authenticates_connection(headers: &HeaderMap) -> bool {
    let schemes = [b"ntlm".as_slice(), b"negotiate"];
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    lines.any(|line| {
        let mut words = line.as_bytes().trim_ascii().split(u8::is_ascii_whitespace);
        let scheme = words.next().unwrap_or_default().to_ascii_lowercase();
        schemes.contains(&&*scheme)
    })
}

/// The body of a call, in memory where that lets the call be sent again.
pub(crate) fn gather_to_repeat(method: &Method, body: Body) -> Body {
    if is_idempotent(method) {
        gather_if_at_hand(body)
    } else {
        body
    }
}

/// A small body that has come with its head, in one piece, so that it can be sent again; any other
/// one as it is.
pub(super) fn gather_if_at_hand(mut body: Body) -> Body {
    let is_small = body
        .size_hint()
        .exact()
        .is_some_and(|bytes| (1..=SMALL).contains(&bytes));
    if !is_small || !matches!(body, Body::Incoming(_)) {
        return body;
    }
    let frame = match body.frame().now_or_never() {
        Some(Some(Ok(frame))) => frame,
        // It would tell its error no second time.
        Some(Some(Err(error))) => {
            let broken = stream::iter([Err::<Frame<Bytes>, _>(error)]);
            return Body::boxed(StreamBody::new(broken));
        }
        Some(None) | None => return body,
    };
    match frame.into_data() {
        Ok(data) if body.is_end_stream() => Body::from(data),
        Ok(data) if lacks_only_its_end(&body) => {
            let_end(body);
            Body::from(data)
        }
        Ok(data) => Body::boxed(StreamBody::new(
            stream::iter([Ok(Frame::data(data))])
                .chain(stream::unfold(body, |mut body| async move {
                    body.frame().await.map(|frame| (frame, body))
                })),
        )),
        Err(trailers) => Body::boxed(StreamBody::new(stream::iter([Ok::<_, BodyError>(
            trailers,
        )]))),
    }
}

/// All bytes of a body have come that its head speaks of, and its end hasn't: over HTTP/2 that may be
/// a frame of its own (RFC 9113 §8.1).
pub(super) fn lacks_only_its_end(body: &Body) -> bool {
    !body.is_end_stream() && body.size_hint().exact() == Some(0)
}

/// Waits for the end of such a body. Were it dropped before, its stream would be reset, as if the
/// call weren't whole.
pub(super) fn let_end(mut body: Body) {
    if let Ok(runtime) = Handle::try_current() {
        // Ends with the body or its time.
        drop(runtime.spawn(async move {
            drop(tokio::time::timeout(END_WITHIN, body.frame()).await);
        }));
    }
}

/// The same request, if nothing of it would be used up.
pub(super) fn copy_if_at_hand(request: &Request<Body>) -> Option<Box<Request<Body>>> {
    if request.headers().contains_key(header::UPGRADE) {
        return None;
    }
    let mut again = match request.body() {
        Body::Full(whole) => Box::new(Request::new(Body::Full(whole.clone()))),
        other if other.is_end_stream() => Box::new(Request::new(Body::empty())),
        _ => return None,
    };
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}
