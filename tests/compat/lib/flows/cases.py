"""Bodies on the event route that aren't understood: the application gives its own verdict, byte for byte."""

import gzip
import json
import time
from functools import cache

from flows.flow import FRAMEWORKS, Flow


def event(key, **more):
    return {"id": key, "user_id": "u1", "percent": 1, **more}


@cache
def begin(app):
    """Unix ms at which an application's direct side is played: what comes through must say the same."""
    return int(time.time() * 1000)


def odd_bodies(now):
    """Name, headers and body of each."""
    text = json.dumps(event("x")).encode()
    deep = b'{"id":"deep","user_id":"u1","percent":1,"deep":' + b"[" * 72 + b"]" * 72 + b"}"
    yield "BOM", (), b"\xef\xbb\xbf" + text.replace(b'"x"', b'"bom"')
    yield "NaN", (), b'{"id":"nan","user_id":"u1","percent":NaN}'
    yield "array", (), b"[" + text + b"]"
    yield "string", (), b'"text"'
    yield "null", (), b"null"
    yield "breaks off", (), text[:-4]
    yield "two values", (), text + text
    yield "not UTF-8", (), b'{"id":"latin","user_id":"u1","note":"\xe9"}'
    yield "form", (("Content-Type", "application/x-www-form-urlencoded"),), b"id=form&user_id=u1&percent=4"
    yield "text", (("Content-Type", "text/plain"),), text.replace(b'"x"', b'"plain"')
    yield "no content type", (("Content-Type", ""),), text.replace(b'"x"', b'"untyped"')
    yield "empty", (), b""
    yield "empty object", (), b"{}"
    yield "no user", (), b'{"id":"unsigned","percent":1}'
    yield "72 levels", (), deep
    yield "gzip without its header", (), gzip.compress(text, mtime=0)
    yield "unknown coding", (("Content-Encoding", "lzma"),), text
    yield "1.2 MB", (), json.dumps(event("large", note="n" * 1_200_000)).encode()
    yield "seconds", (), json.dumps(event("seconds", timestamp=now // 1000)).encode()
    yield "6 minutes ahead", (), json.dumps(event("ahead", timestamp=now + 360_000)).encode()
    yield "25 hours old", (), json.dumps(event("old", timestamp=now - 90_000_000)).encode()
    yield "a timestamp that is text", (), json.dumps(event("words", timestamp="yesterday")).encode()
    yield "numeric id", (), b'{"id":1234,"user_id":"u1","percent":1}'
    yield "id of 300 characters", (), json.dumps(event("i" * 300)).encode()
    yield "Prefer", (("Prefer", "resolution=merge-duplicates"),), text.replace(b'"x"', b'"prefer"')
    yield "If-Match", (("If-Match", '"v1"'),), text.replace(b'"x"', b'"if-match"')
    yield "method override", (("X-HTTP-Method-Override", "DELETE"),), text.replace(b'"x"', b'"override"')


# An acknowledgement of these is as good as the application's own answer, where it takes them.
EITHER = ("no content type", "a timestamp that is text")


def not_understood(side):
    """Between two of them an event that is understood, so that the order can be seen."""
    browser = side.browser("u1")
    for number, (name, headers, body) in enumerate(odd_bodies(begin(side.app.name))):
        side.write(browser, "/api/progress", event(f"between-{number:02}", seq=number))
        lines = [line for line in headers if line[1]]
        own = side.app.write_headers(browser)
        if ("Content-Type", "") in headers:
            own = [line for line in own if line[0] != "Content-Type"]
        given = {header for header, _ in headers}
        answer = browser.call("POST", "/api/progress", [*(line for line in own if line[0] not in given), *lines], body)
        side.keep(name, answer)
        if side.through and answer.acknowledged and name not in EITHER:
            side.problems.append(f"{name}: acknowledged, not left to the application")
        if side.through and not answer.acknowledged and answer.forwarded is None:
            side.problems.append(f"{name}: forwarded, and Tidegate doesn't say why")
    side.write(browser, "/api/progress?source=mail", event("with-query"))
    side.write(browser, "/api/progress", event("last"))
    side.call(browser, "GET", "/api/progress?user_id=u1", label="the list at the end")


def either_way(side):
    """What may be acknowledged, as if it were well said, or forwarded: nothing of it is lost in either case."""
    browser = side.browser("u1")
    bodies = {"null id": b'{"id":null,"user_id":"u1","percent":1,"note":"null id"}', "numeric user": b'{"id":"n","user_id":5,"note":"numeric user"}'}
    for name, body in bodies.items():
        side.write(browser, "/api/progress", event(f"before {name}"))
        side.keep(name, side.write(browser, "/api/progress", body, keep=False))
        side.answered_either_way()
    side.write(browser, "/api/progress", event("after"))


def note_of(row):
    return row["fields"].get("note")


def nothing_lost(direct, through):
    """What was acknowledged is in the store with its fields, or a dead letter with its reason."""
    kept = [note_of(row) for row in through["rows"]]
    dead = [letter["event"].get("note") for letter in through["dead"] if letter["reason"]]
    found = [f"{name}: acknowledged, and neither kept nor a dead letter" for name in through.get("acknowledged", []) if [*kept, *dead].count(name) != 1]
    forwarded = {name for name in map(note_of, direct["rows"]) if name} - set(through.get("acknowledged", []))
    return found + [f"{name}: forwarded, and not kept" for name in forwarded if name not in kept]


def packed_events(side):
    """Express inflates; what the client packed is an event all the same."""
    browser = side.browser("u1")
    for number in range(4):
        body = gzip.compress(json.dumps(event(f"packed-{number}", seq=number, note="n" * 2_000)).encode(), mtime=0)
        side.write(browser, "/api/progress", body, headers=[("Content-Encoding", "gzip")])
    side.call(browser, "GET", "/api/progress?user_id=u1")


FLOWS = [
    Flow("bodies that aren't understood", not_understood, FRAMEWORKS),
    Flow("values that can be read either way", either_way, FRAMEWORKS, judge=nothing_lost, set_apart=note_of, most_dead=1),
    Flow("packed events", packed_events, ("express",)),
]
