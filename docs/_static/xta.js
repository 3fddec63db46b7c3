// What the theme leaves out for keyboards, screen readers and narrow screens.
// Figures of several panels are not shrunk to a narrow screen, where nobody could read them.
window.addEventListener("load", () => {
  for (const image of document.querySelectorAll("article img")) {
    image.classList.toggle("wide", image.naturalWidth > 730);  // [pixel] a single panel has less
  }
});

document.addEventListener("DOMContentLoaded", () => {
  // The keyboard can scroll what is wider than its column.
  for (const part of document.querySelectorAll("pre, .table-wrapper, .cell_output, article p:has(> img)")) {
    part.tabIndex = 0;
  }
  for (const output of document.querySelectorAll(".cell_output pre")) {
    output.classList.toggle("columns", /\S {3,}\S/.test(output.textContent));
  }
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) {
    caption.ariaLevel = "2";
  }
  for (const [name, label] of [["sidebar-drawer", "Pages"], ["toc-drawer", "On this page"]]) {
    document.querySelector(`aside.${name}`)?.setAttribute("aria-label", label);
  }
  for (const part of document.querySelectorAll(".citation-list, .citation")) {
    part.removeAttribute("role");
  }
  // A corner of a table without text heads nothing.
  for (const head of document.querySelectorAll("th")) {
    if (!head.textContent.trim()) {
      head.replaceWith(document.createElement("td"));
    }
  }
});
