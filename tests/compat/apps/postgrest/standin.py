"""A stand-in for PostgREST with one table, written from its documentation: bulk insert, on_conflict, preferences, row level
security by the token's claim `sub`, and the error codes."""

import base64
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, urlsplit

TABLE, KEY = "/rest/v1/progress_events", "client_event_id"
lock, rows, calls = Lock(), {}, []


def claims(line):
    try:
        payload = line.removeprefix("Bearer ").split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None


def insert(body, user, query, prefer):
    """The status and the answer of an insert."""
    try:
        value = json.loads(body)
    except ValueError:
        return 400, {"code": "PGRST102", "message": "Empty or invalid json"}
    new = value if isinstance(value, list) else [value]
    if any(row.keys() != new[0].keys() for row in new):
        return 400, {"code": "PGRST102", "message": "All object keys must match"}
    new = [{"user_id": user, **row} for row in new]
    if any(row["user_id"] != user for row in new):
        return 403, {"code": "42501", "message": "new row violates row-level security policy"}
    known = [row for row in new if row[KEY] in rows]
    if known and not ("resolution=ignore-duplicates" in prefer and query.get("on_conflict") == [KEY]):
        return 409, {"code": "23505", "message": "duplicate key value violates unique constraint"}
    made = []
    for row in new:
        if row[KEY] not in rows:
            rows[row[KEY]] = row
            made.append(row)
    return 201, made if "return=representation" in prefer else None


class Table(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, {})
        with lock:
            self.answer(200, {"rows": list(rows.values()), "calls": calls})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        target = urlsplit(self.path)
        if target.path == "/control/reset":
            with lock:
                rows.clear()
                calls.clear()
            return self.answer(200, {})
        if target.path != TABLE:
            return self.answer(404, {"code": "PGRST205", "message": "Could not find the table"})
        if self.headers.get("apikey") != "anon":
            return self.answer(401, {"message": "No API key found in request"})
        token = claims(self.headers.get("authorization", ""))
        if token is None:
            return self.answer(401, {"code": "PGRST301", "message": "JWT could not be decoded"})
        prefer = [one.strip() for line in self.headers.get_all("prefer", []) for one in line.split(",")]
        with lock:
            calls.append(len(body))
            status, value = insert(body, token["sub"], parse_qs(target.query), prefer)
        self.answer(status, value)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Table).serve_forever()
    sys.exit(0)
