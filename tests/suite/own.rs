//! Paths of Tidegate's own: what a caller's own events made old, and what is still pending of them.

use crate::support::Sidecar;
use crate::support::calls::BY_LISTS;
use crate::support::upstream::answer;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

const PREVIEW: (&str, &str) = (
    "[[write]]",
    "[preview]\npath = \"/preview\"\nbatch = [\"progress\"]\nfilter = { lesson = [\"lessonId\"] \
     }\n[[write]]",
);

/// A stream of server-sent events.
struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    async fn open(sidecar: &Sidecar, token: &str, last: Option<&str>) -> Self {
        Self::open_as(sidecar, ("authorization", token), last).await
    }

    async fn open_as(sidecar: &Sidecar, (name, value): (&str, &str), last: Option<&str>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let uri = format!("http://{}/_tidegate/invalidations", sidecar.running.address);
        let mut request = Request::get(uri).header(name, value);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = client
            .request(request.body(Empty::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(
            (response.status(), &response.headers()["content-type"]),
            (
                StatusCode::OK,
                &"text/event-stream".parse::<http::HeaderValue>().unwrap()
            )
        );
        let mut stream = Self {
            body: response.into_body(),
            text: String::new(),
        };
        assert_eq!(
            stream.block().await.unwrap(),
            "retry: 3000",
            "from here on nothing is missed"
        );
        stream
    }

    /// The next block of lines, heartbeats left out; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block.starts_with(':') {
                    continue;
                }
                return Some(block);
            }
            let frame = self.body.frame().await?.ok()?;
            self.text
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The next message: its id, and what it says.
    async fn message(&mut self) -> (String, String, Value) {
        let block = self.block().await.unwrap();
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
                .to_owned()
        };
        (
            field("id:"),
            field("event:"),
            serde_json::from_str(&field("data:")).unwrap(),
        )
    }
}

#[tokio::test]
async fn a_caller_hears_of_its_own_flushes_and_of_nobody_elses() {
    let sidecar = Sidecar::start(&[]).await;
    let mut ada = Stream::open(&sidecar, "ada's", None).await;
    sidecar.event("bob's", "bob", "b").await;
    sidecar.flush().await;
    sidecar.until(|ledger| ledger.accepted == 1).await;
    sidecar.event("ada's", "ada", "a").await;
    sidecar.flush().await;
    let (first, kind, data) = ada.message().await;
    assert_eq!(
        (kind.as_str(), data),
        ("invalidated", json!({ "tags": ["progress:ada"] })),
        "not bob's"
    );
    // A call that the application answers makes her copies old too.
    sidecar
        .call(
            Method::POST,
            "/snapshot?userId=ada",
            &[("authorization", "ada's")],
            "{}",
        )
        .await;
    assert_eq!(ada.message().await.2, json!({ "tags": ["progress:ada"] }));
    drop(ada);
    // Whoever comes back hears what was missed.
    let mut again = Stream::open(&sidecar, "ada's", Some(&first)).await;
    assert_eq!(again.message().await.1, "invalidated");
    let mut lost = Stream::open(&sidecar, "ada's", Some("1-1")).await;
    assert_eq!(
        lost.message().await.1,
        "reset",
        "an id of another start says nothing"
    );
    // Another token of the same user is another caller.
    let mut other = Stream::open(&sidecar, "ada's second", None).await;
    sidecar.running.stop().await;
    assert_eq!(
        (other.block().await, again.block().await),
        (None, None),
        "a stop ends the streams"
    );
}

#[tokio::test]
async fn a_dead_letter_is_told_too_since_its_client_believed_it() {
    let sidecar = Sidecar::start(&[]).await;
    sidecar
        .upstream
        .answer_with(|seen| (seen.path == "/batch").then(|| answer(422, json!({}))));
    let mut ada = Stream::open(&sidecar, "ada's", None).await;
    sidecar.event("ada's", "ada", "a").await;
    sidecar.flush().await;
    assert_eq!(ada.message().await.2, json!({ "tags": ["progress:ada"] }));
    assert_eq!(sidecar.running.ledger().dead, 1);
}

