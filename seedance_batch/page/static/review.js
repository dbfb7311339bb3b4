// What keys and buttons do: moving, choosing, playing, enlarging; and keeping the place.

/** Show the rows that the view asks for; the current one stays, or its follower takes over. */
function showSheet() {
  const before = Math.max(visible.indexOf(current), 0);
  const shown = rowsInSight();
  const others = shown.length !== visible.length || shown.some((row, at) => row !== visible[at]);
  if (others) stop();
  visible = shown;
  $("none").hidden = visible.length > 0;
  if (!visible.includes(current)) current = visible[before] ?? visible.at(-1) ?? null;
  layOut();
  drawSheet(!others);
  select(current);
  showFilters();
}

/** Make a row the current one, and its card the sheet's only stop for Tab. */
function select(row) {
  if (cards.has(current)) reachable(cards.get(current), false);
  current = row;
  drawSheet();
  if (row) reachable(cards.get(row), true);
}

function reachable(card, yes) {
  for (const element of [card, ...card.querySelectorAll("button")]) element.tabIndex = yes ? 0 : -1;
  card.classList.toggle("current", yes);
}

function focusCurrent() {
  if (current) reveal(current).focus({ preventScroll: true });
}

function move(by) {
  const next = visible[visible.indexOf(current) + by]; // of the outlined card, focused or not
  if (next) select(next);
  if (large.open && next) openLarge();
  else if (!large.open) focusCurrent();
}

function openLarge() {
  // A dialog that closes gives focus back at once to where it was: keys act on a card again.
  if (!large.open && !sheet.contains(document.activeElement)) focusCurrent();
  if (current) enlarge(current, `${visible.indexOf(current) + 1} of ${visible.length}`);
}

function togglePlay() {
  if (large.open) playTogether();
  else if (playing && playing === cards.get(current)) stop();
  else if (current) play(cards.get(current));
}

// ── choosing ───────────────────────────────────────────────────────────────────────────────────

/** The take that a mark is for. */
function inHand() {
  return large.open ? pointed : current.take;
}

function choose(mark) {
  if (!current) return;
  const [row, take] = [current, inHand()];
  if (mark === "keep" && !hasClip(row, take)) return say(`${row.id} has no clip to keep`);
  if (mark === "redo" && !isLast(row, take)) return say("A newer take is there: mark that one");
  choices.setMark(row, choices.mark(row, take) === mark ? "" : mark, take);
  const focused = sheet.contains(document.activeElement);
  showChoices([row]);
  if (focused && !sheet.contains(document.activeElement)) focusCurrent(); // its card went out of sight
  const which = row.takes.length > 1 ? `${row.id}, ${row.takes.find((each) => each.take === take).name}` : row.id;
  say(`${which}: ${choices.mark(row, take) || "no choice"}. ${$("progress").textContent}`);
}

function showChoices(rows) {
  for (const row of rows) if (cards.has(row)) showChoice(cards.get(row), row);
  if (large.open) showLargeChoice();
  const counts = countMarks();
  const clips = page.rows.filter((row) => row.clip);
  const chosen = clips.length - counts[TO_CHOOSE];
  $("progress").textContent = `${chosen} of ${clips.length} clips chosen`;
  for (const piece of $("bar").children) piece.style.flexGrow = counts[piece.className];
  $("bar").style.setProperty("--open", counts[TO_CHOOSE]);
  showTrouble();
  if (view.mark && !large.open) showSheet();
  else showFilters();
}

function rate(stars) {
  if (!current) return;
  const [row, take] = [current, inHand()];
  if (!hasClip(row, take)) return say(`${row.id} has no clip to rate`);
  choices.setStars(row, choices.of(row, take).stars === stars ? 0 : stars, take);
  showChoices([row]);
  say(`${row.id}: ${choices.of(row, take).stars || "no"} stars`);
}

function showTrouble() {
  $("trouble").hidden = !choices.trouble;
  if ($("trouble").textContent !== choices.trouble) $("trouble").textContent = choices.trouble;
}

function say(text) {
  $("say").textContent = text;
}

$("export").addEventListener("click", () => {
  const any = choices.lines(page.rows).length > 0;
  if (any) download(choices.csv(page.rows), "picks.csv");
  if (!any || !page.served) showNext(any);
});

if (page.served) {
  $("go-on").hidden = false;
  $("export").classList.remove("strong");
  $("go-on").addEventListener("click", () => showNext(choices.lines(page.rows).length > 0));
}

note.addEventListener("input", () => {
  choices.setNote(current, note.value, pointed);
  showChoices([current]);
});

// ── keys and buttons ───────────────────────────────────────────────────────────────────────────

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  y: () => choose("keep"),
  n: () => choose("reject"),
  r: () => choose("redo"),
  ...Object.fromEntries([1, 2, 3, 4, 5].map((stars) => [stars, () => rate(stars)])),
  e: () => {
    openLarge();
    note.focus();
  },
  m: () => large.open && toggleSound(),
  ArrowLeft: () => large.open && pointBeside(-1),
  ArrowRight: () => large.open && pointBeside(1),
  ",": () => large.open && stepBy(-1),
  ".": () => large.open && stepBy(1),
  "/": () => !large.open && $("search").focus(),
  " ": togglePlay,
  Enter: () => !large.open && openLarge(),
};

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (isFind(event)) return find(event);
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") return escape();
  if (target.matches("input:not([type=checkbox]), textarea, select")) return;
  const own = event.key === " " || event.key === "Enter"; // what these do to a button stays theirs
  if (target.matches("video") && event.key.startsWith("Arrow")) return; // they wind its clip
  if (own ? target.closest("button, summary, a, video, input") : !view.keys) return;
  const key = letter(event);
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  if (!event.repeat || "jk".includes(key)) KEYS[key](); // a key held down marks once
});

