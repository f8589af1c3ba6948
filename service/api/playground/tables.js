// Models of tables: rows as a table, and a form with a field for each column.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

/** Rows as a table with a header; with `choose`, each row has a button that hands it over. */
export function tableOf(columns, rows, choose) {
  const head = element("tr", {}, ...columns.map((c) => element("th", { textContent: c.name, scope: "col" })));
  const lines = rows.map((row, i) => element("tr", {}, ...use(i), ...columns.map((c) => cellOf(c, row[c.name]))));
  function use(i) {
    if (!choose) return [];
    const button = element("button", { type: "button", textContent: "Edit" });
    button.setAttribute("aria-label", `Edit row ${i}`);
    button.addEventListener("click", () => choose(rows[i]));
    return [element("td", {}, button)];
  }
  if (choose) head.prepend(element("td"));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
}

function cellOf(column, value) {
  const cell = element("td", { className: column.kind });
  if (value === null) cell.append(element("i", { textContent: "null" }));
  else cell.textContent = typeof value === "number" ? String(value) : value;
  return cell;
}

/** A field for each column; what is left empty is a hole. */
export function fieldsFor(columns) {
  return columns.map((column) => {
    const field = fieldOf(column);
    field.dataset.column = column.name; // no name: a column may be called like a field of the form
    return element("label", {}, column.name, field);
  });
}

function fieldOf(column) {
  if (column.kind === "categorical") {
    const options = column.categories.map((word) => new Option(word, word));
    return element("select", {}, new Option("– fill in –", ""), ...options);
  }
  const step = column.decimals === null ? "any" : String(10 ** -column.decimals);
  const range = `${column.minimum} to ${column.maximum}`;
  return element("input", {
    type: "number", min: column.minimum, max: column.maximum, step,
    placeholder: "fill in", title: range,
  });
}

/** Put a row into the fields. */
export function showRow(box, row) {
  for (const field of box.querySelectorAll("[data-column]")) field.value = row[field.dataset.column] ?? "";
}

/** The fields as a row, null where nothing was entered. */
export function rowIn(box, columns) {
  return Object.fromEntries(columns.map((column) => {
    const { value } = box.querySelector(`[data-column="${CSS.escape(column.name)}"]`);
    if (value === "") return [column.name, null];
    return [column.name, column.kind === "numeric" ? Number(value) : value];
  }));
}
