/* Sorting, values under the pointer, folded parts that a link opens. The page is complete without it:
   every row is there. Text is only ever read from the page and set as text, never as markup. */
"use strict";
(() => {
  const MINUS = "\u2212";
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  // --- tables that sort and filter --------------------------------------------------------------

  /* A cell's number: its data-value where it has one, else the first number of its text. */
  function measured(cell) {
    if (!cell) return null;
    const given = cell.dataset.value;
    const text = given === undefined ? cell.textContent.replaceAll(MINUS, "-") : given;
    const found = text.replaceAll(",", "").match(/^\s*<?\s*([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/i);
    return found ? Number(found[1]) : null;
  }

  /* What moves as one: the rows, or the groups of rows that share a heading. */
  function movable(table) {
    return table.tBodies.length > 1 ? [...table.tBodies] : [...table.tBodies[0].rows];
  }

  const leading = (item) => (item.tagName === "TBODY" ? item.rows[0] : item);

  function compare(column, down) {
    return (a, b) => {
      const [one, other] = [a, b].map((item) => leading(item).cells[column]);
      const [x, y] = [measured(one), measured(other)];
      // What was not measured stays last in either direction.
      if ((x === null) !== (y === null)) return x === null ? 1 : -1;
      const found = x !== null ? x - y : order.compare(one?.textContent ?? "", other?.textContent ?? "");
      return down ? -found : found;
    };
  }

  function sort(table, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const items = movable(table);
    const parent = items[0].parentNode;
    items.sort(compare(header.cellIndex, down)).forEach((item) => parent.append(item));
  }

  function headers(table) {
    for (const header of table.tHead.rows[0].cells) {
      if (!header.textContent.trim()) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
    }
  }

  function filter(table, wanted, said) {
    const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const items = movable(table);
    let shown = 0;
    for (const item of items) {
      const text = item.textContent.toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
      shown += item.hidden ? 0 : 1;
    }
    said.textContent = words.length ? `${shown} of ${items.length}` : "";
  }

  /* A field above each table that is long enough to look for something in. */
  function searchable(table) {
    if (movable(table).length < 6) return;
    const label = document.createElement("label");
    label.className = "filter";
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "model, strategy, verdict …";
    field.dataset.filter = table.id;
    const said = document.createElement("output");
    field.addEventListener("input", () => filter(table, field.value, said));
    label.append("Filter ", field, " ", said);
    table.before(label);
  }

  for (const [place, table] of document.querySelectorAll("table.sortable").entries()) {
    if (!table.tHead || !table.tBodies.length || !table.tBodies[0].rows.length) continue;
    table.id ||= `table-${place + 1}`;
    table.dataset.sortable = "";
    headers(table);
    searchable(table);
  }

  // --- values under the pointer, or of the cell that has the focus ---------------------------------

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.role = "tooltip";
  tip.hidden = true;
  document.body.append(tip);
  for (const mark of document.querySelectorAll(".point")) {
    const title = mark.querySelector("title");
    mark.dataset.tip = title.textContent;
    title.remove();
  }
  for (const word of document.querySelectorAll(".legend [title]")) {
    word.dataset.tip = word.title;
    word.removeAttribute("title");
  }

  function show(thing) {
    tip.textContent = thing.dataset.tip.trim();
    tip.hidden = false;
    const box = thing.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(box.left + box.width / 2 - own.width / 2, innerWidth - own.width - 6);
    const above = box.top - own.height - 6;
    tip.style.left = `${Math.max(6, left)}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
  }

  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointerover", (event) => {
    const thing = event.target.closest?.("[data-tip]");
    if (thing) show(thing);
    else hide();
  });
  document.addEventListener("scroll", hide, { passive: true });

  /* One stop of the tabulator for each table; the arrows go from cell to cell. */
  const MOVES = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  for (const table of document.querySelectorAll("table:has([data-tip])")) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("[data-tip]")]).filter((r) => r.length);
    rows.flat().forEach((cell, place) => { cell.tabIndex = place ? -1 : 0; });
    table.addEventListener("focusin", (event) => {
      const cell = event.target.closest("[data-tip]");
      if (!cell) return;
      for (const other of rows.flat()) other.tabIndex = other === cell ? 0 : -1;
      cell.setAttribute("aria-describedby", "tip");
      show(cell);
    });
    table.addEventListener("focusout", hide);
    table.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      const move = MOVES[event.key], row = rows.findIndex((r) => r.includes(event.target));
      if (!move || row < 0) return;
      event.preventDefault();
      const next = rows[row + move[0]] ?? rows[row];
      const column = rows[row].indexOf(event.target) + move[1];
      next[Math.min(Math.max(column, 0), next.length - 1)].focus();
    });
  }

  // --- the axis that gain is set against -----------------------------------------------------------

  for (const box of document.querySelectorAll("[data-choices]")) {
    const figures = [...box.querySelectorAll("[data-choice]")];
    const names = [...new Set(figures.map((figure) => figure.dataset.choice))];
    const pick = (name) => figures.forEach((figure) => { figure.hidden = figure.dataset.choice !== name; });
    if (names.length < 2) continue;
    const label = document.createElement("label"), field = document.createElement("select");
    label.className = "axis-choice";
    field.append(...names.map((name) => new Option(name)));
    field.addEventListener("change", () => pick(field.value));
    label.append("Gain against ", field);
    box.before(label);
    pick(names[0]);
  }

  // --- links ---------------------------------------------------------------------------------------

  /* Open whatever a link leads to, and what it is folded into. */
  function unfold() {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1).split("?")[0]));
    if (!place) return;
    for (let part = place; part; part = part.parentElement.closest("details")) {
      if (part.tagName === "DETAILS") part.open = true;
    }
    place.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  const copy = document.getElementById("copy-link");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "copied";
    } catch {
      copy.textContent = location.href;
    }
  });
})();
