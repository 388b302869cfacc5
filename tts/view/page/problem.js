// One problem: its text, its answers, and the trials of all cells on it.

import { address, el, foldable, link, model, verdict } from "./dom.js";
import { count, described, requestsOf, seconds } from "./format.js";
import { get, getKept, keptValue, query } from "./data.js";
import { numbered, sign } from "./frontier.js";
import { turns } from "./texts.js";

export async function problemPage({ overview, args: [id], search, signal }) {
  if (id === undefined) throw new Error("No problem is named in this address. Find one above, or in the grid.");
  const { problem, cells } = await get(query("/api/problem", { id }), signal);
  const trials = cells.flatMap((each) => each.trials);
  const around = await neighbours(id);
  const cell = search.get("cell");
  const children = [
    el("div", { class: "heading" }, el("h1", { tabindex: "-1" }, "Problem ", model(problem.id)), around),
    el("section", { class: "prompt" }, turns(problem.prompt), reference(problem)),
    trials.length === 0
      ? el("p", { class: "state" }, "No trial of this problem has been recorded so far.")
      : [
          overview.kind === "pool" ? null : answers(trials),
          el("section", {}, el("h2", {}, `Trials (${count(trials.length)})`), byCell(cells, overview, cell, id)),
        ],
  ];
  return { title: problem.id, children };
}

export function reference(problem) {
  return el("p", { class: "reference" }, el("span", { class: "muted" }, "Reference: "), model(problem.reference, 1000));
}

// Links to the problems before and after, in the order of the run.
async function neighbours(id) {
  let grid = keptValue("/api/grid", "search");
  if (!grid) {
    try {
      grid = await getKept("/api/grid", "search");
    } catch {
      return null; // it is a convenience only
    }
  }
  const at = grid.problems.findIndex((problem) => problem.id === id);
  if (at < 0) return null;
  const to = (problem, rel, text, key) =>
    problem
      ? el("a", { rel, href: address("problem", problem.id), "data-key": rel, title: `${problem.id} (${key})` }, text)
      : el("span", { class: "muted" }, text);
  return el(
    "nav",
    { class: "around", "aria-label": "Problems before and after" },
    to(grid.problems[at - 1], "prev", "← before", "["),
    el("span", { class: "muted" }, ` ${count(at + 1)} of ${count(grid.problems.length)} `),
    to(grid.problems[at + 1], "next", "next →", "]"),
  );
}

function answers(trials) {
  const counts = new Map();
  for (const { answer, correct } of trials.filter((trial) => trial.state !== "open")) {
    const known = counts.get(answer) ?? { answer, correct, count: 0 };
    counts.set(answer, { ...known, count: known.count + 1 });
  }
  const ordered = [...counts.values()].sort((a, b) => b.count - a.count);
  return el("section", {}, el("h2", {}, "Answers of the trials"), bars(ordered));
}

const MOST_BARS = 40;

// Answers with their counts as bars. `pressed(answer)` makes buttons of them.
export function bars(votes, pressed = null, chosen = undefined) {
  const total = votes.reduce((sum, each) => sum + each.count, 0) || 1;
  const most = Math.max(1, ...votes.map((each) => each.count));
  const row = (vote) => {
    const inside = [
      vote.answer === null ? el("span") : verdict(vote.correct),
      model(vote.answer, 80, "no answer"),
      el(
        "span",
        { class: "track", "aria-hidden": "true" },
        el("span", {
          class: `fill ${vote.correct === true ? "right" : vote.correct === false ? "wrong" : ""}`,
          width: `${(100 * vote.count) / most}%`,
        }),
      ),
      el(
        "span",
        { class: "number" },
        count(vote.count),
        " ",
        el(
          "small",
          {},
          `${Math.round((100 * vote.count) / total)} %`,
          vote.weight !== null && vote.weight !== undefined ? ` · scores add up to ${Number(vote.weight.toPrecision(3))}` : "",
        ),
      ),
    ];
    if (!pressed) return el("li", {}, el("div", { class: "bar" }, inside));
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: "bar",
          "data-key": `vote ${vote.answer}`,
          "aria-pressed": String(chosen === vote.answer),
          on: { click: () => pressed(vote.answer) },
        },
        inside,
      ),
    );
  };
  const list = el("ol", { class: "bars" }, votes.slice(0, MOST_BARS).map(row));
  if (votes.length <= MOST_BARS) return list;
  return [
    list,
    foldable(`bars ${votes.length}`, `${count(votes.length - MOST_BARS)} more answers`, () =>
      el("ol", { class: "bars" }, votes.slice(MOST_BARS).map(row)),
    ),
  ];
}

function byCell(cells, overview, wanted, problem) {
  const strategies = numbered(overview.cells);
  const body = cells.map(({ cell: id, trials }) => {
    const cell = overview.cells.find((each) => each.id === id);
    const name = el(
      "span",
      { class: "cell" },
      cell ? sign(strategies.get(cell.strategy)) : null,
      el("bdi", {}, cell ? described(cell) : id),
    );
    return el(
      "tbody",
      { class: id === wanted ? "wanted" : null },
      trials.map((trial, at) =>
        el(
          "tr",
          {},
          at === 0 ? el("th", { scope: "rowgroup", rowspan: trials.length, class: "left" }, name) : null,
          el(
            "td",
            { class: "left" },
            trial.answer === null ? null : [verdict(trial.correct), " "],
            opens(
              trial,
              NONE[overview.kind] ?? (trial.state === "open" ? "open" : "no answer"),
              id === wanted && at === 0,
            ),
          ),
          el("td", {}, count(trial.seed)),
          el("td", {}, count(trial.tokens)),
          el("td", {}, count(trial.samples)),
          el("td", {}, seconds(trial.latency_s)),
          el("td", { class: "left" }, remarksOf(trial)),
        ),
      ),
    );
  });
  return el(
    "div",
    { class: "scroll", "data-scroll": `trials ${problem}`, tabindex: "0", role: "region", "aria-label": "Trials" },
    el(
      "table",
      { class: "trials" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["cell", "answer", "seed", "tokens", requestsOf(overview.kind), "latency", "remarks"].map((name, at) =>
            el("th", { scope: "col", class: at < 2 || at === 6 ? "left" : null }, name),
          ),
        ),
      ),
      body,
    ),
  );
}

const NONE = { pool: "samples", judge: "judgements" }; // what a trial has where it selects no answer

function opens(trial, none, first) {
  const to = link(address("trial", trial.id), model(trial.answer, 60, none));
  if (first) to.dataset.arrive = "";
  to.setAttribute("aria-label", `Trial with the answer ${trial.answer ?? "none"}`);
  return to;
}

function remarksOf(trial) {
  return [
    trial.state === "open" ? el("span", { class: "badge" }, "not decided yet") : null,
    trial.error ? el("span", { class: "trouble" }, model(trial.error, 160), " ") : null,
    trial.exhausted ? el("span", { class: "badge warn" }, "budget ended") : null,
  ];
}
