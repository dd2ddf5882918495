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

/// What was passed to this process.
pub struct Passed(ListenFd);

impl Passed {
    /// Claims what `LISTEN_FDS` passes, if `LISTEN_PID` is this process: descriptors from 3 on. To be
    /// called once, before anything else has descriptors or threads.
    #[must_use]
    pub fn claim() -> Self {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|process| {
            let process = process.parse();
            process == Ok(std::process::id())
        });
        Self(if is_ours {
            ListenFd::from_env()
        } else {
            ListenFd::empty()
        })
    }

    /// The public listener, if one was passed. To be called in a runtime.
    ///
    /// # Errors
    /// More than one was passed, or one that isn't a listening socket of TCP or a Unix socket with a
    /// file.
    pub fn open(self) -> Result<Option<Listener>, PassedError> {
        let Self(mut passed) = self;
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            count => return Err(PassedError::Several(count)),
        }
        if let Ok(Some(listener)) = passed.take_tcp_listener(0) {
            prove_listening(SockRef::from(&listener))?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            return Ok(Some(Listener::of_passed_tcp(listener)));
        }
        let Ok(Some(listener)) = passed.take_unix_listener(0) else {
            return Err(PassedError::Other);
        };
        prove_listening(SockRef::from(&listener))?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned);
        let path = path.ok_or(PassedError::Nameless)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Some(Listener::of_passed_unix(listener, path)))
    }
}

/// Where the system doesn't tell, the first accept will.
fn prove_listening(socket: SockRef<'_>) -> Result<(), PassedError> {
    #[cfg(target_os = "linux")]
    if !socket.is_listener()? {
        return Err(PassedError::Other);
    }
    #[cfg(not(target_os = "linux"))]
    drop(socket);
    Ok(())
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
