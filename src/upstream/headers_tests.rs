use super::*;
use http::Request;

const HOPS: HopSettings = HopSettings {
    preserve_host: true,
    via: true,
};

fn parts(method: &str, target: &str, lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn from(address: &str) -> Connection {
    Connection {
        address: address.parse().unwrap(),
        secure: false,
    }
}

fn cleaned(lines: &[(&str, &str)], address: &str) -> (Parts, Peer) {
    let mut parts = parts("GET", "/x", &[&[("host", "App.test:81")], lines].concat());
    let peer = normalize(&mut parts, &from(address), &TrustedProxies::local()).unwrap();
    (parts, peer)
}

#[test]
fn what_belongs_to_one_connection_stays_there() {
    let (parts, _) = cleaned(
        &[
            ("connection", "close, X-Private, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ],
        "10.0.0.7:99",
    );
    let mut left: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "content-length", "host"]);
    assert_eq!(
        parts.extensions.get(),
        Some(&Asked {
            upgrade: None,
            trailers: true
        })
    );
}

#[test]
fn an_upgrade_counts_only_if_connection_names_it_and_it_carries_no_http() {
    let asked = |connection: &str, upgrade: &str| {
        let (parts, _) = cleaned(
            &[("connection", connection), ("upgrade", upgrade)],
            "10.0.0.7:99",
        );
        assert!(!parts.headers.contains_key("upgrade"));
        parts
            .extensions
            .get::<Asked>()
            .and_then(|asked| asked.upgrade.clone())
    };
    assert_eq!(
        asked("keep-alive, Upgrade", "websocket").unwrap(),
        "websocket"
    );
    assert_eq!(
        asked("upgrade", "h2c, websocket, TLS/1.2").unwrap(),
        "websocket"
    );
    for (connection, upgrade) in [
        ("keep-alive", "websocket"),
        ("Upgrade, HTTP2-Settings", "h2c"),
        ("upgrade", "H2C"),
        ("upgrade", "HTTP/2.0"),
        ("upgrade", "TLS/1.0, HTTP/1.1"),
    ] {
        assert_eq!(asked(connection, upgrade), None, "{upgrade}");
    }
}

#[test]
fn a_host_is_there_once_and_valid_and_the_targets_authority_wins() {
    let host = |version, target: &str, hosts: &[&str]| {
        let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let mut parts = parts("GET", target, &lines);
        parts.version = version;
        let peer = normalize(&mut parts, &from("10.0.0.7:99"), &TrustedProxies::local())?;
        let sent = parts
            .headers
            .get("host")
            .map(|host| host.to_str().unwrap().to_owned());
        Ok((
            sent,
            peer.host.map(|host| host.to_string()),
            parts.uri.to_string(),
        ))
    };
    let found = |sent: &str, host: &str, uri: &str| {
        Ok((Some(sent.to_owned()), Some(host.to_owned()), uri.to_owned()))
    };
    let (h1, h10, h2) = (Version::HTTP_11, Version::HTTP_10, Version::HTTP_2);
    assert_eq!(
        host(h1, "/x", &["A.test:80"]),
        found("A.test:80", "a.test:80", "/x")
    );
    assert_eq!(
        host(h1, "http://B.test/x?y", &["a.test"]),
        found("B.test", "b.test", "/x?y")
    );
    assert_eq!(
        host(h2, "https://B.test/x", &[]),
        found("B.test", "b.test", "/x")
    );
    assert_eq!(
        host(h2, "https://b.test/x", &["a.test"]),
        found("b.test", "b.test", "/x")
    );
    assert_eq!(host(h10, "/x", &[]), Ok((None, None, "/x".to_owned())));
    assert_eq!(
        host(h1, "/x", &[""]),
        Ok((Some(String::new()), None, "/x".to_owned()))
    );
    assert_eq!(host(h1, "/x", &[]), Err(HeadError::NoHost));
    assert_eq!(host(h1, "http://b.test/x", &[]), Err(HeadError::NoHost));
    assert_eq!(host(h1, "/x", &["a", "a"]), Err(HeadError::ManyHosts(2)));
    assert_eq!(host(h10, "/x", &["a", "b"]), Err(HeadError::ManyHosts(2)));
    assert_eq!(
        host(h1, "/x", &["a/b"]),
        Err(HeadError::BadHost("a/b".to_owned()))
    );
    assert_eq!(
        host(h1, "http://u@b.test/x", &["a"]),
        Err(HeadError::BadHost("u@b.test".to_owned()))
    );
}

#[test]
fn a_target_is_a_path_or_a_url_or_an_asterisk_with_options() {
    let target = |method: &str, target: &str| {
        let mut parts = parts(method, target, &[("host", "a")]);
        normalize(&mut parts, &from("10.0.0.7:99"), &TrustedProxies::local())
            .map(|_| parts.uri.to_string())
    };
    assert_eq!(target("OPTIONS", "*").as_deref(), Ok("*"));
    assert_eq!(target("GET", "/*").as_deref(), Ok("/*"));
    assert_eq!(target("GET", "http://a?x").as_deref(), Ok("/?x"));
    for (method, bad) in [
        ("GET", "*"),
        ("GET", "foo"),
        ("OPTIONS", "foo:80"),
        ("GET", "ftp://a/x"),
    ] {
        assert!(
            matches!(target(method, bad), Err(HeadError::Target(_))),
            "{method} {bad}"
        );
    }
    assert_eq!(target("CONNECT", "a:443"), Err(HeadError::Connect));
}

#[test]
fn crumbs_of_a_cookie_become_one_line() {
    let (parts, _) = cleaned(&[("cookie", "a=1"), ("cookie", "b=2; c=3")], "10.0.0.7:99");
    let lines: Vec<_> = parts.headers.get_all("cookie").iter().collect();
    assert_eq!(lines, ["a=1; b=2; c=3"]);
}

#[test]
fn what_a_stranger_says_of_itself_is_replaced() {
    let claims = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "admin.test"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/admin"),
        ("x_forwarded_for", "9.9.9.9"),
        ("forwarded", "for=9.9.9.9"),
        ("cf-connecting-ip", "9.9.9.9"),
        ("true-client-ip", "9.9.9.9"),
        ("x-real-ip", "9.9.9.9"),
        ("x-request-id", "7"),
    ];
    let (mut parts, peer) = cleaned(&claims, "10.0.0.7:99");
    assert_eq!(
        (peer.client.to_string().as_str(), peer.https),
        ("10.0.0.7", false)
    );
    assert_eq!(parts.headers["x-real-ip"], "10.0.0.7");
    assert_eq!(parts.headers.len(), 3, "{:?}", parts.headers);
    add_hops(&mut parts.headers, &peer, Version::HTTP_11, &HOPS);
    assert_eq!(parts.headers["x-forwarded-for"], "10.0.0.7");
    assert_eq!(
        parts.headers["forwarded"],
        "for=10.0.0.7;proto=http;host=\"app.test:81\""
    );
    assert_eq!(parts.headers["x-forwarded-proto"], "http");
    // A trusted proxy's words stay.
    let (parts, peer) = cleaned(&claims, "127.0.0.1:99");
    assert_eq!(
        (peer.client.to_string().as_str(), peer.https),
        ("9.9.9.9", true)
    );
    assert_eq!(peer.host.as_deref(), Some("admin.test"));
    assert_eq!(
        (
            &parts.headers["x-real-ip"],
            &parts.headers["x-forwarded-port"]
        ),
        (&"9.9.9.9".parse().unwrap(), &"443".parse().unwrap())
    );
}

