use super::super::answer_body::{LONG, Placed, keep_place};
use super::super::headers::HopSettings;
use super::*;
use crate::upstream::Http2Use;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Frame, SizeHint};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// 16 connections, of which 4 are for deliveries.
pub(in crate::upstream) fn places() -> Places {
    Places::new(&UpstreamSettings {
        url: http::Uri::from_static("http://app.test"),
        socket: None,
        tls: None,
        http2: Http2Use::default(),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(300),
        idle_timeout: Duration::from_secs(4),
        max_connections: 16,
        kept_for_deliveries: 4,
        knows_callers: false,
        stall_timeout: Duration::from_mins(1),
        trusted_proxies: TrustedProxies::default(),
        title_case: false,
        hops: HopSettings {
            preserve_host: true,
            via: true,
        },
        relays: Vec::new(),
        relaxed_paths: false,
    })
}

/// A call of the client at 192.0.2.N whose answer has begun, and the connection that it comes on.
fn begin(places: &Places, client: u8) -> (Taken, Link) {
    let client = IpAddr::from([192, 0, 2, client]);
    let taken = places
        .take_for_client(None, client, || CallerClass::Stranger)
        .now_or_never()
        .unwrap()
        .unwrap();
    (
        taken,
        Link::new(places.connect(None).now_or_never().unwrap().unwrap()),
    )
}

