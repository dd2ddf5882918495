//! A learner's browser: its connection pool, cookies, tokens and headers.

use super::tally::Tally;
use crate::demo::application::account;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN, SET_COOKIE,
    USER_AGENT,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The connections that all learners share.
pub type Client = legacy::Client<HttpConnector, Full<Bytes>>;

/// A client gives up on a call after this; real time.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client whose connections are kept.
#[must_use]
pub fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(20))
        .build(connector)
}

/// Where all learners' calls go.
#[derive(Debug, Clone)]
pub struct Site {
    base: String,
    /// What browsers of the front end send; none: the same origin.
    origin: Option<HeaderValue>,
}

impl Site {
    /// The site at this address.
    #[must_use]
    pub fn new(address: std::net::SocketAddr, origin: Option<HeaderValue>) -> Self {
        Self {
            base: format!("http://{address}"),
            origin,
        }
    }

    /// The address of a path on it.
    ///
    /// # Errors
    /// The path is none.
    pub fn uri(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{path}", self.base).parse()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One logged-in browser.
pub struct Session {
    client: Client,
    site: Arc<Site>,
    /// What every call carries; cloned for each, the values are shared.
    headers: HeaderMap,
    csrf: String,
    refresh_token: String,
    /// When to renew the token.
    renew_at: Instant,
    renew: Duration,
    /// The user's id.
    pub user: Arc<str>,
    /// Calls so far, for request ids.
    calls: u64,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// The login was refused or made no sense.
    pub async fn login(
        client: Client,
        site: Arc<Site>,
        email: &str,
        renew: Duration,
    ) -> anyhow::Result<Self> {
        let mut session = Self {
            client,
            site,
            headers: HeaderMap::new(),
            csrf: String::new(),
            refresh_token: String::new(),
            renew_at: Instant::now(),
            renew,
            user: "".into(),
            calls: 0,
        };
        session
            .headers
            .insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (demo)"));
        session
            .headers
            .extend(session.site.origin.clone().map(|origin| (ORIGIN, origin)));
        let body = json!({"email": email, "password": account::PASSWORD}).to_string();
        let uri = session.site.uri("/api/auth/login")?;
        let answer = session
            .send(Method::POST, &uri, body.into(), "login")
            .await?;
        let text = answer.json();
        let user = text.pointer("/user/userId").and_then(Value::as_str);
        session.user = user
            .with_context(|| format!("the login was answered with {}", answer.status))?
            .into();
        session.adopt(&answer, &text)?;
        Ok(session)
    }

    /// Takes the tokens and cookies of an answer.
    fn adopt(&mut self, answer: &Answer, text: &Value) -> anyhow::Result<()> {
        let token = |name: &str| {
            text.get(name)
                .and_then(Value::as_str)
                .context("an answer without tokens")
        };
        let access = token("accessToken")?;
        self.refresh_token = token("refreshToken")?.to_owned();
        let cookies = answer
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let mut pairs = cookies.filter_map(|line| line.split(';').next()?.split_once('='));
        if let Some((_, csrf)) = pairs.find(|(name, _)| *name == "csrf_token") {
            self.csrf = csrf.to_owned();
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {access}"))?;
        authorization.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, authorization);
        let cookie =
            HeaderValue::try_from(format!("csrf_token={}; access_token={access}", self.csrf))?;
        self.headers.insert(COOKIE, cookie);
        self.headers.insert(
            HeaderName::from_static("x-csrf-token"),
            HeaderValue::try_from(&self.csrf)?,
        );
        self.headers.insert(
            HeaderName::from_static("x-user-id"),
            HeaderValue::try_from(&*self.user)?,
        );
        self.headers.insert(
            HeaderName::from_static("x-org-id"),
            HeaderValue::from_static(account::ORGANIZATION),
        );
        self.renew_at = Instant::now() + life(access).saturating_sub(self.renew);
        Ok(())
    }

    /// Renews the token if its end is near.
    ///
    /// # Errors
    /// The refresh was refused.
    pub async fn keep_fresh(&mut self, tally: &Tally) -> anyhow::Result<()> {
        if Instant::now() < self.renew_at {
            Ok(())
        } else {
            self.refresh(tally).await
        }
    }

    /// Gets a new pair of tokens.
    ///
    /// # Errors
    /// The refresh was refused.
    pub async fn refresh(&mut self, tally: &Tally) -> anyhow::Result<()> {
        let body = json!({"refreshToken": self.refresh_token}).to_string();
        let uri = self.site.uri("/api/auth/refresh")?;
        let answer = self
            .send(Method::POST, &uri, body.into(), "refresh")
            .await?;
        if !answer.status.is_success() {
            bail!("the refresh was answered with {}", answer.status);
        }
        tally.refreshes.add();
        self.adopt(&answer, &answer.json())
    }

    /// A request id that no other call has.
    pub fn next_request(&mut self) -> String {
        self.calls += 1;
        format!("{}-{}", self.user, self.calls)
    }

    /// The address of a path.
    ///
    /// # Errors
    /// The path is none.
    pub fn uri(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        self.site.uri(path)
    }

    /// One call, its answer read to the end so that the connection can be used again.
    ///
    /// # Errors
    /// No answer in time, or a broken one.
    pub async fn send(
        &self,
        method: Method,
        uri: &Uri,
        body: Bytes,
        request_id: &str,
    ) -> anyhow::Result<Answer> {
        let writes = method == Method::POST;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(
            HeaderName::from_static("x-request-id"),
            HeaderValue::try_from(request_id)?,
        );
        if writes {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answer = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .context("no answer in time")?
    }
}

/// How long a token lives, as its claims say.
fn life(token: &str) -> Duration {
    use base64::Engine;
    let claims = token.split('.').nth(1).and_then(|part| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let second = |name: &str| {
        claims
            .as_ref()
            .and_then(|claims| claims.get(name)?.as_u64())
            .unwrap_or(0)
    };
    Duration::from_secs(second("exp").saturating_sub(second("iat")))
}
