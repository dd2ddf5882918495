//! A listener that another process opened and passed on: systemd's socket activation, and what
//! speaks its protocol (sd_listen_fds(3)).
//!
//! Such a listener outlives this process. Connections that come while one process ends and the next
//! one starts wait in the kernel, and none is refused. So a process that was passed its listener
//! ends in another way (`mod.rs`): it goes on accepting while it tells its clients to leave.

use super::listen::Listener;
use listenfd::ListenFd;
use socket2::SockRef;
use std::io;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Takes the public listener that was passed to this process, if one was: descriptor 3, where
/// `LISTEN_FDS` is 1 and `LISTEN_PID` is this process. To be called once, and in a runtime.
///
/// # Errors
/// More than one was passed, or one that isn't a listening socket of TCP or a Unix socket with a
/// file.
pub fn take_passed() -> Result<Option<Listener>, PassedError> {
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => return Ok(None),
        1 => {}
        count => return Err(PassedError::Several(count)),
    }
    if let Ok(Some(listener)) = passed.take_tcp_listener(0) {
        is_listening(SockRef::from(&listener))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        return Ok(Some(Listener::of_passed_tcp(listener)));
    }
    let Ok(Some(listener)) = passed.take_unix_listener(0) else {
        return Err(PassedError::Other);
    };
    is_listening(SockRef::from(&listener))?;
    let address = listener.local_addr()?;
    let path = address.as_pathname().map(Path::to_owned);
    let path = path.ok_or(PassedError::Nameless)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    Ok(Some(Listener::of_passed_unix(listener, path)))
}

fn is_listening(socket: SockRef<'_>) -> Result<(), PassedError> {
    if socket.is_listener()? {
        Ok(())
    } else {
        Err(PassedError::Other)
    }
}

/// What was passed can't be the public listener.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// So many were passed.
    #[error(
        "LISTEN_FDS passes {0} sockets; allowed is one, the public listener (the admin listener \
         is always opened at admin.listen)"
    )]
    Several(usize),
    /// It is something else.
    #[error(
        "descriptor 3, which LISTEN_FDS passes, is no listening TCP or Unix stream socket \
         (Accept=no, ListenStream=)"
    )]
    Other,
    /// A Unix socket without a file.
    #[error("the Unix socket that LISTEN_FDS passes has no file; allowed is one with a path")]
    Nameless,
    /// The system doesn't take it.
    #[error("the socket that LISTEN_FDS passes can't be used: {0}")]
    Io(#[from] io::Error),
}
