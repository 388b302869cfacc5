// The requests of a trial along the run's clock: how long each waited, ran, and how it ended.

import { el, explained, svg } from "./dom.js";
import { count, number, seconds, ticks } from "./format.js";

const MOST_REQUESTS = 1000; // lines that are drawn at first
const LINES_LEFT = 74;
const LINES_RIGHT = 14;
const LINES_TOP = 22;

export function timeline(trial, name, look) {
  const requests = requested(trial, name);
  if (requests.length === 0) return el("p", { class: "muted" }, "No times of requests were recorded.");
  const start = Math.min(trial.opened_s ?? Infinity, ...requests.map((each) => each.start));
  const ends = requests.map((each) => each.end).filter((end) => end !== null);
  const end = Math.max(trial.decided_s ?? start, ...ends, ...requests.map((each) => each.start), start + 1e-3);
  const chart = el("div", { class: "chart" });
  let most = MOST_REQUESTS;
  const draw = () =>
    chart.replaceChildren(requestLines(requests.slice(0, most), trial, start, end, chart.clientWidth || 640, look));
  new ResizeObserver(draw).observe(chart);
  chart.addEventListener("keydown", (event) => {
    const bars = [...chart.querySelectorAll(".request")],
      at = bars.indexOf(document.activeElement);
    const turn = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0) return;
    if (turn && bars[at + turn]) {
      bars[at].setAttribute("tabindex", "-1");
      bars[at + turn].setAttribute("tabindex", "0");
      bars[at + turn].focus();
    } else if (event.key === "Enter") look(bars[at].dataset.candidate);
    else if (!turn) return;
    event.preventDefault();
  });
  const more =
    requests.length > MOST_REQUESTS
      ? el("button", { type: "button", class: "more" }, `draw all ${count(requests.length)} requests`)
      : null;
  more?.addEventListener("click", () => {
    most = Infinity;
    more.remove();
    draw();
  });
  const tall = el(
    "div",
    { class: "scroll drawing", "data-scroll": "timeline", role: "region", "aria-label": "Time line" },
    chart,
  );
  return [legend(requests), tall, more];
}

function requested(trial, name) {
  const known = (value) => value !== null && value !== undefined;
  const samples = trial.candidates
    .filter((each) => known(each.granted_s ?? each.sent_s))
    .map((each) => ({
      id: each.id,
      candidate: each.id,
      label: name(each.id),
      start: each.granted_s ?? each.sent_s,
      sent: each.sent_s ?? null,
      first: each.first_token_s ?? null,
      end: each.ended_s ?? null,
      state: each.state,
      hedged: each.hedged,
      selected: each.selected,
      what: each.kind,
      tokens: each.tokens,
      endpoint: each.endpoint,
      error: each.error,
      score: each.score,
    }));
  const judged = (trial.verifications ?? [])
    .filter((each) => known(each.started_s))
    .map((each) => ({
      id: each.id,
      candidate: each.of?.[0] ?? "",
      label: `↳ ${(each.of ?? []).length === 1 ? name(each.of[0]) : (each.judge ?? "").slice(0, 8)}`,
      start: each.started_s,
      first: null,
      end: each.ended_s ?? null,
      state:
        each.state && each.state !== "finished" && each.state !== "shared"
          ? each.state
          : known(each.ended_s)
            ? "verification"
            : "in flight",
      what: `verification by ${each.judge}`,
      tokens: each.tokens,
      score: each.score,
    }));
  return [...samples, ...judged].sort((a, b) => a.start - b.start || (a.end ?? Infinity) - (b.end ?? Infinity));
}

const WORDS = {
  finished: "finished",
  verification: "verification",
  shared: "shared with another trial",
  cancelled: "cancelled",
  failed: "failed",
  lost: "lost",
  refused: "refused",
  "in flight": "in flight",
};

function legend(requests) {
  const states = Object.keys(WORDS).filter((state) => requests.some((each) => each.state === state));
  const swatch = (kind) =>
    svg(
      "svg",
      { viewBox: "0 0 18 10", "aria-hidden": "true" },
      svg(
        "rect",
        kind === "queue"
          ? { class: kind, x: 0, y: 4, width: 18, height: 2 }
          : { class: kind, x: 0.5, y: 0.5, width: 17, height: 9 },
      ),
    );
  return el(
    "p",
    { class: "legend-line" },
    requests.some((each) => each.sent > each.start) ? el("span", {}, swatch("queue"), " waiting to be sent") : null,
    requests.some((each) => each.first !== null)
      ? el("span", {}, swatch("wait"), " waiting for the first token")
      : null,
    states.map((state) => el("span", {}, swatch(`run ${classOf(state)}`), ` ${WORDS[state]}`)),
    requests.some((each) => each.hedged)
      ? el("span", {}, swatch("run finished hedged"), " hedged: sent to two endpoints")
      : null,
  );
}

