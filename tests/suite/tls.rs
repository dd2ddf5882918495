//! TLS on the public listener, with the real binary: protocols, what is refused, and who gives way.

use crate::crash::configure;
use crate::support::certificates::Authority;
use crate::support::in_time;
use crate::support::process::{Process, run};
use crate::support::upstream::{FakeUpstream, answer};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

/// A listener with a certificate of `localhost`, in front of an application.
pub struct Served {
    pub process: Process,
    pub upstream: FakeUpstream,
    pub root: Authority,
    pub directory: TempDir,
}

/// `[server]`'s first line, with TLS by these files.
pub fn with_tls(cert: &Path, key: &Path) -> String {
    let [cert, key] = [cert, key].map(|path| path.display().to_string());
    format!("[server]\ntls = {{ cert = {cert:?}, key = {key:?} }}\n")
}

/// The configuration of a listener with TLS, with lines replaced.
pub fn configure_tls(
    directory: &Path,
    upstream: SocketAddr,
    authority: &Authority,
    more: &[(&str, &str)],
) -> PathBuf {
    let (cert, key) = authority.sign().write(directory, "server");
    let server = with_tls(&cert, &key);
    let more: Vec<_> = more
        .iter()
        .copied()
        .chain([("[server]\n", &*server)])
        .collect();
    configure(directory, upstream, "disk", &more)
}

pub async fn serve(more: &[(&str, &str)]) -> Served {
    serve_after("true", more).await
}

/// Started after a command of the shell.
pub async fn serve_after(command: &str, more: &[(&str, &str)]) -> Served {
    let (upstream, root) = (FakeUpstream::start().await, Authority::new("root"));
    let directory = tempfile::tempdir().unwrap();
    let intermediate = root.intermediate("intermediate");
    let config = configure_tls(directory.path(), upstream.address, &intermediate, more);
    let process = Process::start_after(command, &config);
    Served {
        process,
        upstream,
        root,
        directory,
    }
}

impl Served {
    pub async fn connect(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        self.root.connect(self.process.address, protocols).await
    }
}

fn request(version: Version, path: &str, body: &str) -> Request<Full<Bytes>> {
    let builder = Request::post(format!("https://app.test{path}"))
        .version(version)
        .header("authorization", "token-u")
        .header("content-type", "application/json");
    let builder = match version {
        Version::HTTP_2 => builder,
        _ => builder.header("host", "app.test"),
    };
    builder.body(Full::from(body.to_owned())).unwrap()
}

/// Posts over a connection that speaks the version.
pub async fn post(
    stream: TlsStream<TcpStream>,
    version: Version,
    path: &str,
    body: &str,
) -> (StatusCode, Bytes) {
    let io = TokioIo::new(stream);
    let request = request(version, path, body);
    let response = if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    (head.status, body.collect().await.unwrap().to_bytes())
}

