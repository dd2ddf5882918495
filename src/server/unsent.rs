//! How much of what was written to a connection its client hasn't taken, as the kernel counts it.
//!
//! The kernel tells that to whoever asks for one connection by its two addresses (`sock_diag(7)`).
//! The ioctl `SIOCOUTQ` says the same, but there is no safe way to call it.
//!
//! ```text
//! request  0 length u32 │ 4 type 20 u16 │ 6 flags u16 │ 8 sequence u32 │ 12 port u32
//!         16 family u8 │ 17 protocol u8 │ 18 extensions u8 │ 19 padding │ 20 states u32 │ 24 connection
//! answer   0 length u32 │ 4 type 20 u16 │ … │ 16 family, state, timer, retransmits, u8 each │ 20 connection
//!         68 expires u32 │ 72 received and not read u32 │ 76 sent and not acknowledged, or not sent, u32 │ …
//!
//! connection, 48 bytes: ports of this end and of the other, u16 each, and their addresses, 16 bytes each, in the
//! network's order; interface u32; cookie u64, all ones for any
//! ```
//!
//! Every other number is in the machine's order.

use tokio::net::TcpStream;

/// Bytes that were written and that the client hasn't acknowledged; none where the system doesn't
/// tell.
pub(super) fn in_kernel(stream: &TcpStream) -> Option<u32> {
    #[cfg(target_os = "linux")]
    return linux::ask(stream.local_addr().ok()?, stream.peer_addr().ok()?);
    #[cfg(not(target_os = "linux"))]
    return None;
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send,
        socket_with,
    };
    use std::net::{IpAddr, SocketAddr};

    const LENGTH: u32 = 72;
    /// Type of the request and of its answer.
    const BY_FAMILY: u16 = 20;
    const IS_REQUEST: u16 = 1;
    const TCP: u8 = 6;
    /// Where the bytes that weren't taken stand in an answer.
    const UNSENT_AT: usize = 76;

    /// One question and its answer, which the kernel has ready when the question is sent.
    pub(super) fn ask(own: SocketAddr, other: SocketAddr) -> Option<u32> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .ok()?;
        send(&socket, &question(own, other), SendFlags::empty()).ok()?;
        let mut answer = [0; 1_024];
        let (length, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT).ok()?;
        read_unsent(answer.get(..length)?)
    }

    fn question(own: SocketAddr, other: SocketAddr) -> Vec<u8> {
        let family = if own.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let mut question = Vec::new();
        question.extend(LENGTH.to_ne_bytes());
        question.extend(BY_FAMILY.to_ne_bytes());
        question.extend(IS_REQUEST.to_ne_bytes());
        question.extend([0; 8]);
        question.extend([u8::try_from(family.as_raw()).unwrap_or(0), TCP, 0, 0]);
        // In whatever state it is.
        question.extend(u32::MAX.to_ne_bytes());
        question.extend(own.port().to_be_bytes());
        question.extend(other.port().to_be_bytes());
        question.extend(padded(own.ip()));
        question.extend(padded(other.ip()));
        question.extend([0; 4]);
        question.extend([u8::MAX; 8]);
        question
    }

    fn padded(address: IpAddr) -> [u8; 16] {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            IpAddr::V6(address) => address.octets(),
        }
    }

    fn read_unsent(answer: &[u8]) -> Option<u32> {
        let kind = u16::from_ne_bytes(answer.get(4..)?.first_chunk().copied()?);
        if kind != BY_FAMILY {
            return None;
        }
        Some(u32::from_ne_bytes(
            answer.get(UNSENT_AT..)?.first_chunk().copied()?,
        ))
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    /// A connection to this address, and its client.
    async fn connect(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        (accepted.unwrap().0, client.unwrap())
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_lies_in_the_kernel_until_it_does() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let (ours, mut client) = connect(address).await;
            assert_eq!(in_kernel(&ours), Some(0), "{address}");
            ours.writable().await.unwrap();
            let mut written = 0;
            while let Ok(more) = ours.try_write(&[b'x'; 64 << 10]) {
                written += more;
            }
            let full = in_kernel(&ours).unwrap();
            assert!(full > 0, "{address}: of {written} bytes nothing is left");
            client.read_exact(&mut vec![0; written]).await.unwrap();
            while in_kernel(&ours) != Some(0) {
                tokio::task::yield_now().await;
            }
        }
    }
}
