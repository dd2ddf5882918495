// What an operator changes: modes of routes, dead letters. Each change is asked about first.
import { fillList, find, make, setText } from "./dom.js";
import { age, clock, count } from "./format.js";
import { ask } from "./server.js";

// Letters that the page shows at most, the newest ones.
const MOST_LETTERS = 100;
// Between two looks at the letters, milliseconds.
const LOOK_PAUSE = 2000;

// Asks, then does; a refusal is shown where the question stands.
function confirm(title, text, verb, act) {
  const [dialog, yes, wrong] = [find("ask"), find("ask-yes"), find("ask-error")];
  setText(find("ask-title"), title);
  setText(find("ask-text"), text);
  setText(yes, verb);
  bind(dialog, yes, find("ask-no"), wrong, act);
}

function bind(dialog, yes, no, wrong, act) {
  // What an earlier question did is not told under this one.
  const question = (dialog.question = {});
  const isAsked = () => dialog.question === question;
  setText(wrong, "");
  yes.disabled = false;
  no.onclick = () => dialog.close();
  yes.onclick = async () => {
    yes.disabled = true;
    try {
      const problem = await act();
      if (!isAsked()) return;
      if (!problem) return dialog.close();
      setText(wrong, problem);
    } catch (error) {
      if (!isAsked()) return;
      setText(wrong, error.message);
    }
    yes.disabled = false;
  };
  dialog.showModal();
}

export function showRoutes(routes) {
  const create = () => {
    const change = make("button", { type: "button" }, "Change");
    return make("tr", {}, make("th", { scope: "row" }), make("td", { class: "start" }), make("td"), make("td", { class: "start" }), make("td", { class: "start" }, change));
  };
  fillList(find("routes"), routes, (route) => route.route, create, (row, route) => {
    const [name, mode, rollout, set, action] = row.children;
    setText(name, route.route);
    name.title = route.route;
    setText(mode, route.mode);
    setText(rollout, route.mode === "coalesce" ? `${route.rollout} %` : "–");
    const { configured } = route;
    setText(set, route.set ? `by ${route.set.by}; the file says ${configured.mode}, ${configured.rollout} %` : "as the file says");
    const button = action.firstElementChild;
    button.setAttribute("aria-label", `Change ${route.route}`);
    button.onclick = () => changeMode(route);
  });
}

function changeMode(route) {
  const [mode, rollout] = [find("mode-name"), find("mode-rollout")];
  setText(find("mode-route"), route.route);
  mode.value = route.mode;
  rollout.value = route.rollout;
  const warn = () => setText(find("mode-text"), EFFECTS[mode.value]);
  mode.onchange = warn;
  warn();
  bind(find("mode"), find("mode-yes"), find("mode-no"), find("mode-error"), async () => {
    if (!rollout.checkValidity() || rollout.value === "") return "The rollout is a whole number from 0 to 100.";
    const wanted = { route: route.route, mode: mode.value, rollout: Number(rollout.value) };
    const { kept, why_not_kept: why } = await ask("PUT", "/modes", wanted);
    return kept ? null : `It holds until the next start only: ${why}`;
  });
}

const EFFECTS = {
  off: "Calls are forwarded.",
  observe: "Calls are forwarded; the report says what windows would save.",
  shadow: "Calls are forwarded and compared with what a batch would do.",
  coalesce: "Calls of the users in the rollout are acknowledged at once and sent in batches.",
};

// The letters are read anew when their number has changed; a message has none of them.
export class Letters {
  constructor() {
    Object.assign(this, { seen: null, kept: 0, letters: [], isReading: false });
  }

  show(counts) {
    setText(find("letters-count"), count(counts.kept));
    const seen = `${counts.kept} ${counts.dropped} ${counts.deaths}`;
    this.kept = counts.kept;
    if (seen !== this.seen && !this.isReading) this.read(seen);
    // How long ago each was given up.
    else this.fill(this.letters);
  }

  async read(seen) {
    this.isReading = true;
    try {
      this.fill(this.kept ? await ask("GET", `/dead-letters?newest=${MOST_LETTERS}`) : []);
      this.seen = seen;
    } catch (error) {
      setText(find("letters-note"), error.message);
    }
    setTimeout(() => (this.isReading = false), LOOK_PAUSE);
  }

  fill(letters) {
    this.letters = letters;
    const newestFirst = letters.toReversed();
    const more = this.kept - letters.length;
    setText(find("letters-note"), letters.length === 0 ? "None." : more > 0 ? `The newest ${letters.length}; tidegate dead-letters lists all.` : "Newest first.");
    find("letters-box").hidden = letters.length === 0;
    fillList(find("letters"), newestFirst, (letter) => letter.key, () => this.create(), (row, letter) => this.fillRow(row, letter));
  }

  create() {
    const two = (kind) => make(kind, {}, make("span"), make("span", { class: "under" }));
    const event = make("th", { scope: "row" }, make("span", { class: "code" }));
    const place = two("td");
    place.className = "start text";
    const buttons = ["Replay", "Drop"].map((name) => make("button", { type: "button" }, name));
    return make("tr", {}, event, place, make("td", { class: "start" }), make("td"), make("td"), make("td"), make("td", { class: "start" }, ...buttons));
  }

  fillRow(row, letter) {
    const [event, place, reason, answer, attempts, died, actions] = row.children;
    setText(event.firstElementChild, letter.id);
    event.title = letter.id;
    setText(place.firstElementChild, letter.group);
    setText(place.lastElementChild, letter.route ?? "no single call");
    place.title = letter.route ?? "";
    setText(reason, letter.reason.replaceAll("_", " "));
    setText(answer, letter.status ?? "none");
    // What the application said, on pointing and for screen readers.
    answer.title = letter.answer ?? "";
    setText(attempts, count(letter.attempts));
    setText(died, `${age(Math.max(0, Date.now() - letter.died_at))} ago`);
    died.title = `${new Date(letter.died_at).toLocaleDateString("en")} ${clock(letter.died_at, true)}`;
    const [replay, drop] = actions.children;
    replay.setAttribute("aria-label", `Replay ${letter.id}`);
    drop.setAttribute("aria-label", `Drop ${letter.id}`);
    replay.onclick = () => this.replay(letter);
    drop.onclick = () => this.drop(letter);
  }

  replay(letter) {
    const text = `Event ${letter.id} goes back into its window, with the credential that it came with.`;
    confirm("Replay this event?", text, "Replay", async () => {
      const { kept } = await ask("POST", `/dead-letters/${letter.key}/replay`);
      return kept.length ? `It stays a dead letter: ${kept[0][1]}.` : null;
    });
  }

  drop(letter) {
    const text = `Event ${letter.id} was acknowledged, and never reached the application. It is gone then.`;
    confirm("Drop this event for good?", text, "Drop", async () => {
      await ask("DELETE", `/dead-letters/${letter.key}`);
    });
  }
}
