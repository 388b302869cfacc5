// Problems × cells as a heat map. Only the rows in sight are drawn: thousands of problems scroll smoothly.

import { address, el, hidden, say, visible } from "./dom.js";
import { count, described, named, percent, plural, requestsOf, short } from "./format.js";
import { get } from "./data.js";
import { sorted } from "./tables.js";

const ROW = 26; // pixels; style.css has the same
const BEYOND = 8; // rows that are drawn above and below those in sight
const SOLVED = 0.5; // a cell solves a problem if more than half of its trials do
let standing = { row: 0, column: 0 }; // the place of the keys, which a live update keeps
const MEASURES = (kind) => ({ score: "accuracy", tokens: "tokens", samples: requestsOf(kind) });

export async function gridPage({ overview, search, signal }) {
  const grid = await get("/api/grid", signal);
  const view = new Grid(grid, overview, search);
  return { title: "Grid", children: view.nodes() };
}

class Grid {
  constructor(grid, overview, search) {
    this.grid = grid;
    this.kind = overview.kind;
    this.cells = grid.cells.map((id) => overview.cells.find((cell) => cell.id === id) ?? { id, strategy: id });
    this.names = this.cells.map((cell) => visible(described(cell)));
    this.measures = grid.problems.map((problem, at) => measured(grid.score[at], at));
    this.wanted = Object.fromEntries(
      ["q", "sort", "dir", "show", "a", "b"].map((name) => [name, search.get(name) ?? ""]),
    );
    this.drawn = new Map(); // of a row's number: its element
  }

  nodes() {
    if (this.grid.problems.length === 0)
      return [el("h1", { tabindex: "-1" }, "Grid"), el("p", { class: "state" }, "No problem has been asked so far.")];
    this.count = el("span", { class: "muted", role: "status" });
    this.head = el("div", { class: "grow head", role: "row", "aria-rowindex": "1" });
    this.body = el("div", { class: "gbody", role: "rowgroup" });
    this.box = el(
      "div",
      {
        class: "grid",
        role: "grid",
        tabindex: "0",
        "data-key": "grid",
        "data-scroll": "grid",
        "aria-label": "Problems and cells. Arrow keys move, Enter opens",
        "aria-colcount": this.cells.length + 3,
        on: {
          scroll: () => this.soon(),
          keydown: (event) => this.key(event),
          click: (event) => this.press(event),
          focus: () => this.mark(),
          pointerover: ({ target }) => {
            if (target.ariaLabel && target !== this.box) target.title = target.ariaLabel;
          },
        },
      },
      el("div", { class: "ghead", role: "rowgroup" }, this.head),
      this.body,
    );
    const longest = Math.max(12, ...this.cells.map((cell) => named(cell).length));
    this.box.style.setProperty("--cells", this.cells.length);
    this.box.style.setProperty("--head", `${Math.min(12, 1.5 + 0.47 * longest)}rem`);
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.choose();
    return [el("h1", { tabindex: "-1" }, "Grid"), this.tools(), this.box, key(this.wanted.show)];
  }

  tools() {
    const set = (name) => ({ input: (event) => this.set(name, event.target.value) });
    const option =
      (name) =>
      ([value, label]) =>
        el("option", { value, selected: this.wanted[name] === value }, label);
    const cells = this.cells.map((cell) => [cell.id, described(cell)]);
    const select = (name, label, options) =>
      el(
        "label",
        {},
        label,
        " ",
        el("select", { "data-key": `grid ${name}`, on: set(name) }, options.map(option(name))),
      );
    return el(
      "form",
      { class: "filters", on: { submit: (event) => event.preventDefault() } },
      el(
        "label",
        {},
        hidden("Filter by name or text "),
        el("input", {
          type: "search",
          placeholder: "Filter by name or text",
          "data-key": "grid q",
          value: this.wanted.q,
          on: set("q"),
        }),
      ),
      select("a", "solved by", [["", "any"], ...cells]),
      select("b", "not by", [["", "–"], ...cells]),
      select("sort", "order", [
        ["", "of the run"],
        ["difficulty", "difficulty"],
        ["disagreement", "disagreement"],
        ["id", "name"],
        ...cells,
      ]),
      select(
        "show",
        "show",
        Object.entries(MEASURES(this.kind)).map(([name, label]) => [name === "score" ? "" : name, label]),
      ),
      this.count,
    );
  }

  set(name, value) {
    this.wanted[name] = value;
    if (name === "sort") this.wanted.dir = "";
    const search = new URLSearchParams(Object.entries(this.wanted).filter(([, each]) => each));
    history.replaceState(history.state, "", `#/grid${search.size ? `?${search}` : ""}`);
    if (name === "show") this.box.nextElementSibling.replaceWith(key(value));
    this.choose();
    this.box.scrollTop = 0;
    standing.row = 0;
    this.draw();
    say(this.count.textContent);
  }

