// Long texts: collapsed at first, drawn in pieces, so that a megabyte does not hold the page up.

import { el } from "./dom.js";
import { count } from "./format.js";
import { getKept, keptValue, query } from "./data.js";

const SHOWN = 3000; // characters at first
const LINES = 40;
const PIECE = 20000; // characters of an element: the browser lays out those in sight only
const STEP = 200000; // characters that one press adds

export function longText(text, kind = "") {
  const whole = String(text);
  if (whole === "") return el("p", { class: "unknown" }, "(empty)");
  const body = el("div", { class: `text ${kind}`, dir: "auto", tabindex: whole.length > SHOWN ? "0" : null });
  let drawn = brief(whole);
  append(body, whole, 0, drawn);
  const box = el("div", { class: "longtext" }, body);
  if (drawn === whole.length) return box;
  const more = el("button", { type: "button", class: "more" });
  const label = () => {
    const left = whole.length - drawn;
    more.textContent =
      left > STEP
        ? `show the next ${count(STEP)} of ${count(left)} characters`
        : `show all (${count(left)} more characters)`;
  };
  more.addEventListener("click", () => {
    const end = Math.min(whole.length, drawn + STEP);
    append(body, whole, drawn, end);
    drawn = end;
    if (drawn === whole.length) more.remove();
    else label();
  });
  label();
  box.append(more);
  return box;
}

function brief(text) {
  if (text.length <= SHOWN) {
    let at = -1;
    for (let line = 0; line < LINES; line++) {
      at = text.indexOf("\n", at + 1);
      if (at < 0) return text.length;
    }
    return text.length - at < 200 ? text.length : at;
  }
  const end = text.indexOf("\n", SHOWN - 500);
  return end > 0 && end < SHOWN + 500 ? end : uncut(text, SHOWN);
}

function append(body, text, start, end) {
  while (start < end) {
    let next = Math.min(end, start + PIECE);
    if (next < end) {
      const line = text.lastIndexOf("\n", next);
      next = line > start ? line + 1 : uncut(text, next);
    }
    body.append(el("div", { class: "piece" }, text.slice(start, next)));
    start = next;
  }
}

// An end that does not cut a character in two.
function uncut(text, at) {
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code < 0xe000 ? at + 1 : at;
}

// Turns of a chat, or a text alone.
export function turns(value) {
  if (value === null || value === undefined) return el("p", { class: "unknown" }, "not recorded");
  if (!Array.isArray(value)) return longText(value);
  if (value.length === 0) return el("p", { class: "unknown" }, "(no turns)");
  return value.map((turn) =>
    typeof turn === "string"
      ? longText(turn)
      : el(
          "section",
          { class: "turn" },
          el("h4", {}, turn.role ?? "text"),
          turn.content !== null && turn.content !== undefined && turn.content !== ""
            ? longText(plain(turn.content))
            : null,
          turn.tool_calls?.length ? calls(turn.tool_calls) : null,
        ),
  );
}

export function calls(list) {
  return list.map((call) => el("section", { class: "turn" }, el("h4", {}, "tool call"), longText(plain(call), "code")));
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

// The whole text of a request, fetched when it is first looked at.
export function textOf(id, stamp, show) {
  const path = query("/api/text", { id });
  return loaded(path, stamp, show);
}

export function loaded(path, stamp, show) {
  const box = el("div", { class: "loaded" });
  const known = keptValue(path, stamp);
  if (known !== undefined) {
    box.append(...shown(show, known));
    return box;
  }
  const ask = async () => {
    box.replaceChildren(el("p", { class: "state" }, "Loading …"));
    try {
      const value = await getKept(path, stamp);
      box.replaceChildren(...shown(show, value));
    } catch (error) {
      const again = el("button", { type: "button", on: { click: ask } }, "try again");
      box.replaceChildren(el("p", { class: "state error" }, error.message, " ", again));
    }
  };
  ask();
  return box;
}

function shown(show, value) {
  return [show(value)].flat(Infinity).filter(Boolean);
}

export function completion(value) {
  return [
    value.note ? el("p", { class: "notice" }, value.note) : null,
    value.reasoning ? part("Reasoning", longText(value.reasoning, "reasoning")) : null,
    value.text !== null && value.text !== undefined && !value.transcript
      ? part("Text", longText(value.text))
      : value.transcript || value.note
        ? null
        : part("Text", el("p", { class: "unknown" }, "not recorded")),
    value.tool_calls?.length ? part("Tools asked for", calls(value.tool_calls)) : null,
    value.transcript ? part("Transcript", turns(value.transcript)) : null,
    value.prompt && !value.transcript ? folded("Prompt", () => turns(value.prompt)) : null,
  ];
}

function part(title, inside) {
  return el("section", { class: "part" }, el("h4", {}, title), inside);
}

function folded(title, fill) {
  const details = el("details", { class: "small" }, el("summary", {}, title));
  details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(...[fill()].flat()));
  return details;
}

// How an end looks: those that are as they should be are quiet.
export const STATES = {
  finished: "good",
  cancelled: "cut",
  failed: "bad",
  lost: "bad",
  refused: "warn",
  shared: "shared",
  "in flight": "going",
};
