//! What stands before an application in plain HTTP: TLS, or a Unix socket. Bytes are copied both ways.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A handshake that succeeded: the name that was asked for, and the protocol that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub name: Option<String>,
    pub protocol: Option<String>,
}

/// TLS before an application.
#[derive(Clone)]
pub struct TlsFront {
    pub address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    accepted: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
    silence: Arc<Notify>,
    /// Connections whose handshake is never answered; none: all are.
    ignored: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

async fn copy(mut one: impl AsyncRead + AsyncWrite + Unpin, to: SocketAddr) {
    let mut other = TcpStream::connect(to).await.unwrap();
    // Either side may go at any moment.
    drop(copy_bidirectional(&mut one, &mut other).await);
}

impl TlsFront {
    pub async fn start(config: ServerConfig, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            address: listener.local_addr().unwrap(),
            config: Arc::new(Mutex::new(Arc::new(config))),
            handshakes: Arc::default(),
            accepted: Arc::default(),
            silence: Arc::default(),
            ignored: Arc::default(),
        };
        let own = front.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = match &mut *own.ignored.lock().unwrap() {
                    Some(ignored) => {
                        ignored.push(stream);
                        continue;
                    }
                    None => stream,
                };
                let (config, front) = (Arc::clone(&own.config.lock().unwrap()), own.clone());
                let task = tokio::spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                        return;
                    };
                    let session = stream.get_ref().1;
                    let protocol = session.alpn_protocol();
                    let handshake = Handshake {
                        name: session.server_name().map(str::to_owned),
                        protocol: protocol.map(|name| String::from_utf8(name.to_vec()).unwrap()),
                    };
                    front.handshakes.lock().unwrap().push(handshake);
                    let mut stream = stream;
                    tokio::select! {
                        () = copy(&mut stream, to) => {}
                        () = front.silence.notified() => std::future::pending().await,
                    }
                });
                own.accepted.lock().unwrap().push(task.abort_handle());
            }
        });
        front
    }

    /// Another certificate, for connections from now on.
    pub fn show(&self, config: ServerConfig) {
        *self.config.lock().unwrap() = Arc::new(config);
    }

    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().unwrap().clone()
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().filter(|task| !task.is_finished()).count()
    }

    /// Open connections stay open, and pass nothing on any more.
    pub fn fall_silent(&self) {
        self.silence.notify_waiters();
    }

    /// Connections from now on are accepted, and get no answer to their handshake.
    pub fn ignore_new(&self) {
        *self.ignored.lock().unwrap() = Some(Vec::new());
    }

    /// Connections that got no answer.
    pub fn ignored(&self) -> usize {
        let ignored = self.ignored.lock().unwrap();
        ignored.as_ref().map_or(0, Vec::len)
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        for task in self.accepted.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

/// Before an application that speaks HTTP/2 in the clear: the first request of each of the first
/// connections is answered with these frames, and what comes later is passed on.
pub async fn start_refusing(frames: Vec<Vec<u8>>, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut frames = frames.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            match frames.next() {
                Some(answer) => drop(tokio::spawn(refuse(stream, answer))),
                None => drop(tokio::spawn(copy(stream, to))),
            }
        }
    });
    address
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

async fn refuse(mut stream: TcpStream, answer: Vec<u8>) {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    stream.write_all(&frame(SETTINGS, 0, &[])).await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    stream.write_all(&answer).await.unwrap();
    // Until the other side goes, at any moment.
    drop(stream.read_to_end(&mut Vec::new()).await);
}

/// A Unix socket before an application.
pub fn start_unix(path: &Path, to: SocketAddr) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(copy(stream, to));
        }
    });
}
