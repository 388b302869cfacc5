// The tree of a trial: candidates by their parents, from left to right.

import { el, explained, svg } from "./dom.js";
import { count, number } from "./format.js";

const TREE_ACROSS = 84;
const TREE_DOWN = 20;
const TREE_MARGIN = 22;

export function tree(candidates, name, look) {
  const nodes = laid(candidates);
  const width = TREE_MARGIN * 2 + TREE_ACROSS * (1 + Math.max(...nodes.map((node) => node.depth))),
    height = TREE_MARGIN * 2 + TREE_DOWN * nodes.leaves;
  const place = (node) => [TREE_MARGIN + node.depth * TREE_ACROSS, TREE_MARGIN + node.y * TREE_DOWN];
  const chosen = new Set(); // those that lead to what was selected
  for (let node = nodes.find((each) => each.candidate.selected); node; node = node.parent) chosen.add(node);
  const edges = nodes
    .filter((node) => node.parent)
    .map((node) => {
      const [x, y] = place(node),
        [left, top] = place(node.parent),
        middle = (x + left) / 2;
      return svg("path", {
        class: `edge${chosen.has(node) ? " chosen" : ""}`,
        d: `M${left},${top}C${middle},${top} ${middle},${y} ${x},${y}`,
      });
    });
  const marks = nodes.map((node, at) => knot(node, at, ...place(node), name, look));
  const drawing = svg(
    "svg",
    {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      role: "tree",
      "aria-label": `Tree of ${count(nodes.length)} candidates. Arrow keys move, Enter shows one`,
    },
    edges,
    marks,
  );
  const go = (node) => {
    marks.find((mark) => mark.getAttribute("tabindex") === "0")?.setAttribute("tabindex", "-1");
    const mark = marks[nodes.indexOf(node)];
    mark.setAttribute("tabindex", "0");
    mark.focus();
  };
  drawing.addEventListener("keydown", (event) => {
    const node = nodes[marks.indexOf(document.activeElement)];
    if (!node) return;
    const beside = (turn) =>
      nodes
        .filter((each) => each.depth === node.depth && (each.y - node.y) * turn > 0)
        .sort((a, b) => turn * (a.y - b.y))[0];
    const to = {
      ArrowLeft: () => node.parent,
      ArrowRight: () => node.children[0],
      ArrowDown: () => beside(1),
      ArrowUp: () => beside(-1),
      Home: () => nodes[0],
      End: () => nodes.at(-1),
    }[event.key];
    if (event.key === "Enter" || event.key === " ") look(node.candidate.id);
    else if (!to) return;
    else if (to()) go(to());
    event.preventDefault();
  });
  const box = el(
    "div",
    { class: "scroll drawing", "data-scroll": "tree", role: "region", "aria-label": "Tree" },
    drawing,
  );
  const [left, top] = place(nodes.find((node) => node.candidate.selected) ?? nodes[0]);
  Object.assign(box.dataset, { left, top }); // what is to be in the middle at first
  return box;
}

// Nodes with their depth and height: leaves are lines, a parent stands in the middle of its children.
function laid(candidates) {
  const byId = new Map(
    candidates.map((candidate) => [candidate.id, { candidate, children: [], parent: null, depth: 0, y: 0 }]),
  );
  for (const node of byId.values()) {
    const parent = byId.get(node.candidate.parent);
    if (parent && parent !== node) {
      node.parent = parent;
      parent.children.push(node);
    }
  }
  const nodes = [];
  let leaves = 0;
  const stack = [...byId.values()].filter((node) => !node.parent).reverse();
  while (stack.length) {
    const node = stack.pop();
    node.depth = node.parent ? node.parent.depth + 1 : 0;
    nodes.push(node);
    if (node.children.length === 0) node.y = leaves++;
    stack.push(...[...node.children].reverse());
  }
  for (const node of [...nodes].reverse())
    if (node.children.length) node.y = (node.children[0].y + node.children.at(-1).y) / 2;
  return Object.assign(nodes, { leaves });
}

function knot(node, at, x, y, name, look) {
  const { id, answer, correct, score, state, selected, tokens } = node.candidate;
  const said = correct === true ? "right" : correct === false ? "wrong" : "unknown";
  const label = [
    `candidate ${name(id)}${selected ? ", selected" : ""}`,
    `answer: ${answer ?? "–"}`,
    `score ${number(score)} · ${count(tokens)} tokens · ${state}`,
  ];
  const mark = svg(
    "g",
    {
      class: `node ${said} ${state === "finished" || state === "shared" ? "" : "cut"}`,
      role: "treeitem",
      "aria-level": node.depth + 1,
      "aria-label": label.join("; "),
      tabindex: at === 0 ? "0" : "-1",
      transform: `translate(${x} ${y})`,
      "data-key": `node ${id}`,
      on: { click: () => look(id) },
    },
    selected ? svg("circle", { class: "ring", r: 9 }) : null,
    correct === false ? svg("path", { class: "dot", d: "M-5,-5h10v10h-10z" }) : svg("circle", { class: "dot", r: 5.5 }),
    svg(
      "text",
      node.children.length ? { y: -9, "text-anchor": "middle" } : { x: 11, y: 4 },
      score === null || score === undefined ? name(id).slice(0, 8) : number(score),
    ),
  );
  return explained(mark, label);
}
