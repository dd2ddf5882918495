"""What matches no rule: it must reach the application as it was sent, and its answer the client."""

import gzip
import hashlib
import json

from arrangement import MAIN, TENANT
from flows.flow import FRAMEWORKS, Flow

FORM = [("Content-Type", "application/x-www-form-urlencoded")]


def plain_calls(side):
    browser = side.browser("u1")
    for target in ("/landed", "/landed?a=1&a=2&empty=&b=%2F+%C3%A9&c", "/nowhere", "/nowhere/%2e%2e/x%2Fy", "/landed/", "//landed"):
        side.call(browser, "GET", target)
    for method in ("HEAD", "OPTIONS", "DELETE", "TRACE"):
        side.call(browser, method, "/landed")
    side.call(browser, "HEAD", "/nowhere")
    side.call(browser, "GET", "/landed", [("Accept-Encoding", "gzip, br"), ("Accept-Language", "de;q=0.7, en"), ("X-App-Version", "7")])
    side.call(browser, "GET", "/landed", [("X-Twice", "one"), ("X-Twice", "two"), ("X-Long", "v" * 3_000), ("X-Empty", "")])
    side.call(browser, "GET", "/here?to=1")
    side.call(side.browser(host=TENANT), "GET", "/here?to=2", label="GET /here at the other host")


def cookies_and_conditions(side):
    browser = side.browser()
    browser.jar = {"_ga": "GA1.1.5.6", "theme": '"dark"', "odd": "a=b"}
    side.call(browser, "GET", "/cookies")
    side.call(browser, "GET", "/cookies")
    answer = side.call(browser, "GET", "/doc")
    etag = answer.header("etag")
    side.check(etag is not None, "/doc has no ETag")
    side.call(browser, "GET", "/doc", [("If-None-Match", etag)], label="the same ETag")
    side.call(browser, "GET", "/doc", [("If-None-Match", '"other"')], label="another ETag")
    side.call(browser, "GET", "/doc", [("If-None-Match", f'W/{etag}, "x"')], label="a list of ETags")
    side.call(browser, "HEAD", "/doc")
    side.call(browser, "GET", "/doc", [("Accept-Encoding", "gzip")], label="gzip accepted")
    side.call(browser, "GET", "/doc", [("If-Modified-Since", "Tue, 06 Jan 2026 10:00:00 GMT")], label="not modified since")
    side.call(browser, "GET", "/doc", [("Range", "bytes=0-9")], label="a range")


def resources(side):
    browser = side.browser("u1")
    side.call(browser, "GET", "/api/items/7")
    side.write(browser, "/api/items/7", {"title": "seven", "tags": ["a", None, 1.50, {"é": "ü"}]}, "PUT")
    side.call(browser, "GET", "/api/items/7")
    side.write(browser, "/api/items/8", {"title": "eight"}, "PUT")
    headers = side.app.write_headers(browser)
    side.call(browser, "DELETE", "/api/items/7", headers)
    side.call(browser, "DELETE", "/api/items/7", headers, label="DELETE again")
    side.call(browser, "GET", "/api/items/7", label="GET of what was deleted")
    side.call(browser, "GET", "/api/items/word")
    side.call(browser, "PATCH", "/api/items/8", headers, b"{}")
    side.call(browser, "OPTIONS", "/api/items/8")


def uploads_and_forms(side):
    browser = side.browser("u1")
    data = bytes(range(256)) * 1_200
    lines = [b"--part", b'Content-Disposition: form-data; name="note"', b"", "für dich".encode(), b"--part"]
    lines += [b'Content-Disposition: form-data; name="file"; filename="a b.bin"', b"Content-Type: application/octet-stream", b""]
    body = b"\r\n".join([*lines, data, b"--part--", b""])
    own = [line for line in side.app.write_headers(browser) if line[0] != "Content-Type"]
    side.call(browser, "POST", "/api/upload", [*own, ("Content-Type", "multipart/form-data; boundary=part")], body, label="an upload")
    big = b"0123456789abcdef" * 200_000
    side.call(browser, "PUT", "/api/blob", [("Content-Type", "application/octet-stream")], big, label="3.2 MB with a length")
    # gunicorn and the others take chunks; Django's WSGI reads no body without a length, and says so by an empty one.
    side.call(browser, "PUT", "/api/blob", [("Content-Type", "application/octet-stream")], big, True, label="3.2 MB in chunks")
    packed = gzip.compress(b"packed" * 1_000, mtime=0)
    zipped = [("Content-Type", "application/octet-stream"), ("Content-Encoding", "gzip")]
    side.call(browser, "PUT", "/api/blob", zipped, packed, label="a gzip body")
    side.call(browser, "PUT", "/api/blob", zipped, b"not packed", label="a body that isn't gzip and says it is")
    side.call(browser, "PUT", "/api/blob", [("Content-Type", "text/plain")], b"", label="an empty body")
    side.call(browser, "POST", "/form", FORM, b"a=1&b=x+y&a=2&c=%C3%A9&d=")
    side.call(browser, "POST", "/text", [("Content-Type", "text/plain; charset=utf-8")], "plain ü".encode())


def streams(side):
    gate = hashlib.sha256(f"{side.through}{side.app.name}{side.port}".encode()).hexdigest()[:12]
    browser = side.browser()
    with side.streamed(browser, f"/api/stream?gate={gate}") as response:
        side.value("status", response.status)
        side.value("content type", response.getheader("content-type"))
        # The application waits until it is told that its beginning has arrived: a proxy that gathers hangs here.
        side.value("first event", response.read1(64))
        side.control(f"release?gate={gate}")
        side.value("the rest", response.read())


FLOWS = [
    Flow("plain calls pass through", plain_calls, calls=True),
    Flow("cookies, conditions and ranges", cookies_and_conditions, calls=True),
    Flow("resources with ids", resources, calls=True),
    Flow("uploads, forms, text and packed bodies", uploads_and_forms, calls=True),
    Flow("a stream arrives while it is made", streams, apps=(*FRAMEWORKS, "nginx-upstream", "nginx-front")),
]
