//! A connection's I/O.

use super::Phases;
use super::stall::Stall;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection's I/O as the network has it, which tells its account of what is written, and ends
/// when its client takes nothing of what is ready. TLS stands above it.
#[derive(Debug)]
pub(in crate::server) struct Watched<T> {
    stream: T,
    phases: Phases,
    stall: Stall,
    socket: Socket<T>,
}

/// What can be asked of a connection's socket, and done to it.
#[derive(Debug)]
pub(in crate::server) struct Socket<T> {
    /// Bytes that were written and that the client hasn't taken; none: it can't be told.
    pub(in crate::server) unsent: fn(&T) -> Option<u32>,
    /// Whether bytes have come that weren't read.
    pub(in crate::server) has_unread: fn(&T) -> bool,
    /// What is done to the connection when its client has taken nothing for too long.
    pub(in crate::server) cut: fn(&T),
}

impl<T> Watched<T> {
    /// A client may take nothing of what is ready for `limit`, and for a part of it more, four of
    /// which make the whole.
    pub(in crate::server) const fn new(
        stream: T,
        phases: Phases,
        limit: Duration,
        socket: Socket<T>,
    ) -> Self {
        Self {
            stream,
            phases,
            stall: Stall::new(limit),
            socket,
        }
    }

    /// What became of a write.
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall.end();
            self.phases.sent();
            return written;
        }
        self.phases.wait_to_send();
        let unsent = || (self.socket.unsent)(&self.stream);
        ready!(self.stall.poll(unsent, cx));
        (self.socket.cut)(&self.stream);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took nothing for too long",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        // A read can be pending though bytes are there: the runtime hasn't heard of them yet.
        if read.is_pending() && self.phases.is_asked() && (self.socket.has_unread)(&self.stream) {
            self.phases.decline();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(written, cx)
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
