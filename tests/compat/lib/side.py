"""One way of playing a flow: directly at the application, or through Tidegate."""

import json
from contextlib import contextmanager

from arrangement import MAIN
from client import Answer, Browser
from process import ask


class Side:
    """Where a flow plays, and what came of it."""

    def __init__(self, app, port, store, gate=None):
        self.app, self.port, self.store_port, self.gate = app, port, store, gate
        self.answers, self.values, self.problems, self.own = [], [], [], set()
        # Answers of calls that may be acknowledged or forwarded, by their places.
        self.either = set()
        self.callers = self.renewals = 0

    @property
    def through(self):
        return self.gate is not None

    def browser(self, user=None, host=MAIN, **headers):
        """A caller; signed in if it has a user."""
        browser = Browser(self.port, host, {"User-Agent": "compat/1.0", "Accept": "*/*", **self.app.front, **headers})
        if user is not None:
            self.callers += 1
            self.app.sign_in(self, browser, user)
        return browser

    def keep(self, label, answer):
        """An answer that must be the same on both sides."""
        self.answers.append((label, answer))
        return answer

    def call(self, browser, method, target, headers=(), body=None, chunked=False, label=None):
        return self.keep(label or f"{method} {target}", browser.call(method, target, headers, body, chunked))

    def write(self, browser, target, value, method="POST", headers=(), keep=True):
        """A write of JSON as the application's own script makes it."""
        given = {name.lower() for name, _ in headers}
        lines = [line for line in self.app.write_headers(browser) if line[0].lower() not in given]
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        answer = browser.call(method, target, [*lines, *headers], body)
        return self.keep(f"{method} {target} {body[:60]!r}", answer) if keep else answer

    def answered_here(self):
        """The last answer is one that the configuration has Tidegate make, without a header that says so."""
        self.own.add(len(self.answers) - 1)

    def answered_either_way(self):
        """The last answer may be an acknowledgement, whatever the application would have said."""
        self.either.add(len(self.answers) - 1)

    def value(self, label, value):
        """Something seen that must be the same on both sides."""
        self.values.append((label, value))

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def acknowledged(self, answer: Answer, label):
        """Through Tidegate this call must be acknowledged, not forwarded, but for one of each caller whose session lives by it."""
        if not self.through or answer.acknowledged:
            return
        if self.app.renews and answer.forwarded == "session_renewal" and self.renewals < self.callers:
            self.renewals += 1
            return
        self.problems.append(f"{label}: not acknowledged (forwarded: {answer.forwarded}): {answer.status} {answer.body[:160]!r}")

    def control(self, what):
        status, body = ask(self.store_port, "GET" if what == "store" else "POST", f"/control/{what}", MAIN)
        if status != 200:
            raise RuntimeError(f"/control/{what}: {status} {body[:200]!r}")
        return body

    def store(self):
        return json.loads(self.control("store"))

    @contextmanager
    def streamed(self, browser, target):
        connection, response = browser.open("GET", target)
        try:
            yield response
        finally:
            connection.close()
