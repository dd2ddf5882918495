"""What the dashboard is looked at in front of: an application that refuses some events, a sidecar, calls; and a listener that
wants a token."""

import http.client
import json
import math
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import HOST, Process, ask, free_port, wait_until
from sidecar import clean_environment

CONFIG = """
[server]
listen = "127.0.0.1:{listen}"

[admin]
listen = "127.0.0.1:{admin}"

[upstream]
url = "http://127.0.0.1:{application}"

[journal]
path = "{data}"
durability = "process"

[batch.progress]
path = "/api/progress/batch"
window = "1s"
fallback = "dead-letter"

[batch.analytics]
path = "/api/analytics/batch"
window = "2s"

[[event]]
path = "/api/progress"
batch = "progress"

[[event]]
path = "/api/analytics"
batch = "analytics"

[[cache]]
path = "/api/summary"
ttl = "30s"
tags = ["progress:{{user}}"]
"""
# An id as a stranger may choose it.
MARKUP = '<img src=x onerror="document.title=1">'
USERS = 40


class Handler(BaseHTTPRequestHandler):
    """Takes events, but none that is flawed until it is mended, and none of a caller whose token is refused."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") == "Bearer refused":
            return self.answer(401, {"error": "token"})
        ids = [event["clientEventId"] for event in body.get("events", [body])]
        flawed = [one for one in ids if "flawed" in one or one == MARKUP] if not self.server.is_mended else []
        failed = [{"id": one, "reason": "validation_error"} for one in flawed]
        return self.answer(200, {"accepted": [one for one in ids if one not in flawed], "duplicates": [], "failed": failed})

    def do_GET(self):
        self.answer(200, {"done": 3})

    def answer(self, status, said):
        content = json.dumps(said).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing."""


class Scene:
    """An application, a sidecar that can be started anew at its addresses, and calls. Ends with its context."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.application = ThreadingHTTPServer((HOST, 0), Handler)
        self.application.daemon_threads = True
        self.application.is_mended = False
        self.listen, self.admin = free_port(), free_port()
        values = {"listen": self.listen, "admin": self.admin, "application": self.application.server_port}
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(**values, data=folder / "data"))
        self.address = f"http://{HOST}:{self.admin}/"
        self.process = None

    def __enter__(self):
        threading.Thread(target=self.application.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.application.shutdown()
        self.application.server_close()

    def start(self):
        self.process = Process("tidegate", [self.binary, "run", "--config", self.config], self.folder / "tidegate.log", env=clean_environment())
        self.process.ready(self.admin, "/readyz")

    def stop(self):
        self.process.stop()

    def send(self, connection, path, user, event):
        headers = {"Authorization": f"Bearer {user}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps({"userId": user, **event}), headers)
        connection.getresponse().read()

    def play(self, seconds):
        """Calls for so long, more and fewer in turn; then a held lane and two dead letters are there."""
        chance = random.Random(1)
        connection = http.client.HTTPConnection(HOST, self.listen, timeout=20)
        began = time.monotonic()
        number = 0
        while (passed := time.monotonic() - began) < seconds:
            user = f"u{chance.randrange(USERS)}"
            path = "/api/progress" if chance.random() < 0.7 else "/api/analytics"
            self.send(connection, path, user, {"clientEventId": f"e{number}", "percent": number % 100})
            if number % 9 == 0:
                connection.request("GET", f"/api/summary?userId={user}", headers={"Authorization": f"Bearer {user}"})
                connection.getresponse().read()
            number += 1
            time.sleep((0.008 + 0.005 * math.sin(passed / 9)) * (0.7 + 0.6 * chance.random()))  # the users' own pace
        for user, one in (("u1", "flawed-7f3a"), ("u2", MARKUP), ("refused", "e-held")):
            self.send(connection, "/api/progress", user, {"clientEventId": one, "percent": 1})
        connection.close()
        self.wait_for(lambda status: status["dead_letters"]["kept"] == 2, "two dead letters")
        self.wait_for(lambda status: status["pending"]["events"] == 1, "one event that is held")

    def wait_for(self, condition, what):
        def is_there():
            return condition(json.loads(ask(self.admin, "GET", "/status")[1])) or None

        wait_until(is_there, 30, what, self.process.child)

    def mode_of(self, path):
        modes = json.loads(ask(self.admin, "GET", "/modes")[1])
        return next(route["mode"] for route in modes if route["path"] == path)

    def count_letters(self):
        return len(json.loads(ask(self.admin, "GET", "/dead-letters")[1]))


class Guard:
    """A listener that wants a token for all but the page's own files, in front of the sidecar's. Ends with its context."""

    TOKEN = "s3cret"

    def __init__(self, admin):
        guard = self

        class Forward(BaseHTTPRequestHandler):
            def do_GET(self):
                is_file = self.path == "/" or self.path.startswith("/dashboard/")
                if not is_file and self.headers.get("Authorization") != f"Bearer {guard.TOKEN}":
                    guard.refused += 1
                    self.send_error(401)
                    return
                connection = http.client.HTTPConnection(HOST, admin, timeout=20)
                connection.request("GET", self.path, headers={"Host": f"{HOST}:{admin}"})
                response = connection.getresponse()
                self.send_response_only(response.status)
                for name in ("content-type", "content-security-policy"):
                    if response.headers.get(name):
                        self.send_header(name, response.headers[name])
                self.end_headers()
                while data := response.read1():
                    self.wfile.write(data)
                    self.wfile.flush()

            def log_message(self, *_):
                """Says nothing."""

            def handle(self):
                try:
                    super().handle()
                except (OSError, http.client.HTTPException):
                    pass  # one of the two sides is gone

        self.refused = 0
        self.server = ThreadingHTTPServer((HOST, 0), Forward)
        self.server.daemon_threads = True
        self.address = f"http://{HOST}:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
