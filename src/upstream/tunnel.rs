//! Upgraded connections (RFC 9110 §7.8): bytes go both ways until either side ends.

use super::places::Taken;
use crate::peer::LentPlace;
use hyper_util::rt::TokioIo;

/// A client that may be upgraded, and its connection's place under the cap.
pub(super) type Upgrade = (hyper::upgrade::OnUpgrade, Option<LentPlace>);

/// Keeps the place from the answer on, since the connection's own task ends with the upgrade.
pub(super) fn tunnel(
    (client, place): Upgrade,
    upstream: hyper::upgrade::OnUpgrade,
    taken: Taken,
) -> impl Future<Output = ()> {
    let place = place.and_then(|place| place.keep());
    async move {
        copy_both_ways(client, upstream).await;
        drop((place, taken));
    }
}

async fn copy_both_ways(client: hyper::upgrade::OnUpgrade, upstream: hyper::upgrade::OnUpgrade) {
    match tokio::try_join!(client, upstream) {
        Ok((client, upstream)) => {
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(%error, "an upgraded connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
    }
}
