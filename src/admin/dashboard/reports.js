// The short forms of the reports of `/observe` and `/parity`, read every half minute.
import { fillPairs, find } from "./dom.js";
import { age, count, percent, times } from "./format.js";
import { ask } from "./server.js";

const PAUSE = 30000;
const VERDICTS = { go: "go", no_go: "no go", not_yet: "not yet" };

export function followReports() {
  const look = async () => {
    if (!document.hidden) await Promise.all([show("observe", tellObserve), show("parity", tellParity)]);
    setTimeout(look, PAUSE);
  };
  look();
}

async function show(name, tell) {
  try {
    const pairs = tell(await ask("GET", `/${name}`));
    fillPairs(find(name), pairs.length ? pairs : [[`No call of a route in mode ${name === "observe" ? "observe" : "shadow"} came yet.`, ""]]);
  } catch (error) {
    fillPairs(find(name), [["The report can't be read", error.message]]);
  }
}

const savingOf = ({ sent, superseded, batches }) => (batches ? (sent + superseded) / batches : 1);

function tellObserve({ groups }) {
  return groups.map((group) => {
    const { arrangement } = group.advice;
    const now = group.arrangements.find((one) => one.configured);
    if (arrangement) {
      const pack = arrangement.pack === "shared" ? ", shared packing" : "";
      return [group.group, `${times(savingOf(arrangement))} with windows of ${age(arrangement.window_ms)}${pack}`];
    }
    const why = group.advice.why[0] ?? "";
    return [group.group, now?.batches ? `${times(savingOf(now))} as it is configured; ${why}` : why];
  });
}

function tellParity({ routes }) {
  return routes.map(({ route, verdict, compared, agreements }) => {
    const agreed = compared ? `, ${percent(agreements, compared)} of ${count(compared)} events agree` : "";
    const kind = verdict.decision === "no_go" ? "hot" : "";
    return [route, `${VERDICTS[verdict.decision]}${agreed}`, kind];
  });
}
