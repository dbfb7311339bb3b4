// A served page: what arrives while one looks, and how the run goes. Everything else on the page
// does not know where its rows come from.

const LOOK_EVERY = 400; // milliseconds
const LOOK_HIDDEN = 3000;

/** What the server has told: counts of changes, by which it tells what is new. */
const heard = page.served && { at: page.served.at, marked: page.served.marked };

const GONE = $("gone").textContent;

async function news() {
  try {
    const answer = await fetch(`news?rows=${heard.at}&marks=${heard.marked}`);
    const told = await answer.json();
    if (answer.ok) return told;
    $("gone").textContent = `${told.error} What you see is what was there last.`;
  } catch {
    $("gone").textContent = GONE;
  }
  return null;
}

async function listen() {
  for (;;) {
    await pause(document.hidden ? LOOK_HIDDEN : LOOK_EVERY);
    const told = await news();
    $("gone").hidden = told !== null;
    if (told) takeNews(told);
  }
}

function takeNews(told) {
  const moved = told.order !== null || JSON.stringify(told.columns) !== JSON.stringify(page.columns);
  Object.assign(heard, { at: told.at, marked: told.marked });
  $("sums").textContent = told.sums;
  showCourse(told.course);
  const changed = moved ? [] : takeRows(told.rows);
  const marked = new Set(choices.take(told.marks));
  const touched = page.rows.filter((row) => marked.has(row.id) || changed.includes(row));
  if (touched.length) showChoices(touched);
  if (changed.length) showSheet();
  if (marked.has(current?.id) && large.open && document.activeElement !== note) {
    note.value = choices.of(current, pointed).note;
  }
  if (moved) reloadWhenIdle(); // another table: columns, filters and order are made anew
}

/** The rows that changed, each shown as it is now. */
function takeRows(fresh) {
  const known = new Map(page.rows.map((row) => [row.id, row]));
  const changed = fresh.map((values) => Object.assign(known.get(values.id), values));
  for (const row of changed) {
    haystacks.delete(row);
    renewCard(row);
    if (large.open && row === enlarged) renewLarge(row);
  }
  return changed;
}

/** A card that is in the document is made anew; any other will be made of what is known then. */
function renewCard(row) {
  const before = cards.get(row);
  if (!before) return;
  const focused = before.contains(document.activeElement);
  if (playing === before) stop();
  before.replaceWith(bringIn(row));
  if (focused) focusCurrent();
}

function showCourse(course) {
  $("course").hidden = !course;
  document.body.classList.toggle("running", course !== null);
  if (!course) return;
  const ended = `${course.ended} of ${course.rows} rows`;
  $("course-words").textContent = [ended, course.words].filter(Boolean).join(", ");
  $("course-bar").max = Math.max(course.rows, 1);
  $("course-bar").value = course.ended;
}

if (page.served) {
  showCourse(page.served.course);
  listen();
}