#[test]
fn what_a_trusted_proxy_says_of_a_client_is_not_taken_off_where_that_names_it_in_connection() {
    let front = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "9.9.9.9"),
        ("x-hop", "1"),
        (
            "connection",
            "close, X-Forwarded-For, x-forwarded-proto, X-Real-IP, x-hop",
        ),
    ];
    let (parts, peer) = cleaned(&front, "127.0.0.1:99");
    assert_eq!(
        (peer.client.to_string().as_str(), peer.https),
        ("9.9.9.9", true)
    );
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-real-ip"] {
        assert!(parts.headers.contains_key(name), "{name}");
    }
    for name in ["x-hop", "connection"] {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
}

#[test]
fn each_hop_adds_itself() {
    let front = [
        ("x-forwarded-for", "1.2.3.4"),
        ("via", "1.0 first"),
        ("x-forwarded-proto", "https"),
    ];
    let (mut parts, peer) = cleaned(&front, "[::ffff:127.0.0.7]:99");
    add_hops(&mut parts.headers, &peer, Version::HTTP_11, &HOPS);
    let headers = &parts.headers;
    assert_eq!(headers["x-forwarded-for"], "1.2.3.4, 127.0.0.7");
    let rest = ";proto=https;host=\"app.test:81\"";
    assert_eq!(
        headers["forwarded"],
        format!("for=1.2.3.4{rest}, for=127.0.0.7{rest}")
    );
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(
        (&headers["host"], &headers["x-forwarded-host"]),
        (
            &"App.test:81".parse().unwrap(),
            &"App.test:81".parse().unwrap()
        )
    );
    assert_eq!(headers["via"], "1.0 first, 1.1 tidegate");
}

