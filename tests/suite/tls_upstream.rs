//! TLS and HTTP/2 to applications: whom Tidegate believes, how it says that it doesn't, and what
//! goes over the connections.

use crate::crash::configure;
use crate::support::certificates::{Authority, VALID};
use crate::support::fronts::{TlsFront, frame, start_refusing};
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, answer};
use crate::support::{Answer, Http, in_time};
use http::{Method, Response, StatusCode, Version};
use http_body_util::Full;
use serde_json::json;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::rustls::ServerConfig;

const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// What `/soon` answers is waited for shortly.
const SOON: &str = "[[relay]]\npath = \"/soon\"\nresponse_timeout = \"200ms\"\n[[write]]";

/// A sidecar in front of an application that speaks TLS.
struct Before {
    process: Process,
    upstream: FakeUpstream,
    front: TlsFront,
    client: Http,
    _directory: TempDir,
}

/// `[upstream]`'s address by https, with `tls = { ca = … }` and these lines.
fn by_https(directory: &Path, port: u16, ca: &Authority, more: &str) -> String {
    let file = directory.join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let more = if more.contains("tls = ") {
        more.to_owned()
    } else {
        format!("tls = {{ ca = {file:?} }}\n{more}")
    };
    format!("url = \"https://localhost:{port}\"\n{more}")
}

impl Before {
    async fn start(ca: &Authority, server: ServerConfig, more: &str) -> Self {
        Self::start_after("export RUST_LOG=tidegate=debug", ca, server, more).await
    }

