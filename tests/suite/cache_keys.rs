//! What a stored answer is found under, what makes it old, and what stands in for the application,
//! through real sockets.

use crate::caching::{always, caching, get, respond, status};
use crate::support::Sidecar;
use crate::support::upstream::hang_up;
use http::{Method, StatusCode};
use std::time::Duration;
use tidegate::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LONG: (&str, &str) = ("cache-control", "max-age=600");

#[tokio::test]
async fn a_host_that_holds_a_path_is_never_anothers_key() {
    let (sidecar, _clock) = caching("").await;
    always(&sidecar, &[LONG]);
    get(&sidecar, "/static/app.js", &[("host", "shop.test")]).await;
    assert!(
        status(&get(&sidecar, "/static/app.js", &[("host", "SHOP.test")]).await).contains("hit")
    );
    for (host, path) in [
        ("shop.test/static", "/app.js"),
        ("shop.test", "/app.js"),
        ("hop.test", "/static/app.js"),
    ] {
        let answer = get(&sidecar, path, &[("host", host)]).await;
        assert_ne!(
            &*answer.body,
            b"answer 1",
            "{host} {path}: {}",
            status(&answer)
        );
    }
}

/// The application shows its callers by a key that the configuration knows nothing of, or doesn't
/// list.
#[tokio::test]
async fn what_a_route_declares_does_not_speak_for_who_may_have_a_key_that_counts_nowhere() {
    let listed = "[identity]\ncredentials = [\"header:authorization\", \"cookie:sid\", \
                  \"cookie:csrf_token\", \"header:x-csrf-token\", \"header:origin\", \
                  \"header:x-org-id\"]\n";
    let (ttl, force, guess) = (
        "ttl = \"60s\"\n",
        "ttl = \"60s\"\nforce = true\n",
        "heuristic = true\n",
    );
    let (silent, aged, old) = (
        ("x", "y"),
        ("cache-control", "max-age=60"),
        ("last-modified", LONG_AGO),
    );
    let refused = ("cache-control", "private, no-store");
    let mut seen = 0;
    for (identity, name, beside) in [
        (listed, "x-api-key", &[][..]),
        (listed, "x-access-token", &[]),
        (listed, "x-api-key", &[("cookie", "sid=shared")]),
        (
            listed,
            "x-api-key",
            &[("x-csrf-token", "t"), ("cookie", "csrf_token=t")],
        ),
        (listed, "cookie", &[]),
        (listed, "x-pin", &[]),
        (
            "[identity]\ncredentials = [\"cookie:sid\"]\n",
            "authorization",
            &[("cookie", "sid=shared")],
        ),
        ("", "x-pin", &[]),
    ] {
        for (declared, said) in [
            (ttl, silent),
            (ttl, old),
            (force, refused),
            (force, silent),
            (guess, old),
            ("", old),
            (ttl, aged),
        ] {
            let is_key = name.starts_with("x-a") || name == "authorization";
            if said == aged && !is_key {
                // The application itself says that a shared cache may store it.
                continue;
            }
            let (sidecar, _clock) = caching(&format!("{declared}{identity}")).await;
            sidecar.upstream.answer_with(move |seen| {
                let key = seen.header(name).replace("other=", "");
                Some(respond(
                    if key.is_empty() { 403 } else { 200 },
                    &[said],
                    key,
                ))
            });
            for key in ["other=ada", "other=ada", "other=bob", ""] {
                let own = (name, key);
                let headers: Vec<_> = beside
                    .iter()
                    .copied()
                    .chain((!key.is_empty()).then_some(own))
                    .collect();
                let read = get(&sidecar, "/a", &headers).await;
                let shown = format!(
                    "{identity:?} {headers:?} {declared:?} {said:?}: {}",
                    status(&read)
                );
                assert_eq!(&*read.body, key.replace("other=", "").as_bytes(), "{shown}");
                assert!(!status(&read).contains("hit"), "{shown}");
                seen += 1;
            }
            // Nor does an older answer stand in while the application gives none.
            sidecar.upstream.answer_with(|_| Some(hang_up()));
            let read = get(&sidecar, "/a", &[beside, &[(name, "other=eve")]].concat()).await;
            assert_eq!(
                read.status,
                StatusCode::BAD_GATEWAY,
                "{identity:?} {name} {declared:?} {said:?}: {}",
                status(&read)
            );
        }
    }
    assert!(seen > 150);
    // Where the list has it, or the operator says that it tells nobody apart, what a route declares
    // counts.
    for identity in ["[identity]\ncredentials = [\"header:x-api-key\"]\n", ""] {
        let (sidecar, _clock) = caching(&format!("{ttl}{identity}")).await;
        always(&sidecar, &[]);
        for wanted in ["stored", "hit"] {
            let read = get(&sidecar, "/a", &[("x-api-key", "ada")]).await;
            assert!(
                status(&read).contains(wanted),
                "{identity:?}: {}",
                status(&read)
            );
        }
    }
}

