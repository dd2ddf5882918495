//! Connections to the application: each takes its place before it is opened, and keeps its record
//! until it is closed.

use super::link::Link;
use super::loopback;
use super::places::Places;
use super::resolver::OneLookUp;
use super::settings::{UNIX, UpstreamSettings};
use super::tls::{Offer, UpstreamTls};
use super::wire::WireStream;
use crate::body::BodyError;
use futures_util::future::{Either, select};
use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};

/// How long a connection that is being opened counts among those that are opened at once. One that
/// takes longer waits for the network or for an application whose queue is full.
const OPENING: Duration = Duration::from_millis(20);

/// When a Unix socket whose backlog is full is asked again, first and at last.
const FULL_BACKLOG: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// A connection that isn't there by then is asked for once more.
const AGAIN: Duration = Duration::from_millis(400);

/// Opens connections, by hyper's connector where they aren't over loopback or a Unix socket, with a
/// record and a place for each, and TLS where the address says so. As a service it opens them for
/// HTTP/1.1.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<OneLookUp>,
    tls: Option<UpstreamTls>,
    /// Where an address of the scheme [`UNIX`] listens.
    socket: Option<Arc<Path>>,
    /// So long a connection to all addresses of a name may take, the look-up before it, and the TLS
    /// handshake after it.
    timeout: Duration,
    places: Arc<Places>,
}

impl Connector {
    pub(super) fn new(settings: &UpstreamSettings, places: Arc<Places>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(OneLookUp::by(GaiResolver::new()));
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        tcp.enforce_http(false);
        Self {
            tcp,
            tls: settings.tls.clone(),
            socket: settings.socket.as_deref().map(Arc::from),
            timeout: settings.connect_timeout,
            places,
        }
    }

    /// A connection in a place of its own, kept until it is closed.
    ///
    /// # Errors
    /// None is there in time, or its handshake failed.
    pub(super) async fn open(&self, target: Uri, offer: Offer) -> Result<LinkedStream, BodyError> {
        let place = self.places.connect(target.authority()).await?;
        let stream = open_in_turn(&self.places, self.open_wire(target, offer)).await?;
        Ok(LinkedStream {
            stream,
            link: Link::new(place),
        })
    }

    async fn open_wire(&self, target: Uri, offer: Offer) -> Result<WireStream, BodyError> {
        if target.scheme_str() == Some(UNIX) {
            let socket = self.socket.as_deref().unwrap_or(Path::new(""));
            let opened = in_time(self.timeout, connect_unix(socket)).await?;
            return Ok(WireStream::Unix(opened));
        }
        let attempt = || self.open_tcp(target.clone());
        // The look-up of its name has as long again as the connection.
        let stream = in_time(self.timeout * 2, open_again(attempt)).await?;
        if target.scheme() != Some(&Scheme::HTTPS) {
            return Ok(WireStream::Tcp(stream));
        }
        // INVARIANT: what is asked of by https never goes out in the clear.
        let tls = self.tls.as_ref().ok_or(NoTls)?;
        let host = target.host().unwrap_or_default();
        let opened = in_time(self.timeout, tls.shake_hands(host, stream, offer)).await?;
        Ok(WireStream::Tls(Box::new(opened)))
    }

    async fn open_tcp(&self, target: Uri) -> Result<TcpStream, BodyError> {
        match loopback::address_of(&target) {
            Some(address) => in_time(self.timeout, loopback::open(address)).await,
            None => Ok(self.tcp.clone().oneshot(target).await?.into_inner()),
        }
    }
}

/// The configuration makes settings for TLS wherever an address has `https`.
#[derive(Debug, thiserror::Error)]
#[error("TLS has no settings")]
struct NoTls;

async fn in_time<T, E: Into<BodyError>>(
    limit: Duration,
    opening: impl Future<Output = Result<T, E>>,
) -> Result<T, BodyError> {
    match timeout(limit, opening).await {
        Ok(opened) => opened.map_err(Into::into),
        Err(_) => Err(io::Error::from(ErrorKind::TimedOut).into()),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<LinkedStream>;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.open(target, Offer::Http1).await.map(TokioIo::new) })
    }
}

/// Opens a connection, and asks for another one beside it while there is none, again and again: an
/// application whose queue is full drops what asks, and the system asks again after one and three
/// seconds only. The first to be opened, refused or given up counts. There are two at once at most
/// (a socket each), the first one among them: the way may be longer than the time between the
/// others.
async fn open_again<T, E, F>(mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut first = pin!(attempt());
    if let Ok(opened) = timeout(AGAIN, first.as_mut()).await {
        return opened;
    }
    loop {
        let other = pin!(timeout(AGAIN, attempt()));
        match select(first.as_mut(), other).await {
            Either::Left((opened, _)) | Either::Right((Ok(opened), _)) => return opened,
            Either::Right((Err(_), _)) => {}
        }
    }
}

/// Connects to a Unix socket. One whose backlog is full refuses at once (`EAGAIN`, connect(2)), where
/// TCP would wait: it is asked again.
async fn connect_unix(socket: &Path) -> io::Result<UnixStream> {
    let [mut pause, longest] = FULL_BACKLOG;
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = longest.min(pause * 2);
            }
            result => return result,
        }
    }
}

/// Opens a connection when fewer than [`OPENINGS`](super::places::OPENINGS) others are being opened.
async fn open_in_turn<T>(places: &Places, connecting: impl Future<Output = T>) -> T {
    let turn = places.begin_opening().await;
    let mut connecting = pin!(connecting);
    match timeout(OPENING, connecting.as_mut()).await {
        Ok(opened) => opened,
        Err(_) => {
            // It waits for the network now, and takes no processor time meanwhile.
            drop(turn);
            connecting.await
        }
    }
}

/// A connection that keeps its record, and its place until it is closed: what it is upgraded to has
/// both.
#[derive(Debug)]
pub(super) struct LinkedStream {
    stream: WireStream,
    link: Link,
}

impl LinkedStream {
    /// The application has chosen HTTP/2 (ALPN).
    pub(super) fn has_negotiated_http2(&self) -> bool {
        self.stream.has_negotiated_http2()
    }

    /// Its record.
    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }
}

impl Drop for LinkedStream {
    fn drop(&mut self) {
        // Clones of the record may outlive the connection; its place doesn't.
        self.link.release_place();
    }
}

impl Connection for LinkedStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.link.clone())
    }
}

impl AsyncRead for LinkedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.link.is_abandoned() {
            // As if it had ended: hyper closes it.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.link.note_bytes_received();
        }
        if let Poll::Ready(Err(error)) = &read {
            self.link.note_error(error);
        }
        read
    }
}

impl AsyncWrite for LinkedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.note_bytes_sent();
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        ignore_closed(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.note_bytes_sent();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        ignore_closed(written, parts.iter().map(|part| part.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What TLS has kept goes now.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        ignore_closed(flushed, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An application may answer and close before it has read the whole body (RFC 9112 §9.5). Its
/// answer is there to be read then, and counts: what it no longer takes is thrown away. Without an
/// answer, reading tells of the end.
fn ignore_closed<T>(written: Poll<io::Result<T>>, all: T) -> Poll<io::Result<T>> {
    match written {
        Poll::Ready(Err(error))
            if matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            Poll::Ready(Ok(all))
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "connector_tests.rs"]
mod tests;
