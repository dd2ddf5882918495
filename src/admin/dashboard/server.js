// Requests to the listener that served the page, and the live stream.
//
// The stream is read by fetch, not by EventSource, so that it can carry a token:
//
//   connecting -> live           a message came
//   live -> lost                 it ended, failed, or was silent for SILENCE
//   connecting -> lost           no answer, or another than 200
//   lost -> connecting           after a pause: 1 s, doubling to 10 s; at once when the page is shown again
//   any -> hidden -> connecting  a hidden page gives its place up
import { find } from "./dom.js";

const KEY = "tidegate-token";
const SILENCE = 5000;
const PAUSES = [1000, 2000, 4000, 10000];

// Tells what was found in place of a 2xx.
export class Refusal extends Error {}

export async function ask(method, path, body) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { "Content-Type": "application/json" }) };
  const response = await fetch(path, { method, headers, cache: "no-store", body: body && JSON.stringify(body) });
  if (response.status === 401 && (await askToken())) return ask(method, path, body);
  if (!response.ok) throw new Refusal(await tell(response));
  return response.json();
}

async function tell(response) {
  const text = (await response.text()).trim().slice(0, 300);
  return text || `The listener answered ${response.status}.`;
}

let asking = null;

// Waits for the token; one question at a time. `false`: none was given.
function askToken() {
  asking ??= new Promise((answered) => {
    const [dialog, field] = [find("token"), find("token-value")];
    let isGiven = false;
    const use = () => {
      if (!field.value) return;
      isGiven = true;
      sessionStorage.setItem(KEY, field.value);
      field.value = "";
      dialog.close();
    };
    find("token-yes").onclick = use;
    field.onkeydown = (event) => event.key === "Enter" && use();
    dialog.onclose = () => {
      asking = null;
      answered(isGiven);
    };
    dialog.showModal();
  });
  return asking;
}

// Follows the stream for as long as the page is there. `onMessage(kind, value)`, `onState(name, sentence)`.
export function follow(onMessage, onState) {
  let abort = null;
  let failures = 0;
  let timer = 0;

  async function connect() {
    clearTimeout(timer);
    const mine = new AbortController();
    abort = mine;
    let why = "The connection ended.";
    try {
      await read(mine, (kind, value) => {
        failures = 0;
        onState("live", "Live");
        onMessage(kind, value);
      });
    } catch (error) {
      why = error instanceof Refusal ? error.message : "The listener can't be reached.";
    }
    if (abort !== mine) return;
    abort = null;
    const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
    failures += 1;
    onState("lost", why);
    timer = setTimeout(connect, pause);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    const before = abort;
    abort = null;
    before?.abort();
    if (!document.hidden) connect();
  });
  if (!document.hidden) connect();
}

async function read(abort, onMessage) {
  let watchdog = 0;
  const wait = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => abort.abort(), SILENCE);
  };
  try {
    wait();
    const token = sessionStorage.getItem(KEY);
    const headers = { Accept: "text/event-stream", ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch("/live", { headers, cache: "no-store", signal: abort.signal });
    if (response.status === 401) {
      clearTimeout(watchdog);
      await askToken();
    }
    if (!response.ok) throw new Refusal(await tell(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      wait();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      blocks.forEach((block) => onBlock(block, onMessage));
    }
  } finally {
    clearTimeout(watchdog);
  }
}

// One server-sent event; the server writes each of its fields on one line.
function onBlock(block, onMessage) {
  const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/s)));
  const data = fields.get("data");
  if (data) onMessage(fields.get("event") ?? "message", JSON.parse(data));
}
