// The frontier: accuracy against what it costs, a mark a cell, with its interval.

import { address, el, explained, svg } from "./dom.js";
import { count, described, dollars, interval, percent, seconds, short, ticks } from "./format.js";

const AXES = {
  tokens: ["tokens a problem", short],
  sequential_tokens: ["tokens one after the other", short],
  latency_s: ["latency", seconds],
  usd: ["USD a problem", dollars],
};
const CHART_HEIGHT = 330;
const CHART_LEFT = 46;
const CHART_RIGHT = 16;
const CHART_TOP = 24;
const CHART_BOTTOM = 40;
let axis = "tokens";
const left = new Set(); // strategies that are not drawn

// `lit(cell or null)` is told which cell is looked at.
export function frontier(cells, lit) {
  const box = el("figure", { class: "frontier" });
  const chart = el("div", { class: "chart" });
  const strategies = numbered(cells);
  const axes = Object.keys(AXES).filter((name) => cells.some((cell) => cell[name] > 0 && cell.accuracy));
  if (!axes.length)
    return el("p", { class: "state" }, "No answer could be graded so far, so that there is no accuracy to draw.");
  const draw = () => {
    const name = axes.includes(axis) ? axis : axes[0];
    const width = chart.clientWidth || 640;
    const points = cells.filter((cell) => cell.accuracy && cell[name] > 0 && !left.has(cell.strategy));
    chart.replaceChildren(
      points.length
        ? drawing(points, name, width, strategies, lit)
        : el("p", { class: "state" }, "All strategies are hidden: press one below."),
    );
  };
  const choose = el(
    "select",
    {
      "aria-label": "Horizontal axis",
      "data-key": "axis",
      on: {
        change: (event) => {
          axis = event.target.value;
          draw();
        },
      },
    },
    axes.map((name) => el("option", { value: name, selected: name === axis }, AXES[name][0])),
  );
  const legend = el(
    "div",
    { class: "legend", role: "group", "aria-label": "Strategies: press to hide or show" },
    [...strategies].map(([strategy, at]) => {
      const button = el(
        "button",
        { type: "button", "aria-pressed": String(!left.has(strategy)), "data-key": `legend ${strategy}` },
        sign(at),
        el("bdi", {}, strategy),
      );
      button.addEventListener("click", () => {
        left[left.has(strategy) ? "delete" : "add"](strategy);
        button.setAttribute("aria-pressed", String(!left.has(strategy)));
        draw();
      });
      return button;
    }),
    cells.some((cell) => cell.on_frontier)
      ? el(
          "span",
          { class: "ring" },
          svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, svg("circle", { r: 6.5 })),
          "on the frontier",
        )
      : null,
  );
  box.append(chart, el("figcaption", {}, legend, el("label", {}, "against ", choose)));
  new ResizeObserver(draw).observe(chart);
  chart.addEventListener("keydown", (event) => step(event, chart));
  return box;
}

