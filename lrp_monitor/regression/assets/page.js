"use strict";
{
  const table = document.querySelector("table");
  const body = table.tBodies[0];
  for (const button of table.tHead.querySelectorAll("button")) {
    const head = button.parentElement;
    button.addEventListener("click", () => {
      // The worst first at the first choice, the other way round at the next; set order and rank begin at 1.
      const upwards = head.cellIndex === 0 || head === head.parentElement.lastElementChild;
      const descending = head.hasAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : !upwards;
      for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => Number(row.cells[head.cellIndex].dataset.value);
      const rows = [...body.rows].sort((a, b) => (descending ? value(b) - value(a) : value(a) - value(b)));
      body.append(...rows);
    });
  }
}
