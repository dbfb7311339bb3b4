// What the person chose: kept in this browser for this run folder, exported as picks.csv.
// All scripts of this page are one module; texts reach the page as text only, never as markup.

const page = JSON.parse(document.getElementById("data").textContent);

const MARKS = { keep: ["✓", "Keep", "y"], reject: ["✕", "Reject", "n"], redo: ["↻", "Redo", "r"] };

// A cell that a spreadsheet program could take for a formula; the same rule as for our sheets.
const RISKY = new RegExp(
  "^'*(?:[\\u0000-\\u001f]|[ \\u00a0]*[=@＝＠]|[ \\u00a0]*[+\\-＋－]" +
    "(?!(?:\\p{Nd}+(?:[.,]\\p{Nd}*)?|[.,]\\p{Nd}+)(?:[eE][+-]?\\p{Nd}+)?$))",
  "u",
);

class Choices {
  /** @param {string} name under which the browser keeps them */
  constructor(name) {
    this.name = name;
    this.lasting = true; // false where the browser keeps nothing
    this.changed = -Infinity; // when, on the page's clock
    this.load();
  }

  load() {
    try {
      this.entries = new Map(JSON.parse(localStorage.getItem(this.name) ?? "[]"));
    } catch {
      this.entries = new Map();
      this.lasting = false;
    }
  }

  of(row) {
    return this.entries.get(row.id) ?? { mark: "", of: "", note: "" };
  }

  // A mark belongs to the clip that was looked at: of a new take nobody has said anything yet, and
  // an old “redo” must not order another one.
  mark(row) {
    const entry = this.of(row);
    return entry.of === row.clip ? entry.mark : "";
  }

  earlier(row) {
    return this.mark(row) ? "" : this.of(row).mark;
  }

  setMark(row, mark) {
    this.change(row, { mark, of: row.clip });
  }

  setNote(row, note) {
    this.change(row, { note });
  }

  change(row, values) {
    this.changed = performance.now();
    const before = this.entries;
    this.load(); // another tab may have chosen meanwhile
    if (!this.lasting) this.entries = before;
    const entry = { ...this.of(row), ...values };
    if (entry.mark || entry.note) this.entries.set(row.id, entry);
    else this.entries.delete(row.id);
    try {
      localStorage.setItem(this.name, JSON.stringify([...this.entries]));
    } catch {
      this.lasting = false;
    }
  }

  /** What there is to export: the marks and notes of these rows. */
  lines(rows) {
    return rows
      .map((row) => [row.id, this.mark(row), this.of(row).note, row.take])
      .filter(([, mark, note]) => mark || note);
  }

  csv(rows) {
    const all = [["id", "mark", "note", "take"], ...this.lines(rows)];
    return "\ufeff" + all.map((cells) => cells.map(cell).join(",") + "\r\n").join("");
  }
}

function cell(text) {
  const guarded = RISKY.test(text) ? "'" + text : text;
  return '"' + guarded.replaceAll('"', '""') + '"';
}

function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