#[test]
fn what_a_front_says_in_forwarded_only_is_said_in_the_other_words_too() {
    let (mut parts, peer) = cleaned(
        &[("forwarded", "for=\"[2001:db8::1]\";proto=https;host=a.test")],
        "127.0.0.1:99",
    );
    add_hops(
        &mut parts.headers,
        &peer,
        Version::HTTP_11,
        &HopSettings {
            preserve_host: false,
            via: false,
        },
    );
    let headers = &parts.headers;
    assert_eq!(headers["x-forwarded-for"], "2001:db8::1, 127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(
        headers["forwarded"],
        "for=\"[2001:db8::1]\";proto=https;host=a.test, \
         for=127.0.0.1;proto=https;host=\"a.test\""
    );
    assert!(!headers.contains_key("via") && !headers.contains_key("host"));
}

#[test]
fn a_delivery_without_the_calls_host_takes_the_peers() {
    let (_, peer) = cleaned(&[], "10.0.0.7:99");
    let mut headers = HeaderMap::new();
    add_hops(&mut headers, &peer, Version::HTTP_11, &HOPS);
    assert_eq!(
        (&headers["host"], &headers["x-forwarded-host"]),
        (
            &"app.test:81".parse().unwrap(),
            &"app.test:81".parse().unwrap()
        )
    );
}

#[test]
fn what_is_made_of_a_chain_of_addresses_is_no_multiple_of_it() {
    let host = format!("{}.test", "a".repeat(20_000));
    for (chain, most) in [
        ("::,".repeat(8_000), 50_000),
        ("1.1.1.1, ".repeat(1_000), 50_000),
    ] {
        let mut parts = parts("GET", "/x", &[("host", &host), ("x-forwarded-for", &chain)]);
        let trusted = TrustedProxies::local();
        let peer = normalize(&mut parts, &from("127.0.0.1:9"), &trusted).unwrap();
        add_hops(&mut parts.headers, &peer, Version::HTTP_11, &HOPS);
        let made = parts.headers.get("forwarded").unwrap().len();
        assert!(made < most, "{made}");
    }
    let lines = [
        ("x-forwarded-for", "9.9.9.9, 8.8.8.8"),
        ("x-forwarded-proto", "https"),
    ];
    let mut parts = parts("GET", "/x", &[&[("host", "a.test")][..], &lines].concat());
    let peer = normalize(&mut parts, &from("127.0.0.1:9"), &TrustedProxies::local()).unwrap();
    add_hops(&mut parts.headers, &peer, Version::HTTP_11, &HOPS);
    assert_eq!(
        parts.headers.get("forwarded").unwrap(),
        "for=9.9.9.9, for=8.8.8.8;proto=https;host=\"a.test\", for=127.0.0.1;proto=https;host=\"a.test\""
    );
}

#[test]
fn a_strangers_address_counts_in_no_spelling() {
    let names = [
        "x-real_ip",
        "x_real-ip",
        "x_real_ip",
        "x_forwarded-for",
        "true_client_ip",
    ];
    let lines = names.map(|name| (name, "6.6.6.6"));
    let (parts, _) = cleaned(
        &[&lines[..], &[("x-real-ip", "6.6.6.6")]].concat(),
        "9.9.9.9:1",
    );
    for name in names {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
    assert_eq!(parts.headers.get("x-real-ip").unwrap(), "9.9.9.9");
}