/// Reads until the other end has closed the connection, cleanly or not.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is an end too.
    drop(in_time("the connection's end", stream.read_to_end(&mut read)).await);
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_is_forwarded_as_https_and_an_acknowledged_event_is_delivered() {
    let served = serve(&[("flush_at = 4", "flush_at = 2")]).await;
    for (protocols, version, id) in [
        (["h2", "http/1.1"].as_slice(), Version::HTTP_2, "a"),
        (&["http/1.1"], Version::HTTP_11, "b"),
    ] {
        let stream = served.connect(protocols).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen.as_deref(), Some(protocols[0].as_bytes()));
        let (status, _) = post(stream, version, "/other", "{}").await;
        assert_eq!(status, StatusCode::OK);
        let stream = served.connect(protocols).await.unwrap();
        let event = format!("{{\"id\":\"{id}\",\"user\":\"u\",\"lesson\":\"l\",\"percent\":5}}");
        let (status, _) = post(stream, version, "/event", &event).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    // Without ALPN it is HTTP/1.1.
    let stream = served.connect(&[]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    post(stream, Version::HTTP_11, "/other", "{}").await;
    served.upstream.until(|seen| seen.len() == 4).await;
    assert_eq!(served.upstream.batches(), [["a", "b"]]);
    for seen in served.upstream.seen() {
        assert_eq!(seen.header("x-forwarded-proto"), "https", "{seen:?}");
        assert_eq!(seen.header("host"), "app.test");
    }
}

/// A ClientHello of TLS 1.1, which offers no later version.
fn old_hello() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    // Groups and signature algorithms.
    body.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut hello = vec![0x16, 3, 1, 0, u8::try_from(body.len() + 4).unwrap()];
    hello.extend([1, 0, 0, u8::try_from(body.len()).unwrap()]);
    hello.extend(body);
    hello
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_tls_1_1_nor_plain_http_is_answered_and_the_log_says_so_at_debug() {
    let served = serve_after("export RUST_LOG=tidegate=debug", &[]).await;
    let mut old = TcpStream::connect(served.process.address).await.unwrap();
    old.write_all(&old_hello()).await.unwrap();
    // A fatal alert: protocol_version.
    assert_eq!(&read_to_end(&mut old).await[5..], [2, 70]);
    let mut plain = TcpStream::connect(served.process.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let read = read_to_end(&mut plain).await;
    assert!(!read.starts_with(b"HTTP"), "{read:?}");
    assert_eq!(served.upstream.seen().len(), 0);
    let told = async {
        while served
            .process
            .said()
            .matches("a TLS handshake failed")
            .count()
            < 2
        {
            tokio::task::yield_now().await;
        }
    };
    in_time("both lines of the log", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_handshake_is_cut_after_the_heads_time() {
    let short = ("[server]\n", "[server]\nheader_timeout = \"200ms\"\n");
    let served = serve(&[short]).await;
    let hello = old_hello();
    for part in [0, 1, 20] {
        let mut half = TcpStream::connect(served.process.address).await.unwrap();
        half.write_all(&hello[..part]).await.unwrap();
        assert_eq!(read_to_end(&mut half).await, b"", "after {part} bytes");
    }
    // A handshake's time and the first head's are one.
    let long = ("[server]\n", "[server]\nheader_timeout = \"2s\"\n");
    let served = serve(&[long]).await;
    let stream = served.connect(&["http/1.1"]).await.unwrap();
    let (mut stream, _) = stream.into_inner();
    read_to_end(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_handshake_gives_way_to_a_new_connection() {
    let one = (
        "[server]\n",
        "[server]\nmax_connections = 1\nheader_timeout = \"1h\"\nkeepalive_timeout = \"1h\"\n",
    );
    let served = serve(&[one]).await;
    let mut half = TcpStream::connect(served.process.address).await.unwrap();
    half.write_all(&old_hello()[..20]).await.unwrap();
    let idle = in_time("a place", served.connect(&["http/1.1"]))
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut half).await, b"");
    // So does one whose handshake is over.
    let stream = in_time("a place", served.connect(&["h2"])).await.unwrap();
    let (mut idle, _) = idle.into_inner();
    read_to_end(&mut idle).await;
    let (status, _) = post(stream, Version::HTTP_2, "/other", "{}").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_whole_though_its_client_reads_it_late() {
    let served = serve(&[]).await;
    let long = "x".repeat(8 << 20);
    let body = serde_json::json!({ "long": long });
    served
        .upstream
        .answer_with(move |_| Some(answer(200, body.clone())));
    for (protocol, version) in [("http/1.1", Version::HTTP_11), ("h2", Version::HTTP_2)] {
        let stream = served.connect(&[protocol]).await.unwrap();
        let (status, body) = post(stream, version, "/long", "{}").await;
        assert_eq!(
            (status, body.len()),
            (StatusCode::OK, long.len() + 11),
            "{protocol}"
        );
    }
    // Raw: nothing is read until all that fits has been written.
    let mut stream = served.connect(&["http/1.1"]).await.unwrap();
    stream
        .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    served.upstream.until(|seen| seen.len() == 3).await;
    let mut read = Vec::new();
    in_time("the answer", stream.read_to_end(&mut read))
        .await
        .unwrap();
    assert!(read.ends_with(b"x\"}") && read.len() > long.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_passes_through_tls_on_both_sides() {
    use crate::support::fronts::TlsFront;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let application = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_close() {
                    socket.send(message).await.unwrap();
                }
            }
        }
    });
    let root = Authority::new("root");
    // HTTP/2 is offered: an upgrade goes over HTTP/1.1 all the same.
    let front = TlsFront::start(root.sign().server(&["h2", "http/1.1"], None), application).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &root.pem).unwrap();
    let upstream = format!(
        "url = \"https://{}\"\ntls = {{ ca = {ca:?} }}",
        front.address
    );
    let plain = format!("url = \"http://{application}\"");
    let config = configure_tls(directory.path(), application, &root, &[(&plain, &upstream)]);
    let process = Process::start(&config);
    let stream = root.connect(process.address, &["http/1.1"]).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/ws", stream)
        .await
        .unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        let heard = in_time("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(heard, Message::text(text));
    }
    let protocols: Vec<_> = front
        .handshakes()
        .into_iter()
        .map(|one| one.protocol)
        .collect();
    assert_eq!(protocols, [Some("http/1.1".to_owned())]);
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said_before_anything_is_bound() {
    let (directory, root) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let address = "127.0.0.1:1".parse().unwrap();
    let check = |tls: &str| {
        let server = format!("[server]\n{tls}\n");
        let config = configure(
            directory.path(),
            address,
            "none",
            &[("[server]\n", &server)],
        );
        run(&["check"], &config, &[])
    };
    let at = |name: &str| directory.path().join(name).display().to_string();
    root.sign().write(directory.path(), "good");
    root.sign().write(directory.path(), "other");
    root.sign_for(&["localhost"], (2020, 2021))
        .write(directory.path(), "old");
    for (tls, wanted) in [
        (
            "tls = {}".to_owned(),
            "server.tls.cert: is missing; a PEM file is needed",
        ),
        (
            "tls = { cert = 5 }".to_owned(),
            "server.tls.cert: found 5; allowed is text",
        ),
        (
            format!("tls = {{ cert = {:?} }}", at("good.pem")),
            "server.tls.key: is missing",
        ),
        (
            format!(
                "tls = {{ cert = {:?}, key = {:?} }}",
                at("gone.pem"),
                at("good.key")
            ),
            "gone.pem: the file can't be read: No such file",
        ),
        (
            format!(
                "tls = {{ cert = {:?}, key = {:?} }}",
                at("good.key"),
                at("good.key")
            ),
            "server.tls.cert: ",
        ),
        (
            format!(
                "tls = {{ cert = {:?}, key = {:?} }}",
                at("good.pem"),
                at("other.key")
            ),
            "other.key: the private key doesn't belong to the first certificate of",
        ),
        (
            format!(
                "tls = {{ cert = {:?}, key = {:?}, k = 1 }}",
                at("good.pem"),
                at("good.key")
            ),
            "server.tls.k: unknown key; did you mean \"key\"?",
        ),
    ] {
        let (code, said) = check(&tls);
        assert!(code == Some(1) && said.contains(wanted), "{tls}: {said}");
        assert!(said.contains("config.toml:3: server.tls"), "{said}");
    }
    let (code, said) = check(&format!(
        "tls = {{ cert = {:?}, key = {:?} }}",
        at("old.pem"),
        at("old.key")
    ));
    let wanted = "old.pem has expired at 2021-01-01T00:00:00Z; clients refuse it";
    assert_eq!(code, Some(0));
    // Its lines fit a terminal.
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("WARNING: server.tls: the certificate in") && said.contains(wanted),
        "{said}"
    );
}

/// A program of this machine, if it has it.
fn find(program: &str, version: &str) -> Option<Command> {
    let found = Command::new(program).arg(version).output();
    found.is_ok().then(|| Command::new(program))
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_and_curl_agree() {
    let served = serve(&[]).await;
    let ca = served.directory.path().join("root.pem");
    std::fs::write(&ca, &served.root.pem).unwrap();
    let at = format!("localhost:{}", served.process.address.port());
    if let Some(mut openssl) = find("openssl", "version") {
        let output = openssl
            .args([
                "s_client",
                "-connect",
                &at,
                "-verify_return_error",
                "-CAfile",
            ])
            .arg(&ca)
            .args(["-servername", "localhost", "-verify_hostname", "localhost"])
            .args(["-alpn", "h2"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("ALPN protocol: h2"), "{said}");
    }
    if let Some(mut curl) = find("curl", "--version") {
        let output = curl
            .args(["--silent", "--show-error", "--ipv4", "--cacert"])
            .arg(&ca)
            .args(["--write-out", " %{http_version} %{http_code}"])
            .arg(format!("https://{at}/curl"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.ends_with(" 2 200") || said.ends_with(" 1.1 200"),
            "{output:?}"
        );
        let seen = served.upstream.seen();
        assert_eq!(seen.last().unwrap().header("x-forwarded-proto"), "https");
    }
}
