"""What is special to one framework."""

import json

from flows.flow import Flow


def event(key, **more):
    return {"id": key, "user_id": "u1", "percent": 1, **more}


def django_checks(side):
    """CSRF, sessions and ALLOWED_HOSTS: what lacks them is refused by Django itself."""
    browser = side.browser("u1")
    body = json.dumps(event("unchecked")).encode()
    side.call(browser, "POST", "/api/progress", [("Content-Type", "application/json")], body, label="without X-CSRFToken")
    wrong = [("Content-Type", "application/json"), ("X-CSRFToken", "x" * 32)]
    side.call(side.browser(), "POST", "/api/progress", wrong, body, label="without a CSRF cookie")
    side.call(side.browser(host="evil.example"), "GET", "/landed", label="a host that isn't allowed")
    side.call(side.browser(host="evil.example"), "GET", "/api/progress/summary?user_id=u1", label="the same on a cached route")
    side.write(browser, "/api/progress", event("from elsewhere"), headers=[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")])
    side.acknowledged(side.write(browser, "/api/progress", event("checked")), "a call with everything")
    unsigned = side.browser()
    unsigned.call("GET", "/login")
    side.call(unsigned, "GET", "/api/progress", label="not signed in")


def django_redirects(side):
    """SECURE_SSL_REDIRECT: a call that doesn't say https is sent there."""
    side.call(side.browser(**{"X-Forwarded-Proto": ""}), "GET", "/landed?x=1", label="GET without X-Forwarded-Proto")
    side.call(side.browser(**{"X-Forwarded-Proto": "http"}), "GET", "/landed", label="GET with http")
    browser = side.browser("u1")
    side.call(browser, "GET", "/landed", label="GET with https")
    side.call(browser, "GET", "/here?x=1", label="an address that the application builds")
    for number in range(5):
        side.acknowledged(side.write(browser, "/api/progress", event(f"s-{number}")), f"s-{number}")
    side.call(browser, "GET", "/api/progress/summary?user_id=u1")


def fastapi_checks(side):
    """Bearer tokens and models."""
    unsigned, browser = side.browser(), side.browser("u1")
    side.write(unsigned, "/api/progress", event("unsigned"))
    side.call(unsigned, "GET", "/api/progress/summary?user_id=u1", label="summary without a token")
    side.write(browser, "/api/progress", {"user_id": "u1", "percent": "x", "id": ["a"]})
    side.write(browser, "/api/progress", {"id": "c", "user_id": "u1", "percent": "x"}, "PATCH")
    side.write(browser, "/api/items/3", [1, 2], "PUT")
    side.write(browser, "/api/items/3", b"{", "PUT")
    side.write(browser, "/api/items/3", {"a": 1}, "PUT", [("Content-Type", "text/plain")])
    side.write(browser, "/api/items/3", {"a": 1}, "PUT", [("Content-Type", "application/vnd.api+json")])
    side.acknowledged(side.write(browser, "/api/progress", event("bearer")), "a call with its token")
    side.call(browser, "GET", "/api/progress/summary?user_id=u1", label="summary with a token")
    side.call(unsigned, "GET", "/api/progress/summary?user_id=u1", label="summary without a token, after one with it")


def fastapi_proven(side):
    """admit = "proven": what the application doesn't know it refuses itself; what it knows is acknowledged from then on."""
    for token in ("Bearer forged", "Bearer ", "Basic dTE6cHc=", "forged"):
        stranger = side.browser(Authorization=token)
        for number in range(2):
            side.write(stranger, "/api/progress", event(f"{token}-{number}"))
            side.call(stranger, "GET", "/api/progress/summary?user_id=u1", label=f"summary with {token}")
    browser = side.browser("u1")
    side.write(browser, "/api/progress", event("first"))
    for number in range(5):
        side.acknowledged(side.write(browser, "/api/progress", event(f"later-{number}")), f"later-{number}")
    side.call(browser, "GET", "/api/progress/summary?user_id=u1", label="summary of a known user")


def express_limits(side):
    """body-parser's 100 kB, and a proxy that is trusted."""
    browser = side.browser("u1")
    side.write(browser, "/api/progress", event("wide", note="n" * 150_000))
    side.write(browser, "/api/items/1", {"note": "n" * 150_000}, "PUT")
    side.write(browser, "/api/progress", event("narrow", note="n" * 20_000))
    side.write(browser, "/api/items/1", b'{"a":', "PUT")
    front = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop.example")]
    for number in range(4):
        side.acknowledged(side.write(browser, "/api/progress", event(f"front-{number}"), headers=front), f"front-{number}")
    side.call(browser, "GET", "/here?x=1", front, label="an address behind a front")


def express_rolling(side):
    """A session that every forwarded answer renews: the jar changes under the events of one user."""
    browser = side.browser("u1")
    for number in range(40):
        side.acknowledged(side.write(browser, "/api/progress", event(f"roll-{number:02}", seq=number)), f"roll-{number}")
        if number % 4 == 3:
            side.call(browser, "GET", "/landed")
        if number % 8 == 7:
            side.call(browser, "GET", "/api/progress?user_id=u1", label=f"the list after {number}")


def static_files(side):
    browser = side.browser()
    page = side.call(browser, "GET", "/static/page.html")
    etag, modified = page.header("etag"), page.header("last-modified")
    for name in ("page.html", "app.js", "small.txt", "folder", "folder/", "missing.txt"):
        side.call(browser, "GET", f"/static/{name}", [("Accept-Encoding", "gzip")], label=f"{name} with gzip")
        side.call(browser, "HEAD", f"/static/{name}")
    for value in ("bytes=0-99", "bytes=-50", "bytes=100-", "bytes=99999-", "bytes=5-2", "lines=1-2"):
        side.call(browser, "GET", "/static/page.html", [("Range", value)], label=f"range {value}")
        side.call(browser, "GET", "/static/page.html", [("Range", value), ("If-Range", etag)], label=f"range {value} if it is still this")
        side.call(browser, "GET", "/static/page.html", [("Range", value), ("If-Range", '"other"')], label=f"range {value} if it is another")
    side.call(browser, "GET", "/static/page.html", [("If-None-Match", etag)], label="the same ETag")
    side.call(browser, "GET", "/static/page.html", [("If-None-Match", etag), ("Accept-Encoding", "gzip")], label="the same ETag, packed")
    side.call(browser, "GET", "/static/page.html", [("If-Modified-Since", modified)], label="not modified since")
    side.call(browser, "GET", "/static/page.html", [("If-Match", '"other"')], label="If-Match of another")
    side.call(browser, "GET", "/static/page.html", [("If-Unmodified-Since", "Mon, 05 Jan 2015 10:00:00 GMT")], label="unmodified since 2015")
    side.call(browser, "POST", "/static/page.html", body=b"x")


CACHED = '[[cache]]\npath = "/static/{*rest}"\nttl = "30s"\n'
FLOWS = [
    Flow("CSRF, sessions and allowed hosts", django_checks, ("django",)),
    Flow("redirects to https", django_redirects, ("django-https",)),
    Flow("bearer tokens and models", fastapi_checks, ("fastapi",)),
    Flow("unknown tokens where only proven ones are admitted", fastapi_proven, ("fastapi",), config={"identity": 'admit = "proven"'}),
    # What came over the front was made at another host and scheme: to Tidegate that is another caller, with an order of its own.
    Flow("limits and a trusted front", express_limits, ("express",), order=lambda row: (row["user"], row["context"]["scheme"])),
    Flow("a session that renews itself", express_rolling, ("express", "nginx-upstream")),
    Flow("static files", static_files, ("nginx-upstream",)),
    Flow("static files from the cache", static_files, ("nginx-upstream",), config={"more": CACHED}),
]
