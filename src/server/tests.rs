use super::*;
use crate::peer::{Arrived, TrustedProxies};
use http::Extensions;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tower::service_fn;

const LONG: Duration = Duration::from_secs(3_600);

fn patient(places: usize) -> ServerSettings {
    ServerSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        max_connections: places,
        header_timeout: LONG,
        keepalive_timeout: LONG,
        stall_timeout: LONG,
        knows_callers: true,
        trusted_proxies: crate::peer::TrustedProxies::local(),
        body_timeout: LONG,
        drain: LONG,
        connections: OpenConnections::default(),
    }
}

/// A listener with one place, whose calls are never answered; their extensions.
async fn serve_none() -> (SocketAddr, mpsc::UnboundedReceiver<Extensions>) {
    let settings = patient(1);
    let listener = bind(&settings).unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    let (calls, seen) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        drop(calls.send(request.into_parts().0.extensions));
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    drop(tokio::spawn(serve(
        listener,
        settings,
        service,
        Drain::new(),
    )));
    (address, seen)
}

/// A listener with so many places, which keeps connections for an hour. Calls of `/held` come
/// out here, to be answered by the test; any other is answered at once.
fn serve_patiently(places: usize) -> (SocketAddr, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let settings = patient(places);
    let listener = bind(&settings).unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    let (held, calls) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let (release, released) = oneshot::channel();
        let waits = request.uri().path() == "/held" && held.send(release).is_ok();
        async move {
            if waits {
                drop(released.await);
            }
            Ok(Response::new(Body::from("ok")))
        }
    });
    drop(tokio::spawn(serve(
        listener,
        settings,
        service,
        Drain::new(),
    )));
    (address, calls)
}

/// A listener whose connections all wait until they are let go.
fn serve_all_waiting(settings: ServerSettings, service: impl Answering) -> (SocketAddr, Turns) {
    let listener = bind(&settings).unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    let turns = Turns::all_wait();
    drop(tokio::spawn(serve_in_turn(
        listener,
        settings,
        service,
        Drain::new(),
        turns.clone(),
    )));
    (address, turns)
}

#[tokio::test]
async fn a_connection_is_read_when_it_is_let_go() {
    let settings = patient(1);
    let service = service_fn(|_| async { Ok(Response::new(Body::from("ok"))) });
    let (address, turns) = serve_all_waiting(settings, service);
    in_time(async {
        let mut client = TcpStream::connect(address).await.unwrap();
        ask(&mut client, "/").await;
        while turns.count_waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(tokio::spawn(async move { turns.run().await }));
        answered(&mut client).await;
    })
    .await;
}

#[tokio::test]
async fn one_networks_many_connections_do_not_go_before_another_ones_first() {
    let settings = ServerSettings {
        trusted_proxies: TrustedProxies::default(),
        ..patient(256)
    };
    let (calls, mut seen) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let arrived = request.extensions().get::<Arrived>().unwrap();
        calls.send(arrived.connection.address.ip()).unwrap();
        async { Ok(Response::new(Body::from("ok"))) }
    });
    let (address, turns) = serve_all_waiting(settings, service);
    in_time(async {
        let mut clients = Vec::new();
        let other = IpAddr::from([127, 0, 0, 2]);
        for number in 1..=30 {
            let from = if number == 30 {
                other
            } else {
                IpAddr::from([127, 0, 0, 1])
            };
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(from, 0)).unwrap();
            let mut client = socket.connect(address).await.unwrap();
            ask(&mut client, "/").await;
            clients.push(client);
            while turns.count_waiting() < number {
                tokio::task::yield_now().await;
            }
        }
        drop(tokio::spawn(async move { turns.run().await }));
        let mut before = 0;
        while seen.recv().await.unwrap() != other {
            before += 1;
        }
        assert!(before < 15, "{before} of 29 went first");
    })
    .await;
}

async fn ask(client: &mut TcpStream, path: &str) {
    client
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
        .await
        .unwrap();
}

/// The answer's end has come; the connection is still open.
async fn answered(client: &mut TcpStream) {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\nok") {
        client.read_exact(&mut byte).await.unwrap();
        answer.extend(byte);
    }
}

async fn is_closed(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0]).await, Ok(0))
}

