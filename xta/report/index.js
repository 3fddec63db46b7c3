"use strict";

// A table whose titles sort it. Cells without a value come last, whichever way round.
(() => {
  const table = document.querySelector("table.sortable");
  const heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator("en", { numeric: true });

  function key(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.key ?? (cell.classList.contains("number") ? "" : cell.textContent.trim());
    return text === "–" ? "" : text;
  }

  function compare(a, b) {
    const [first, second] = [Number(a), Number(b)];
    return Number.isNaN(first) || Number.isNaN(second) ? words.compare(a, b) : first - second;
  }

  function sort(column, sign) {
    const rows = [...table.tBodies[0].rows];
    rows.sort((one, other) => {
      const [a, b] = [key(one, column), key(other, column)];
      if (!a || !b) return Boolean(b) - Boolean(a);
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows);
  }

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const order = head.ariaSort === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", order);
      sort(column, order === "ascending" ? 1 : -1);
      document.getElementById("sorted").textContent = `sorted by ${head.textContent}, ${order}`;
    });
  });
})();
