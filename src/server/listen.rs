//! Where a listener listens: a TCP address, or a Unix socket.
//!
//! A Unix socket's file is for its owner and its group ([`SOCKET_MODE`]). A file that an earlier
//! process left is removed if no process listens on it any more; one that isn't a socket never is.
//! The file goes with the listener, unless another process opened it and passed it on (`passed.rs`).

use super::stream::NetworkStream;
use crate::peer::Connection;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// Connections that the kernel keeps until they are accepted; the system's own bound may be less.
const BACKLOG: u32 = 1_024;
/// Permissions of a Unix socket's file: its owner and its group may connect.
const SOCKET_MODE: u32 = 0o660;
/// What the name of a Unix socket begins with.
const UNIX: &str = "unix:";

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port; port 0 takes any.
    Tcp(SocketAddr),
    /// A Unix socket's file.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address; none of a Unix socket.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// As the configuration names it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// A text that names no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address such as \"127.0.0.1:8080\", or a Unix socket such as \"unix:/run/tidegate.sock\""
)]
pub struct AddressError;

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(AddressError),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError),
        }
    }
}

/// A listener that is open.
#[derive(Debug)]
pub struct Listener(Open);

#[derive(Debug)]
enum Open {
    Tcp(TcpListener, Origin),
    Unix(UnixListener, SocketFile),
    /// Its file is the other process's.
    PassedUnix(UnixListener, PathBuf),
}

/// Who opened a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Bound,
    Passed,
}

impl Listener {
    /// Opens it.
    ///
    /// # Errors
    /// The address is taken or not ours; a file stands in the way of a socket's.
    pub(super) fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => Ok(Self(Open::Tcp(bind_tcp(*address)?, Origin::Bound))),
            ListenAddress::Unix(path) => {
                let (listener, file) = bind_unix(path)?;
                Ok(Self(Open::Unix(listener, file)))
            }
        }
    }

    /// One that another process opened.
    pub(super) const fn of_passed_tcp(listener: TcpListener) -> Self {
        Self(Open::Tcp(listener, Origin::Passed))
    }

    /// One that another process opened, with its file's path.
    pub(super) const fn of_passed_unix(listener: UnixListener, path: PathBuf) -> Self {
        Self(Open::PassedUnix(listener, path))
    }

    /// Whether another process opened it, in which it outlives this one.
    #[must_use]
    pub const fn is_passed(&self) -> bool {
        matches!(self.0, Open::Tcp(_, Origin::Passed) | Open::PassedUnix(..))
    }

    /// Where it listens, with the port that it has.
    ///
    /// # Errors
    /// The system doesn't tell.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match &self.0 {
            Open::Tcp(listener, _) => listener.local_addr().map(ListenAddress::Tcp),
            Open::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
            Open::PassedUnix(_, path) => Ok(ListenAddress::Unix(path.clone())),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// There is none, for a reason of its own or of the listener's.
    ///
    /// # Cancel safety
    /// A future that is dropped has accepted nothing.
    pub(super) async fn accept(&self) -> io::Result<(NetworkStream, Connection)> {
        match &self.0 {
            Open::Tcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                let secure = false;
                Ok((NetworkStream::Tcp(stream), Connection { address, secure }))
            }
            Open::Unix(listener, _) | Open::PassedUnix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((NetworkStream::Unix(stream), Connection::of_unix()))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restart need not wait for the last process's connections to be forgotten. Elsewhere it
    // would share the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let file = SocketFile::of(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok((listener, file))
}

/// Removes a socket's file on which no process listens.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let text = "found a file that is no socket; allowed is a name that no file has";
            return Err(io::Error::new(ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another process listens on it",
        )),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// The file of a Unix socket; dropping it removes the file, unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            device_and_inode: device_and_inode(path)?,
        })
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            device_and_inode(&self.path).is_ok_and(|found| found == self.device_and_inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket's file could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(error: io::Error) -> (ErrorKind, String) {
        (error.kind(), error.to_string())
    }

    #[tokio::test]
    async fn a_sockets_file_is_for_owner_and_group_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.sock");
        let address = ListenAddress::Unix(path.clone());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.address().unwrap(), address);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let (kind, said) = reason(Listener::bind(&address).unwrap_err());
        assert_eq!(kind, ErrorKind::AddrInUse);
        assert!(said.contains("another process listens on it"), "{said}");
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_a_dead_process_left_is_replaced_and_any_other_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.sock");
        let address = ListenAddress::Unix(path.clone());
        // std's listener leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = Listener::bind(&address).unwrap();
        // Another one took its place: it isn't the first one's to remove.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(first);
        let (kind, said) = reason(Listener::bind(&address).unwrap_err());
        assert_eq!(kind, ErrorKind::AlreadyExists);
        assert!(said.contains("no socket"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn an_address_is_one_of_tcp_or_a_sockets_absolute_path() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/t.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "unix:",
            "unix:t.sock",
            "/run/t.sock",
            "127.0.0.1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(AddressError), "{text}");
        }
    }
}
