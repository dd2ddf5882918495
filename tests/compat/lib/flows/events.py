"""Event calls as browsers make them: many users, two hosts, analytics cookies, reads after writes, changes of a row."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from arrangement import MAIN, TENANT
from flows.flow import FRAMEWORKS, Flow

USERS, CALLS = 20, 50
# Each user has a lane at either host. A window is sealed when it holds `flush_at` events, 10 by default; its timer takes no
# part, so that a slow machine makes no more calls. No batch holds more than a window, so that a fast one makes no fewer:
# else what comes while a batch is on its way may share one, and two runs can't be compared.
LANES, FULL, EXACT = 2 * USERS, 10, {"window": "60s", "batch": "max_events = 10"}
FULL_WINDOWS = LANES * -(-CALLS // 2 // FULL)
# By how many calls the run with the analytics cookie may differ from that without it, beside what renewals cost: an attempt
# that a busy machine makes twice.
TOLERANCE = 2


def who(row):
    return (row["user"], row["fields"].get("tenant"))


def play_thousand(side, analytics):
    """1,000 calls of 20 users; each user has a browser at either host and goes back and forth."""

    # JavaScript's own numbers end at 2^53: only Python's applications can tell whether a larger one came through.
    big = 2**53 + 1 if side.app.name.startswith(("django", "fastapi")) else 7

    def one(user):
        browsers = {host: side.browser(user, host) for host in (MAIN, TENANT)}
        wrong = []
        for number in range(CALLS):
            host = (MAIN, TENANT)[number % 2]
            browser = browsers[host]
            if analytics:
                # What analytics scripts do: the last hit's time is in the value, so each call has another one.
                now = time.time_ns()
                browser.jar.update({"_ga": f"GA1.1.{user[1:]}.1700000000", "_ga_ABC": f"GS1.1.{now}.{number}.1.{now // 1000}.0.0.0"})
            event = {
                "id": f"{user}-{number:03}", "user_id": user, "percent": number, "tenant": host, "seq": number, "note": f"ü {number}",
                "deep": {"list": [1, None, 2.5, "x"], "flag": number % 3 == 0}, "null": None, "big": big,
            }
            answer = side.write(browser, "/api/progress", event, headers=[("X-App-Version", "3.1")], keep=False)
            if answer.status != 200 or answer.body.replace(b" ", b"") not in (b'{"ok":true}', b'{"ok":true}\n'):
                wrong.append(f"{event['id']}: {answer.status} {answer.body[:100]!r}")
            elif side.through and not answer.acknowledged:
                forwarded.append(answer.forwarded)
        return wrong

    forwarded = []

    with ThreadPoolExecutor(USERS) as pool:
        wrong = [problem for found in pool.map(one, [f"u{number}" for number in range(USERS)]) for problem in found]
    side.check(not wrong, f"{len(wrong)} of {USERS * CALLS} calls: {wrong[:3]}")
    # At most one of each browser, so that its session lives.
    allowed = forwarded.count("session_renewal") <= LANES if side.app.renews else not forwarded
    side.check(allowed and {*forwarded} <= {"session_renewal"}, f"forwarded: {Counter(forwarded)}")
    if side.through:
        renewals[side.app.name, analytics] = len(forwarded)


def judge_thousand(direct, through):
    found = []
    for name, store in (("directly", direct), ("through", through)):
        for row in store["rows"]:
            if row["context"]["host"] != row["fields"].get("tenant"):
                found.append(f"{name}: {row['id']} was made at {row['fields'].get('tenant')} and arrived at {row['context']['host']}")
    hosts = {}
    for row in through["rows"]:
        if row["batch"] is not None:
            hosts.setdefault(row["batch"], set()).add(row["fields"].get("tenant"))
    mixed = [batch for batch, names in hosts.items() if len(names) > 1]
    if mixed:
        found.append(f"{len(mixed)} of {len(hosts)} batches hold events of two hosts")
    for key in {who(row) for row in through["rows"]}:
        numbers = [row["fields"].get("seq", -1) for row in through["rows"] if who(row) == key]
        if numbers != sorted(numbers):
            found.append(f"order of {key}: {numbers}")
    return found[:6]


# What the thousand left behind, by application and whether the analytics cookie was there.
runs, renewals = {}, {}


class Run:
    """What the application got: calls, how many of them for the sake of a session, and each lane's events in order."""

    def __init__(self, store):
        self.lanes = {}
        for row in store["rows"]:
            self.lanes.setdefault(who(row), []).append(row)
        self.cost = store["batches"] + sum(row["batch"] is None for row in store["rows"])
        self.renewing = sum(map(extra, self.lanes.values()))
        self.kept = {lane: [(row["id"], row["fields"]) for row in rows] for lane, rows in self.lanes.items()}

    @property
    def compared(self):
        return self.cost - self.renewing