fn typed(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

/// Places that are taken: of connections, calls, streams and their connections.
fn taken_of(places: &Places) -> [usize; 4] {
    let address = places.at(None);
    let calls: Vec<_> = std::iter::from_fn(|| address.calls.try_take()).collect();
    let free = [
        &address.connections,
        &address.streams,
        &address.stream_connections,
    ]
    .map(|one| one.available_permits());
    [16 - free[0], 12 - calls.len(), 12 - free[1], 12 - free[2]]
}

fn placed(taken: Taken, link: &Link) -> Placed {
    Placed {
        taken,
        link: Some(link.clone()),
        upload: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_length_is_not_known_becomes_a_stream_once_it_has_lasted() {
    let places = places();
    let (taken, link) = begin(&places, 1);
    let (mut application, body) = Channel::<Bytes, Infallible>::new(1);
    let mut answer = keep_place(&typed("application/x-ndjson"), body, placed(taken, &link));
    for expected in [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]] {
        application
            .send_data(Bytes::from_static(b"{}"))
            .await
            .unwrap();
        answer.frame().await.unwrap().unwrap();
        assert_eq!(taken_of(&places), expected);
        tokio::time::advance(LONG * 3 / 5).await;
    }
    drop(application);
    assert!(answer.frame().await.is_none());
    assert_eq!(taken_of(&places), [1, 0, 0, 0], "its connection goes on");
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_length_is_known_stays_a_call_however_long_it_takes() {
    let places = places();
    for kind in ["text/event-stream", "application/zip"] {
        let (taken, link) = begin(&places, 1);
        let mut answer = keep_place(
            &typed(kind),
            Full::new(Bytes::from_static(b"whole")),
            placed(taken, &link),
        );
        drop(link);
        tokio::time::advance(LONG * 2).await;
        answer.frame().await.unwrap().unwrap();
        assert_eq!(taken_of(&places)[1..], [1, 0, 0], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_has_a_streams_place_from_its_head_on_and_gives_it_back_when_it_is_dropped()
{
    let places = places();
    for kind in ["text/event-stream", "Text/Event-Stream ; charset=utf-8"] {
        let (taken, link) = begin(&places, 1);
        let (_application, body) = Channel::<Bytes, Infallible>::new(1);
        let answer = keep_place(&typed(kind), body, placed(taken, &link));
        assert_eq!(taken_of(&places), [0, 0, 1, 1], "{kind}");
        drop(answer);
        assert_eq!(taken_of(&places), [1, 0, 0, 0], "{kind}");
        drop(link);
        assert_eq!(taken_of(&places), [0; 4], "{kind}");
    }
    assert!(
        places.at(None).shares.lock().is_empty(),
        "no network is remembered"
    );
}

#[tokio::test(start_paused = true)]
async fn one_networks_streams_take_its_part_of_theirs_and_then_its_part_of_the_calls() {
    let places = places();
    let mut streams = Vec::new();
    for number in 1..=6 {
        let (mut taken, link) = begin(&places, 1);
        assert_eq!(
            taken.try_stream(Some(&link)),
            number <= 3,
            "stream {number}"
        );
        streams.push((taken, link));
    }
    assert_eq!(taken_of(&places), [3, 3, 3, 3]);
    let client = IpAddr::from([192, 0, 2, 1]);
    let one_more = places
        .take_for_client(None, client, || CallerClass::Good)
        .await;
    assert_eq!(one_more.unwrap_err(), Full);
    // A stream that has ended makes room for another one, whose call's place is free then.
    drop(streams.swap_remove(0));
    let (waiting, link) = streams.last_mut().unwrap();
    assert!(waiting.try_stream(Some(link)));
    assert_eq!(taken_of(&places)[1..], [2, 3, 3]);
    let (mut other, link) = begin(&places, 2);
    assert!(other.try_stream(Some(&link)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_connection_finds_no_other_place_keeps_it_until_there_is_one() {
    let places = places();
    let address = places.at(None);
    let all = Arc::clone(&address.stream_connections)
        .acquire_many_owned(12)
        .await
        .unwrap();
    let (mut taken, link) = begin(&places, 1);
    assert!(!taken.try_stream(Some(&link)));
    assert_eq!(taken_of(&places), [1, 0, 1, 12], "calls have its place");
    drop(all);
    assert!(taken.try_stream(Some(&link)));
    assert_eq!(taken_of(&places), [0, 0, 1, 1]);
    // Nor does it go back where there is no place.
    let all = Arc::clone(&address.connections)
        .acquire_many_owned(16)
        .await
        .unwrap();
    drop(taken);
    assert_eq!(taken_of(&places), [16, 0, 0, 1]);
    drop((all, link));
    assert_eq!(taken_of(&places), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_a_delivery_is_never_a_stream() {
    let places = places();
    let mut taken = places.take_for_delivery(None).await.unwrap();
    let link = Link::new(places.connect(None).await.unwrap());
    assert!(taken.try_stream(Some(&link)));
    assert_eq!(taken_of(&places), [1, 0, 0, 0]);
}

/// A body of two pieces, whose length may be known.
struct TwoPieces {
    left: Vec<usize>,
    is_known: bool,
}

impl http_body::Body for TwoPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.left.pop().map(|size| Bytes::from(vec![b'x'; size]));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        let left: usize = self.left.iter().sum();
        if self.is_known {
            SizeHint::with_exact(left as u64)
        } else {
            SizeHint::default()
        }
    }
}

#[tokio::test]
async fn a_connection_is_given_up_with_its_answer_only_where_that_cannot_have_come_whole() {
    let (short, long) = (1023 << 10, 1 << 20);
    for (first, second, is_known, is_given_up) in [
        (short, long, true, true),
        (long, short, true, false),
        (long, long, false, false),
    ] {
        let case = format!("{first} and {second} bytes, known: {is_known}");
        // After the first piece, after both, and at its end.
        for (frames, wanted) in [(1, is_given_up), (2, false), (3, false)] {
            let places = places();
            let (taken, link) = begin(&places, 1);
            let body = TwoPieces {
                left: vec![second, first],
                is_known,
            };
            let mut answer = keep_place(&HeaderMap::new(), body, placed(taken, &link));
            for _ in 0..frames {
                answer.frame().await.transpose().unwrap();
            }
            assert!(!link.is_abandoned(), "{case}");
            drop(answer);
            assert_eq!(link.is_abandoned(), wanted, "{case}, {frames} frames");
        }
    }
}