  // The rows to show, as numbers of problems in their order.
  choose() {
    const { q, a, b, sort, dir } = this.wanted;
    const text = visible(q).toLowerCase();
    const [one, other] = [a, b].map((id) => this.grid.cells.indexOf(id));
    const solves = (at, column) => this.grid.score[at][column] > SOLVED;
    let rows = this.grid.problems.flatMap((problem, at) => {
      if (text && !problem.id.toLowerCase().includes(text) && !problem.prompt?.toLowerCase().includes(text)) return [];
      if (one >= 0 && !solves(at, one)) return [];
      return other >= 0 && (this.grid.score[at][other] === null || solves(at, other)) ? [] : [at];
    });
    const column = this.grid.cells.indexOf(sort);
    const table = this.grid[this.wanted.show || "score"];
    const value =
      {
        id: (at) => this.grid.problems[at].id,
        difficulty: (at) => this.measures[at].difficulty,
        disagreement: (at) => this.measures[at].disagreement,
      }[sort] ?? (column >= 0 ? (at) => table[at][column] : null);
    if (value) rows = sorted(rows, value, dir ? dir === "up" : sort === "id");
    this.rows = rows;
    this.drawn.clear();
    this.body.replaceChildren();
    this.body.style.height = `${rows.length * ROW}px`;
    this.box.setAttribute("aria-rowcount", rows.length + 1);
    this.count.textContent =
      rows.length === this.grid.problems.length
        ? plural(rows.length, "problem")
        : `${count(rows.length)} of ${plural(this.grid.problems.length, "problem")}`;
    this.head.replaceChildren(...this.heading());
    if (rows.length === 0) this.body.append(el("p", { class: "state" }, "No problem meets these conditions."));
  }

  heading() {
    const titles = [
      ["id", "problem"],
      ["difficulty", "difficulty"],
      ["disagreement", "disagreement"],
      ...this.cells.map((cell) => [cell.id, named(cell)]),
    ];
    return titles.map(([name, title], at) => {
      const mine = this.wanted.sort === name;
      const up = this.wanted.dir ? this.wanted.dir === "up" : name === "id";
      const turn = () => {
        this.wanted.sort = name;
        this.wanted.dir = mine ? (up ? "down" : "up") : "";
        const { dir } = this.wanted;
        this.set("sort", name);
        this.set("dir", dir);
        this.box.previousElementSibling.querySelector("[data-key='grid sort']").value = name;
      };
      return el(
        "div",
        {
          role: "columnheader",
          "aria-colindex": at + 1,
          "aria-sort": mine ? (up ? "ascending" : "descending") : "none",
          class: at === 0 ? "gname" : at < 3 ? "gnumber" : "gcell",
        },
        el(
          "button",
          {
            type: "button",
            tabindex: "-1",
            title: at < 3 ? EXPLAINED[name] : described(this.cells[at - 3]),
            on: { click: turn },
          },
          el("span", {}, title),
          mine ? (up ? " ▲" : " ▼") : "",
        ),
      );
    });
  }