#[tokio::test]
async fn a_sessions_cookie_beside_a_key_that_all_share_shares_no_answers() {
    let listed = "force = true\nttl = \"60s\"\n[identity]\ncredentials = [\"header:x-api-key\"]\n";
    let (sidecar, _clock) = caching(listed).await;
    sidecar.upstream.answer_with(|seen| {
        Some(respond(
            200,
            &[("x", "y")],
            seen.header("cookie").to_owned(),
        ))
    });
    for cookie in ["sid=ada", "sid=bob", "sid=ada"] {
        let read = get(&sidecar, "/a", &[("x-api-key", "app"), ("cookie", cookie)]).await;
        assert_eq!(&*read.body, cookie.as_bytes());
        assert!(status(&read).contains("unlisted-key"), "{}", status(&read));
    }
    for wanted in ["stored", "hit"] {
        let read = get(
            &sidecar,
            "/a",
            &[("x-api-key", "app"), ("cookie", "theme=dark")],
        )
        .await;
        assert!(status(&read).contains(wanted), "{}", status(&read));
    }
    let ignored = format!("{listed}ignore = [\"cookie:sid\"]\n");
    let (sidecar, _clock) = caching(&ignored).await;
    always(&sidecar, &[]);
    for (cookie, wanted) in [("sid=ada", "stored"), ("sid=bob", "hit")] {
        let read = get(&sidecar, "/a", &[("x-api-key", "app"), ("cookie", cookie)]).await;
        assert!(status(&read).contains(wanted), "{}", status(&read));
    }
}

#[tokio::test]
async fn a_read_that_names_its_user_or_its_tag_twice_passes() {
    let tagged = "tags = [\"course:{query.course}\"]\n";
    let of_user = "tags = [\"user:{user}\"]\n[identity]\nuser = \"{query.course}\"\n";
    for (config, name) in [
        (tagged, "course"),
        (tagged, "%63ourse"),
        (of_user, "course"),
    ] {
        let (sidecar, _clock) = caching(config).await;
        always(&sidecar, &[LONG]);
        let target = format!("/a?course=1&{name}=2");
        for _ in 0..2 {
            let read = get(&sidecar, &target, &[]).await;
            assert!(
                status(&read).contains("repeated-parameter"),
                "{}",
                status(&read)
            );
        }
        for wanted in ["stored", "hit"] {
            let read = get(&sidecar, "/a?course=1&page=1&page=2", &[]).await;
            assert!(status(&read).contains(wanted), "{}", status(&read));
        }
    }
}

