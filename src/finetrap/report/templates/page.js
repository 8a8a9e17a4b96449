/* Sorting and filtering of tables. The page is complete without it: every row is there, in the
   order of the study. Text is only ever read from the page and set as text, never as markup. */
"use strict";
(() => {
  const MINUS = "\u2212";
  const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

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
    table.classList.add("sorted");
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
    table.classList.toggle("filtered", words.length > 0);
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
    (table.closest(".wide") ?? table).before(label);
  }

  for (const [place, table] of document.querySelectorAll("table.sortable").entries()) {
    if (!table.tHead || !table.tBodies.length || !table.tBodies[0].rows.length) continue;
    table.id ||= `table-${place + 1}`;
    table.dataset.sortable = "";
    headers(table);
    searchable(table);
  }
})();
