"""The live dashboard in the browser, in front of a sidecar with dead letters and a held lane, and used as an operator does."""

import http.client
import json
import math
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chromium import Page
from inspection import inspect_page
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
                connection.request("GET", "/api/summary", headers={"Authorization": f"Bearer {user}"})
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


def open_page(browser, scene, width, scheme):
    return Page(browser, scene.address, width, scheme)


def wait_until_live(page):
    page.wait_until('document.getElementById("link").textContent === "Live"', "the page is live")
    page.wait_until("document.querySelectorAll('#plots path.line[d]').length > 0", "the plots are drawn")


def expect(findings, kind, condition, found, allowed):
    if not condition:
        findings.append({"kind": kind, "found": found, "allowed": allowed})


def replay_by_click(page, scene, findings):
    """The flaw is mended, and a dead letter goes back by two clicks."""
    expect(findings, "markup", page.evaluate("document.title") == "Tidegate", "an id became markup", "text")
    expect(findings, "markup", page.evaluate("document.querySelectorAll('#letters img').length") == 0, "an id became markup", "text")
    scene.application.is_mended = True
    page.click("[aria-label='Replay flawed-7f3a']")
    page.wait_until("document.getElementById('ask').open", "the question before a replay")
    expect(findings, "asks", letters(scene) == 2, "replayed without an answer", "a question first")
    findings += inspect_page(page)
    page.click("#ask-yes")
    page.wait_until("!document.getElementById('ask').open", "the answer is taken")
    page.wait_until("document.querySelectorAll('#letters tr').length === 1", "the letter leaves the list")
    scene.wait_for(lambda status: status["dead_letters"]["kept"] == 1, "one dead letter")


def letters(scene):
    return len(json.loads(ask(scene.admin, "GET", "/dead-letters")[1]))


def change_mode_by_keyboard(page, scene, findings):
    """By Tab, Enter and arrows alone; Escape changes nothing."""
    path = "/api/analytics"
    focus = "document.activeElement"
    page.evaluate(f"{focus}.blur()")
    for _ in range(60):
        page.press("Tab")
        if page.evaluate(f"{focus}.getAttribute('aria-label') === 'Change POST {path}'"):
            break
    outline = page.evaluate(f"getComputedStyle({focus}).outlineStyle")
    expect(findings, "focus", outline != "none", "focus can't be seen", "an outline")
    page.press("Enter", "\r")
    page.wait_until("document.getElementById('mode').open", "the dialog of a route, opened by Enter")
    findings += inspect_page(page)
    page.press("Escape")
    page.wait_until("!document.getElementById('mode').open", "the dialog, closed by Escape")
    expect(findings, "asks", scene.mode_of(path) == "coalesce", "Escape changed the mode", "no change")
    page.press("Enter", "\r")
    page.wait_until("document.getElementById('mode').open && document.activeElement.id === 'mode-name'", "focus in the dialog")
    page.press("ArrowUp")
    page.press("ArrowUp")
    page.wait_until(f"{focus}.value === 'observe'", "the mode, chosen by arrows")
    for _ in range(3):
        page.press("Tab")
    page.wait_until(f"{focus}.id === 'mode-yes'", "the button, reached by Tab")
    page.press("Enter", "\r")
    page.wait_until("!document.getElementById('mode').open", "the change is taken")
    page.wait_until(f"[...document.querySelectorAll('#routes tr')].some((row) => row.textContent.includes('{path}') && row.cells[1].textContent === 'observe')", "the page shows the new mode")
    expect(findings, "mode", scene.mode_of(path) == "observe", f"mode {scene.mode_of(path)}", "observe")


def survive_restart(page, scene, findings):
    """Says that the connection is lost, and is live again when the listener is."""
    findings += inspect_page(page)
    before = len(page.events("Log.entryAdded"))
    scene.stop()
    page.wait_until("!document.getElementById('lost').hidden", "the page says that the connection is lost")
    findings += [one for one in inspect_page(page) if one["kind"] != "console"]
    scene.start()
    wait_until_live(page)
    page.wait_until("document.getElementById('lost').hidden", "the notice goes")
    page.wait_until("document.querySelectorAll('#letters tr').length === 1", "the dead letter is there after the restart")
    # The browser itself says that there is no listener; the page says nothing.
    said = [one["entry"] for one in page.events("Log.entryAdded")[before:]]
    odd = [entry["text"] for entry in said if entry["level"] in ("warning", "error") and entry["source"] != "network"]
    expect(findings, "console", not odd, str(odd)[:200], "nothing in the console")


def use_page(browser, scene):
    """All that an operator does, in one page; what is found."""
    findings = []
    with open_page(browser, scene, 1_280, "light") as page:
        wait_until_live(page)
        page.wait_until("document.querySelectorAll('#letters tr').length === 2", "both dead letters are listed")
        replay_by_click(page, scene, findings)
        change_mode_by_keyboard(page, scene, findings)
        survive_restart(page, scene, findings)
    return findings