#[tokio::test]
async fn a_parameter_that_is_ignored_hides_no_other_one_behind_a_semicolon() {
    let (sidecar, _clock) = caching("public = true\nquery = { ignore = [\"_\"] }\n").await;
    sidecar.upstream.answer_with(|seen| {
        Some(respond(
            200,
            &[("cache-control", "public, max-age=600")],
            seen.path.clone(),
        ))
    });
    let get = async |path: &str| status(&get(&sidecar, path, &[]).await).to_owned();
    assert!(get("/a?_=1").await.contains("stored"));
    assert!(get("/a?_=2").await.contains("hit"), "it is ignored");
    for path in ["/a?_=1;lang=evil", "/a?_=1%3Blang=evil"] {
        assert!(!get(path).await.contains("hit"), "{path}");
        assert!(get("/a?_=3").await.contains("hit"));
    }
}

#[tokio::test]
async fn what_tells_an_application_what_was_asked_for_is_part_of_the_key() {
    for name in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-scheme",
        "x-original-url",
        "x-original-host",
        "x-rewrite-url",
        "x-host",
        "x-real-host",
        "x-scheme",
        "x-script-name",
        "x-forwarded",
    ] {
        let (sidecar, _clock) = caching("public = true\n").await;
        sidecar.upstream.answer_with(move |seen| {
            Some(respond(
                200,
                &[("cache-control", "public, max-age=600")],
                seen.header(name).to_owned(),
            ))
        });
        let value = if name == "x-forwarded-proto" {
            "https"
        } else {
            "evil.test"
        };
        let own = [("host", "app.test"), (name, value)];
        let first = get(&sidecar, "/a", &own).await;
        assert_eq!(&*first.body, value.as_bytes(), "{name}");
        assert!(
            status(&get(&sidecar, "/a", &own).await).contains("hit"),
            "{name}"
        );
        let other = get(&sidecar, "/a", &[("host", "app.test")]).await;
        assert_ne!(&*other.body, value.as_bytes(), "{name}: {}", status(&other));
        assert!(
            status(&other).contains("uri-miss"),
            "{name}: {}",
            status(&other)
        );
    }
}

#[tokio::test]
async fn a_read_that_may_be_taken_for_another_method_has_no_part_in_the_store() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let names = [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ];
        Some(respond(
            200,
            &[LONG],
            names.map(|name| seen.header(name)).concat(),
        ))
    });
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        let path = format!("/{name}");
        for _ in 0..2 {
            let read = get(&sidecar, &path, &[(name, "DELETE")]).await;
            assert_eq!(
                (&*read.body, status(&read)),
                (&b"DELETE"[..], "tidegate; fwd=bypass; detail=conditional")
            );
        }
        assert_eq!(&*get(&sidecar, &path, &[]).await.body, b"", "{name}");
        let read = get(&sidecar, &path, &[(name, "DELETE")]).await;
        assert_eq!(&*read.body, b"DELETE", "{name}: {}", status(&read));
    }
}

#[tokio::test]
async fn a_write_in_another_spelling_makes_the_stored_answer_old() {
    let (sidecar, _clock) = caching("").await;
    always(&sidecar, &[LONG]);
    for (read, write) in [
        ("/a/b%2Fc", "/a/b%2fc"),
        ("/d%2Fe", "/d/e"),
        ("/f/%7Eg", "/f/~g"),
        ("/h", "/H"),
        ("/i", "/i/"),
        ("/j/k", "/j//k"),
        ("/l?page=2", "/l"),
        ("/m", "/n/../m?x=1"),
    ] {
        get(&sidecar, read, &[]).await;
        assert!(
            status(&get(&sidecar, read, &[]).await).contains("hit"),
            "{read}"
        );
        sidecar.call(Method::PUT, write, &[], "x").await;
        assert!(
            status(&get(&sidecar, read, &[]).await).contains("fwd=stale"),
            "{read} after {write}"
        );
    }
    // Reads in different spellings stay apart: the application may tell them apart.
    get(&sidecar, "/o/p", &[]).await;
    for other in ["/O/p", "/o/p/", "/o%2Fp", "/o/%70", "/o//p"] {
        assert!(
            status(&get(&sidecar, other, &[]).await).contains("uri-miss"),
            "{other}"
        );
    }
}