def extra(rows):
    """Calls of a lane beyond full windows, because of events that went alone: each costs its call and cuts a window in two."""
    stretches, singles = [0], 0
    for row in rows:
        if row["batch"] is None:
            singles += 1
            stretches.append(0)
        else:
            stretches[-1] += 1
    return singles + sum(-(-length // FULL) for length in stretches) - -(-len(rows) // FULL)


def judge_cost(app, analytics):
    """The thousand cost what full windows make, and the same with the cookie as without it: calls, order and what was kept."""

    def judge(direct, through):
        run = runs[app, analytics] = Run(through)
        found = judge_thousand(direct, through)
        if run.compared > FULL_WINDOWS + TOLERANCE:
            found.append(f"{run.cost} calls for {USERS * CALLS} events; full windows need {FULL_WINDOWS}, renewals {run.renewing}")
        without = runs.get((app, False)) if analytics else None
        return found + (differences(without, run) if without else [])

    return judge


def differences(without, run):
    found = []
    if abs(run.compared - without.compared) > TOLERANCE:
        found.append(f"{run.compared} calls with the analytics cookie, {without.compared} without it, renewals left out")
    lanes = sorted({*run.kept, *without.kept}, key=str)
    other = [lane for lane in lanes if run.kept.get(lane) != without.kept.get(lane)]
    if other:
        found.append(f"what was kept, or its order, differs with the analytics cookie: {other[:6]}")
    return found


def note_cost(app, analytics):
    def note():
        run, without = runs.get((app, analytics)), runs.get((app, False))
        if run is None:
            return ""
        told = f"{USERS * CALLS} calls as {run.cost}, {USERS * CALLS / run.cost:.1f} times fewer"
        if renewals[app, analytics]:
            told += f"; {run.renewing} of them by {renewals[app, analytics]} renewals of a session"
        if analytics and without:
            told += f"; {run.compared} against {without.compared} without the cookie" + (", renewals left out" if run.renewing else "")
        return told

    return note


def thousand(analytics):
    return lambda side: play_thousand(side, analytics)


def insert_then_change(side):
    """One path, several methods: what the client did last must be what is there."""
    browser = side.browser("u1")
    for number in range(6):
        key = f"row-{number}"
        side.acknowledged(side.write(browser, "/api/progress", {"id": key, "user_id": "u1", "percent": 10 * number, "extra": "kept"}), key)
        if number in (1, 4):
            side.write(browser, "/api/progress", {"id": key, "user_id": "u1", "percent": 99}, "PATCH")
        if number in (2, 4):
            headers = [line for line in side.app.write_headers(browser) if line[0] != "Content-Type"]
            side.call(browser, "DELETE", f"/api/progress?user_id=u1&id={key}", headers)
        if number in (0, 3, 4, 5):
            side.call(browser, "GET", "/api/progress?user_id=u1", label=f"the list after {key}")
    side.call(browser, "GET", "/api/progress", label="the list of the session's user")
    side.call(browser, "HEAD", "/api/progress", label="HEAD of the list")


def reads_after_writes(side):
    """A browser on the same origin sends Origin with its POSTs and not with its GETs."""
    for host in (MAIN, TENANT):
        browser = side.browser("u1", host)
        page = f"{'https' if side.app.front else 'http'}://{host}"
        gets = [("Referer", f"{page}/lesson"), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")]
        posts = [("Origin", page), *gets]
        for number in range(15):
            event = {"id": f"{host}-{number}", "user_id": "u1", "percent": number, "tenant": host}
            answer = side.write(browser, "/api/progress", event, headers=posts)
            side.acknowledged(answer, event["id"])
            if number % 3 != 1:
                read = side.call(browser, "GET", "/api/progress/summary?user_id=u1", gets, label=f"summary after {event['id']}")
                state = read.header("cache-status") or ""
                side.check("barrier-timeout" not in state, f"the read after {event['id']} waited in vain: {state}")
            if number % 5 == 4:
                side.call(browser, "GET", "/api/progress/summary?user_id=u1", gets, label=f"summary again after {event['id']}")


def repeated_ids(side):
    """A client repeats what it isn't sure of. The application takes the first one of an id."""
    browser = side.browser("u1")
    for key in ("a", "b"):
        for attempt in range(3):
            side.write(browser, "/api/progress", {"id": key, "user_id": "u1", "percent": 5, "attempt": 0})
    for percent in (10, 55, 90):
        side.write(browser, "/api/progress", {"id": "lesson-5", "user_id": "u1", "percent": percent})
    side.call(browser, "GET", "/api/progress?user_id=u1")


def client_batches(side):
    """A client that gathers by itself and posts to the batch path."""
    browser = side.browser("u1")
    events = [{"clientEventId": f"cb-{number}", "userId": "u1", "percent": number, "more": [number]} for number in range(5)]
    for gathered in (events[:3], events):
        side.write(browser, "/api/progress/batch", {"events": gathered})
        side.answered_here()
    side.write(browser, "/api/progress/batch", {"events": []})
    side.write(browser, "/api/progress", {"id": "single", "user_id": "u1", "percent": 50})
    many = [{"clientEventId": f"many-{number}", "userId": "u1", "percent": number} for number in range(60)]
    side.write(browser, "/api/progress/batch", {"events": many})
    side.write(browser, "/api/progress/batch", {"events": [{"clientEventId": 17, "userId": "u1", "percent": 1}]})
    side.write(browser, "/api/progress/batch", {"api_key": "k", "events": [{"clientEventId": "keyed", "userId": "u1", "percent": 2}]})
    foreign = [{"clientEventId": "mine", "userId": "u1", "percent": 3}, {"clientEventId": "theirs", "userId": "u2", "percent": 4}]
    side.write(browser, "/api/progress/batch", {"events": foreign})
    side.call(browser, "GET", "/api/progress?user_id=u1")


def changing_headers(side):
    """Headers of the application's own, the agent and the language change between two calls: each event keeps its own."""
    browser = side.browser("u1")
    for number in range(12):
        headers = [("X-App-Version", f"3.{number // 4}"), ("Accept-Language", "de" if number < 6 else "fr")]
        event = {"id": f"h-{number}", "user_id": "u1", "percent": number, "version": f"3.{number // 4}"}
        side.acknowledged(side.write(browser, "/api/progress", event, headers=headers), event["id"])


def versions(direct, through):
    wrong = [row["id"] for row in through["rows"] if row["context"]["version"] != row["fields"].get("version")]
    return [f"X-App-Version isn't the call's own: {wrong}"] if wrong else []


BROWSERS = (*FRAMEWORKS, "django-https", "nginx-upstream", "nginx-front")
FLOWS = [
    *(
        Flow(f"1,000 calls {'with' if cookie else 'without'} an analytics cookie", thousand(cookie), (app,), order=who,
             config=EXACT, judge=judge_cost(app, cookie), note=note_cost(app, cookie))
        for cookie in (False, True) for app in BROWSERS
    ),
    Flow("insert, then PATCH, DELETE and GET on one path", insert_then_change, BROWSERS, order=who),
    Flow("reads after writes of a browser", reads_after_writes, BROWSERS, order=who, config={"window": "20s"}),
    Flow("repeated ids", repeated_ids, FRAMEWORKS),
    Flow("batches of clients", client_batches, FRAMEWORKS),
    Flow("headers that change between calls", changing_headers, FRAMEWORKS, judge=versions),
]
