// Which rows are in sight, and in which order.

const TO_CHOOSE = "to choose";
const MOST_VALUES = 200; // a column of more is for the search
const LONGEST_VALUE = 80;

// What the person asked to see; kept while this tab is open, so that a reload shows the same.
const view = { search: "", mark: "", status: [], columns: {}, sort: "", current: "", keys: true };
const showing = []; // each shows one part of the view on its controls

const collator = new Intl.Collator(undefined, { numeric: true });
const haystacks = new Map(); // row → its texts, once they were searched

function $(id) {
  return document.getElementById(id);
}

function textOf(row) {
  const takes = row.takes.flatMap((take) => [take.name, take.message, take.film?.file]);
  const texts = [row.id, row.status, row.reason, row.prompt, row.message, ...row.cells, ...takes];
  return texts.join("\n").toLocaleLowerCase();
}

function rowsInSight() {
  const words = view.search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const found = page.rows.filter((row) => hasMark(row) && hasValues(row) && hasWords(row, words));
  const compare = view.sort in ORDERS ? ORDERS[view.sort][1] : byColumn(view.sort);
  return compare ? found.sort(compare) : found;
}

function hasMark(row) {
  if (!view.mark) return true;
  const mark = choices.ofRow(row);
  return view.mark === TO_CHOOSE ? !mark && row.clip !== "" : mark === view.mark;
}

function hasValues(row) {
  if (view.status.length && !view.status.includes(row.status)) return false;
  return Object.entries(view.columns).every(([column, text]) => (row.cells[column] ?? "") === text);
}

function hasWords(row, words) {
  if (!words.length) return true;
  if (!haystacks.has(row)) haystacks.set(row, textOf(row));
  const notes = ["", ...row.takes.map(({ take }) => take)].map((take) => choices.of(row, take).note);
  const text = `${haystacks.get(row)}\n${notes.join("\n").toLocaleLowerCase()}`;
  return words.every((word) => text.includes(word));
}

const ORDERS = {
  "": ["Manifest order", null],
  made: ["Newest first", (a, b) => b.made - a.made],
  spent: ["Most expensive first", (a, b) => b.spent - a.spent],
  stars: ["Most stars first", (a, b) => choices.of(b).stars - choices.of(a).stars],
  status: ["Status", (a, b) => collator.compare(a.status, b.status)],
  id: ["Id", (a, b) => collator.compare(a.id, b.id)],
};

function byColumn(sort) {
  const column = Number(sort.replace("column ", ""));
  return (a, b) => collator.compare(a.cells[column] ?? "", b.cells[column] ?? "");
}

/** How many rows have each mark, and how many wait for one. */
function countMarks() {
  const counts = { "": page.rows.length, [TO_CHOOSE]: 0, keep: 0, reject: 0, redo: 0 };
  for (const row of page.rows) {
    const mark = choices.ofRow(row) || (row.clip ? TO_CHOOSE : "");
    if (mark) counts[mark] += 1;
  }
  return counts;
}

// ── controls ───────────────────────────────────────────────────────────────────────────────────

/** Change what is asked for, and show it. */
function ask(values) {
  Object.assign(view, values);
  showSheet();
  say(`${visible.length} of ${page.rows.length} rows`);
}

function showFilters() {
  for (const show of showing) show();
}

function buildFilters() {
  $("search").addEventListener("input", () => ask({ search: $("search").value }));
  $("sort").addEventListener("change", () => ask({ sort: $("sort").value }));
  $("clear").addEventListener("click", () => {
    ask({ search: "", mark: "", status: [], columns: {} });
    $("search").focus();
  });
  buildMarkChips();
  buildStatusChips();
  page.columns.forEach(buildColumn);
  $("by-column").hidden = !$("by-column").querySelector("select");
  for (const [sort, [words]] of Object.entries(ORDERS)) $("sort").add(new Option(words, sort));
  page.columns.forEach((name, at) => $("sort").add(new Option(`By ${name}`, `column ${at}`)));
  showing.push(() => {
    if ($("search").value !== view.search) $("search").value = view.search;
    $("sort").value = view.sort;
    const asked = Object.keys(view.columns).length;
    $("by-column").querySelector("summary").textContent = `Filter by column${asked ? ` (${asked})` : ""}`;
    $("clear").hidden = !(view.search || view.mark || view.status.length || asked);
  });
}

function buildMarkChips() {
  let counts;
  showing.push(() => (counts = countMarks()));
  for (const mark of ["", TO_CHOOSE, ...Object.keys(MARKS)]) {
    const words = () => `${mark || "all"} ${counts[mark]}`;
    const button = chipButton("by-mark", () => ask({ mark }));
    showing.push(() => {
      button.textContent = words();
      button.setAttribute("aria-pressed", String(view.mark === mark));
    });
  }
}

/** A chip for each status that there is; a run brings new ones and ends others. */
function buildStatusChips() {
  const chips = new Map();
  showing.push(() => {
    const counts = countBy((row) => row.status);
    const wanted = new Set([...counts.keys(), ...view.status]);
    for (const [status, chip] of chips) if (!wanted.has(status)) chip.button.remove();
    for (const status of wanted) {
      if (!chips.get(status)?.button.isConnected) chips.set(status, statusChip(status));
      chips.get(status).show(counts.get(status) ?? 0);
    }
    $("by-status").hidden = wanted.size < 2 && !view.status.length;
  });
}

function statusChip(status) {
  const pressed = () => view.status.includes(status);
  const others = () => view.status.filter((other) => other !== status);
  const button = chipButton("by-status", () =>
    ask({ status: pressed() ? others() : [...view.status, status] }),
  );
  button.dataset.status = status;
  const show = (count) => {
    button.textContent = `${status} ${count}`;
    button.setAttribute("aria-pressed", String(pressed()));
  };
  return { button, show };
}

function chipButton(group, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", act);
  $(group).append(button);
  return button;
}

/** A choice among a column's values, where they tell rows apart and are not all different. */
function buildColumn(name, column) {
  const counts = countBy((row) => row.cells[column] ?? "");
  const longest = Math.max(...[...counts.keys()].map((text) => text.length));
  if (counts.size < 2 || counts.size > MOST_VALUES || longest > LONGEST_VALUE) return;
  if (counts.size === page.rows.length) return;
  const [label, select] = [document.createElement("label"), document.createElement("select")];
  const values = [...counts.keys()].sort(collator.compare);
  select.add(new Option("any", ""));
  values.forEach((text, at) => select.add(new Option(`${text || "(empty)"} · ${counts.get(text)}`, at)));
  label.append(name, select);
  $("by-column").querySelector("div").append(label);
  select.addEventListener("change", () => {
    const { [column]: _, ...columns } = view.columns;
    ask({ columns: select.value ? { ...columns, [column]: values[select.value] } : columns });
  });
  showing.push(() => {
    const asked = values.indexOf(view.columns[column]);
    select.value = asked < 0 ? "" : String(asked);
  });
}

function countBy(value) {
  const counts = new Map();
  for (const row of page.rows) counts.set(value(row), (counts.get(value(row)) ?? 0) + 1);
  return counts;
}
