//! Bodies of event calls, gathered within bounds.

use crate::body::{Body, BodyError};
use crate::ingest::accept::refusal::{Forward, Refusal};
use crate::memory::{Lease, Memory, NoRoom, Share};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use std::time::Duration;

/// How much of an oversized body is read and thrown away, so that the client hears the 413 instead
/// of a reset.
const DRAIN_BYTES: usize = 4 << 20;
/// And for how long.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Most of a body that comes in one piece, bytes: as much as a connection reads at once.
const PIECE: usize = crate::server::MAX_HEAD;
/// Most of a body whose caller is not looked at if it is at hand, bytes.
const SMALL: u64 = 16 << 10;

/// A body, as far as it could be gathered.
#[derive(Debug)]
pub(super) enum Gathered {
    /// All of it.
    Whole(Whole),
    /// It can't be looked at: as it comes, from its first byte on.
    Streamed(Body, Unread),
}

/// All of a body, and its room.
#[derive(Debug)]
pub(super) struct Whole {
    /// Its bytes.
    pub(super) raw: Bytes,
    lease: Lease,
}

/// Why a body was not gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than the limit.
    TooLarge,
    /// It ends with trailers, which no batch could carry.
    Trailers,
    /// There is no room for it in memory.
    NoRoom,
}

impl Unread {
    /// The reason's one name, as in [`refusal`](crate::ingest::accept::refusal).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => Refusal::TooLarge(0).as_str(),
            Self::Trailers => Forward::Trailers.as_str(),
            Self::NoRoom => Forward::NoRoom.as_str(),
        }
    }
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Bytes.
    pub(super) most: usize,
    /// For the wait for room, and from then on for the body.
    pub(super) within: Duration,
    /// Where room is.
    pub(super) memory: &'a Memory,
}

impl Gathered {
    /// The body as it goes on. Its room is its caller's (`whose`) until its last byte is sent.
    ///
    /// # Errors
    /// Its caller has no room for it.
    pub(super) fn keep(self, whose: impl FnOnce() -> Share) -> Result<Body, Refusal> {
        match self {
            Self::Streamed(body, _) => Ok(body),
            Self::Whole(whole) if whole.raw.is_empty() => Ok(Body::empty()),
            Self::Whole(Whole { raw, lease }) => Ok(Body::from(named(lease, whose)?.bind(raw))),
        }
    }
}

/// The lease among its caller's. That is no wait: what nobody's share counts must not stay.
fn named(lease: Lease, whose: impl FnOnce() -> Share) -> Result<Lease, Refusal> {
    if lease.is_named() {
        Ok(lease)
    } else {
        lease.give_to(&whose()).map_err(|_| no_room())
    }
}

const fn no_room() -> Refusal {
    Refusal::NoRoom(Duration::from_secs(1))
}

/// What has come of a body with its head.
pub(super) enum AtHand {
    /// All of it, or it is none that is gathered.
    All(Gathered),
    /// There is more to read.
    Part(Rest),
}

/// A body of which there is more to read.
pub(super) struct Rest {
    begun: Begun,
    body: Body,
    /// What can't be added ends it.
    stopped: Option<Stopped>,
}

/// What has come of a body with its head: as a rule that is all. Nothing is waited for.
///
/// # Errors
/// It is cut off.
pub(super) fn begin(mut body: Body, bounds: Bounds<'_>) -> Result<AtHand, Refusal> {
    let said = body.size_hint();
    if said.lower() > bounds.most as u64 {
        return Ok(AtHand::All(Gathered::Streamed(body, Unread::TooLarge)));
    }
    let mut begun = Begun::new(bounds.most, &said, bounds.memory);
    let mut stopped = None;
    if said.exact().is_some_and(|bytes| bytes <= SMALL) && begun.reserve().is_ok() {
        match body.frame().now_or_never() {
            None => {}
            Some(None) => return Ok(AtHand::All(begun.finish())),
            Some(Some(frame)) => {
                stopped = begun.add(frame.map_err(|_| Refusal::Incomplete)?).err();
                if stopped.is_none() && body.is_end_stream() {
                    return Ok(AtHand::All(begun.finish()));
                }
            }
        }
    }
    Ok(AtHand::Part(Rest {
        begun,
        body,
        stopped,
    }))
}

impl Rest {
    /// Gathers it within bounds. Its bytes have room in memory before they are read, one piece
    /// ahead. Without room:
    ///
    /// - what has not begun waits, and its client with it, and goes on as a stream when its time is
    ///   over;
    /// - what has begun goes on as a stream at once, since others may wait for what it keeps;
    /// - what can never have room goes on as a stream without a wait.
    ///
    /// # Errors
    /// Too slow, cut off, or no room for what was at hand; what follows it is read and thrown away
    /// then.
    pub(super) async fn gather(
        self,
        bounds: Bounds<'_>,
        whose: impl FnOnce() -> Share,
    ) -> Result<Gathered, Refusal> {
        let Self {
            mut begun,
            mut body,
            stopped,
        } = self;
        if let Some(stopped) = stopped {
            return begun.stream(body, stopped, whose).await;
        }
        let share = whose();
        if begun.is_empty() {
            begun.lease = share.lease();
            if !begun.has_room_in_time(&share, bounds.within).await {
                return Ok(Gathered::Streamed(body, Unread::NoRoom));
            }
        }
        begun.lease = named(begun.lease, || share.clone())?;
        match begun.read(&mut body, bounds.within).await? {
            None => Ok(begun.finish()),
            Some(stopped) => begun.stream(body, stopped, || share).await,
        }
    }
}

