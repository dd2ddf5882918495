//! `[trace]`.

use http::{HeaderName, HeaderValue, Uri};

/// How spans are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Protocol Buffers.
    Protobuf,
    /// JSON.
    Json,
}

/// `[trace]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// The collector's address, by `http` or `https`, without a path; spans go to its `/v1/traces`.
    pub endpoint: Uri,
    /// How spans are written.
    pub encoding: Encoding,
    /// The share of calls without a trace of their own that are recorded, 0 to 1.
    pub sample: f64,
    /// `service.name`.
    pub service_name: String,
    /// What each request to the collector holds beside its own headers; values marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}