    async fn start_after(command: &str, ca: &Authority, server: ServerConfig, more: &str) -> Self {
        let upstream = FakeUpstream::start().await;
        let front = TlsFront::start(server, upstream.address).await;
        let directory = tempfile::tempdir().unwrap();
        let url = by_https(directory.path(), front.address.port(), ca, more);
        let plain = format!("url = \"http://{}\"", upstream.address);
        let config = configure(
            directory.path(),
            upstream.address,
            "disk",
            &[
                (&plain, &url),
                ("flush_at = 4", "flush_at = 2"),
                ("[[write]]", SOON),
            ],
        );
        Self {
            process: Process::start_after(command, &config),
            upstream,
            front,
            client: Http::default(),
            _directory: directory,
        }
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
        let headers = [
            ("authorization", "token-u"),
            ("content-type", "application/json"),
            ("host", "app.test"),
        ];
        self.client
            .try_call(self.process.address, method, path, &headers, body)
            .await
            .unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    async fn event(&self, id: &str) {
        let event = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
        let answer = self.call(Method::POST, "/event", event).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }

    async fn until_said(&self, wanted: &str) {
        let told = async {
            while !self.process.said().contains(wanted) {
                tokio::task::yield_now().await;
            }
        };
        in_time(wanted, told).await;
    }

    fn protocols(&self) -> Vec<String> {
        let handshakes = self.front.handshakes();
        handshakes
            .into_iter()
            .filter_map(|one| one.protocol)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_batches_go_over_tls_by_http_2_or_1_1_as_the_application_chooses() {
    let root = Authority::new("root");
    for (offered, more, chosen, version) in [
        (BOTH.as_slice(), "", "h2", Version::HTTP_2),
        (&["http/1.1"], "", "http/1.1", Version::HTTP_11),
        (&BOTH, "http2 = \"never\"", "http/1.1", Version::HTTP_11),
    ] {
        // Of an intermediate, whose chain is sent along.
        let server = root
            .intermediate("intermediate")
            .sign()
            .server(offered, None);
        let before = Before::start(&root, server, more).await;
        for _ in 0..3 {
            assert_eq!(before.get("/x?y=1").await.status, StatusCode::OK);
        }
        before.event("a").await;
        before.event("b").await;
        before.upstream.until(|seen| seen.len() == 4).await;
        assert_eq!(before.upstream.batches(), [["a", "b"]]);
        for seen in before.upstream.seen() {
            assert_eq!(
                (seen.version, seen.header("host")),
                (version, "app.test"),
                "{seen:?}"
            );
            assert_eq!(seen.header("x-forwarded-proto"), "http");
            assert!(!seen.headers.contains_key("connection"));
        }
        assert_eq!(before.upstream.seen()[0].path, "/x?y=1");
        // Over HTTP/2 one connection for calls and one for deliveries. Over HTTP/1.1 one for all,
        // and one more where the application chose that on the first.
        let most = if version == Version::HTTP_11 && offered.len() == 2 {
            1
        } else {
            2
        };
        let protocols = before.protocols();
        assert!(protocols.iter().all(|one| one == chosen), "{protocols:?}");
        assert!(protocols.len() <= most, "{protocols:?}");
        assert_eq!(
            before.front.handshakes()[0].name.as_deref(),
            Some("localhost")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_not_believed_is_told_apart_and_never_asked_in_the_clear() {
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let localhost = ["localhost"].as_slice();
    for (server, reason, proxy_error) in [
        (
            root.sign_for(localhost, (2020, 2021)),
            "expired",
            "tls_certificate_error",
        ),
        (
            root.sign_for(localhost, (2110, 2120)),
            "not_valid_yet",
            "tls_certificate_error",
        ),
        (
            root.sign_for(&["other.test"], VALID),
            "wrong_name",
            "tls_certificate_error",
        ),
        (stranger.sign(), "unknown_issuer", "tls_certificate_error"),
    ] {
        for more in ["", "http2 = \"never\""] {
            let before = Before::start(&root, server.server(&BOTH, None), more).await;
            let answer = before.get("/x").await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
            assert_eq!(
                answer.header("proxy-status"),
                format!("tidegate; error={proxy_error}")
            );
            assert_eq!(answer.json()["code"], proxy_error);
            let said = format!("the TLS handshake failed, {reason}: ");
            before.until_said(&said).await;
            // An event is kept, and delivered once the application can be believed.
            before.event("a").await;
            before.event("b").await;
            before.until_said("the batch got no answer").await;
            assert_eq!(before.upstream.seen().len(), 0);
            before.front.show(root.sign().server(&BOTH, None));
            before.upstream.until(|seen| seen.len() == 1).await;
            assert_eq!(before.upstream.batches(), [["a", "b"]]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_no_tls_or_goes_meanwhile_is_told_as_such() {
    let root = Authority::new("root");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing_at = closing.local_addr().unwrap();
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    let plain = FakeUpstream::start().await;
    let short = "connect_timeout = \"300ms\"\n";
    for (at, patience, status, error) in [
        (
            plain.address,
            "",
            StatusCode::BAD_GATEWAY,
            "tls_protocol_error",
        ),
        (
            closing_at,
            "",
            StatusCode::BAD_GATEWAY,
            "tls_protocol_error",
        ),
        (
            silent_at,
            short,
            StatusCode::GATEWAY_TIMEOUT,
            "connection_timeout",
        ),
    ] {
        for more in ["", "http2 = \"never\""] {
            let more = format!("{patience}{more}");
            let directory = tempfile::tempdir().unwrap();
            let url = by_https(directory.path(), at.port(), &root, &more);
            let own = format!("url = \"http://{at}\"");
            let config = configure(directory.path(), at, "none", &[(&own, &url)]);
            let process = Process::start(&config);
            let answer = Http::default()
                .try_call(process.address, Method::GET, "/x", &[], "")
                .await
                .unwrap();
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (status, &json!(error)),
                "{at} {more}"
            );
        }
    }
    assert_eq!(plain.seen().len(), 0);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_asks_for_a_certificate_is_shown_the_configured_one() {
    let (root, clients) = (Authority::new("root"), Authority::new("clients"));
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = clients
        .sign_for(&["tidegate"], VALID)
        .write(directory.path(), "client");
    let (wrong, wrong_key) = root
        .sign_for(&["tidegate"], VALID)
        .write(directory.path(), "wrong");
    let ca = directory.path().join("root.pem");
    std::fs::write(&ca, &root.pem).unwrap();
    let shows = |cert: &PathBuf, key: &PathBuf| {
        format!("tls = {{ ca = {ca:?}, client_cert = {cert:?}, client_key = {key:?} }}\n")
    };
    for (tls, accepted) in [
        (shows(&cert, &key), true),
        (shows(&wrong, &wrong_key), false),
        (String::new(), false),
    ] {
        for http2 in ["", "http2 = \"never\""] {
            let server = root.sign().server(&BOTH, Some(&clients));
            let before = Before::start(&root, server, &format!("{tls}{http2}")).await;
            let answer = before.get("/x").await;
            if accepted {
                assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
            assert_eq!(answer.json()["code"], "tls_alert_received", "{answer:?}");
            before
                .until_said("the TLS handshake failed, client_certificate: ")
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ca_the_systems_roots_are_believed() {
    let root = Authority::new("root");
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("system.pem");
    std::fs::write(&roots, &root.pem).unwrap();
    let upstream = FakeUpstream::start().await;
    let front = TlsFront::start(root.sign().server(&BOTH, None), upstream.address).await;
    let url = format!("url = \"https://localhost:{}\"", front.address.port());
    let plain = format!("url = \"http://{}\"", upstream.address);
    let config = configure(
        directory.path(),
        upstream.address,
        "none",
        &[(&plain, &url)],
    );
    let process = Process::start_after(
        &format!("export SSL_CERT_FILE={}", roots.display()),
        &config,
    );
    let answer = Http::default()
        .try_call(process.address, Method::GET, "/x", &[], "")
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let gone = directory.path().join("gone.pem").display().to_string();
    let (code, said) = run(
        &["check"],
        &config,
        &[("SSL_CERT_FILE", &gone), ("SSL_CERT_DIR", "")],
    );
    assert_eq!(code, Some(1), "{said}");
    let wanted = "upstream.tls: the system has no root certificates (";
    assert!(
        said.contains(wanted) && said.contains("ca = \"FILE\""),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_the_upstreams_tls_is_said_with_what_is_allowed() {
    let (directory, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    root.sign().write(directory.path(), "good");
    root.sign().write(directory.path(), "other");
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(directory.path().join("root.pem"), &root.pem).unwrap();
    let good_ca = format!("ca = {:?}", at("root.pem"));
    let secure = "https://app.test";
    for (url, tls, wanted) in [
        (
            "http://app.test",
            format!("tls = {{ {good_ca} }}"),
            "upstream.tls: is for addresses by https",
        ),
        (
            secure,
            format!("tls = {{ ca = {:?} }}", at("gone.pem")),
            "upstream.tls.ca: ",
        ),
        (
            secure,
            format!("tls = {{ ca = {:?} }}", at("good.key")),
            "found no certificate",
        ),
        (
            secure,
            format!("tls = {{ {good_ca}, client_cert = {:?} }}", at("good.pem")),
            "upstream.tls.client_key: is missing; a PEM file is needed",
        ),
        (
            secure,
            format!("tls = {{ {good_ca}, client_key = {:?} }}", at("good.key")),
            "upstream.tls.client_cert: is missing; a PEM file is needed",
        ),
        (
            secure,
            format!(
                "tls = {{ {good_ca}, client_cert = {:?}, client_key = {:?} }}",
                at("good.pem"),
                at("other.key")
            ),
            "upstream.tls.client_key: ",
        ),
        (
            secure,
            format!(
                "tls = {{ {good_ca}, client_cert = {:?}, client_key = {:?} }}",
                at("gone.pem"),
                at("other.key")
            ),
            "upstream.tls.client_cert: ",
        ),
        (
            secure,
            format!("tls = {{ {good_ca}, insecure = true }}"),
            "upstream.tls.insecure: unknown key",
        ),
        (
            secure,
            "http2 = true".to_owned(),
            "upstream.http2: found true; allowed is one of",
        ),
        (
            "https://a..b",
            String::new(),
            "whose host no certificate can have",
        ),
        (
            "https://app.test/x",
            String::new(),
            "without a path, or \"unix:/PATH\"",
        ),
        ("unix:app.sock", String::new(), "or \"unix:/PATH\""),
    ] {
        let text = format!("[upstream]\nurl = {url:?}\n{tls}\n");
        let error = tidegate::config::parse(&text, "config.toml", std::iter::empty());
        let said = error.unwrap_err().to_string();
        assert!(said.contains(wanted), "{url} {tls}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_own_address_is_asked_over_the_same_tls() {
    let root = Authority::new("root");
    let (plain, secure) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let front = TlsFront::start(root.sign().server(&BOTH, None), secure.address).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &root.pem).unwrap();
    let tls = format!("[upstream]\ntls = {{ ca = {ca:?} }}\n");
    let url = format!("url = \"https://localhost:{}/batch\"", front.address.port());
    let more = [
        ("[upstream]\n", &*tls),
        ("path = \"/batch\"", &url),
        ("flush_at = 4", "flush_at = 1"),
    ];
    let config = configure(directory.path(), plain.address, "disk", &more);
    let process = Process::start(&config);
    let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    let headers = [("authorization", "t"), ("content-type", "application/json")];
    let client = Http::default();
    let answer = client
        .try_call(process.address, Method::POST, "/event", &headers, event)
        .await;
    assert_eq!(answer.unwrap().status, StatusCode::ACCEPTED);
    secure.until(|seen| seen.len() == 1).await;
    assert_eq!(secure.batches(), [["a"]]);
    assert_eq!(secure.seen()[0].version, Version::HTTP_2);
    assert_eq!(plain.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_share_an_http_2_connection_up_to_its_streams_and_then_another_one() {
    let root = Authority::new("root");
    let before = Arc::new(Before::start(&root, root.sign().server(&BOTH, None), "").await);
    before.upstream.close_gate();
    let calls: Vec<_> = (0..150)
        .map(|number| {
            let before = Arc::clone(&before);
            tokio::spawn(async move { before.get(&format!("/{number}")).await.status })
        })
        .collect();
    before.upstream.until(|seen| seen.len() == 150).await;
    assert_eq!(before.protocols(), ["h2", "h2"]);
    before.upstream.open_gate();
    for call in calls {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_no_more_calls_than_its_application_allows_from_the_first_on() {
    let root = Authority::new("root");
    let before = Arc::new(Before::start(&root, root.sign().server(&BOTH, None), "").await);
    before.upstream.limit_streams(3);
    before.upstream.close_gate();
    let calls: Vec<_> = (0..10)
        .map(|number| {
            let before = Arc::clone(&before);
            tokio::spawn(async move { before.get(&format!("/{number}")).await.status })
        })
        .collect();
    // None of them waits for another one.
    before.upstream.until(|seen| seen.len() == 10).await;
    before.upstream.open_gate();
    for call in calls {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(before.protocols(), ["h2"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waited_for_a_connection_in_vain_takes_the_room_that_came_free() {
    let root = Authority::new("root");
    let server = root.sign().server(&BOTH, None);
    let before = Arc::new(Before::start(&root, server, "connect_timeout = \"3s\"").await);
    before.upstream.limit_streams(1);
    before.upstream.close_gate();
    let get = |path: &'static str| {
        let before = Arc::clone(&before);
        tokio::spawn(async move { before.get(path).await.status })
    };
    let first = get("/first");
    before.upstream.until(|seen| seen.len() == 1).await;
    before.front.ignore_new();
    let second = get("/second");
    let opening = async {
        while before.front.ignored() == 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time("a second connection", opening).await;
    before.upstream.open_gate();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(second.await.unwrap(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_stops_no_other_on_its_connection() {
    let root = Authority::new("root");
    let before = Before::start(&root, root.sign().server(&BOTH, None), "").await;
    // More than the kernel takes for a client that reads nothing.
    let long = json!({ "long": "x".repeat(24 << 20) });
    before
        .upstream
        .answer_with(move |seen| (seen.path == "/long").then(|| answer(200, long.clone())));
    let mut unread = Vec::new();
    for _ in 0..3 {
        use tokio::io::AsyncWriteExt as _;
        let mut client = tokio::net::TcpStream::connect(before.process.address)
            .await
            .unwrap();
        client
            .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        unread.push(client);
    }
    before.upstream.until(|seen| seen.len() == 3).await;
    let large = bytes::Bytes::from(vec![b'y'; 2 << 20]);
    let answer = in_time(
        "an answer",
        before.call(Method::POST, "/other", large.clone()),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(before.upstream.seen()[3].body, large);
    assert_eq!(before.protocols(), ["h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_abandoned_answers_retire_their_connection_and_end_no_other_call() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let root = Authority::new("root");
    let before = Arc::new(Before::start(&root, root.sign().server(&BOTH, None), "").await);
    before.upstream.hold_back(|seen| seen.path == "/held");
    // More than the kernel takes for a client that reads nothing.
    let long = bytes::Bytes::from(vec![b'x'; 24 << 20]);
    before.upstream.answer_with(move |seen| {
        (seen.path == "/long").then(|| Response::new(Full::new(long.clone())))
    });
    let other = Arc::clone(&before);
    let held = tokio::spawn(async move { other.get("/held").await.status });
    before.upstream.until(|seen| seen.len() == 1).await;
    for _ in 0..20 {
        let mut client = tokio::net::TcpStream::connect(before.process.address)
            .await
            .unwrap();
        client
            .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        client.read_exact(&mut [0; 100]).await.unwrap();
    }
    let until_open = async |count| {
        let reached = async {
            while before.front.open() != count {
                assert_eq!(before.get("/x").await.status, StatusCode::OK);
            }
        };
        in_time("connections to the application", reached).await;
    };
    // The first one is open for the call that it has.
    until_open(2).await;
    before.upstream.open_gate();
    assert_eq!(held.await.unwrap(), StatusCode::OK);
    until_open(1).await;
    assert_eq!(before.protocols(), ["h2", "h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_at_once_cost_no_connection() {
    use tokio::io::AsyncWriteExt as _;
    let root = Authority::new("root");
    let before = Before::start(&root, root.sign().server(&BOTH, None), "").await;
    assert_eq!(before.get("/x").await.status, StatusCode::OK);
    before.upstream.hold_back(|seen| seen.path == "/held");
    for calls in 2..7 {
        let mut client = tokio::net::TcpStream::connect(before.process.address)
            .await
            .unwrap();
        client
            .write_all(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        before.upstream.until(|seen| seen.len() >= calls).await;
        drop(client);
    }
    for _ in 0..5 {
        assert_eq!(before.get("/x").await.status, StatusCode::OK);
    }
    assert_eq!(before.protocols(), ["h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_fallen_silent_gets_no_more_calls() {
    let root = Authority::new("root");
    let before = Before::start(&root, root.sign().server(&BOTH, None), "").await;
    assert_eq!(before.get("/x").await.status, StatusCode::OK);
    before.front.fall_silent();
    let lost = before.get("/soon").await;
    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{lost:?}");
    assert_eq!(before.get("/x").await.status, StatusCode::OK);
    assert_eq!(before.protocols(), ["h2", "h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_broken_body_is_its_own_fault_over_http_2_too() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let root = Authority::new("root");
    for more in ["", "http2 = \"never\""] {
        let before = Before::start(&root, root.sign().server(&BOTH, None), more).await;
        let mut client = tokio::net::TcpStream::connect(before.process.address)
            .await
            .unwrap();
        let head = "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client
            .write_all(format!("{head}5\r\nhello\r\nno chunk\r\n").as_bytes())
            .await
            .unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 400", "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_connections_have_ended_an_application_is_asked_on_new_ones() {
    let root = Authority::new("root");
    for more in ["", "http2 = \"never\"", "idle_timeout = \"10ms\""] {
        let before = Before::start(&root, root.sign().server(&BOTH, None), more).await;
        for number in 1..=5 {
            // A GET is repeated where its connection had been closed.
            let answer = before.get("/x").await;
            assert_eq!(answer.status, StatusCode::OK, "{more} {number} {answer:?}");
            before.front.hang_up();
        }
        assert!(before.protocols().len() >= 5, "{:?}", before.protocols());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_speaks_http_2_no_more_is_asked_over_http_1_1() {
    let root = Authority::new("root");
    let before = Before::start(&root, root.sign().server(&BOTH, None), "").await;
    assert_eq!(before.get("/x").await.status, StatusCode::OK);
    before.front.show(root.sign().server(&["http/1.1"], None));
    before.front.hang_up();
    assert_eq!(before.get("/x").await.status, StatusCode::OK);
    let versions: Vec<_> = before
        .upstream
        .seen()
        .iter()
        .map(|seen| seen.version)
        .collect();
    assert_eq!(versions, [Version::HTTP_2, Version::HTTP_11]);
}

async fn start_clear(url: &str, upstream: SocketAddr, more: &[(&str, &str)]) -> (Process, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let own = format!("url = \"http://{upstream}\"");
    let more: Vec<_> = more.iter().copied().chain([(&*own, url)]).collect();
    let process = Process::start(&configure(directory.path(), upstream, "disk", &more));
    (process, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_prior_knowledge_http_2_is_spoken_in_the_clear() {
    let upstream = FakeUpstream::start().await;
    let url = format!(
        "url = \"http://{}\"\nhttp2 = \"prior-knowledge\"",
        upstream.address
    );
    let flush = ("flush_at = 4", "flush_at = 1");
    let (process, _directory) = start_clear(&url, upstream.address, &[flush]).await;
    let headers = [
        ("authorization", "t"),
        ("content-type", "application/json"),
        ("host", "app.test:81"),
        ("te", "trailers"),
        ("connection", "te"),
    ];
    let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    let client = Http::default();
    for (method, path, body) in [
        (Method::GET, "/x", ""),
        (Method::OPTIONS, "/x", ""),
        (Method::PUT, "/x", "a body"),
        (Method::POST, "/event", event),
    ] {
        let answer = client
            .try_call(process.address, method, path, &headers, body)
            .await
            .unwrap();
        assert!(answer.status.is_success(), "{path} {answer:?}");
    }
    upstream.until(|seen| seen.len() == 4).await;
    assert_eq!(upstream.batches(), [["a"]]);
    for seen in upstream.seen() {
        assert_eq!(
            (seen.version, seen.header("host")),
            (Version::HTTP_2, "app.test:81")
        );
    }
    assert_eq!(upstream.seen()[0].header("te"), "trailers");
    assert_eq!(upstream.seen()[2].body, "a body");
    // Calls share one connection, and deliveries have another one.
    let from = |path: &str| {
        let of_path = upstream.seen().into_iter().filter(|seen| seen.path == path);
        of_path.map(|seen| seen.from).collect::<HashSet<_>>()
    };
    let (calls, deliveries) = (from("/x"), from("/batch"));
    assert_eq!((calls.len(), deliveries.len()), (1, 1));
    assert!(calls.is_disjoint(&deliveries));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_says_it_did_not_process_is_sent_again_whatever_it_asks_for() {
    let upstream = FakeUpstream::start().await;
    // Nothing was processed (RFC 9113 §6.8), REFUSED_STREAM and HTTP_1_1_REQUIRED (§7).
    let go_away = frame(7, 0, &[0; 8]);
    let refused = frame(3, 1, &[0, 0, 0, 7]);
    let wanted_otherwise = frame(3, 1, &[0, 0, 0, 13]);
    let all_wanted_otherwise = frame(7, 0, &[0, 0, 0, 0, 0, 0, 0, 13]);
    let headers = [("authorization", "t"), ("content-type", "application/json")];
    let event = "{\"id\":\"a\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}";
    let flush = ("flush_at = 4", "flush_at = 1");
    for (frames, version) in [
        (&go_away, Version::HTTP_2),
        (&refused, Version::HTTP_2),
        (&wanted_otherwise, Version::HTTP_11),
        (&all_wanted_otherwise, Version::HTTP_11),
    ] {
        for (path, body, status) in [
            ("/x", "a body", StatusCode::OK),
            ("/event", event, StatusCode::ACCEPTED),
        ] {
            let front = start_refusing(vec![frames.clone()], upstream.address).await;
            let url = format!("url = \"http://{front}\"\nhttp2 = \"prior-knowledge\"");
            let once = (
                "retry_network = [\"10ms\", \"20ms\"]",
                "retry_network = [\"1h\"]",
            );
            let (process, _directory) = start_clear(&url, upstream.address, &[flush, once]).await;
            let count = upstream.seen().len();
            let answer = Http::default()
                .try_call(process.address, Method::POST, path, &headers, body)
                .await
                .unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
            upstream.until(|seen| seen.len() == count + 1).await;
            assert_eq!(upstream.seen()[count].version, version, "{path}");
        }
    }
    assert_eq!(upstream.batches(), [["a"], ["a"], ["a"], ["a"]]);
}

/// By such a credential an application may take a connection to be its caller's.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_authenticates_its_connection_shares_none_over_http_2_either() {
    let root = Authority::new("root");
    let pair = root.sign_for(&["localhost"], VALID);
    let before = Before::start(&root, pair.server(&BOTH, None), "").await;
    for credential in ["Bearer a", "Negotiate b", "NTLM c", "Bearer d"] {
        let headers = [("authorization", credential)];
        let asked = before
            .client
            .try_call(before.process.address, Method::GET, "/x", &headers, "");
        assert_eq!(asked.await.unwrap().status, StatusCode::OK);
    }
    let seen = before.upstream.seen();
    let versions: Vec<_> = seen.iter().map(|seen| seen.version).collect();
    let (one, two) = (Version::HTTP_11, Version::HTTP_2);
    assert_eq!(versions, [two, one, one, two]);
    let connections: HashSet<_> = seen.iter().map(|seen| seen.from).collect();
    assert_eq!(connections.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_names_addresses_one_that_answers_is_found() {
    let upstream = FakeUpstream::start().await;
    // A name of two addresses on most machines; one of them listens.
    let url = format!("url = \"http://localhost:{}\"", upstream.address.port());
    let (process, _directory) = start_clear(&url, upstream.address, &[]).await;
    let answer = Http::default()
        .try_call(process.address, Method::GET, "/x", &[], "")
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}
