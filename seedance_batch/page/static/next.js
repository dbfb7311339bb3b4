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

/** Say what comes next; `any` is whether there was something to export. */
function showNext(any) {
  const marked = (mark) => page.rows.filter((row) => choices.mark(row) === mark);
  const drafts = marked("keep").some((row) => row.takes.some((t) => t.shown && t.kind === "draft"));
  write($("next"), "words", any ? SAVED : "Nothing is marked yet, so nothing was saved.");
  const commands = { promote: drafts, rerun: marked("redo").length > 0 };
  for (const [name, wanted] of Object.entries(commands)) {
    const line = part($("next"), name);
    const words = `seedance-batch ${name} ${folderHere()} --from picks.csv`;
    line.querySelector("code").textContent = words;
    line.querySelector("button").textContent = "Copy";
    line.hidden = !any || !wanted;
  }
  $("next").hidden = false;
  say(part($("next"), "words").textContent);
}

const SAVED =
  "Your browser saved picks.csv, usually in its downloads folder. " +
  "Run a command in that folder, or put the path of the file after --from.";

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
