"use strict";

// Tables: a heading sorts by its column, again the other way; empty cells stay last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const body = table.tBodies[0];
    const numeric = heading.classList.contains("number");
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sign = descending ? -1 : 1;
      const compare = (a, b) => {
        const [left, right] = [a, b].map((row) => row.cells[column].dataset.value);
        if (left === "" || right === "") return (left === "") - (right === "");
        if (numeric) return sign * (Number(left) - Number(right));
        return sign * left.localeCompare(right, "en", { numeric: true });
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// Pictures: what a mark is stands below, for those who cannot hover.
for (const block of document.querySelectorAll(".block")) {
  const told = block.querySelector(".told");
  block.addEventListener("pointerdown", (event) => {
    const mark = event.target.closest(".mark");
    block.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
    if (mark) mark.classList.add("chosen");
    told.textContent = mark ? mark.querySelector("title").textContent : "";
  });
}
