//! Which headers of an answer a client depends on: all but these.

use http::HeaderName;

/// Headers that an acknowledgement may lack, and why. A name that ends in `*` stands for all that
/// begin so. docs/parity.md has the table; a test holds the two together.
pub const LEFT_OUT: [(&str, &[&str]); 4] = [
    (
        "of the connection or the transport",
        &[
            "connection",
            "keep-alive",
            "proxy-*",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "alt-svc",
            "content-length",
            "content-encoding",
            "accept-ranges",
            "date",
            "server",
            "tidegate-*",
            "via",
            "x-powered-by",
        ],
    ),
    (
        "of caches, which keep no answer to a write that doesn't ask for it",
        &[
            "age",
            "etag",
            "expires",
            "last-modified",
            "pragma",
            "vary",
            "warning",
            "x-cache*",
        ],
    ),
    (
        "of measuring and limits, another in each answer",
        &[
            "cf-ray",
            "cf-cache-status",
            "nel",
            "ratelimit*",
            "report-to",
            "reporting-endpoints",
            "server-timing",
            "traceparent",
            "tracestate",
            "x-amz*",
            "x-envoy-*",
            "x-ratelimit-*",
            "x-response-time",
            "x-runtime",
        ],
    ),
    (
        "of documents, which an answer to a call in a page is not",
        &[
            "content-security-policy*",
            "cross-origin-*",
            "origin-agent-cluster",
            "permissions-policy",
            "referrer-policy",
            "strict-transport-security",
            "x-content-type-options",
            "x-dns-prefetch-control",
            "x-download-options",
            "x-frame-options",
            "x-permitted-cross-domain-policies",
            "x-ua-compatible",
            "x-xss-protection",
        ],
    ),
];

/// Headers whose values a browser acts upon, so that they are compared too.
pub(super) const COMPARED_BY_VALUE: [&str; 2] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
];

/// An acknowledgement may lack it.
pub(super) fn is_left_out(name: &HeaderName) -> bool {
    let fits = |entry: &str| match entry.strip_suffix('*') {
        Some(beginning) => name.as_str().starts_with(beginning),
        None => name.as_str() == entry,
    };
    LEFT_OUT
        .iter()
        .any(|(_, entries)| entries.iter().copied().any(fits))
}
