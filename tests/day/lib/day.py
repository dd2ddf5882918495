"""Plays an operator's day; ends with 1 at the first step that fails."""

import argparse
import collections
import http.client
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from process import HOST, Process, ask, free_port, wait_until

CONFIG = """
[server]
listen = "127.0.0.1:{listen}"
drain = "20s"

[admin]
listen = "127.0.0.1:{admin}"

[upstream]
url = "http://127.0.0.1:{application}"

[journal]
path = "{data}"

[delivery]
retry_network = ["200ms"]
retry_server = {{ base = "200ms", cap = "200ms" }}

[batch.progress]
path = "/api/progress/batch"
window = "500ms"
fallback = "dead-letter"

[[event]]
path = "/api/progress"
batch = "progress"
mode = "{mode}"
"""
FLAWED = "flawed-1"
SECONDS = 30


class Application(BaseHTTPRequestHandler):
    """Takes events and remembers their ids; refuses a flawed one until it is mended."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = [event["clientEventId"] for event in body.get("events", [body])]
        flawed = [one for one in ids if one == FLAWED and not self.server.is_mended]
        with self.server.lock:
            self.server.requests += 1
            self.server.arrived.update(one for one in ids if one not in flawed)
        failed = [{"id": one, "reason": "validation_error"} for one in flawed]
        self.answer({"accepted": [one for one in ids if one not in flawed], "duplicates": [], "failed": failed})

    def answer(self, said):
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        # So that none is left when the application goes down.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Ledger:
    """What arrived, over all times that the application was up."""

    def __init__(self):
        self.arrived, self.lock, self.requests, self.server = collections.Counter(), threading.Lock(), 0, None
        self.port = free_port()

    def start(self, is_mended=False):
        self.server = ThreadingHTTPServer((HOST, self.port), Application)
        self.server.daemon_threads = True
        self.server.arrived, self.server.lock = self.arrived, self.lock
        self.server.requests, self.server.is_mended = 0, is_mended
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.requests += self.server.requests
        self.server.shutdown()
        self.server.server_close()


class Day:
    def __init__(self, binary, scratch):
        self.binary, self.scratch = binary, scratch
        self.listen, self.admin = free_port(), free_port()
        self.ledger, self.sent, self.sidecar, self.starts = Ledger(), [], None, 0
        self.file = scratch / "tidegate.toml"
        # A socket that is passed on from process to process, as a service manager does.
        self.listener = None

    def configure(self, mode="coalesce", listen=None):
        self.file.write_text(CONFIG.format(listen=listen or self.listen, admin=self.admin, application=self.ledger.port, data=self.scratch / "data", mode=mode))

    def tidegate(self, *arguments):
        command = [self.binary, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.scratch)

    def start(self):
        self.starts += 1
        log = self.scratch / f"run-{self.starts}.log"
        self.sidecar = Process("tidegate", [self.binary, "run", "--config", self.file], log, cwd=self.scratch, listener=self.listener)
        self.sidecar.ready(self.admin, "/readyz")

    def call(self, identifier):
        """Posts an event; its status. An acknowledged one is remembered."""
        connection = http.client.HTTPConnection(HOST, self.listen, timeout=30)
        try:
            body = json.dumps({"clientEventId": identifier, "userId": "ann", "percent": 7})
            connection.request("POST", "/api/progress", body, {"Content-Type": "application/json", "Authorization": "Bearer ann"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status == 202:
            self.sent.append(identifier)
        return status

    def read(self, path):
        status, content = ask(self.admin, "GET", path)
        return json.loads(content) if status == 200 else None

    def until(self, what, condition):
        return wait_until(lambda: condition() or None, SECONDS, what, self.sidecar.child if self.sidecar else None)

    def until_arrived(self, identifier):
        self.until(f"{identifier} has arrived", lambda: self.ledger.arrived[identifier])

    # The steps, in the order of the day.

    def play_the_demo(self):
        played = self.tidegate("demo", "--learners", "20", "--duration", "5s", "--fast", "--json")
        expect(played.returncode == 0, "the demo ends with 0", played.stderr)
        report = json.loads(played.stdout)
        expect(isinstance(report, dict) and report, "the demo's report is JSON", played.stdout)

    def check_a_wrong_and_a_right_file(self):
        self.configure(mode="always")
        wrong = self.tidegate("check", "--config", str(self.file))
        expect(wrong.returncode == 1, "a wrong file ends check with 1", wrong.stdout)
        said = wrong.stderr + wrong.stdout
        expect("always" in said and "coalesce" in said and "tidegate.toml" in said, "what was found, what is allowed, and where", said)
        self.configure()
        right = self.tidegate("check", "--config", str(self.file))
        expect(right.returncode == 0 and "/api/progress" in right.stdout, "a right one is printed", right.stdout + right.stderr)

    def follow_one_event(self):
        self.ledger.start()
        self.start()
        expect(self.call("first") == 202, "a call is acknowledged")
        expect(self.read("/events/first") is not None, "its life is told while it is pending")
        self.until_arrived("first")
        settled = self.until("its outcome is told", lambda: (self.read("/events/first") or {}).get("state") == "settled" and self.read("/events/first"))
        expect("Bearer" not in json.dumps(settled) and "percent" not in json.dumps(settled), "no credential and no body in it", settled)

    def see_it_on_the_dashboard(self):
        status, page = ask(self.admin, "GET", "/")
        expect(status == 200 and b"<!doctype html>" in page[:100].lower(), "the page is served")
        connection = http.client.HTTPConnection(HOST, self.admin, timeout=30)
        connection.request("GET", "/live")
        response = connection.getresponse()
        expect(response.getheader("Content-Type") == "text/event-stream", "its stream is one of server-sent events")
        while True:
            line = response.readline().decode()
            expect(line != "", "the stream goes on")
            if line.startswith("data: ") and (ledger := json.loads(line[6:]).get("ledger")):
                break
        expect(ledger["accepted"] == 1, "the event is counted", ledger)
        connection.close()

    def outlive_the_application(self):
        self.ledger.stop()
        for number in range(20):
            expect(self.call(f"down-{number}") == 202, "calls are acknowledged while the application is down")
        self.until("its pending events are told", lambda: self.read("/status")["pending"]["events"] == 20)
        self.ledger.start()
        for number in range(20):
            self.until_arrived(f"down-{number}")

    def replay_a_dead_letter(self):
        expect(self.call(FLAWED) == 202, "a flawed event is acknowledged")
        letters = self.until("it is a dead letter", lambda: self.read("/dead-letters"))
        expect([letter["id"] for letter in letters] == [FLAWED], "and the only one", letters)
        status, text = ask(self.admin, "GET", "/readyz")
        expect(status == 200 and b"1" in text, "readiness tells of it", text)
        listed = self.tidegate("dead-letters", "--config", str(self.file), "list")
        expect(listed.returncode == 0 and FLAWED in listed.stdout, "the command lists it", listed.stdout + listed.stderr)
        self.ledger.server.is_mended = True
        replayed = self.tidegate("dead-letters", "--config", str(self.file), "replay", FLAWED)
        expect(replayed.returncode == 0, "the command replays it", replayed.stdout + replayed.stderr)
        self.until_arrived(FLAWED)
        self.until("none is left", lambda: self.read("/dead-letters") == [])

    def reload_a_wrong_and_a_right_file(self):
        self.configure(mode="sometimes")
        status, said = ask(self.admin, "POST", "/config/reload")
        expect(status >= 400 and b"sometimes" in said, "a wrong file is refused with what was found", said)
        expect(self.call("after-wrong") == 202, "and changes nothing")
        self.configure(mode="off")
        self.sidecar.child.send_signal(signal.SIGHUP)
        self.until("SIGHUP switches the route off", lambda: self.read("/modes")[0]["mode"] == "off")
        before = self.ledger.arrived["forwarded"]
        expect(self.call("forwarded") == 200 and self.ledger.arrived["forwarded"] == before + 1, "its calls are forwarded")
        self.configure()
        expect(ask(self.admin, "POST", "/config/reload")[0] == 200, "and on again")
        expect(self.call("after-right") == 202, "its calls are acknowledged")

    def upgrade_with_calls_running(self):
        """The sidecar gives way to one with a listener that outlives it, which is then replaced three times under calls."""
        self.sidecar.child.send_signal(signal.SIGTERM)
        expect(self.sidecar.child.wait(SECONDS) == 0, "SIGTERM ends it with 0")
        self.listener = socket.create_server((HOST, self.listen))
        self.start()
        stop, failures = threading.Event(), []

        def run(number):
            count = 0
            while not stop.is_set():
                count += 1
                try:
                    status = self.call(f"running-{number}-{count}")
                    if status != 202:
                        failures.append(status)
                except (OSError, http.client.HTTPException) as error:
                    failures.append(error)
                    time.sleep(0.01)

        callers = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(3):
            count = len(self.sent)
            self.until("calls run", lambda: len(self.sent) > count + 100)
            self.sidecar.child.send_signal(signal.SIGTERM)
            code = self.sidecar.child.wait(SECONDS)
            expect(code == 0, "SIGTERM ends it with 0", code)
            self.start()
        count = len(self.sent)
        self.until("calls go on", lambda: len(self.sent) > count + 100)
        stop.set()
        for caller in callers:
            caller.join()
        expect(not failures, "no call fails in three upgrades", failures)

    def balance_the_ledger(self):
        ask(self.admin, "POST", "/flush")
        self.until("nothing is pending", lambda: self.read("/status")["pending"]["events"] == 0)
        ledger = self.read("/status")["ledger"]
        self.sidecar.child.send_signal(signal.SIGTERM)
        expect(self.sidecar.child.wait(SECONDS) == 0, "SIGTERM ends it with 0")
        missing = [one for one in self.sent if not self.ledger.arrived[one]]
        expect(not missing, "every acknowledged event has arrived", missing)
        strange = set(self.ledger.arrived) - set(self.sent) - {"forwarded"}
        expect(not strange, "and nothing else", strange)
        doubled = [one for one, count in self.ledger.arrived.items() if count > 1]
        expect(not doubled, "each once: nobody was killed", doubled)
        known = sum(ledger[kind] for kind in ("accepted", "duplicate", "superseded", "dead", "pending"))
        expect(ledger["received"] == known, "the sidecar's ledger balances", ledger)

    def steps(self):
        return (
            self.play_the_demo, self.check_a_wrong_and_a_right_file, self.follow_one_event, self.see_it_on_the_dashboard,
            self.outlive_the_application, self.replay_a_dead_letter, self.reload_a_wrong_and_a_right_file,
            self.upgrade_with_calls_running, self.balance_the_ledger,
        )


def expect(is_so, what, found=None):
    if not is_so:
        raise AssertionError(what if found is None else f"{what}; found {found}")


def main():
    # Under nohup SIGHUP is ignored, and a sidecar that inherits that ignores it too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/debug/tidegate", type=pathlib.Path)
    parser.add_argument("--scratch", default="target/day", type=pathlib.Path)
    options = parser.parse_args()
    if not options.binary.exists():
        subprocess.run(["cargo", "build", "--locked"], check=True)
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    day = Day(options.binary.resolve(), options.scratch.resolve())
    try:
        for step in day.steps():
            began = time.monotonic()
            try:
                step()
            except Exception as error:
                print(f"FAIL {step.__name__.replace('_', ' ')}: {error}")
                return 1
            print(f"  ok {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)
    finally:
        if day.sidecar:
            day.sidecar.stop()
    return 0


sys.exit(main())
