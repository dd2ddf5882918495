//! Upgraded connections (RFC 9110 §7.8): bytes go both ways until the application ends, or both
//! sides do. As for any tunnel (RFC 9110 §9.3.6), what came before its application's end is passed
//! on; a client that goes on after that has [`GOODBYE`] for its own.

use super::places::Taken;
use crate::peer::LentPlace;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// How long a client may go on when its application has ended. Without a limit one that never ends
/// would keep its places though the application wants no more of it.
const GOODBYE: Duration = Duration::from_secs(5);

/// A client that may be upgraded, and its connection's place under the cap.
pub(super) type Upgrade = (OnUpgrade, Option<LentPlace>);

/// Keeps the place from the answer on, since the connection's own task ends with the upgrade.
pub(super) fn tunnel(
    (client, place): Upgrade,
    upstream: OnUpgrade,
    taken: Taken,
) -> impl Future<Output = ()> {
    let place = place.and_then(|place| place.keep());
    async move {
        copy_upgraded(client, upstream).await;
        drop((place, taken));
    }
}

async fn copy_upgraded(client: OnUpgrade, application: OnUpgrade) {
    match tokio::try_join!(client, application) {
        Ok((client, application)) => {
            let copied = copy_both_ways(TokioIo::new(client), TokioIo::new(application)).await;
            if let Err(error) = copied {
                tracing::debug!(%error, "an upgraded connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
    }
}

async fn copy_both_ways(
    client: impl AsyncRead + AsyncWrite,
    application: impl AsyncRead + AsyncWrite,
) -> io::Result<()> {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_application, to_application) = tokio::io::split(application);
    let up = copy_to_end(from_client, to_application);
    let down = copy_to_end(from_application, to_client);
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut down => {
            ended?;
            tokio::time::timeout(GOODBYE, up).await.unwrap_or(Ok(()))
        }
        ended = &mut up => {
            ended?;
            down.await
        }
    }
}

/// One way, its end included.
async fn copy_to_end(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    fn begin() -> (DuplexStream, DuplexStream, JoinHandle<io::Result<()>>) {
        let (client, of_client) = duplex(64);
        let (application, of_application) = duplex(64);
        let copying = tokio::spawn(copy_both_ways(of_client, of_application));
        (client, application, copying)
    }

    async fn heard(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.unwrap();
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_soon_after_its_application_whatever_its_client_does() {
        let (mut client, mut application, copying) = begin();
        application.write_all(b"last words").await.unwrap();
        drop(application);
        let mut words = [0; 10];
        client.read_exact(&mut words).await.unwrap();
        assert_eq!(&words, b"last words");
        // It neither ends nor says anything.
        copying.await.unwrap().unwrap();
        assert!(heard(&mut client).await.is_empty());
        assert!(client.write_all(b"x").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_ended_hears_the_rest_of_its_application_however_late() {
        let (mut client, mut application, copying) = begin();
        client.write_all(b"a question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(heard(&mut application).await, b"a question");
        tokio::time::sleep(GOODBYE * 100).await;
        application.write_all(b"an answer").await.unwrap();
        drop(application);
        assert_eq!(heard(client).await, b"an answer");
        copying.await.unwrap().unwrap();
    }
}