#[tokio::test]
async fn nobody_without_a_credential_is_shown_anything() {
    let sidecar = Sidecar::start(&[PREVIEW, BY_LISTS]).await;
    // What a page, a front or anybody may send beside a credential is none.
    let origin = format!("http://{}", sidecar.running.address);
    let nothing: [&[(&str, &str)]; 15] = [
        &[],
        &[("origin", &origin)],
        &[("x-csrf-token", "t")],
        &[
            ("x-csrf-token", "t"),
            ("cookie", "csrf_token=t; XSRF-TOKEN=t; _ga=GA1.1"),
        ],
        &[
            ("x-requested-with", "XMLHttpRequest"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("x-org-id", "acme"), ("x-user-id", "u")],
        &[("authorization", "")],
        &[("cookie", "")],
        // What many callers have.
        &[("cookie", "lang=en; theme=dark; tz=Europe/Berlin")],
        &[("cookie", "lang=en"), ("authorization", "Bearer undefined")],
        &[("x-api-key", "null")],
        &[("cookie", "lang=en; session=; sid=null; tz=America/New_York")],
        &[("cookie", "lang=en; tz=America%2FNew_York")],
        &[
            ("user-agent", "x"),
            ("accept", "x"),
            ("content-type", "x"),
            ("accept-language", "de"),
        ],
        &[
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-host", "app.test"),
            ("x-real-ip", "10.0.0.9"),
        ],
    ];
    for headers in nothing {
        for path in ["/_tidegate/invalidations", "/preview?userId=u"] {
            let refused = sidecar.call(Method::GET, path, headers, "").await;
            let heard = (
                refused.status,
                refused.json()["code"].as_str().map(str::to_owned),
            );
            assert_eq!(
                heard,
                (StatusCode::UNAUTHORIZED, Some("no_credential".to_owned())),
                "{path} {headers:?}"
            );
        }
    }
    for cookie in [
        "sid=1",
        "lang=en; u=0123456789abcdef",
        "lang=en; JSESSIONID=7",
    ] {
        let looked = sidecar
            .call(Method::GET, "/preview?userId=u", &[("cookie", cookie)], "")
            .await;
        assert_eq!(looked.status, StatusCode::OK, "{cookie}: {looked:?}");
    }
    let refused = sidecar
        .call(
            Method::POST,
            "/_tidegate/invalidations",
            &[("authorization", "t")],
            "",
        )
        .await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "GET")
    );
    assert!(sidecar.upstream.seen().is_empty());
}

