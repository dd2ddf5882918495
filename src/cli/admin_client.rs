//! One request to the admin address of a running sidecar.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// An answer must be there in this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was asked for isn't allowed (4xx); what the answer says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// Asks, and gives back the JSON of a 2xx.
///
/// # Errors
/// [`Refused`]; or nobody answers in 30 s, or with a 5xx: then with what it says.
pub(super) async fn ask(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let (status, body) = send(admin, method, path, body).await?;
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
pub(super) async fn ask_text(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let (status, body) = send(admin, Method::GET, path, String::new()).await?;
    let said = String::from_utf8_lossy(&body).trim().to_owned();
    if !status.is_success() {
        bail!("{said}");
    }
    Ok(said)
}

async fn send(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: String,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{admin}{path}"))
        .body(Full::new(Bytes::from(body)))?;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let nobody = || format!("nobody answers at admin.listen {admin}");
    let answered = tokio::time::timeout(PATIENCE, async {
        let (head, body) = client
            .request(request)
            .await
            .with_context(nobody)?
            .into_parts();
        anyhow::Ok((head.status, body.collect().await?.to_bytes()))
    });
    answered.await.with_context(nobody)?
}
