//! What the compatibility suite found in front of real applications, each kind at the fake one.

use crate::support::upstream::{Seen, answer};
use crate::support::{Answer, Sidecar};
use http::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who calls is told by the built-in lists.
const BY_DEFAULT: (&str, &str) = ("credentials = [\"header:authorization\"]\n", "");

const PAGE: &str = "/progress?userId=u";

/// The upstream shows how many events it has taken; each of its answers that `renews` says sets the session's cookie anew.
fn counting(sidecar: &Sidecar, renews: impl Fn(&Seen) -> bool + Send + 'static) {
    let (taken, mut session) = (Arc::new(AtomicU64::new(0)), 1);
    sidecar.upstream.answer_with(move |seen| {
        let mut reply = match seen.path.as_str() {
            "/batch" => {
                let ids = seen.ids();
                taken.fetch_add(ids.len() as u64, Ordering::SeqCst);
                answer(200, json!({ "accepted": ids, "duplicates": [], "failed": [] }))
            }
            _ => answer(200, json!({ "taken": taken.load(Ordering::SeqCst) })),
        };
        if renews(seen) {
            session += 1;
            let line = format!("sid={session}; Path=/; HttpOnly");
            reply.headers_mut().append("set-cookie", line.parse().unwrap());
        }
        Some(reply)
    });
}

#[tokio::test]
async fn a_read_that_the_cache_has_no_part_in_shows_its_callers_writes_all_the_same() {
    let require = "credentials = [\"header:authorization\"]\nrequire = [\"header:x-csrf-token\"]\n";
    let sidecar = Sidecar::start(&[(BY_DEFAULT.0, require)]).await;
    counting(&sidecar, |_| false);
    let pair = ("x-csrf-token", "t");
    // A browser's script sends the pair with its writes only; a condition and a page without a user bypass the cache too.
    let reads: [(&str, &[(&str, &str)], &str); 3] = [
        (PAGE, &[], "requirement"),
        (PAGE, &[pair, ("if-match", "\"v1\"")], "conditional"),
        ("/progress", &[pair], "no-tag"),
    ];
    for (round, (path, more, why)) in (1u64..).zip(reads) {
        let body = format!("{{\"id\":\"e{round}\",\"user\":\"u\",\"lesson\":\"l\"}}");
        let headers = [("authorization", "t"), ("content-type", "application/json"), pair];
        assert_eq!(sidecar.call(Method::POST, "/event", &headers, body).await.status, StatusCode::ACCEPTED);
        let headers: Vec<_> = [("authorization", "t")].into_iter().chain(more.iter().copied()).collect();
        let read = sidecar.call(Method::GET, path, &headers, "").await;
        assert_eq!(read.header("cache-status"), format!("tidegate; fwd=bypass; detail={why}"));
        assert_eq!(read.json()["taken"], round, "{why}");
    }
}