function drawing(points, name, width, strategies, lit) {
  const x = scale(
    points.map((cell) => cell[name]),
    CHART_LEFT,
    width - CHART_RIGHT,
  );
  const y = heights(points);
  const across = ticks(x.low, x.high, true, width < 500 ? 4 : 8),
    up = ticks(y.low, y.high, false, 6);
  const label = `Accuracy against ${AXES[name][0]}, ${points.length} cells. The table below has the numbers.`;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${CHART_HEIGHT}`, role: "group", "aria-label": label },
    up.map((at) =>
      svg(
        "g",
        { class: "tick" },
        svg("line", { x1: CHART_LEFT, x2: width - CHART_RIGHT, y1: y(at), y2: y(at) }),
        svg("text", { x: CHART_LEFT - 7, y: y(at) + 4, "text-anchor": "end" }, Number((100 * at).toFixed(2))),
      ),
    ),
    across.map((at) =>
      svg(
        "g",
        { class: "tick" },
        svg("line", { x1: x(at), x2: x(at), y1: CHART_HEIGHT - CHART_BOTTOM, y2: CHART_HEIGHT - CHART_BOTTOM + 4 }),
        svg("text", { x: x(at), y: CHART_HEIGHT - CHART_BOTTOM + 17, "text-anchor": "middle" }, AXES[name][1](at)),
      ),
    ),
    svg("line", {
      class: "base",
      x1: CHART_LEFT,
      x2: width - CHART_RIGHT,
      y1: CHART_HEIGHT - CHART_BOTTOM,
      y2: CHART_HEIGHT - CHART_BOTTOM,
    }),
    svg("text", { class: "axis", x: CHART_LEFT - 38, y: 12 }, "accuracy, %"),
    svg(
      "text",
      { class: "axis", x: width - CHART_RIGHT, y: CHART_HEIGHT - 6, "text-anchor": "end" },
      `${AXES[name][0]}, logarithmic`,
    ),
    [...new Set(points.map(alike))].map((key) => {
      const along = points.filter((cell) => alike(cell) === key);
      return line(along, strategies.get(along[0].strategy), x, y, name);
    }),
    points.map((cell, index) => mark(cell, index, strategies.get(cell.strategy), x(cell[name]), y, lit, name)),
  );
}

function scale(values, start, end) {
  const margin = 1.25;
  const low = Math.min(...values) / margin,
    high = Math.max(...values) * margin;
  const at = (value) => start + ((end - start) * Math.log(value / low)) / Math.log(high / low);
  return Object.assign(at, { low, high });
}

function heights(points) {
  const ends = points.flatMap((cell) => [
    cell.accuracy.low ?? cell.accuracy.mean,
    cell.accuracy.high ?? cell.accuracy.mean,
  ]);
  const span = Math.max(0.04, Math.max(...ends) - Math.min(...ends));
  const low = Math.max(0, Math.min(...ends) - 0.06 * span),
    high = Math.min(1, Math.max(...ends) + 0.06 * span);
  const at = (value) =>
    CHART_HEIGHT - CHART_BOTTOM - ((CHART_HEIGHT - CHART_BOTTOM - CHART_TOP - 8) * (value - low)) / (high - low || 1);
  return Object.assign(at, { low, high });
}

// What cells on one line have in common: all but numbers, such as n, and budgets. Other verifiers are other lines.
function alike(cell) {
  return [cell.strategy, cell.allocator, (cell.params ?? "").replace(/=[\d.]+(?=,|$)/g, "=")].join(" ");
}

// A line through the means of cells that belong together.
function line(cells, at, x, y, name) {
  const along = [...cells].sort((a, b) => a[name] - b[name]);
  const points = along.map((cell) => `${x(cell[name])},${y(cell.accuracy.mean)}`).join(" ");
  return along.length > 1 ? svg("polyline", { class: `path ${colour(at)}`, points }) : null;
}

function mark(cell, index, at, left, y, lit, name) {
  const { mean, low, high } = cell.accuracy;
  const bar = low !== null && high !== null && low !== undefined && high !== undefined;
  const lines = [
    described(cell),
    `${percent(mean)} % ${interval(cell.accuracy)}`,
    `${AXES[name][0]}: ${AXES[name][1](cell[name])}`,
    `${count(cell.problems)} problems${cell.on_frontier ? " · on the frontier" : ""}`,
  ];
  const group = svg(
    "a",
    {
      class: `mark ${colour(at)}${cell.on_frontier ? " best" : ""}`,
      href: `${address("grid")}?sort=${encodeURIComponent(cell.id)}`,
      "aria-label": lines.join("; "),
      "data-key": `mark ${cell.id}`,
      tabindex: index === 0 ? "0" : "-1",
      on: {
        pointerenter: () => lit(cell),
        focus: () => lit(cell),
        pointerleave: () => lit(null),
        blur: () => lit(null),
      },
    },
    bar
      ? svg("path", {
          class: "error",
          d: `M${left},${y(low)}V${y(high)}M${left - 4},${y(low)}h8M${left - 4},${y(high)}h8`,
        })
      : null,
    svg("circle", { class: "halo", cx: left, cy: y(mean), r: 11 }),
    svg("path", { class: "shape", transform: `translate(${left} ${y(mean)}) scale(1.15)`, d: shape(at) }),
  );
  return explained(group, lines);
}

function step(event, chart) {
  const turn = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const marks = [...chart.querySelectorAll(".mark")];
  const at = marks.indexOf(document.activeElement);
  if (!turn || at < 0) return;
  event.preventDefault();
  marks[at].setAttribute("tabindex", "-1");
  const next = marks[(at + turn + marks.length) % marks.length];
  next.setAttribute("tabindex", "0");
  next.focus();
}

// How strategies are told apart: a colour that colour-blind readers can tell from the others, and a shape.

const SHAPES = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
  "M-3.6,-3.6h7.2v7.2h-7.2z",
  "M0,-4.8L4.6,3.4H-4.6z",
  "M0,-5L5,0L0,5L-5,0z",
  "M0,4.8L4.6,-3.4H-4.6z",
  "M-1.5,-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
  "M0,-5L1.4,-1.6L5,-1.5L2.2,0.7L3.1,4.2L0,2.2L-3.1,4.2L-2.2,0.7L-5,-1.5L-1.4,-1.6z",
  "M-2.4,-4.2H2.4L4.8,0L2.4,4.2H-2.4L-4.8,0z",
];
const COLOURS = 8;

// The number of each strategy among those of a run, in the order of the cells.
export function numbered(cells) {
  return new Map([...new Set(cells.map((cell) => cell.strategy))].map((strategy, at) => [strategy, at]));
}

export function colour(at) {
  return `c${at % COLOURS}`;
}

export function shape(at) {
  return SHAPES[(at + Math.floor(at / COLOURS)) % SHAPES.length];
}

export function sign(at) {
  return svg(
    "svg",
    { viewBox: "-6 -6 12 12", class: `sign ${colour(at)}`, "aria-hidden": "true" },
    svg("path", { d: shape(at) }),
  );
}
