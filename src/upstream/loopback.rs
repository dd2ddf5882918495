//! Connections to an application at a loopback address (P10).
//!
//! Over loopback a segment has up to 64 KiB, and a sender's buffer in the kernel grows with the
//! segments that it may have on their way. Of an answer that is not read, 4 MiB lie there and count as
//! the application's memory, whatever the sidecar's own buffers are. With segments of an Ethernet's
//! size it is about 1 MiB (bench/README.md, "Good users beside hostile ones"). The kernel still
//! carries them by 64 KiB, so that long answers are as fast.

use http::Uri;
use http::uri::Scheme;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// The largest segment that is asked for, bytes: an Ethernet's (RFC 9293 §3.7.1).
const SEGMENT: u32 = 1_460;

/// The loopback address that a URI has; none where it has another one, or a name.
pub(super) fn address_of(target: &Uri) -> Option<SocketAddr> {
    let is_https = target.scheme() == Some(&Scheme::HTTPS);
    let port = target.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let host = target.host()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr = bare.parse().ok()?;
    ip.is_loopback().then(|| SocketAddr::new(ip, port))
}

/// Opens a connection.
///
/// # Errors
/// That of the system, of its kind, with the address.
pub(super) async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // ORDER: before the connection, which tells the other side.
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(&socket).set_tcp_mss(SEGMENT) {
        tracing::debug!(%error, "the size of segments could not be set");
    }
    let stream = socket.connect(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("a connection to {address}: {error}"))
    })?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::net::TcpListener;

    #[test]
    fn a_loopback_address_is_told_from_others_and_from_names() {
        for (target, wanted) in [
            ("http://127.0.0.1:3000/a", Some("127.0.0.1:3000")),
            ("http://127.9.9.9", Some("127.9.9.9:80")),
            ("https://[::1]/", Some("[::1]:443")),
            ("http://192.0.2.1:3000", None),
            ("http://localhost:3000", None),
            ("/a", None),
        ] {
            let wanted = wanted.map(|address| address.parse().unwrap());
            assert_eq!(address_of(&target.parse().unwrap()), wanted, "{target}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_the_application_sends_goes_in_small_segments_so_that_it_keeps_little_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, accepted) = tokio::join!(open(address), listener.accept());
        let (opened, (accepted, _)) = (opened.unwrap(), accepted.unwrap());
        assert!(opened.nodelay().unwrap());
        let segment = SockRef::from(&accepted).tcp_mss().unwrap();
        assert!(segment <= SEGMENT, "{segment}");
    }

    #[tokio::test]
    async fn an_application_that_is_not_there_is_told_as_refused_with_its_address() {
        // Bound and not listening: nobody else can have the port meanwhile.
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.local_addr().unwrap();
        let error = open(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
