//! A connection to an application as bytes: over TCP, in the clear or over TLS, or a Unix socket.

use crate::tls::HTTP_2;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connection to an application.
#[derive(Debug)]
pub(super) enum WireStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: it is many times as large.
    Tls(Box<TlsStream<TcpStream>>),
}

impl WireStream {
    /// The application has chosen HTTP/2 (ALPN).
    pub(super) fn has_negotiated_http2(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP_2),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! any {
    ($stream:expr, $pinned:ident => $call:expr) => {
        match $stream {
            WireStream::Tcp(stream) => {
                let $pinned = Pin::new(stream);
                $call
            }
            WireStream::Unix(stream) => {
                let $pinned = Pin::new(stream);
                $call
            }
            WireStream::Tls(stream) => {
                let $pinned = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        any!(&mut *self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        any!(&mut *self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        any!(&mut *self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        any!(&mut *self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        any!(&mut *self, stream => stream.poll_shutdown(cx))
    }
}
