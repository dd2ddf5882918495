"""Official SDKs of analytics services at stand-ins: what isn't declared passes unchanged, what is declared arrives whole."""

import json
import os
import subprocess
from dataclasses import dataclass

import compare
from arrangement import Gate
from install import APPS
from process import Process, ask, free_port

HEAD = """
[server]
listen = "127.0.0.1:{listen}"
[admin]
listen = "127.0.0.1:{admin}"
[upstream]
url = "http://127.0.0.1:{upstream}"
[journal]
path = "{data}"
"""

# The SDK's own batch path is a declared batch path, and its wrapper isn't {{"events": […]}} alone.
WRAPPED = HEAD + """
[identity]
user = "{{event.{user}}}"
[batch.declared]
path = "{path}"
window = "1s"
id_field = "{id}"
[[event]]
path = "{single}"
batch = "declared"
event = {{ "..." = "{{body.*}}" }}
ack = {{ status = 200, body = {{ ok = true }} }}
"""

# Umami takes an array of what its single calls hold. It has no ids: they are made, and stand beside the members.
UMAMI = HEAD + """
[identity]
user = "{{event.payload.website}}"
[batch.declared]
path = "/api/batch"
window = "1s"
envelope = "{{events}}"
success = {{ pointer = "/errors", equals = [0] }}
[[event]]
path = "/api/send"
batch = "declared"
event = {{ "..." = "{{body.*}}" }}
ack = {{ status = 200, body = {{ cache = "c", sessionId = "s", visitId = "v" }} }}
"""


def send(sdk, port, tools):
    environment = {**os.environ, "NODE_PATH": str(tools.modules)}
    command = [tools.node, APPS / "sdk" / "send.js", sdk, str(port)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return [] if done.returncode == 0 else [f"the SDK failed: {done.stdout[:400]}"]


def seen(standin, called):
    """The calls that the stand-in got. Each must name the address that the SDK was given as its Host."""
    calls = json.loads(ask(standin, "GET", "/control/store")[1])
    for call in calls:
        call["headers"] = [[name, "the SDK's address" if [name, value] == ["host", f"127.0.0.1:{called}"] else value] for name, value in call["headers"]]
    return calls


def normal(call):
    """A call as the stand-in saw it, less what an SDK makes anew at each run."""
    try:
        body = compare.members(json.loads(call["body"]))
    except ValueError:
        return call
    # The length goes by the digits of those members.
    headers = [line for line in call["headers"] if line[0] != "content-length"]
    return {**call, "headers": headers, "body": body}


def same_calls(direct, through):
    """Each call must have come, in its order, with its target, body and headers."""
    direct, through = [normal(call) for call in direct], [normal(call) for call in through]
    return compare.calls(sorted(direct, key=place), sorted(through, key=place))


def place(call):
    # An SDK may have several calls on their way at once; their order isn't its promise.
    return call["target"], json.dumps(call["body"], sort_keys=True)


def same_events(direct, through):
    """Single calls on one side, batches on the other: the events must be the same."""
    theirs = [json.loads(call["body"]) for call in direct]
    ours, found = [], []
    for call in through:
        value = json.loads(call["body"])
        if not isinstance(value, list):
            ours.append(value)
            continue
        for event in value:
            if event.pop("clientEventId", None) is None:
                found.append(f"an event of a batch without its id: {event}")
            ours.append(event)
    if theirs != ours:
        lost = [event for event in theirs if event not in ours]
        found.append(f"events: directly {len(theirs)}, through {len(ours)}; not the same: {lost[:2]}, such as {ours[:1]}")
    if len(through) > len(direct) / 2:
        found.append(f"calls: directly {len(direct)}, through {len(through)}: nothing was saved")
    for name in ("host", "user-agent", "accept", "content-type"):
        values = {str(dict(call["headers"]).get(name)) for call in (*direct, *through)}
        if len(values) != 1:
            found.append(f"{name} of the calls: {sorted(values)}")
    return found


@dataclass(frozen=True)
class Service:
    """One SDK at its service's stand-in."""

    title: str
    sdk: str
    text: str
    judge: object = staticmethod(same_calls)

    def play(self, tools, logs):
        port = free_port()
        environment = {**os.environ, "PORT": str(port)}
        name = self.title.replace(":", "").replace(" ", "-")
        with Process(self.sdk, [tools.node, APPS / "sdk" / "standin.js"], logs / f"{name}.log", env=environment) as standin:
            standin.ready(port, "/healthz")
            problems = [f"directly: {problem}" for problem in send(self.sdk, port, tools)]
            direct = seen(port, port)
            ask(port, "POST", "/control/reset")
            gate = Gate(tools, name, port, logs, text=self.text)
            try:
                problems += send(self.sdk, gate.listen, tools)
                problems += gate.flush()
                calls = seen(port, gate.listen)
            finally:
                gate.stop()
            return problems + ([] if direct else ["directly: no call came"]) + self.judge(direct, calls)


def wrapped(path, single, key, user):
    return WRAPPED.replace("{path}", path).replace("{single}", single).replace("{id}", key).replace("{user}", user)


SERVICES = [
    Service("posthog-node: nothing declared", "posthog", HEAD),
    Service("posthog-node: its batch path declared", "posthog", wrapped("/batch/", "/i/v0/e/", "uuid", "distinct_id")),
    Service("segment: nothing declared", "segment", HEAD),
    Service("segment: its batch path declared", "segment", wrapped("/v1/batch", "/v1/track", "messageId", "userId")),
    Service("mixpanel: nothing declared", "mixpanel", HEAD),
    Service("mixpanel: its path declared", "mixpanel", wrapped("/track/batch", "/track", "$insert_id", "distinct_id")),
    Service("amplitude: nothing declared", "amplitude", HEAD),
    Service("amplitude: its batch path declared", "amplitude", wrapped("/2/httpapi", "/2/event", "insert_id", "user_id")),
    Service("umami: nothing declared", "umami", HEAD),
    Service("umami: its single path declared", "umami", UMAMI, same_events),
]