#[tokio::test]
async fn an_answer_for_an_origin_is_that_origins_and_says_so() {
    let (sidecar, _clock) = caching("").await;
    let mut count = 0;
    sidecar.upstream.answer_with(move |seen| {
        count += 1;
        let origin = seen.header("origin");
        let allowed = [
            LONG,
            ("access-control-allow-origin", origin),
            ("vary", "accept"),
        ];
        let headers = if origin.is_empty() || origin.ends_with("other.test") {
            &allowed[..1]
        } else {
            &allowed[..]
        };
        Some(respond(200, headers, format!("answer {count}")))
    });
    let a = [("origin", "https://a.test")];
    for (wanted, headers) in [
        ("stored", &a[..]),
        ("hit", &a),
        ("stored", &[("origin", "https://b.test")]),
        ("hit", &[("origin", "https://b.test")]),
        ("hit", &a),
    ] {
        let answer = get(&sidecar, "/cors", headers).await;
        assert!(
            status(&answer).contains(wanted),
            "{headers:?}: {}",
            status(&answer)
        );
        assert_eq!(answer.header("access-control-allow-origin"), headers[0].1);
        let vary: Vec<_> = answer
            .headers
            .get_all("vary")
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        assert_eq!(vary, ["accept", "Origin"], "{headers:?}");
    }
    // An answer without that field that came for no origin says nothing of what one would get.
    for (wanted, path, headers) in [
        ("stored", "/plain", &[][..]),
        ("hit", "/plain", &[]),
        ("stored", "/plain", &a),
        ("hit", "/plain", &a),
        ("stored", "/refused", &[("origin", "https://other.test")]),
        ("hit", "/refused", &[("origin", "https://other.test")]),
        ("hit", "/plain", &[]),
    ] {
        let answer = get(&sidecar, path, headers).await;
        assert!(
            status(&answer).contains(wanted),
            "{path} {headers:?}: {}",
            status(&answer)
        );
        let allowed = headers
            .first()
            .filter(|_| path == "/plain")
            .map_or("", |(_, origin)| *origin);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{path} {headers:?}"
        );
    }
}

#[tokio::test]
async fn with_declared_origins_one_stored_answer_serves_them_all_and_says_vary() {
    let more = "[identity]\ncredentials = [\"header:authorization\"]\n\
                [cors]\norigins = [\"https://a.test\", \"https://b.test\"]\n";
    let (sidecar, _clock) = caching(more).await;
    always(
        &sidecar,
        &[
            LONG,
            ("access-control-allow-origin", "https://a.test"),
            ("vary", "accept"),
        ],
    );
    for (origin, wanted) in [
        ("https://a.test", "stored"),
        ("https://a.test", "hit"),
        ("https://b.test", "hit"),
    ] {
        let answer = get(&sidecar, "/a", &[("origin", origin)]).await;
        assert!(
            status(&answer).contains(wanted),
            "{origin}: {}",
            status(&answer)
        );
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let vary: Vec<_> = answer
            .headers
            .get_all("vary")
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        assert_eq!(vary, ["accept", "Origin"], "{origin}");
    }
    let same = get(&sidecar, "/a", &[]).await;
    let vary: Vec<_> = same
        .headers
        .get_all("vary")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    assert_eq!(
        (vary, same.header("access-control-allow-origin")),
        (vec!["accept", "Origin"], "")
    );
}

