"use strict";

// A click on a header sorts its table; a second click reverses the order.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// The link saves the data in the page.
const link = document.getElementById("download");
if (link) {
  const data = document.getElementById("data").textContent;
  link.href = URL.createObjectURL(new Blob([data], { type: "application/json" }));
}

function sortBy(header) {
  const body = header.closest("table").tBodies[0];
  const up = header.getAttribute("aria-sort") !== "ascending";
  const words = header.classList.contains("words");
  const value = (row) => {
    const text = row.cells[header.cellIndex].textContent;
    return words ? text : parseFloat(text.replace(/^[^\d.-]+/, ""));
  };
  const compare = (a, b) => (words ? a.localeCompare(b) : a - b);
  const rows = [...body.rows].map((row) => ({ row, value: value(row) }));
  // Cells without a number stay last in both orders.
  const isLast = (value) => !words && Number.isNaN(value);
  rows.sort((a, b) => isLast(a.value) - isLast(b.value) || (up ? 1 : -1) * compare(a.value, b.value) || 0);
  body.append(...rows.map(({ row }) => row));
  for (const cell of header.parentElement.cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
}
