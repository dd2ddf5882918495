//! One request to the admin address of a running sidecar.

use crate::admin::{AdminSettings, Token};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// An answer must be there in this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that holds the token where the file can't be read, or isn't here.
const VARIABLE: &str = "TIDEGATE_ADMIN_TOKEN";

/// Where a running sidecar is asked, and with which token.
#[derive(Debug)]
pub(super) struct AdminAddress {
    listen: SocketAddr,
    token: Option<Token>,
}

impl AdminAddress {
    /// Of a configuration: its address, on this machine where it listens on all of them; the token
    /// of the variable, else that of its file.
    ///
    /// # Errors
    /// There is no token in either of them, though one is named.
    pub(super) fn of(settings: &AdminSettings) -> anyhow::Result<Self> {
        let said = std::env::var(VARIABLE).ok().filter(|said| !said.is_empty());
        let token = match (said, &settings.token_file) {
            (Some(said), _) => Some(
                said.parse()
                    .map_err(|found| anyhow::anyhow!("{VARIABLE}: {found}"))?,
            ),
            (None, Some(path)) => Some(
                Token::read(path)
                    .with_context(|| format!("without {VARIABLE} the token's file is needed"))?,
            ),
            (None, None) => None,
        };
        let mut listen = settings.listen;
        if listen.ip().is_unspecified() {
            listen.set_ip(match listen {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Ok(Self { listen, token })
    }
}

/// What was asked for isn't allowed (4xx); what the answer says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// Asks, and gives back the JSON of a 2xx.
///
/// # Errors
/// [`Refused`]; or nobody answers in 30 s, or with a 5xx: then with what it says.
pub(super) async fn ask(
    admin: &AdminAddress,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    read_answer(in_time(admin, send(admin, method, path, body)).await?)
}

/// As [`ask`], however long the answer takes.
///
/// # Errors
/// [`Refused`]; or nobody answers, or with a 5xx: then with what it says.
pub(super) async fn ask_for_long(
    admin: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<Value> {
    read_answer(send(admin, method, path, body).await?)
}

fn read_answer((status, body): (StatusCode, Bytes)) -> anyhow::Result<Value> {
    let said = || String::from_utf8_lossy(&body).trim().to_owned();
    if status.is_client_error() {
        bail!(Refused(said()));
    }
    if !status.is_success() {
        bail!("{}", said());
    }
    Ok(serde_json::from_slice(&body)?)
}

/// Asks, and gives back the text of a 2xx.
///
/// # Errors
/// Nobody answers in 30 s, or with another status: then with what it says.
pub(super) async fn ask_text(admin: &AdminAddress, path: &str) -> anyhow::Result<String> {
    let asked = send(admin, Method::GET, path, String::new());
    let (status, body) = in_time(admin, asked).await?;
    let said = String::from_utf8_lossy(&body).trim().to_owned();
    if !status.is_success() {
        bail!("{said}");
    }
    Ok(said)
}

async fn send(
    admin: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let listen = admin.listen;
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{listen}{path}"));
    if let Some(token) = &admin.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.as_str()));
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answered = client.request(request).await;
    let (head, body) = answered.with_context(|| nobody(admin))?.into_parts();
    Ok((head.status, body.collect().await?.to_bytes()))
}

async fn in_time<T>(
    admin: &AdminAddress,
    asked: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, asked)
        .await
        .with_context(|| nobody(admin))?
}

fn nobody(admin: &AdminAddress) -> String {
    format!("nobody answers at admin.listen {}", admin.listen)
}