fn ids(preview: &Value) -> Vec<&str> {
    let pending = preview["pending"].as_array().unwrap();
    pending
        .iter()
        .map(|one| one["event"]["clientEventId"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_preview_shows_the_callers_own_pending_events_wherever_they_are() {
    let sidecar = Sidecar::start(&[PREVIEW]).await;
    sidecar.event("ada's", "ada", "a").await;
    sidecar.event("forged", "ada", "f").await;
    sidecar.event("ada's", "ada", "b").await;
    let shown = sidecar.get("ada's", "/preview?userId=ada").await;
    assert_eq!(
        (shown.status, shown.header("cache-control")),
        (StatusCode::OK, "no-store")
    );
    let shown = shown.json();
    assert_eq!(
        (ids(&shown), &shown["pending"][0]["group"], &shown["more"]),
        (vec!["a", "b"], &json!("progress"), &json!(false))
    );
    assert_eq!(
        ids(&sidecar.get("forged", "/preview?userId=ada").await.json()),
        ["f"]
    );
    assert_eq!(
        ids(&sidecar
            .get("ada's", "/preview?userId=ada&lesson=l")
            .await
            .json()),
        ["a", "b"]
    );
    assert_eq!(
        ids(&sidecar
            .get("ada's", "/preview?userId=ada&lesson=other")
            .await
            .json()),
        [""; 0]
    );
    // On their way they are pending still.
    sidecar.upstream.close_gate();
    sidecar.flush().await;
    sidecar.upstream.until(|seen| seen.len() == 2).await;
    assert_eq!(
        ids(&sidecar.get("ada's", "/preview?userId=ada").await.json()),
        ["a", "b"]
    );
    sidecar.upstream.open_gate();
    sidecar.until(|ledger| ledger.accepted == 3).await;
    assert_eq!(
        ids(&sidecar.get("ada's", "/preview?userId=ada").await.json()),
        [""; 0]
    );
}

#[tokio::test]
async fn a_preview_of_somebody_else_is_refused() {
    let sidecar = Sidecar::start(&[
        PREVIEW,
        (
            "{jwt.sub|event.userId|query.userId}",
            "{header.x-user|event.userId}",
        ),
    ])
    .await;
    let as_ada = |path| {
        sidecar.call(
            Method::GET,
            path,
            &[("authorization", "t"), ("x-user", "ada")],
            "",
        )
    };
    assert_eq!(as_ada("/preview?userId=ada").await.status, StatusCode::OK);
    let refused = as_ada("/preview?userId=bob").await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::FORBIDDEN, Some("other_user"))
    );
    assert_eq!(
        sidecar.get("t", "/preview").await.status,
        StatusCode::BAD_REQUEST
    );
}

/// A caller's session rolls: by a page of no route, of a caller that nothing is known of; or by a
/// read of one that is known to be good.
async fn renewed(is_good: bool) -> Sidecar {
    let rolling = ("[identity]\n", "[identity]\nrolling = [\"cookie:sid\"]\n");
    let sidecar = Sidecar::start(&[BY_LISTS, rolling, PREVIEW]).await;
    sidecar.upstream.answer_with(|seen| {
        (seen.method == Method::GET).then(|| {
            let mut reply = answer(200, json!({}));
            reply.headers_mut().insert(
                "set-cookie",
                http::HeaderValue::from_static("sid=2; Path=/"),
            );
            reply
        })
    });
    let before = [("cookie", "sid=1")];
    if is_good {
        sidecar.taken(&before, "ada", "first").await;
        sidecar.delivered().await;
    }
    let page = if is_good {
        "/progress?userId=ada"
    } else {
        "/page"
    };
    assert_eq!(
        sidecar
            .call(Method::GET, page, &before, "")
            .await
            .header("set-cookie"),
        "sid=2; Path=/"
    );
    sidecar
}

#[tokio::test]
async fn a_preview_shows_a_renewed_session_what_is_pending_from_before_only_where_it_is_proven() {
    for is_good in [false, true] {
        let sidecar = renewed(is_good).await;
        sidecar.taken(&[("cookie", "sid=1")], "ada", "a").await;
        let shown = async |cookie: &str| {
            let preview = sidecar
                .call(
                    Method::GET,
                    "/preview?userId=ada",
                    &[("cookie", cookie)],
                    "",
                )
                .await;
            ids(&preview.json()).concat()
        };
        assert_eq!(
            (shown("sid=1").await.as_str(), shown("sid=2").await.as_str()),
            ("a", if is_good { "a" } else { "" })
        );
    }
}

#[tokio::test]
async fn a_renewed_session_hears_what_is_old_from_before_only_where_it_is_proven() {
    for is_good in [false, true] {
        let sidecar = renewed(is_good).await;
        let mut stream = Stream::open_as(&sidecar, ("cookie", "sid=2"), None).await;
        sidecar.taken(&[("cookie", "sid=1")], "before", "a").await;
        sidecar.delivered().await;
        sidecar.taken(&[("cookie", "sid=2")], "after", "b").await;
        sidecar.delivered().await;
        let heard = stream.message().await.2["tags"][0]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            heard,
            if is_good {
                "progress:before"
            } else {
                "progress:after"
            }
        );
    }
}

/// A page of another origin that sends a token is asked for first (a CORS preflight).
#[tokio::test]
async fn own_paths_answer_the_preflight_of_an_allowed_origin_and_of_no_other() {
    let cors = (
        "[[write]]",
        "[cors]\norigins = [\"https://app.example\"]\n[[write]]",
    );
    let sidecar = Sidecar::start(&[PREVIEW, cors]).await;
    let ask = async |path: &str, origin: &str, method: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization"),
        ];
        sidecar.call(Method::OPTIONS, path, &headers, "").await
    };
    for path in ["/_tidegate/invalidations", "/preview"] {
        let heard = ask(path, "https://app.example", "GET").await;
        assert_eq!(heard.status, StatusCode::NO_CONTENT, "{heard:?}");
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", "authorization"),
        ] {
            assert_eq!(heard.header(name), value, "{path}");
        }
        let heard = ask(path, "https://evil.example", "GET").await;
        assert_eq!(heard.header("access-control-allow-origin"), "", "{path}");
    }
    assert!(sidecar.upstream.seen().is_empty());
    // Another method of such a path is the application's, as ever.
    ask("/preview", "https://app.example", "PUT").await;
    assert_eq!(sidecar.upstream.seen().len(), 1);
}
