"""What an application of the suite remembers: the events it took, the calls it saw, and how each event reached it."""

import hashlib
import json
import threading

# Names of an event's identity, as the single call and as the batch have them.
SINGLE, BATCHED = ("id", "user_id"), ("clientEventId", "userId")


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.gates = {}
        self.reset()

    def reset(self):
        with self.lock:
            self.rows, self.calls, self.deleted, self.batches, self.docs = {}, [], [], 0, {}

    def saw(self, method, target, headers, body):
        """Notes a call as it came. `headers` are pairs of a name and a value."""
        kept = sorted([name.lower(), value] for name, value in headers)
        digest = hashlib.sha256(body).hexdigest() if body is not None else None
        with self.lock:
            self.calls.append({"method": method, "target": target, "headers": kept, "body": digest})

    def add(self, event, names, context, batch=None):
        """Keeps an event unless its id is known. Returns whether it was new."""
        event = dict(event)
        key, user = str(event.get(names[0])), str(event.get(names[1]))
        for name in {*SINGLE, *BATCHED}:
            event.pop(name, None)
        with self.lock:
            if key in self.rows:
                return False
            self.rows[key] = {"id": key, "user": user, "fields": event, "context": context, "batch": batch}
            return True

    def next_batch(self):
        with self.lock:
            self.batches += 1
            return self.batches

    def update(self, key, fields):
        with self.lock:
            row = self.rows.get(key)
            if row is None:
                return False
            row["fields"] = {**row["fields"], **fields}
            return True

    def delete(self, key):
        with self.lock:
            self.deleted.append(key)
            return self.rows.pop(key, None) is not None

    def of(self, user):
        with self.lock:
            return [{"id": row["id"], "percent": row["fields"].get("percent")} for row in self.rows.values() if row["user"] == user]

    def dump(self):
        with self.lock:
            rows = list(self.rows.values())
            store = {"rows": rows, "calls": self.calls, "deleted": self.deleted, "batches": self.batches, "docs": self.docs}
            return json.dumps(store)

    def gate(self, name):
        """A stream waits here until the suite has read its beginning."""
        with self.lock:
            return self.gates.setdefault(name, threading.Event())

    def open_gate(self, name):
        self.gate(name).set()
