//! A client's connection as bytes: over TCP or a Unix socket, in the clear or over TLS.

use super::phase::{Phases, Socket, Watched};
use super::unsent;
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// What the network has of a connection.
#[derive(Debug)]
pub(super) enum NetworkStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection whose client is waited for so long and no longer.
pub(super) type WatchedStream = Watched<NetworkStream>;

/// Watches a connection: its client may take nothing of what is ready for `stall`.
pub(super) const fn watch(stream: NetworkStream, phases: Phases, stall: Duration) -> WatchedStream {
    let socket = Socket {
        unsent: NetworkStream::unsent,
        has_unread: NetworkStream::has_unread,
        cut: NetworkStream::cut,
    };
    Watched::new(stream, phases, stall, socket)
}

impl NetworkStream {
    /// Bytes that were written and that the client hasn't taken; none where the system doesn't
    /// tell.
    fn unsent(&self) -> Option<u32> {
        match self {
            Self::Tcp(stream) => unsent::in_kernel(stream),
            Self::Unix(_) => None,
        }
    }

    /// Where the system doesn't tell, a connection has nothing unread.
    fn has_unread(&self) -> bool {
        let bytes = match self {
            Self::Tcp(stream) => rustix::io::ioctl_fionread(stream),
            Self::Unix(stream) => rustix::io::ioctl_fionread(stream),
        };
        bytes.is_ok_and(|bytes| bytes > 0)
    }

    /// The kernel drops what the client didn't take, and doesn't go on offering it.
    fn cut(&self) {
        tracing::debug!("a client took nothing for too long; its connection is cut");
        // What a Unix socket holds goes with it.
        if let Self::Tcp(stream) = self
            && let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "SO_LINGER could not be set");
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($stream:expr, $one:path, $other:path, $pinned:ident => $call:expr) => {
        match $stream {
            $one(stream) => {
                let $pinned = Pin::new(stream);
                $call
            }
            $other(stream) => {
                let $pinned = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for NetworkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, Self::Tcp, Self::Unix, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for NetworkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, Self::Tcp, Self::Unix, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, Self::Tcp, Self::Unix, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, Self::Tcp, Self::Unix, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, Self::Tcp, Self::Unix, stream => stream.poll_shutdown(cx))
    }
}

/// What HTTP has of a connection; its account hears of the bytes that come.
#[derive(Debug)]
pub(super) struct ClientStream {
    bytes: Bytes,
    phases: Phases,
    /// Its end, which has come and is not told yet.
    end: Option<io::Result<()>>,
}

#[derive(Debug)]
enum Bytes {
    Plain(WatchedStream),
    /// Boxed: it is ten times as large.
    Tls(Box<TlsStream<WatchedStream>>),
}

impl ClientStream {
    /// In the clear.
    pub(super) const fn plain(stream: WatchedStream, phases: Phases) -> Self {
        let bytes = Bytes::Plain(stream);
        Self {
            bytes,
            phases,
            end: None,
        }
    }

    /// Over TLS.
    pub(super) fn tls(stream: TlsStream<WatchedStream>, phases: Phases) -> Self {
        let bytes = Bytes::Tls(Box::new(stream));
        Self {
            bytes,
            phases,
            end: None,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match self.end.take() {
            Some(end) => Poll::Ready(end),
            None => either!(&mut self.bytes, Bytes::Plain, Bytes::Tls, stream => {
                stream.poll_read(cx, buffer)
            }),
        };
        let heard = buffer.filled().get(before..).unwrap_or_default();
        if !heard.is_empty() {
            self.phases.heard(heard);
            return read;
        }
        match read {
            // Ruling 2: a client may end its side right behind a call. hyper would drop the call before
            // anything has looked at it: it is told of the end when that has happened.
            Poll::Ready(end) if self.phases.has_unseen_call(cx) => {
                self.end = Some(end);
                Poll::Pending
            }
            read => read,
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.bytes, Bytes::Plain, Bytes::Tls, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut self.bytes, Bytes::Plain, Bytes::Tls, stream => {
            stream.poll_write_vectored(cx, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Plain(stream) => stream.is_write_vectored(),
            Bytes::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.bytes, Bytes::Plain, Bytes::Tls, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut self.bytes, Bytes::Plain, Bytes::Tls, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::newcomer::Newcomer;
    use crate::server::phase::Limits;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn an_end_behind_a_call_is_told_when_the_call_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let limits = Limits {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
        };
        let phases = Phases::new(limits, Newcomer::default());
        let watched = watch(NetworkStream::Tcp(accepted), phases.clone(), limits.idle);
        let mut stream = ClientStream::plain(watched, phases.clone());
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(client);
        let mut head = [0; 18];
        stream.read_exact(&mut head).await.unwrap();
        let _call = phases.begin_call();
        // The first read that finds the end, however long that is on its way.
        while stream.end.is_none() {
            let (mut byte, mut rest) = ([0], None);
            poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut byte);
                rest = Some(
                    Pin::new(&mut stream)
                        .poll_read(cx, &mut buffer)
                        .is_pending(),
                );
                Poll::Ready(())
            })
            .await;
            assert_eq!(rest, Some(true));
            tokio::task::yield_now().await;
        }
        phases.see_call();
        assert_eq!(stream.read(&mut head).await.unwrap(), 0);
    }
}
