// One trial: what was asked, what came of it, which answer was taken, and why.

import { address, el, foldable, keyed, link, model, verdict } from "./dom.js";
import { count, described, dollars, named, number, requestsOf, seconds } from "./format.js";
import { get, query } from "./data.js";
import { Candidates } from "./candidates.js";
import { bars, reference } from "./problem.js";
import { tree } from "./tree.js";
import { timeline } from "./timeline.js";
import { turns } from "./texts.js";
import { verifications } from "./verifications.js";

export async function trialPage({ overview, args: [id], search, signal }) {
  if (id === undefined) throw new Error("No trial is named in this address. A problem's page lists its trials.");
  const trial = await get(query("/api/trial", { id }), signal);
  const cell = overview.cells.find((each) => each.id === trial.cell);
  const list = new Candidates(trial, search.get("candidate"));
  const look = (candidate) => list.reveal(candidate);
  const votes = el("div", { class: "votes" });
  const press = (answer) => {
    list.only(answer);
    draw();
    keyed(votes, `vote ${answer}`)?.focus();
  };
  const draw = () => votes.replaceChildren(...[bars(trial.votes ?? [], press, list.answer)].flat());
  draw();
  const parts = [
    partOf(
      { pool: "Answers", judge: "Scores" }[overview.kind] ?? "Why this answer",
      null,
      el(
        "div",
        { class: "columns" },
        el("div", {}, why(trial)),
        trial.votes?.length
          ? el(
              "div",
              {},
              el("h3", {}, "Answers"),
              el("p", { class: "muted" }, "Press an answer to see its candidates only."),
              votes,
            )
          : null,
      ),
    ),
    partOf("Candidates", trial.candidates.length, list.nodes()),
    trial.candidates.some((each) => each.parent) ? partOf("Tree", null, tree(trial.candidates, list.name, look)) : null,
    trial.verifications?.length
      ? partOf("Verifications", trial.verifications.length, verifications(trial, list.name, look))
      : null,
    partOf("Time line", null, timeline(trial, list.name, look)),
    partOf("Bill", null, bill(trial)),
  ].filter(Boolean);
  const children = [
    el(
      "nav",
      { class: "crumbs", "aria-label": "Where this is" },
      link(address("problem", trial.problem.id), "Problem ", model(trial.problem.id, 60)),
      " › ",
      el("bdi", {}, cell ? described(cell) : named(trial)),
      trial.seed === null || trial.seed === undefined ? null : ` › seed ${trial.seed}`,
    ),
    el("h1", { tabindex: "-1" }, headingOf(trial, overview.kind)),
    remarks(trial),
    foldable(
      `prompt ${id}`,
      ["Prompt ", el("bdi", { class: "muted" }, beginning(trial.problem.prompt))],
      () => [turns(trial.problem.prompt)].flat().concat(reference(trial.problem)),
      { class: "card" },
    ),
    facts(trial, overview.kind),
    jumps(parts),
    parts.map((part) => part.section),
  ];
  return { title: `${trial.answer ?? "no answer"} (${trial.problem.id})`, children };
}

function headingOf(trial, kind) {
  if (kind === "pool") return "Recorded samples";
  if (kind === "judge" && trial.answer === null) return "Recorded samples, judged";
  if (trial.answer === null) return trial.state === "open" ? "No answer yet" : "No answer";
  return [verdict(trial.correct), " Answer ", model(trial.answer, 200)];
}

// A part of the page, with a heading that can be jumped to.
function partOf(title, size, inside) {
  const heading = el("h2", { tabindex: "-1" }, title, size === null ? null : ` (${count(size)})`);
  return { title, size, heading, section: el("section", {}, heading, inside) };
}

function jumps(parts) {
  const jump = ({ heading }) => {
    heading.scrollIntoView({ block: "start" });
    heading.focus({ preventScroll: true });
  };
  return el(
    "nav",
    { class: "jumps", "aria-label": "Parts of this page" },
    parts.map((each, at) =>
      el(
        "button",
        {
          type: "button",
          "data-key": `jump ${each.title}`,
          "data-jump": at + 1,
          title: `${each.title} (${at + 1})`,
          on: { click: () => jump(each) },
        },
        each.title,
        each.size === null ? null : el("small", {}, ` ${count(each.size)}`),
      ),
    ),
  );
}

function beginning(prompt) {
  const last = Array.isArray(prompt) ? (prompt.findLast((turn) => turn.role === "user") ?? prompt.at(-1)) : prompt;
  const text = String(last?.content ?? last ?? "");
  return text.length > 110 ? `${text.slice(0, 110)}…` : text;
}

function remarks(trial) {
  return [
    ...(trial.notes ?? []).map((note) => el("p", { class: "notice" }, el("bdi", {}, note))),
    trial.error ? el("p", { class: "notice bad" }, el("strong", {}, "Error: "), el("bdi", {}, trial.error)) : null,
    trial.state === "open" ? el("p", { class: "notice" }, "This trial is not decided yet.") : null,
    trial.exhausted
      ? el("p", { class: "notice" }, "The budget ended before the strategy had all that it asked for.")
      : null,
  ];
}

function facts(trial, kind) {
  const total = trial.total ?? {};
  const took = trial.decided_s === null || trial.opened_s === null ? null : trial.decided_s - trial.opened_s;
  const list = [
    ["strategy", el("bdi", {}, trial.strategy)],
    [requestsOf(kind), count(total.samples)],
    ["tokens", count(total.tokens)],
    ["prompt tokens", count(total.prompt_tokens)],
    ["USD", dollars(total.usd)],
    ["FLOPs", number(total.flops)],
    ["opened at", trial.opened_s === null ? null : seconds(trial.opened_s)],
    ["took", took === null ? null : seconds(took)],
  ].filter(([, value]) => value !== null);
  return el(
    "dl",
    { class: "facts" },
    list.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

function why(trial) {
  if (!trial.why?.length) return el("p", { class: "muted" }, "Nothing was recorded about it.");
  return el(
    "ul",
    { class: "why" },
    trial.why.map((sentence) => el("li", {}, el("bdi", {}, sentence))),
  );
}

function bill(trial) {
  if (!trial.bill?.length) return el("p", { class: "muted" }, "No request of this trial was recorded.");
  const row = (name, each, attributes) =>
    el(
      "tr",
      attributes,
      el("th", { scope: "row", class: "left" }, name),
      el("td", {}, count(each.samples)),
      el("td", {}, count(each.tokens)),
      el("td", {}, count(each.prompt_tokens)),
      el("td", {}, dollars(each.usd)),
      el("td", {}, number(each.flops)),
    );
  return el(
    "div",
    { class: "scroll", "data-scroll": "bill", tabindex: "0", role: "region", "aria-label": "Bill" },
    el(
      "table",
      { class: "bill" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["for", "requests", "tokens", "prompt tokens", "USD", "FLOPs"].map((name, at) =>
            el("th", { scope: "col", class: at ? null : "left" }, name),
          ),
        ),
      ),
      el(
        "tbody",
        {},
        trial.bill.map((each) => row(each.what, each)),
      ),
      trial.total
        ? el(
            "tfoot",
            {},
            row("total", trial.total),
            differs(trial)
              ? row("paid", trial.paid, { title: "Less than the total, where samples of other trials were used again" })
              : null,
          )
        : null,
    ),
  );
}

function differs({ paid, total }) {
  return paid && (paid.samples !== total.samples || paid.tokens !== total.tokens);
}
