// The large view of one row: all its takes side by side, all its words, its note.

const large = document.getElementById("large");
const note = document.getElementById("note");
let enlarged = null; // the row it shows, until all of its closing is done

/** Show a row; `place` says which of how many it is. */
function enlarge(row, place) {
  stop();
  letGo();
  enlarged = row;
  document.getElementById("large-id").textContent = row.id;
  write(large, "place", [place, row.status, row.asked, row.cost].filter(Boolean).join(" · "));
  showTakes(row);
  part(large, "prompt").textContent = row.prompt || "—";
  write(large, "step", row.step && `Next: ${row.step}`);
  part(large, "cells").replaceChildren(...described(row));
  part(large, "marks").replaceChildren(...markButtons(row));
  note.value = choices.of(row).note;
  showChoice(large, row);
  if (!large.open) large.showModal();
}

/** All takes of a row; one that is there already, and is as it was, plays on. */
function showTakes(row) {
  const before = new Map([...part(large, "takes").children].map((each) => [each.dataset.was, each]));
  const fresh = row.takes.map((take) => before.get(JSON.stringify(take)) ?? figure(take, row));
  for (const [was, each] of before) {
    if (!fresh.includes(each)) for (const video of each.querySelectorAll("video")) release(video);
  }
  part(large, "takes").replaceChildren(...(fresh.length ? fresh : [noticePanel(row)]));
  part(large, "takes").dataset.count = Math.min(row.takes.length, 3);
}

/** Show what became of the row that is shown. */
function renewLarge(row) {
  write(large, "step", row.step && `Next: ${row.step}`);
  part(large, "marks").replaceChildren(...markButtons(row));
  note.value = choices.of(row).note;
  showTakes(row);
  showChoice(large, row);
}

function figure(take, row) {
  const found = make("take");
  found.dataset.was = JSON.stringify(take);
  const { film } = take;
  part(found, "frame").append(film?.src ? player(take) : reason(take));
  for (const name of ["name", "asked", "cost"]) part(found, name).textContent = take[name];
  part(found, "name").classList.toggle("shown", take.shown && row.takes.length > 1);
  write(found, "measured", film ? `is ${film.measured}` : "");
  const link = write(found, "file", film?.src ? film.file : "");
  if (film?.src) link.href = film.src;
  write(found, "origin", take.prompt && `made from: ${take.prompt}`);
  return found;
}

function player(take) {
  const video = document.createElement("video");
  Object.assign(video, { controls: true, loop: true, playsInline: true, preload: "metadata" });
  Object.assign(video, { width: take.film.width, height: take.film.height }); // no jump once it is known
  video.setAttribute("aria-label", take.name);
  if (take.film.poster) video.poster = take.film.poster;
  video.addEventListener("error", () => video.replaceWith(reason(take, "this browser cannot play it")));
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

/** Play all takes from the start together, or stop them; one is heard, the others are muted. */
function playTogether() {
  const videos = [...large.querySelectorAll("video")];
  const running = videos.some((video) => !video.paused);
  const heard = large.querySelector("figure:has(.shown) video") ?? videos.at(-1);
  for (const video of videos) {
    if (running) video.pause();
    else {
      video.currentTime = 0;
      video.muted = video !== heard;
      video.play().catch(() => {});
    }
  }
}

function letGo() {
  for (const video of large.querySelectorAll("video")) release(video);
  part(large, "takes").replaceChildren();
}

large.addEventListener("close", letGo);
large.addEventListener("click", (event) => {
  if (event.target === large) large.close(); // the dimmed page around it
});
