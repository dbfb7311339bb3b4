// What keys and buttons do: moving, choosing, playing, enlarging; and keeping the place.

const cards = new Map(page.rows.map((row) => [row, buildCard(row)]));
const rowOf = new Map([...cards].map(([row, card]) => [card, row]));

let visible = []; // rows in sight, in order
let current = null; // the row that keys act on

/** Show the rows that the view asks for; the current one stays, or its follower takes over. */
function showSheet() {
  const before = Math.max(visible.indexOf(current), 0);
  visible = rowsInSight();
  const shown = visible.map((row) => cards.get(row));
  if (shown.length !== sheet.children.length || shown.some((card, at) => card !== sheet.children[at])) {
    stop();
    sheet.replaceChildren(...shown);
  }
  $("none").hidden = visible.length > 0;
  if (!visible.includes(current)) select(visible[before] ?? visible.at(-1) ?? null);
  showFilters();
}

/** Make a row the current one, and its card the sheet's only stop for Tab. */
function select(row) {
  if (current) reachable(cards.get(current), false);
  if (row) reachable(cards.get(row), true);
  current = row;
}

function reachable(card, yes) {
  for (const element of [card, ...card.querySelectorAll("button")]) element.tabIndex = yes ? 0 : -1;
  card.classList.toggle("current", yes);
}

function focusCurrent() {
  if (!current) return;
  cards.get(current).focus({ preventScroll: true });
  cards.get(current).scrollIntoView({ block: "nearest" });
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
  else if (playing === cards.get(current)) stop();
  else if (current) play(cards.get(current));
}

// ── choosing ───────────────────────────────────────────────────────────────────────────────────

function choose(mark) {
  if (!current) return;
  const row = current;
  if (mark === "keep" && !row.clip) return say(`${row.id} has no clip to keep`);
  choices.setMark(row, choices.mark(row) === mark ? "" : mark);
  const focused = sheet.contains(document.activeElement);
  showChoices([row]);
  if (focused && !sheet.contains(document.activeElement)) focusCurrent(); // its card went out of sight
  say(`${row.id}: ${choices.mark(row) || "no choice"}. ${$("progress").textContent}`);
}

function showChoices(rows) {
  for (const row of rows) showChoice(cards.get(row), row);
  if (large.open) showChoice(large, current);
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
  const row = current;
  if (!row.clip) return say(`${row.id} has no clip to rate`);
  choices.setStars(row, choices.of(row).stars === stars ? 0 : stars);
  showChoices([row]);
  say(`${row.id}: ${choices.of(row).stars || "no"} stars`);
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
  choices.setNote(current, note.value);
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
  ",": () => large.open && stepBy(-1),
  ".": () => large.open && stepBy(1),
  "/": () => !large.open && $("search").focus(),
  " ": togglePlay,
  Enter: () => !large.open && openLarge(),
};

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") return escape();
  if (target.matches("input:not([type=checkbox]), textarea, select")) return;
  const own = event.key === " " || event.key === "Enter"; // what these do to a button stays theirs
  if (own ? target.closest("button, summary, a, video, input") : !view.keys) return;
  const key = letter(event);
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  if (!event.repeat || "jk".includes(key)) KEYS[key](); // a key held down marks once
});

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
  mark: (button) => choose(button.dataset.mark),
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
  enlarged = null;
  showSheet();
  focusCurrent();
});

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("keys").addEventListener("change", () => (view.keys = $("keys").checked));

// ── keeping the place ──────────────────────────────────────────────────────────────────────────

const PLACE = `${page.store}/view`;

function keepPlace() {
  const top = visible.find((row) => cards.get(row).getBoundingClientRect().bottom > 0);
  const at = scrollY > 0 && top ? [top.id, cards.get(top).getBoundingClientRect().top] : null;
  const focused = sheet.contains(document.activeElement);
  const height = sheet.style.getPropertyValue("--height");
  try {
    const place = { ...view, current: current?.id, at, focused, height };
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
  const { current: id, at, focused, height, ...asked } = kept;
  Object.assign(view, asked);
  $("keys").checked = view.keys;
  if (height) sheet.style.setProperty("--height", height);
  showSheet();
  select(visible.find((row) => row.id === id) ?? visible[0] ?? null);
  if (focused) focusCurrent();
  const top = at && visible.find((row) => row.id === at[0]);
  if (top) scrollBy(0, cards.get(top).getBoundingClientRect().top - at[1]);
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
new ResizeObserver(() => {
  // Cards out of sight are not laid out; they are taken to be as high as the first one.
  const height = sheet.firstElementChild?.offsetHeight;
  if (height) sheet.style.setProperty("--height", `${height}px`);
}).observe(sheet);
if (page.refresh) {
  $("live").hidden = false;
  $("live").addEventListener("click", () => {
    $("live").setAttribute("aria-pressed", String($("live").getAttribute("aria-pressed") !== "true"));
  });
  $("as-of").textContent = `As of ${new Date(document.lastModified).toLocaleTimeString()}.`;
  setTimeout(reloadWhenIdle, page.refresh * 1000);
}
