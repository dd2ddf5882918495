// The Express application: body-parser's limits, a session in a cookie that every answer renews, a trusted front proxy.
"use strict";

const crypto = require("node:crypto");
const express = require("express");
const session = require("cookie-session");
const multer = require("multer");
const { progressBatch } = require("../../../../examples/express/batch.js");

let rows, calls, deleted, batches, docs;
const gates = new Map();
const reset = () => ((rows = new Map()), (calls = []), (deleted = []), (batches = 0), (docs = {}));
reset();

const gate = (name) => {
  if (!gates.has(name)) {
    const one = {};
    one.opened = new Promise((resolve) => (one.open = resolve));
    gates.set(name, one);
  }
  return gates.get(name);
};
const sha = (data) => crypto.createHash("sha256").update(data).digest("hex");

const app = express();
app.set("trust proxy", "loopback");

app.get("/healthz", (request, response) => response.type("text").send("landed"));
app.post("/control/reset", (request, response) => (reset(), response.send("ok")));
app.post("/control/release", (request, response) => (gate(request.query.gate).open(), response.send("ok")));
app.get("/control/store", (request, response) => response.json({ rows: [...rows.values()], calls, deleted, batches, docs }));

// Calls are noted with their heads when they come, and with their bodies when a parser has read them.
app.use((request, response, next) => {
  const headers = [];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    headers.push([request.rawHeaders[index].toLowerCase(), request.rawHeaders[index + 1]]);
  }
  headers.sort((one, other) => (one.join() < other.join() ? -1 : 1));
  request.note = { method: request.method, target: request.originalUrl, headers, body: null };
  calls.push(request.note);
  next();
});
const verify = (request, response, body) => (request.note.body = sha(body));

// The session renews itself: each answer sets its cookie anew, because the value changes.
app.use(session({ name: "session", keys: ["only for the compatibility suite"], maxAge: 3_600_000 }));
let renewals = 0;
app.use((request, response, next) => {
  if (request.session.user) request.session.renewed = ++renewals;
  next();
});

const context = (request) => ({
  host: request.get("host"),
  scheme: request.protocol,
  client: request.ip.replace("::ffff:", ""),
  agent: request.get("user-agent") ?? null,
  language: request.get("accept-language") ?? null,
  version: request.get("x-app-version") ?? null,
  type: request.get("content-type") ?? null,
  session: request.session.user,
  origin: request.get("origin") ?? null,
});
const identity = ["id", "user_id", "clientEventId", "userId"];
const add = (event, names, where, batch) => {
  const key = String(event[names[0]]);
  if (rows.has(key)) return false;
  const fields = Object.fromEntries(Object.entries(event).filter(([name]) => !identity.includes(name)));
  rows.set(key, { id: key, user: String(event[names[1]]), fields, context: where, batch });
  return true;
};
const of = (user) => [...rows.values()].filter((row) => row.user === user).map((row) => ({ id: row.id, percent: row.fields.percent ?? null }));
const json = express.json({ verify });
const signedIn = (request, response, next) => (request.session.user ? next() : response.status(401).json({ error: "sign in" }));

app.post("/login", json, (request, response) => {
  request.session.user = request.body.user;
  response.json({ ok: true });
});

app.post("/api/progress", signedIn, json, (request, response) => {
  const event = request.body;
  if (event === null || typeof event !== "object" || Array.isArray(event) || !("id" in event) || !("user_id" in event)) {
    return response.status(422).json({ error: "id and user_id are needed" });
  }
  if (event.user_id !== request.session.user) return response.status(403).json({ error: "not your event" });
  add(event, ["id", "user_id"], context(request), null);
  response.json({ ok: true });
});
app.get("/api/progress", signedIn, (request, response) => response.json({ items: of(request.query.user_id ?? request.session.user) }));
app.patch("/api/progress", signedIn, json, (request, response) => {
  const row = rows.get(request.body.id);
  if (row) row.fields.percent = request.body.percent;
  response.json({ ok: true, found: row !== undefined });
});
app.delete("/api/progress", signedIn, (request, response) => {
  deleted.push(request.query.id);
  response.status(rows.delete(request.query.id) ? 204 : 404).end();
});
const save = (event, request) => {
  request.batch ??= ++batches;
  return add(event, ["clientEventId", "userId"], context(request), request.batch);
};
app.post("/api/progress/batch", signedIn, json, progressBatch(save));
app.get("/api/progress/summary", (request, response) => {
  const mine = of(request.query.user_id ?? "");
  response.json({ user: request.query.user_id ?? "", count: mine.length, percent: mine.at(-1)?.percent ?? null });
});

app
  .route("/api/items/:number")
  .put(json, (request, response) => {
    docs[request.params.number] = request.body;
    response.status(201).json({ id: Number(request.params.number) });
  })
  .get((request, response) => {
    const item = docs[request.params.number];
    if (item === undefined) return response.status(404).json({ error: "no such item" });
    response.json({ id: Number(request.params.number), item });
  })
  .delete((request, response) => {
    const found = request.params.number in docs;
    delete docs[request.params.number];
    response.status(found ? 204 : 404).end();
  });

app.post("/api/upload", multer().single("file"), (request, response) => {
  const { originalname, size, buffer } = request.file;
  response.json({ name: originalname, size, sha256: sha(buffer), note: request.body.note });
});
app.put("/api/blob", express.raw({ type: () => true, limit: "8mb", verify }), (request, response) => {
  response.json({ size: request.body.length, sha256: sha(request.body) });
});
app.get("/api/stream", async (request, response) => {
  response.set({ "content-type": "text/event-stream", "cache-control": "no-cache", "x-accel-buffering": "no" });
  response.write("data: first\n\n");
  await gate(request.query.gate).opened;
  for (let number = 0; number < 5; number++) response.write(`data: ${number}\n\n`);
  response.end();
});
app.get("/here", (request, response) => {
  response.redirect(`${request.protocol}://${request.get("host")}/landed${request.originalUrl.slice("/here".length)}`);
});
app.get("/landed", (request, response) => response.type("text").send("landed"));
app.get("/cookies", (request, response) => {
  response.cookie("colour", "deep blue", { sameSite: "lax" });
  response.cookie("size", "9", { httpOnly: true, path: "/cookies" });
  response.json({ cookies: request.get("cookie") ?? null });
});
app.get("/doc", (request, response) => {
  response.set("last-modified", "Mon, 05 Jan 2026 10:00:00 GMT").type("text").send("a document\n".repeat(200));
});
app.post("/form", express.urlencoded({ extended: false, verify }), (request, response) => response.json(request.body));
app.post("/text", express.text({ type: () => true, verify }), (request, response) => {
  response.type(request.get("content-type") ?? "none").send(Buffer.from(request.body, "utf8").reverse());
});

app.listen(Number(process.env.PORT), "127.0.0.1");
