//! Taking a body's coding off, within bounds. A body that is small on both sides is unpacked at
//! once, whoever sends it. A larger one is unpacked off the runtime's threads, a few at a time:
//! callers that are known to be good have places of their own.

use crate::coding::{Coding, CodingError, broken};
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use bytes::Bytes;
use http::HeaderMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A body of this size at most is unpacked at once, bytes as sent.
const SMALL_SENT: usize = 4 << 10;
/// And as long as it is no larger than this unpacked, bytes.
const SMALL_UNPACKED: usize = 128 << 10;
/// How long a large body waits for a place.
const WAIT: Duration = Duration::from_secs(2);

/// A body without its coding, if that costs next to nothing; `None`: it doesn't.
///
/// # Errors
/// An unknown coding, a broken body, or more than `most` bytes in it.
pub(super) fn unpack_small(
    headers: &HeaderMap,
    body: &Bytes,
    most: usize,
) -> Result<Option<Bytes>, Refusal> {
    let Some(coding) = Coding::of(headers)? else {
        return Ok(Some(body.clone()));
    };
    if body.len() > SMALL_SENT {
        return Ok(None);
    }
    match coding.unpack(body, most.min(SMALL_UNPACKED)) {
        Err(CodingError::TooLarge(_)) if most > SMALL_UNPACKED => Ok(None),
        done => Ok(Some(done?)),
    }
}

/// A body of at most `most` bytes without its coding, whatever that costs: for what is off the path
/// of calls.
///
/// # Errors
/// An unknown coding, a broken body, or more than `most` bytes in it.
pub(super) fn unpack_whole(
    headers: &HeaderMap,
    body: &Bytes,
    most: usize,
) -> Result<Bytes, Refusal> {
    match Coding::of(headers)? {
        Some(coding) => Ok(coding.unpack(body, most)?),
        None => Ok(body.clone()),
    }
}

/// Unpacks large bodies. Clones share its places.
#[derive(Debug, Clone)]
pub(super) struct Unpacker {
    /// For callers that are known to be good.
    good: Arc<Semaphore>,
    /// For all others.
    strangers: Arc<Semaphore>,
}

impl Unpacker {
    /// Half of the processors unpack at most, and one for either kind of caller at least.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let places = || Arc::new(Semaphore::new((processors / 4).max(1)));
        Self {
            good: places(),
            strangers: places(),
        }
    }

    /// A body without its coding, at most `most` bytes; unpacked off the runtime's threads.
    ///
    /// # Errors
    /// An unknown coding, a broken body, too much in it; or no place in [`WAIT`].
    ///
    /// # Cancel safety
    /// What has begun goes on to its end, in its place.
    pub(super) async fn unpack(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        (most, is_good): (usize, bool),
    ) -> Result<Bytes, Decline> {
        let Some(coding) = Coding::of(headers).map_err(refuse)? else {
            return Ok(body.clone());
        };
        let places = Arc::clone(if is_good { &self.good } else { &self.strangers });
        let Ok(Ok(place)) = tokio::time::timeout(WAIT, places.acquire_owned()).await else {
            return Err(Decline::Forward(Forward::NoRoom));
        };
        let body = body.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            let _held = place;
            coding.unpack(&body, most)
        });
        let unpacked = unpacking
            .await
            .unwrap_or_else(|_| Err(broken("unpacking it broke off")));
        unpacked.map_err(refuse)
    }
}

fn refuse(error: CodingError) -> Decline {
    Decline::Refuse(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use futures_util::FutureExt as _;
    use http::{HeaderValue, header};
    use std::io::Write as _;

    fn head(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_what_is_small_on_both_sides_is_unpacked_at_once() {
        let small = |body: Vec<u8>, most| unpack_small(&head("gzip"), &body.into(), most);
        assert_eq!(
            unpack_small(&head("identity"), &"{}".into(), 2)
                .unwrap()
                .unwrap(),
            "{}"
        );
        assert_eq!(small(gzip(b"{}"), 1 << 20).unwrap().unwrap(), "{}");
        assert_eq!(
            small(gzip(&vec![b' '; SMALL_UNPACKED + 1]), 1 << 20),
            Ok(None)
        );
        assert_eq!(
            small(gzip(&vec![b' '; SMALL_UNPACKED + 1]), 99),
            Err(Refusal::TooLarge(99))
        );
        assert_eq!(
            small(vec![0; SMALL_SENT + 1], 1 << 20),
            Ok(None),
            "nobody has looked at it"
        );
    }

    #[test]
    fn a_large_body_is_unpacked_off_the_runtimes_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            // The one other thread has something to do until it is told that it hasn't.
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || ended.recv());
            let (unpacker, body) = (Unpacker::new(), Bytes::from(gzip(&vec![b' '; 1 << 20])));
            let headers = head("gzip");
            let mut unpacking = Box::pin(unpacker.unpack(&headers, &body, (1 << 20, false)));
            assert!(
                unpacking.as_mut().now_or_never().is_none(),
                "it is there without another thread"
            );
            end.send(()).unwrap();
            assert_eq!(unpacking.await.unwrap().len(), 1 << 20);
            busy.await.unwrap().unwrap();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_wait_for_one_another_and_are_forwarded_then_while_good_callers_have_places_of_their_own()
     {
        let (unpacker, body, headers) = (Unpacker::new(), Bytes::from(gzip(b"{}")), head("gzip"));
        let places = unpacker.strangers.available_permits();
        let held = Arc::clone(&unpacker.strangers)
            .acquire_many_owned(u32::try_from(places).unwrap())
            .await
            .unwrap();
        let refused = unpacker.unpack(&headers, &body, (99, false)).await;
        assert_eq!(refused, Err(Decline::Forward(Forward::NoRoom)));
        assert_eq!(
            unpacker.unpack(&headers, &body, (99, true)).await.unwrap(),
            "{}"
        );
        drop(held);
        assert_eq!(
            unpacker.unpack(&headers, &body, (99, false)).await.unwrap(),
            "{}"
        );
    }
}
