// What the person chose, take by take: kept in this browser or in the run folder, exported as
// picks.csv.
// All scripts of this page are one module; texts reach the page as text only, never as markup.

const page = JSON.parse(document.getElementById("data").textContent);

const MARKS = { keep: ["✓", "Keep", "y"], reject: ["✕", "Reject", "n"], redo: ["↻", "Redo", "r"] };

// A cell that a spreadsheet program could take for a formula; the same rule as for our sheets.
const RISKY = new RegExp(
  "^'*(?:[\\u0000-\\u001f]|[ \\u00a0]*[=@＝＠]|[ \\u00a0]*[+\\-＋－]" +
    "(?!(?:\\p{Nd}+(?:[.,]\\p{Nd}*)?|[.,]\\p{Nd}+)(?:[eE][+-]?\\p{Nd}+)?$))",
  "u",
);

const NOTHING = Object.freeze({ mark: "", stars: 0, note: "", seen: false, at: 0 });

/** Whether a take of a row has a clip; by default the one that is shown. */
function hasClip(row, take = row.take) {
  return Boolean(row.takes.find((each) => each.take === take)?.film);
}

/** Whether another take may be asked for beside this one: an older one was answered already. */
function isLast(row, take) {
  const kind = row.takes.find((each) => each.take === take)?.kind;
  return take === row.take || row.takes.findLast((each) => each.kind === kind)?.take === take;
}

/** The marks that a page brings along, for whom it was copied. */
function given() {
  const told = page.marks ?? [];
  return new Map(
    told.map(([id, take, mark, stars, note, seen, at]) => [`${id}\n${take}`, { mark, stars, note, seen, at }]),
  );
}

/** What was chosen, take by take: kept in this browser. */
class Choices {
  /** @param {string} name under which the browser keeps them */
  constructor(name) {
    this.name = name;
    this.lasting = true; // false where nothing is kept
    this.changed = -Infinity; // when, on the page's clock
    this.load();
  }

  load() {
    try {
      const kept = localStorage.getItem(this.name);
      this.entries = kept ? new Map(JSON.parse(kept)) : given();
    } catch {
      this.entries = new Map();
      this.lasting = false;
    }
  }

  of(row, take = row.take) {
    return this.entries.get(`${row.id}\n${take}`) ?? NOTHING;
  }

  // A mark belongs to the take that was looked at: of a new one nobody has said anything yet, and
  // an old “redo” must not order another one. What was said before its clip came is no word on it.
  mark(row, take = row.take) {
    const entry = this.of(row, take);
    if (entry.seen !== hasClip(row, take)) return "";
    return entry.mark === "redo" && !isLast(row, take) ? "" : entry.mark;
  }

  /** What a row comes to: that a take was kept, else its shown take's mark. */
  ofRow(row) {
    return this.kept(row) ? "keep" : this.mark(row);
  }

  /** The newest take of the shown kind that was kept, by somebody who could see the shown one. */
  kept(row) {
    const shown = row.takes.find((each) => each.take === row.take);
    const seen = (take) => take === row.take || this.of(row, take).at >= row.made;
    return row.takes.findLast(
      ({ take, kind }) => kind === shown?.kind && seen(take) && this.mark(row, take) === "keep",
    );
  }

  earlier(row) {
    if (this.ofRow(row)) return "";
    const takes = ["", ...row.takes.map((take) => take.take)];
    return takes.map((take) => this.of(row, take).mark).findLast(Boolean) ?? "";
  }

  setMark(row, mark, take = row.take) {
    this.change(row, take, { mark, seen: hasClip(row, take) });
  }

  setStars(row, stars, take = row.take) {
    this.change(row, take, { stars });
  }

  setNote(row, note, take = row.take) {
    this.change(row, take, { note });
  }

  change(row, take, values) {
    this.changed = performance.now();
    this.put(row, take, values);
    this.keep(row, take, values);
  }

  put(row, take, values) {
    const before = this.entries;
    this.load(); // another tab may have chosen meanwhile
    if (!this.lasting) this.entries = before;
    const said = { ...this.of(row, take), ...values, at: Date.now() / 1000 };
    this.entries.set(`${row.id}\n${take}`, said);
  }

  keep() {
    const said = [...this.entries].filter(([, { mark, stars, note }]) => mark || stars || note);
    try {
      localStorage.setItem(this.name, JSON.stringify(said));
    } catch {
      this.lasting = false;
    }
  }

  get trouble() {
    return this.lasting
      ? ""
      : "This browser does not save your choices: export picks.csv before you leave the page.";
  }

  /** What there is to export: the marks, stars and notes of all takes of these rows. */
  lines(rows) {
    const line = (row, take) => {
      const { note, stars } = this.of(row, take);
      return [row.id, this.mark(row, take), note, take, String(stars || "")];
    };
    return rows
      .flatMap((row) => (row.takes.length ? row.takes.map(({ take }) => line(row, take)) : [line(row, "")]))
      .filter(([, mark, note, , stars]) => mark || note || stars);
  }

  csv(rows) {
    const all = [["id", "mark", "note", "take", "stars"], ...this.lines(rows)];
    return "\ufeff" + all.map((cells) => cells.map(cell).join(",") + "\r\n").join("");
  }
}

/** The same, kept in the run folder by the server of this page: at once, and for every window. */
class ServedChoices extends Choices {
  constructor(name) {
    super(name);
    this.entries = new Map();
    this.unsaved = new Map(); // what the server has not confirmed, by take
    this.refused = "";
    this.take(page.served.marks);
  }

  load() {}

  /** Marks that the server tells of; which takes they are of. */
  take(marks) {
    const told = [];
    for (const [id, take, mark, stars, note, seen, at] of marks) {
      const key = `${id}\n${take}`;
      this.entries.set(key, { mark, stars, note, seen, at, ...this.unsaved.get(key)?.said });
      told.push(id);
    }
    return told;
  }

  keep(row, take, values) {
    const key = `${row.id}\n${take}`;
    const said = { ...this.unsaved.get(key)?.said, ...values };
    this.unsaved.set(key, { id: row.id, take, said });
    this.send();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.unsaved.size) {
      const [key, entry] = this.unsaved.entries().next().value;
      const answer = await post("marks", entry);
      const kept = this.unsaved.get(key) === entry; // else more was said meanwhile
      if (answer?.ok || answer?.status === 400 || answer?.status === 413) {
        if (kept) this.unsaved.delete(key);
        this.refused = answer.ok ? "" : "The last choice could not be saved: its take is gone, or its note too long.";
        this.lasting = answer.ok;
      } else {
        this.lasting = false;
        this.refused = `Not saved yet: ${this.unsaved.size} of your choices. ${ENDED}`;
        await pause(1000);
      }
      showTrouble();
    }
    this.sending = false;
  }

  get trouble() {
    return this.lasting ? "" : this.refused;
  }
}

const ENDED = "The server of this page does not answer. Is seedance-batch report --serve still running?";

async function post(where, value) {
  const headers = { "Content-Type": "application/json" };
  try {
    // It arrives although the window is closed meanwhile.
    return await fetch(where, { method: "POST", headers, body: JSON.stringify(value), keepalive: true });
  } catch {
    return null;
  }
}

function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
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
