// The page as a whole: which part of it is shown, what it is told, and how it follows a run that goes on.

import { address, el, keyed, redraw, say, unexplained, visible } from "./dom.js";
import { follow, forget, get, isExport } from "./data.js";
import { comparePage } from "./compare.js";
import { gridPage } from "./grid.js";
import { chooser, keyboard } from "./keys.js";
import { overviewPage } from "./overview.js";
import { problemPage } from "./problem.js";
import { preferences } from "./preferences.js";
import { trialPage } from "./trial.js";

const PAGES = { "": overviewPage, grid: gridPage, problem: problemPage, trial: trialPage, compare: comparePage };
const SOON_MS = 150; // a page that comes sooner needs no word that it is loading
const TYPING_MS = 4000; // after which whoever has the focus in a field does not type any more
const main = document.getElementById("main");
const places = new Map(); // of an address: how far it was scrolled, and what had the focus
let overview = null;
let current = null; // the address that is shown
let asking = null; // an AbortController, while a page is asked for
let paused = false;
let newest = 0;
let seen = 0;
let touched = 0; // when something was typed or chosen last
let unfollow = null;

function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter((part, at) => at === 0 || part !== "");
  const name = parts.shift() ?? "";
  let args = [];
  try {
    args = parts.map(decodeURIComponent);
  } catch {
    return { name: "unreadable address", args, search: new URLSearchParams() };
  }
  return { name, args, search: new URLSearchParams(search) };
}

async function open({ again = false } = {}) {
  const { name, args, search } = route();
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : null;
  const here = location.hash;
  asking?.abort();
  const mine = (asking = new AbortController());
  const waiting = setTimeout(() => wait(again), SOON_MS);
  let children,
    title,
    failed = null;
  try {
    overview = !overview || again ? await get("/api/overview", mine.signal) : overview;
    if (!page) throw new Error("There is no such page here. The links above lead to those that there are.");
    ({ children, title } = await page({ overview, args, search, signal: mine.signal }));
  } catch (error) {
    if (error.name === "AbortError") return;
    failed = error;
  } finally {
    clearTimeout(waiting);
    main.removeAttribute("aria-busy");
  }
  if (mine.signal.aborted) return;
  asking = null;
  unexplained();
  frame(name);
  if (failed) {
    if (again) return say(failed.message);
    children = trouble(failed);
    title = "not to be shown";
  }
  document.title = visible(`${title} – ${overview?.title ?? "tts view"}`);
  redraw(main, children);
  if (!again) arrive(here);
}

function wait(again) {
  main.setAttribute("aria-busy", "true");
  if (!again && !main.querySelector(".loading")) main.prepend(el("p", { class: "state loading" }, "Loading …"));
}

function trouble(error) {
  const again = el("button", { type: "button", on: { click: () => open() } }, "Try again");
  return el(
    "section",
    { class: "trouble", role: "alert" },
    el("h1", { tabindex: "-1" }, "This cannot be shown"),
    el("p", {}, error.message),
    el("p", {}, again, " ", el("a", { href: "#/" }, "Overview")),
  );
}

// At a new address: its top, or where it was left.
function arrive(here) {
  const first = current === null;
  current = here;
  const place = places.get(here);
  window.scrollTo(0, place?.top ?? 0);
  for (const box of main.querySelectorAll("[data-scroll]"))
    box.scrollTo(...(place?.boxes[box.dataset.scroll] ?? middle(box)));
  const wanted = main.querySelector("[data-arrive]");
  const focus = (place?.key && keyed(main, place.key)) ?? wanted ?? (first ? null : main.querySelector("h1"));
  focus?.focus({ preventScroll: Boolean(place) || focus !== wanted });
}

function middle(box) {
  return [box.dataset.left - box.clientWidth / 2 || 0, box.dataset.top - box.clientHeight / 2 || 0];
}

function leave() {
  if (current === null) return;
  const boxes = {};
  for (const box of main.querySelectorAll("[data-scroll]")) boxes[box.dataset.scroll] = [box.scrollLeft, box.scrollTop];
  const key = main.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  places.set(current, { top: window.scrollY, boxes, key });
}

function frame(name) {
  for (const each of document.querySelectorAll("nav [data-page]")) {
    if (each.dataset.page === name) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  if (!overview) return;
  document
    .getElementById("run")
    .replaceChildren(
      el("strong", {}, overview.title),
      " ",
      el("span", { class: "badge" }, overview.kind),
      " ",
      isExport ? el("span", { class: "badge" }, "exported") : "",
      " ",
      el("bdi", { class: "muted" }, overview.path),
    );
}

function following() {
  const button = document.getElementById("live");
  button.hidden = false;
  const show = (connected) => {
    button.textContent = paused ? "paused" : connected ? "live" : "connection lost";
    button.className = paused ? "" : connected ? "live" : "lost";
    button.title = paused ? "Follow the run again" : "The page follows the run. Press to keep it as it is";
    button.setAttribute("aria-pressed", String(!paused));
  };
  let connected = true;
  button.addEventListener("click", () => {
    paused = !paused;
    show(connected);
    if (!paused) refresh();
  });
  show(true);
  unfollow = follow(
    (version) => {
      newest = version;
      refresh();
    },
    (state) => show((connected = state)),
  );
}

// The page anew, where something has changed: one at a time, and not under a selection or while somebody types.
let refreshing = false;
async function refresh() {
  if (refreshing || paused || newest === seen) return;
  refreshing = true;
  const began = performance.now();
  const typing = document.activeElement?.matches("input, select") && began - touched < TYPING_MS;
  const selecting = String(getSelection()) !== "" && main.contains(getSelection().anchorNode);
  const going = asking !== null;
  if (!typing && !selecting && !going && !document.hidden) {
    seen = newest;
    forget("/api/grid");
    await open({ again: true });
    if (!overview.live) {
      document.getElementById("live").hidden = true;
      unfollow();
    }
  }
  const pause = Math.max(1000, 4 * (performance.now() - began)); // a fifth of the time at most
  setTimeout(() => {
    refreshing = false;
    refresh();
  }, pause);
}

for (const event of ["input", "pointerdown", "keydown"]) {
  document.addEventListener(
    event,
    () => {
      touched = performance.now();
    },
    { capture: true, passive: true },
  );
}
history.scrollRestoration = "manual";
window.addEventListener("scroll", () => unexplained(), { passive: true });
document.addEventListener("click", (event) => {
  const to = event.target.closest?.("a[href^='#']");
  if (!to) return;
  if (to.id === "skip") {
    event.preventDefault();
    main.focus();
  } else {
    leave();
    places.delete(to.getAttribute("href")); // by a link one comes to the top, by the back button to where one was
  }
});
window.addEventListener("popstate", leave);
window.addEventListener("hashchange", () => open());
preferences();
keyboard();
chooser(document.getElementById("search"), (id) => {
  leave();
  location.hash = address("problem", id);
});
await open();
if (overview?.live && !isExport) following();
