"""The applications of the suite, how each is started, how its users sign in, and Tidegate's configuration before it."""

import json
import os
import shutil
import time
from dataclasses import dataclass

from client import Browser
from install import APPS, ROOT
from process import Process, ask, free_port

MAIN, TENANT = "app.example", "tenant-b.example"


@dataclass
class Running:
    """A started application: the port that clients call, and the one where its store can be read."""

    processes: list
    port: int
    store: int
    front: int | None = None
    behind: int | None = None


class App:
    """What the applications have in common."""

    name = ""
    identity = ""
    route = ""
    # More of [upstream].
    upstream = ""
    # Headers that a front of this application sets.
    front = {}
    # Each answer sets the session's cookie anew. So does a delivery's, which no browser sees: that caller's next call is
    # forwarded then, once a minute, so that the session lives.
    renews = False

    def start(self, tools, logs):
        raise NotImplementedError

    def sign_in(self, side, browser, user):
        raise NotImplementedError

    def write_headers(self, browser):
        """What a browser's own script sends with a write."""
        return [("Content-Type", "application/json")]


class Django(App):
    name = "django"
    identity = '[identity]\nrequire = ["cookie:csrftoken", "header:x-csrftoken"]'

    def __init__(self, ssl=False):
        self.ssl = ssl
        if ssl:  # the same by another key, which says that only writes carry the pair: reads come from the cache, too
            self.identity = '[identity]\nrequire = ["cookie:csrftoken"]\ndouble_submit = ["cookie:csrftoken", "header:x-csrftoken"]'
        self.name = "django-https" if ssl else "django"
        self.front = {"X-Forwarded-Proto": "https"} if ssl else {}

    def start(self, tools, logs):
        port = free_port()
        environment = {**os.environ, "COMPAT_SSL": "1" if self.ssl else "0", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [tools.python, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "16", "app"]
        process = Process(self.name, command, logs / f"{self.name}.log", APPS / "django", environment)
        process.ready(port, "/healthz", MAIN)
        return Running([process], port, port)

    def sign_in(self, side, browser, user):
        browser.call("GET", "/login")
        answer = browser.call("POST", "/login", self.write_headers(browser), json.dumps({"user": user}).encode())
        side.check(answer.status == 200, f"signing in {user}: {answer.status} {answer.body[:200]!r}")

    def write_headers(self, browser):
        lines = [("Content-Type", "application/json"), ("X-CSRFToken", browser.jar.get("csrftoken", ""))]
        # Over https Django also asks where a write comes from.
        return [*lines, ("Origin", f"https://{browser.host}"), ("Referer", f"https://{browser.host}/")] if self.ssl else lines


class FastApi(App):
    name = "fastapi"
    identity = '[identity]\nrequire = ["header:authorization"]'
    route = 'content_types = ["application/json"]'

    def start(self, tools, logs):
        port = free_port()
        command = [tools.python, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        process = Process(self.name, command, logs / f"{self.name}.log", APPS / "fastapi", environment)
        process.ready(port, "/healthz")
        return Running([process], port, port)

    def sign_in(self, side, browser, user):
        browser.headers["Authorization"] = f"Bearer token-{user}"


class Express(App):
    name = "express"
    renews = True
    identity = '[identity]\nrequire = ["cookie:session"]'
    route = 'content_types = ["application/json"]'

    def start(self, tools, logs):
        port = free_port()
        environment = {**os.environ, "PORT": str(port), "NODE_ENV": "production", "NODE_PATH": str(tools.modules)}
        process = Process(self.name, [tools.node, APPS / "express" / "app.js"], logs / f"{self.name}.log", env=environment)
        process.ready(port, "/healthz")
        return Running([process], port, port)

    def sign_in(self, side, browser, user):
        answer = browser.call("POST", "/login", self.write_headers(browser), json.dumps({"user": user}).encode())
        side.check(answer.status == 200, f"signing in {user}: {answer.status} {answer.body[:200]!r}")


def start_nginx(tools, logs, name, front, behind):
    """nginx on port `front`, before port `behind`, with the static files of the suite."""
    folder = tools.scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(APPS / "nginx" / "static", folder / "static")
    for file in (folder / "static").rglob("*"):
        os.utime(file, (1_767_600_000, 1_767_600_000))
    text = (APPS / "nginx" / "nginx.conf").read_text()
    places = {"@DIR@": folder, "@STATIC@": folder / "static", "@FRONT@": front, "@BEHIND@": behind}
    for mark, value in places.items():
        text = text.replace(mark, str(value))
    (folder / "nginx.conf").write_text(text)
    command = [tools.nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    return Process(name, command, logs / f"{name}.log")


class NginxUpstream(Express):
    """Tidegate before nginx before Express."""

    name = "nginx-upstream"
    # nginx compresses no answer to a request with Via, unless its gzip_proxied says so.
    upstream = "via = false"

    def start(self, tools, logs):
        running = super().start(tools, logs)
        front = free_port()
        process = start_nginx(tools, logs, self.name, front, running.port)
        try:
            process.ready(front, "/healthz")
        except Exception:
            running.processes[0].stop()
            raise
        return Running([process, *running.processes], front, running.port)


class NginxFront(Express):
    """nginx before Tidegate before Express; compared with nginx before Express."""

    name = "nginx-front"

    def start(self, tools, logs):
        running = super().start(tools, logs)
        direct, through, behind = free_port(), free_port(), free_port()
        processes = list(running.processes)
        try:
            processes.insert(0, start_nginx(tools, logs, f"{self.name}-direct", direct, running.port))
            processes[0].ready(direct, "/healthz")
            # Tidegate isn't there yet: nginx itself answers for a file.
            processes.insert(0, start_nginx(tools, logs, self.name, through, behind))
            processes[0].ready(through, "/static/small.txt")
        except Exception:
            for process in processes:
                process.stop()
            raise
        return Running(processes, direct, running.store, front=through, behind=behind)


HEAD = """
[server]
listen = "127.0.0.1:{listen}"
explain = true

[admin]
listen = "127.0.0.1:{admin}"

[journal]
path = "{data}"

{identity}
"""

# What the suite adds to the README's example, after which of its lines: the application's answer, what is stored for how
# long, and what an application or a flow needs.
ADDED = [
    ('url = "http', "{relay}"),
    ('path = "/api/progress/batch"', 'window = "{window}"\n{batch}'),
    ("event = ", "ack = {{ status = 200, body = {{ ok = true }} }}\n{route}"),
    ('path = "/api/progress/summary"', 'ttl = "30s"'),
]


def readme_example():
    """The configuration under "In front of your own application", as a template."""
    text = (ROOT / "README.md").read_text()
    example = text.split("## In front of your own application", 1)[-1].split("```toml\n", 1)[-1].split("```", 1)[0]
    lines = example.replace("{", "{{").replace("}", "}}").splitlines()
    for beginning, added in ADDED:
        places = [place for place, line in enumerate(lines) if line.startswith(beginning)]
        if len(places) != 1:
            raise ValueError(f"the README's example has {len(places)} lines that begin with {beginning!r}; the suite needs one")
        lines.insert(places[0] + 1, added)
    return HEAD + "\n".join(lines).replace("http://127.0.0.1:8888", "http://127.0.0.1:{upstream}") + "\n{more}\n"


README = readme_example()


class Gate:
    """Tidegate in front of an application, with the README's configuration."""

    def __init__(self, tools, name, upstream, logs, app=None, text=None, listen=None, window="1s", batch="", identity="", more=""):
        self.listen, self.admin = listen or free_port(), free_port()
        folder = tools.scratch / "tidegate" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        values = {
            "listen": self.listen, "admin": self.admin, "upstream": upstream, "data": folder / "data", "window": window, "batch": batch, "more": more,
            "identity": f"{app.identity}\n{identity}" if app else "", "relay": app.upstream if app else "", "route": app.route if app else "",
        }
        (folder / "config.toml").write_text((text or README).format(**values))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE__")}
        command = [tools.tidegate, "run", "--config", folder / "config.toml"]
        self.process = Process("tidegate", command, logs / f"tidegate-{name}.log", env=environment)
        self.process.ready(self.admin, "/readyz")

    def status(self):
        return json.loads(ask(self.admin, "GET", "/status")[1])

    def flush(self, most_dead=0):
        """Sends what is pending and waits until it is settled. Returns what is wrong afterwards."""
        end, asked = time.monotonic() + 20, 0.0
        while True:
            status = self.status()
            if status["ledger"]["pending"] == 0:
                break
            if time.monotonic() > end:
                break
            if time.monotonic() - asked > 1:  # what is tried again after a pause is asked for again
                ask(self.admin, "POST", "/flush")
                asked = time.monotonic()
            time.sleep(0.02)
        ledger, found = status["ledger"], []
        if ledger["pending"]:
            found.append(f"still pending 20 s after /flush: {ledger['pending']} events; attempts {status['batches']['attempts']}")
        if ledger["dead"] > most_dead:
            letters = self.dead_letters()
            reasons = sorted({f"{letter['reason']} ({letter.get('status')})" for letter in letters})
            found.append(f"dead letters: {ledger['dead']}, {reasons}")
        if not status["balanced"]:
            found.append(f"the ledger doesn't balance: {ledger}")
        return found

    def dead_letters(self):
        return json.loads(ask(self.admin, "GET", "/dead-letters")[1])

    def stop(self):
        self.process.stop()


ALL = [Django(), Django(ssl=True), FastApi(), Express(), NginxUpstream(), NginxFront()]