/** Whether the browser is asked to find something, and would not see all cards. */
function isFind(event) {
  const { ctrlKey, metaKey, altKey, shiftKey } = event;
  const asked = (ctrlKey || metaKey) && !altKey && !shiftKey && letter(event) === "f";
  return asked && view.keys && visible.length > ALL_UP_TO && !large.open && event.target !== $("search");
}

function find(event) {
  event.preventDefault();
  $("search").focus();
  $("search").select();
  say("This searches all rows. Ctrl+F again searches the screen.");
}

/** The letter of a key, also on a keyboard of another script. */
function letter({ key, code }) {
  if (key.length > 1) return key;
  return key <= "~" ? key.toLowerCase() : code.replace("Key", "").toLowerCase();
}

function escape() {
  stop();
  $("next").hidden = true;
  closeMenus(() => true);
  if (!large.open) focusCurrent();
}

function closeMenus(which) {
  for (const menu of document.querySelectorAll(".menu[open]")) if (which(menu)) menu.open = false;
}

const DEEDS = {
  open: openLarge,
  mark: (button) => {
    const take = button.closest("figure")?.dataset.take;
    if (take) pointAt(take);
    choose(button.dataset.mark);
  },
  rate: (button) => rate(Number(button.dataset.stars)),
  back: () => move(-1),
  on: () => move(1),
  close: () => large.close(),
  through: playThrough,
  link: (button) => {
    const row = page.rows.find((each) => each.id === button.dataset.row);
    select(row);
    openLarge();
  },
  copy: (button) => copy(button.parentElement.querySelector("code"), button),
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) DEEDS[button.dataset.do](button);
  closeMenus((menu) => !menu.contains(event.target));
  if (!event.target.closest("#next, #export, #go-on")) $("next").hidden = true;
});

for (const kind of ["focusin", "pointerdown"]) {
  sheet.addEventListener(kind, (event) => {
    const row = rowOf.get(event.target.closest(".card"));
    // A large view that closes gives focus back to where it was opened, which may be another row.
    if (row && row !== current && !enlarged) select(row);
  });
}

large.addEventListener("close", () => {
  if (large.open) return;
  enlarged = null;
  showSheet();
  focusCurrent();
});

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("keys").addEventListener("change", () => (view.keys = $("keys").checked));

// ── keeping the place ──────────────────────────────────────────────────────────────────────────

const PLACE = `${page.store}/view`;

function keepPlace() {
  const [top, where] = inSight();
  const at = scrollY > 0 && top ? [rowOf.get(top).id, where] : null;
  const focused = sheet.contains(document.activeElement);
  try {
    const place = { ...view, current: current?.id, at, focused };
    sessionStorage.setItem(PLACE, JSON.stringify(place));
  } catch {
    // a browser that keeps nothing starts at the top
  }
}

function restorePlace() {
  history.scrollRestoration = "manual";
  let kept = {};
  try {
    kept = JSON.parse(sessionStorage.getItem(PLACE)) ?? {};
  } catch {
    // nothing was kept
  }
  const { current: id, at, focused, ...asked } = kept;
  Object.assign(view, asked);
  $("keys").checked = view.keys;
  showSheet();
  select(visible.find((row) => row.id === id) ?? visible[0] ?? null);
  if (focused) focusCurrent();
  const top = at && visible.find((row) => row.id === at[0]);
  if (top) {
    for (let round = 0; round < 2; round += 1) {
      reveal(top);
      scrollBy({ top: cards.get(top).getBoundingClientRect().top - at[1], behavior: "instant" });
    }
  }
}

function busy() {
  const typing = document.activeElement?.matches("input, textarea, select");
  const writing = performance.now() - choices.changed < 1000; // browsers store in the background
  const reading = document.querySelector("details[open]") ?? !$("next").hidden;
  return large.open || playing || typing || writing || reading;
}

function reloadWhenIdle() {
  const live = $("live").getAttribute("aria-pressed") === "true";
  if (live && !busy()) location.reload();
  else setTimeout(reloadWhenIdle, 1000);
}

buildFilters();
showChoices(page.rows);
restorePlace();
addEventListener("pagehide", keepPlace);
addEventListener("storage", (event) => {
  if (event.key !== page.store || page.served) return;
  choices.load();
  showChoices(page.rows);
});
if (page.refresh) {
  $("live").hidden = false;
  $("live").addEventListener("click", () => {
    $("live").setAttribute("aria-pressed", String($("live").getAttribute("aria-pressed") !== "true"));
  });
  $("as-of").textContent = `As of ${new Date(document.lastModified).toLocaleTimeString()}.`;
  setTimeout(reloadWhenIdle, page.refresh * 1000);
}
