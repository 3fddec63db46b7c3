// What the theme leaves out for keyboards and screen readers.
document.addEventListener("DOMContentLoaded", () => {
  // The keyboard can scroll what is wider than its column.
  for (const part of document.querySelectorAll("pre, .table-wrapper, .cell_output, p:has(> img[src$=\"frames.svg\"])")) {
    part.tabIndex = 0;
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
