// Numbers as people read them. What is not known is a dash, never 0.

export const UNKNOWN = "–";
const PLAIN = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const unknown = (value) => value === null || value === undefined || !Number.isFinite(value);

export function count(value) {
  return unknown(value) ? UNKNOWN : PLAIN.format(value);
}

// Three significant digits, in full up to 100,000.
export function number(value) {
  if (unknown(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 100 && size < 1e5) return PLAIN.format(value);
  if (size !== 0 && (size >= 1e5 || size < 0.001)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

export function short(value) {
  if (unknown(value)) return UNKNOWN;
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ]) {
    if (Math.abs(value) >= size)
      return `${Number((value / size).toPrecision(Math.abs(value) >= 100 * size ? 3 : 2))}${unit}`;
  }
  return String(Number(value.toPrecision(3)));
}

export function percent(value, digits = 1) {
  return unknown(value) ? UNKNOWN : `${(100 * value).toFixed(digits)}`;
}

export function interval(value, digits = 1) {
  if (!value || unknown(value.low) || unknown(value.high)) return "";
  return `[${percent(value.low, digits)}, ${percent(value.high, digits)}]`;
}

export function seconds(value) {
  if (unknown(value)) return UNKNOWN;
  if (value < 1) return `${Math.round(1000 * value)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return value < 7200 ? `${Math.floor(value / 60)} min ${Math.round(value % 60)} s` : `${(value / 3600).toFixed(1)} h`;
}

export function dollars(value) {
  if (unknown(value)) return UNKNOWN;
  return value === 0 ? "$0" : value < 0.01 ? `$${value.toExponential(1)}` : `$${value.toFixed(value < 10 ? 3 : 2)}`;
}

export function plural(value, one, many = `${one}s`) {
  return unknown(value) ? `${UNKNOWN} ${many}` : `${count(value)} ${value === 1 ? one : many}`;
}

export function named(cell) {
  return cell.strategy + (cell.params ? `:${cell.params}` : "");
}

// What a count of samples is called: a run's are its requests, those of verification among them.
export function requestsOf(kind) {
  return kind === "pool" ? "samples" : "requests";
}

// What tells a cell from the others, in one line.
export function described(cell) {
  return [named(cell), cell.budget, cell.allocator].filter(Boolean).join(" · ");
}

// Round numbers of an axis: on a logarithmic one 1, 2 and 5 times powers of ten.
export function ticks(low, high, logarithmic, most = 7) {
  const found = [];
  if (logarithmic) {
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of [1, 2, 5]) {
        const at = factor * 10 ** power;
        if (at >= low && at <= high) found.push(at);
      }
    }
    const tens = found.filter((at) => Math.abs(Math.log10(at) % 1) < 1e-9);
    if (found.length > most && tens.length > 1) return tens;
    return found.length > 2 ? found : ticks(low, high, false, most); // a short stretch is nearly straight
  }
  const raw = (high - low) / most || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw);
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step)
    found.push(Number(at.toPrecision(12)));
  return found;
}
