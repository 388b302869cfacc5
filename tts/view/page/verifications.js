// What judges and verifiers said, with their transcripts when they are asked for.

import { el, foldable } from "./dom.js";
import { count, number, seconds } from "./format.js";
import { STATES, completion, textOf } from "./texts.js";

const MOST_JUDGED = 200; // lines at first

export function verifications(trial, name, look) {
  const head = ["judge", "candidates", "reply", "score", "tokens", "time"].map((title, at) =>
    el("span", { class: at > 2 ? "number" : null }, title),
  );
  return [
    el("div", { class: "judged-head", "aria-hidden": "true" }, head),
    judged(trial.verifications, name, "all", look),
  ];
}

// `place`: what tells this list from others of the page that have the same verifications.
export function judged(list, name, place, look = null) {
  const box = el(
    "div",
    { class: "judged" },
    list.slice(0, MOST_JUDGED).map((each) => row(each, name, place, look)),
  );
  if (list.length > MOST_JUDGED) {
    const more = el("button", { type: "button", class: "more" }, `show ${count(list.length - MOST_JUDGED)} more`);
    more.addEventListener("click", () =>
      more.replaceWith(...list.slice(MOST_JUDGED).map((each) => row(each, name, place, look))),
    );
    box.append(more);
  }
  return box;
}

function row(each, name, place, look) {
  const time =
    each.started_s === null || each.ended_s === null || each.ended_s === undefined
      ? null
      : each.ended_s - each.started_s;
  const summary = [
    el("bdi", { class: "judge" }, each.judge),
    el("span", { class: "of" }, place === "all" ? names(each.of ?? [], name) : null),
    el(
      "span",
      { class: "verdict-text" },
      each.state && each.state !== "finished"
        ? el("span", { class: `badge ${STATES[each.state] ?? ""}` }, each.state)
        : null,
      " ",
      el("bdi", {}, each.verdict ?? each.error ?? ""),
    ),
    el("span", { class: "number" }, number(each.score)),
    el("span", { class: "number" }, count(each.tokens)),
    el("span", { class: "number" }, seconds(time)),
  ];
  if (!each.has_transcript && !look) return el("div", { class: "judgement flat" }, summary);
  return foldable(
    `${place} ${each.id} ${each.of?.[0] ?? ""}`,
    summary,
    () => [
      look && each.of?.length ? looked("Candidates: ", each.of, name, look) : null,
      look && each.alike?.length ? looked("Candidates with the same text: ", each.alike, name, look) : null,
      each.has_transcript
        ? textOf(each.id, each.ended_s, completion)
        : el("p", { class: "muted" }, "It asked no model: there is no transcript."),
    ],
    { class: "judgement" },
  );
}

function looked(said, ids, name, look) {
  return el(
    "p",
    {},
    said,
    ids.map((id) => [
      el("button", { type: "button", class: "plain", on: { click: () => look(id) } }, name(id)),
      " ",
    ]),
  );
}

function names(ids, name) {
  return ids.length > 6
    ? `${ids.slice(0, 5).map(name).join(", ")} and ${count(ids.length - 5)} more`
    : ids.map(name).join(", ");
}
