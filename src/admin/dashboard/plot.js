// A plot of lines over time, with a reading at the pointer or by the arrow keys.
import { draw, make, setAttributes, setText } from "./dom.js";
import { clock } from "./format.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [52, 10, 10, 22];
const STEPS = [60, 120, 300, 600, 900, 1800, 3600];
// A young process shows what it has, but no less than this, seconds.
const LEAST_SPAN = 120;

// `series`: [{ name, valueOf(sample) }], with `null` where there is none. `tell`: a value as text.
export class Plot {
  constructor(heading, unit, series, tell) {
    Object.assign(this, { heading, series, tell, samples: [], span: 900, at: null });
    this.reading = make("span", { class: "read", role: "status" });
    this.svg = draw("svg", { role: "img", tabindex: 0, "aria-label": heading });
    this.back = draw("g");
    this.lines = series.map((_, place) => draw("path", { class: `line s${place}` }));
    this.cursor = draw("line", { class: "cursor", visibility: "hidden" });
    this.svg.append(this.back, ...this.lines, this.cursor);
    const key = (place) => draw("svg", { class: "key", viewBox: "0 0 20 8", "aria-hidden": "true" }, draw("path", { class: `line s${place}`, d: "M0 4H20" }));
    const legend = series.map((one, place) => make("li", {}, key(place), one.name));
    this.figure = make(
      "figure", {}, make("figcaption", {}, make("span", {}, `${heading}, ${unit}`), this.reading),
      this.svg, make("ul", { class: "legend" }, ...legend),
    );
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    for (const name of ["pointerleave", "blur"]) this.svg.addEventListener(name, () => this.select(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.render()).observe(this.svg);
  }

  show(samples, span) {
    Object.assign(this, { samples, span });
    this.render();
  }

  render() {
    const { width, height } = this.svg.getBoundingClientRect();
    const end = this.samples.at(-1)?.at;
    if (!width || end == null) return;
    const first = this.samples[0].at - this.samples[0].ms;
    const span = Math.min(this.span, Math.max(LEAST_SPAN, Math.ceil((end - first) / 1000)));
    const begin = end - span * 1000;
    const seen = this.samples.filter((sample) => sample.at >= begin && sample.at <= end);
    const values = seen.flatMap((sample) => this.series.map((one) => one.valueOf(sample) ?? 0));
    const most = roundUp(Math.max(...values, 0));
    this.seen = seen;
    this.across = (at) => LEFT + ((at - begin) / (end - begin)) * (width - LEFT - RIGHT);
    this.down = (value) => height - BOTTOM - (value / most) * (height - TOP - BOTTOM);
    setAttributes(this.svg, { viewBox: `0 0 ${width} ${height}` });
    this.renderGrid(begin, end, most, width, height);
    this.series.forEach((one, place) => setAttributes(this.lines[place], { d: this.pathOf(one) }));
    setAttributes(this.svg, { "aria-label": `${this.heading}. ${this.tellSample(seen.at(-1))}` });
    this.select(this.at);
  }

  renderGrid(begin, end, most, width, height) {
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = this.down(most * share);
      parts.push(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
      parts.push(draw("text", { class: "end", x: LEFT - 6, y: y + 4 }, this.tell(most * share)));
    }
    const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 70));
    const step = STEPS.find((seconds) => (end - begin) / 1000 / seconds <= room) * 1000;
    for (let at = Math.ceil(begin / step) * step; at <= end; at += step) {
      const x = this.across(at);
      if (x < LEFT + 18 || x > width - RIGHT - 18) continue;
      parts.push(draw("text", { class: "mid", x, y: height - 5 }, clock(at)));
    }
    this.back.replaceChildren(...parts);
  }

  // A gap where there is no value, and where the process wasn't up.
  pathOf(one) {
    let path = "";
    let before = null;
    for (const sample of this.seen) {
      const value = one.valueOf(sample);
      if (value == null) {
        before = null;
        continue;
      }
      const joins = before != null && sample.at - before < 4 * sample.ms;
      path += `${joins ? "L" : "M"}${this.across(sample.at).toFixed(1)} ${this.down(value).toFixed(1)}${joins ? "" : "h.1"}`;
      before = sample.at;
    }
    return path;
  }

  tellSample(sample) {
    if (!sample) return "";
    const values = this.series.map((one) => `${one.name} ${this.tell(one.valueOf(sample))}`);
    return `${clock(sample.at, true)}: ${values.join(", ")}`;
  }

  point(event) {
    const { left } = this.svg.getBoundingClientRect();
    const distance = (sample) => Math.abs(this.across(sample.at) - (event.clientX - left));
    const nearest = (this.seen ?? []).reduce((best, sample) => (best && distance(best) <= distance(sample) ? best : sample), null);
    this.select(nearest?.at ?? null);
  }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !this.seen?.length) return;
    event.preventDefault();
    const place = this.seen.findIndex((sample) => sample.at === this.at);
    const next = (place < 0 ? this.seen.length - 1 : place + move);
    this.select(this.seen[Math.min(Math.max(next, 0), this.seen.length - 1)].at);
  }

  select(at) {
    const sample = this.seen?.find((one) => one.at === at);
    this.at = sample ? at : null;
    setText(this.reading, this.tellSample(sample));
    if (!sample) return setAttributes(this.cursor, { visibility: "hidden" });
    const x = this.across(at);
    const y2 = this.svg.getBoundingClientRect().height - BOTTOM;
    setAttributes(this.cursor, { visibility: "visible", x1: x, x2: x, y1: TOP, y2 });
  }
}

// The next number above that is easy to halve.
function roundUp(most) {
  if (most <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * step).find((value) => value >= most);
}
