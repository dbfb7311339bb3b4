// The contact sheet: of many rows only the cards near what is in sight are in the document, and the
// one that keys act on; space stands for the others.

const ALL_UP_TO = 100; // rows: all of their cards are there, for the browser's own search
const MARGIN = 0.75; // screens above and below what is in sight
const FIRST_GUESS = 350; // pixels: a line's height until one was measured
const GAP = 10; // pixels between cards, as in the style

const cards = new Map(); // row → its card, while it is in the document
const rowOf = new WeakMap(); // card → its row

let visible = []; // rows in sight, in order
let current = null; // the row that keys act on
let lines = []; // the rows of `visible` side by side: { rows, top }
let lineOf = new Map(); // row → the number of its line
let numberOf = new Map(); // row → its number among the visible, from 1
const heights = new Map(); // first row of a line → how high the line was, with the gap below it
let typical = FIRST_GUESS;
let printing = false;

const narrow = matchMedia("(max-width: 660px)"); // as in the style

/** Lay the visible rows out in lines, as the sheet's grid does with their cards. */
function layOut() {
  const across = getComputedStyle(sheet).gridTemplateColumns.split(" ").length;
  let room = 0;
  sheet.style.overflowAnchor = visible.length > ALL_UP_TO ? "none" : "auto"; // else by the browser
  lines = [];
  lineOf = new Map();
  numberOf = new Map(visible.map((row, at) => [row, at + 1]));
  for (const row of visible) {
    const span = narrow.matches || panelCount(row) < 2 ? 1 : Math.min(2, across);
    if (span > room) {
      lines.push({ rows: [], top: 0 });
      room = across;
    }
    room -= span;
    lines.at(-1).rows.push(row);
    lineOf.set(row, lines.length - 1);
  }
  stack();
}

/** Say where each line begins; the height of all of them. */
function stack() {
  let top = 0;
  for (const line of lines) {
    line.top = top;
    top += heights.get(line.rows[0]) ?? typical;
  }
  return top;
}

/** The numbers of the lines between two places on the sheet: the first, and that after the last. */
function linesBetween(from, to) {
  let [first, end] = [0, lines.length];
  while (first + 1 < end && lines[first + 1].top <= from) first += 1;
  for (let at = first; at < end; at += 1) if (lines[at].top > to) end = at;
  return [first, end];
}

/** The numbers of the lines whose cards belong in the document now: the first, and that after the last. */
function linesNear() {
  if (printing || visible.length <= ALL_UP_TO) return [0, lines.length];
  const over = -sheet.getBoundingClientRect().top;
  const margin = innerHeight * MARGIN;
  return linesBetween(over - margin, over + innerHeight + margin);
}

let drawn = [0, 0]; // the lines whose cards are in the document

/** Bring the cards into the document that belong there now, and take the others out; what one
 * looks at stays where it is, unless other rows are shown. */
function drawSheet(stay = true) {
  const [held, before] = stay && visible.length > ALL_UP_TO ? inSight() : [];
  for (let round = 0; round < 3; round += 1) {
    const [first, end] = linesNear();
    place(first, end);
    drawn = [first, end];
    if (!measure(first, end)) break;
  }
  // Lines that turned out higher or lower than was thought leave what one looks at where it is.
  const after = held?.isConnected && !held.classList.contains("away") ? held.getBoundingClientRect().top : before;
  if (Math.abs(after - before) >= 1) scrollBy({ top: after - before, behavior: "instant" });
}

/** The first card in sight, and where it is. */
function inSight() {
  for (const card of sheet.children) {
    const { top, bottom } = card.getBoundingClientRect();
    if (bottom > 0 && !card.classList.contains("away")) return [card, top];
  }
  return [];
}

/** Have the cards of these lines in the document, the current one, and no other. */
function place(first, end) {
  const wanted = lines.slice(first, end).flatMap((line) => line.rows);
  const at = lineOf.get(current);
  const away = current !== null && at !== undefined && (at < first || at >= end);
  if (away) wanted.splice(at < first ? 0 : wanted.length, 0, current);
  const kept = new Set(wanted);
  for (const [row, card] of cards) if (!kept.has(row)) takeOut(row, card);
  let next = sheet.firstElementChild;
  for (const row of wanted) {
    const card = cards.get(row) ?? bringIn(row);
    if (card === next) next = next.nextElementSibling;
    else sheet.insertBefore(card, next);
    card.classList.toggle("away", away && row === current);
    setIfOther(card, "aria-posinset", numberOf.get(row));
    setIfOther(card, "aria-setsize", visible.length);
  }
  const total = stack();
  const below = end < lines.length ? total - lines[end].top : 0;
  sheet.style.setProperty("--above", `${lines[first]?.top ?? 0}px`);
  sheet.style.setProperty("--below", `${below}px`);
  if (away) cards.get(current).style.setProperty("--top", `${lines[at].top}px`);
}

function setIfOther(card, name, value) {
  if (card.getAttribute(name) !== String(value)) card.setAttribute(name, value);
}

function bringIn(row) {
  const card = buildCard(row);
  cards.set(row, card);
  rowOf.set(card, row);
  if (row === current) reachable(card, true);
  return card;
}

function takeOut(row, card) {
  if (playing === card) stop();
  for (const image of card.querySelectorAll("img")) image.removeAttribute("src"); // its memory too
  cards.delete(row);
  card.remove();
}

/** Note how high these lines are; whether that is news that moves others. */
function measure(first, end) {
  const isFirst = heights.size === 0;
  let news = false;
  for (const { rows } of lines.slice(first, end)) {
    const height = cards.get(rows[0]).offsetHeight + GAP;
    news ||= Math.abs((heights.get(rows[0]) ?? typical) - height) >= 1;
    heights.set(rows[0], height);
  }
  // Guessed once: a guess that changes would move all that lies below the lines that it is for.
  if (isFirst && heights.size) typical = [...heights.values()].sort((a, b) => a - b)[heights.size >> 1];
  return news && end - first < lines.length;
}

/** Bring a row's card into sight, if it is not; its card. */
function reveal(row) {
  drawSheet();
  for (let round = 0; round < 2; round += 1) {
    cards.get(row).scrollIntoView({ block: "nearest", behavior: "instant" });
    drawSheet(); // where it comes to lie its line may be higher than was thought
  }
  return cards.get(row);
}

let width = 0; // for which the lines were laid out

new ResizeObserver(() => {
  if (sheet.clientWidth === width) return;
  const [held, before] = inSight();
  const row = rowOf.get(held);
  width = sheet.clientWidth;
  heights.clear();
  layOut();
  if (visible.length > ALL_UP_TO && scrollY > 0 && lineOf.has(row)) {
    const top = lines[lineOf.get(row)].top;
    scrollBy({ top: sheet.getBoundingClientRect().top + top - before, behavior: "instant" });
  }
  drawSheet();
}).observe(sheet);

function follow() {
  const near = linesNear();
  if (near[0] !== drawn[0] || near[1] !== drawn[1]) drawSheet();
}

addEventListener("scroll", follow, { passive: true });
addEventListener("resize", follow);
addEventListener("beforeprint", () => {
  printing = true;
  drawSheet();
});
addEventListener("afterprint", () => {
  printing = false;
  drawSheet();
});
