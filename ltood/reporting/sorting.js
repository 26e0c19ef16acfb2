const directions = ["ascending", "descending"];
for (const table of document.querySelectorAll("table.board")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const body = table.tBodies[0];
  const value = (row, place) => {
    const cell = row.cells[place];
    const given = cell.dataset.value;
    return given === undefined ? cell.textContent.trim() : given === "" ? "" : Number(given);
  };
  heads.forEach((head, place) => {
    const isText = ![...body.rows].some((row) => row.cells[place].dataset.value);
    const first = head.dataset.first || directions[isText ? 0 : 1];
    let button = head.querySelector("button");
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
    }
    button.addEventListener("click", () => {
      const other = directions[1 - directions.indexOf(first)];
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
    });
  });
}
for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
  const words = form.querySelector("input[type=search]");
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const count = form.querySelector("output");
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const without = boxes.filter((box) => !box.checked).map((box) => box.value);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const needs = (row.dataset.needs || "").split(" ");
      const fits = wanted.every((word) => text.includes(word))
        && !without.some((need) => needs.includes(need));
      row.hidden = !fits && !row.classList.contains("marked");
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
