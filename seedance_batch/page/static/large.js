// The large view of one row: all its takes side by side, all its words, its note.

const large = document.getElementById("large");
const note = document.getElementById("note");
let enlarged = null; // the row it shows, until all of its closing is done
let pointed = ""; // the take of it that keys and the note are for

/** Show a row; `place` says which of how many it is. */
function enlarge(row, place) {
  stop();
  letGo();
  enlarged = row;
  pointed = row.take;
  document.getElementById("large-id").textContent = row.id;
  write(large, "place", [place, row.status, row.asked, row.cost].filter(Boolean).join(" · "));
  showTakes(row);
  showChain(row);
  part(large, "prompt").textContent = row.prompt || "—";
  write(large, "step", row.step && `Next: ${row.step}`);
  part(large, "cells").replaceChildren(...described(row));
  pointAt(pointed);
  if (!large.open) large.showModal();
}

/** Make one of the takes the one that keys, stars and the note are for. */
function pointAt(take) {
  const row = enlarged;
  const names = row.takes.map((each) => each.take);
  pointed = names.includes(take) ? take : row.take;
  const several = row.takes.length > 1;
  const name = row.takes.find((each) => each.take === pointed)?.name;
  write(large, "of", several ? `for ${name}` : "");
  part(large, "own-marks").replaceChildren(...markButtons(row, pointed));
  note.value = choices.of(row, pointed).note;
  showLargeChoice();
}

/** Go to another take with the keys. */
function pointBeside(by) {
  const names = enlarged.takes.map((each) => each.take);
  const next = names[names.indexOf(pointed) + by];
  if (next === undefined) return;
  pointAt(next);
  say(`Marks are for ${enlarged.takes.find((each) => each.take === next).name}`);
}

/** Show what was said of each take. */
function showLargeChoice() {
  const row = enlarged;
  showButtons(part(large, "choice"), row, pointed);
  for (const found of part(large, "takes").querySelectorAll("figure[data-take]")) {
    const { take } = found.dataset;
    found.classList.toggle("pointed", take === pointed && row.takes.length > 1);
    found.dataset.mark = choices.mark(row, take);
    showButtons(found, row, take);
    write(found, "stars", starred(choices.of(row, take).stars));
  }
}

/** All takes of a row; one that is there already, and is as it was, plays on. */
function showTakes(row) {
  const before = new Map([...part(large, "takes").children].map((each) => [each.dataset.was, each]));
  const fresh = row.takes.map((take) => before.get(JSON.stringify(take)) ?? figure(take, row));
  for (const [at, each] of fresh.entries()) {
    // Side by side each has its own marks; one alone is marked below, where its note is.
    const marks = row.takes.length > 1 ? markButtons(row, row.takes[at].take) : [];
    part(each, "marks").replaceChildren(...marks);
    part(each, "marks").hidden = !marks.length;
  }
  for (const [was, each] of before) {
    if (!fresh.includes(each)) for (const video of each.querySelectorAll("video")) release(video);
  }
  part(large, "takes").replaceChildren(...(fresh.length ? fresh : [noticePanel(row)]));
  part(large, "takes").dataset.count = Math.min(row.takes.length, 3);
  part(large, "own-marks").hidden = row.takes.length > 1;
}

/** Show what became of the row that is shown. */
function renewLarge(row) {
  write(large, "step", row.step && `Next: ${row.step}`);
  showTakes(row);
  pointAt(pointed);
}

function figure(take, row) {
  const found = make("take");
  found.dataset.was = JSON.stringify(take);
  found.dataset.take = take.take;
  part(found, "marks").setAttribute("aria-label", `Mark ${take.name}`);
  const { film } = take;
  part(found, "frame").append(film?.src ? player(take) : reason(take));
  for (const name of ["name", "asked", "cost"]) part(found, name).textContent = take[name];
  const other = row.takes.some((each) => each.asked !== take.asked);
  part(found, "asked").classList.toggle("differs", other);
  part(found, "name").classList.toggle("shown", take.shown && row.takes.length > 1);
  write(found, "measured", film ? `is ${film.measured}` : "");
  const link = write(found, "file", film?.src ? film.file : "");
  if (film?.src) link.href = film.src;
  write(found, "origin", take.prompt && `made from: ${take.prompt}`);
  return found;
}