/// What these tests wait for comes within two minutes, or never.
async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(2), test)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_caller_beside_more_silent_connections_than_places_is_answered_and_the_oldest_are_closed()
{
    let (address, _calls) = serve_patiently(descriptors::ADMIN);
    in_time(async {
        let mut silent = Vec::new();
        for number in 0..400 {
            let mut client = TcpStream::connect(address).await.unwrap();
            if number % 2 == 1 {
                client
                    .write_all(b"GET /healthz HTTP/1.1\r\n")
                    .await
                    .unwrap();
            }
            silent.push(client);
        }
        let mut operator = TcpStream::connect(address).await.unwrap();
        ask(&mut operator, "/healthz").await;
        answered(&mut operator).await;
        let mut kept = silent.split_off(401 - descriptors::ADMIN);
        for (number, client) in silent.iter_mut().enumerate() {
            assert!(is_closed(client).await, "the oldest but {number}");
        }
        for client in kept.iter_mut().skip(1).step_by(2) {
            ask(client, "/").await;
            answered(client).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_is_answered_to_the_end_before_its_connection_gives_way() {
    let (address, mut calls) = serve_patiently(2);
    in_time(async {
        let mut clients = Vec::new();
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client, "/held").await;
            held.push(calls.recv().await.unwrap());
            clients.push(client);
        }
        let mut late = TcpStream::connect(address).await.unwrap();
        ask(&mut late, "/").await;
        let release = held.pop().unwrap();
        release.send(()).unwrap();
        answered(&mut clients[1]).await;
        answered(&mut late).await;
        assert!(is_closed(&mut clients[1]).await);
        held.pop().unwrap().send(()).unwrap();
        answered(&mut clients[0]).await;
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_comes_before_it_is_accepted_waits_in_a_long_queue() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .unwrap()
        .trim()
        .parse::<usize>()
        .unwrap();
    let listener = bind(&patient(1)).unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    in_time(async {
        let mut waiting = Vec::new();
        for _ in 0..most.min(400) {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_outlives_its_client_does_not_keep_the_clients_place() {
    let (address, mut seen) = serve_none().await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        kept.push(seen.recv().await.unwrap());
        let arrived = kept.last().unwrap().get::<Arrived>().unwrap();
        assert!(
            arrived.place.keep().is_some(),
            "while the client is there, its place can be kept"
        );
    }
}

/// A listener with so many places; where it listens, and what ends it.
fn serve_until_drained(places: usize, service: impl Answering) -> (SocketAddr, Drain) {
    let (settings, drain) = (patient(places), Drain::new());
    let listener = bind(&settings).unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    drop(tokio::spawn(serve(
        listener,
        settings,
        service,
        drain.clone(),
    )));
    (address, drain)
}

/// What a connection becomes keeps its place when its task has ended.
#[tokio::test]
async fn a_client_that_waits_for_a_place_does_not_hold_up_the_drain_of_a_passed_listener() {
    let (places, mut kept) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let arrived = request.extensions().get::<Arrived>().unwrap();
        drop(places.send(arrived.place.keep()));
        async { Ok(Response::new(Body::from("ok"))) }
    });
    let (address, drain) = serve_until_drained(1, service);
    in_time(async {
        let mut first = TcpStream::connect(address).await.unwrap();
        ask(&mut first, "/").await;
        answered(&mut first).await;
        let place = kept.recv().await.unwrap();
        drop(first);
        let second = TcpStream::connect(address).await.unwrap();
        // The listener has accepted it, and it waits, as far as this can be told from outside.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        drain.announce();
        drain.draining().await;
        drop((place, second));
    })
    .await;
}

/// Reads frames of HTTP/2 (RFC 9113 §4.1) until a GOAWAY; `false`: the connection ended without.
async fn is_sent_away(client: &mut TcpStream) -> bool {
    const GOAWAY: u8 = 7;
    loop {
        let mut head = [0; 9];
        if client.read_exact(&mut head).await.is_err() {
            return false;
        }
        if head[3] == GOAWAY {
            return true;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        client
            .read_exact(&mut vec![0; length as usize])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn over_http_2_a_connection_that_came_after_the_announcement_is_told_where_it_ends() {
    let (held, mut calls) = mpsc::unbounded_channel();
    let service = service_fn(move |_| {
        let (release, released) = oneshot::channel::<()>();
        drop(held.send(release));
        async {
            drop(released.await);
            Ok(Response::new(Body::from("ok")))
        }
    });
    let (address, drain) = serve_until_drained(8, service);
    in_time(async {
        // While it is there, new connections are taken.
        let mut early = TcpStream::connect(address).await.unwrap();
        ask(&mut early, "/").await;
        let release = calls.recv().await.unwrap();
        drain.announce();
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        late.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        assert!(is_sent_away(&mut late).await);
        drop(release);
    })
    .await;
}
