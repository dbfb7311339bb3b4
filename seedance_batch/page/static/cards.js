// A row's card: its pictures, its clips on demand, its marks.

const MOST_PANELS = 3; // side by side on a card; the large view has all

const sheet = document.getElementById("sheet");
const UNPLAYED = page.clips_in // a copy of the page that does not lie beside its clips
  ? `it plays at ${page.clips_in}, and by report --serve`
  : "this browser cannot play it";
const choices = page.served ? new ServedChoices(page.store) : new Choices(page.store);

/** A copy of a template of the page. */
function make(name) {
  return document.getElementById(name).content.firstElementChild.cloneNode(true);
}

function part(root, name) {
  return root.querySelector(`[data-part=${name}]`);
}

/** Put a text into a part; an empty one is hidden. */
function write(root, name, text) {
  const found = part(root, name);
  found.textContent = text;
  found.hidden = !text;
  return found;
}

function buildCard(row) {
  const card = make("card");
  card.dataset.status = row.status;
  part(card, "id").textContent = row.id;
  write(card, "status", row.stale ? "stale" : row.status === "done" ? "" : row.status);
  const own = page.labels.map((column) => row.cells[column]).filter(Boolean);
  write(card, "own", own.join(" · ")).title = own.join(" · ");
  part(card, "prompt").textContent = row.prompt || "—";
  part(card, "asked").textContent = row.asked;
  part(card, "cost").textContent = row.cost;
  const panels = panelsOf(row).slice(-MOST_PANELS);
  part(card, "pictures").append(...panels);
  card.dataset.panels = panels.length;
  part(card, "marks").append(...markButtons(row));
  part(card, "marks").setAttribute("aria-label", `Mark ${row.id}`);
  reachable(card, false);
  showChoice(card, row);
  return card;
}

/** How many panels stand side by side on a row's card. */
function panelCount(row) {
  const clips = row.takes.filter((take) => take.film).length;
  return Math.min(clips + (isSettled(row, clips) ? 0 : 1), MOST_PANELS);
}

/** Whether its clips say all that there is to say of a row. */
function isSettled(row, clips) {
  return row.status === "done" || (row.status === "removed" && clips > 0);
}

function panelsOf(row) {
  const clips = row.takes.filter((take) => take.film).map((take) => clipPanel(row, take));
  if (clips.length === 1 && clips[0].dataset.kind === "final") part(clips[0], "name").hidden = true;
  return isSettled(row, clips.length) ? clips : [...clips, noticePanel(row)];
}

function clipPanel(row, take) {
  const panel = make("clip");
  panel.dataset.kind = take.kind;
  panel.dataset.take = take.take;
  panel.dataset.src = take.film.src;
  if (take.film.poster) panel.querySelector("img").src = take.film.poster;
  panel.setAttribute("aria-label", `Enlarge ${row.id}, ${take.name}`);
  part(panel, "name").dataset.name = take.name;
  const { width, height } = take.film;
  panel.classList.toggle("fills", Math.abs(width / height / (16 / 9) - 1) < 0.06);
  if (!take.film.src) panel.dataset.gone = "the file is missing";
  return panel;
}

function noticePanel(row) {
  const panel = make("notice");
  write(panel, "status", withReason(row));
  write(panel, "message", row.message);
  write(panel, "step", row.step && `Next: ${row.step}`);
  return panel;
}

/** A status, and why the service refused. */
function withReason({ status, reason }) {
  return reason ? `${status}: ${reason}` : status;
}

function markButtons(row, take = row.take) {
  return Object.entries(MARKS).map(([mark, [sign, word, key]]) => {
    const button = make("mark");
    button.dataset.mark = mark;
    button.textContent = `${sign} ${word}`;
    button.title = `${word} (${key.toUpperCase()})`;
    button.disabled = mark === "keep" ? !hasClip(row, take) : mark === "redo" && !isLast(row, take);
    if (button.disabled) button.title = mark === "keep" ? "no clip to keep" : "a newer take is there";
    return button;
  });
}

/** Show which mark and stars a take has on the buttons of an element. */
function showButtons(element, row, take = row.take) {
  const [mark, { stars }] = [choices.mark(row, take), choices.of(row, take)];
  for (const button of element.querySelectorAll("button[data-mark]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mark === mark));
  }
  for (const button of element.querySelectorAll("[data-stars]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.stars) === stars));
    button.textContent = Number(button.dataset.stars) <= stars ? "★" : "☆";
  }
}

/** Show what was chosen of a row on its card. */
function showChoice(card, row) {
  card.dataset.mark = choices.mark(row);
  showButtons(part(card, "marks"), row);
  for (const panel of card.querySelectorAll(".clip")) {
    const [name, mark] = [part(panel, "name"), choices.mark(row, panel.dataset.take)];
    panel.dataset.mark = mark;
    name.textContent = mark ? `${name.dataset.name} ${MARKS[mark][0]}` : name.dataset.name;
  }
  const [kept, earlier, { stars, note }] = [choices.kept(row), choices.earlier(row), choices.of(row)];
  const words = [
    kept && kept.take !== row.take && `keeps ${kept.name}`,
    earlier && `${earlier}, for an earlier clip`,
    starred(stars),
    note,
  ];
  write(card, "note", words.filter(Boolean).join(" · "));
}

function starred(stars) {
  return stars ? "★".repeat(stars) + "☆".repeat(5 - stars) : "";
}

// ── pictures and clips ─────────────────────────────────────────────────────────────────────────

let playing = null; // the card whose clips play

function play(card) {
  stop();
  for (const clip of card.querySelectorAll(".clip:not([data-gone])")) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, tabIndex: -1 });
    video.addEventListener("error", () => (clip.dataset.gone = UNPLAYED));
    video.src = clip.dataset.src;
    clip.append(video);
    video.play().catch(() => {}); // stopped before it began, or an error that is shown
    playing = card;
  }
}

function stop() {
  clearTimeout(hovering);
  for (const video of playing?.querySelectorAll("video") ?? []) release(video);
  playing = null;
}

/** Take a video away, and with it its decoder and its buffers. */
function release(video) {
  video.pause();
  video.removeAttribute("src");
  video.load();
  video.remove();
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
let hovering = 0; // the timer: a mouse that only passes by plays nothing
let hovered = null; // the card whose pictures are under the mouse

function hover(card) {
  if (card === hovered) return;
  clearTimeout(hovering);
  if (playing && playing === hovered) stop();
  hovered = card;
  if (card && card !== playing) hovering = setTimeout(play, 120, card);
}

sheet.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "mouse" || still.matches) return;
  hover(event.target.closest(".pictures")?.parentElement ?? null);
});
sheet.addEventListener("pointerleave", () => hover(null));
