// Tables that are sorted by a press on a column's name.

import { el, redraw } from "./dom.js";

const orders = new Map(); // of a table's name: the column and the direction, for as long as the page is open

// `columns`: {name, title, note, value(row) to sort by, show(row) -> nodes, left}.
// `decorate(row)`: the attributes of its row.
export function table(name, caption, columns, rows, decorate = () => ({})) {
  const box = el("div", { class: "scroll", "data-scroll": name, tabindex: "0", role: "region", "aria-label": caption });
  const draw = () => redraw(box, drawn(name, caption, columns, rows, decorate, draw));
  draw();
  return box;
}

function drawn(name, caption, columns, rows, decorate, draw) {
  const order = orders.get(name);
  const column = order && columns.find((each) => each.name === order.column);
  const shown = column ? sorted(rows, column.value, order.up) : rows;
  return el(
    "table",
    {},
    el("caption", { class: "hidden" }, caption),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        columns.map((each) => heading(name, each, order, draw)),
      ),
    ),
    el(
      "tbody",
      {},
      shown.map((row) =>
        el(
          "tr",
          decorate(row),
          columns.map((each) => el("td", { class: each.left ? "left" : null }, each.show(row))),
        ),
      ),
    ),
  );
}

function heading(name, column, order, draw) {
  const mine = order?.column === column.name;
  const attributes = { scope: "col", class: column.left ? "left" : null, title: column.note };
  if (!column.value) return el("th", attributes, column.title);
  const turn = () => {
    orders.set(name, { column: column.name, up: mine ? !order.up : Boolean(column.left) });
    draw();
  };
  attributes["aria-sort"] = mine ? (order.up ? "ascending" : "descending") : "none";
  return el(
    "th",
    attributes,
    el(
      "button",
      { type: "button", "data-key": `${name} ${column.name}`, on: { click: turn } },
      column.title,
      el("span", { class: "order", "aria-hidden": "true" }, mine ? (order.up ? "▲" : "▼") : ""),
    ),
  );
}

// A new list; what is not known comes last in either direction.
export function sorted(rows, value, up) {
  const keyed = rows.map((row) => [value(row), row]);
  const unknown = (key) => key === null || key === undefined || Number.isNaN(key);
  keyed.sort(([a], [b]) => {
    if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
    const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    return up ? order : -order;
  });
  return keyed.map(([, row]) => row);
}
