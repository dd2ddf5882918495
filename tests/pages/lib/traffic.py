"""Calls of some hundred users: mostly progress, some bookmarks and answers, and now and then one that no batch takes."""

import heapq
import http.client
import json
import random
import threading
import time
from collections import Counter

from process import HOST

USERS = 240
THREADS = 12
# How long a user is quiet between two calls, on average.
PAUSE_SECONDS = 3.0
ROUTES = {"/api/progress": 6, "/api/pings": 2, "/api/bookmarks": 2, "/api/answers": 3}


def make_call(chance, user, path, number):
    """Target, headers and body. One call in 25 is such that it would be forwarded."""
    event = {"clientEventId": f"e{number}-{user}", "userId": f"u{user}", "number": number, "lessonId": f"l{user % 7}"}
    if path == "/api/answers" and number % 31 == 30:
        event["durationMs"] = 1_200  # no mapping names it
    headers = {"Authorization": f"Bearer token-{user}", "Content-Type": "application/json"}
    if user % 20 == 0:
        headers["Cookie"] = f"_ab_variant={chance.randrange(3)}"
    flaw = chance.randrange(150)
    if flaw == 0:
        return f"{path}?debug=1", headers, json.dumps(event)
    if flaw in (1, 2):
        return path, headers, json.dumps(event)[:-1]
    if flaw == 3:
        del event["userId"]
    if flaw in (4, 5):
        headers["If-Match"] = '"1"'
    return path, headers, json.dumps(event)


class Traffic:
    """Plays calls for so many seconds, and counts those that were answered, by path."""

    def __init__(self, port, seconds):
        self.port, self.seconds = port, seconds
        self.sent = Counter()
        self.problems = []
        self.lock = threading.Lock()

    def play(self):
        """Returns when every call has its answer."""
        threads = [threading.Thread(target=self.play_share, args=(share,), daemon=True) for share in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def play_share(self, share):
        chance = random.Random(share)
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        began = time.monotonic()
        due = [(chance.random() * PAUSE_SECONDS, user) for user in range(share, USERS, THREADS)]
        heapq.heapify(due)
        number = 0
        while due[0][0] < self.seconds:
            at, user = due[0]
            time.sleep(max(0.0, began + at - time.monotonic()))  # the users' own pace
            path = chance.choices(list(ROUTES), ROUTES.values())[0]
            target, headers, body = make_call(chance, user, path, number)
            number += 1
            is_repeated = path == "/api/progress" and chance.randrange(50) == 0
            try:
                for _ in range(2 if is_repeated else 1):
                    connection.request("POST", target, body, headers)
                    connection.getresponse().read()
                    with self.lock:
                        self.sent[path] += 1
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with self.lock:
                    self.problems.append(f"POST {target} had no answer: {error!r}")
            heapq.heapreplace(due, (at + chance.expovariate(1 / PAUSE_SECONDS), user))
        connection.close()
