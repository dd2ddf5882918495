// The live dashboard: follows the stream and hands each message to the parts of the page.
import { Letters, showRoutes } from "./controls.js";
import { find, setText } from "./dom.js";
import { MOST_MICROS, showAlerts, showFigures, showGroups, showHead, showStores } from "./figures.js";
import { micros, rate } from "./format.js";
import { Plot } from "./plot.js";
import { followReports } from "./reports.js";
import { follow } from "./server.js";

const perSecond = (name) => (sample) => (sample[name] * 1000) / sample.ms;
const plots = [
  new Plot("Calls in, requests out", "per second", [
    { name: "acknowledged", valueOf: perSecond("acknowledged") },
    { name: "requests sent", valueOf: perSecond("requests") },
    { name: "forwarded", valueOf: perSecond("forwarded") },
  ], rate),
  new Plot("Time to acknowledge", "over 5 s", [
    { name: "50 %", valueOf: (sample) => sample.ack_p50_us },
    { name: "99 %", valueOf: (sample) => sample.ack_p99_us },
  ], (value) => micros(value, MOST_MICROS)),
];
const letters = new Letters();
let history = { most: 0, samples: [] };

function showPlots() {
  const span = Number(document.querySelector("input[name=span]:checked").value);
  plots.forEach((plot) => plot.show(history.samples, span));
}

function onMessage(kind, message) {
  if (kind === "history") {
    // What this page saw of an earlier process stays.
    const first = message.samples[0]?.at ?? Infinity;
    const before = history.samples.filter((sample) => sample.at < first);
    history = { most: message.most, samples: [...before, ...message.samples].slice(-message.most) };
    return showPlots();
  }
  if (kind !== "now") return;
  const { sample } = message;
  // The wall clock may go back.
  if (sample && sample.at !== history.samples.at(-1)?.at) {
    history.samples.push(sample);
    history.samples.splice(0, history.samples.length - history.most);
    showPlots();
  }
  showHead(message);
  showAlerts(message);
  showFigures(message);
  showGroups(message.groups);
  showStores(message);
  showRoutes(message.routes);
  letters.show(message.dead_letters);
  setText(find("link"), message.draining ? "Stopping" : "Live");
}

function onState(state, sentence) {
  const link = find("link");
  link.className = state === "live" ? "state" : "state bad";
  if (state === "lost") setText(link, "Not connected");
  const lost = find("lost");
  lost.hidden = state === "live";
  if (state === "lost") setText(lost, `${sentence} What is shown is as it was then. The page tries again by itself.`);
}

find("plots").append(...plots.map((plot) => plot.figure));
document.querySelectorAll("input[name=span]").forEach((input) => input.addEventListener("change", showPlots));
follow(onMessage, onState);
followReports();
