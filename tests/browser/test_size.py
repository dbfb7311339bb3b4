"""Two thousand rows are as quick as twenty, because only what is in sight is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.outcome import Outcome, outcomes
from seedance_batch.posters import poster, poster_name
from tests.writer.samples import attempt, clip, playable, row

from .conftest import Review, ids

COUNT = 2_000
LOADED = "document.querySelectorAll('img[src], video[src]').length"
PROMPT = "A cat walks through scene {}, slow push-in, rain on the window, warm light, no text."


@pytest.fixture
def many(tmp_path: Path) -> list[Outcome]:
    """Rows with a clip and a poster each."""
    rows = [row(n, shot=str(n), prompt=PROMPT.format(n), client="Acme") for n in range(COUNT)]
    for name in ("videos", "posters"):
        (tmp_path / name).mkdir()
    original = tmp_path / "original.mp4"
    original.write_bytes(playable((320, 180)))
    os.link(original, tmp_path / clip(rows[0]).file)
    still = poster(tmp_path, clip(rows[0]))
    assert still
    for of in rows[1:]:
        os.link(original, tmp_path / clip(of).file)
        os.link(still, tmp_path / poster_name(clip(of)))
    return outcomes(rows, [attempt(of) for of in rows])


def test_two_thousand_rows_paint_within_two_seconds_and_load_what_is_in_sight(
    review: Review, tab: Any, many: list[Outcome]
) -> None:
    page = review(many, clips=False, open_it=False)
    assert page.stat().st_size < 4_000_000
    times = []
    for _ in range(3):  # the best of three: other work on the machine is not the page's
        tab.goto(page.as_uri())
        tab.wait_for_selector("img[src]")
        times.append(tab.evaluate(PAINTED))
    print("first paint, pictures painted (ms):", times)  # noqa: T201
    assert min(pictures for _, pictures in times) < 2_000
    most = 0
    for _ in range(12):
        tab.mouse.wheel(0, 2_500)
        tab.wait_for_timeout(40)
        most = max(most, tab.evaluate(LOADED))
    print("media elements loaded at most:", most)  # noqa: T201
    assert 0 < most <= 40
    tab.fill("#search", "scene 1999,")
    assert ["shot-1999"] == ids(tab)


PAINTED = """async () => {
  const painted = (image) => image.complete && image.naturalWidth > 0;
  const frame = () => new Promise(requestAnimationFrame);
  while (![...document.querySelectorAll("img[src]")].every(painted)) await frame();
  await frame();
  await frame();
  const first = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  return [Math.round(first), Math.round(performance.now())];
}"""
