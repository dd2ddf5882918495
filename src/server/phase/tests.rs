use super::*;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
};

fn phases() -> Phases {
    Phases::new(LIMITS, Newcomer::default())
}

/// When the watch ends, in seconds from now, on a paused clock; none: not within an hour.
async fn over(phases: &Phases) -> Option<(u64, Over)> {
    let began = Instant::now();
    let over = tokio::time::timeout(Duration::from_secs(3_600), phases.over())
        .await
        .ok()?;
    Some((began.elapsed().as_secs(), over))
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_byte_and_a_slow_head_have_the_heads_time() {
    assert_eq!(over(&phases()).await, Some((10, Over::Head)));
    let phases = phases();
    for byte in [b"G", b"E", b"T"] {
        pass(3).await;
        phases.heard(byte);
    }
    // Bytes that drip don't postpone it.
    assert_eq!(over(&phases).await, Some((1, Over::Head)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_the_idle_time_and_its_next_head_the_heads() {
    let phases = phases();
    phases.heard(b"GET / HTTP/1.1\r\n\r\n");
    let call = phases.begin_call();
    assert_eq!(over(&phases).await, None);
    drop(call);
    assert_eq!(over(&phases).await, Some((75, Over::Idle)));
    drop(phases.begin_call());
    pass(70).await;
    phases.sent();
    pass(70).await;
    phases.heard(b"G");
    assert_eq!(over(&phases).await, Some((10, Over::Head)));
}

#[tokio::test(start_paused = true)]
async fn over_http_2_a_preface_has_the_heads_time_and_everything_after_it_the_idle_time() {
    let phases = phases();
    phases.heard(&PREFACE[..5]);
    assert_eq!(over(&phases).await, Some((10, Over::Head)));
    phases.heard(&PREFACE[5..]);
    // Settings, pings and acknowledgements are no sign of life.
    phases.heard(b"frame");
    pass(70).await;
    phases.heard(b"frame");
    phases.sent();
    assert_eq!(over(&phases).await, Some((5, Over::Idle)));
    let (one, other) = (phases.begin_call(), phases.begin_call());
    drop(one);
    assert_eq!(over(&phases).await, None);
    drop(other);
    assert_eq!(over(&phases).await, Some((75, Over::Idle)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_http_2_call_in_another_task_starts_the_idle_time() {
    let phases = phases();
    phases.heard(PREFACE);
    let call = phases.begin_call();
    let watch = tokio::spawn({
        let phases = phases.clone();
        async move { phases.over().await }
    });
    pass(100).await;
    drop(call);
    assert_eq!(watch.await.unwrap(), Over::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_has_no_deadline() {
    let phases = phases();
    phases.heard(b"GET / HTTP/1.1\r\n\r\n");
    let call = phases.begin_call();
    call.becomes_tunnel();
    drop(call);
    phases.heard(b"anything");
    assert_eq!(over(&phases).await, None);
}

/// A connection through which so many bytes go before its client reads some.
fn narrow() -> (Watched<DuplexStream>, DuplexStream) {
    narrow_with(|_| None)
}

fn narrow_with(unsent: fn(&DuplexStream) -> Option<u32>) -> (Watched<DuplexStream>, DuplexStream) {
    let (ours, clients) = tokio::io::duplex(4);
    let socket = Socket {
        unsent,
        has_unread: |_| false,
        cut: |_| (),
    };
    (
        Watched::new(ours, phases(), Duration::from_secs(60), socket),
        clients,
    )
}

/// How long a write waits before it is given up, seconds.
async fn given_up_after(watched: &mut Watched<DuplexStream>) -> u64 {
    let began = Instant::now();
    let error = watched.write_all(b"12345").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_what_lies_in_the_kernel_is_waited_for_though_no_write_is_ready() {
    let began = Instant::now();
    tokio::task_local! { static BEGAN: Instant; }
    // A byte each second for ten minutes, and none after that.
    let slow = |_: &DuplexStream| {
        Some(1_000 - u32::try_from(BEGAN.get().elapsed().as_secs().min(600)).unwrap())
    };
    let (mut watched, _client) = narrow_with(slow);
    assert_eq!(BEGAN.scope(began, given_up_after(&mut watched)).await, 660);
    // One that takes nothing is found out at the first look after the limit.
    let (mut watched, _client) = narrow_with(|_| Some(1_000));
    assert_eq!(given_up_after(&mut watched).await, 75);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_to_be_written_is_no_idling() {
    let phases = phases();
    phases.heard(b"GET / HTTP/1.1\r\n\r\n");
    drop(phases.begin_call());
    phases.wait_to_send();
    assert!(phases.is_busy());
    assert_eq!(over(&phases).await, None);
    phases.sent();
    assert!(!phases.is_busy());
    assert_eq!(over(&phases).await, Some((75, Over::Idle)));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_ready_and_not_taken_end_the_connection_after_the_stall_time() {
    let (mut watched, _client) = narrow();
    watched.write_all(b"1234").await.unwrap();
    // With nothing to say, any time may pass.
    pass(100_000).await;
    let began = Instant::now();
    let error = watched.write_all(b"5").await.unwrap_err();
    assert_eq!(
        (error.kind(), began.elapsed().as_secs()),
        (io::ErrorKind::TimedOut, 60)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_little_now_and_then_is_served_to_the_end() {
    let (mut watched, mut client) = narrow();
    let writing = tokio::spawn(async move { watched.write_all(b"twelve bytes").await });
    let mut taken = Vec::new();
    while taken.len() < 12 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        taken.extend(byte);
    }
    writing.await.unwrap().unwrap();
    assert_eq!(taken, b"twelve bytes");
}

/// Whether it gives way within an hour, on a paused clock.
async fn gives_way(phases: &Phases) -> bool {
    tokio::time::timeout(Duration::from_secs(3_600), phases.give_way())
        .await
        .is_ok()
}

/// What an ask comes to, and whether the next connection is asked instead.
async fn asked(phases: &Phases) -> (bool, bool) {
    let mut declined = pin!(phases.0.newcomer.declined());
    declined.as_mut().enable();
    phases.ask();
    (
        gives_way(phases).await,
        futures_util::FutureExt::now_or_never(declined).is_some(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_asked_gives_way_only_while_it_waits_for_its_client() {
    let phases = phases();
    assert!(!gives_way(&phases).await, "it wasn't asked");
    phases.heard(b"GET / HT");
    assert_eq!(asked(&phases).await, (true, false), "half a head has come");
    phases.decline();
    let call = phases.begin_call();
    assert_eq!(asked(&phases).await, (false, true), "a call is open");
    phases.wait_to_send();
    drop(call);
    assert_eq!(
        asked(&phases).await,
        (false, true),
        "an answer isn't written"
    );
    phases.sent();
    assert_eq!(asked(&phases).await, (true, false), "it idles");
    phases.heard(b"G");
    assert!(!gives_way(&phases).await, "the next head has begun");
    let call = phases.begin_call();
    call.becomes_tunnel();
    drop(call);
    assert_eq!(asked(&phases).await, (false, true), "it is a tunnel");
}

#[tokio::test(start_paused = true)]
async fn where_none_could_be_asked_the_first_that_waits_for_its_client_gives_way_and_no_other() {
    let newcomer = Newcomer::default();
    let both = [(); 2].map(|()| Phases::new(LIMITS, newcomer.clone()));
    let calls = both.each_ref().map(Phases::begin_call);
    newcomer.take_first();
    assert!(!gives_way(&both[0]).await && !gives_way(&both[1]).await);
    drop(calls);
    assert!(gives_way(&both[1]).await && !gives_way(&both[0]).await);
    drop(both[1].begin_call());
    newcomer.take_first();
    newcomer.is_placed();
    assert!(!gives_way(&both[0]).await, "the new one has a place");
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_whose_client_the_kernel_has_bytes_does_not_give_way() {
    let cases: [(fn(&DuplexStream) -> bool, bool); 2] = [(|_| false, true), (|_| true, false)];
    for (has_unread, wanted) in cases {
        let (ours, _clients) = tokio::io::duplex(4);
        let socket = Socket {
            unsent: |_| None,
            has_unread,
            cut: |_| (),
        };
        let phases = phases();
        let mut watched = Watched::new(ours, phases.clone(), Duration::from_secs(60), socket);
        phases.ask();
        let mut buffer = [0; 1];
        tokio::select! {
            biased;
            _ = watched.read(&mut buffer) => panic!("nothing was sent"),
            given_way = gives_way(&phases) => assert_eq!(given_way, wanted),
        }
    }
}

#[test]
fn a_preface_is_told_from_a_head_wherever_it_is_cut() {
    for cut in 0..PREFACE.len() {
        let (first, second) = PREFACE.split_at(cut);
        let Protocol::Unknown(seen) = next_protocol(0, first) else {
            panic!("{cut}")
        };
        assert_eq!(next_protocol(seen, second), Protocol::Http2, "{cut}");
        assert_eq!(next_protocol(seen, b"\0"), Protocol::Http1, "{cut}");
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_waits_until_a_call_is_seen_is_woken_when_it_is_or_ends_and_not_before() {
    let (phases, woken) = (phases(), Arc::<Woken>::default());
    let waker = Arc::clone(&woken).into();
    let cx = Context::from_waker(&waker);
    let times = || woken.0.load(Ordering::SeqCst);
    phases.heard(b"GET / HTTP/1.1\r\n\r\n");
    assert!(!phases.has_unseen_call(&cx));
    let call = phases.begin_call();
    assert!(phases.has_unseen_call(&cx) && phases.has_unseen_call(&cx));
    assert_eq!(times(), 0);
    phases.see_call();
    assert!(!phases.has_unseen_call(&cx));
    assert_eq!(times(), 1);
    drop(call);
    let unseen = phases.begin_call();
    assert!(phases.has_unseen_call(&cx));
    drop(unseen);
    assert!(!phases.has_unseen_call(&cx));
    assert_eq!(times(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_body_goes_on_is_open_until_that_ends_and_then_its_connection_idles() {
    let phases = phases();
    phases.heard(b"POST / HTTP/1.1\r\n\r\n");
    let (call, body) = (phases.begin_call(), CancellationToken::new());
    call.stay_until(body.clone());
    phases.see_call();
    drop(call);
    assert!(phases.is_busy() && phases.waits_since().is_none());
    phases.heard(b"more of it");
    assert_eq!(over(&phases).await, None);
    // The connection's task hears of its end.
    let idling = async {
        poll_fn(|cx| Poll::Ready(phases.poll_give_way(cx).is_ready())).await;
        phases.over().await
    };
    let (idles, ()) = tokio::join!(idling, async { body.cancel() });
    assert_eq!(idles, Over::Idle);
}

#[tokio::test]
async fn the_end_of_an_earlier_calls_body_says_nothing_of_whether_the_next_call_was_seen() {
    let phases = phases();
    phases.heard(b"POST / HTTP/1.1\r\n\r\n");
    let (first, body) = (phases.begin_call(), CancellationToken::new());
    first.stay_until(body.clone());
    phases.see_call();
    drop(first);
    let next = phases.begin_call();
    body.cancel();
    tokio::task::yield_now().await;
    poll_fn(|cx| {
        assert!(phases.has_unseen_call(cx));
        Poll::Ready(())
    })
    .await;
    drop(next);
}
