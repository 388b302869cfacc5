// The first page: what was run, what it cost, and which cells give the most for it.

import { address, el, hidden, link, svg } from "./dom.js";
import { count, described, dollars, interval, named, number, percent, requestsOf, seconds } from "./format.js";
import { frontier, numbered, sign } from "./frontier.js";
import { table } from "./tables.js";

const chosen = new Set(); // cells to compare, by their ids

export function overviewPage({ overview }) {
  const { cells } = overview;
  const children = [
    el("h1", { tabindex: "-1" }, "Overview"),
    totals(overview),
    notes(overview.notes ?? []),
    cells.length === 0
      ? el(
          "p",
          { class: "state" },
          overview.live
            ? "No trial has been decided so far. The page follows the run."
            : "This run has no cells: nothing was recorded.",
        )
      : [
          el("section", {}, el("h2", {}, "Accuracy and its cost"), frontier(cells, light)),
          el("section", {}, el("div", { class: "heading" }, el("h2", {}, "Cells"), comparing()), cellTable(cells, overview.kind)),
        ],
  ];
  return { title: "Overview", children };
}

function totals(overview) {
  const { problems, samples, cells, spent } = overview;
  const facts = [
    ["problems", count(problems)],
    ["cells", count(cells.length)],
    [
      "trials",
      overview.planned && overview.planned !== overview.trials
        ? `${count(overview.trials)} of ${count(overview.planned)}`
        : count(overview.trials),
    ],
    [requestsOf(overview.kind), count(samples)],
    ...Object.entries(spent ?? {})
      .filter(([name, value]) => name !== "samples" && value !== null && value !== undefined)
      .map(([name, value]) => [
        LABELS[name] ?? name.replaceAll("_", " "),
        name === "usd" ? dollars(value) : name.endsWith("_s") ? seconds(value) : number(value),
      ]),
  ];
  return el(
    "dl",
    { class: "facts" },
    facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

const LABELS = { usd: "paid", flops: "FLOPs", seconds: "seconds" };

export function notes(list) {
  return list.length
    ? el(
        "ul",
        { class: "notes", "aria-label": "Notes" },
        list.map((note) => el("li", {}, note)),
      )
    : null;
}

function cellTable(cells, kind) {
  const strategies = numbered(cells);
  const any = (name) => cells.some((cell) => cell[name] !== null && cell[name] !== undefined);
  const some = (name) => cells.some((cell) => cell[name]);
  const extent = cells.map((cell) => cell.accuracy?.low ?? cell.accuracy?.mean ?? 1);
  const low = Math.min(...extent, 1);
  const plain = (name, title, note, show = number) => ({
    name,
    title,
    note,
    value: (cell) => cell[name],
    show: (cell) => show(cell[name]),
  });
  const columns = [
    { name: "choose", title: hidden("compare"), note: "Choose two to compare", show: (cell) => chooses(cell) },
    {
      name: "cell",
      title: "cell",
      left: true,
      value: (cell) => named(cell),
      show: (cell) => cellName(cell, strategies.get(cell.strategy)),
    },
    {
      name: "accuracy",
      title: "accuracy, %",
      note: "mean and 95 % interval",
      value: (cell) => cell.accuracy?.mean,
      show: (cell) => accuracy(cell),
    },
    { name: "interval", title: "", show: (cell) => whisker(cell.accuracy, low) },
    some("budget") && { ...plain("budget", "budget", "of a problem", (value) => value || "–"), left: true },
    some("allocator") && { ...plain("allocator", "allocator", "", (value) => value || "–"), left: true },
    plain("seeds", "seeds", "", count),
    plain("problems", "problems", "", count),
    plain("tokens", "tokens", "generated, a problem: candidates and verification"),
    plain("verifier_tokens", "verifier", "tokens of verification, a problem"),
    plain("cancelled_tokens", "cancelled", "tokens of samples that were cancelled, a problem"),
    plain("sequential_tokens", "sequential", "tokens that came one after the other, a problem"),
    plain("samples", requestsOf(kind), "a problem, those of verification among them"),
    any("usd") && plain("usd", "paid", "USD a problem", dollars),
    plain("latency_s", "latency", "of a problem", seconds),
    some("errors") && plain("errors", "errors", "trials that ended with an error", count),
    some("exhausted") && plain("exhausted", "cut short", "trials whose budget ended", count),
  ].filter(Boolean);
  return table("cells", "Cells: accuracy and cost", columns, cells, (cell) => ({
    class: cell.on_frontier ? "frontier" : null,
    "data-cell": cell.id,
  }));
}

function light(cell) {
  for (const row of document.querySelectorAll("tr[data-cell]"))
    row.classList.toggle("lit", row.dataset.cell === cell?.id);
}

function cellName(cell, at) {
  return el(
    "span",
    { class: "cell" },
    sign(at),
    link(`${address("grid")}?sort=${encodeURIComponent(cell.id)}`, el("bdi", {}, named(cell))),
    cell.on_frontier ? el("span", { class: "badge best", title: ties(cell) }, "frontier") : null,
  );
}

function ties(cell) {
  return cell.ties?.length ? `on the frontier; not to be told from ${cell.ties.join(", ")}` : "on the frontier";
}

function accuracy(cell) {
  if (!cell.accuracy) return el("span", { class: "unknown" }, "–");
  return [percent(cell.accuracy.mean), " ", el("small", {}, interval(cell.accuracy))];
}

function whisker(value, low) {
  if (!value || value.low === null || value.low === undefined) return null;
  const x = (at) => 3 + (74 * (at - low)) / (1 - low || 1);
  return svg(
    "svg",
    { class: "whisker", viewBox: "0 0 80 12", "aria-hidden": "true" },
    svg("path", { d: `M${x(value.low)},6H${x(value.high)}M${x(value.low)},3v6M${x(value.high)},3v6` }),
    svg("circle", { cx: x(value.mean), cy: 6, r: 3 }),
  );
}

function chooses(cell) {
  const box = el("input", {
    type: "checkbox",
    "data-key": `choose ${cell.id}`,
    "aria-label": `Compare ${described(cell)}`,
  });
  box.checked = chosen.has(cell.id);
  box.addEventListener("change", () => {
    chosen[box.checked ? "add" : "delete"](cell.id);
    if (chosen.size > 2) chosen.delete([...chosen][0]);
    for (const each of document.querySelectorAll("[data-key^='choose ']"))
      each.checked = chosen.has(each.dataset.key.slice(7));
    document.querySelector(".comparing").replaceWith(comparing());
  });
  return box;
}

function comparing() {
  const two = [...chosen];
  return el(
    "span",
    { class: "comparing" },
    two.length === 2
      ? link(address("compare", ...two), "Compare the two chosen →")
      : el("span", { class: "muted" }, "Choose two to compare them problem by problem."),
  );
}
