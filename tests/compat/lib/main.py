"""Plays every flow at every application directly and through Tidegate and prints one line for each."""

import argparse
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import compare
import flows
import install
from arrangement import ALL, Gate
from side import Side
from process import StartError


def arguments():
    parser = argparse.ArgumentParser(prog="tests/compat/run", description=__doc__)
    parser.add_argument("--binary", help="a tidegate binary; without it target/release/tidegate is built")
    parser.add_argument("--scratch", type=Path, default=install.ROOT / "target" / "compat", help="where packages and logs lie")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="plays only flows whose line holds this word")
    parser.add_argument("--list", action="store_true", help="prints the flows and ends")
    return parser.parse_args()


class Report:
    """One line for each flow, and the sum at the end."""

    def __init__(self):
        self.passed = self.failed = 0

    def line(self, name, problems, seconds, note=""):
        if problems:
            self.failed += 1
        else:
            self.passed += 1
        print(f"{'FAIL' if problems else 'ok  '} {name} ({seconds:.1f} s){note and f': {note}'}", flush=True)
        for problem in problems[:12]:
            print(f"       {problem[:420]}", flush=True)
        if len(problems) > 12:
            print(f"       and {len(problems) - 12} more", flush=True)


def play(flow, app, running, tools, logs):
    """Plays one flow on both sides. Returns what differs and isn't allowed."""
    direct = Side(app, running.port, running.store)
    direct.control("reset")
    flow.play(direct)
    before = direct.store()

    name = f"{app.name}-{flow.name}".replace(" ", "-")
    upstream, listen = (running.store, running.behind) if running.front else (running.port, None)
    gate = Gate(tools, name, upstream, logs, app, listen=listen, **flow.config)
    try:
        through = Side(app, running.front or gate.listen, running.store, gate)
        through.control("reset")
        flow.play(through)
        problems = gate.flush(flow.most_dead)
        after = {**through.store(), "dead": gate.dead_letters()}
    finally:
        gate.stop()

    problems += [f"directly: {problem}" for problem in direct.problems] + through.problems
    if len(direct.answers) != len(through.answers):
        problems.append(f"answers: directly {len(direct.answers)}, through {len(through.answers)}")
    for place, ((label, one), (_, other)) in enumerate(zip(direct.answers, through.answers)):
        if place in through.either and other.acknowledged:
            after.setdefault("acknowledged", []).append(label)
            continue
        why = f" (forwarded: {other.forwarded})" if other.forwarded else ""
        problems += [f"{label}{why}: {difference}" for difference in compare.answers(one, other, place in through.own)]
    for (label, one), (_, other) in zip(direct.values, through.values):
        if one != other:
            problems.append(f"{label}: directly {one!r}, through {other!r}")
    kept = [{**store, "rows": [row for row in store["rows"] if not flow.set_apart(row)]} for store in (before, after)]
    problems += compare.stores(*kept, flow.order)
    if flow.calls:
        problems += compare.calls(before["calls"], after["calls"])
    return problems + (flow.judge(before, after) if flow.judge else [])


def guarded(action, *parameters):
    """An exception is a flow that failed, not the end of the suite."""
    try:
        return action(*parameters)
    except Exception as error:  # noqa: BLE001
        where = traceback.extract_tb(error.__traceback__)[-1]
        return [f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"]


def play_all(app, chosen, tools, logs, report):
    try:
        running = app.start(tools, logs)
    except (StartError, OSError) as error:
        for flow in chosen:
            report.line(f"{app.name}: {flow.name}", [f"the application didn't start: {error}"], 0)
        return
    try:
        for flow in chosen:
            began = time.monotonic()
            problems = guarded(play, flow, app, running, tools, logs)
            report.line(f"{app.name}: {flow.name}", problems, time.monotonic() - began, flow.note())
    finally:
        for process in running.processes:
            process.stop()


def main():
    options = arguments()
    plan = [(app, [flow for flow in flows.of(app) if fits(options.only, f"{app.name}: {flow.name}")]) for app in ALL]
    services = [flow for flow in flows.SERVICES if fits(options.only, flow.title)]
    if options.list:
        for app, chosen in plan:
            print(*(f"{app.name}: {flow.name}" for flow in chosen), sep="\n")
        print(*(flow.title for flow in services), sep="\n")
        return 0
    began = time.monotonic()
    try:
        tools = install.everything(options.scratch.resolve(), options.binary)
    except install.InstallError as error:
        print(f"FAIL install: {error}")
        print("0 passed, 1 failed")
        return 1
    installed = time.monotonic()
    logs = tools.scratch / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    report = Report()
    for app, chosen in plan:
        if chosen:
            play_all(app, chosen, tools, logs, report)
    for flow in services:
        start = time.monotonic()
        report.line(flow.title, guarded(flow.play, tools, logs), time.monotonic() - start)
    print(f"     installs {installed - began:.1f} s, flows {time.monotonic() - installed:.1f} s; logs in {logs}")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


def fits(words, name):
    return not words or any(word in name for word in words)


if __name__ == "__main__":
    # Asked to end, it ends its processes first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    sys.exit(main())
