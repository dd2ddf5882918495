"""Tidegate in front of the application, and the reports that it tells of what came."""

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import HOST, Process, ask, free_port, wait_until

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
window = "2s"
key = ["lessonId"]
flush_on_change = {{ number = 1000 }}

[batch.bookmarks]
path = "/api/bookmarks/batch"
window = "2s"

[batch.answers]
path = "/api/answers/batch"
window = "2s"

[[event]]
path = "/api/progress"
batch = "progress"
mode = "observe"

[[event]]
path = "/api/pings"
batch = "progress"
mode = "observe"

[[event]]
path = "/api/bookmarks"
batch = "bookmarks"
mode = "shadow"
ack = {{ status = 200, body = {{ ok = true, id = "{{event.clientEventId}}", savedAt = "{{now.iso}}" }} }}

[[event]]
path = "/api/answers"
batch = "answers"
mode = "shadow"
event = {{ clientEventId = "{{body.clientEventId}}", userId = "{{body.userId}}", number = "{{body.number}}", lessonId = "{{body.lessonId}}" }}

[shadow]
url = "http://127.0.0.1:{twin}"
min_events = {min_events}
max_rate = {max_rate}
"""
OBSERVED, COMPARED = ("/api/progress", "/api/pings"), ("/api/bookmarks", "/api/answers")


class Sidecar:
    """A started Tidegate. Ends with its context."""

    def __init__(self, binary, folder, application, twin, proof):
        self.binary, self.folder = binary, folder
        self.listen, self.admin = free_port(), free_port()
        values = {"listen": self.listen, "admin": self.admin, "application": application, "twin": twin}
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(**values, data=folder / "data", **proof))

    def __enter__(self):
        command = [self.binary, "run", "--config", self.config]
        self.process = Process("tidegate", command, self.folder / "tidegate.log", env=clean_environment())
        self.process.ready(self.admin, "/readyz")
        return self

    def __exit__(self, *_):
        self.process.stop()

    def read_report(self, name):
        """The document of `GET /observe` or `GET /parity`."""
        return json.loads(ask(self.admin, "GET", f"/{name}")[1])

    def wait_for(self, sent):
        """Waits until every call that was sent is in a report, and its outcome is known."""

        def all_observed():
            groups = self.read_report("observe")["groups"]
            return sum(group["calls"] for group in groups) >= sum(sent[path] for path in OBSERVED) or None

        def all_compared():
            routes = self.read_report("parity")["routes"]
            calls = sum(route["calls"] for route in routes)
            pending = sum(route["pending"] for route in routes)
            return (calls >= sum(sent[path] for path in COMPARED) and pending == 0) or None

        wait_until(all_observed, 30, "all calls in the report of observe", self.process.child)
        wait_until(all_compared, 30, "all outcomes in the report of parity", self.process.child)

    def write_page(self, name, file):
        """What `tidegate NAME report --html FILE` makes of the running sidecar."""
        write_page(self.binary, self.config, name, file)


def clean_environment():
    return {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE__")}


def write_page(binary, config, name, file):
    """A parity report ends with 1 unless each route is `go`."""
    command = [binary, "--config", config, name, "report", "--html", file]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=clean_environment())
    if ended.returncode not in (0, 1) or not file.is_file():
        raise RuntimeError(f"{name} report --html ended with {ended.returncode}: {ended.stderr[-500:]}")


def write_page_of(binary, folder, name, report, file):
    """What the same command makes of this document, which a listener on a free port answers with."""

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            content = json.dumps(report).encode()
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Says nothing."""

    with ThreadingHTTPServer((HOST, 0), Listener) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            config = folder / "listener.toml"
            config.write_text(f'[admin]\nlisten = "{HOST}:{server.server_port}"\n[upstream]\nurl = "http://{HOST}:1"\n')
            write_page(binary, config, name, file)
        finally:
            server.shutdown()
