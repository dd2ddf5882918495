//! What goes over an HTTP/2 connection: its settings, and a request as HTTP/2 has it.

use crate::body::Body;
use crate::upstream::connector::LinkedStream;
use crate::upstream::error::UpstreamError;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version, header};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::time::Duration;

/// Bytes of one answer that are read ahead of its client, and of all answers of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// Bytes of one request's body that lie ready to be framed.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Largest response head, bytes.
const MAX_HEAD: u32 = 128 << 10;
/// Where calls are under way and nothing is heard, the application is asked for a sign of life.
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// An open connection, to be run.
pub(super) type Running = http2::Connection<TokioIo<LinkedStream>, Body, TokioExecutor>;

/// Begins to speak HTTP/2.
///
/// # Errors
/// The connection ended.
pub(super) async fn shake_hands(
    stream: LinkedStream,
) -> hyper::Result<(SendRequest<Body>, Running)> {
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
}

/// The request as HTTP/2 has it: Host is `:authority`, and nothing speaks of the connection.
///
/// # Errors
/// Its address can't be written.
pub(super) fn translate(request: Request<Body>) -> Result<Request<Body>, UpstreamError> {
    let (mut head, body) = request.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    let mut parts = head.uri.into_parts();
    if let Some(host) = head.headers.remove(header::HOST) {
        // One that can't be written isn't replaced: it would be a call to another host.
        if !host.is_empty() {
            let named = Authority::try_from(host.as_bytes());
            parts.authority = Some(named.map_err(|_| UpstreamError::BadTarget)?);
        }
    }
    // A Unix socket is spoken to in the clear.
    if parts.scheme != Some(Scheme::HTTPS) {
        parts.scheme = Some(Scheme::HTTP);
    }
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(parts).map_err(|_| UpstreamError::BadTarget)?;
    head.version = Version::HTTP_2;
    Ok(Request::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority_of(host: &str) -> Result<String, UpstreamError> {
        let request = Request::get("http://application.test/x").header(header::HOST, host);
        let translated = translate(request.body(Body::empty()).unwrap())?;
        Ok(translated.uri().authority().unwrap().to_string())
    }

    #[test]
    fn a_host_that_cannot_be_an_authority_is_refused_and_not_replaced() {
        assert_eq!(authority_of("app.test:81").unwrap(), "app.test:81");
        assert_eq!(authority_of("").unwrap(), "application.test");
        let refused = authority_of("a b/c").unwrap_err();
        assert!(matches!(refused, UpstreamError::BadTarget));
    }
}