#[tokio::test]
async fn vary_is_compared_on_what_the_application_is_sent() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let headers = [LONG, ("vary", "via, x-mood")];
        Some(respond(
            200,
            &headers,
            format!("{}|{}", seen.header("via"), seen.header("x-mood")),
        ))
    });
    let first = get(&sidecar, "/a", &[("via", "1.0 x"), ("x-mood", "1")]).await;
    let same = get(&sidecar, "/a", &[("via", "1.0 x"), ("x-mood", "1")]).await;
    assert!(status(&same).contains("hit"), "{}", status(&same));
    // Connection names the field: the application is not sent it.
    let without = get(
        &sidecar,
        "/a",
        &[("via", "1.0 x"), ("connection", "x-mood"), ("x-mood", "1")],
    )
    .await;
    assert!(
        status(&without).contains("vary-miss"),
        "{}",
        status(&without)
    );
    assert_ne!(first.body, without.body);
    let again = get(&sidecar, "/a", &[("via", "1.0 x")]).await;
    assert!(status(&again).contains("hit"), "{}", status(&again));
    assert_eq!(again.body, without.body);
}

#[tokio::test]
async fn an_answer_in_the_language_of_the_first_preference_is_not_used_where_another_is_first() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let asked = seen.header("accept-language").to_owned();
        let first = asked.split([',', ';']).next().unwrap().to_owned();
        let headers = [
            LONG,
            ("vary", "accept-language"),
            ("content-language", first.as_str()),
        ];
        Some(respond(200, &headers, first.clone()))
    });
    for (asked, wanted, language) in [
        ("en, de", "uri-miss", "en"),
        ("de, en", "vary-miss", "de"),
        ("en,de", "hit", "en"),
        ("de, EN", "hit", "de"),
        ("de;q=0.5, en", "vary-miss", "de"),
    ] {
        let answer = get(&sidecar, "/a", &[("accept-language", asked)]).await;
        assert!(
            status(&answer).contains(wanted),
            "{asked}: {}",
            status(&answer)
        );
        assert_eq!(
            std::str::from_utf8(&answer.body).unwrap(),
            language,
            "{asked}"
        );
    }
}

