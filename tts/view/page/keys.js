// Keys, the list of them, and the box that finds problems.

import { address, el, visible } from "./dom.js";
import { getKept, keptValue } from "./data.js";
import { nextTheme, switchMono } from "./preferences.js";

const KEYS = [
  ["?", "these keys"],
  ["/", "find a problem by its name or its text"],
  ["o", "overview"],
  ["g", "grid"],
  ["c", "compare two cells"],
  ["[  ]", "the problem before, the next one"],
  ["1 … 6", "the parts of a trial's page"],
  ["t", "colours: automatic, light, dark"],
  ["m", "model texts in a monospaced font"],
  ["Tab, Enter", "the next link or button; open it"],
  ["arrows, Home, End, Page", "move in the grid, the chart and the tree"],
  ["Esc", "close"],
];
const MOST_FOUND = 12;

export function keyboard() {
  const dialog = document.getElementById("keys");
  dialog.append(
    el("h2", { id: "keys-title" }, "Keys"),
    el(
      "dl",
      {},
      KEYS.map(([keys, what]) => [
        el(
          "dt",
          {},
          keys.split("  ").map((key) => el("kbd", {}, key)),
        ),
        el("dd", {}, what),
      ]),
    ),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  document.getElementById("help").addEventListener("click", () => dialog.showModal());
  const go = { o: "#/", g: "#/grid", c: "#/compare" };
  const does = {
    "?": () => dialog.showModal(),
    "/": () => document.querySelector("#search input").focus(),
    t: nextTheme,
    m: switchMono,
    "[": () => document.querySelector("[rel=prev]")?.click(),
    "]": () => document.querySelector("[rel=next]")?.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.target.closest?.("input, select, textarea")) return;
    const jump = /^[1-9]$/.test(event.key) ? document.querySelector(`[data-jump="${event.key}"]`) : null;
    const action =
      (jump && (() => jump.click())) ??
      does[event.key] ??
      (go[event.key] && (() => document.querySelector(`nav [href="${go[event.key]}"]`).click()));
    if (!action) return;
    event.preventDefault();
    action();
  });
}

// A box with a list of the problems whose name or text has what is typed: at most twelve, names first.
export function chooser(home, chosen) {
  const list = el("ul", { id: "found", role: "listbox", "aria-label": "Problems found", hidden: true });
  const input = el("input", {
    type: "search",
    placeholder: "Find a problem  /",
    "aria-label": "Find a problem",
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": "found",
    "aria-autocomplete": "list",
    autocomplete: "off",
    spellcheck: "false",
  });
  let found = [],
    at = 0,
    problems = null;
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (problem) => {
    input.value = "";
    close();
    input.blur();
    chosen(problem.id);
  };
  const draw = () => {
    list.replaceChildren(
      ...found.map((problem, index) =>
        el(
          "li",
          {
            id: `found-${index}`,
            role: "option",
            "aria-selected": String(index === at),
            on: {
              pointerdown: (event) => {
                event.preventDefault();
                choose(problem);
              },
            },
          },
          el("bdi", { class: "id" }, problem.id),
          " ",
          el("bdi", { class: "muted" }, problem.prompt),
        ),
      ),
    );
    if (found.length === 0)
      list.replaceChildren(
        el(
          "li",
          { class: "muted" },
          problems ? "No problem has this in its name or the beginning of its text." : "Loading …",
        ),
      );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (found.length) input.setAttribute("aria-activedescendant", `found-${at}`);
    list.children[at]?.scrollIntoView({ block: "nearest" });
  };
  const look = async () => {
    const typed = input.value.trim();
    if (typed === "") return close();
    problems = keptValue("/api/grid", "search")?.problems ?? null;
    if (!problems) {
      found = [];
      draw();
      try {
        problems = (await getKept("/api/grid", "search")).problems;
      } catch (error) {
        list.replaceChildren(el("li", {}, error.message));
        return;
      }
      if (input.value.trim() !== typed) return;
    }
    found = search(problems, typed);
    at = 0;
    draw();
  };
  input.addEventListener("input", look);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      input.value = "";
      close();
      input.blur();
    } else if (event.key === "Enter" && found[at] && !list.hidden) choose(found[at]);
    else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && found.length) {
      at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
      draw();
      event.preventDefault();
    }
  });
  home.append(input, list);
}

export function search(problems, typed) {
  const wanted = visible(typed).toLowerCase();
  const named = [],
    told = [];
  for (const problem of problems) {
    if (problem.id.toLowerCase().includes(wanted)) named.push(problem);
    else if (problem.prompt?.toLowerCase().includes(wanted)) told.push(problem);
    if (named.length >= MOST_FOUND) break;
  }
  return [...named, ...told].slice(0, MOST_FOUND);
}
