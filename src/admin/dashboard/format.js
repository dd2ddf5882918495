// Numbers as texts. Counts are whole; a missing value is a dash.

const NONE = "–";
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value) {
  if (value == null) return NONE;
  return value < 1e9 ? grouped.format(value) : `${(value / 1e9).toFixed(2)} G`;
}

// A count with its noun.
export function several(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

// Events a second, as they are counted over some seconds.
export function rate(value) {
  if (value == null) return NONE;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : grouped.format(value);
}

export function times(value) {
  return value == null ? NONE : `${value < 100 ? value.toFixed(value < 10 ? 2 : 1) : grouped.format(value)}×`;
}

export function percent(part, whole) {
  if (!whole) return NONE;
  const share = (part / whole) * 100;
  return `${share === 0 || share === 100 ? share : share.toFixed(1)} %`;
}

export function bytes(value) {
  if (value == null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let place = 0;
  while (size >= 1024 && place < units.length - 1) {
    size /= 1024;
    place += 1;
  }
  return `${place === 0 || size >= 100 ? size.toFixed(0) : size.toFixed(1)} ${units[place]}`;
}

// A short length of time, from microseconds. `most`: what isn't told apart any more.
export function micros(value, most) {
  if (value == null) return NONE;
  if (most && value >= most) return `≥ ${micros(most)}`;
  if (value === 0) return "0";
  const short = (size) => Number(size.toPrecision(3));
  if (value < 1000) return `${short(value)} µs`;
  return value < 1e6 ? `${short(value / 1000)} ms` : `${short(value / 1e6)} s`;
}

// An age, from milliseconds.
export function age(value) {
  if (value == null) return NONE;
  if (value < 1000) return `${Math.round(value)} ms`;
  const seconds = value / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const place = units.findIndex(([, size]) => seconds >= size);
  const [[large, size], next] = [units[place], units[place + 1]];
  const rest = Math.floor((seconds % size) / next[1]);
  return `${Math.floor(seconds / size)} ${large}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

// The time of day of a Unix time in milliseconds.
export function clock(value, withSeconds) {
  const form = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(withSeconds && { second: "2-digit" }) };
  return new Date(value).toLocaleTimeString("en", form);
}