function player(take) {
  const video = document.createElement("video");
  Object.assign(video, { controls: true, loop: true, playsInline: true, muted: true, preload: "metadata" });
  Object.assign(video, { width: take.film.width, height: take.film.height }); // no jump once it is known
  video.setAttribute("aria-label", take.name);
  if (take.film.poster) video.poster = take.film.poster;
  video.addEventListener("error", () => video.replaceWith(reason(take, UNPLAYED)));
  video.src = take.film.src;
  return video;
}

function reason(take, words = take.film ? "the file is missing" : take.message) {
  const panel = make("notice");
  write(panel, "status", withReason(take));
  write(panel, "message", words);
  write(panel, "step", "");
  return panel;
}

/** The person's columns and what the row has in them; the prompt stands beside it already. */
function described(row) {
  return row.cells.flatMap((text, column) => {
    if (!text || text.trim() === row.prompt) return [];
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = page.columns[column];
    value.textContent = text;
    value.dir = "auto";
    return [term, value];
  });
}

// ── rows that feed each other ───────────────────────────────────────────────────────────────────

/** The rows of the chain that a row is in, from its first source to its last follower. */
function chainOf(row) {
  const byId = new Map(page.rows.map((each) => [each.id, each]));
  const chain = [row];
  const isNew = (each) => each && !chain.includes(each);
  for (let up = row; isNew((up = byId.get(up.follows[0]))); ) chain.unshift(up);
  const follower = (of) => page.rows.find((each) => each.follows.includes(of.id) && isNew(each));
  for (let down = row; (down = follower(down)); ) chain.push(down);
  return chain;
}

function showChain(row) {
  const chain = chainOf(row);
  part(large, "chain").hidden = chain.length < 2;
  part(large, "links").replaceChildren(...chain.map((each) => link(each, row)));
  const replaced = row.stale ? ", which has a newer take by now" : "";
  write(large, "made-from", row.made_from.length ? `Made from ${row.made_from.join(" and ")}${replaced}.` : "");
}

function link(row, current) {
  const button = document.createElement("button");
  button.type = "button";
  Object.assign(button.dataset, { do: "link", row: row.id });
  button.textContent = row.stale ? `${row.id} (stale)` : row.clip ? row.id : `${row.id} (${row.status})`;
  if (row === current) button.setAttribute("aria-current", "true");
  return button;
}

/** Play the chain's clips one after the other, in the place of the takes. */
function playThrough() {
  const films = chainOf(enlarged).flatMap((row) => row.takes.filter((t) => t.shown && t.film?.src));
  if (!films.length) return;
  letGo();
  const video = document.createElement("video");
  Object.assign(video, { controls: true, playsInline: true, muted: !sound });
  video.setAttribute("aria-label", "The chain");
  let at = 0;
  const next = () => {
    if (at >= films.length || !video.isConnected) return;
    video.src = films[at++].film.src;
    video.play().catch(() => {});
  };
  video.addEventListener("ended", next);
  video.addEventListener("error", next);
  part(large, "takes").dataset.count = 1;
  part(large, "takes").append(video);
  next();
}

// ── playing ─────────────────────────────────────────────────────────────────────────────────────

const A_FRAME = 1 / 24; // seconds: the service's clips have 24 frames a second
let sound = false; // until the person asks for it

function toggleSound() {
  sound = !sound;
  hear();
  say(sound ? "Sound on" : "Sound off");
}

/** One clip is heard, if any. */
function hear() {
  const videos = [...large.querySelectorAll("video")];
  const heard = large.querySelector("figure:has(.shown) video") ?? videos.at(-1);
  for (const video of videos) video.muted = !sound || video !== heard;
}

/** Go on or back by single frames, in all takes at once. */
function stepBy(frames) {
  for (const video of large.querySelectorAll("video")) {
    video.pause();
    video.currentTime = Math.max(0, video.currentTime + frames * A_FRAME);
  }
}

/** Play all takes from the start together, or stop them. */
function playTogether() {
  const videos = [...large.querySelectorAll("video")];
  const running = videos.some((video) => !video.paused);
  hear();
  for (const video of videos) {
    if (running) video.pause();
    else {
      video.currentTime = 0;
      video.play().catch(() => {});
    }
  }
}

function letGo() {
  for (const video of large.querySelectorAll("video")) release(video);
  part(large, "takes").replaceChildren();
}

large.addEventListener("close", () => {
  if (!large.open) letGo(); // else it was opened again before this was told
});
large.addEventListener("click", (event) => {
  if (event.target === large) large.close(); // the dimmed page around it
});
