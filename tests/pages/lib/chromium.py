"""Headless Chromium over its debugging pipe: JSON messages, each ended by a NUL, on file descriptors 3 and 4."""

import base64
import json
import os
import select
import shutil
import signal
import time

# A page is given up after this.
MOST_SECONDS = 20
NAMES = ("chromium", "chromium-browser", "google-chrome")


class BrowserError(Exception):
    """Chromium isn't there, or didn't do what it was asked."""


class Chromium:
    """A started browser with a profile of its own. Ends with its context, by its process id."""

    def __init__(self, profile, log):
        self.path = next(filter(None, map(shutil.which, NAMES)), None)
        if self.path is None:
            raise BrowserError(f"none of {', '.join(NAMES)} is installed")
        self.profile, self.log = profile, log
        self.buffer, self.numbers, self.events = b"", 0, []

    def __enter__(self):
        arguments = [
            self.path, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "--disable-gpu",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-breakpad", "--disable-dev-shm-usage", "--disable-lcd-text", "--hide-scrollbars", "--force-color-profile=srgb",
        ]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium has no sandbox for root
        commands, self.commands = os.pipe()
        self.replies, replies = os.pipe()
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        # By way of high numbers, so that none of the four lies on another one's place.
        for high, low, source in ((101, 1, output), (102, 2, output), (103, 3, commands), (104, 4, replies)):
            actions.append((os.POSIX_SPAWN_DUP2, source, high))
        for high, low in ((101, 1), (102, 2), (103, 3), (104, 4)):
            actions += [(os.POSIX_SPAWN_DUP2, high, low), (os.POSIX_SPAWN_CLOSE, high)]
        self.process = os.posix_spawn(self.path, arguments, os.environ, file_actions=actions, setpgroup=0)
        for end in (commands, replies, output):
            os.close(end)
        return self

    def __exit__(self, *_):
        try:
            self.send("Browser.close")
        except BrowserError:
            os.killpg(self.process, signal.SIGKILL)
        end = time.monotonic() + MOST_SECONDS
        while os.waitpid(self.process, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.killpg(self.process, signal.SIGKILL)
                end += MOST_SECONDS
            time.sleep(0.02)
        os.close(self.commands)
        os.close(self.replies)

    def send(self, method, session=None, **parameters):
        """One command; returns its result. Events that come meanwhile are kept."""
        self.numbers += 1
        number = self.numbers
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self.commands, data):]
        except OSError as error:
            raise BrowserError(f"{method}: Chromium ended: {error}; its log is {self.log}") from error
        end = time.monotonic() + MOST_SECONDS
        while True:
            reply = self.receive(end, method)
            if reply.get("id") == number:
                if "error" in reply:
                    raise BrowserError(f"{method}: {reply['error'].get('message')}")
                return reply["result"]
            self.events.append(reply)

    def wait_for(self, session, method):
        """Waits until such an event has come to a session."""
        end = time.monotonic() + MOST_SECONDS
        while not any((one.get("sessionId"), one.get("method")) == (session, method) for one in self.events):
            self.events.append(self.receive(end, method))

    def receive(self, end, what):
        while b"\0" not in self.buffer:
            if not select.select([self.replies], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BrowserError(f"{what}: not within {MOST_SECONDS} s; Chromium's log is {self.log}")
            data = os.read(self.replies, 1 << 16)
            if not data:
                raise BrowserError(f"{what}: Chromium ended; its log is {self.log}")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """An address, opened at this width and in this colour scheme. Closes with its context."""

    def __init__(self, browser, address, width, scheme):
        self.browser, self.address, self.width, self.scheme = browser, address, width, scheme

    def __enter__(self):
        self.target = self.browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.browser.send("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Accessibility"):
            self.send(f"{domain}.enable")
        is_phone = self.width < 600
        size = {"width": self.width, "height": 800, "deviceScaleFactor": 1, "mobile": is_phone}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": self.scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.send("Page.navigate", url=self.address)
        self.browser.wait_for(self.session, "Page.loadEventFired")
        # Two frames: what the page asks for when it is drawn has been asked for then.
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        return self

    def __exit__(self, *_):
        self.browser.send("Target.closeTarget", targetId=self.target)
        self.browser.events = [one for one in self.browser.events if one.get("sessionId") != self.session]

    def send(self, method, **parameters):
        return self.browser.send(method, self.session, **parameters)

    def evaluate(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"the inspection failed: {json.dumps(result['exceptionDetails'])[:600]}")
        return result["result"].get("value")

    def wait_until(self, condition, what):
        """Waits until an expression of the page is true."""
        end = time.monotonic() + MOST_SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise BrowserError(f"{what}: not within {MOST_SECONDS} s")
            time.sleep(0.05)

    def press(self, key, text=None):
        """A key, down and up: `Tab`, `Enter`, `Escape`, `ArrowUp`."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowUp": 38}[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector):
        """A click of the mouse in the middle of an element, which is scrolled to first."""
        script = """(selector) => {
          const element = document.querySelector(selector);
          element.scrollIntoView({ block: "center", inline: "center" });
          const { left, top, width, height } = element.getBoundingClientRect();
          return [left + width / 2, top + height / 2];
        }"""
        x, y = self.evaluate(f"({script})({json.dumps(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def events(self, method):
        """The parameters of these events so far."""
        mine = (one for one in self.browser.events if one.get("sessionId") == self.session)
        return [one["params"] for one in mine if one.get("method") == method]

    def screenshot(self, most_height):
        """The page from its top, as PNG."""
        height = self.send("Page.getLayoutMetrics")["cssContentSize"]["height"]
        clip = {"x": 0, "y": 0, "width": self.width, "height": min(height, most_height), "scale": 1}
        taken = self.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(taken["data"])