/// What has been read of a body.
struct Begun {
    most: usize,
    /// Bytes that are to come in all, where the head says it.
    said: Option<usize>,
    /// The common case, one piece, is not copied.
    first: Bytes,
    /// All of it, if there is more than one.
    rest: Vec<u8>,
    /// Of what these take, and the next piece will.
    lease: Lease,
}

/// What ended the reading.
struct Stopped {
    /// The part in hand.
    next: Option<Frame<Bytes>>,
    why: Unread,
}

impl Begun {
    fn new(most: usize, said: &SizeHint, memory: &Memory) -> Self {
        let said = said
            .exact()
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            most,
            said,
            first: Bytes::new(),
            rest: Vec::new(),
            lease: memory.unnamed().lease(),
        }
    }

    fn len(&self) -> usize {
        self.first.len().max(self.rest.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What comes next at most, bytes.
    fn next_piece(&self) -> usize {
        self.said
            .map_or(PIECE, |said| said.saturating_sub(self.len()).min(PIECE))
    }

    /// What so many bytes take: a buffer doubles, but is no larger than what will come.
    fn takes(&self, size: usize) -> usize {
        if self.is_empty() {
            return size;
        }
        let most = self.said.unwrap_or(self.most).max(size);
        if size <= self.rest.capacity() {
            self.rest.capacity()
        } else {
            size.saturating_mul(2).min(most)
        }
    }

    /// Whether a body that has not begun may begin.
    async fn has_room_in_time(&self, share: &Share, within: Duration) -> bool {
        let ever = self.said.is_none_or(|said| said as u64 <= share.largest());
        ever && tokio::time::timeout(within, share.free(self.next_piece() as u64))
            .await
            .is_ok()
    }

    /// Takes room for the next piece.
    fn reserve(&mut self) -> Result<(), Stopped> {
        let takes = self.takes(self.len() + self.next_piece());
        self.lease.resize(takes).map_err(|NoRoom| Stopped {
            next: None,
            why: Unread::NoRoom,
        })
    }

    /// Reads on to the end, or to what can't be added.
    async fn read(
        &mut self,
        body: &mut Body,
        within: Duration,
    ) -> Result<Option<Stopped>, Refusal> {
        let all = async {
            loop {
                if let Err(stopped) = self.reserve() {
                    return Ok(Some(stopped));
                }
                let Some(frame) = body.frame().await else {
                    return Ok(None);
                };
                if let Err(stopped) = self.add(frame.map_err(|_| Refusal::Incomplete)?) {
                    return Ok(Some(stopped));
                }
            }
        };
        tokio::time::timeout(within, all)
            .await
            .map_err(|_| Refusal::TooSlow)?
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), Stopped> {
        let stopped = |next, why| Stopped {
            next: Some(next),
            why,
        };
        let data = frame
            .into_data()
            .map_err(|trailers| stopped(trailers, Unread::Trailers))?;
        let size = self.len() + data.len();
        if size > self.most {
            return Err(stopped(Frame::data(data), Unread::TooLarge));
        }
        let takes = self.takes(size);
        if takes as u64 > self.lease.bytes() && self.lease.stretch(takes).is_err() {
            return Err(stopped(Frame::data(data), Unread::NoRoom));
        }
        if self.is_empty() {
            self.first = data;
            return Ok(());
        }
        self.rest
            .reserve_exact(takes.saturating_sub(self.rest.len()));
        self.rest
            .extend_from_slice(&std::mem::take(&mut self.first));
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    /// What has been read, without the room for more.
    fn leave(self) -> (Bytes, Lease) {
        let Self {
            first,
            mut rest,
            mut lease,
            ..
        } = self;
        rest.shrink_to_fit();
        let bytes = if rest.is_empty() {
            first
        } else {
            Bytes::from(rest)
        };
        // INVARIANT: no more than was reserved, so this gives back.
        let spare = usize::try_from(lease.bytes())
            .unwrap_or(usize::MAX)
            .saturating_sub(bytes.len());
        drop(lease.split_off(spare));
        (bytes, lease)
    }

    fn finish(self) -> Gathered {
        let (raw, lease) = self.leave();
        Gathered::Whole(Whole { raw, lease })
    }

    /// What has been read, the part in hand, and the rest as it comes.
    async fn stream(
        self,
        body: Body,
        stopped: Stopped,
        whose: impl FnOnce() -> Share,
    ) -> Result<Gathered, Refusal> {
        let Stopped { next, why } = stopped;
        let in_hand = next
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        let (begun, lease) = self.leave();
        let mut lease = named(lease, whose)?;
        if lease.stretch(begun.len() + in_hand).is_err() {
            drop((begun, lease, next));
            drain(body).await;
            return Err(no_room());
        }
        let of_next = lease.split_off(in_hand);
        let next = next.map(|next| next.map_data(|data| of_next.bind(data)));
        let begun = Some(lease.bind(begun)).filter(|bytes| !bytes.is_empty());
        let begun: Vec<_> = begun
            .into_iter()
            .map(Frame::data)
            .chain(next)
            .map(Ok::<_, BodyError>)
            .collect();
        let rest = stream::unfold(body, |mut body| async move {
            body.frame().await.map(|frame| (frame, body))
        });
        Ok(Gathered::Streamed(
            Body::boxed(StreamBody::new(stream::iter(begun).chain(rest))),
            why,
        ))
    }
}

/// Reads a body that is refused, within bounds, so that its client hears the answer instead of a
/// reset.
pub(super) async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
    };
    if tokio::time::timeout(DRAIN_TIME, read).await.is_err() {
        tracing::debug!("an oversized body was still coming when its time was over");
    }
}