  soon() {
    this.asked ??= requestAnimationFrame(() => {
      this.asked = null;
      this.draw();
    });
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - BEYOND);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + BEYOND);
    const spare = []; // rows that have left, to be filled anew: that is cheaper than to make others
    for (const [at, row] of this.drawn) {
      if (at >= first && at < last) continue;
      spare.push(row);
      this.drawn.delete(at);
    }
    let next = null;
    for (let at = last - 1; at >= first; at--) {
      // in the document they are in the order in which they are seen
      if (!this.drawn.has(at)) {
        const row = spare.pop() ?? this.blank();
        this.fill(row, at);
        this.body.insertBefore(row, next);
        this.drawn.set(at, row);
      }
      next = this.drawn.get(at);
    }
    for (const row of spare) row.remove();
    this.mark();
  }

  blank() {
    const part = (kind, role, column) =>
      el("div", { class: kind, role, "aria-colindex": column + 1, "data-column": column });
    return el(
      "div",
      { class: "grow", role: "row" },
      el(
        "div",
        { class: "gname", role: "rowheader", "aria-colindex": "1", "data-column": "0" },
        el("a", { tabindex: "-1" }, el("bdi")),
        " ",
        el("bdi", { class: "muted" }),
      ),
      part("gnumber", "gridcell", 1),
      part("gnumber", "gridcell", 2),
      this.cells.map((cell, column) => part("gcell", "gridcell", column + 3)),
    );
  }

  fill(row, at) {
    const problem = this.grid.problems[this.rows[at]],
      { difficulty, disagreement } = this.measures[this.rows[at]];
    const [name, ...others] = row.children,
      [to, prompt] = name.children;
    row.dataset.row = at;
    row.setAttribute("aria-rowindex", at + 2);
    row.style.transform = `translateY(${at * ROW}px)`;
    name.title = visible(problem.prompt ?? "");
    to.href = address("problem", problem.id);
    to.firstChild.textContent = visible(problem.id);
    prompt.textContent = visible(problem.prompt ?? "");
    others[0].textContent = percent(difficulty, 0);
    others[1].textContent = percent(disagreement, 0);
    for (let column = 0; column < this.cells.length; column++) this.colour(others[column + 2], this.rows[at], column);
    for (let column = 0; column < row.children.length; column++) row.children[column].id = `g${at}-${column}`;
  }

  colour(box, problem, column) {
    const show = this.wanted.show || "score";
    const value = this.grid[show][problem][column],
      state = this.grid.state?.[problem]?.[column] ?? "";
    const unknown = value === null || value === undefined;
    const text = unknown ? (STATE_SIGNS[state] ?? "–") : show === "score" ? percent(value, 0) : short(value);
    box.className = `gcell ${unknown ? "none" : this.heat(show, value)}`;
    box.textContent = text;
    const said = unknown ? state || "unknown" : `${text} ${show === "score" ? "%" : show}`;
    box.ariaLabel = `${this.names[column]}: ${said}`;
  }

  heat(show, value) {
    if (show === "score") return `s${Math.round(10 * value)}`;
    this.most ??= {};
    this.most[show] ??= Math.max(1, ...this.grid[show].map((row) => Math.max(...row.map((each) => each ?? 0))));
    return `t${Math.round((10 * Math.log1p(value)) / Math.log1p(this.most[show]))}`;
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 2),
      last = this.cells.length + 2;
    const { row, column } = standing;
    const to = {
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      ArrowRight: [row, column + 1],
      ArrowLeft: [row, column - 1],
      PageDown: [row + page, column],
      PageUp: [row - page, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? this.rows.length - 1 : row, last],
    }[event.key];
    if (event.target !== this.box || (!to && event.key !== "Enter")) return;
    event.preventDefault();
    if (!to) return this.enter(row, column);
    standing = { row: Math.max(0, Math.min(this.rows.length - 1, to[0])), column: Math.max(0, Math.min(last, to[1])) };
    this.reveal();
  }

  reveal() {
    const top = standing.row * ROW,
      head = this.head.offsetHeight,
      height = this.box.clientHeight - head;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + ROW > this.box.scrollTop + height) this.box.scrollTop = top + ROW - height;
    this.draw();
    const cell = document.getElementById(`g${standing.row}-${standing.column}`);
    const name = this.head.firstElementChild.offsetWidth;
    if (!cell || standing.column === 0) return;
    if (cell.offsetLeft < this.box.scrollLeft + name) this.box.scrollLeft = cell.offsetLeft - name;
    else if (cell.offsetLeft + cell.offsetWidth > this.box.scrollLeft + this.box.clientWidth)
      this.box.scrollLeft = cell.offsetLeft + cell.offsetWidth - this.box.clientWidth;
  }

  mark() {
    this.body.querySelector(".at")?.classList.remove("at");
    const cell = document.getElementById(`g${standing.row}-${standing.column}`);
    cell?.classList.add("at");
    if (cell) this.box.setAttribute("aria-activedescendant", cell.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  press(event) {
    const cell = event.target.closest("[data-column]");
    if (!cell || event.target.closest("a")) return;
    standing = { row: Number(cell.parentElement.dataset.row), column: Number(cell.dataset.column) };
    this.mark();
    if (standing.column !== 1 && standing.column !== 2) this.enter(standing.row, standing.column);
  }

  enter(row, column) {
    const problem = this.grid.problems[this.rows[row]];
    if (!problem) return;
    const cell = this.cells[column - 3];
    const to = el("a", { href: address("problem", problem.id) + (cell ? `?cell=${encodeURIComponent(cell.id)}` : "") });
    this.box.append(to); // a link, so that the way back remembers this place
    to.click();
    to.remove();
  }
}

const STATE_SIGNS = { open: "…", error: "!", ungraded: "–" };
const EXPLAINED = {
  id: "By name",
  difficulty: "100 less the mean accuracy of all cells, %",
  disagreement: "Standard deviation of the accuracy between cells, %",
};

function measured(scores) {
  const known = scores.filter((score) => score !== null && score !== undefined);
  if (known.length === 0) return { difficulty: null, disagreement: null };
  const mean = known.reduce((sum, score) => sum + score, 0) / known.length;
  const variance = known.reduce((sum, score) => sum + (score - mean) ** 2, 0) / known.length;
  return { difficulty: 1 - mean, disagreement: Math.sqrt(variance) };
}

function key(show) {
  const steps = Array.from({ length: 11 }, (_, at) => el("span", { class: `${show ? "t" : "s"}${at}` }));
  const [low, high] = show ? ["few", "many, logarithmic"] : ["0 % right", "100 % right"];
  return el(
    "p",
    { class: "ramp" },
    low,
    " ",
    el("span", { class: "steps", "aria-hidden": "true" }, steps),
    " ",
    high,
    " · ",
    el("span", { class: "none" }, "–"),
    " not graded or not begun · … not decided · ! error",
  );
}
