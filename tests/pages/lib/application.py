"""A small learning application: single calls, the batch endpoints beside them, and a twin whose batch endpoint differs.

What differs is seeded by the event's number, so that a report has several kinds of disagreement:

| every | of route | differs |
|---|---|---|
| 17th | /api/answers | the twin's batch endpoint refuses an event that the single call took |
| 23rd | /api/answers | the single call's answer has a member `score`, which no acknowledgement knows |
| 29th | /api/answers | the single call is answered 200 in place of 202 |
| 41st | /api/answers | the single call is answered 503, which says nothing of the event |
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import HOST


def answer_single(path, event):
    """Status and body for one event."""
    if path == "/api/bookmarks":
        return 200, {"ok": True, "id": event["clientEventId"], "savedAt": now()}
    number = event.get("number", 0)
    if path == "/api/answers":
        if number % 41 == 40:
            return 503, {"error": "overloaded"}
        score = {"score": 1} if number % 23 == 22 else {}
        return 200 if number % 29 == 28 else 202, {"accepted": [event["clientEventId"]], **score}
    return 202, {"accepted": [event["clientEventId"]]}


def answer_batch(path, events, is_twin):
    """The body for a batch: which events were taken, and which were not."""
    refused = [one for one in events if is_twin and path == "/api/answers/batch" and one.get("number", 0) % 17 == 16]
    failed = [{"id": one["clientEventId"], "reason": "validation_error"} for one in refused]
    accepted = [one["clientEventId"] for one in events if one not in refused]
    return {"accepted": accepted, "duplicates": [], "failed": failed}


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Handler(BaseHTTPRequestHandler):
    """Answers a POST; what isn't JSON or says no user is a 400."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body go out as one write

    def do_POST(self):
        path = self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            document = json.loads(body)
            if path.endswith("/batch"):
                status, said = 200, answer_batch(path, document["events"], self.server.is_twin)
            else:
                status, said = answer_single(path, document) if "userId" in document else (400, {"error": "no user"})
        except ValueError:
            status, said = 400, {"error": "no JSON"}
        content = json.dumps(said).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing."""


class Application:
    """A started application on a free loopback port. Ends with its context."""

    def __init__(self, is_twin=False):
        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.server.daemon_threads = True
        self.server.is_twin = is_twin
        self.port = self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