function classOf(state) {
  return state.replace(" ", "-");
}

function requestLines(requests, trial, start, end, width, look) {
  const line = requests.length > 60 ? 9 : 16,
    height = LINES_TOP + requests.length * line + 6;
  const x = (at) => LINES_LEFT + ((width - LINES_LEFT - LINES_RIGHT) * (at - start)) / (end - start);
  const axis = ticks(0, end - start, false, width < 500 ? 4 : 8);
  const decided = trial.decided_s;
  return svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      height,
      role: "group",
      "aria-label": `Time line of ${count(requests.length)} requests. Up and down move, Enter shows the candidate`,
    },
    axis.map((at) =>
      svg(
        "g",
        { class: "tick" },
        svg("line", { x1: x(start + at), x2: x(start + at), y1: LINES_TOP - 4, y2: height }),
        svg("text", { x: x(start + at), y: 12, "text-anchor": "middle" }, seconds(at)),
      ),
    ),
    requests.map((each, at) => request(each, at, LINES_TOP + at * line, line, x, end, look)),
    decided === null || decided === undefined
      ? null
      : svg(
          "line",
          { class: "decided", x1: x(decided), x2: x(decided), y1: LINES_TOP - 4, y2: height },
          svg("title", {}, `decided after ${seconds(decided - start)}`),
        ),
  );
}

function request(each, at, top, line, x, end, look) {
  const last = each.end ?? end,
    sent = Math.min(each.sent ?? each.start, last),
    first = Math.min(each.first ?? sent, last),
    tall = line - 3;
  const ended = `${WORDS[each.state] ?? each.state}${each.hedged ? ", hedged" : ""}`;
  const lines = [
    `${each.what} ${each.label}${each.selected ? ", selected" : ""}: ${ended}`,
    [
      `${seconds(last - each.start)}${each.end === null ? " so far" : ""}`,
      each.first === null ? "" : `first token after ${seconds(each.first - each.start)}`,
      `${count(each.tokens)} tokens`,
      typeof each.score === "number" ? `score ${number(each.score)}` : "",
    ]
      .filter(Boolean)
      .join(" · "),
    each.endpoint ?? "",
    each.error ?? "",
  ].filter(Boolean);
  const group = svg(
    "g",
    {
      class: "request",
      tabindex: at === 0 ? "0" : "-1",
      role: "img",
      "aria-label": lines.join("; "),
      "data-key": `request ${each.id}`,
      "data-candidate": each.candidate,
      on: { click: () => look(each.candidate) },
    },
    svg("rect", { class: "line", x: 0, y: top, width: x(end), height: line }),
    line > 10
      ? svg(
          "text",
          { class: "label", x: LINES_LEFT - 8, y: top + tall - 2, "text-anchor": "end" },
          (each.selected ? "★ " : "") + shortLabel(each.label),
        )
      : null,
    sent > each.start
      ? svg("rect", {
          class: "queue",
          x: x(each.start),
          y: top + line / 2 - 1.5,
          width: x(sent) - x(each.start),
          height: 2,
        })
      : null,
    first > sent
      ? svg("rect", { class: "wait", x: x(sent), y: top + 1, width: x(first) - x(sent), height: tall })
      : null,
    svg("rect", {
      class: `run ${classOf(each.state)}${each.hedged ? " hedged" : ""}`,
      x: x(first),
      y: top + 1,
      width: Math.max(1.5, x(last) - x(first)),
      height: tall,
    }),
    CROSSED.has(each.state)
      ? svg("path", { class: "cross", d: `M${x(last) - 3},${top + 2}l6,${tall - 2}m0,-${tall - 2}l-6,${tall - 2}` })
      : null,
  );
  return explained(group, lines, group.querySelector(".run"));
}

const CROSSED = new Set(["cancelled", "failed", "lost"]);

function shortLabel(label) {
  return label.length > 9 ? `${label.slice(0, 8)}…` : label;
}
