//! Calls with any headers, at a sidecar that tells callers apart by the built-in lists.

use super::upstream::Seen;
use super::{Answer, Sidecar};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::io::Write as _;

/// Callers are told apart by the built-in lists.
pub const BY_LISTS: (&str, &str) = ("credentials = [\"header:authorization\"]\n", "");

/// A forwarded call's answer says why.
pub const EXPLAIN: (&str, &str) = ("[server]\n", "[server]\nexplain = true\n");

/// The body of an event call.
pub fn body(user: &str, id: &str, more: &str) -> String {
    format!("{{\"id\":\"{id}\",\"user\":\"{user}\",\"lesson\":\"l\",\"percent\":5{more}}}")
}

/// A body in the content coding gzip.
pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A token with these claims, under a signature that is the tests' own.
pub fn bearer(claims: &serde_json::Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!(
        "Bearer {}.{}.c2ln",
        part("{\"alg\":\"HS256\"}"),
        part(&claims.to_string())
    )
}

impl Sidecar {
    /// Posts an event with these headers.
    pub async fn send(&self, headers: &[(&str, &str)], user: &str, id: &str) -> Answer {
        self.call(Method::POST, "/event", headers, body(user, id, ""))
            .await
    }

    /// Posts an event that must be acknowledged.
    pub async fn taken(&self, headers: &[(&str, &str)], user: &str, id: &str) {
        let answer = self.send(headers, user, id).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.header("tidegate-event"), id);
    }

    /// Everything pending is sent; the batches that arrived, in order.
    pub async fn delivered(&self) -> Vec<Seen> {
        self.flush().await;
        self.until(|ledger| ledger.pending == 0).await;
        self.upstream
            .seen()
            .into_iter()
            .filter(|seen| seen.path == "/batch")
            .collect()
    }

    /// How many calls were forwarded or refused for a reason.
    pub async fn declined(&self, reason: &str) -> u64 {
        self.counter(&format!("tidegate_declined_total{{reason=\"{reason}\"}}"))
            .await
    }
}

/// The ids of batches by the value of one of their headers.
pub fn ids_by(batches: &[Seen], header: &str) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::<_, Vec<_>>::new();
    for batch in batches {
        out.entry(batch.header(header).to_owned())
            .or_default()
            .extend(batch.ids());
    }
    out
}
