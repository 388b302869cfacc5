// Elements made of attributes and text. Nothing here parses markup: what a model wrote can only become a text node.

// Control characters, and the marks that turn the direction of writing: written out, as reports do it.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/g;

export function visible(text) {
  return String(text).replace(/\r\n/g, "\n").replace(CONTROL, writtenOut);
}

function writtenOut(character) {
  const code = character.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
}

export function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// `on` is a mapping of event names to listeners; null, undefined and false leave an attribute out.
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "width" && element instanceof HTMLElement) {
      element.style.width = value; // through the object model: the policy forbids style attributes
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : visible(value));
    }
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) put(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(visible(child));
  }
}

export function address(page, ...parts) {
  return `#/${[page, ...parts.map(encodeURIComponent)].join("/")}`;
}

export function link(to, ...children) {
  return el("a", { href: to, "data-key": to }, ...children);
}

// A mark that does not rest on colour: a sign to see, and a word to hear.
export function verdict(correct) {
  const [sign, word, kind] =
    correct === true
      ? ["✓", "correct", "right"]
      : correct === false
        ? ["✗", "wrong", "wrong"]
        : ["–", "not graded", "unknown"];
  return el(
    "span",
    { class: `verdict ${kind}`, title: word },
    el("span", { "aria-hidden": "true" }, sign),
    hidden(word),
  );
}

export function hidden(text) {
  return el("span", { class: "hidden" }, text);
}

// Text of a model in the midst of other text, which it must not turn around; at most `most` characters of it.
export function model(text, most = 300, none = "–") {
  if (text === null || text === undefined) return el("span", { class: "unknown" }, none);
  const whole = String(text);
  if (whole === "") return el("span", { class: "unknown" }, "(empty)");
  return el(
    "bdi",
    { class: "model", title: whole.length > 40 ? whole.slice(0, 1000) : null },
    whole.length > most ? `${whole.slice(0, most)}…` : whole,
  );
}

const opened = new Set();

// Details that stay open when the page is drawn anew; `fill` makes the inside when it is first looked at.
export function foldable(key, summary, fill, { open = false, ...attributes } = {}) {
  if (open && !opened.has(`closed ${key}`)) opened.add(key);
  const inside = el("div", { class: "inside" });
  let done = false;
  const details = el("details", { ...attributes }, el("summary", { "data-key": key }, summary), inside);
  const show = () => {
    if (!done) put(inside, [fill()]);
    done = true;
  };
  details.addEventListener("toggle", () => {
    opened[details.open ? "add" : "delete"](key);
    opened[details.open ? "delete" : "add"](`closed ${key}`);
    if (details.open) show();
  });
  if (opened.has(key)) {
    details.open = true;
    show();
  }
  details.unfold = () => {
    details.open = true;
    show();
  };
  return details;
}

// New children where focus, the text being typed and all scroll positions stay as they were.
export function redraw(container, children) {
  const active = container.contains(document.activeElement) ? document.activeElement : null;
  const key = active?.dataset.key;
  const caret = active?.selectionStart;
  const scrolled = new Map([...container.querySelectorAll("[data-scroll]")].map((box) => [box.dataset.scroll, box]));
  const places = new Map([...scrolled].map(([name, box]) => [name, [box.scrollLeft, box.scrollTop]]));
  const top = window.scrollY;
  container.replaceChildren();
  put(container, [children]);
  for (const box of container.querySelectorAll("[data-scroll]")) {
    const place = places.get(box.dataset.scroll);
    if (place) box.scrollTo(...place);
  }
  window.scrollTo(window.scrollX, top);
  if (!key) return;
  const again = keyed(container, key);
  again?.focus({ preventScroll: true });
  if (again && caret !== null && caret !== undefined && again.setSelectionRange) again.setSelectionRange(caret, caret);
}

export function keyed(container, key) {
  return [...container.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key);
}

const tip = document.getElementById("tip");

// What is shown beside an element while a pointer or the focus is on it: a list of lines. `place`: the part at which.
export function explained(element, lines, place = element) {
  const show = () => {
    tip.replaceChildren(...lines.map((line) => el("div", {}, line)));
    tip.hidden = false;
    const at = place.getBoundingClientRect();
    const left = Math.min(at.left + at.width / 2 + 10, window.innerWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 0 ? above : at.bottom + 8}px`;
  };
  for (const event of ["pointerenter", "focus"]) element.addEventListener(event, show);
  for (const event of ["pointerleave", "blur"]) element.addEventListener(event, unexplained);
  return element;
}

export function unexplained() {
  tip.hidden = true;
}

export function say(sentence) {
  document.getElementById("said").textContent = visible(sentence);
}
