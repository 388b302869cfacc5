// The candidates of a trial: a line each, and all that is known of one when it is opened.

import { el, foldable, model, verdict } from "./dom.js";
import { count, number, plural, seconds } from "./format.js";
import { STATES, completion, textOf } from "./texts.js";
import { sorted } from "./tables.js";
import { judged } from "./verifications.js";

const ORDERS = { "": "number", score: "score", tokens: "tokens", seconds: "time", answer: "answer" };
let order = "";

export class Candidates {
  // `wanted`: the id of the candidate that the address names, which is open.
  constructor(trial, wanted) {
    this.trial = trial;
    this.wanted = wanted;
    this.answer = undefined; // of those that are shown; undefined: all
    this.names = new Map(trial.candidates.map((each, at) => [each.id, shortened(each.id, trial.id, at)]));
    this.name = (id) => this.names.get(id) ?? shortened(id, trial.id, 0);
    this.rows = new Map();
  }

  nodes() {
    if (this.trial.candidates.length === 0) return el("p", { class: "state" }, "No candidate has come so far.");
    this.status = el("span", { class: "muted", role: "status" });
    this.list = el("div", { class: "candidates" });
    const choose = el(
      "select",
      {
        "data-key": "order",
        on: {
          change: (event) => {
            order = event.target.value;
            this.draw();
          },
        },
      },
      Object.entries(ORDERS).map(([value, label]) => el("option", { value, selected: value === order }, label)),
    );
    this.all = el(
      "button",
      {
        type: "button",
        hidden: true,
        on: { click: () => document.querySelector(".votes [aria-pressed=true]")?.click() },
      },
      "show all",
    );
    this.draw();
    return [
      el("div", { class: "filters" }, el("label", {}, "order ", choose), this.status, this.all),
      head(),
      this.list,
    ];
  }

  draw() {
    const value = {
      score: (each) => each.score,
      tokens: (each) => each.tokens,
      seconds: (each) => took(each),
      answer: (each) => each.answer,
    }[order];
    const some = this.trial.candidates.filter((each) => this.answer === undefined || each.answer === this.answer);
    const ordered = sorted(some, value ?? ((each) => this.name(each.id)), order !== "score");
    this.rows = new Map(ordered.map((each) => [each.id, this.row(each)]));
    this.list.replaceChildren(...this.rows.values());
    this.status.textContent =
      some.length === this.trial.candidates.length
        ? ""
        : `${count(some.length)} of ${plural(this.trial.candidates.length, "candidate")}`;
    this.all.hidden = this.answer === undefined;
  }

  // Shows the candidates with this answer only; once more: all.
  only(answer) {
    this.answer = this.answer === answer ? undefined : answer;
    this.draw();
  }

  reveal(id) {
    if (!this.rows.has(id)) this.only(this.answer);
    const row = this.rows.get(id);
    if (!row) return;
    row.unfold();
    row.scrollIntoView({ block: "start" });
    row.firstElementChild.focus({ preventScroll: true });
  }

  row(each) {
    const state =
      each.state === "finished" && each.finish_reason && each.finish_reason !== "stop"
        ? each.finish_reason
        : each.state;
    const summary = [
      el("span", { class: "star", title: each.selected ? "selected" : null }, each.selected ? "★" : ""),
      el("span", { class: "name" }, this.name(each.id)),
      el(
        "span",
        { class: "said" },
        each.answer === null
          ? el("span", { class: "unknown" }, without(each))
          : [verdict(each.correct), " ", model(each.answer, 60)],
        " ",
        el("bdi", { class: "muted preview" }, each.text_preview),
      ),
      el("span", { class: "number" }, number(each.score)),
      el("span", { class: "number" }, count(each.tokens)),
      el("span", { class: "number" }, seconds(took(each))),
      el(
        "span",
        { class: "state-of" },
        el("span", { class: `badge ${STATES[each.state] ?? ""}` }, state),
        each.hedged ? el("span", { class: "badge" }, "hedged") : null,
      ),
    ];
    const row = foldable(`candidate ${each.id}`, summary, () => this.inside(each), {
      class: `candidate${each.selected ? " selected" : ""}`,
      open: this.wanted === each.id,
    });
    if (this.wanted === each.id) row.firstElementChild.dataset.arrive = "";
    return row;
  }

  inside(each) {
    const of = (this.trial.verifications ?? []).filter(
      (verification) => verification.of?.includes(each.id) || verification.alike?.includes(each.id),
    );
    return [
      each.because ? el("p", { class: "because" }, el("bdi", {}, each.because)) : null,
      each.error ? el("p", { class: "notice bad" }, el("strong", {}, "Error: "), el("bdi", {}, each.error)) : null,
      each.partial
        ? el(
            "p",
            { class: "notice" },
            isStep(each)
              ? "It is a step of a longer text, which has no answer and no vote."
              : "The text is not whole: this is what had come when the request ended.",
          )
        : null,
      el(
        "dl",
        { class: "details" },
        this.facts(each).map(([name, value]) =>
          value === null || value === undefined || value === ""
            ? null
            : el("div", {}, el("dt", {}, name), el("dd", {}, value)),
        ),
      ),
      textOf(each.id, `${each.state} ${each.tokens} ${each.chars}`, completion),
      of.length ? el("section", { class: "part" }, el("h4", {}, "Judged"), judged(of, this.name, "of this")) : null,
    ];
  }

  facts(each) {
    const parent = each.parent
      ? el(
          "button",
          { type: "button", class: "plain", on: { click: () => this.reveal(each.parent) } },
          this.name(each.parent),
        )
      : null;
    return [
      ["kind", each.kind],
      ["parent", parent],
      ["depth", each.depth || null],
      ["steps", each.steps || null],
      ["seed", each.seed === null || each.seed === undefined ? null : String(each.seed)],
      ["temperature", each.temperature],
      ["model", each.model && el("bdi", {}, each.model)],
      ["endpoint", each.endpoint && el("bdi", {}, each.endpoint)],
      ["finish", each.finish_reason],
      ["tokens", count(each.tokens)],
      ["prompt tokens", count(each.prompt_tokens)],
      ["characters", count(each.chars)],
      ["granted at", seconds(each.granted_s)],
      ["sent at", each.sent_s === null || each.sent_s === undefined ? null : seconds(each.sent_s)],
      ["first token at", seconds(each.first_token_s)],
      ["ended at", seconds(each.ended_s)],
      ...Object.entries(each.scores ?? {}).map(([name, value]) => [`score of ${name}`, number(value)]),
      ["id", el("bdi", {}, each.id)],
    ];
  }
}

function isStep(each) {
  return each.partial && (each.state === "finished" || each.state === "shared");
}

// What stands in the place of an answer.
function without(each) {
  if (isStep(each)) return "step";
  return ["generate", "proposed", "recorded"].includes(each.kind) ? "no answer" : each.kind;
}

export function took(each) {
  const began = each.granted_s ?? each.sent_s ?? null;
  return began === null || each.ended_s === null || each.ended_s === undefined ? null : each.ended_s - began;
}

function head() {
  return el(
    "div",
    { class: "candidates-head", "aria-hidden": "true" },
    ["", "#", "answer and text", "score", "tokens", "time", "state"].map((name, at) =>
      el("span", { class: at > 2 && at < 6 ? "number" : null }, name),
    ),
  );
}

function shortened(id, trial, at) {
  return id.startsWith(`${trial}/`) ? id.slice(trial.length + 1) : id.split("/").at(-1) || String(at);
}
