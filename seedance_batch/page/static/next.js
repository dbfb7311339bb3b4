// What to do with the exported marks: the commands that go on from them, ready to be pasted.

/** The run folder as a shell takes it. Where this page lies only the browser knows for sure; the
 * file itself names no folder of the machine, because it is sent around. */
function folderHere() {
  try {
    const path = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "");
    if (location.protocol !== "file:" || !path) return page.folder;
    if (/^\/[A-Za-z]:/.test(path)) return `"${path.slice(1)}"`; // a drive: cmd knows this quote only
    return quoted(location.host ? `//${location.host}${path}` : path);
  } catch {
    return page.folder; // a name that is no UTF-8
  }
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** The commands that go on from the marks: words before each, and the command itself. */
function commandsNext() {
  const kept = marked("keep", "draft").filter(([row]) => shownKind(row) === "draft");
  const finals = alike(kept).map(([flags, picks, ids]) => {
    const model = flags.indexOf("--draft-model");
    const own = flags.filter((_, at) => model < 0 || (at !== model && at !== model + 1));
    return ["promote", "Finals of the kept drafts", picks, [...own, ...ids], "final"];
  });
  const redone = ["final", "draft"].flatMap((kind) =>
    alike(marked("redo", kind)).map(([flags, picks, ids]) => {
      const own = [...(kind === "draft" ? ["--draft"] : []), ...flags, ...ids];
      const words = `New ${kind === "draft" ? "drafts" : "takes"} of the rows marked redo`;
      return ["rerun", words, picks, own, "again"];
    }),
  );
  return [...finals, ...redone].map(([command, words, picks, flags, price]) => {
    const all = [...page.flags, ...flags, "--from", page.served ? "marks" : "picks.csv"];
    const line = ["seedance-batch", command, folderHere(), ...all.map(quoted)].join(" ");
    return [`${words}, ${priced(picks, price)}: `, line];
  });
}

function shownKind(row) {
  return row.takes.find((take) => take.shown)?.kind;
}

/** The rows of which a take of this kind has this mark, each with the newest such take. */
function marked(mark, kind) {
  const isMarked = (row) => (take) => take.kind === kind && choices.mark(row, take.take) === mark;
  return page.rows.map((row) => [row, row.takes.findLast(isMarked(row))]).filter(([, take]) => take);
}

/** Rows by the flags that their takes were made with; ids tell them apart where there are several. */
function alike(picks) {
  const groups = new Map();
  for (const [row, take] of picks) {
    const name = JSON.stringify(take.offer?.flags ?? []);
    groups.set(name, [...(groups.get(name) ?? []), [row, take]]);
  }
  const ids = (found) => (groups.size > 1 ? ["--ids", found.map(([row]) => named(row.id)).join(",")] : []);
  return [...groups].map(([name, found]) => [JSON.parse(name), found, ids(found)]);
}

/** An id as `--ids` takes it: in quotes where it holds a comma or begins with a quote, as in CSV. */
function named(id) {
  return /[",]/.test(id) ? `"${id.replaceAll('"', '""')}"` : id;
}

function priced(picks, price) {
  const costs = picks.map(([, take]) => take.offer?.[price] ?? null);
  const count = picks.length === 1 ? "1 row" : `${picks.length} rows`;
  if (costs.includes(null)) return `${count}, price unknown until the plan`;
  const sum = costs.reduce((all, cost) => all + cost, 0);
  return `${count}, about $${sum.toFixed(2)}`;
}

/** Say what comes next; `any` is whether there was something to export. */
function showNext(any) {
  const commands = page.shared || !any ? [] : commandsNext();
  const said = page.shared ? SHARED : page.served ? SERVED : SAVED;
  const more = page.shared ? "" : commands.length ? (page.served ? PLANNED : WHERE) : NOTHING_MORE;
  write($("next"), "words", any ? `${said} ${more}` : "Nothing is marked yet, so nothing was saved.");
  const lines = commands.map(([words, command]) => {
    const line = make("command");
    part(line, "words").textContent = words;
    line.querySelector("code").textContent = command;
    return line;
  });
  part($("next"), "commands").replaceChildren(...lines);
  $("next").hidden = false;
  say(part($("next"), "words").textContent);
}

const SERVED = "Your choices are saved in the run folder.";
const SAVED = "Your browser saved picks.csv, usually in its downloads folder.";
const SHARED = `${SAVED} Send it to whom this page is from.`;
const PLANNED = "Each command shows its plan and price, and asks before it buys.";
const WHERE = "Run a command in that folder, or put the path of the file after --from.";
const NOTHING_MORE = "No draft is kept and no take is to be redone: there is nothing to buy.";

async function copy(code, button) {
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected"; // where pages may not copy, Ctrl+C does
  }
  say(button.textContent);
}
