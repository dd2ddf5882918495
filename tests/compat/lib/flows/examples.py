"""The examples: their batch endpoints and their configurations, with the calls that they are for."""

import base64
import json
import os
from dataclasses import dataclass

from arrangement import Gate
from client import Browser
from flows.flow import FRAMEWORKS, Flow
from install import APPS, ROOT
from process import Process, ask, free_port

USERS, CALLS = 4, 10

SOCKETS = """
[server]
listen = "127.0.0.1:{listen}"
explain = true
[admin]
listen = "127.0.0.1:{admin}"
[journal]
path = "{data}"
"""


def configuration(name):
    """An example's file as a template, with the suite's own sockets."""
    text = (ROOT / "examples" / name / "tidegate.toml").read_text().replace("{", "{{").replace("}", "}}")
    for address in ("http://127.0.0.1:8888", "http://127.0.0.1:54321"):
        text = text.replace(address, "http://127.0.0.1:{upstream}")
    return SOCKETS + text


def play(side):
    """Some users, some events each, the last one twice; and a read of what was written."""
    for user in (f"u{number}" for number in range(USERS)):
        browser = side.browser(user)
        for number in [*range(CALLS), CALLS - 1]:
            event = {"id": f"{user}-{number}", "user_id": user, "percent": number, "lesson": f"l{number % 3}"}
            side.acknowledged(side.write(browser, "/api/progress", event), f"{user}-{number}")
        side.call(browser, "GET", f"/api/progress/summary?user_id={user}")


def judge(direct, through):
    """As many rows, of fewer calls."""
    found = [] if len(direct["rows"]) == USERS * CALLS else [f"directly: {len(direct['rows'])} rows of {USERS * CALLS}"]
    batched = [row for row in through["rows"] if row["batch"] is not None]
    batches = len({row["batch"] for row in batched})
    # Where a session lives by its answers, a call of each user goes by itself.
    if len(batched) < USERS * (CALLS - 2) or batches > USERS * 4:
        found.append(f"{len(batched)} of {USERS * CALLS} events came in {batches} batches: too little was saved")
    return found


FLOWS = [Flow(f"example {name}", play, (name,), config={"text": configuration(name)}, judge=judge) for name in FRAMEWORKS]


def token(user):
    """A JWT that names a user; the stand-in looks at no signature."""
    part = base64.urlsafe_b64encode(json.dumps({"sub": user}).encode()).decode().rstrip("=")
    return f"Bearer e30.{part}.x"


def insert_rows(port, users=USERS):
    """Each user's rows, one a call. Returns what went wrong."""
    found = []
    for user in (f"u{number}" for number in range(users)):
        headers = {"Authorization": token(user), "apikey": "anon", "Content-Type": "application/json"}
        browser = Browser(port, "app.example", headers)
        for number in range(CALLS):
            row = {"client_event_id": f"{user}-{number}", "user_id": user, "lesson_id": "l1", "percent": number}
            answer = browser.call("POST", "/rest/v1/progress_events", (), json.dumps(row).encode())
            if answer.status != 201:
                found.append(f"{user}-{number}: {answer.status} {answer.body[:100]!r} (forwarded: {answer.forwarded})")
    return found


@dataclass(frozen=True)
class Supabase:
    """A table behind PostgREST, which needs no batch endpoint."""

    title: str = "supabase: example"

    def play(self, tools, logs):
        port = free_port()
        command = [tools.python, APPS / "postgrest" / "standin.py"]
        with Process("postgrest", command, logs / "postgrest.log", env={**os.environ, "PORT": str(port)}) as standin:
            standin.ready(port, "/healthz")
            problems = [f"directly: {problem}" for problem in insert_rows(port)]
            direct = json.loads(ask(port, "GET", "/control/store")[1])
            ask(port, "POST", "/control/reset")
            # A user's rows are there already, from a time before Tidegate.
            problems += insert_rows(port, users=1)
            gate = Gate(tools, "supabase", port, logs, text=configuration("supabase"))
            try:
                problems += insert_rows(gate.listen)
                problems += gate.flush()
            finally:
                gate.stop()
            through = json.loads(ask(port, "GET", "/control/store")[1])
        by_key = lambda store: sorted(store["rows"], key=lambda row: row["client_event_id"])
        if by_key(direct) != by_key(through):
            problems.append(f"rows: directly {len(direct['rows'])}, through {len(through['rows'])}, or others")
        if len(through["calls"]) - CALLS > len(direct["calls"]) / 2:
            problems.append(f"calls: directly {len(direct['calls'])}, through {len(through['calls'])}: nothing was saved")
        return problems


SERVICES = [Supabase()]
