//! Connections to the application, and what hyper's pool doesn't know of them: whether one has answered before and said
//! nothing since, and how long the application keeps it (`Keep-Alive: timeout=N`).

use super::places::Places;
use crate::body::BodyError;
use http::{Extensions, HeaderMap, Uri};
use hyper_util::client::legacy::Error;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::Service;

/// A connection's record; each response and each error carries its connection's.
#[derive(Debug, Clone)]
pub(super) struct Link(Arc<Record>);

#[derive(Debug, Default)]
struct Record {
    /// It has given an answer.
    used: AtomicBool,
    /// Bytes have come since the last ones were sent.
    heard: AtomicBool,
    /// When the application may close it, if it says; moved by each answer. Locked for moments, by whoever has an answer.
    ends: Mutex<Option<Instant>>,
    /// The connection's place until it is closed. Locked for an exchange.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Link {
    /// Of a connection that is opened in this place.
    pub(super) fn new(place: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Record { place: Mutex::new(Some(place)), ..Record::default() }))
    }

    /// Of a response's extensions; it has answered from now on.
    pub(super) fn of_answer(extensions: &Extensions) -> Option<Self> {
        let link = extensions.get::<Self>()?;
        link.0.used.store(true, Ordering::Relaxed);
        Some(link.clone())
    }

    /// Exchanges the connection's place for one of these, if one is free. `true`: it has one of these now, or is closed and
    /// needs none.
    pub(super) fn move_to(&self, places: &Arc<Semaphore>) -> bool {
        let mut place = self.0.place.lock();
        let Some(before) = &*place else { return true };
        if Arc::ptr_eq(before.semaphore(), places) {
            return true;
        }
        let Ok(after) = Arc::clone(places).try_acquire_owned() else { return false };
        let before = place.replace(after);
        // ORDER: whoever waits for the place is woken without the lock.
        drop(place);
        drop(before);
        true
    }

    /// A request failed on a connection that had answered before, and of whose answer no byte came: the application has
    /// closed it while the request was on its way.
    pub(super) fn was_closed_between_requests(error: &Error) -> bool {
        let mut extensions = Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut extensions);
        }
        extensions
            .remove::<Self>()
            .is_some_and(|link| link.0.used.load(Ordering::Relaxed) && !link.0.heard.load(Ordering::Relaxed))
    }

    /// Takes the connection out of the pool before the application closes it. Until it answers again it is good for
    /// `limit`; a request that is on it by then is not disturbed.
    pub(super) fn retire_after(self, limit: Duration, capture: CaptureConnection) {
        let first = self.0.ends.lock().replace(Instant::now() + limit).is_none();
        if !first {
            return;
        }
        // Ends when the connection has been still for `limit`: one task a connection, a few seconds beyond its end.
        drop(tokio::spawn(async move {
            loop {
                let Some(ends) = *self.0.ends.lock() else { return };
                if ends <= Instant::now() {
                    break;
                }
                tokio::time::sleep_until(ends).await;
            }
            if let Some(connected) = &*capture.connection_metadata() {
                connected.poison();
            }
        }));
    }
}

/// How long an idle connection may be used again, by its `Keep-Alive: timeout=N` (seconds): a second less than the
/// application says, since both clocks run apart by the way between; of one second, a half.
pub(super) fn stated_limit(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("keep-alive").iter().filter_map(|line| line.to_str().ok());
    let mut parameters = lines.flat_map(|line| line.split(',')).filter_map(|parameter| parameter.split_once('='));
    let seconds = parameters.find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    let stated = Duration::from_secs(seconds.into());
    Some(stated.saturating_sub(Duration::from_secs(1)).max(stated / 2))
}

/// hyper's connector, with a record and a place for each connection.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    places: Arc<Places>,
}

impl Connector {
    pub(super) const fn new(tcp: HttpConnector, places: Arc<Places>) -> Self {
        Self { tcp, places }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Linked>;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let places = Arc::clone(&self.places);
        // Nothing is begun before it is polled: a connection has its place first.
        let connecting = self.tcp.call(target.clone());
        Box::pin(async move {
            let place = places.connect(target.authority()).await?;
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Linked { stream, link: Link::new(place) }))
        })
    }
}

/// A connection that keeps its record, and its place until it is closed: what it is upgraded to has both.
#[derive(Debug)]
pub(super) struct Linked {
    stream: TcpStream,
    link: Link,
}

impl Drop for Linked {
    fn drop(&mut self) {
        // Clones of the record may outlive the connection; its place doesn't.
        let place = self.link.0.place.lock().take();
        drop(place);
    }
}

impl Connection for Linked {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.link.clone())
    }
}

impl AsyncRead for Linked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.link.0.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Linked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.link.0.heard.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        unless_closed(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.0.heard.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        unless_closed(written, parts.iter().map(|part| part.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An application may answer and close before it has read the whole body (RFC 9112 §9.5). Its answer is there to be read
/// then, and counts: what it no longer takes is thrown away. Without an answer, reading tells of the end.
fn unless_closed(written: Poll<io::Result<usize>>, all: usize) -> Poll<io::Result<usize>> {
    match written {
        Poll::Ready(Err(error)) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Poll::Ready(Ok(all))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_answer_is_heard_though_its_application_took_no_more_of_the_body() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let mut linked = Linked { stream, link: Link::new(place) };
        let (mut application, _) = listener.accept().await.unwrap();
        linked.write_all(b"a body").await.unwrap();
        application.readable().await.unwrap();
        application.write_all(b"answer").await.unwrap();
        // With a byte unread this resets the connection.
        drop(application);
        for _ in 0..100 {
            linked.write_all(&[0; 64 << 10]).await.unwrap();
        }
        let mut heard = [0; 6];
        linked.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"answer");
    }
    use http::HeaderValue;

    #[tokio::test]
    async fn a_closed_connection_has_no_place_though_its_record_is_still_known() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let [places, others] = [1, 1].map(|count| Arc::new(Semaphore::new(count)));
        let link = Link::new(Arc::clone(&places).try_acquire_owned().unwrap());
        let linked = Linked { stream, link: link.clone() };
        assert!(link.move_to(&others));
        assert_eq!((places.available_permits(), others.available_permits()), (1, 0));
        drop(linked);
        assert!(link.move_to(&places));
        assert_eq!((places.available_permits(), others.available_permits()), (1, 1));
    }

    #[test]
    fn a_connection_is_left_a_second_before_the_application_closes_it() {
        let limit = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(line));
            stated_limit(&headers)
        };
        assert_eq!(limit("timeout=5"), Some(Duration::from_secs(4)));
        assert_eq!(limit("max=100, Timeout = 3"), Some(Duration::from_secs(2)));
        assert_eq!(limit("timeout=1"), Some(Duration::from_millis(500)));
        assert_eq!(limit("timeout=0"), Some(Duration::ZERO));
        assert_eq!(limit("max=100"), None);
        assert_eq!(limit("timeout=soon"), None);
    }
}
