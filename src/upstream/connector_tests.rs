use super::*;
use crate::upstream::places::OPENINGS;
use crate::upstream::places::tests::places;
use std::future::{pending, poll_fn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

/// A connection, and the application's side of it.
async fn pair() -> (LinkedStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let linked = LinkedStream {
        stream: WireStream::Tcp(stream),
        link: Link::new(place),
    };
    let (application, _) = listener.accept().await.unwrap();
    (linked, application)
}

#[tokio::test]
async fn an_answer_is_heard_though_its_application_took_no_more_of_the_body() {
    let (mut linked, mut application) = pair().await;
    linked.write_all(b"a body").await.unwrap();
    application.readable().await.unwrap();
    application.write_all(b"answer").await.unwrap();
    // With a byte unread this resets the connection.
    drop(application);
    for _ in 0..100 {
        linked.write_all(&[0; 64 << 10]).await.unwrap();
    }
    let mut heard = [0; 6];
    linked.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"answer");
}

#[tokio::test]
async fn of_a_connection_whose_answer_was_given_up_nothing_more_is_read() {
    let (mut linked, mut application) = pair().await;
    application.write_all(b"the rest").await.unwrap();
    let mut heard = [0; 4];
    linked.read_exact(&mut heard).await.unwrap();
    linked.link.abandon();
    assert_eq!(linked.read(&mut heard).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn so_many_connections_are_opened_at_once_and_a_slow_one_holds_up_no_other() {
    let places = Arc::new(places());
    for _ in 0..OPENINGS {
        let places = Arc::clone(&places);
        tokio::spawn(async move { open_in_turn(&places, pending::<()>()).await });
    }
    tokio::task::yield_now().await;
    let mut next = pin!(open_in_turn(&places, async {}));
    let now = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_ready())).await;
    assert!(!now, "one more was opened beside {OPENINGS}");
    // The clock moves on when nothing else can be done.
    next.await;
}

#[tokio::test]
async fn a_unix_socket_whose_backlog_is_full_is_asked_again_until_it_is_not() {
    use socket2::{Domain, SockAddr, Socket, Type};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let address = SockAddr::unix(&path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    let mut opening = pin!(connect_unix(&path));
    let now = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx).is_ready())).await;
    assert!(!now, "its backlog is full");
    let accepted = listener.accept().unwrap();
    opening.await.unwrap();
    drop((accepted, waiting));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_there_soon_is_asked_for_again_and_a_refusal_is_final() {
    let mut asked = 0;
    let opened = open_again(|| {
        asked += 1;
        let is_dropped = asked < 3;
        async move {
            if is_dropped {
                pending::<()>().await;
            }
            Ok::<_, &str>("opened")
        }
    });
    assert_eq!(opened.await, Ok("opened"));
    assert_eq!(asked, 3);
    let mut asked = 0;
    let refused = open_again(|| {
        asked += 1;
        async { Err::<(), _>("refused") }
    });
    assert_eq!(refused.await, Err("refused"));
    assert_eq!(asked, 1);
}

#[tokio::test(start_paused = true)]
async fn two_connections_at_most_are_opened_for_one_and_the_first_has_all_the_time() {
    let open = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (mut asked, mut most) = (0, 0);
    let opened = open_again(|| {
        asked += 1;
        let (number, guard) = (asked, Arc::clone(&open));
        most = most.max(Arc::strong_count(&open) - 1);
        async move {
            let _open = guard;
            // The way there is longer than the time between two attempts.
            let time = if number == 1 {
                3 * AGAIN
            } else {
                Duration::MAX
            };
            tokio::time::sleep(time.min(Duration::from_secs(60))).await;
            Ok::<_, &str>(number)
        }
    });
    assert_eq!(opened.await, Ok(1));
    assert!(most <= 2 && asked > 2, "{most} at once, {asked} in all");
}

#[tokio::test]
async fn a_closed_connection_has_no_place_though_its_record_is_still_known() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let [places, others] = [1, 1].map(|count| Arc::new(Semaphore::new(count)));
    let link = Link::new(Arc::clone(&places).try_acquire_owned().unwrap());
    let linked = LinkedStream {
        stream: WireStream::Tcp(stream),
        link: link.clone(),
    };
    assert!(link.move_to(&others));
    assert_eq!(
        (places.available_permits(), others.available_permits()),
        (1, 0)
    );
    drop(linked);
    assert!(link.move_to(&places));
    assert_eq!(
        (places.available_permits(), others.available_permits()),
        (1, 1)
    );
}
