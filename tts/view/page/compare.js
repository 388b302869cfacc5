// Two cells, problem by problem: who solves what the other does not.

import { address, el, link, model } from "./dom.js";
import { count, described, percent } from "./format.js";
import { get, query } from "./data.js";
import { table } from "./tables.js";

export async function comparePage({ overview, args: [a, b], signal }) {
  const { cells } = overview;
  if (cells.length < 2)
    return {
      title: "Compare",
      children: [
        el("h1", { tabindex: "-1" }, "Compare"),
        el("p", { class: "state" }, "It takes two cells to compare, and this run has fewer."),
      ],
    };
  const choose = chooserOfTwo(cells, a, b);
  if (a === undefined || b === undefined)
    return { title: "Compare", children: [el("h1", { tabindex: "-1" }, "Compare"), choose] };
  const found = await get(query("/api/compare", { a, b }), signal);
  const name = (id) => described(cells.find((cell) => cell.id === id) ?? { strategy: id });
  const children = [
    el("h1", { tabindex: "-1" }, "Compare"),
    choose,
    el(
      "div",
      { class: "columns" },
      el(
        "section",
        {},
        el("h2", {}, "Problems"),
        square(found),
        found.flips.some((flip) => [flip.a, flip.b].some((share) => share > 0 && share < 1))
          ? el(
              "p",
              { class: "muted" },
              "Of several seeds, that one is right which solves a problem more often; both, if they do half the time.",
            )
          : null,
      ),
      el("section", {}, el("h2", {}, "Difference"), difference(found, a, b, name)),
    ),
    el("section", {}, el("h2", {}, `Problems on which they differ (${count(found.flips.length)})`), flips(found.flips)),
  ];
  return { title: `${name(a)} and ${name(b)}`, children };
}

function chooserOfTwo(cells, a = cells[0].id, b = cells[1].id) {
  const select = (label, wanted) =>
    el(
      "select",
      { "aria-label": label, "data-key": label, on: { change: () => go() } },
      cells.map((cell) => el("option", { value: cell.id, selected: cell.id === wanted }, described(cell))),
    );
  const [first, second] = [select("A", a), select("B", b)];
  const go = () => {
    location.hash = address("compare", first.value, second.value);
  };
  const swap = () => {
    [first.value, second.value] = [second.value, first.value];
    go();
  };
  return el(
    "form",
    {
      class: "filters",
      on: {
        submit: (event) => {
          event.preventDefault();
          go();
        },
      },
    },
    el("label", {}, el("b", { class: "side" }, "A"), " ", first),
    el("label", {}, el("b", { class: "side" }, "B"), " ", second),
    el("button", { type: "button", on: { click: swap } }, "swap"),
    el("button", { type: "submit", "data-key": "compare" }, "compare"),
  );
}

function square(found) {
  const cell = (value, kind) => el("td", { class: kind }, count(value));
  return el(
    "table",
    { class: "square" },
    el(
      "thead",
      {},
      el("tr", {}, el("td", {}), el("th", { scope: "col" }, "B right"), el("th", { scope: "col" }, "B wrong")),
    ),
    el(
      "tbody",
      {},
      el("tr", {}, el("th", { scope: "row" }, "A right"), cell(found.both), cell(found.only_a, "a")),
      el("tr", {}, el("th", { scope: "row" }, "A wrong"), cell(found.only_b, "b"), cell(found.neither)),
    ),
  );
}

function difference(found, a, b, name) {
  const { mcnemar, difference: gap } = found;
  const points = (value) => `${value > 0 ? "+" : value < 0 ? "−" : "±"}${percent(Math.abs(value))}`;
  const known = gap && gap.mean !== null && gap.mean !== undefined;
  return [
    el(
      "p",
      {},
      known
        ? [
            el("strong", { class: "big" }, `${points(gap.mean)} points`),
            gap.low === null || gap.low === undefined ? "" : ` [${points(gap.low)}, ${points(gap.high)}]`,
            " of accuracy, A minus B, on the problems of both.",
          ]
        : "No problem of both was graded.",
    ),
    mcnemar && mcnemar.p !== null && mcnemar.p !== undefined
      ? el(
          "p",
          {},
          `McNemar's test${mcnemar.exact ? ", exact" : ""}: p = ${probability(mcnemar.p)}`,
          typeof mcnemar.statistic === "number" ? `, χ² = ${mcnemar.statistic.toFixed(2)}. ` : ". ",
          mcnemar.p < 0.05
            ? "Such a difference would be rare if both were equally good."
            : "Two cells that are equally good often differ as much.",
        )
      : null,
    el(
      "p",
      {},
      link(`#/grid?${new URLSearchParams({ a, b })}`, "Solved by A, not by B"),
      " · ",
      link(`#/grid?${new URLSearchParams({ a: b, b: a })}`, "solved by B, not by A"),
    ),
    el("p", { class: "muted" }, "A: ", el("bdi", {}, name(a)), el("br"), "B: ", el("bdi", {}, name(b))),
  ];
}

function probability(p) {
  return p < 0.001 ? p.toExponential(1) : p.toFixed(3);
}

function flips(list) {
  if (list.length === 0) return el("p", { class: "state" }, "None: what one solves, the other does, too.");
  const share = (value) =>
    value === true ? "✓" : value === false ? "✗" : value === null || value === undefined ? "–" : percent(value, 0);
  const side = (name) => [
    {
      name,
      title: `${name.toUpperCase()}`,
      note: "right, or the per cent of its trials that are",
      value: (flip) => Number(flip[name]),
      show: (flip) =>
        el("span", { class: Number(flip[name]) > 0.5 ? "verdict right" : "verdict wrong" }, share(flip[name])),
    },
    {
      name: `answer_${name}`,
      title: `answer of ${name.toUpperCase()}`,
      left: true,
      value: (flip) => flip[`answer_${name}`],
      show: (flip) => model(flip[`answer_${name}`], 40),
    },
  ];
  return table(
    "flips",
    "Problems on which the two cells differ",
    [
      {
        name: "problem",
        title: "problem",
        left: true,
        value: (flip) => flip.problem,
        show: (flip) => link(address("problem", flip.problem), model(flip.problem, 40)),
      },
      ...side("a"),
      ...side("b"),
      { name: "prompt", title: "text", left: true, show: (flip) => el("bdi", { class: "muted clip" }, flip.prompt) },
    ],
    list,
  );
}
