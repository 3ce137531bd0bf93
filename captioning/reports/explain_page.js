
"use strict";

function explainWords(model) {
  const words = [...model.querySelectorAll(".word")], source = model.querySelectorAll(".source span");
  const caption = model.querySelector(".stage figcaption");
  const map = words.some(word => word.dataset.map) ? new Image() : null;
  if (map) {
    map.className = "map";
    map.alt = "";
    map.hidden = true;
    model.querySelector(".frame").append(map);
  }

  function attend(word) {
    if (!caption) return;
    if (map) map.hidden = !word;
    if (map && word) map.src = word.dataset.map;
    const weights = word ? word.dataset.weights : null;
    source.forEach((token, i) => {
      const percent = weights ? 100 * weights.split(" ")[i] : 0;
      token.style.background = `color-mix(in srgb, var(--accent) ${percent * 0.45}%, transparent)`;
    });
    caption.textContent = !word ? caption.dataset.about :
      `${word.querySelector(".token").textContent}: largest weight ${word.dataset.largest} (equal weights: ${word.dataset.equal})`;
  }

  function open(word) {
    const expand = word.getAttribute("aria-expanded") === "false";
    for (const other of words) {
      const shown = other === word && expand;
      other.setAttribute("aria-expanded", shown);
      document.getElementById(other.getAttribute("aria-controls")).hidden = !shown;
    }
  }

  // What is pointed at comes before what has the focus, and that before the word that is open.
  const current = () => words.find(word => word.matches(":hover")) || words.find(word => word === document.activeElement) ||
    words.find(word => word.getAttribute("aria-expanded") === "true");
  for (const word of words) {
    for (const name of ["mouseenter", "mouseleave", "focus", "blur"])
      word.addEventListener(name, () => attend(current()));
    word.addEventListener("click", () => { open(word); attend(current()); });
  }
  model.querySelectorAll(".panel").forEach(panel => panel.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    const word = words.find(one => one.getAttribute("aria-controls") === panel.id);
    open(word);
    word.focus();
  }));
  for (const force of model.querySelectorAll(".force")) {
    force.addEventListener("click", () => {
      const panel = force.closest(".panel");
      panel.querySelectorAll(".force").forEach(other => other.setAttribute("aria-pressed", other === force));
      const text = document.createElement("p"), about = document.createElement("p");
      text.className = "text";
      about.className = "about";
      text.textContent = force.dataset.text;
      about.textContent = force.dataset.about;
      panel.querySelector(".result").replaceChildren(text, about);
    });
  }
}

function explainTree(model) {
  const tree = model.querySelector(".tree");
  if (!tree) return;
  const columns = tree.querySelector(".columns"), lines = tree.querySelector(".lines");
  const detail = model.querySelector(".detail"), nodes = [...tree.querySelectorAll(".node")];
  const parent = node => node.dataset.parent === "" ? null : nodes[node.dataset.parent];
  const children = new Map(nodes.map(node => [node, []]));
  nodes.forEach(node => parent(node) && children.get(parent(node)).push(node));
  const visible = node => node.offsetParent !== null;
  const paths = new Map();

  function draw() {
    lines.setAttribute("width", columns.scrollWidth);
    lines.setAttribute("height", columns.scrollHeight);
    const zero = columns.getBoundingClientRect(), made = [];
    paths.clear();
    for (const node of nodes) {
      const from = parent(node);
      if (!from || !visible(node)) continue;
      const a = from.getBoundingClientRect(), b = node.getBoundingClientRect();
      const [x, y, u, v] = [a.right - zero.left, (a.top + a.bottom) / 2 - zero.top, b.left - zero.left, (b.top + b.bottom) / 2 - zero.top];
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`);
      if (node.classList.contains("best")) path.classList.add("best");
      paths.set(node, path);
      made.push(path);
    }
    lines.replaceChildren(...made);
  }

  function line(node) {
    const path = [];
    for (let at = node; at; at = parent(at)) path.unshift(at);
    return path;
  }

  function show(node) {
    nodes.forEach(one => one.classList.remove("on"));
    paths.forEach(path => path.classList.remove("on"));
    const path = line(node);
    for (const one of path) {
      one.classList.add("on");
      paths.get(one)?.classList.add("on");
    }
    const words = path.map(one => one.querySelector(".token").textContent).join(" ");
    detail.textContent = `${words} · log-probability ${node.querySelector(".p").textContent}${node.querySelector(".hidden").textContent}`;
  }

  function enter(node) {
    nodes.forEach(one => { one.tabIndex = one === node ? 0 : -1; });
  }

  function move(node, key) {
    const column = [...node.closest(".column").querySelectorAll(".node")].filter(visible), at = column.indexOf(node);
    if (key === "ArrowLeft") return parent(node);
    if (key === "ArrowRight") {
      const next = children.get(node).filter(visible);
      return next.find(one => one.classList.contains("best")) || next[0];
    }
    return {ArrowUp: column[at - 1], ArrowDown: column[at + 1], Home: column[0], End: column.at(-1)}[key];
  }

  for (const node of nodes) {
    node.addEventListener("mouseenter", () => show(node));
    node.addEventListener("focus", () => { enter(node); show(node); });
    node.addEventListener("keydown", event => {
      if (!/^(Arrow|Home|End)/.test(event.key)) return;
      event.preventDefault();
      move(node, event.key)?.focus();
    });
  }
  model.querySelector(".toggle").addEventListener("change", event => {
    tree.classList.toggle("short", !event.target.checked);
    const active = nodes.find(node => node.tabIndex === 0);
    if (!active || !visible(active)) enter(nodes.find(visible));
    draw();
  });
  enter(nodes.find(node => node.classList.contains("best")) || nodes.find(visible));
  new ResizeObserver(draw).observe(columns);
  draw();
}

for (const model of document.querySelectorAll(".model")) {
  explainWords(model);
  explainTree(model);
}
