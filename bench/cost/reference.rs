//! The reference application's configuration, and calls as its clients make them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// The reference configuration, with other addresses, connections that may be idle for long, and no
/// limit per user.
pub fn configuration(upstream: SocketAddr, durability: &str, journal: &Path) -> String {
    include_str!("../../config.toml")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("127.0.0.1:8888", &upstream.to_string())
        .replace(
            "path = \"data\"",
            &format!("path = \"{}\"", journal.display()),
        )
        .replace(
            "durability = \"disk\"",
            &format!("durability = \"{durability}\""),
        )
        .replace("keepalive_timeout = \"75s\"", "keepalive_timeout = \"10m\"")
        .replace("events_per_user = ", "# events_per_user = ")
}

/// What a call is, and how much of a head it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// An event, with what the reference application demands and nothing else.
    Small,
    /// An event, with 1.5 KB, as a browser sends them from a page with a few analytics services.
    Browser,
    /// A read that is stored, with the small head.
    Hit,
    /// A read that is stored, with the browser's.
    BrowserHit,
}

impl Head {
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Hit | Self::BrowserHit)
    }
}

/// A call of a user; `csrf` is its double-submitted token, a condition: another one makes another
/// context.
pub fn call(head: Head, user: &str, id: &str, csrf: &str) -> Vec<u8> {
    let mut out = write_head(head, user, csrf).into_bytes();
    if head.is_read() {
        out.extend_from_slice(b"\r\n");
    } else {
        append_body(&mut out, &write_body(user, id, "lesson-7"));
    }
    out
}

/// What an event call says.
pub fn write_body(user: &str, id: &str, lesson: &str) -> String {
    format!(
        "{{\"client_event_id\":\"{id}\",\"user_id\":\"{user}\",\"lesson_id\":\"{lesson}\",\"percent\":33,\"status\":\"in_progress\",\"time_spent_s\":0,\"resume_at_s\":185}}"
    )
}

/// Ends a head with the body's type and length, and the body.
pub fn append_body(call: &mut Vec<u8>, body: &str) {
    let length = body.len();
    write!(
        call,
        "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("memory");
}

/// A call's first line and the headers that say who calls, without the empty line that ends a head.
pub fn write_head(head: Head, user: &str, csrf: &str) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims =
        part(json!({ "sub": user, "userId": user, "exp": 4_102_444_800_u64, "role": "learner" }));
    let token = format!(
        "{}.{claims}.c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4",
        part(json!({ "alg": "HS256", "typ": "JWT" }))
    );
    let first = if head.is_read() {
        "GET /api/client/progress/summary"
    } else {
        "POST /api/client/progress/lesson"
    };
    let mut out = String::with_capacity(2_048);
    out.extend([first, " HTTP/1.1\r\n"]);
    let mut line = |name: &str, value: &str| out.extend([name, ": ", value, "\r\n"]);
    line("host", "lms.example.test");
    line("authorization", &format!("Bearer {token}"));
    line("x-csrf-token", csrf);
    match head {
        Head::Small | Head::Hit => line("cookie", &format!("csrf_token={csrf}")),
        Head::Browser | Head::BrowserHit => {
            let agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like \
                         Gecko) Chrome/126.0.0.0 Safari/537.36";
            line("user-agent", agent);
            line("accept", "application/json, text/plain, */*");
            line("accept-encoding", "gzip, deflate, br, zstd");
            line("accept-language", "en-GB,en;q=0.9,de;q=0.8");
            line("origin", "https://lms.example.test");
            line(
                "referer",
                "https://lms.example.test/courses/rust-for-learners/lessons/lesson-7?from=overview",
            );
            line(
                "sec-ch-ua",
                "\"Not/A)Brand\";v=\"8\", \"Chromium\";v=\"126\", \"Google Chrome\";v=\"126\"",
            );
            line("sec-ch-ua-mobile", "?0");
            line("sec-ch-ua-platform", "\"Windows\"");
            line("sec-fetch-site", "same-origin");
            line("sec-fetch-mode", "cors");
            line("sec-fetch-dest", "empty");
            line("priority", "u=1, i");
            line("x-org-id", "org-12");
            let session =
                format!("sessionid=s%3A{user}.8yHnqkYy0fQv2b4vD1mT9xZ3cW6rL5pK; csrf_token={csrf}");
            let analytics = "_ga=GA1.1.1234567890.1700000000; \
                             _ga_1A2B3C4D5E=GS1.1.1700000000.3.1.1700000321.0.0.0; \
                             _gid=GA1.1.987654321.1700000000; _fbp=fb.1.1700000000000.1234567890; \
                             ajs_anonymous_id=5f0c2b1e-8f64-4c1f-9a3e-0d1c2b3a4f5e; \
                             OptanonConsent=isGpcEnabled=0&datestamp=Tue+Nov+14+2023; \
                             active_org=org-12";
            line("cookie", &format!("{session}; {analytics}"));
        }
    }
    out
}
