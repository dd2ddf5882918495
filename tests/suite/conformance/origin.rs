//! An origin that says byte by byte what it is told to, and closes every connection behind its
//! answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the origin says.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static str,
    /// The connection is closed instead.
    pub hangs_up: bool,
    /// A head that comes first.
    pub interim: Option<&'static str>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    fields: Vec<(String, String)>,
    /// It was answered 304.
    pub confirmed: bool,
}

impl Asked {
    /// All lines of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .fields
            .iter()
            .filter(|(found, _)| found == name)
            .map(|(_, value)| &**value)
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

#[derive(Default)]
struct Place {
    reply: Option<Reply>,
    /// The last answer's validators, if this one may be a confirmation.
    validators: Vec<(&'static str, String)>,
    may_confirm: bool,
    seen: Vec<Asked>,
}

#[derive(Clone)]
pub struct Origin {
    pub address: SocketAddr,
    places: Arc<Mutex<HashMap<String, Place>>>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            places: Arc::default(),
        };
        let copy = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(copy.clone().answer(stream));
            }
        });
        origin
    }

    /// The answer from now on; `may_confirm`: 304 to a condition that the answer before meets, 599
    /// to any other request.
    pub fn prepare(&self, path: &str, reply: Reply, may_confirm: bool) {
        let mut places = self.places.lock().unwrap();
        let place = places.entry(path.to_owned()).or_default();
        if let Some(before) = place.reply.replace(reply) {
            let kept = before
                .headers
                .into_iter()
                .filter(|(name, _)| ["etag", "last-modified"].contains(name));
            place.validators = kept.collect();
        }
        place.may_confirm = may_confirm;
    }

    pub fn seen(&self, path: &str) -> Vec<Asked> {
        self.places
            .lock()
            .unwrap()
            .get(path)
            .map(|place| place.seen.clone())
            .unwrap_or_default()
    }

    async fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        let (path, asked) = read(&mut stream).await?;
        let raw = self.compose(&path, asked);
        stream.write_all(&raw).await?;
        stream.shutdown().await
    }

    fn compose(&self, path: &str, mut asked: Asked) -> Vec<u8> {
        let mut places = self.places.lock().unwrap();
        let place = places.entry(path.to_owned()).or_default();
        let Some(mut reply) = place.reply.clone() else {
            return Vec::new();
        };
        if place.may_confirm {
            let held = |(name, value): &(&str, String)| {
                let condition = if *name == "etag" {
                    "if-none-match"
                } else {
                    "if-modified-since"
                };
                asked.header(condition).as_ref() == Some(value)
            };
            asked.confirmed = place.validators.iter().any(held);
            (reply.status, reply.body) = if asked.confirmed {
                (304, "")
            } else {
                (599, "no condition")
            };
        }
        place.seen.push(asked);
        if reply.hangs_up {
            return Vec::new();
        }
        let mut raw = reply.interim.unwrap_or_default().to_owned();
        raw.push_str(&format!(
            "HTTP/1.1 {} Said\r\nOrigin-Call: {}\r\n",
            reply.status,
            place.seen.len()
        ));
        for (name, value) in &reply.headers {
            raw.push_str(&format!("{name}: {value}\r\n"));
        }
        let says = |wanted: &str| reply.headers.iter().any(|(name, _)| *name == wanted);
        if !says("content-length")
            && !says("transfer-encoding")
            && !matches!(reply.status, 204 | 304)
        {
            raw.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
        }
        if !says("connection") {
            raw.push_str("Connection: close\r\n");
        }
        raw.push_str("\r\n");
        let mut raw: Vec<u8> = raw
            .chars()
            .map(|letter| u8::try_from(letter).unwrap())
            .collect();
        raw.extend_from_slice(reply.body.as_bytes());
        raw
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<(String, Asked)> {
    let mut raw = Vec::new();
    let end = loop {
        if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut raw).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let fields: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let asked = Asked {
        fields,
        confirmed: false,
    };
    let length = asked
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while raw.len() < end + length && stream.read_buf(&mut raw).await? > 0 {}
    Ok((path, asked))
}