#[tokio::test]
async fn while_the_application_gives_no_answer_a_stale_one_stands_in_for_a_minute() {
    let (sidecar, clock) = caching("").await;
    sidecar.upstream.script([
        respond(200, &[("cache-control", "max-age=60")], "kept"),
        respond(
            200,
            &[("cache-control", "max-age=60, must-revalidate")],
            "strict",
        ),
        respond(
            200,
            &[("cache-control", "max-age=60, stale-if-error=0")],
            "never",
        ),
    ]);
    for path in ["/kept", "/strict", "/never"] {
        get(&sidecar, path, &[]).await;
    }
    sidecar.upstream.answer_with(|_| Some(hang_up()));
    clock.advance(Duration::from_secs(90));
    let kept = get(&sidecar, "/kept", &[]).await;
    assert_eq!((kept.status, &*kept.body), (StatusCode::OK, &b"kept"[..]));
    assert!(
        status(&kept).ends_with("detail=unreachable"),
        "{}",
        status(&kept)
    );
    for path in ["/strict", "/never"] {
        assert_eq!(
            get(&sidecar, path, &[]).await.status,
            StatusCode::BAD_GATEWAY,
            "{path}"
        );
    }
    assert_eq!(
        get(&sidecar, "/kept", &[("cache-control", "max-age=60")])
            .await
            .status,
        StatusCode::BAD_GATEWAY
    );
    // An error that the application answers itself is its answer.
    sidecar
        .upstream
        .answer_with(|_| Some(respond(503, &[], "down")));
    assert_eq!(
        get(&sidecar, "/kept", &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    sidecar.upstream.answer_with(|_| Some(hang_up()));
    sidecar.call(Method::DELETE, "/kept", &[], "").await;
    assert_eq!(
        get(&sidecar, "/kept", &[]).await.status,
        StatusCode::BAD_GATEWAY,
        "made old by a write"
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        get(&sidecar, "/kept", &[]).await.status,
        StatusCode::BAD_GATEWAY
    );
}

#[tokio::test]
async fn what_is_said_of_no_freshness_is_guessed_for_a_minute_at_most_unless_the_route_says_more_or_less()
 {
    let (nobody, token) = (&[][..], &[("authorization", "Bearer a")][..]);
    for (more, caller, fresh) in [
        ("", nobody, 60),
        ("", token, 60),
        ("heuristic = true\n", nobody, 86_400),
        ("heuristic = false\n", nobody, 0),
        ("ttl = \"5s\"\n", token, 5),
        ("ttl = \"5s\"\npublic = true\n", nobody, 5),
    ] {
        let (sidecar, clock) = caching(more).await;
        always(
            &sidecar,
            &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
        );
        get(&sidecar, "/a", caller).await;
        let now = get(&sidecar, "/a", caller).await;
        assert_eq!(
            status(&now).contains("hit"),
            fresh > 0,
            "{more:?}: {}",
            status(&now)
        );
        clock.advance(Duration::from_secs(fresh));
        let later = get(&sidecar, "/a", caller).await;
        assert!(
            !status(&later).contains("hit"),
            "{more:?}: {}",
            status(&later)
        );
    }
}

#[tokio::test]
async fn an_answer_to_a_post_is_stored_only_where_it_is_its_targets_own() {
    let (sidecar, _clock) = caching("").await;
    sidecar.upstream.answer_with(|seen| {
        let location = match seen.path.as_str() {
            "/own" | "/failed" => seen.path.as_str(),
            "/absolute" => "http://app.test/absolute",
            "/elsewhere" => "http://evil.test/elsewhere",
            _ => "/other",
        };
        let body = format!("{} {}", seen.method, seen.path);
        let code = if seen.path == "/failed" { 202 } else { 200 };
        let age = if seen.path == "/silent" {
            ("x", "y")
        } else {
            LONG
        };
        Some(respond(code, &[age, ("content-location", location)], body))
    });
    let host = [("host", "app.test")];
    for (path, stored) in [
        ("/own", true),
        ("/absolute", true),
        ("/elsewhere", false),
        ("/named", false),
        ("/failed", false),
        ("/silent", false),
    ] {
        sidecar.call(Method::POST, path, &host, "x").await;
        let answer = get(&sidecar, path, &host).await;
        assert_eq!(
            answer.body.starts_with(b"POST"),
            stored,
            "{path}: {}",
            status(&answer)
        );
    }
    sidecar
        .call(
            Method::POST,
            "/own",
            &[host[0], ("authorization", "Bearer a")],
            "x",
        )
        .await;
    let other = get(&sidecar, "/own", &[host[0], ("authorization", "Bearer b")]).await;
    assert!(
        other.body.starts_with(b"GET"),
        "what came for one credential is not another's"
    );
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_not_stored_since_it_may_be_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \
         \"http://{address}\"\n[journal]\ndurability = \"none\"\n[[cache]]\npath = \"/{{*rest}}\"\n"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = [0; 4096];
            let read = stream.read(&mut seen).await.unwrap();
            let framing = if seen[..read].starts_with(b"GET /long") {
                "Content-Length: 10\r\n"
            } else {
                ""
            };
            let raw = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n{framing}Connection: \
                 close\r\n\r\n01234"
            );
            stream.write_all(raw.as_bytes()).await.unwrap();
        }
    });
    let sidecar = crate::support::Sidecar::with(&config, tidegate::clock::Clock::default()).await;
    for _ in 0..2 {
        let answer = get(&sidecar, "/open", &[]).await;
        assert_eq!(
            (&*answer.body, status(&answer)),
            (
                &b"01234"[..],
                "tidegate; fwd=uri-miss; detail=close-delimited"
            )
        );
    }
    // Five of ten bytes: the client hears that it is cut off, and nothing is stored.
    let client = crate::support::Http::default();
    for _ in 0..2 {
        client
            .try_call(sidecar.running.address, Method::GET, "/long", &[], "")
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn each_host_and_scheme_that_the_forwarding_fields_tell_is_part_of_the_key() {
    let told = [
        ("x-forwarded-host", "app.test, evil.test"),
        ("x-forwarded-proto", "http, https"),
        (
            "forwarded",
            "for=9.9.9.9;host=evil.test, for=9.9.9.8;host=app.test",
        ),
        ("x_forwarded_host", "evil.test"),
        ("x_original_url", "/evil"),
    ];
    for (name, value) in told {
        let (sidecar, _clock) = caching("public = true\n").await;
        sidecar.upstream.answer_with(move |seen| {
            let shown = seen.header(name).to_owned();
            Some(respond(
                200,
                &[("cache-control", "public, max-age=600")],
                shown,
            ))
        });
        // Where a proxy names the host beside the one that it asks, `Forwarded` must say the same.
        let plain = [("host", "app.test"), ("x-forwarded-host", "app.test")];
        let beside = &plain[..if name == "forwarded" { 1 } else { 2 }];
        let kept = beside.iter().filter(|(field, _)| *field != name);
        let own: Vec<_> = kept.chain([&(name, value)]).copied().collect();
        let first = get(&sidecar, "/a", &own).await;
        assert!(
            first.body.starts_with(value.as_bytes()),
            "{name}: {first:?}"
        );
        let second = get(&sidecar, "/a", &own).await;
        assert!(
            status(&second).contains("hit"),
            "{name}: {}",
            status(&second)
        );
        for others in [&plain[..], &plain[..1]] {
            let other = get(&sidecar, "/a", others).await;
            assert_ne!(other.body, first.body, "{name}: {}", status(&other));
        }
    }
}

#[tokio::test]
async fn a_public_route_says_nothing_of_a_path_that_leads_elsewhere() {
    let (sidecar, _clock) = caching("public = true\nttl = \"60s\"\n").await;
    always(&sidecar, &[]);
    for path in [
        "/public/..%2fapi/me",
        "/public/%2e%2e/api/me",
        "/public/%2E%2E%2Fapi/me",
        "/public/..%5capi/me",
        "/public/..;/api/me",
        "/public/%252e%252e%252fapi/me",
        "/public/./me",
        "/public/..",
    ] {
        for _ in 0..2 {
            let read = get(&sidecar, path, &[]).await;
            assert!(
                status(&read).contains("odd-path"),
                "{path}: {}",
                status(&read)
            );
        }
    }
    for path in [
        "/public/a%20b",
        "/public/https%3A%2F%2Fa.test%2Fb",
        "/public/a.b/..c",
        "/public/.well-known/x;v=1",
        "/public/%25",
    ] {
        get(&sidecar, path, &[]).await;
        let read = get(&sidecar, path, &[]).await;
        assert!(status(&read).contains("hit"), "{path}: {}", status(&read));
    }
}

#[tokio::test]
async fn an_origin_that_the_configuration_does_not_name_keeps_what_the_application_allows_it() {
    let more = "[identity]\ncredentials = [\"header:authorization\"]\n\
                [cors]\norigins = [\"https://a.test\"]\n";
    let (sidecar, _clock) = caching(more).await;
    always(&sidecar, &[LONG, ("access-control-allow-origin", "*")]);
    for (origin, wanted, allowed) in [
        ("https://other.test", "stored", "*"),
        ("https://other.test", "hit", "*"),
        ("https://a.test", "stored", "*"),
        ("https://a.test", "hit", "https://a.test"),
        ("https://third.test", "stored", "*"),
    ] {
        let answer = get(&sidecar, "/a", &[("origin", origin)]).await;
        assert!(
            status(&answer).contains(wanted),
            "{origin}: {}",
            status(&answer)
        );
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_begins_a_session_is_stored_for_nobody() {
    let (sidecar, _clock) = caching("ttl = \"60s\"\nforce = true\n").await;
    let mut count = 0;
    sidecar.upstream.answer_with(move |seen| {
        count += 1;
        let is_known = seen.header("cookie").contains("sid=");
        let cookie = format!("sid=s{count}; Path=/");
        let set = [("set-cookie", &*cookie)];
        Some(respond(
            200,
            if is_known { &[] } else { &set },
            format!("page {count}"),
        ))
    });
    // A caller that has a token is one whatever cookies it keeps none of.
    let token = [("authorization", "Bearer t")];
    let first = get(&sidecar, "/b", &token).await;
    let second = get(&sidecar, "/b", &token).await;
    assert_eq!(first.body, second.body, "{}", status(&second));
    // Many callers have this cookie.
    for wanted in ["page 2", "page 3"] {
        let answer = get(&sidecar, "/a", &[("cookie", "lang=en")]).await;
        assert_eq!(&*answer.body, wanted.as_bytes(), "{}", status(&answer));
    }
    for _ in 0..2 {
        let own = get(&sidecar, "/a", &[("cookie", "lang=en; sid=s1")]).await;
        assert_eq!(&*own.body, b"page 4", "{}", status(&own));
    }
}

#[tokio::test]
async fn what_a_client_writes_for_no_token_is_no_name() {
    for headers in [
        [("authorization", "Bearer null")],
        [("authorization", "Bearer undefined")],
        [("authorization", "undefined")],
        [("x-api-key", "null")],
        [("cookie", "access_token=undefined")],
        [("cookie", "access_token=\"\"")],
        [("cookie", "access_token==")],
    ] {
        let (sidecar, _clock) = caching("ttl = \"60s\"\nforce = true\n").await;
        always(&sidecar, &[("cache-control", "no-store")]);
        for wanted in ["answer 1", "answer 2"] {
            let answer = get(&sidecar, "/a", &headers).await;
            let is_named = headers[0].1 == "access_token==";
            let wanted = if is_named { "answer 1" } else { wanted };
            assert_eq!(
                &*answer.body,
                wanted.as_bytes(),
                "{headers:?}: {}",
                status(&answer)
            );
        }
    }
}

#[tokio::test]
async fn two_hosts_are_no_host_with_a_comma() {
    let (sidecar, _clock) = caching("public = true\n").await;
    always(&sidecar, &[LONG]);
    let two = [("host", "evil.test"), ("x-forwarded-host", "app.test")];
    let first = get(&sidecar, "/a", &two).await;
    let other = get(&sidecar, "/a", &[("host", "app.test,evil.test")]).await;
    assert_ne!(other.body, first.body, "{}", status(&other));
}

#[tokio::test]
async fn a_named_segment_is_no_word_on_what_lies_below_it() {
    let rule = "[[cache]]\npath = \"/users/{id}\"\npublic = true\nttl = \"60s\"\n";
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \
         \"http://UPSTREAM\"\n[journal]\ndurability = \"none\"\n{rule}"
    );
    let sidecar = Sidecar::with(&text, Clock::default()).await;
    always(&sidecar, &[]);
    for (path, wanted) in [
        ("/users/7", "hit"),
        ("/users/a%20b", "hit"),
        ("/users/7%2fsecrets", "odd-path"),
        ("/users/7%5Csecrets", "odd-path"),
        ("/users/7%252fsecrets", "odd-path"),
    ] {
        get(&sidecar, path, &[]).await;
        let read = get(&sidecar, path, &[]).await;
        assert!(status(&read).contains(wanted), "{path}: {}", status(&read));
    }
}

#[tokio::test]
async fn a_key_that_all_share_makes_no_session_of_a_new_callers_answer() {
    let (sidecar, _clock) = caching("ttl = \"60s\"\nforce = true\n").await;
    always(&sidecar, &[("set-cookie", "sid=1; Path=/")]);
    for shared in [
        ("x-api-key", "app"),
        ("authorization", "Basic c3RhZ2luZw=="),
    ] {
        let first = get(&sidecar, "/a", &[shared]).await;
        let second = get(&sidecar, "/a", &[shared]).await;
        assert_ne!(first.body, second.body, "{shared:?}: {}", status(&second));
    }
}
