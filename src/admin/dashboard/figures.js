// What each message says, in the parts of the page that it fills.
import { fillList, fillPairs, find, make, setText } from "./dom.js";
import { age, bytes, count, micros, percent, rate, several, times } from "./format.js";

// Acknowledgements that took longer aren't told apart.
export const MOST_MICROS = 1e6;

const sum = (counts) => Object.values(counts).reduce((all, one) => all + one, 0);
const words = (name) => name.replaceAll("_", " ");

export function showHead(now) {
  const states = { up: "answers", down: "gives no answer", unknown: "not asked yet" };
  setText(find("upstream"), `${now.upstream.url} ${states[now.upstream.state]}`);
  find("upstream").className = now.upstream.state === "down" ? "hot" : "";
  setText(find("uptime"), age(Math.floor(now.uptime_ms / 1000) * 1000));
  setText(find("durability"), now.durability);
  setText(find("version"), now.version);
}

export function showFigures(now) {
  const { minute, pending, totals } = now;
  const seconds = minute.ms / 1000;
  const per = (value) => (seconds >= 1 ? rate(value / seconds) : "–");
  const looked = minute.cache.hits + minute.cache.misses;
  const failed = Object.entries(minute.failed).filter(([, times]) => times > 0);
  const figures = [
    ["Calls acknowledged", `${per(minute.acknowledged)} /s`, `${count(totals.acknowledged)} in all`],
    ["Requests sent", `${per(minute.requests)} /s`, `${count(totals.in_flight)} in flight`],
    ["Saving", times(minute.saving), "calls for each request", "lead"],
    ["Acknowledged in", micros(minute.ack_p50_us, MOST_MICROS), `99 %: ${micros(minute.ack_p99_us, MOST_MICROS)}`],
    ["Pending events", count(pending.events), `oldest ${age(pending.oldest_ms)}`],
    ["Calls forwarded", `${per(minute.forwarded)} /s`, `${count(minute.refused)} refused`],
    ["Cache hits", percent(minute.cache.hits, looked), several(looked, "look-up")],
    ["Failed attempts", count(sum(minute.failed)), failed.map(([name, times]) => `${words(name)} ${times}`).join(", ") || "tried again when they fail"],
  ];
  const create = () => make("div", {}, make("dt"), make("dd"), make("dd", { class: "note" }));
  fillList(find("figures"), figures, ([name]) => name, create, (box, [name, value, note, kind]) => {
    box.className = kind ?? "";
    [name, value, note].forEach((text, place) => setText(box.children[place], text));
  });
}

export function showGroups(groups) {
  const row = () => make("tr", {}, make("th", { scope: "row" }), ...Array.from({ length: 8 }, () => make("td")), make("td", { class: "start" }));
  fillList(find("groups"), groups, (group) => group.name, row, (line, group) => {
    const { lanes } = group;
    const numbers = [lanes.open, lanes.in_flight, lanes.credential, lanes.gate, lanes.backoff, lanes.order];
    const texts = [group.name, count(group.pending), age(group.oldest_ms), ...numbers.map(count), tellCircuit(group)];
    texts.forEach((text, place) => setText(line.children[place], text));
    line.firstElementChild.title = group.name;
    numbers.forEach((number, place) => {
      const isTrouble = place >= 2 && place <= 4 && number > 0;
      line.children[place + 3].className = isTrouble ? "hot" : number ? "" : "zero";
    });
    line.lastElementChild.className = group.circuit === "open" || group.closed_ms ? "start hot" : "start";
  });
}

function tellCircuit(group) {
  if (group.circuit === "open") return "open: one request at a time";
  if (group.closed_ms) return `rate limit: waits ${age(group.closed_ms)}`;
  return group.singles ? "closed, sends single calls" : "closed";
}

export function showStores({ ledger, journal, cache, minute, pending }) {
  const parts = ["accepted", "duplicate", "superseded", "dead", "pending"].map((name) => [words(name), count(ledger[name])]);
  fillPairs(find("ledger"), [...parts, ["received", count(ledger.received), "sum"]]);
  const looked = cache.hits + cache.misses;
  fillPairs(find("stores"), [
    ["Journal holds", `${bytes(pending.bytes)} of ${bytes(journal.max_bytes)}`],
    ["Journal writes", journal.failing ? "fail" : journal.disk_low ? "stopped, the disk is nearly full" : "well", journal.failing || journal.disk_low ? "hot" : ""],
    ["Cache holds", `${bytes(cache.bytes)}, ${count(cache.stored)} stored since the start`],
    ["Hits since the start", looked ? `${percent(cache.hits, looked)} of ${count(looked)} look-ups` : "–"],
    ["Past the cache in the last minute", count(minute.cache.bypasses)],
  ]);
}

// Sentences on what isn't as it should be, most urgent first.
export function showAlerts(now) {
  const alerts = [];
  if (now.draining) alerts.push("This process is stopping: it takes no new connections and sends what is pending.");
  if (now.upstream.state === "down") alerts.push(`The application has given no answer for ${age(now.upstream.since_ms)}; events are kept and tried again.`);
  if (now.journal.failing) alerts.push(`The journal can't be written, so that calls are forwarded: ${now.journal.failing}`);
  if (now.journal.disk_low) alerts.push("The journal's disk is nearly full, so that calls are forwarded.");
  for (const group of now.groups) {
    if (group.circuit === "open") alerts.push(`Group ${group.name}: the application fails, one request at a time is tried.`);
    if (group.lanes.credential) alerts.push(`Group ${group.name}: a credential that the application takes is missing for ${several(group.lanes.credential, "lane")}.`);
  }
  if (now.dead_letters.kept) alerts.push(`${several(now.dead_letters.kept, "dead letter")} to be replayed or dropped, below.`);
  fillList(find("alerts"), alerts, (text) => text, () => make("li"), setText);
  find("alerts").hidden = alerts.length === 0;
}
