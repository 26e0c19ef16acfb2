for (const table of document.querySelectorAll("table.board")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, place) => {
    const cell = row.cells[place];
    const given = cell.dataset.value;
    return given === undefined ? cell.textContent.trim() : given === "" ? "" : Number(given);
  };
  heads.forEach((head, place) => head.addEventListener("click", () => {
    const isText = place === 0 || place > heads.length - 3;
    const first = isText ? "ascending" : "descending";
    const other = isText ? "descending" : "ascending";
    const next = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a, place), value(b, place)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
    });
    body.append(...rows);
  }));
}
